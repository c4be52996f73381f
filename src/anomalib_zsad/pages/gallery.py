"""The page of an inspected folder: `report.html`, images sorted by score."""

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalib_zsad.pages.colours import DEVIATION, MAP, colour_table
from anomalib_zsad.pages.document import data_address, render, safe_json
from anomalib_zsad.pages.encoding import MAP_SIDE, Quality, jpeg, mask_address, reduced_size, store_map
from anomalib_zsad.records.image_records import ImageRecord
from anomalib_zsad.records.inspection_report import InspectionReport
from anomalib_zsad.scoring.demonstration import demonstration_notice

NAME = "report.html"
SCRIPTS = ("layers.js", "strip.js", "gallery.js")
_BYTES = 23_000_000
_PLACE = "<!--images-->"
LADDER = (Quality(1024, 85), Quality(768, 82), Quality(640, 80), Quality(512, 76), Quality(384, 70), Quality(256, 65))


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
        return cls(threshold, _BYTES / max(1, min(images, most)))

    def __call__(
        self, picture: NDArray[np.uint8], heat: NDArray[np.float32], deviation: NDArray[np.float32] | None
    ) -> dict[str, Any]:
        """Pictures for the page's script.

        Args:
            picture: The image, (h, w, 3).
            heat: Its map in [0, 1], (side, side), which covers the whole image.
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


@dataclass
class Shown:
    """The images with the highest scores, which are shown with pictures.

    Attributes:
        most: How many at most.
    """

    most: int
    _best: list[tuple[float, str, int]] = field(default_factory=list)

    def wants(self, score: float) -> bool:
        """Whether an image of this score would be shown."""
        return len(self._best) < self.most or (bool(self._best) and score > self._best[0][0])

    def add(self, image: str, score: float, place: int) -> None:
        """Take an image in; the one with the lowest score may fall out.

        Args:
            image: Its name.
            score: Its score.
            place: Where its pictures are.
        """
        heapq.heappush(self._best, (score, image, place))
        if len(self._best) > self.most:
            heapq.heappop(self._best)

    def places(self) -> dict[str, int]:
        """Where the pictures of each shown image are."""
        return {image: place for _, image, place in self._best}


def write_gallery(
    path: Path,
    records: Sequence[ImageRecord],
    shown: Shown,
    report: InspectionReport,
    pictures: Callable[[int], Mapping[str, Any]],
) -> None:
    """Write the page; pictures are read and written one image at a time.

    Args:
        path: A new file.
        records: Best first.
        shown: Which of them have pictures.
        report: What report.json says.
        pictures: From a place to the pictures there.
    """
    places = shown.places()
    scales = _scales((pictures(place) for place in places.values()), report.thresholds.mask)
    data = {
        "images": [_line(record, shown=record.image in places) for record in records],
        "thresholds": asdict(report.thresholds),
        "uncertainty": report.uncertainty,
        "scales": scales,
    }
    notes = _notes(len(records), len(places), shown.most)
    notice = demonstration_notice(report.model)
    context = {"report": report, "notice": notice, "data": data, "notes": notes, "place": _PLACE}
    head, _, tail = render("gallery.html.j2", SCRIPTS, **context).partition(_PLACE)
    with path.open("xb") as stream:
        stream.write(head.encode())
        for number, record in enumerate(records):
            if record.image in places:
                content = safe_json(pictures(places[record.image]))
                block = f'<script type="application/json" class="image" data-image="{number}">{content}</script>\n'
                stream.write(block.encode("ascii"))
        stream.write(tail.encode())


def _line(record: ImageRecord, *, shown: bool) -> dict[str, Any]:
    """An image for the page's script."""
    return {
        "name": record.image,
        "size": [record.width, record.height],
        "score": record.score,
        "std": record.score_std,
        "p": record.p_value,
        "decision": record.decision,
        "flagged": bool(record.flagged),
        "peak": record.map_max,
        "at": None if record.peak_x is None else [record.peak_x, record.peak_y],
        "area": record.area_share,
        "reason": record.reason,
        "shown": shown,
    }


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


def _notes(images: int, shown: int, most: int) -> list[str]:
    reduced = (
        "Pictures are reduced JPEG copies, maps have up to "
        f"{MAP_SIDE} x {MAP_SIDE} pixels: good for a look, not for measuring. All figures come from the full maps."
    )
    notes = [reduced]
    if shown == most < images:
        notes.insert(0, f"This page has pictures of the {shown} highest scores; the other images are listed without.")
    return notes
