"""`anomalib-zsad mercure`: a processing module of the DICOM router mercure."""

import argparse
import os
from pathlib import Path

from anomalib_zsad.cli import run_options
from anomalib_zsad.cli.failures import say

IN, OUT = "MERCURE_IN_DIR", "MERCURE_OUT_DIR"

_EPILOG = f"""\
Takes no options: mercure says in the environment where the task lies
({IN}) and where results go ({OUT}), and in
task.json what the module's settings are. They have the keys of `screen` in
configs/node.yaml:

  {{"checkpoint": "/models/brain.ckpt", "class_name": "brain", "window": "brain"}}

DICOM objects (SEG and structured report by default) and result.json are
written. The exit code is 0 if a series was screened or there was none to
screen. For research use only.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add description."""
    run_options.describe(parser, "Screen the series of one task of mercure and leave the results for it.", _EPILOG)


def run(args: argparse.Namespace) -> int:  # noqa: ARG001
    """Work on the task that the environment names.

    Raises:
        ValueError: If it names none, or the task's settings do not fit.
    """
    source, target = _folder(IN), _folder(OUT)
    from anomalib_zsad.node.mercure import process_task, task_rule, task_settings

    rule = task_rule(task_settings(source), source)
    say("loading the model ...")
    from anomalib_zsad.node.worker import build_model

    return process_task(source, target, rule, build_model)


def _folder(name: str) -> Path:
    """The folder that a variable names."""
    path = Path(os.environ.get(name, ""))
    if name not in os.environ or not path.is_dir():
        raise ValueError(f"the environment variable {name} names no folder; mercure sets it for its modules")
    return path
