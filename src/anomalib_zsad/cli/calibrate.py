"""`anomalib-zsad calibrate`: learn from normal data what scores mean."""

import argparse
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalib_zsad.cli import run_options
from anomalib_zsad.cli.dataclass_options import add_options, fill
from anomalib_zsad.cli.failures import say
from anomalib_zsad.cli.idle_options import check_idle_options
from anomalib_zsad.cli.image_options import add_image_options, image_reading
from anomalib_zsad.cli.model_options import (
    add_engine_options,
    add_model_options,
    add_tile_options,
    check_trained,
    engine_options,
    load_scorer,
    say_loading,
    tile_options,
)
from anomalib_zsad.cli.reading_options import SLICING, add_reading_options, reading_options
from anomalib_zsad.data.image_endings import IMAGE_ENDINGS
from anomalib_zsad.evaluation.target_names import split_datamodule
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.outputs.terminal import console, plain_table
from anomalib_zsad.scoring.tile_options import VOLUMES_WHOLE
from anomalib_zsad.screening.options import VolumeOptions

if TYPE_CHECKING:
    from anomalib_zsad.calibration import Calibration
    from anomalib_zsad.evaluation.targets import Target
    from anomalib_zsad.scoring.model_scorer import ModelScorer
    from anomalib_zsad.screening.normal_volumes import Normals

