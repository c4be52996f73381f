"""Small pictures of every image of a gallery, many on a sheet, so that thousands of them fit into a page."""

import base64
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anomalib_zsad.pages.document import data_address
from anomalib_zsad.pages.encoding import Quality, jpeg, reduced_size

SIDE = 128
"""Longest side in pixels at which thumbnails wait for the page."""
COLUMNS = 8
PER_SHEET = COLUMNS * COLUMNS
MAP_CELLS = 16
_WAITING = Quality(SIDE, 85)
# Sides and JPEG qualities of the sheets, from the best to what is always affordable.
LADDER = ((SIDE, 75), (112, 70), (96, 65), (80, 60), (64, 55), (48, 50), (32, 45))
# Bytes of maps and of JSON around them, for each image.
_BESIDE = 360


def make_thumbnail(
    picture: NDArray[np.uint8], heat: NDArray[np.float32], shown: tuple[float, float] = (0.0, 1.0)
) -> dict[str, Any]:
    """What waits for the page of one image, in JSON's types.

    Args:
        picture: The image, (h, w, 3).
        heat: Its map, which covers the whole image, (rows, columns).
        shown: Values of the map that are the lowest and the highest level.
    """
    low, high = shown
    cells = np.rint(np.clip((_highest_of_cells(heat) - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return {"picture": _text(jpeg(picture, _WAITING)), "map": _text(cells.tobytes())}


def _highest_of_cells(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """The highest value of a map in each cell of a coarse grid: a mean would lose a small defect of a large picture."""
    for axis in (0, 1):
        starts = np.arange(MAP_CELLS) * heat.shape[axis] // MAP_CELLS
        heat = np.maximum.reduceat(heat, starts, axis=axis)
    return heat


@dataclass(frozen=True)
class Sheets:
    """Thumbnails of images in the order of the page, 64 on a sheet.

    Attributes:
        sizes: Width and height of each image; `None` for one that cannot be read.
        read: From the number of an image to what `make_thumbnail` made of it.
        budget: Most bytes of all sheets.
    """

    sizes: Sequence[tuple[int, int] | None]
    read: Callable[[int], Mapping[str, Any]]
    budget: float

    def choose(self) -> tuple[int, int]:
        """Side of the cells, and JPEG quality: the best with which all sheets keep to the budget, by some of them."""
        numbers = [number for number, size in enumerate(self.sizes) if size is not None]
        chosen = numbers[:: max(1, len(numbers) // 128)][:128]
        allowance = self.budget / max(1, len(numbers)) - _BESIDE
        for side, quality in LADDER:
            sample = [
                self._sheet(chosen[at : at + PER_SHEET], side, quality) for at in range(0, len(chosen), PER_SHEET)
            ]
            taken = sum(map(len, sample)) * 4 / 3
            if taken <= allowance * max(1, len(chosen)):
                break
        return side, quality

    def write(self, side: int, quality: int) -> Iterator[dict[str, Any]]:
        """The sheets for the page's script, until the budget is spent: each with its picture and its maps.

        Args:
            side: Of the cells, in pixels.
            quality: Of the JPEG.
        """
        spent = 0
        for first in range(0, len(self.sizes), PER_SHEET):
            numbers = range(first, min(first + PER_SHEET, len(self.sizes)))
            sheet = self._sheet(list(numbers), side, quality)
            spent += len(sheet) * 4 // 3 + _BESIDE * len(numbers)
            if spent > 1.1 * self.budget:
                return
            maps = b"".join(self._map(number) for number in numbers)
            yield {"picture": data_address(sheet, "jpeg"), "maps": _text(maps)}

    def _map(self, number: int) -> bytes:
        if self.sizes[number] is None:
            return bytes(MAP_CELLS**2)
        return base64.b64decode(self.read(number)["map"])

    def _sheet(self, numbers: Sequence[int], side: int, quality: int) -> bytes:
        """A sheet as JPEG; each picture lies in the upper left corner of its cell."""
        rows = -(-len(numbers) // COLUMNS)
        sheet = Image.new("RGB", (side * min(COLUMNS, max(1, len(numbers))), side * max(1, rows)))
        for place, number in enumerate(numbers):
            size = self.sizes[number]
            if size is not None:
                height, width = reduced_size((size[1], size[0]), side)
                picture = Image.open(io.BytesIO(base64.b64decode(self.read(number)["picture"])))
                corner = (place % COLUMNS * side, place // COLUMNS * side)
                sheet.paste(picture.convert("RGB").resize((width, height), Image.Resampling.BOX), corner)
        stream = io.BytesIO()
        sheet.save(stream, "JPEG", quality=quality)
        return stream.getvalue()


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
