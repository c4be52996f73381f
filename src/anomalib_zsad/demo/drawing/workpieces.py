"""What is normal in a picture from a production line: a grain, a lamp at one side, the borders of the piece.

Without them a small backbone takes each border, bright side and drawn-out streak of a flawless piece for a fault.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from anomalib_zsad.demo.drawing.fields import Array, blur, coordinates, smooth_noise, step
from anomalib_zsad.demo.drawing.materials import Random

QUARTER = np.pi / 2


def rolled(picture: Array, style: Random, instance: Random) -> Array:
    """The surface drawn out along one axis, as rolling, grinding or brushing does, with streaks of its own.

    Args:
        picture: The surface (size, size, 3).
        style: What all pieces share: how far, and how strong the streaks are.
        instance: Where the streaks of this piece run.
    """
    size = len(picture)
    drawn = ndimage.uniform_filter1d(picture, int(size * style.uniform(0.02, 0.4)) + 1, axis=0, mode="wrap")
    keep = style.uniform(0.0, 0.5)
    lines = smooth_noise(instance, size, (style.uniform(1, 8), style.uniform(25, 90)))
    bands = smooth_noise(instance, size, (1, style.uniform(2, 7)))
    streaks = style.uniform(0, 0.09) * lines + style.uniform(0, 0.08) * bands
    return np.clip((keep * picture + (1 - keep) * drawn) * (1 + streaks[..., None]), 0, 1)


def lit(picture: Array, instance: Random) -> Array:
    """The surface under a lamp at one side, or bright in the middle, or brighter along one border.

    Args:
        picture: The surface (size, size, 3).
        instance: Where the lamp stands and how strong it is.
    """
    size = len(picture)
    x, y = coordinates(size, instance.choice([0, QUARTER, 2 * QUARTER, 3 * QUARTER]) + instance.normal(0, 0.2))
    gain = 1 + instance.uniform(-0.6, 0.6) * x
    if instance.random() < 0.6:
        reach = instance.uniform(0.05, 0.3)
        gain = gain * (1 + instance.uniform(-0.7, 0.9) * np.exp(-(x + 0.5) / reach))
    if instance.random() < 0.4:
        gain = gain * (1 - instance.uniform(-0.4, 1.4) * (x * x + y * y))
    gain = gain * (1 + 0.06 * smooth_noise(instance, size, 2))
    return np.clip(picture * np.clip(gain, 0.1, 3)[..., None], 0, 1)


def cut_out(picture: Array, style: Random, instance: Random) -> tuple[Array, NDArray[np.bool_]]:
    """The piece with one to four of its borders in view: nearly straight, before a dark or plain ground.

    Args:
        picture: The surface (size, size, 3).
        style: What all pieces share: the ground, and how the borders look.
        instance: Where the borders of this piece run.

    Returns:
        The picture, and where the piece is (size, size).
    """
    size = len(picture)
    ground = float(style.choice([style.uniform(0, 0.12), style.uniform(0, 0.12), style.uniform(0, 0.9)]))
    rim, width = style.uniform(-0.5, 0.7), style.uniform(0.006, 0.04)
    inside = np.full((size, size), 1.0, dtype=np.float32)
    for side in instance.permutation(4)[: instance.integers(1, 5)]:
        x, _ = coordinates(size, side * QUARTER + instance.normal(0, 0.03))
        wave = 0.008 * instance.uniform(0, 1) * smooth_noise(instance, size, (6, 1))
        inside = np.minimum(inside, 0.5 - instance.uniform(0.0, 0.12) - x + wave)
    edge = np.exp(-np.clip(inside, 0, None) / width)
    shaped = np.clip(picture * (1 + rim * edge)[..., None], 0, 1)
    cover = step(inside, 0, style.uniform(1, 4) / size)[..., None]
    behind = np.clip(ground * (1 + 0.15 * blur(instance.standard_normal((size, size)), 1.0)), 0, 1)[..., None]
    return (shaped * cover + behind * (1 - cover)).astype(np.float32), inside > 0.01
