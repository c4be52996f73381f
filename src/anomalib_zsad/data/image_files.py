"""Images and masks of files as torchvision's image and mask tensors, which anomalib's transforms tell apart."""

from collections.abc import Sequence
from pathlib import Path

from torchvision.tv_tensors import Image, Mask

from anomalib_zsad.data.pictures import (
    PictureSource,
    TooManyPixelsError,
    open_picture,
    picture_mode,
    pixel_count,
    read_marks,
    read_picture,
    was_turned,
)

__all__ = [
    "PictureSource",
    "TooManyPixelsError",
    "open_picture",
    "picture_mode",
    "pixel_count",
    "read_image",
    "read_mask",
    "was_turned",
]


def read_image(path: PictureSource, max_pixels: int | None = None) -> Image:
    """Read an image of any mode as RGB; see `read_picture`."""
    picture = read_picture(path, max_pixels)
    image = Image(picture)
    image.turned_by_exif = was_turned(picture)
    return image


def read_mask(path: str | Path | Sequence[str | Path], threshold: float = 0) -> Mask:
    """Read a mask, uint8 (h, w), 0 or 1; see `read_marks`."""
    return Mask(read_marks(path, threshold))
