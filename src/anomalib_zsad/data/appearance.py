"""What a picture looks like in two figures, by which a changed lamp or lens shows itself."""

from typing import NamedTuple

import cv2
import numpy as np
from torch import Tensor

# Rows that are looked at at a time, so that a large picture needs little memory beside itself.
_STRIP = 256
_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


class Appearance(NamedTuple):
    """What a picture looks like.

    Attributes:
        brightness: Mean of its grey values, in [0, 1].
        sharpness: Standard deviation of the Laplacian of its grey values (Pech-Pacheco et al., "Diatom autofocusing in
            brightfield microscopy", 2000, whose measure is its square), at its own resolution. It tells pictures of one
            camera and one kind of part apart, not those of several.
    """

    brightness: float
    sharpness: float


def appearance(image: Tensor) -> Appearance:
    """The figures of an image.

    Args:
        image: Colours in [0, 1], (3, h, w), on the CPU.
    """
    _, height, width = image.shape
    total = laplacian = squares = 0.0
    for start in range(0, height, _STRIP):
        first, last = max(0, start - 1), min(height, start + _STRIP + 1)  # with the rows beside, for the Laplacian
        grey = np.tensordot(_GREY, image[:, first:last].numpy(), 1)
        own = slice(start - first, start - first + min(_STRIP, height - start))
        edges = cv2.Laplacian(grey, cv2.CV_32F)[own].astype(np.float64)
        total += float(grey[own].sum(dtype=np.float64))
        laplacian += float(edges.sum())
        squares += float((edges**2).sum())
    pixels = height * width
    return Appearance(total / pixels, max(0.0, squares / pixels - (laplacian / pixels) ** 2) ** 0.5)
