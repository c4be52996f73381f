"""`anomalib-zsad evaluate`: a model over one or many sets, all categories, resumable."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from anomalib_zsad.cli import run_options
from anomalib_zsad.cli.compare_models import checked_models, compare
from anomalib_zsad.cli.dataclass_options import add_options, fill
from anomalib_zsad.cli.decision_options import add_calibration_options, load_calibration
from anomalib_zsad.cli.failures import say
from anomalib_zsad.cli.model_options import (
    add_engine_options,
    add_model_options,
    add_tile_options,
    check_trained,
    engine_options,
    method_of,
    say_loading,
    tile_options,
)
from anomalib_zsad.cli.strata_options import add_strata_options, load_strata
from anomalib_zsad.evaluation.settings import Settings
from anomalib_zsad.evaluation.volumes.lesion_rules import LesionRules
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.scoring.tile_options import VOLUMES_WHOLE

if TYPE_CHECKING:
    from anomalib_zsad.evaluation.evaluate import Subject
    from anomalib_zsad.evaluation.targets import Target

_EPILOG = """\
An input is DATAMODULE:ROOT for one of anomalib's datamodules
(MVTecAD:datasets/MVTecAD, Visa:datasets/visa) or a class path, with further
arguments as in 'FolderTree:data/steel?mask_threshold=0&class_name=steel'; or a
meta.json file or a folder that holds one; or a folder of images sorted by kind.
NAME= in front says which set it is (VisA=data/meta_visa.json), for the
published figures and the check against the auxiliary set. Nothing is
downloaded.

  anomalib-zsad evaluate -i VisA=Visa:datasets/visa -o visa \\
      --checkpoint model.ckpt

Several models in one table, with paired differences from the first:

  anomalib-zsad evaluate -i data/parts -o compared \\
      --models model.ckpt WinClip Patchcore=patchcore.ckpt

Volumes (VolumeDataModule:data/ms?class_name=brain) are also evaluated for
readers: readers.json, readers.md, volumes.csv, lesions.csv and curves
(docs/protocol.md, "For readers"). report.html shows all of it, with failures
and the hardest cases; with --screened it links into the series.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add description and options."""
    run_options.describe(parser, "Evaluate a model on all categories of one or many sets.", _EPILOG)
    parser.add_argument("-i", "--input", nargs="+", required=True, metavar="SET", help="what to evaluate on, see below")
    run_options.add_output_folder(parser)
    add_model_options(parser, several=True)
    add_engine_options(parser)
    add_tile_options(parser)
    parser.add_argument(
        "--models",
        nargs="+",
        metavar="MODEL",
        help="compare several: NAME, CHECKPOINT or NAME=CHECKPOINT, perhaps with ?KEY=VALUE&...; the first is what the "
        "others are compared with",
    )
    parser.add_argument("--auxiliary", metavar="NAME", help="set that the model was trained on, if it does not say")
    group = parser.add_argument_group("evaluation")
    group.add_argument("--categories", nargs="+", help="only these categories of every set")
    helps = {
        "protocols": "how scores are made: from one image alone, or as published, with the whole test set in view",
        "seeds": "seeds of the model's noise; 0 is its own",
        "batch_size": "images, or tiles, at a time",
        "num_workers": "processes that read images",
        "allow_overlap": "evaluate on what was trained on, and say so",
        "overwrite": "compute again what another run left in the folder",
    }
    add_options(group, Settings, helps, protocols=("--protocol",), seeds=("--seed",))
    group.add_argument(
        "--source-names",
        action="store_true",
        help="put the names of volumes, which may hold patient data, into volumes.csv; else they have pseudonyms only",
    )
    group.add_argument(
        "--screened",
        type=Path,
        metavar="FOLDER",
        help="output folder of a screening of the same volumes: report.html links into its pages",
    )
    group.add_argument(
        "--claim",
        action="store_true",
        help="write claim.md: a draft of the CLAIM checklist of medical papers, with what the run knows filled in",
    )
    _add_lesion_options(parser)
    add_strata_options(parser)
    add_calibration_options(parser)
    run_options.add_run_options(parser)


def _add_lesion_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("lesions of volumes (docs/protocol.md)")
    helps = {
        "lesion_figures": "further figures of lesions, of regions that overlap them, beside those of places",
        "min_overlap": "overlap from which a region finds a lesion, for iou and dice",
        "lesion_regions": "what a region is: made of each map as PI-CAI does, or what the calibrated threshold shows",
    }
    add_options(group, LesionRules, helps)


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the table and write the reports."""
    settings = _settings(args)
    if args.models:
        checked_models(args, settings)
        return compare(args, settings, _targets(args))
    check_trained(args)
    if args.screened is not None:
        run_options.check_input(args.screened)
    strata = load_strata(args)
    say_loading(args)
    from anomalib_zsad.cli.evaluate_outputs import report
    from anomalib_zsad.evaluation.evaluate import evaluate
    from anomalib_zsad.outputs.progress import Progress

    targets = _targets(args)
    _check_volumes(settings, targets)
    with Progress(enabled=args.progress, reports=True) as progress:
        evaluation = evaluate(_subjects(args), targets, args.output, settings, progress)
    report(args, settings, evaluation, targets, strata)
    return ExitCode.DONE


