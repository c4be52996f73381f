"""A picture with its map over it and an outline of what is marked: one file that every viewer shows."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from anomalib_zsad.pages.colours import MAP, colour_table
from anomalib_zsad.pages.encoding import Quality, jpeg

SIDE = 1024
"""Longest side of the picture, in pixels."""
_OPACITY = 0.45
_OUTLINE = (0, 255, 255)  # stands out from every colour of the map's table
_QUALITY = Quality(SIDE, 85)


def painted_picture(
    picture: NDArray[np.uint8], heat: NDArray[np.float32], threshold: float, shown: tuple[float, float] = (0.0, 1.0)
) -> bytes:
    """The picture under its map as JPEG, without any text in it.

    Args:
        picture: The image, (h, w, 3).
        heat: Its map, which covers the whole image, (side, side).
        threshold: From which value on the map is outlined.
        shown: Values of the map that are the lowest and the highest colour.
    """
    size = (picture.shape[1], picture.shape[0])
    large = np.asarray(Image.fromarray(np.ascontiguousarray(heat, np.float32)).resize(size, Image.Resampling.BILINEAR))
    low, high = shown
    levels = np.clip((large - low) / (high - low), 0, 1)
    # Low values stay as they are; the map covers the picture where it says something.
    opacity = (_OPACITY * np.clip(2 * levels, 0, 1))[..., None]
    colours = _table()[np.rint(levels * 255).astype(np.uint8)]
    painted = picture * (1 - opacity) + colours * opacity
    mask = large >= threshold
    width = max(1, max(size) // 400)
    painted[mask & ~ndimage.binary_erosion(mask, iterations=width)] = _OUTLINE
    return jpeg(painted.round().astype(np.uint8), _QUALITY)


@cache
def _table() -> NDArray[np.float32]:
    return np.array(
        [[int(name[place : place + 2], 16) for place in (1, 3, 5)] for name in colour_table(MAP)], np.float32
    )
