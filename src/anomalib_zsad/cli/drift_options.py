"""Options that say when drift is told, of equal names and meaning in every command that tests for it."""

import argparse

from anomalib_zsad.calibration.drift import DriftOptions
from anomalib_zsad.cli.dataclass_options import add_options, fill


def add_drift_options(parser: argparse.ArgumentParser) -> "argparse._ArgumentGroup":
    """Add them in a group of their own, which is returned."""
    group = parser.add_argument_group("drift", "whether images are still like those calibrated on; needs --calibration")
    helps = {
        "drift_chance": "the chance, at most, of ever raising the alarm while nothing changes",
        "expected_flagged": "share of flagged images, defects included, at which nothing is wrong yet (default: 0.1 "
        "plus twice the false-alarm rate)",
    }
    add_options(group, DriftOptions, helps)
    return group


def drift_options(args: argparse.Namespace) -> DriftOptions:
    """When drift is told.

    Raises:
        ValueError: If something makes no sense, or there is no calibration to compare with.
    """
    options = fill(DriftOptions, args)
    others = getattr(args, "drift_order", "name") != "name" or getattr(args, "restart_drift", False)
    if args.calibration is None and (options != DriftOptions() or others):
        raise ValueError("options of drift need a --calibration, whose images others are compared with")
    return options