def _settings(args: argparse.Namespace) -> Settings:
    """How to evaluate.

    Raises:
        ValueError: If something in the command does not fit.
    """
    calibration, rate = load_calibration(args)
    lesions = fill(LesionRules, args)
    settings = fill(Settings, args, calibration=calibration, false_alarm_rate=rate, lesions=lesions)
    if calibration is not None and (len(args.checkpoint) > 1 or set(settings.seeds) != {0}):
        raise ValueError(
            "--calibration goes with one checkpoint and --seed 0: it was made with one model and its own noise"
        )
    if not engine_options(args).is_plain and ("paper" in settings.protocols or set(settings.seeds) != {0}):
        raise ValueError(
            "--protocol paper and --seed need --engine torch at float32: another engine gives one answer only"
        )
    if tile_options(args).tiles is not None and "paper" in settings.protocols:
        raise ValueError("--tiles goes with --protocol deployable: the published one sees whole images")
    if calibration is not None and "deployable" not in settings.protocols:
        raise ValueError("--calibration goes with --protocol deployable: the published protocol has other scores")
    names = [path.name for path in args.checkpoint]
    if len(set(names)) < len(names):
        raise ValueError(
            f"checkpoints of the same file name cannot be told apart in the results: {', '.join(names)}; rename them"
        )
    return settings


def _check_volumes(settings: Settings, targets: "Sequence[Target]") -> None:
    """Refuse what only volumes have where there are none.

    Raises:
        ValueError: If figures of lesions are asked for, and no volumes are scored as users screen them.
    """
    volumes = any(category.volumes is not None for target in targets for category in target.categories)
    if settings.lesions.lesion_figures and not (volumes and "deployable" in settings.protocols):
        raise ValueError(
            "--lesion-figures is for volumes under --protocol deployable, and there are none: an input of volumes is "
            "written as VolumeDataModule:FOLDER?class_name=NAME"
        )


def _targets(args: argparse.Namespace) -> "list[Target]":
    from anomalib_zsad.evaluation.targets import parse_target

    targets = [parse_target(specification) for specification in args.input]
    names = [target.name for target in targets]
    if len(set(names)) < len(names):
        raise ValueError(f"two inputs have the same name ({', '.join(names)}); put NAME= in front of one")
    if args.tiles is not None and any(part.volumes for target in targets for part in target.categories):
        raise ValueError(VOLUMES_WHOLE)
    return [target.restricted_to(args.categories) for target in targets] if args.categories else targets


def _subjects(args: argparse.Namespace) -> "Iterator[Subject]":
    """The models one after the other, so that only one is in memory at a time."""
    from anomalib_zsad.evaluation.subject import build_subject

    how = engine_options(args), tile_options(args)
    checkpoints: list[Path | None] = [*args.checkpoint] or [None]
    for checkpoint in checkpoints:
        subject = build_subject(checkpoint, method_of(args), args.model_arguments, args.auxiliary, args.device, *how)
        if checkpoint is not None and subject.auxiliary is None:
            say(
                "warning: it is not known what the model was trained on, so an overlap with an input cannot be seen; "
                "say it with --auxiliary"
            )
        yield subject
