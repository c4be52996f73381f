"""The image files of an inspection, with the names they go by."""

from pathlib import Path

from torchvision.datasets.folder import IMG_EXTENSIONS


def find_images(location: Path) -> list[tuple[str, Path]]:
    """Image files, by their ending, below a folder (or the one file), with their names below it, in order of names.

    Raises:
        FileNotFoundError: If there is nothing at the location.
        ValueError: If it is a single file that is no image by its ending.
    """
    if location.is_file():
        if not _is_image(location):
            raise ValueError(f"{location.name} is no image by its ending; known are {', '.join(IMG_EXTENSIONS)}")
        return [(spoken(location.name), location)]
    if not location.is_dir():
        raise FileNotFoundError(f"there is nothing at the input path: {location}")
    found = [path for path in location.rglob("*") if _is_image(path) and (path.is_file() or _leads_nowhere(path))]
    return sorted((spoken(path.relative_to(location).as_posix()), path) for path in found)


def spoken(name: str) -> str:
    """A file name as text: bytes that are no text are spelled out."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _leads_nowhere(path: Path) -> bool:
    """Whether a path is a link to nothing: an image that is told of, as it cannot be read."""
    return path.is_symlink() and not path.exists()


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMG_EXTENSIONS and not path.name.startswith(".")
