"""Kinds of defect: each draws where it is and what it looks like.

A defect is a function `(rng, picture, area, size)`: `picture` (H, W, 3) in [0, 1] is the flawless drawing, `area`
(H, W) says where the product is, `size` is about 1 for a medium defect. It returns `alpha` (H, W), how much of
the paint covers each pixel, and `paint` (H, W, 3). `apply` blends them; the mask is where alpha is at
least `COVER`, and nothing outside it changes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from anomalib_zsad.demo.drawing.fields import (
    Array,
    blur,
    colour,
    coordinates,
    fractal_noise,
    mix,
    relief,
    smooth_noise,
    step,
)

Random: TypeAlias = np.random.Generator
Mask: TypeAlias = NDArray[np.bool_]
Paint: TypeAlias = tuple[Array, Array]
Kind: TypeAlias = Callable[[Random, Array, Mask, float], Paint]
TAU = 2 * np.pi
COVER = 0.25


def place(rng: Random, area: Mask) -> tuple[float, float]:
    """A random point of the area, away from the picture's border: (x, y) in [-0.5, 0.5]."""
    size = area.shape[0]
    margin = int(size * 0.08)
    rows, columns = np.nonzero(area[margin : size - margin, margin : size - margin])
    if len(rows) == 0:
        return 0.0, 0.0
    pick = rng.integers(len(rows))
    return float((columns[pick] + margin) / size - 0.5), float((rows[pick] + margin) / size - 0.5)


def blob(rng: Random, area: Mask, radius: float, rough: float = 0.35, soft: float = 0.15) -> tuple[Array, Array]:
    """An irregular patch: (alpha, distance from its centre in radii)."""
    size = area.shape[0]
    x, y = coordinates(size, rng.uniform(0, TAU), place(rng, area))
    stretch = rng.uniform(1, 1.8)
    distance = np.hypot(x / stretch, y * stretch) / radius
    distance = distance * (1 + rough * 0.5 * fractal_noise(rng, size, max(1.0, 0.5 / radius), 3))
    return step(1 - distance, 0, soft), distance.astype(np.float32)


def stroke(size: int, points: Array, width: float) -> Array:
    """Coverage of a line through `points` (n, 2) in picture coordinates, `width` in picture widths."""
    scale = 2
    image = Image.new("L", (size * scale, size * scale))
    path = [(float(x), float(y)) for x, y in (points + 0.5) * size * scale]
    ImageDraw.Draw(image).line(path, fill=255, width=max(1, round(width * size * scale)), joint="curve")
    small = image.resize((size, size), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32) / 255


def wander(rng: Random, start: tuple[float, float], length: float, bend: float, angle: float, steps: int = 24) -> Array:
    """A path of `steps` points whose direction performs a random walk."""
    angles = angle + np.cumsum(rng.normal(0, bend / np.sqrt(steps), steps))
    moves = np.stack([np.cos(angles), np.sin(angles)], axis=1) * length / steps
    path = np.cumsum(moves, axis=0)
    return (np.array(start) + path - path.mean(axis=0)).astype(np.float32)


def contrasting(rng: Random, picture: Array, alpha: Array, least: float = 0.25) -> Array:
    """A colour that differs visibly from what `alpha` covers, (3,)."""
    weight = alpha[..., None]
    mean = (picture * weight).sum((0, 1)) / max(float(weight.sum()), 1e-6)
    for _ in range(8):
        picked = colour(rng, value=(0.02, 1.0))
        if np.abs(picked - mean).max() > least:
            return picked
    return np.where(mean > 0.5, mean - 0.4, mean + 0.4).astype(np.float32)


def flat(picture: Array, tint: Array) -> Array:
    """A picture of one colour."""
    return np.broadcast_to(tint, picture.shape).astype(np.float32)


def scratch(rng: Random, picture: Array, area: Mask, size: float) -> Paint:
    """One or a few thin lines, lighter or darker than the surface."""
    pixels, alpha = area.shape[0], np.zeros(area.shape, dtype=np.float32)
    angle, width = rng.uniform(0, TAU), rng.uniform(0.006, 0.014)
    for _ in range(rng.integers(1, 4)):
        path = wander(rng, place(rng, area), rng.uniform(0.2, 0.45) * size, 0.4, angle + rng.normal(0, 0.15))
        alpha = np.maximum(alpha, stroke(pixels, path, width))
    change = rng.choice([-1, 1]) * rng.uniform(0.22, 0.4)
    mean = float((picture.mean(-1) * alpha).sum() / (alpha.sum() + 1e-6))
    if mean + change > 1.05 or mean + change < -0.05:
        change = -change
    return alpha, np.clip(picture + change, 0, 1)


