"""Options that say which images of a folder are read, of equal names and meaning in every command that has them."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from anomalib_zsad.cli.dataclass_options import add_options, fill
from anomalib_zsad.data.image_endings import IMAGE_ENDINGS
from anomalib_zsad.inspection.options import ImageReading
from anomalib_zsad.outputs.object_store import Place

_BESIDE_PICTURES = (".txt", ".csv", ".json", ".md", ".xml", ".yaml", ".yml", ".html", ".pdf", ".db", ".ini")


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


@dataclass(frozen=True)
class Pictures:
    """Pictures where volumes were looked for.

    Attributes:
        count: How many there are.
        alone: Whether there is nothing else that could be a volume.
        place: Where.
    """

    count: int
    alone: bool
    place: Place

    @property
    def hint(self) -> str:
        """What to do with them, to be put behind a sentence; empty where there are none."""
        if not self.count:
            return ""
        some = f"there are {self.count:,} pictures, which are" if self.count > 1 else "there is a picture, which is"
        return f"; {some} no volume: `anomalib-zsad inspect -i {self.place}` scores pictures"


def count_pictures(place: Place) -> Pictures:
    """How many pictures lie at a path, by their endings; nothing is opened, and no archive or store is looked into."""
    if not isinstance(place, Path):
        return Pictures(0, False, place)
    names = [place.name] if place.is_file() else [name for _, _, files in os.walk(place) for name in files]
    endings = [Path(name).suffix.lower() for name in names if not name.startswith(".")]
    count = sum(ending in IMAGE_ENDINGS for ending in endings)
    others = sum(ending not in (*IMAGE_ENDINGS, *_BESIDE_PICTURES) for ending in endings)
    return Pictures(count, count > 0 and not others, place)
