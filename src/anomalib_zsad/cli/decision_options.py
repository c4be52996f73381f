"""Options that say how scores are judged, of equal names and meaning in every command that has them."""

import argparse
from dataclasses import fields
from pathlib import Path

from anomalib_zsad.calibration import Calibration
from anomalib_zsad.calibration.calibration import Kind
from anomalib_zsad.calibration.decision_rule import ARBITRARY_THRESHOLD, DecisionRule
from anomalib_zsad.cli.dataclass_options import add_options
from anomalib_zsad.cli.model_options import has_own_scale

_DEFAULTS = {field.name: field.default for field in fields(DecisionRule)}
_THRESHOLD_HELP = {
    "volumes": "decide by this threshold of scores and map pixels, in [0, 1] (default: decide nothing, rank slices, "
    f"outline maps at {ARBITRARY_THRESHOLD}); not with --calibration",
    "images": "decide by this threshold of scores and map pixels, in [0, 1] but for models with a scale of their own "
    f"(default: decide nothing, rank images, outline maps at {ARBITRARY_THRESHOLD}); not with --calibration",
}
DEFAULT_RATE = float(str(_DEFAULTS["false_alarm_rate"]))


def add_calibration_options(parser: argparse.ArgumentParser) -> "argparse._ArgumentGroup":
    """Add `--calibration` and `--false-alarm-rate` in a group of their own, which is returned."""
    group = parser.add_argument_group("decisions")
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


def add_decision_options(parser: argparse.ArgumentParser, kind: Kind) -> None:
    """Add all options of a decision rule for volumes or images."""
    group = add_calibration_options(parser)
    group.add_argument(
        "--threshold",
        type=float,
        metavar="X",
        help=_THRESHOLD_HELP[kind],
    )
    helps = {"uncertainty": "a score is uncertain if this many of its standard deviations reach the threshold"}
    if kind == "volumes":
        helps["benjamini_hochberg"] = (
            "flag the slices of a volume together, at the rate as a false discovery rate; needs --calibration"
        )
    add_options(group, DecisionRule, helps)


def load_calibration(args: argparse.Namespace) -> tuple[Calibration | None, float]:
    """The calibration that was asked for, if any, and the false-alarm rate.

    Raises:
        ValueError: If the file is no calibration, or a rate is given without one.
        FileNotFoundError: If there is no such file.
    """
    if args.calibration is None:
        if args.false_alarm_rate is not None:
            raise ValueError("--false-alarm-rate needs a --calibration; `anomalib-zsad calibrate` makes one")
        return None, DEFAULT_RATE
    rate = DEFAULT_RATE if args.false_alarm_rate is None else args.false_alarm_rate
    return Calibration.load(args.calibration), rate


def decision_rule(args: argparse.Namespace, kind: Kind) -> DecisionRule:
    """The rule that was asked for.

    Raises:
        ValueError: If something of it makes no sense, or threshold and calibration are both given.
        FileNotFoundError: If there is no such calibration.
    """
    calibration, rate = load_calibration(args)
    if calibration is not None and args.threshold is not None:
        raise ValueError("--threshold and --calibration exclude each other: a calibration sets the thresholds")
    own_scale = has_own_scale(args.model)
    if own_scale and calibration is None and args.threshold is None:
        raise ValueError(
            f"scores of {args.model} are on a scale of its own, where the usual threshold of {ARBITRARY_THRESHOLD} "
            "means nothing: give --calibration, or a --threshold on that scale"
        )
    given = {} if args.threshold is None else {"threshold": args.threshold}
    together = getattr(args, "benjamini_hochberg", False)
    return DecisionRule(
        kind,
        calibration,
        rate,
        uncertainty=args.uncertainty,
        benjamini_hochberg=together,
        own_scale=own_scale,
        **given,
    )
