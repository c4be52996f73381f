"""A slice under its map, with the outline of what is above the threshold and words burned in."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from anomalib_zsad.screening.previews import display_size

_OPACITY = 0.35
_OUTLINE = (0, 255, 255)  # stands out from grey and from every colour of the map's table
_SMALLEST_FONT = 11


def overlay(
    image: NDArray[np.float32],
    heat: NDArray[np.float32] | None,
    threshold: float,
    spacing: tuple[float, float] | None,
    words: Sequence[str],
) -> NDArray[np.uint8]:
    """A picture for people, in true proportions, its words below it.

    Args:
        image: Grey levels in [0, 1], (H, W).
        heat: Its map in [0, 1], (H, W); `None` for a slice that was not scored.
        threshold: From it on pixels are outlined.
        spacing: Distance between rows and between columns in mm; `None` takes square pixels.
        words: Lines below the picture.

    Returns:
        RGB, (h, w, 3).
    """
    size = display_size((image.shape[0], image.shape[1]), spacing)
    grey = _resized(image, size)
    colours = np.repeat(grey[..., None], 3, axis=2) * 255
    if heat is not None:
        large = _resized(heat, size)
        colours = _under_map(colours, large)
        mask = _resized((heat >= threshold).astype(np.float32), size, Image.Resampling.NEAREST) > 0.5
        colours[mask & ~ndimage.binary_erosion(mask)] = _OUTLINE
    return _with_words(colours.astype(np.uint8), words)


def _resized(
    values: NDArray[np.float32], size: tuple[int, int], way: Image.Resampling = Image.Resampling.BILINEAR
) -> NDArray[np.float32]:
    return np.asarray(Image.fromarray(np.asarray(np.clip(values, 0, 1), np.float32)).resize(size, way))


def _under_map(grey: NDArray[np.float32], heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """Grey levels in [0, 255] under the map on the perceptual scale "inferno"; low values stay grey."""
    from matplotlib import colormaps

    colours = (colormaps["inferno"](heat)[..., :3] * 255).astype(np.float32)
    opacity = _OPACITY * np.clip(2 * heat, 0, 1)[..., None]
    mixed: NDArray[np.float32] = grey * (1 - opacity) + colours * opacity
    return mixed


def _with_words(picture: NDArray[np.uint8], words: Sequence[str]) -> NDArray[np.uint8]:
    """The picture with a strip of words below it, in letters that fit its width."""
    width = picture.shape[1]
    size = max(_SMALLEST_FONT, width // 40)
    longest = max((ImageFont.load_default(size).getlength(line) for line in words), default=0)
    if longest > width - 8:
        size = max(6, int(size * (width - 8) / longest))
    font, height = ImageFont.load_default(size), int(size * 1.35)
    canvas = Image.new("RGB", (width, picture.shape[0] + height * len(words) + 4))
    canvas.paste(Image.fromarray(picture), (0, 0))
    draw = ImageDraw.Draw(canvas)
    for place, line in enumerate(words):
        draw.text((4, picture.shape[0] + 2 + place * height), line, fill=(255, 255, 255), font=font)
    return np.asarray(canvas)
