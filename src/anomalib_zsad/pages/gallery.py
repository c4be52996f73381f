"""The page of an inspected folder: `report.html`, all images sorted by score, each with at least a thumbnail."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from anomalib_zsad.pages.colours import DEVIATION, MAP, colour_table
from anomalib_zsad.pages.document import data_address, render, safe_json
from anomalib_zsad.pages.encoding import MAP_SIDE, Quality, jpeg, mask_address, reduced_size, store_map
from anomalib_zsad.pages.gallery_selection import Shown
from anomalib_zsad.pages.thumbnails import COLUMNS, PER_SHEET, Sheets
from anomalib_zsad.records.image_records import ImageRecord
from anomalib_zsad.records.inspection_report import InspectionReport
from anomalib_zsad.scoring.demonstration import demonstration_notice

NAME = "report.html"
SCRIPTS = ("gallery.js",)
_BYTES = 23_000_000
# Of these, thumbnails take so many for each image, and two fifths at most; names and numbers take so many.
_THUMBNAIL, _LINE = 6_000, 220
_LEAST_THUMBNAIL = 600
# Of more images than these the last ones may go without a thumbnail.
_ALL_SHOWN = 20_000
_PLACE = "<!--images-->"
LADDER = (Quality(1024, 85), Quality(768, 82), Quality(640, 80), Quality(512, 76), Quality(384, 70), Quality(256, 65))


def thumbnail_budget(images: int) -> float:
    """Bytes for the thumbnails of so many images."""
    # Of very many the least that a thumbnail takes counts, as long as there is room for some large pictures.
    least = min(_LEAST_THUMBNAIL * images, 7 / 8 * _BYTES - _LINE * images)
    return min(max(0.42 * _BYTES, least), _THUMBNAIL * images)


class StoredPictures(Protocol):
    """Where pictures wait for the page."""

    places: dict[str, int]

    def pictures(self, place: int) -> Mapping[str, Any]:
        """What an `Encoder` made of the image at a place."""
        ...

    def thumbnail(self, place: int) -> Mapping[str, Any]:
        """What `make_thumbnail` made of it."""
        ...


@dataclass(frozen=True)
class Encoder:
    """Makes the pictures of one image.

    Attributes:
        threshold: Of map pixels.
        allowance: Bytes for each image.
    """

    threshold: float
    allowance: float

    @classmethod
    def for_images(cls, images: int, most: int, threshold: float) -> "Encoder":
        """The encoder for so many images, of which at most `most` get pictures."""
        room = _BYTES - 1.1 * thumbnail_budget(images) - _LINE * images  # sheets may take a tenth more
        return cls(threshold, max(room, _BYTES / 8) / max(1, min(images, most)))

    def __call__(
        self, picture: NDArray[np.uint8], heat: NDArray[np.float32], deviation: NDArray[np.float32] | None
    ) -> dict[str, Any]:
        """Pictures for the page's script.

        Args:
            picture: The image, (h, w, 3).
            heat: Its map in [0, 1], (rows, columns), which covers the whole image.
            deviation: The map's standard deviation likewise.
        """
        stored = store_map(heat)
        record: dict[str, Any] = {"map": stored.as_dict(), "middle": round(stored.middle, 6)}
        if deviation is not None:
            record["deviation"] = store_map(deviation).as_dict()
        mask = heat >= self.threshold
        if mask.any():
            record["mask"] = mask_address(mask)
        taken = len(safe_json(record))
        for quality in LADDER:
            content = jpeg(picture, quality)
            if taken + len(content) * 4 / 3 <= self.allowance:
                break
        record["size"] = list(reduced_size((picture.shape[0], picture.shape[1]), quality.side))
        record["picture"] = data_address(content, "jpeg")
        return record


def write_gallery(
    path: Path,
    records: Sequence[ImageRecord],
    shown: Shown,
    report: InspectionReport,
    stored: StoredPictures,
    location: Path,
    shown_range: tuple[float, float] = (0.0, 1.0),
) -> None:
    """Write the page; pictures are read and written one image, or one sheet of thumbnails, at a time.

    Args:
        path: A new file in the output folder.
        records: Best first.
        shown: Which of them have large pictures.
        report: What report.json says.
        stored: Where pictures wait.
        location: The folder that was inspected, or the one image.
        shown_range: Values of maps that are the lowest and the highest level of thumbnails.
    """
    places = shown.places()
    sizes = [_size(record) for record in records]
    sheets = Sheets(
        sizes, lambda number: stored.thumbnail(stored.places[records[number].image]), thumbnail_budget(len(records))
    )
    side, quality = sheets.choose()
    data = {
        "images": _columns(records, places),
        "scored": sum(record.score is not None for record in records),
        "decided": report.thresholds.image is not None,
        "thresholds": asdict(report.thresholds),
        "scales": _scales((stored.pictures(place) for place in places.values()), report.thresholds.mask),
        "sheets": {"side": side, "per": PER_SHEET, "columns": COLUMNS, "range": list(shown_range)},
        "root": _root(location, path.parent),
    }
    context: dict[str, Any] = {
        "report": report,
        "notice": demonstration_notice(report.model),
        "data": data,
        "truth": {name: sum(record.truth == name for record in records) for name in ("abnormal", "normal")},
        "notes": _notes(len(records), shown, side),
        "place": _PLACE,
    }
    head, _, tail = render("gallery.html.j2", SCRIPTS, **context).partition(_PLACE)
    with path.open("xb") as stream:
        stream.write(head.encode())
        for number, sheet in enumerate(sheets.write(side, quality)):
            stream.write(_block("sheet", number, sheet))
        for number, record in enumerate(records):
            if record.image in places:
                stream.write(_block("image", number, stored.pictures(places[record.image])))
        stream.write(tail.encode())


def _block(kind: str, number: int, content: Mapping[str, Any]) -> bytes:
    """Pictures that the page's script reads when it needs them."""
    head = f'<script type="application/json" class="{kind}" data-{kind}="{number}">'
    return f"{head}{safe_json(content)}</script>\n".encode("ascii")


