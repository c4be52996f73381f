"""Pictures of the slices with the highest scores: the slice, and the slice under its map."""

import heapq
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anomalib_zsad.pages.painted_picture import painted_picture
from anomalib_zsad.pages.series_page import KeySlice

_SMALLEST_SIDE = 256
_OPACITY = 0.6
_PRINTED_SIDE = 512


@dataclass(order=True)
class TopSlice:
    """A slice: its score, which it is, its grey levels and its map, both of 8 bits (H, W)."""

    score: float
    index: int
    image: NDArray[np.uint8] = field(compare=False)
    heat: NDArray[np.uint8] = field(compare=False)


class TopSlices:
    """Keeps the slices with the highest scores while a volume streams past.

    Args:
        count: How many to keep; 0 keeps none.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._heap: list[TopSlice] = []

    def offer(self, index: int, score: float, image: NDArray[np.float32], heat: NDArray[np.float32]) -> None:
        """Consider a slice.

        Args:
            index: Which slice.
            score: Its score.
            image: Grey levels in [0, 1], shape (H, W).
            heat: Its map in [0, 1], shape (H, W).
        """
        if self.count < 1 or (len(self._heap) == self.count and score <= self._heap[0].score):
            return
        entry = TopSlice(score, index, _bytes(image), _bytes(heat))
        if len(self._heap) < self.count:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heapreplace(self._heap, entry)

    def best(self) -> list["TopSlice"]:
        """What was kept, the highest score first."""
        return sorted(self._heap, reverse=True)

    def write(self, folder: Path, spacing: tuple[float, float] | None) -> list[str]:
        """Write PNG files named by rank and slice, in true proportions.

        Args:
            folder: Made if there is anything to write.
            spacing: Distance between rows and between columns in mm; `None` takes square pixels.

        Returns:
            Their names, best first.
        """
        names = []
        for rank, entry in enumerate(self.best(), 1):
            folder.mkdir(exist_ok=True)
            name = f"rank{rank:02d}_slice{entry.index:04d}.png"
            side_by_side(entry.image, entry.heat, spacing).save(folder / name)
            names.append(name)
        return names

    def printed(self, spacing: tuple[float, float] | None, threshold: float) -> list[KeySlice]:
        """The slices under their maps with an outline, for the page as it is printed, the highest score first.

        Args:
            spacing: Distance between rows and between columns in mm; `None` takes square pixels.
            threshold: Of the outline, on the scale of the maps that were offered.
        """
        found = []
        for entry in self.best():
            width, height = display_size((entry.image.shape[0], entry.image.shape[1]), spacing)
            scale = min(1.0, _PRINTED_SIDE / max(width, height))
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            picture = np.asarray(Image.fromarray(entry.image).resize(size, Image.Resampling.BILINEAR).convert("RGB"))
            heat = entry.heat.astype(np.float32) / np.float32(255)
            found.append(KeySlice(entry.index, entry.score, painted_picture(picture, heat, threshold)))
        return found


def side_by_side(image: NDArray[np.uint8], heat: NDArray[np.uint8], spacing: tuple[float, float] | None) -> Image.Image:
    """A grey image beside itself under its map, on the perceptual scale "inferno" from 0 to 1."""
    from matplotlib import colormaps

    grey = np.repeat(image[..., None], 3, axis=2)
    colours = (colormaps["inferno"](heat)[..., :3] * 255).astype(np.float32)
    opacity = _OPACITY * (heat[..., None].astype(np.float32) / 255)
    overlay = (grey * (1 - opacity) + colours * opacity).astype(np.uint8)
    size = display_size((image.shape[0], image.shape[1]), spacing)
    pair = [Image.fromarray(part).resize(size, Image.Resampling.BILINEAR) for part in (grey, overlay)]
    canvas = Image.new("RGB", (2 * size[0], size[1]))
    canvas.paste(pair[0], (0, 0))
    canvas.paste(pair[1], (size[0], 0))
    return canvas


def display_size(shape: tuple[int, int], spacing: tuple[float, float] | None) -> tuple[int, int]:
    """Width and height with square pixels, the smaller side of at least 256."""
    rows, columns = spacing or (1.0, 1.0)
    unit = min(rows, columns)
    height, width = shape[0] * rows / unit, shape[1] * columns / unit
    scale = max(1.0, _SMALLEST_SIDE / min(height, width))
    scale = min(scale, 2048 / max(height, width)) if max(height, width) * scale > 2048 else scale
    return max(1, round(width * scale)), max(1, round(height * scale))


def _bytes(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return (np.clip(values, 0, 1) * 255).astype(np.uint8)
