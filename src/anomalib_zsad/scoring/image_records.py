"""One record for each image, and the file they go to."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from torchvision.datasets.folder import IMG_EXTENSIONS

from anomalib_zsad.outputs.csv_tables import cell_text, table_text

Verdict = Literal["abnormal", "normal", "uncertain", "unreadable"]


@dataclass(frozen=True)
class ImageRecord:
    """What a model says of one image file.

    Attributes:
        image: Path below the inspected folder, with forward slashes.
        width: In pixels.
        height: In pixels.
        score: In [0, 1].
        score_std: Standard deviation over the sampled prompts.
        p_value: Conformal p-value; `None` without a calibration.
        flagged: Whether the score reaches the threshold; with a calibration, what its false-alarm rate is about.
        decision: As `flagged` says, or `uncertain` where the threshold lies within the score's spread over the sampled
            prompts, or `unreadable`.
        map_max: Largest value of the map.
        peak_x: Column of that value, in pixels of the image, from the left.
        peak_y: Row of it, from the top.
        area_share: Share of the map that reaches the threshold of pixels.
        reason: Why the image could not be read.
    """

    image: str
    width: int | None = None
    height: int | None = None
    score: float | None = None
    score_std: float | None = None
    p_value: float | None = None
    flagged: bool | None = None
    decision: Verdict = "unreadable"
    map_max: float | None = None
    peak_x: float | None = None
    peak_y: float | None = None
    area_share: float | None = None
    reason: str = ""


def by_score(records: Iterable[ImageRecord]) -> list[ImageRecord]:
    """Highest score first; unreadable ones last; equals by name."""
    return sorted(records, key=lambda record: (record.score is None, -(record.score or 0.0), record.image))


def records_csv(records: Iterable[ImageRecord]) -> str:
    """The records as CSV with a header; nothing for `None`, `true` and `false` for booleans."""
    return table_text([field.name for field in fields(ImageRecord)], (asdict(one).values() for one in records), _cell)


def _cell(value: object) -> str:
    if not isinstance(value, str):
        return cell_text(value)
    # A spreadsheet would compute a name that begins like a formula.
    return f"'{value}" if value[:1] in ("=", "+", "-", "@") else value


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
