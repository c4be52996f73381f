"""Lesions of drawn sections: brighter or darker than the tissue, plain, ringed, with a halo, many, or along a border.

Each is drawn as in `defects`: `(rng, picture, area, size)` to coverage and paint. They owe nothing to `phantoms.py`.
"""

import numpy as np
from scipy import ndimage

from anomalib_zsad.demo.drawing.defects import Kind, Mask, Paint, Random, blob
from anomalib_zsad.demo.drawing.fields import Array, blur, fractal_noise, step


def _local(picture: Array, alpha: Array) -> float:
    """Mean brightness of what a coverage covers."""
    return float((picture.mean(-1) * alpha).sum() / (alpha.sum() + 1e-6))


def _painted(picture: Array, level: float | Array, keep: float) -> Array:
    """The picture at another brightness (a number or a field); `keep` is how much of its own pattern stays."""
    field = np.broadcast_to(np.asarray(level, dtype=np.float32), picture.shape[:2])[..., None]
    smooth = blur(picture, 0.02 * len(picture))
    return np.clip(field + keep * (picture - smooth), 0, 1)


def _level(rng: Random, picture: Array, alpha: Array, sign: int) -> float:
    """A brightness that differs visibly from what is there."""
    there = _local(picture, alpha)
    room = (1.0 - there) if sign > 0 else there
    return float(np.clip(there + sign * max(rng.uniform(0.25, 1.0) * room, min(room, 0.12)), 0, 1))


def _grain(rng: Random, size: int) -> Array:
    return rng.uniform(0, 0.06) * fractal_noise(rng, size, rng.uniform(8, 30), 2)


def bleed(rng: Random, picture: Array, area: Mask, size: float) -> Paint:
    """A bright, sharply bordered collection, now and then with a dark rim of swelling."""
    radius = rng.uniform(0.03, 0.12) * size
    alpha, distance = blob(rng, area, radius, rng.uniform(0.2, 0.9), rng.uniform(0.05, 0.25))
    level = _level(rng, picture, alpha, 1) + _grain(rng, len(area))
    if rng.random() < 0.35:
        core = step(1 - distance, 0.25, 0.2)
        swollen = _local(picture, alpha) * rng.uniform(0.55, 0.9)
        level = level * core + swollen * (1 - core)
    return alpha, _painted(picture, level, rng.uniform(0, 0.6))


def mass(rng: Random, picture: Array, area: Mask, size: float) -> Paint:
    """A round or lobed mass, brighter or darker, often ringed around a core of another tone."""
    alpha, distance = blob(rng, area, rng.uniform(0.04, 0.13) * size, rng.uniform(0.1, 0.6), rng.uniform(0.05, 0.4))
    level = _level(rng, picture, alpha, int(rng.choice([-1, 1, 1]))) + _grain(rng, len(area))
    if rng.random() < 0.5:
        core = step(1 - distance, rng.uniform(0.25, 0.5), 0.2)
        level = level * (1 - core) + rng.uniform(0.0, 0.9) * core
    return alpha, _painted(picture, level, rng.uniform(0, 0.7))


def spots(rng: Random, picture: Array, area: Mask, size: float) -> Paint:
    """Several small bright (seldom dark) spots, as plaques or metastases."""
    alpha = np.zeros(area.shape, dtype=np.float32)
    for _ in range(rng.integers(1, 7)):
        spot, _ = blob(rng, area, rng.uniform(0.015, 0.045) * size, 0.3, 0.4)
        alpha = np.maximum(alpha, spot)
    sign = int(rng.choice([-1, 1, 1, 1]))
    return alpha, _painted(picture, _level(rng, picture, alpha, sign), rng.uniform(0.2, 0.8))


def cyst(rng: Random, picture: Array, area: Mask, size: float) -> Paint:
    """A smooth, dark, round cavity."""
    alpha, _ = blob(rng, area, rng.uniform(0.03, 0.1) * size, 0.1, 0.12)
    return alpha, _painted(picture, _level(rng, picture, alpha, -1), 0.1)


def swelling(rng: Random, picture: Array, area: Mask, size: float) -> Paint:
    """A soft-bordered region whose tone is shifted a little, as oedema or an infarct."""
    alpha, _ = blob(rng, area, rng.uniform(0.07, 0.16) * size, 0.6, rng.uniform(0.3, 0.8))
    shift = rng.choice([-1, 1]) * rng.uniform(0.1, 0.25)
    if not 0.03 < _local(picture, alpha) + shift < 0.97:
        shift = -shift
    return alpha, np.clip(picture + shift, 0, 1)


def collection(rng: Random, picture: Array, area: Mask, size: float) -> Paint:
    """A crescent or lens along the organ's border."""
    depth = ndimage.distance_transform_edt(area).astype(np.float32) / len(area)
    border = (depth > 0) & (depth < 0.02)
    _, distance = blob(rng, border if border.any() else area, rng.uniform(0.1, 0.22) * size, 0.25, 0.2)
    thick = rng.uniform(0.02, 0.06) * size * np.clip(1.2 - distance, 0, 1)
    alpha = step(thick - depth, 0, 0.012) * (distance < 1.2) * (depth > 0)
    sign = int(rng.choice([-1, 1, 1, 1]))
    return alpha.astype(np.float32), _painted(picture, _level(rng, picture, alpha, sign) + _grain(rng, len(area)), 0.2)


LESIONS: dict[str, Kind] = {
    "bleed": bleed,
    "tumour": mass,
    "lesion": spots,
    "cyst": cyst,
    "swelling": swelling,
    "collection": collection,
}
"""Lesions by the name that they have in captions."""
