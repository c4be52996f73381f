"""Options of `calibrate` that would do nothing for what is calibrated on: refused, and never passed over."""

import argparse
from dataclasses import fields
from typing import Any

from anomalib_zsad.cli.dataclass_options import fill, flag_of
from anomalib_zsad.cli.image_options import image_reading
from anomalib_zsad.cli.reading_options import reading_options
from anomalib_zsad.inspection.options import ImageReading
from anomalib_zsad.screening.options import VolumeOptions
from anomalib_zsad.volumes.options import ReadingOptions

# Fields whose options are not called as they are.
_FLAGS = {"budget": "--max-volume-gib"}


def check_idle_options(args: argparse.Namespace, kind: str, *, data_set: bool) -> None:
    """Refuse options that would do nothing.

    Args:
        args: The command line.
        kind: What is calibrated on: `volumes` or `images`.
        data_set: Whether it is a data set, and no folder or file.

    Raises:
        ValueError: If there is one; names it, and what it goes with.
    """
    if image_reading(args) != ImageReading() and (kind != "images" or data_set):
        raise ValueError("--include, --exclude and --max-pixels go with a folder of images")
    if args.category is not None and (kind != "images" or not data_set):
        raise ValueError("--category goes with a data set of images (DATAMODULE:ROOT); leave it out")
    if args.kind != "auto" and data_set:
        raise ValueError("--kind says what a folder holds, and a data set says it itself; leave it out")
    if kind == "images":
        flags = ["--only"] if args.only else []
        flags += _changed(fill(VolumeOptions, args), VolumeOptions(batch_size=args.batch_size))
        flags += _changed(reading_options(args), ReadingOptions())
        if flags:
            raise ValueError(f"{', '.join(flags)} {'goes' if len(flags) == 1 else 'go'} with volumes, not with images")


def _changed(given: Any, default: Any) -> list[str]:
    """Options of the fields of a dataclass that are not as by default."""
    changed = [field for field in fields(given) if getattr(given, field.name) != getattr(default, field.name)]
    return [_FLAGS.get(field.name, flag_of(field)) for field in changed]
