"""Materials and objects that pretraining never draws: what the sample set's unseen categories are made of."""

import numpy as np

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
from anomalib_zsad.demo.drawing.materials import TAU, Random
from anomalib_zsad.demo.drawing.objects import rounded_box


def leather(style: Random, instance: Random, size: int) -> Array:
    """Grained leather: ridged noise makes the creases between the grains."""
    base = colour(style, (0.03, 0.07), (0.45, 0.7), (0.3, 0.55))
    ridges = np.abs(smooth_noise(instance, size, 34)) + 0.6 * np.abs(smooth_noise(instance, size, 55))
    grain = np.minimum(ridges, 0.8)
    tone = 1 + 0.05 * smooth_noise(instance, size, 3)
    return (
        base
        * (relief(blur(grain, 0.003 * size), style.uniform(0, TAU), 0.007) * tone * (0.75 + 0.3 * grain))[..., None]
    )


def knitwear(style: Random, instance: Random, size: int) -> Array:
    """Columns of V-shaped stitches."""
    yarn = colour(style, saturation=(0.4, 0.8), value=(0.5, 0.85))
    columns = style.uniform(11, 15)
    x, y = coordinates(size, instance.uniform(-0.06, 0.06))
    sway = 0.004 * smooth_noise(instance, size, 4)
    u = (x + sway + instance.uniform()) * columns
    leg = np.abs(u % 1 - 0.5) * 2
    v = (y + sway + instance.uniform()) * columns * 1.3 - 0.55 * leg
    strand = np.sin(np.pi * (v % 1)) ** 0.6 * np.sin(np.pi * np.clip(leg, 0.03, 0.97)) ** 0.5
    fibres = 0.1 * np.sin(TAU * 3 * (v + 0.6 * leg)) + 0.07 * smooth_noise(instance, size, size / 2)
    return yarn * np.clip(0.3 + 0.75 * strand + fibres * strand, 0, 1.2)[..., None]


def crumb(style: Random, instance: Random, size: int) -> Array:
    """Baked dough, with the tone uneven from the oven."""
    base = colour(style, (0.08, 0.1), (0.45, 0.6), (0.75, 0.88))
    crust = fractal_noise(instance, size, 20, 4, 0.7)
    baked = 1 + 0.06 * smooth_noise(instance, size, 3)
    return base * (relief(crust, style.uniform(0, TAU), 0.0025) * baked)[..., None]


def biscuit(style: Random, x: Array, y: Array) -> Array:
    """Scalloped rectangle, docked with rows of small holes (grooves of the shading)."""
    half = (1.0, style.uniform(0.62, 0.72))
    scallop = 0.035 * (np.cos(x * TAU * 4.5) + np.cos(y * TAU * 4.5))
    edge = rounded_box(x, y, half, 0.15) + scallop * 0.7
    spacing = 0.36
    column, row = np.round(x / spacing), np.round(y / spacing)
    dock = np.hypot(x - column * spacing, y - row * spacing)
    docked = (np.abs(column) <= 2) & (np.abs(row) <= 1)
    depth = 0.01 + np.clip(dock - 0.03, 0, None) * 1.5
    return np.maximum(edge, np.where(docked, -depth, -1)).astype(np.float32)


def _traces(style: Random, x: Array, y: Array) -> Array:
    """Coverage of the copper tracks: polylines that run straight or at 45 degrees between points of a grid."""
    tracks = np.full(x.shape, 9.0, dtype=np.float32)
    for _ in range(22):
        start = style.integers(-9, 10, 2) / 20
        run, slant = style.uniform(0.1, 0.45) * style.choice([-1, 1]), style.uniform(0, 0.1) * style.choice([-1, 1])
        knee = start + np.array([run, 0.0]) if style.random() < 0.5 else start + np.array([0.0, run])
        end = knee + slant
        for first, second in ((start, knee), (knee, end)):
            way = second - first
            along = ((x - first[0]) * way[0] + (y - first[1]) * way[1]) / (way @ way + 1e-9)
            along = np.clip(along, 0, 1)
            tracks = np.minimum(tracks, np.hypot(x - first[0] - along * way[0], y - first[1] - along * way[1]))
    return step(-tracks, -0.006, 0.006)


def circuit_board(style: Random, instance: Random, size: int) -> Array:
    """Printed circuit board with tracks, pads and packages; the layout belongs to the style."""
    angle, centre = instance.uniform(-0.03, 0.03), (instance.uniform(-0.03, 0.03), instance.uniform(-0.03, 0.03))
    x, y = coordinates(size, angle, centre)
    resist = colour(style, (0.36, 0.42), (0.6, 0.8), (0.28, 0.4))
    tone = 1 + 0.04 * smooth_noise(instance, size, 4)
    picture = mix(resist * tone[..., None], resist * 1.5, _traces(style, x, y))
    tin, package = np.array([0.72, 0.72, 0.7], np.float32), np.array([0.1, 0.1, 0.11], np.float32)
    for _ in range(14):
        at = style.integers(-9, 10, 2) / 20
        ring = np.hypot(x - at[0], y - at[1])
        picture = mix(picture, tin, step(-ring, -0.02, 0.006))
        picture = mix(picture, resist * 0.3, step(-ring, -0.009, 0.006))
    for row in (-0.25, 0.02, 0.28):
        for column in (-0.28, 0.05, 0.32):
            half = (style.uniform(0.04, 0.09), style.uniform(0.03, 0.06))
            u, v = x - column, y - row
            legs = (np.abs((u * 28) % 1 - 0.5) < 0.25) & (np.abs(u) < half[0]) & (np.abs(v) < half[1] + 0.022)
            picture = mix(picture, tin, legs.astype(np.float32))
            edge = rounded_box(u, v, half, 0.006)
            picture = mix(picture, package * (1.2 + 6 * np.clip(-v, 0, 0.06))[..., None], step(-edge, 0, 0.006))
    return picture * (1 + 0.02 * fractal_noise(instance, size, 60, 2))[..., None]
