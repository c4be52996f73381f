"""Options that say how volumes are read and shown to a model, of equal names and meaning in every command."""

import argparse
import math

from anomalib_zsad.cli.dataclass_options import add_options, fill
from anomalib_zsad.volumes.options import CT_PRESETS, ReadingOptions, SizeBudget


def add_reading_options(parser: argparse.ArgumentParser, *, source_names: bool = True, nifti: bool = True) -> None:
    """Add them; that which shows file names only to commands that list inputs, NIfTI's to those that can meet it."""
    group = parser.add_argument_group("reading")
    of_nifti = {
        "modality": "for NIfTI, which does not say it",
        "nifti_affine": "which one to trust where the two disagree (else refused)",
    }
    add_options(
        group,
        ReadingOptions,
        {
            "mode": "2d also scores what is no volume (no position, colour, ultrasound), image by image, without "
            "millimetres",
            **(of_nifti if nifti else {}),
            "volume_index": "which volume, from 0, of a NIfTI file that holds several, or of a split DICOM series",
            "select": "NAME=VALUE of the volumes to take of a DICOM series that was split, such as time=1, echo=4.9, "
            "component=magnitude; kind=original leaves out maps and whatever else was computed",
            "hash_uids": "write stable pseudonyms in the place of UIDs, which may hold a scanner's serial number and "
            "the date of the study; DICOM objects keep them, to refer to their source",
        },
    )
    group.add_argument(
        "--max-volume-gib",
        type=float,
        default=SizeBudget.volume_bytes / 2**30,
        metavar="GIB",
        help="largest volume in memory (default: %(default)g)",
    )
    if source_names:
        group.add_argument(
            "--source-names",
            action="store_true",
            help="show file names, which may hold patient data; without it, series have pseudonyms only",
        )


def reading_options(args: argparse.Namespace) -> ReadingOptions:
    """How to read.

    Raises:
        ValueError: If something makes no sense.
    """
    if not 0 < args.max_volume_gib < math.inf:
        raise ValueError(f"--max-volume-gib must be a number above 0, got {args.max_volume_gib}")
    if args.volume_index is not None and args.volume_index < 0:
        raise ValueError(f"--volume-index is at least 0, got {args.volume_index}")
    return fill(ReadingOptions, args, budget=SizeBudget(volume_bytes=int(args.max_volume_gib * 2**30)))


SLICING = {
    "plane": "which slices; native follows the acquisition",
    "window": f"auto, percentile, {', '.join(CT_PRESETS)}, or WIDTH/LEVEL such as 80/40",
    "channels": "one slice, or with its neighbours (2.5D)",
    "crop": "show the model only the box around the body",
    "top_k": "the volume's score is the mean of this many top slices",
    "batch_size": "slices scored at a time",
    "score_blank": "score constant slices too, instead of skipping them",
}
"""Fields of `VolumeOptions` that decide what the model sees and how a volume is scored."""