def _size(record: ImageRecord) -> tuple[int, int] | None:
    if record.score is None or record.width is None or record.height is None:
        return None
    return record.width, record.height


def _root(location: Path, folder: Path) -> dict[str, Any]:
    """Where the originals are: for people as it was said, and as an address from the page."""
    relative = Path(os.path.relpath(location.resolve(), folder.resolve())).as_posix()
    return {"path": location.as_posix(), "link": quote(os.fsencode(relative)), "single": location.is_file()}


def _columns(records: Sequence[ImageRecord], places: Mapping[str, int]) -> dict[str, Any]:
    """The images for the page's script, by column, so that thousands of them take little room."""
    return {
        "name": [record.image for record in records],
        "size": [[record.width, record.height] for record in records],
        "score": [_rounded(record.score) for record in records],
        "std": [_rounded(record.score_std) for record in records],
        "p": [_rounded(record.p_value) for record in records],
        "decision": [record.decision or "undecided" for record in records],
        "peak": [_rounded(record.map_max) for record in records],
        "at": [_pixel(record) for record in records],
        "area": [_rounded(record.area_share, 4) for record in records],
        "truth": [record.truth for record in records],
        "shown": [int(record.image in places) for record in records],
        "reason": {number: record.reason for number, record in enumerate(records) if record.reason},
    }


def _rounded(value: float | None, digits: int = 7) -> float | None:
    return None if value is None else round(value, digits)


def _pixel(record: ImageRecord) -> list[int] | None:
    return None if record.peak_x is None or record.peak_y is None else [int(record.peak_x), int(record.peak_y)]


def _scales(pictures: Iterable[Mapping[str, Any]], threshold: float) -> dict[str, Any]:
    """Ranges and colours of the overlays, the same for all images, so that they can be compared."""
    middles, highest, deviations = [], [threshold], []
    for record in pictures:
        middles.append(record["middle"])
        highest.append(record["map"]["high"])
        deviations += [record["deviation"]["high"]] if "deviation" in record else []
    scales: dict[str, Any] = {"map": None, "deviation": None}
    if middles:
        low = float(np.median(middles))
        scales["map"] = {"low": low, "high": max(*highest, low + 0.01), "colours": colour_table(MAP)}
    if deviations:
        scales["deviation"] = {"low": 0.0, "high": max(*deviations, 0.01), "colours": colour_table(DEVIATION)}
    return scales


def _notes(images: int, shown: Shown, side: int) -> list[str]:
    which = (
        "Every image has" if images <= _ALL_SHOWN else "As many images as this page affords, highest score first, have"
    )
    reduced = (
        f"{which} a thumbnail of up to {side} pixels. Large pictures are reduced JPEG copies, maps have up to "
        f"{MAP_SIDE} x {MAP_SIDE} pixels: good for a look, not for measuring. All figures come from the full maps."
    )
    notes = [reduced]
    count = len(shown.places())
    if count < images:
        parts = ", ".join(f"{number} {name}" for name, number in shown.parts().items() if number)
        some = f"This page has large pictures of {count:,} of the {images:,} images ({parts})"
        notes.insert(0, f"{some}, and thumbnails of the others.")
    return notes