def crack(rng: Random, picture: Array, area: Mask, size: float) -> Paint:
    """A dark jagged line with branches."""
    pixels, angle = area.shape[0], rng.uniform(0, TAU)
    trunk = wander(rng, place(rng, area), rng.uniform(0.25, 0.5) * size, 1.2, angle)
    trunk = trunk + rng.normal(0, 0.006, trunk.shape).astype(np.float32)
    width = rng.uniform(0.008, 0.018)
    alpha = stroke(pixels, trunk, width)
    for _ in range(rng.integers(0, 4)):
        start = trunk[rng.integers(4, len(trunk) - 2)]
        side = angle + rng.choice([-1, 1]) * rng.uniform(0.4, 1.1)
        branch = wander(rng, (0, 0), rng.uniform(0.06, 0.2) * size, 1.0, side, 12)
        alpha = np.maximum(alpha, stroke(pixels, branch - branch[0] + start, width * 0.7))
    return alpha, picture * rng.uniform(0.1, 0.45)


def cut(rng: Random, picture: Array, area: Mask, size: float) -> Paint:
    """An open slit with a dark inside and raised lips."""
    pixels, width = area.shape[0], rng.uniform(0.02, 0.04)
    path = wander(rng, place(rng, area), rng.uniform(0.15, 0.35) * size, 0.5, rng.uniform(0, TAU))
    lips = stroke(pixels, path, width)
    inside = blur(stroke(pixels, path, width * 0.45), 0.003 * pixels)
    return lips, mix(np.clip(picture * rng.uniform(1.1, 1.4) + 0.05, 0, 1), picture * 0.12, inside)


def stain(rng: Random, picture: Array, area: Mask, size: float) -> Paint:
    """A translucent patch of another colour, darker at its rim."""
    alpha, distance = blob(rng, area, rng.uniform(0.06, 0.13) * size, 0.4, 0.2)
    tint = contrasting(rng, picture, alpha)
    rim = np.exp(-(((distance - 0.9) / 0.15) ** 2)) * rng.uniform(0, 0.25)
    wet = mix(picture, picture * tint * 0.6 + tint * 0.4, np.full(area.shape, rng.uniform(0.55, 0.95), np.float32))
    return alpha, wet * (1 - rim[..., None])


def hole(rng: Random, picture: Array, area: Mask, size: float) -> Paint:
    """A hole with a lit rim; one sees something dark behind."""
    alpha, distance = blob(rng, area, rng.uniform(0.035, 0.08) * size, 0.25, 0.12)
    behind = colour(rng, saturation=(0, 0.2), value=(0.0, 0.15))
    return alpha, mix(flat(picture, behind), np.clip(picture * 1.3, 0, 1), step(distance, 0.85, 0.3))


def dent(rng: Random, picture: Array, area: Mask, size: float) -> Paint:
    """A hollow or bump, seen by its shading."""
    radius = rng.uniform(0.06, 0.12) * size
    x, y = coordinates(area.shape[0], rng.uniform(0, TAU), place(rng, area))
    distance = np.hypot(x, y * rng.uniform(1, 1.6)) / radius
    height = np.exp(-2.5 * distance**2).astype(np.float32) * radius
    light = relief(height, rng.uniform(0, TAU), rng.choice([-1, 1]) * rng.uniform(0.8, 2))
    return step(1 - distance, 0, 0.4), np.clip(picture * light[..., None], 0, 1)


def contamination(rng: Random, picture: Array, area: Mask, size: float) -> Paint:
    """A group of foreign particles."""
    pixels, alpha = area.shape[0], np.zeros(area.shape, dtype=np.float32)
    centre, spread = np.array(place(rng, area)), rng.uniform(0.02, 0.09) * size
    for _ in range(rng.integers(2, 9)):
        spot = centre + rng.normal(0, spread, 2)
        x, y = coordinates(pixels, rng.uniform(0, TAU), (spot[0], spot[1]))
        distance = np.hypot(x, y * rng.uniform(1, 2)) / (rng.uniform(0.01, 0.03) * size**0.5)
        alpha = np.maximum(alpha, step(1 - distance, 0, 0.4))
    return alpha, flat(picture, contrasting(rng, picture, alpha, 0.3))


