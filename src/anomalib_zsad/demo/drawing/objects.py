"""Objects that pretraining draws: outlines as signed distances, shaded as solid bodies.

An outline is a function `(style, x, y)` of coordinates in object radii (1 reaches the object's rim) to a signed
distance in radii: negative inside.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from anomalib_zsad.demo.drawing.fields import Array, step

Outline: TypeAlias = Callable[[np.random.Generator, Array, Array], Array]
Random: TypeAlias = np.random.Generator
TAU = 2 * np.pi


def rounded_box(x: Array, y: Array, half: tuple[float, float], radius: float) -> Array:
    """Signed distance of a rectangle with half widths `half` and rounded corners."""
    dx, dy = np.abs(x) - half[0] + radius, np.abs(y) - half[1] + radius
    outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
    return (outside + np.minimum(np.maximum(dx, dy), 0) - radius).astype(np.float32)


def polygon(x: Array, y: Array, sides: int, radius: float = 0.9) -> Array:
    """Signed distance (to the sides' lines) of a regular polygon."""
    angle = np.arctan2(y, x)
    sector = TAU / sides
    folded = (angle + sector / 2) % sector - sector / 2
    return (np.hypot(x, y) * np.cos(folded) - radius * np.cos(sector / 2)).astype(np.float32)


def disc(style: Random, x: Array, y: Array) -> Array:
    """Coin or lid with a stepped rim."""
    del style
    return np.hypot(x, y) - 1


def washer(style: Random, x: Array, y: Array) -> Array:
    """Flat ring."""
    distance = np.hypot(x, y)
    return np.maximum(distance - 1, style.uniform(0.35, 0.6) - distance)


def tablet(style: Random, x: Array, y: Array) -> Array:
    """Round tablet with a score line: the depth below the rim shrinks towards it, so that shading shows a groove."""
    groove = 0.01 + np.abs(y) * style.uniform(1, 2)
    return np.maximum(np.hypot(x, y) - 1, -groove)


def capsule(style: Random, x: Array, y: Array) -> Array:
    """Oblong capsule or rod."""
    half = style.uniform(0.3, 0.5)
    return rounded_box(x, y, (1.0, half), half)


def hexagonal_nut(style: Random, x: Array, y: Array) -> Array:
    """Hexagon with a round bore."""
    return np.maximum(polygon(x, y, 6), style.uniform(0.35, 0.55) - np.hypot(x, y))


def metal_plate(style: Random, x: Array, y: Array) -> Array:
    """Plate with a bolt hole in each corner, and sometimes one in the middle."""
    half = (0.95, style.uniform(0.6, 0.95))
    holes = style.uniform(0.08, 0.14) - np.hypot(np.abs(x) - half[0] + 0.24, np.abs(y) - half[1] + 0.24)
    middle = (style.uniform(0.15, 0.35) if style.random() < 0.5 else -1) - np.hypot(x, y)
    return np.maximum(np.maximum(rounded_box(x, y, half, 0.12), holes), middle)


def stone(style: Random, x: Array, y: Array) -> Array:
    """Smooth irregular body such as a pebble or bean."""
    angle = np.arctan2(y, x)
    radius = np.full_like(angle, 0.85)
    for wave in (2, 3, 4):
        radius = radius + style.uniform(0, 0.12 / wave) * np.cos(wave * angle + style.uniform(0, TAU))
    return (np.hypot(x, y) - radius).astype(np.float32)


def prism(style: Random, x: Array, y: Array) -> Array:
    """Regular polygon of three to eight sides."""
    return polygon(x, y, int(style.integers(3, 9)))


def flange(style: Random, x: Array, y: Array) -> Array:
    """Disc with a bore and a circle of bolt holes."""
    count = int(style.integers(4, 9))
    distance, sector = np.hypot(x, y), TAU / count
    folded = (np.arctan2(y, x) + sector / 2) % sector - sector / 2
    holes = np.hypot(distance * np.cos(folded) - 0.72, distance * np.sin(folded))
    return np.maximum(np.maximum(distance - 1, style.uniform(0.25, 0.45) - distance), style.uniform(0.07, 0.13) - holes)


def knob(style: Random, x: Array, y: Array) -> Array:
    """Lobed hand wheel."""
    lobes = int(style.integers(3, 7))
    return (np.hypot(x, y) - 0.85 - 0.13 * np.cos(lobes * np.arctan2(y, x))).astype(np.float32)


def bracket(style: Random, x: Array, y: Array) -> Array:
    """Angle bracket with one hole in each arm."""
    width = style.uniform(0.5, 0.7)
    body = np.maximum(rounded_box(x, y, (0.9, 0.9), 0.08), -rounded_box(x - width, y + width, (0.9, 0.9), 0.05))
    hole = style.uniform(0.1, 0.16)
    holes = np.maximum(hole - np.hypot(x - 0.55, y - 0.6), hole - np.hypot(x + 0.6, y + 0.55))
    return np.maximum(body, holes)


OBJECTS: dict[str, Outline] = {
    "disc": disc,
    "washer": washer,
    "tablet": tablet,
    "capsule": capsule,
    "hexagonal nut": hexagonal_nut,
    "metal plate": metal_plate,
    "pebble": stone,
    "prism": prism,
    "flange": flange,
    "knob": knob,
    "bracket": bracket,
}
"""Name in captions of each object that pretraining draws."""


def shade_body(distance: Array, bevel: float, light: float, roundness: float) -> Array:
    """Brightness of a solid whose edge is bevelled over `bevel`; `distance` as drawn, in picture widths."""
    size = distance.shape[0]
    inside = np.clip(-distance / bevel, 0, 1)
    height = np.sqrt(1 - (1 - inside) ** 2) * bevel
    down, across = np.gradient(height.astype(np.float32))
    slope = (np.cos(light) * across + np.sin(light) * down) * size
    return (1 + roundness * np.tanh(slope)).astype(np.float32) * (0.75 + 0.25 * step(inside, 0.2, 0.4))
