"""Arguments that `screen`, `info` and `calibrate` share: how volumes are read."""

import argparse
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anomalib_zsad.volumes.options import ReadingOptions

EXIT_CODES = """\
exit codes: 0 everything done; 2 wrong usage; 3 nothing to screen was found; 4 some series were refused; 5 all were
refused; 6 the output cannot be written; 130 interrupted
"""


def add_reading_arguments(parser: argparse.ArgumentParser, *, source_names: bool = True) -> None:
    """Add the arguments to a parser; that which shows file names only to commands that list inputs."""
    group = parser.add_argument_group("reading")
    group.add_argument(
        "--mode",
        choices=["volume", "2d"],
        default="volume",
        help="2d also scores what is no volume (no position, colour, ultrasound): image by image, without millimetres",
    )
    group.add_argument(
        "--modality", choices=["auto", "CT", "MR"], default="auto", help="for NIfTI, which does not say it"
    )
    group.add_argument(
        "--nifti-affine", choices=["sform", "qform"], help="which one to trust where the two disagree (else refused)"
    )
    group.add_argument("--volume-index", type=int, metavar="N", help="which volume of a NIfTI file that holds several")
    group.add_argument("--max-volume-gib", type=float, default=4.0, metavar="GIB", help="largest volume in memory")
    if source_names:
        group.add_argument(
            "--source-names",
            action="store_true",
            help="show file names, which may hold patient data; without it, series have pseudonyms only",
        )


def reading_options(args: argparse.Namespace) -> "ReadingOptions":
    """The arguments as options.

    Raises:
        ValueError: If one makes no sense.
    """
    from anomalib_zsad.volumes.options import ReadingOptions, SizeBudget

    if not 0 < args.max_volume_gib < math.inf:
        raise ValueError(f"--max-volume-gib must be a number above 0, got {args.max_volume_gib}")
    if args.volume_index is not None and args.volume_index < 0:
        raise ValueError(f"--volume-index is at least 0, got {args.volume_index}")
    return ReadingOptions(
        mode=args.mode,
        modality=args.modality,
        nifti_affine=args.nifti_affine,
        volume_index=args.volume_index,
        budget=SizeBudget(volume_bytes=int(args.max_volume_gib * 2**30)),
    )
