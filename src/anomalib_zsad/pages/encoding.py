"""Pictures and maps as small files: JPEG for pictures, PNG for maps, as coarse as their smoothness allows."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anomalib_zsad.pages.document import data_address

# Longest side at which smooth maps are stored, and the largest difference that this may make.
MAP_SIDE = 128
MAP_TOLERANCE = 0.02


@dataclass(frozen=True)
class Quality:
    """How pictures are stored.

    Attributes:
        side: Longest side in pixels; larger pictures are reduced. `None` keeps every pixel.
        jpeg: JPEG quality, 1 to 95.
    """

    side: int | None
    jpeg: int

    def words(self, shape: tuple[int, int]) -> str:
        """For people.

        Args:
            shape: Rows and columns of the pictures.
        """
        size = reduced_size(shape, self.side)
        if size == shape:
            return f"JPEG quality {self.jpeg} at full resolution"
        return f"JPEG quality {self.jpeg}, reduced from {shape[1]} x {shape[0]} to {size[1]} x {size[0]} pixels"


# From the best to what is always affordable.
LADDER = (
    Quality(1024, 90),
    Quality(1024, 82),
    Quality(768, 80),
    Quality(512, 80),
    Quality(512, 65),
    Quality(384, 65),
    Quality(256, 60),
    Quality(192, 50),
)

# The same for maps that are too rough to be stored with fewer pixels.
_ROUGH = (Quality(None, 88), Quality(256, 75), Quality(128, 60))


def reduced_size(shape: tuple[int, int], side: int | None) -> tuple[int, int]:
    """Rows and columns with the longest side of at most `side`, in the same proportions."""
    longest = max(shape)
    if side is None or longest <= side:
        return shape
    return max(1, round(shape[0] * side / longest)), max(1, round(shape[1] * side / longest))


def reduce_picture(picture: NDArray[np.uint8], side: int | None) -> NDArray[np.uint8]:
    """A grey (H, W) or colour (H, W, 3) picture with a longest side of at most `side`; itself where that is so."""
    rows, columns = reduced_size((picture.shape[0], picture.shape[1]), side)
    if (rows, columns) == picture.shape[:2]:
        return picture
    method = Image.Resampling.BOX if picture.ndim == 2 else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(picture).resize((columns, rows), method))


def jpeg(picture: NDArray[np.uint8], quality: Quality) -> bytes:
    """A grey (H, W) or colour (H, W, 3) picture as JPEG, without any text in it."""
    stream = io.BytesIO()
    Image.fromarray(reduce_picture(picture, quality.side)).save(stream, "JPEG", quality=quality.jpeg)
    return stream.getvalue()


def choose_quality(samples: Sequence[NDArray[np.uint8]], allowance: float) -> int:
    """The first rung of `LADDER` on which pictures take no more than an allowance, by the mean of some of them.

    Args:
        samples: Pictures like the others.
        allowance: Bytes for each.
    """
    for rung, quality in enumerate(LADDER):
        if np.mean([len(jpeg(sample, quality)) for sample in samples] or [0]) <= allowance:
            return rung
    return len(LADDER) - 1


@dataclass(frozen=True)
class StoredMap:
    """A map as a picture whose grey levels span the map's own range.

    Attributes:
        address: The picture, as `data:` address.
        low, high: Map values of black and white.
        middle: The map's median (of its reduced form).
        reduced: Whether it is stored with fewer pixels than it had.
    """

    address: str
    low: float
    high: float
    middle: float
    reduced: bool

    def as_dict(self) -> dict[str, Any]:
        """For the page's script."""
        return {"source": self.address, "low": round(self.low, 6), "high": round(self.high, 6)}


def store_map(values: NDArray[np.float32], most: float = float("inf")) -> StoredMap:
    """Store a map: PNG at up to 128 pixels a side where that comes within 0.02 of it everywhere, else JPEG.

    Args:
        values: float32, (H, W).
        most: Bytes of a JPEG, which has full resolution where they allow it.
    """
    small = reduce_map(values)
    if small is None:
        picture, low, high = _grey(values)
        for quality in _ROUGH:
            content = jpeg(picture, quality)
            if len(content) * 4 / 3 <= most:
                break
        return StoredMap(data_address(content, "jpeg"), low, high, float(np.median(values)), reduced=False)
    picture, low, high = _grey(small)
    address = data_address(png(picture), "png")
    return StoredMap(address, low, high, float(np.median(small)), reduced=small.shape != values.shape)


def reduce_map(values: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """The map on fewer pixels, or `None` where it is too rough for that."""
    rows, columns = reduced_size((values.shape[0], values.shape[1]), MAP_SIDE)
    if (rows, columns) == values.shape:
        return values
    image = Image.fromarray(np.ascontiguousarray(values))
    small = image.resize((columns, rows), Image.Resampling.BOX)
    again = np.asarray(small.resize(image.size, Image.Resampling.BILINEAR))
    return np.asarray(small) if float(np.abs(again - values).max()) <= MAP_TOLERANCE else None


def mask_address(mask: NDArray[np.bool_]) -> str:
    """A mask (H, W), exactly, as `data:` address."""
    return data_address(png(np.asarray(mask, bool)), "png")


def png(picture: NDArray[np.uint8] | NDArray[np.bool_]) -> bytes:
    """A grey picture or a mask (H, W) as PNG, without any text in it."""
    stream = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(picture, np.uint8) * (255 if picture.dtype == bool else 1))
    (image.convert("1") if picture.dtype == bool else image).save(stream, "PNG")
    return stream.getvalue()


def _grey(values: NDArray[np.float32]) -> tuple[NDArray[np.uint8], float, float]:
    low, high = float(values.min()), float(values.max())
    scale = 255 / (high - low) if high > low else 0.0
    return np.rint((values - low) * scale).astype(np.uint8), low, high
