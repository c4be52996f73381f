"""``anomalib-zsad evaluate``: a model over one or many sets, all categories, resumable."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalib_zsad.cli.calibration_arguments import add_calibration_arguments, load_calibration
from anomalib_zsad.cli.evaluate_outputs import model_arguments_of, report
from anomalib_zsad.cli.model_arguments import add_building_arguments

if TYPE_CHECKING:
    from anomalib_zsad.evaluation.evaluate import Subject
    from anomalib_zsad.evaluation.settings import Settings
    from anomalib_zsad.evaluation.targets import Target

_EPILOG = """\
A target is DATAMODULE:ROOT for one of anomalib's datamodules (MVTecAD:datasets/MVTecAD, Visa:datasets/visa) or a class
path, with further arguments as in 'FolderTree:data/steel?mask_threshold=0&class_name=steel'; or a meta.json file or a
folder that holds one; or a folder of images sorted by kind. NAME= in front says which set it is
(VisA=data/meta_visa.json), for the published figures and the check against the auxiliary set. Nothing is downloaded.

Volumes (VolumeDataModule:data/ms?class_name=brain) are also evaluated for readers: readers.json, readers.md,
volumes.csv, lesions.csv and curves (docs/protocol.md, "For readers").

An interrupted run goes on where it stopped when it is started again with the same output folder.
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command to the command line's subparsers."""
    parser = subparsers.add_parser(
        "evaluate",
        help="evaluate a model on whole data sets, with tables for terminal, CSV, JSON and Markdown",
        description="Evaluate a model on all categories of one or many sets.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_model_arguments(parser)
    _add_evaluation_arguments(parser)
    add_calibration_arguments(parser)
    return parser


def _add_model_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model")
    group.add_argument("--model", required=True, help="BayesPFL or CoPS")
    group.add_argument("--checkpoint", type=Path, nargs="+", default=[], help="one, or several to be averaged over")
    add_building_arguments(group)
    group.add_argument("--image-size", type=int, help="side of the input in pixels")
    group.add_argument("--auxiliary", metavar="NAME", help="set that the model was trained on, if it does not say")


def _add_evaluation_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("evaluation")
    group.add_argument("--target", nargs="+", required=True, help="what to evaluate on, see below")
    group.add_argument("--categories", nargs="+", help="only these categories of every target")
    group.add_argument(
        "--protocol",
        nargs="+",
        default=["deployable"],
        choices=["deployable", "paper"],
        help="how scores are made: from one image alone (default), or as published, with the whole test set in view",
    )
    group.add_argument("--seed", type=int, nargs="+", default=[0], help="seeds of the model's noise; 0 is its own")
    group.add_argument("--output", type=Path, default=Path("evaluation"), help="folder for the results")
    group.add_argument("--batch-size", type=int, default=1)
    group.add_argument("--num-workers", type=int, default=0, help="processes that read images")
    group.add_argument("--allow-overlap", action="store_true", help="evaluate on what was trained on, and say so")
    group.add_argument("--overwrite", action="store_true", help="compute again what another run left in the folder")
    group.add_argument(
        "--source-names",
        action="store_true",
        help="put the names of volumes, which may hold patient data, into volumes.csv; else they have pseudonyms only",
    )


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the table and write the reports; 0 on success, 2 where the user must act."""
    from anomalib_zsad.calibration import CalibrationMismatchError, TooFewNormalsError
    from anomalib_zsad.evaluation.evaluate import OverlapError, UnreadableTargetError
    from anomalib_zsad.evaluation.results import ForeignResultsError
    from anomalib_zsad.evaluation.settings import Settings

    try:
        _check(args)
        model_arguments = model_arguments_of(args)
        calibration, rate = load_calibration(args)
        targets = _targets(args)
        settings = Settings(
            protocols=tuple(dict.fromkeys(args.protocol)),
            seeds=tuple(dict.fromkeys(args.seed)),
            batch_size=args.batch_size,
            num_workers=args.num_workers,
            allow_overlap=args.allow_overlap,
            overwrite=args.overwrite,
            calibration=calibration,
            false_alarm_rate=rate,
        )
    except (ValueError, OSError) as error:
        return _fail(error)
    try:
        _evaluate(args, model_arguments, targets, settings)
    except (
        *(OverlapError, ForeignResultsError, UnreadableTargetError, CalibrationMismatchError, TooFewNormalsError),
        *(OSError, _UserError),
    ) as error:
        return _fail(error)
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted. Start the same command again to go on with the category it was in.\n")
        return 130
    return 0


class _UserError(ValueError):
    """Something in the command does not fit."""


def _fail(error: Exception) -> int:
    sys.stderr.write(f"error: {error}\n")
    return 2


def _check(args: argparse.Namespace) -> None:
    if args.batch_size < 1 or args.num_workers < 0:
        msg = (
            f"--batch-size must be at least 1 and --num-workers at least 0, got {args.batch_size}, {args.num_workers}."
        )
        raise ValueError(msg)
    if args.calibration is not None and (len(args.checkpoint) > 1 or set(args.seed) != {0}):
        msg = "--calibration goes with one checkpoint and --seed 0: it was made with one model and its own noise."
        raise ValueError(msg)
    if args.calibration is not None and "deployable" not in args.protocol:
        msg = "--calibration goes with --protocol deployable: the published protocol has other scores."
        raise ValueError(msg)
    names = [path.name for path in args.checkpoint]
    if len(set(names)) < len(names):
        msg = f"Checkpoints of the same file name cannot be told apart in the results: {', '.join(names)}. Rename them."
        raise ValueError(msg)


def _targets(args: argparse.Namespace) -> "list[Target]":
    from anomalib_zsad.evaluation.targets import parse_target

    targets = [parse_target(specification) for specification in args.target]
    names = [target.name for target in targets]
    if len(set(names)) < len(names):
        msg = f"Two targets have the same name ({', '.join(names)}); put NAME= in front of one."
        raise ValueError(msg)
    return [target.restricted_to(args.categories) for target in targets] if args.categories else targets


def _evaluate(
    args: argparse.Namespace, arguments: dict[str, Any], targets: "Sequence[Target]", settings: "Settings"
) -> None:
    from anomalib_zsad.evaluation.evaluate import evaluate
    from anomalib_zsad.outputs.progress import Progress

    with Progress(reports=True) as progress:
        evaluation = evaluate(_subjects(args, arguments), targets, args.output, settings, progress)
    report(args, evaluation, targets)


def _subjects(args: argparse.Namespace, arguments: dict[str, Any]) -> "Iterator[Subject]":
    """The models one after the other, so that only one is in memory at a time."""
    from anomalib_zsad.evaluation.subject import build_subject

    for checkpoint in args.checkpoint or [None]:
        if checkpoint is None:
            sys.stderr.write(
                "warning: no --checkpoint was given: the model is untrained and its figures mean nothing.\n"
            )
        try:
            subject = build_subject(args.model, checkpoint, arguments, args.auxiliary, args.device)
        except ValueError as error:
            raise _UserError(str(error)) from error
        if checkpoint is not None and subject.auxiliary is None:
            sys.stderr.write(
                "warning: it is not known what the model was trained on, so an overlap with a target cannot be seen; "
                "say it with --auxiliary.\n"
            )
        yield subject
