"""Options that say which images of a folder are read, of equal names and meaning in every command that has them."""

import argparse

from anomalib_zsad.cli.dataclass_options import add_options, fill
from anomalib_zsad.inspection.options import ImageReading


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """Add them in a group of their own."""
    helps = {
        "include": "patterns of the images to take, such as 'line3/*' or *.png; the rest is left out and counted",
        "exclude": "patterns of images to leave out all the same, such as *_mask.png",
        "max_pixels": "most pixels of an image; a larger one is unreadable",
    }
    add_options(parser.add_argument_group("images of a folder"), ImageReading, helps)


def image_reading(args: argparse.Namespace) -> ImageReading:
    """Which images to read.

    Raises:
        ValueError: If something makes no sense.
    """
    return fill(ImageReading, args)
