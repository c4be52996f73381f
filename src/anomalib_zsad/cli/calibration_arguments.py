"""Arguments with which scores are judged by a calibration, of equal names in every command that has them."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anomalib_zsad.calibration import Calibration

DEFAULT_RATE = 0.05


def add_calibration_arguments(parser: argparse.ArgumentParser) -> "argparse._ArgumentGroup":
    """Add `--calibration` and `--false-alarm-rate` in a group of their own, which is returned."""
    group = parser.add_argument_group("calibration")
    group.add_argument(
        "--calibration", type=Path, metavar="FILE", help="what `anomalib-zsad calibrate` made of normal data"
    )
    group.add_argument(
        "--false-alarm-rate",
        type=float,
        metavar="RATE",
        help=f"share of normal cases that may be flagged (default: {DEFAULT_RATE}); needs --calibration",
    )
    return group


def load_calibration(args: argparse.Namespace) -> tuple["Calibration | None", float]:
    """The calibration that was asked for, if any, and the false-alarm rate.

    Raises:
        ValueError: If the file is no calibration, or a rate is given without one.
        FileNotFoundError: If there is no such file.
    """
    if args.calibration is None:
        if args.false_alarm_rate is not None:
            raise ValueError("--false-alarm-rate needs a --calibration; `anomalib-zsad calibrate` makes one")
        return None, DEFAULT_RATE
    from anomalib_zsad.calibration import Calibration

    rate = DEFAULT_RATE if args.false_alarm_rate is None else args.false_alarm_rate
    return Calibration.load(args.calibration), rate
