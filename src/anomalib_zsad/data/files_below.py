"""What lies below a folder: image files by their ending, what is none, and folders that cannot be read."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from anomalib_zsad.data.image_endings import IMAGE_ENDINGS


@dataclass
class FilesBelow:
    """Everything below a folder that is no folder; links to folders are not followed.

    Args:
        folder: The folder.

    Attributes:
        unreadable: Why a folder cannot be read, by its name below the first with a slash behind it; known once all
            files were asked for.
        links: How many links to folders there are; known then as well.
    """

    folder: Path
    unreadable: dict[str, str] = field(default_factory=dict)
    links: int = 0

    def __iter__(self) -> Iterator[Path]:
        self.unreadable, self.links = {}, 0
        for folder, names, files in os.walk(self.folder, onerror=self._note):
            for name in names:
                self._count_link(Path(folder) / name)
            yield from (Path(folder) / name for name in files)

    def _count_link(self, path: Path) -> None:
        try:
            self.links += path.is_symlink()
        except OSError as error:  # the folder around it may be listed and not entered
            self._note(OSError(error.errno, error.strerror, str(path.parent)))

    def _note(self, error: OSError) -> None:
        below = Path(error.filename).relative_to(self.folder)
        self.unreadable[f"{spoken(below.as_posix())}/"] = f"the folder cannot be read: {error.strerror}"


def spoken(name: str) -> str:
    """A file name as text: bytes that are no text are spelled out."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def is_image(path: Path) -> bool:
    """Whether a file is an image by its name; hidden ones, such as those macOS puts beside others, are none."""
    return path.suffix.lower() in IMAGE_ENDINGS and not path.name.startswith(".")


def kind_of(path: Path) -> str | None:
    """What a file is that is no image; `None` for an image."""
    if path.name.startswith("."):
        return "hidden"
    if not is_image(path):
        return spoken(path.suffix.lower()) or "without an ending"
    try:
        special = path.exists() and not path.is_file()
    except OSError:  # reading it will say why
        special = False
    return "devices, pipes or sockets" if special else None
