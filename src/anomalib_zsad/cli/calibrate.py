"""``anomalib-zsad calibrate``: learn from normal data what scores mean."""

import argparse
import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalib_zsad.cli.model_arguments import (
    add_model_arguments,
    add_slicing_arguments,
    check_checkpoint,
    model_arguments,
)
from anomalib_zsad.cli.reading_arguments import add_reading_arguments, reading_options

if TYPE_CHECKING:
    from anomalib_zsad.calibration import Calibration
    from anomalib_zsad.scoring.model_scorer import ModelScorer
    from anomalib_zsad.screening.normal_volumes import Normals
    from anomalib_zsad.screening.options import VolumeOptions

_EPILOG = """\
The input holds nothing but normal cases, of the same kind as those to be judged later (scanner, protocol, region;
camera, light, product), none of which the model was trained on. Volumes need 20 patients or more, images 20 images.
Patients are told apart by DICOM's PatientID; every NIfTI file counts as a patient unless --patient finds one in names.

  anomalib-zsad calibrate --input normal_heads -o heads.json --checkpoint model.ckpt --class-name brain
  anomalib-zsad calibrate --target MVTecAD:datasets/MVTecAD --category bottle -o bottle.json --checkpoint model.ckpt

The file holds scores, no names and no identifiers. It fits this model with these settings only.
"""
_SLICING = ("plane", "channels", "crop", "window", "class_name")
RATES = (0.01, 0.05, 0.1)
_VOLUME_SUFFIXES = (".nii", ".gz", ".dcm", ".ima", ".zip", "")


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command to the command line's subparsers."""
    parser = subparsers.add_parser(
        "calibrate",
        help="learn from normal data what scores mean: p-values, thresholds with a false-alarm rate",
        description="Calibrate a model on normal volumes or images. The input is only read.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("-i", "--input", type=Path, help="a folder or zip archive of volumes, or a folder of images")
    source.add_argument(
        "--target", metavar="DATAMODULE:ROOT", help="a datamodule, as for `evaluate`: its normal cases are taken"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the calibration (JSON)")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if there is one")
    parser.add_argument("--category", help="which category of a --target that has several")
    parser.add_argument(
        "--kind", choices=["auto", "volumes", "images"], default="auto", help="what --input holds (default: look)"
    )
    parser.add_argument(
        "--patient",
        metavar="REGEX",
        help="its first group, in the name of a series' first file below the input, is the patient",
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="of volumes, only those with this modality, window (brain, percentile, ...) or plane; may be repeated",
    )
    add_model_arguments(parser)
    add_slicing_arguments(parser.add_argument_group("screening", "as the volumes will be screened"))
    add_reading_arguments(parser, source_names=False)
    return parser


def run(args: argparse.Namespace) -> int:
    """Calibrate and say what came of it; 0 on success, 2 where the user must act."""
    from anomalib_zsad.scoring.build import build_scorer

    try:
        _check_output(args)
        kind = _kind(args)
        check_checkpoint(args)
        scorer = build_scorer(args.model, args.checkpoint, model_arguments(args), args.device, args.class_name)
        calibration = _volumes(args, scorer) if kind == "volumes" else _images(args, scorer)
        calibration.save(args.output, overwrite=args.overwrite)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    _print_summary(calibration, args.output)
    return 0


def _check_output(args: argparse.Namespace) -> None:
    """Refuse at once what could not be written at the end.

    Raises:
        FileExistsError: If there is a file that may not be replaced.
        NotADirectoryError: If there is no folder to write it to.
    """
    if args.output.exists() and not args.overwrite:
        raise FileExistsError(f"{args.output} exists already; give another name, or --overwrite")
    if not args.output.parent.is_dir():
        raise NotADirectoryError(f"there is no folder {args.output.parent} to write the calibration to")
    if args.output.is_dir() or not os.access(args.output.parent, os.W_OK):
        raise PermissionError(f"{args.output} cannot be written; give the name of a file in a folder of yours")


def _kind(args: argparse.Namespace) -> str:
    """Whether volumes or images are calibrated on.

    Raises:
        FileNotFoundError: If there is no input.
        ValueError: If the input holds both, or neither.
    """
    if args.target is not None:
        return "volumes" if _is_volume_datamodule(_datamodule(args)[0]) else "images"
    if not args.input.exists():
        raise FileNotFoundError(f"there is nothing at the input path: {args.input}")
    if args.kind != "auto":
        return args.kind
    from torchvision.datasets.folder import IMG_EXTENSIONS

    files = [args.input] if args.input.is_file() else (path for path in args.input.rglob("*") if path.is_file())
    endings = Counter(path.suffix.lower() for path in files)
    images = sum(endings[suffix] for suffix in IMG_EXTENSIONS)
    volumes = sum(endings[suffix] for suffix in _VOLUME_SUFFIXES)
    if bool(images) == bool(volumes):
        what = f"both images ({images}) and files of volumes ({volumes})" if images else "neither images nor volumes"
        raise ValueError(f"{args.input} holds {what}; give a folder of one kind, or say which with --kind")
    return "images" if images else "volumes"


def _datamodule(args: argparse.Namespace) -> tuple[str, Path, dict[str, Any]]:
    """Class, root and arguments of the target.

    Raises:
        ValueError: If the target is no datamodule.
    """
    from anomalib_zsad.evaluation.targets import split_datamodule

    parts = split_datamodule(args.target)
    if parts is None:
        raise ValueError(f"{args.target!r} is no DATAMODULE:ROOT; give a folder of normal cases with --input")
    return parts


def _is_volume_datamodule(name: str) -> bool:
    from anomalib_zsad.data.category_set import CategorySet
    from anomalib_zsad.volumes.datasets.datamodule import VolumeDataModule

    return issubclass(CategorySet(name).resolve_class(), VolumeDataModule)


def _volumes(args: argparse.Namespace, scorer: "ModelScorer") -> "Calibration":
    from anomalib_zsad.outputs.progress import Progress
    from anomalib_zsad.screening.calibrate_volumes import calibrate_volumes
    from anomalib_zsad.screening.normal_volumes import find_volumes
    from anomalib_zsad.screening.options import VolumeOptions

    reading, only = reading_options(args), _only(args)
    options = VolumeOptions(
        plane=args.plane,
        channels=args.channels,
        crop=args.crop,
        window=args.window,
        top_k=args.top_k,
        batch_size=args.batch_size,
        score_blank=args.score_blank,
    )
    if args.target is None:
        normals = find_volumes(args.input, reading, args.patient, _tell)
    else:
        normals = _of_volume_datamodule(args, options)
    with Progress() as progress:
        bar = progress.bar("volumes", len(normals.volumes))
        return calibrate_volumes(normals, scorer, options, reading, only=only, advance=bar.advance)


def _of_volume_datamodule(args: argparse.Namespace, options: "VolumeOptions") -> "Normals":
    from anomalib_zsad.screening.normal_volumes import patient_expression, volumes_of_datamodule
    from anomalib_zsad.volumes.datasets.datamodule import VolumeDataModule

    _, root, arguments = _datamodule(args)
    given = [name for name in _SLICING if name in arguments]
    if given:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ValueError(f"say {', '.join(given)} with {flags} and not in the target: the calibration is tied to it")
    if args.patient is not None:
        arguments["patient"] = patient_expression(args.patient).pattern
    arguments |= {name: getattr(options, name) for name in ("plane", "channels", "crop", "window")}
    try:
        datamodule = VolumeDataModule(root, **arguments)
    except TypeError as error:
        raise ValueError(f"VolumeDataModule cannot be built with {', '.join(arguments)}: {error}") from error
    return volumes_of_datamodule(datamodule, _tell)


def _only(args: argparse.Namespace) -> dict[str, str]:
    """What volumes must be.

    Raises:
        ValueError: If a condition is none.
    """
    only: dict[str, str] = {}
    for pair in args.only:
        name, equals, value = pair.partition("=")
        if not equals or name not in ("modality", "window", "plane"):
            raise ValueError(f"--only takes modality=..., window=... or plane=..., not {pair!r}")
        only[name] = value
    return only


def _tell(series: str, message: str) -> None:
    sys.stderr.write(f"left out: {series or 'a file'}: {message}\n")


def _images(args: argparse.Namespace, scorer: "ModelScorer") -> "Calibration":
    from anomalib_zsad.inspection.calibrate_images import calibrate_images, find_images, images_of_datamodule
    from anomalib_zsad.outputs.progress import Progress

    if args.target is None:
        if not args.input.is_dir():
            raise ValueError(f"{args.input} is no folder; give a folder of normal images")
        images = find_images(args.input, scorer.class_name)
    else:
        module, root, arguments = _datamodule(args)
        _check_training(args, module, root, arguments)
        images = images_of_datamodule(module, root, args.category, arguments)
    with Progress() as progress:
        bar = progress.bar(images.class_name, len(images.dataset))
        return calibrate_images(scorer.module, images, batch_size=args.batch_size, advance=bar.advance)


def _check_training(args: argparse.Namespace, module: str, root: Path, arguments: dict[str, Any]) -> None:
    """Refuse images that the model was trained on: it knows them, and new ones it does not know.

    Raises:
        ValueError: If it was.
    """
    from anomalib_zsad.evaluation.subject import find_auxiliary
    from anomalib_zsad.evaluation.targets import datamodule_target
    from anomalib_zsad.models.methods import find_method

    target = datamodule_target(module, root, None, arguments)
    auxiliary = find_auxiliary(find_method(args.model), args.checkpoint)
    names = [category.name for category in target.categories]
    asked = [args.category] if args.category in names else names
    if auxiliary is not None and auxiliary.overlap(target.name, asked):
        raise ValueError(
            f"the model was trained on {', '.join(auxiliary.overlap(target.name, asked))}: scores of what it was "
            "trained on say nothing about new images. Calibrate on images that it never saw"
        )


def _print_summary(calibration: "Calibration", output: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from anomalib_zsad.calibration import normals_needed

    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    name = calibration.unit_name
    table = Table("level", f"{name}s", "members", *(f"threshold at {100 * rate:g} %" for rate in RATES))
    for level in calibration.levels:
        members = sum(len(unit) for unit in calibration.scores[level])
        thresholds = [
            f"{calibration.threshold(level, rate):.4f}"
            if calibration.units >= normals_needed(rate)
            else f"needs {normals_needed(rate)} {name}s"
            for rate in RATES
        ]
        table.add_row(level, str(calibration.units), str(members), *thresholds)
    console.print(table)
    lines = [f"left out: {reason} ({number})" for reason, number in calibration.left_out.items()]
    lines += [f"{level}: {calibration.statement(level, 0.05)}" for level in calibration.levels]
    needed = ", ".join(f"{100 * rate:g} % needs {normals_needed(rate)}" for rate in RATES)
    lines.append(f"A false-alarm rate of {needed} {name}s. It holds for cases like these, not for another population.")
    lines.append(f"written: {output}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