_EPILOG = """\
The input holds nothing but normal cases, of the same kind as those to be judged
later (scanner, protocol, region; camera, light, product), none of which the
model was trained on. Volumes need 20 patients or more, images 20 images.
Patients are told apart by DICOM's PatientID; every NIfTI file and every image
counts as a patient unless --patient finds one in names: give it where there are
several of one patient. Of a data set (DATAMODULE:ROOT, as for `evaluate`) the
normal cases are taken; images of it show what it says, or --class-name.

  anomalib-zsad calibrate -i normal_heads -o heads.json \\
      --checkpoint model.ckpt --class-name brain
  anomalib-zsad calibrate -i MVTecAD:datasets/MVTecAD --category bottle \\
      -o bottle.json --checkpoint model.ckpt

The file holds scores, no names and no identifiers. It fits this model with
these settings only.
"""
_OF_THE_COMMAND = ("plane", "channels", "crop", "window", "class_name")
DataModule = tuple[str, Path, dict[str, Any]]
RATES = (0.01, 0.05, 0.1)
_VOLUME_SUFFIXES = (".nii", ".gz", ".dcm", ".ima", ".zip", "")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add description and options."""
    description = "Calibrate a model on normal volumes or images. The input is only read."
    run_options.describe(parser, description, _EPILOG)
    what = "a folder or zip archive of volumes, a folder of images, or DATAMODULE:ROOT"
    parser.add_argument("-i", "--input", required=True, metavar="PATH", help=what)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the calibration (JSON)")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if there is one")
    parser.add_argument("--category", help="which category of a data set that has several")
    parser.add_argument(
        "--kind", choices=["auto", "volumes", "images"], default="auto", help="what a folder holds (default: look)"
    )
    parser.add_argument(
        "--patient",
        metavar="REGEX",
        help="its first group, in the name of a series' first file or of an image below the input, is the patient",
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="of volumes, only those with this modality, window (brain, percentile, ...) or plane; may be repeated",
    )
    add_model_options(parser)
    add_engine_options(parser)
    add_tile_options(parser)
    add_options(parser.add_argument_group("screening", "as the volumes will be screened"), VolumeOptions, SLICING)
    add_reading_options(parser, source_names=False)
    add_image_options(parser)
    run_options.add_progress(parser.add_argument_group("run"))


def run(args: argparse.Namespace) -> int:
    """Calibrate and say what came of it."""
    _check_output(args)
    datamodule = split_datamodule(args.input)
    check_trained(args)
    if datamodule is None:
        run_options.check_input(Path(args.input))
    _ = engine_options(args), tile_options(args)  # what makes no sense is told at once
    _ = fill(VolumeOptions, args), reading_options(args), _only(args)
    say_loading(args)
    kind = _kind(args, datamodule)
    check_idle_options(args, kind, data_set=datamodule is not None)
    if kind == "volumes" and args.tiles is not None:
        raise ValueError(VOLUMES_WHOLE)
    calibration = (_volumes if kind == "volumes" else _images)(args, datamodule)
    calibration.save(args.output, overwrite=args.overwrite)
    _print_summary(calibration, args.output)
    return ExitCode.DONE


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


def _kind(args: argparse.Namespace, datamodule: DataModule | None) -> str:
    """Whether volumes or images are calibrated on.

    Raises:
        ValueError: If the input holds both, or neither.
        PermissionError: If nothing is found, and a folder cannot be read.
    """
    if datamodule is not None:
        return "volumes" if _is_volume_datamodule(datamodule[0]) else "images"
    if args.kind != "auto":
        return args.kind
    folder = Path(args.input)
    unreadable: list[OSError] = []
    files = [folder.name] if folder.is_file() else []
    files += [name for _, _, names in os.walk(folder, onerror=unreadable.append) for name in names]
    endings = Counter(Path(name).suffix.lower() for name in files)
    images = sum(endings[suffix] for suffix in IMAGE_ENDINGS)
    volumes = sum(endings[suffix] for suffix in _VOLUME_SUFFIXES)
    if unreadable and not files:
        raise PermissionError(f"the folder {unreadable[0].filename} cannot be read: {unreadable[0].strerror}")
    if bool(images) == bool(volumes):
        what = f"both images ({images}) and files of volumes ({volumes})" if images else "neither images nor volumes"
        raise ValueError(f"{args.input} holds {what}; give a folder of one kind, or say which with --kind")
    return "images" if images else "volumes"


def _is_volume_datamodule(name: str) -> bool:
    from anomalib_zsad.data.category_set import CategorySet
    from anomalib_zsad.volumes.datasets.datamodule import VolumeDataModule

    return issubclass(CategorySet(name).resolve_class(), VolumeDataModule)


def _volumes(args: argparse.Namespace, datamodule: DataModule | None) -> "Calibration":
    from anomalib_zsad.outputs.progress import Progress
    from anomalib_zsad.screening.calibrate_volumes import calibrate_volumes
    from anomalib_zsad.screening.normal_volumes import find_volumes

    scorer = load_scorer(args, only_scores=False)  # what it was trained on is asked of its class
    reading, only, options = reading_options(args), _only(args), fill(VolumeOptions, args)
    if datamodule is None:
        normals = find_volumes(Path(args.input), reading, args.patient, _tell)
    else:
        normals = _of_volume_datamodule(args, datamodule, options)
    with Progress(enabled=args.progress) as progress:
        bar = progress.bar("volumes", len(normals.volumes))
        return calibrate_volumes(normals, scorer, options, reading, only=only, advance=bar.advance)


def _of_volume_datamodule(args: argparse.Namespace, datamodule: DataModule, options: VolumeOptions) -> "Normals":
    from anomalib_zsad.data.class_arguments import checked_arguments
    from anomalib_zsad.data.patient_names import patient_expression
    from anomalib_zsad.screening.normal_volumes import volumes_of_datamodule
    from anomalib_zsad.volumes.datasets.datamodule import VolumeDataModule

    _, root, arguments = datamodule
    given = [name for name in _OF_THE_COMMAND if name in arguments]
    if given:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ValueError(f"say {', '.join(given)} with {flags} and not in the input: the calibration is tied to it")
    if args.patient is not None:
        arguments["patient"] = patient_expression(args.patient).pattern
    arguments = checked_arguments(VolumeDataModule, arguments)
    arguments |= {name: getattr(options, name) for name in ("plane", "channels", "crop", "window")}
    try:
        made = VolumeDataModule(root, **arguments)
    except TypeError as error:
        raise ValueError(f"VolumeDataModule cannot be built with {', '.join(arguments)}: {error}") from error
    return volumes_of_datamodule(made, _tell)


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
    say(f"left out: {series or 'a file'}: {message}")


def _images(args: argparse.Namespace, datamodule: DataModule | None) -> "Calibration":
    from anomalib_zsad.inspection.calibrate_images import calibrate_images, find_images, images_of_datamodule
    from anomalib_zsad.inspection.find_images import in_words
    from anomalib_zsad.outputs.progress import Progress

    if datamodule is None:
        if not Path(args.input).is_dir():
            raise ValueError(f"{args.input} is no folder; give a folder of normal images")
        scorer = load_scorer(args, only_scores=False)
        images = find_images(Path(args.input), scorer.class_name, image_reading(args), args.patient)
        if images.skipped:
            say(f"skipped: {in_words(images.skipped)}")
    else:
        from anomalib_zsad.evaluation.targets import datamodule_target

        name, root, arguments = datamodule
        target = datamodule_target(name, root, None, arguments)  # tells what is wrong with arguments in a line
        images = images_of_datamodule(name, root, args.category, arguments, args.class_name, args.patient)
        # An engine's model is made for one class name: that of the images.
        scorer = load_scorer(args, only_scores=False, class_name=images.class_name)
        _check_training(args, scorer, target)
    with Progress(enabled=args.progress) as progress:
        bar = progress.bar(images.class_name, len(images.dataset))
        calibration = calibrate_images(scorer.module, images, batch_size=args.batch_size, advance=bar.advance)
    if images.turned:
        say(f"turned upright, as their EXIF orientation says: {images.turned}")
    return calibration


def _check_training(args: argparse.Namespace, scorer: "ModelScorer", target: "Target") -> None:
    """Refuse images that the model was trained on: it knows them, and new ones it does not know.

    Raises:
        ValueError: If it was.
    """
    from anomalib_zsad.evaluation.subject import find_auxiliary

    auxiliary = find_auxiliary(scorer.module, args.checkpoint)
    names = [category.name for category in target.categories]
    asked = [args.category] if args.category in names else names
    if auxiliary is not None and auxiliary.overlap(target.name, asked):
        raise ValueError(
            f"the model was trained on {', '.join(auxiliary.overlap(target.name, asked))}: scores of what it was "
            "trained on say nothing about new images. Calibrate on images that it never saw"
        )


def _print_summary(calibration: "Calibration", output: Path) -> None:
    from anomalib_zsad.calibration import normals_needed

    out = console()
    name = calibration.unit_name
    counted = (f"{name}s", "members")
    thresholds_at = (f"threshold at {100 * rate:g} %" for rate in RATES)
    table = plain_table("level", *counted, *thresholds_at, whole=["level"], numbers=counted)
    for level in calibration.levels:
        members = sum(len(unit) for unit in calibration.scores[level])
        thresholds = [
            f"{calibration.threshold(level, rate):.4f}"
            if calibration.units >= normals_needed(rate)
            else f"needs {normals_needed(rate)} {name}s"
            for rate in RATES
        ]
        table.add_row(level, str(calibration.units), str(members), *thresholds)
    out.print(table)
    lines = [f"left out: {reason} ({number})" for reason, number in calibration.left_out.items()]
    lines += [f"{level}: {calibration.statement(level, 0.05)}" for level in calibration.levels]
    needed = ", ".join(f"{100 * rate:g} % needs {normals_needed(rate)}" for rate in RATES)
    lines.append(f"A false-alarm rate of {needed} {name}s. It holds for cases like these, not for another population.")
    lines.append(f"written: {output}")
    for line in lines:
        out.print(line, markup=False, highlight=False, soft_wrap=True)
