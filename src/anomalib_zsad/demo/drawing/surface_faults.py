"""Faults of real surfaces that the plainer kinds in `defects` do not show: faint, small, many, or stretched.

Each is drawn as in `defects`: `(rng, picture, area, size)` to coverage and paint. The sample set has none of them.
"""

import numpy as np

from anomalib_zsad.demo.drawing.defects import TAU, Kind, Mask, Paint, Random, blob, place, stroke, wander
from anomalib_zsad.demo.drawing.fields import Array, blur, coordinates, fractal_noise, smooth_noise, step


def _change(rng: Random, picture: Array, alpha: Array, low: float, high: float) -> float:
    """A step of brightness that stays visible where the surface is nearly black or white."""
    change = float(rng.choice([-1, 1]) * rng.uniform(low, high))
    mean = float((picture.mean(-1) * alpha).sum() / (alpha.sum() + 1e-6))
    return -change if mean + change > 1.0 or mean + change < 0.0 else change


def blowhole(rng: Random, picture: Array, area: Mask, size: float) -> Paint:
    """One or a few small round pores with a dark or bright inside."""
    alpha = np.zeros(area.shape, dtype=np.float32)
    for _ in range(rng.integers(1, 4)):
        pore, _ = blob(rng, area, rng.uniform(0.018, 0.05) * size, 0.2, 0.3)
        alpha = np.maximum(alpha, pore)
    return alpha, np.clip(picture + _change(rng, picture, alpha, 0.12, 0.45), 0, 1)


def inclusion(rng: Random, picture: Array, area: Mask, size: float) -> Paint:
    """Dark or bright streaks that the rolling drew out along one direction, short or all through the picture."""
    pixels, alpha = area.shape[0], np.zeros(area.shape, dtype=np.float32)
    angle, start = rng.choice([0, TAU / 4]) + rng.normal(0, 0.1), np.array(place(rng, area))
    through, spread = rng.random() < 0.35, rng.uniform(0.03, 0.15)
    for _ in range(rng.integers(1, 6)):
        where = start + rng.normal(0, spread, 2)
        length = rng.uniform(0.8, 2.0) if through else rng.uniform(0.1, 0.6) * size
        path = wander(rng, (where[0], where[1]), length, 0.03 if through else 0.15, angle)
        alpha = np.maximum(alpha, stroke(pixels, path, rng.uniform(0.008, 0.035)))
    alpha = alpha * np.clip(0.9 + 0.4 * smooth_noise(rng, pixels, 25), 0, 1)
    return blur(alpha, 0.003 * pixels), np.clip(picture + _change(rng, picture, alpha, 0.08, 0.4), 0, 1)


def pitting(rng: Random, picture: Array, area: Mask, size: float) -> Paint:
    """A field of many small pits."""
    region, _ = blob(rng, area, rng.uniform(0.1, 0.2) * size, 0.5, 0.3)
    pits = step(fractal_noise(rng, area.shape[0], rng.uniform(18, 45), 2), rng.uniform(0.5, 1.0), 0.4)
    alpha = region * pits
    return alpha, np.clip(picture + _change(rng, picture, alpha, 0.15, 0.4), 0, 1)


def patch(rng: Random, picture: Array, area: Mask, size: float) -> Paint:
    """A larger area of another tone with a ragged border, such as scale, or a smooth one, such as uneven grinding."""
    smooth = rng.random() < 0.5
    radius = (rng.uniform(0.15, 0.38) if smooth else rng.uniform(0.1, 0.25)) * size
    alpha, _ = blob(rng, area, radius, 0.25 if smooth else 0.9, rng.uniform(0.05, 0.3) if smooth else 0.12)
    grain = rng.uniform(0.0, 0.1) * fractal_noise(rng, area.shape[0], rng.uniform(10, 50), 3)[..., None]
    return alpha, np.clip(picture + _change(rng, picture, alpha, 0.07, 0.35) + (0 if smooth else grain), 0, 1)


def hairline(rng: Random, picture: Array, area: Mask, size: float) -> Paint:
    """A fine jagged crack, little darker than the surface."""
    pixels = area.shape[0]
    path = wander(rng, place(rng, area), rng.uniform(0.25, 0.7) * size, rng.uniform(0.8, 2.0), rng.uniform(0, TAU), 40)
    path = path + rng.normal(0, 0.004, path.shape).astype(np.float32)
    return stroke(pixels, path, rng.uniform(0.006, 0.012)), picture * rng.uniform(0.35, 0.75)


def fraying(rng: Random, picture: Array, area: Mask, size: float) -> Paint:
    """A border that is torn into a band of rough bright and dark pieces."""
    pixels = area.shape[0]
    x, _ = coordinates(pixels, rng.uniform(0, TAU), place(rng, area))
    band = np.abs(x + 0.03 * fractal_noise(rng, pixels, 12, 3)) / (rng.uniform(0.03, 0.08) * size)
    _, near = blob(rng, area, rng.uniform(0.12, 0.25) * size, 0.3, 0.2)
    rough = rng.uniform(0.1, 0.25) * fractal_noise(rng, pixels, rng.uniform(15, 40), 3)[..., None]
    return step(1 - np.maximum(band, near), 0, 0.2), np.clip(blur(picture, 2) + rough, 0, 1)


SURFACE_FAULTS: dict[str, Kind] = {
    "blowhole": blowhole,
    "inclusion": inclusion,
    "pitting": pitting,
    "patch": patch,
    "hairline": hairline,
    "fraying": fraying,
}
"""Faults by the name that they have in captions."""
