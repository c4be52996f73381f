"""The image files of an inspection, with the names they go by, and what else lies there."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from anomalib_zsad.data.files_below import FilesBelow, is_image, kind_of, spoken
from anomalib_zsad.data.image_endings import IMAGE_ENDINGS
from anomalib_zsad.inspection.options import ImageReading
from anomalib_zsad.units.parts import Part

LEFT_OUT = "left out by --include or --exclude"
"""The kind, in `FoundImages.skipped`, of images that were not asked for."""


@dataclass
class FoundImages:
    """What lies below a folder.

    Attributes:
        images: Image files that were asked for: names below the folder, and paths; in order of names.
        unreadable: Why a folder cannot be read, by its name with a slash behind it.
        skipped: How many files of which kind are not looked at: by ending (`.txt`), `LEFT_OUT`, or in a few words.
    """

    images: list[tuple[str, Path]] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)

    def of(self, part: Part) -> "FoundImages":
        """What a part of the run is to do, by the names of images; what is no image is told by the first part."""
        if part.whole:
            return self
        images = [pair for pair in self.images if part.holds(pair[0])]
        return FoundImages(images, self.unreadable, self.skipped) if part.number == 0 else FoundImages(images)


def in_words(skipped: Mapping[str, int]) -> str:
    """How many files of which kind were skipped, for people: `3 .txt, 2 .gif`, most first."""
    ordered = sorted(skipped.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{number:,} {kind}" for kind, number in ordered)


def find_images(location: Path, reading: ImageReading | None = None) -> FoundImages:
    """Image files, by their ending, below a folder (or the one file).

    Links to folders are not followed, and folders that cannot be read are told of.

    Args:
        location: A folder or a file.
        reading: Which images are asked for; `None` for all.

    Raises:
        FileNotFoundError: If there is nothing at the location.
        ValueError: If it is a single file that is no image by its ending.
    """
    reading, found = reading or ImageReading(), FoundImages()
    if location.is_file():
        if not is_image(location):
            raise ValueError(f"{location.name} is no image by its ending; known are {', '.join(IMAGE_ENDINGS)}")
        _sort_in(found, reading, spoken(location.name), location)
        return found
    if not location.is_dir():
        raise FileNotFoundError(f"there is nothing at the input path: {location}")
    below = FilesBelow(location)
    for path in below:
        _sort_in(found, reading, spoken(path.relative_to(location).as_posix()), path)
    found.images.sort()
    found.unreadable = below.unreadable
    if below.links:
        found.skipped["links to folders"] += below.links
    return found


def _sort_in(found: FoundImages, reading: ImageReading, name: str, path: Path) -> None:
    kind = kind_of(path)
    if kind is None and reading.asks_for(name):
        found.images.append((name, path))
    else:
        found.skipped[kind or LEFT_OUT] += 1
