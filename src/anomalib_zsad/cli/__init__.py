"""The command `anomalib-zsad`: one module for each subcommand, imported when it is asked for.

Nothing here imports torch, so that `--help` answers at once: what is heavy is imported inside `run`.
"""

import argparse
import importlib
import logging
import os
import sys
import warnings
from collections.abc import Sequence

from anomalib_zsad.cli.failures import exit_code_of
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.outputs.quiet_pydicom import silence_pydicom
from anomalib_zsad.outputs.termination import termination_as_interrupt

COMMANDS = {
    "screen": "score the slices of DICOM series and NIfTI volumes and segment what is abnormal",
    "merge": "make one run of the parts of a run of screen or inspect",
    "pull": "find series in a PACS, screen them and send the results back",
    "inspect": "score the images of a folder and show them sorted by score",
    "watch": "answer every picture that arrives in a folder, once, with an alarm when something drifts",
    "serve": "answer pictures that are sent over HTTP, in batches of what waits",
    "calibrate": "learn from normal data what scores mean: p-values, thresholds with a false-alarm rate",
    "export": "write a model for torch, ONNX or OpenVINO that answers as inspect does",
    "evaluate": "evaluate a model on whole data sets, with tables for terminal, CSV, JSON and Markdown",
    "node": "receive DICOM studies, screen them by rules, and send the results to targets",
    "mercure": "screen the series of a task of the DICOM router mercure, as its processing module",
    "bundle": "write a model as a MONAI bundle that screens volumes",
    "info": "list series of DICOM and NIfTI files with geometry and warnings (dry run of screen)",
    "weights": "list published weights: where their authors offer them, licence, constants, checksum",
}


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """The parser of the command line.

    Args:
        command: The subcommand that gets its options; the others only get their names. `None` gives them to all.
    """
    from anomalib_zsad import __version__

    parser = argparse.ArgumentParser(
        prog="anomalib-zsad",
        description="Zero-shot anomaly detection on images and medical volumes. Training and prediction are "
        "anomalib's own commands: anomalib train --model BayesPFL.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("--verbose", action="store_true", help="show what libraries log")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, summary in COMMANDS.items():
        added = subparsers.add_parser(
            name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
        )
        if command in (None, name):
            importlib.import_module(f"anomalib_zsad.cli.{name}").configure(added)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = next((word for word in given if word in COMMANDS), "")
    parser = build_parser(command)
    if command:
        from anomalib_zsad.cli.model_options import take_model_arguments

        given, model_arguments = take_model_arguments(given)
        parsed = parser.parse_args(given, argparse.Namespace(model_arguments=model_arguments))
        if model_arguments and not hasattr(parsed, "checkpoint"):
            parser.error(f"{command} builds no model and takes no --model.{next(iter(model_arguments))}")
    else:
        parsed = parser.parse_args(given)
    silence_pydicom()  # also where libraries are asked to talk: what it says are values of headers
    if not parsed.verbose:
        quieten()
    try:
        with termination_as_interrupt():
            code = importlib.import_module(f"anomalib_zsad.cli.{command}").run(parsed)
        sys.stdout.flush()
    except BrokenPipeError:
        # The program reading the output (`head`) closed it. Python flushes once more at its end: into nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.BROKEN_PIPE
    except (Exception, KeyboardInterrupt) as error:
        return exit_code_of(error, resumable=hasattr(parsed, "resume"))
    return code


def quieten() -> None:
    """Keep libraries' information and deprecation notes, which a user of the command can do nothing about, away."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", module="PIL")  # damaged EXIF blocks, beside pixels that are whole
    for name in ("anomalib", "lightning", "lightning.pytorch", "lightning.fabric", "lightning_fabric", "monai"):
        logging.getLogger(name).setLevel(logging.WARNING)
