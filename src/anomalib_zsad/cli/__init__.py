"""The command ``anomalib-zsad``; each subcommand is a module with ``add_parser`` and ``run``."""

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Sequence

from anomalib_zsad import __version__
from anomalib_zsad.cli import calibrate, evaluate, info, inspect, screen, weights

BROKEN_PIPE = 141  # what a shell says of a program that SIGPIPE ended
COMMANDS = {
    "screen": screen,
    "inspect": inspect,
    "calibrate": calibrate,
    "info": info,
    "evaluate": evaluate,
    "weights": weights,
}


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="anomalib-zsad",
        description="Zero-shot anomaly detection on images and medical volumes. Training, prediction and export are "
        "anomalib's own commands: anomalib train --model BayesPFL.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("--verbose", action="store_true", help="show what libraries log")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="command")
    for module in COMMANDS.values():
        module.add_parser(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit code."""
    parsed = build_parser().parse_args(arguments)
    if not parsed.verbose:
        quieten()
    try:
        code = COMMANDS[parsed.command].run(parsed)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output (`head`) has seen enough. Python flushes once more at its end: into nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    return code


def quieten() -> None:
    """Keep libraries' information and deprecation notes, which a user of the command can do nothing about, away."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    for name in ("anomalib", "lightning", "lightning.pytorch", "lightning.fabric", "lightning_fabric", "monai"):
        logging.getLogger(name).setLevel(logging.WARNING)