def fibre(rng: Random, picture: Array, area: Mask, size: float) -> Paint:
    """A loose thread lying on the surface."""
    pixels, width = area.shape[0], rng.uniform(0.009, 0.02)
    path = wander(rng, place(rng, area), rng.uniform(0.3, 0.7) * size, rng.uniform(2, 6), rng.uniform(0, TAU), 40)
    thread = stroke(pixels, path, width)
    shadow = stroke(pixels, path + np.float32(width * 0.6), width)
    shade = rng.uniform(0.4, 0.7)
    tint = contrasting(rng, picture, thread, 0.3)
    paint = mix(picture * shade, flat(picture, tint), thread)
    return np.maximum(thread, shadow), paint


def distortion(rng: Random, picture: Array, area: Mask, size: float) -> Paint:
    """The surface pulled or twisted out of its pattern."""
    pixels, radius = area.shape[0], rng.uniform(0.09, 0.16) * size
    centre = place(rng, area)
    x, y = coordinates(pixels, 0, centre)
    distance = np.hypot(x, y) / radius
    inside = np.clip(1 - distance, 0, 1)
    twist = rng.choice([-1, 1]) * rng.uniform(1.5, 3) * inside
    source_x = np.cos(twist) * x - np.sin(twist) * y + centre[0]
    source_y = np.sin(twist) * x + np.cos(twist) * y + centre[1]
    where = [(source_y + 0.5) * pixels - 0.5, (source_x + 0.5) * pixels - 0.5]
    paint = np.stack([ndimage.map_coordinates(picture[..., c], where, order=1, mode="nearest") for c in range(3)], -1)
    return step(1 - distance, 0.05, 0.1), paint * (1 - 0.25 * inside[..., None])


def wear(rng: Random, picture: Array, area: Mask, size: float) -> Paint:
    """Rubbed smooth: the texture is lost and the tone lifted."""
    alpha, _ = blob(rng, area, rng.uniform(0.08, 0.15) * size, 0.4, 0.3)
    smooth = blur(picture, 0.03 * area.shape[0])
    rubbed = 0.03 * smooth_noise(rng, area.shape[0], 60)[..., None]
    return alpha, np.clip(smooth + rng.choice([-1, 1]) * rng.uniform(0.08, 0.22) + rubbed, 0, 1)


def burn(rng: Random, picture: Array, area: Mask, size: float) -> Paint:
    """Scorched brown to black."""
    alpha, distance = blob(rng, area, rng.uniform(0.06, 0.13) * size, 0.4, 0.35)
    char = np.array([0.16, 0.09, 0.05], dtype=np.float32) * rng.uniform(0.3, 1.3)
    depth = np.clip(1.15 - distance, 0, 1)
    return alpha, mix(picture * 0.7, flat(picture, char), depth**0.6)


def rust(rng: Random, picture: Array, area: Mask, size: float) -> Paint:
    """Orange brown corrosion, grainy."""
    pixels = area.shape[0]
    alpha, _ = blob(rng, area, rng.uniform(0.06, 0.13) * size, 0.6, 0.15)
    tone = 1 + 0.25 * fractal_noise(rng, pixels, 20, 3)
    tint = colour(rng, (0.03, 0.08), (0.6, 0.9), (0.3, 0.6))
    return alpha, np.clip(0.25 * picture + 0.75 * tint * tone[..., None], 0, 1)


def glue(rng: Random, picture: Array, area: Mask, size: float) -> Paint:
    """A drop of something clear or milky with a highlight."""
    alpha, distance = blob(rng, area, rng.uniform(0.05, 0.1) * size, 0.25, 0.1)
    height = np.sqrt(np.clip(1 - distance, 0, 1)).astype(np.float32)
    light = relief(blur(height, 2), rng.uniform(0, TAU), 0.05)
    tint = contrasting(rng, picture, alpha, 0.2)
    body = mix(picture, flat(picture, tint), np.full(area.shape, rng.uniform(0.2, 0.7), np.float32))
    return alpha, np.clip(body * light[..., None] + 0.5 * step(light, 1.35, 0.3)[..., None], 0, 1)


def discolouration(rng: Random, picture: Array, area: Mask, size: float) -> Paint:
    """The same surface in another tone."""
    alpha, _ = blob(rng, area, rng.uniform(0.08, 0.15) * size, 0.25, 0.15)
    gain = np.array([1, 1, 1], dtype=np.float32) * rng.choice([rng.uniform(0.45, 0.7), rng.uniform(1.3, 1.6)])
    if rng.random() < 0.6:
        gain = gain * rng.uniform(0.6, 1.4, 3).astype(np.float32)
    return alpha, np.clip(picture * gain, 0, 1)


def misplaced(rng: Random, picture: Array, area: Mask, size: float) -> Paint:
    """A piece of the surface turned and set in at the wrong place."""
    pixels = area.shape[0]
    half = (rng.uniform(0.05, 0.12) * size, rng.uniform(0.05, 0.12) * size)
    x, y = coordinates(pixels, rng.uniform(0, TAU), place(rng, area))
    edge = np.maximum(np.abs(x) - half[0], np.abs(y) - half[1])
    moved = np.roll(np.rot90(picture, int(rng.integers(1, 4))), tuple(rng.integers(0, pixels, 2)), axis=(0, 1))
    return step(-edge, 0, 0.01), np.clip(moved * rng.uniform(0.75, 0.9) + rng.choice([0, 0.15]), 0, 1)


def fold(rng: Random, picture: Array, area: Mask, size: float) -> Paint:
    """A crease: a band lit on one side and dark on the other."""
    pixels, width = area.shape[0], rng.uniform(0.03, 0.06)
    path = wander(rng, place(rng, area), rng.uniform(0.3, 0.6) * size, 0.5, rng.uniform(0, TAU))
    band = stroke(pixels, path, width)
    ridge = blur(stroke(pixels, path, width * 0.3), 0.012 * pixels)
    light = relief(ridge, rng.uniform(0, TAU), rng.uniform(0.02, 0.05))
    return band, np.clip(picture * light[..., None], 0, 1)


KINDS: dict[str, Kind] = {
    "scratch": scratch,
    "crack": crack,
    "cut": cut,
    "stain": stain,
    "hole": hole,
    "dent": dent,
    "contamination": contamination,
    "fibre": fibre,
    "distortion": distortion,
    "wear": wear,
    "burn": burn,
    "rust": rust,
    "glue": glue,
    "discolouration": discolouration,
    "misplaced": misplaced,
    "fold": fold,
}
"""Kinds that change a surface, by the name they have in captions and folders."""


class InvisibleDefectError(RuntimeError):
    """A kind of defect cannot be seen on a surface."""


@dataclass(frozen=True)
class Damage:
    """A damaged picture (H, W, 3) in [0, 1], the exact mask (H, W) of what changed, and the kind's name."""

    picture: Array
    mask: Mask
    kind: str


def chip(rng: Random, area: Mask, size: float) -> Array:
    """Coverage (H, W) of a bite out of the object's border; what lies behind the object is to be seen there."""
    border = area & ~ndimage.binary_erosion(area, iterations=2)
    alpha, _ = blob(rng, border, rng.uniform(0.06, 0.12) * size, 0.5, 0.05)
    return alpha


def apply(
    kind: str,
    rng: Random,
    picture: Array,
    area: Mask,
    behind: Array,
    size: float = 1.0,
    kinds: Mapping[str, Kind] = KINDS,
) -> Damage:
    """Damage a picture.

    Args:
        kind: a name of `kinds`, or "chip".
        rng: draws place, form and colours.
        picture: flawless picture (H, W, 3) in [0, 1].
        area: where the product is (H, W).
        behind: the picture without the product (H, W, 3), seen through a chip.
        size: about 1 for a medium defect.
        kinds: the function of each kind.

    Raises:
        InvisibleDefectError: if 20 tries gave no visible defect, such as a distortion of a plain surface.
    """
    for _ in range(20):
        alpha, paint = (chip(rng, area, size), behind) if kind == "chip" else kinds[kind](rng, picture, area, size)
        mask = (alpha >= COVER) & area
        share = mask.mean()
        if not 0.001 <= share <= 0.2:
            continue
        cover = np.where(mask, alpha, 0)
        damaged = mix(picture, paint.astype(np.float32), cover)
        if np.abs(damaged - picture).max(-1)[mask].mean() >= 0.05:
            return Damage(damaged, mask, kind)
    raise InvisibleDefectError(
        f"20 tries drew no visible {kind} on an area of {int(area.sum())} pixels; choose another kind or surface"
    )
