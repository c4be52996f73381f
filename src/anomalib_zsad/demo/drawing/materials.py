"""Materials that pretraining draws, each a function `(style, instance, size)` to a picture (size, size, 3).

`style` draws what all pieces of one product share (colours, scale, direction); `instance` what differs from piece
to piece. Lengths are relative to the picture, so a drawing looks alike at any size.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from anomalib_zsad.demo.drawing.fields import (
    Array,
    blur,
    cells,
    colour,
    coordinates,
    fractal_noise,
    mix,
    relief,
    smooth_noise,
    step,
    streaks,
)

Draw: TypeAlias = Callable[[np.random.Generator, np.random.Generator, int], Array]
Random: TypeAlias = np.random.Generator
TAU = 2 * np.pi


def _grey(style: Random, value: tuple[float, float] = (0.35, 0.8)) -> Array:
    return colour(style, saturation=(0.0, 0.12), value=value)


def brushed_metal(style: Random, instance: Random, size: int) -> Array:
    """Metal with fine parallel brush marks."""
    base, angle = _grey(style), style.uniform(0, np.pi)
    fineness, contrast = style.uniform(40, 120), style.uniform(0.02, 0.07)
    marks = streaks(instance, size, angle, fineness, style.uniform(0.3, 2)) + 0.5 * streaks(
        instance, size, angle, 20, 2
    )
    return base * (1 + contrast * marks)[..., None]


def cast_metal(style: Random, instance: Random, size: int) -> Array:
    """Rough cast or rolled metal."""
    base, angle = _grey(style, (0.2, 0.65)), style.uniform(0, TAU)
    height = fractal_noise(instance, size, style.uniform(8, 40), 4, style.uniform(0.5, 0.9))
    return base * (relief(height, angle, style.uniform(0.002, 0.006)) + style.uniform(0, 0.08) * height)[..., None]


def hammered_metal(style: Random, instance: Random, size: int) -> Array:
    """Sheet beaten to shallow dimples."""
    base = colour(style, (0.05, 0.15), (0.0, 0.5), (0.4, 0.85))
    distance, _, _ = cells(instance, size, style.uniform(8, 18), 0.8)
    return base * relief(distance**2 / 30, style.uniform(0, TAU), style.uniform(0.6, 1.2))[..., None]


def wood(style: Random, instance: Random, size: int) -> Array:
    """Sawn wood with growth rings drawn out along the grain."""
    dark, light = (
        colour(style, (0.04, 0.09), (0.4, 0.7), (0.3, 0.5)),
        colour(style, (0.06, 0.11), (0.3, 0.6), (0.6, 0.85)),
    )
    angle, rings = style.uniform(-0.15, 0.15) + style.choice([0, np.pi / 2]), style.uniform(5, 14)
    _, y = coordinates(size, angle + instance.uniform(-0.05, 0.05))
    bend = 0.08 * streaks(instance, size, angle, 2, 1) + 0.015 * streaks(instance, size, angle, 12, 0.6)
    ring = 0.5 + 0.5 * np.sin(TAU * rings * (y + bend + instance.uniform()))
    grain = streaks(instance, size, angle, 80, style.uniform(0.15, 0.5))
    return mix(dark, light, np.clip(0.25 + 0.6 * ring**1.5 + 0.1 * grain, 0, 1))


def parquet(style: Random, instance: Random, size: int) -> Array:
    """Boards of wood laid side by side."""
    boards, phase = style.uniform(2.5, 6), instance.uniform()
    position = (coordinates(size)[1] + 0.5) * boards + phase
    tone = instance.uniform(0.8, 1.1, 12).astype(np.float32)[position.astype(int)]
    joint = step(0.5 - np.abs(position % 1 - 0.5), 0.02, 0.03)
    return wood(style, instance, size) * (tone * (0.4 + 0.6 * joint))[..., None]


def fabric(style: Random, instance: Random, size: int) -> Array:
    """Plain weave of warp and weft threads."""
    threads, angle = style.uniform(16, 36), style.uniform(-0.2, 0.2)
    warp, weft = colour(style), colour(style)
    if style.random() < 0.6:
        weft = np.clip(warp * style.uniform(0.85, 1.1), 0, 1)
    sway = 0.002 * smooth_noise(instance, size, 5)
    x, y = coordinates(size, angle + instance.uniform(-0.04, 0.04))
    u, v = (x + sway + instance.uniform()) * threads, (y - sway + instance.uniform()) * threads
    over = (np.floor(u) + np.floor(v)) % 2
    across, along = np.sin(np.pi * (u % 1)), np.sin(np.pi * (v % 1))
    light = np.where(over > 0, across**0.7 * (0.6 + 0.4 * along), along**0.7 * (0.6 + 0.4 * across))
    fuzz = 1 + 0.06 * smooth_noise(instance, size, size / 2)
    return mix(weft, warp, over.astype(np.float32)) * ((0.45 + 0.55 * light) * fuzz)[..., None]


def twill(style: Random, instance: Random, size: int) -> Array:
    """Diagonal weave such as denim."""
    dark, light = colour(style, value=(0.15, 0.45)), colour(style, saturation=(0, 0.4), value=(0.5, 0.9))
    threads = style.uniform(14, 34)
    x, y = coordinates(size, style.uniform(0.4, 1.1))
    warped = y + 0.002 * smooth_noise(instance, size, 8)
    rib = 0.5 + 0.5 * np.sin(TAU * threads * (warped + instance.uniform()))
    knots = 0.5 + 0.5 * np.sin(TAU * threads * 0.8 * x + np.pi * np.floor(threads * warped))
    fuzz = 0.12 * smooth_noise(instance, size, size / 2.5)
    return mix(dark, light, np.clip(rib * (0.4 + 0.5 * knots) + fuzz, 0, 1))


def carpet(style: Random, instance: Random, size: int) -> Array:
    """Tufted pile."""
    base = colour(style, value=(0.25, 0.7))
    tufts = fractal_noise(instance, size, style.uniform(35, 70), 2, 0.8)
    hue = 1 + style.uniform(0, 0.1) * smooth_noise(instance, size, 40)[..., None] * style.uniform(-1, 1, 3)
    return base * hue * (relief(tufts, style.uniform(0, TAU), 0.004) + 0.1 * tufts)[..., None]


def speckled_ceramic(style: Random, instance: Random, size: int) -> Array:
    """Glaze with speckles."""
    base, spots = colour(style, saturation=(0, 0.4), value=(0.5, 0.95)), colour(style, value=(0.1, 0.6))
    density = style.uniform(1.2, 2)
    speckle = step(smooth_noise(instance, size, style.uniform(30, 80)), density, 0.4)
    fine = step(smooth_noise(instance, size, size / 2), 2.2, 0.5)
    return mix(base, spots, np.clip(speckle + fine, 0, 0.85) * style.uniform(0.3, 1))


def tile(style: Random, instance: Random, size: int) -> Array:
    """Ceramic tiles with grout between them."""
    glaze = speckled_ceramic(style, instance, size) if style.random() < 0.5 else marble(style, instance, size)
    grout, count, width = _grey(style, (0.3, 0.9)), style.uniform(2.2, 5), style.uniform(0.03, 0.07)
    x, y = coordinates(size, instance.uniform(-0.03, 0.03))
    u, v = (x + instance.uniform()) * count, (y + instance.uniform()) * count
    number = (np.floor(u) * 7 + np.floor(v) * 13).astype(int) % 16
    tone = instance.uniform(0.93, 1.05, 16).astype(np.float32)[number]
    edge = 0.5 - np.maximum(np.abs(u % 1 - 0.5), np.abs(v % 1 - 0.5))
    rough = 1 + 0.06 * smooth_noise(instance, size, size / 3)
    return mix(grout * rough[..., None], glaze * tone[..., None], step(edge, width / 2, 0.02))


def brick(style: Random, instance: Random, size: int) -> Array:
    """Bricks in running bond."""
    clay, mortar = colour(style, (0.0, 0.09), (0.3, 0.7), (0.35, 0.75)), _grey(style, (0.5, 0.85))
    rows = style.uniform(4, 8)
    x, y = coordinates(size, instance.uniform(-0.02, 0.02))
    v = (y + instance.uniform()) * rows
    u = (x + instance.uniform()) * rows / 2.2 + 0.5 * (np.floor(v) % 2)
    number = (np.floor(u) * 5 + np.floor(v) * 11).astype(int) % 32
    tone = instance.uniform(0.8, 1.15, 32).astype(np.float32)[number]
    edge = np.minimum((0.5 - np.abs(u % 1 - 0.5)) * 2.2, 0.5 - np.abs(v % 1 - 0.5))
    edge = edge + 0.02 * smooth_noise(instance, size, 30)
    rough = 1 + 0.1 * fractal_noise(instance, size, 25, 3)
    return mix(mortar, clay * tone[..., None], step(edge, 0.08, 0.05)) * rough[..., None]


def concrete(style: Random, instance: Random, size: int) -> Array:
    """Cloudy concrete with pores."""
    base = colour(style, (0.05, 0.15), (0.0, 0.15), (0.45, 0.8))
    clouds = fractal_noise(instance, size, 3, 5, 0.6)
    pores = step(smooth_noise(instance, size, style.uniform(30, 60)), style.uniform(2.2, 2.8), 0.3)
    return base * (1 + style.uniform(0.02, 0.07) * clouds - 0.35 * pores)[..., None]


def terrazzo(style: Random, instance: Random, size: int) -> Array:
    """Chips of stone in a binder, or granite where they are small."""
    palette = np.stack([colour(style, saturation=(0, 0.45), value=(0.2, 0.95)) for _ in range(5)])
    binder, count = colour(style, saturation=(0, 0.2), value=(0.4, 0.9)), style.uniform(10, 36)
    _, border, number = cells(instance, size, count)
    chips = palette[instance.integers(0, 5, number.max() + 1)[number]]
    gap = style.uniform(0.02, 0.15)
    return mix(binder, chips, step(border, gap, 0.05)) * (1 + 0.03 * smooth_noise(instance, size, size / 2))[..., None]


def marble(style: Random, instance: Random, size: int) -> Array:
    """Veined stone."""
    base, vein = (
        colour(style, saturation=(0, 0.3), value=(0.5, 0.95)),
        colour(style, saturation=(0, 0.5), value=(0.2, 0.7)),
    )
    x, _ = coordinates(size, style.uniform(0, np.pi))
    bend = fractal_noise(instance, size, style.uniform(2, 4), 5, 0.55)
    line = np.abs(np.sin(np.pi * style.uniform(1.5, 5) * (x + instance.uniform()) + style.uniform(0.8, 2) * bend))
    return mix(base, vein, (1 - line) ** style.uniform(3, 8) * style.uniform(0.3, 0.8)) * (1 + 0.03 * bend)[..., None]


def moulded_plastic(style: Random, instance: Random, size: int) -> Array:
    """Moulded plastic with a fine grain."""
    base = colour(style, value=(0.1, 0.9))
    grain = fractal_noise(instance, size, style.uniform(30, 90), 2)
    return base * relief(grain, style.uniform(0, TAU), style.uniform(0.0003, 0.002))[..., None]


def ribbed_rubber(style: Random, instance: Random, size: int) -> Array:
    """Parallel ribs."""
    base, count = colour(style, saturation=(0, 0.6), value=(0.12, 0.6)), style.uniform(6, 22)
    _, y = coordinates(size, style.uniform(0, np.pi) + instance.uniform(-0.04, 0.04))
    wave = np.sin(TAU * count * (y + instance.uniform()))
    rib = np.tanh(wave * style.uniform(1, 4))
    return base * (0.85 + style.uniform(0.15, 0.4) * rib + 0.04 * smooth_noise(instance, size, size / 2))[..., None]


def cardboard(style: Random, instance: Random, size: int) -> Array:
    """Fibrous paper or cardboard."""
    base = colour(style, (0.05, 0.13), (0.05, 0.5), (0.5, 0.95))
    fibres = sum(streaks(instance, size, instance.uniform(0, np.pi), 60, 0.1) for _ in range(2))
    flute = np.sin(TAU * style.uniform(10, 25) * coordinates(size, style.choice([0, np.pi / 2]))[1])
    light = 1 + 0.025 * fibres + style.choice([0, 0.04]) * flute
    return base * np.broadcast_to(light, (size, size))[..., None]


def wire_mesh(style: Random, instance: Random, size: int) -> Array:
    """Wires crossing over a background."""
    wire, behind = _grey(style, (0.5, 0.95)), colour(style, value=(0.05, 0.35))
    if style.random() < 0.3:
        wire, behind = behind, wire
    count, thickness = style.uniform(6, 18), style.uniform(0.12, 0.3)
    x, y = coordinates(size, style.uniform(0, np.pi / 2) + instance.uniform(-0.03, 0.03))
    u, v = (x + instance.uniform()) * count, (y + instance.uniform()) * count
    near_u, near_v = np.abs(u % 1 - 0.5), np.abs(v % 1 - 0.5)
    profile = np.maximum(1 - near_u / thickness, 1 - near_v / thickness)
    light = 0.5 + 0.6 * np.clip(profile, 0, 1)
    return mix(behind, np.clip(wire * light[..., None], 0, 1), step(profile, 0, 0.2))


def perforated_sheet(style: Random, instance: Random, size: int) -> Array:
    """Sheet with regular round holes."""
    sheet = moulded_plastic(style, instance, size) if style.random() < 0.5 else brushed_metal(style, instance, size)
    behind, count = colour(style, value=(0.02, 0.3)), style.uniform(5, 14)
    x, y = coordinates(size, style.uniform(0, np.pi / 2) + instance.uniform(-0.03, 0.03))
    v = (y + instance.uniform()) * count
    u = (x + instance.uniform()) * count + style.choice([0, 0.5]) * (np.floor(v) % 2)
    distance = np.hypot(u % 1 - 0.5, v % 1 - 0.5)
    return mix(behind, sheet, step(distance, style.uniform(0.2, 0.36), 0.08))


def chequer_plate(style: Random, instance: Random, size: int) -> Array:
    """Floor plate with raised bars in alternating directions."""
    base, count = _grey(style), style.uniform(5, 11)
    x, y = coordinates(size, style.uniform(0, np.pi / 2) + instance.uniform(-0.03, 0.03))
    u, v = (x + instance.uniform()) * count, (y + instance.uniform()) * count
    turn = (np.floor(u) + np.floor(v)) % 2 > 0
    a, b = u % 1 - 0.5, v % 1 - 0.5
    along, across = np.where(turn, a, b), np.where(turn, b, a)
    bar = step(1 - np.hypot(along / 0.42, across / 0.13).astype(np.float32), 0, 0.5)
    light = relief(bar / count, style.uniform(0, TAU), 0.35) + 0.03 * fractal_noise(instance, size, 40, 3)
    return base * light[..., None]


def foam(style: Random, instance: Random, size: int) -> Array:
    """Porous foam or sponge."""
    base = colour(style, value=(0.4, 0.95))
    pores = smooth_noise(instance, size, style.uniform(18, 45)) + 0.4 * smooth_noise(instance, size, 70)
    depth = step(pores, style.uniform(0.5, 1.2), 0.8)
    return base * (relief(pores, style.uniform(0, TAU), 0.004) - 0.5 * depth)[..., None]


def painted_surface(style: Random, instance: Random, size: int) -> Array:
    """Smooth paint or glass with a slight orange peel."""
    base = colour(style, value=(0.1, 0.95))
    peel = smooth_noise(instance, size, style.uniform(15, 50))
    return base * relief(peel, style.uniform(0, TAU), style.uniform(0.0002, 0.0015))[..., None]


def printed_pattern(style: Random, instance: Random, size: int) -> Array:
    """Dots, checks or stripes printed in two colours."""
    first, second, count = colour(style), colour(style), style.uniform(4, 14)
    x, y = coordinates(size, style.uniform(0, np.pi / 2) + instance.uniform(-0.04, 0.04))
    u, v = (x + instance.uniform()) * count, (y + instance.uniform()) * count
    kind = style.integers(3)
    if kind == 0:
        ink = step(np.hypot(u % 1 - 0.5, v % 1 - 0.5), style.uniform(0.2, 0.4), 0.1)
    elif kind == 1:
        ink = 0.5 * (step(np.abs(u % 1 - 0.5), 0.25, 0.08) + step(np.abs(v % 1 - 0.5), 0.25, 0.08))
    else:
        ink = np.broadcast_to(step(np.abs(u % 1 - 0.5), style.uniform(0.1, 0.4), 0.08), (size, size))
    return mix(first, second, ink) * (1 + 0.03 * smooth_noise(instance, size, size / 2))[..., None]


def honeycomb(style: Random, instance: Random, size: int) -> Array:
    """Hexagonal cells."""
    wall, inside, count = colour(style, value=(0.4, 0.95)), colour(style, value=(0.05, 0.6)), style.uniform(5, 14)
    x, y = coordinates(size, style.uniform(0, np.pi / 2) + instance.uniform(-0.03, 0.03))
    u, v = (x + instance.uniform()) * count, (y + instance.uniform()) * count / 0.866
    distances = []
    for shift in (0.0, 0.5):
        a = (u + shift) % 1 - 0.5
        b = ((v + 2 * shift) % 2 - 1) * 0.866
        distances.append(np.maximum(np.abs(a), np.abs(a) * 0.5 + np.abs(b) * 0.866))
    edge = 0.5 - np.minimum(*distances)
    return mix(wall, inside, step(edge, style.uniform(0.05, 0.14), 0.06))


def gravel(style: Random, instance: Random, size: int) -> Array:
    """Loose stones, each of its own tone."""
    base = colour(style, (0.03, 0.15), (0, 0.35), (0.4, 0.8))
    distance, border, number = cells(instance, size, style.uniform(9, 26), 0.9)
    tone = instance.uniform(0.6, 1.2, number.max() + 1).astype(np.float32)[number]
    light = relief(-(distance**2) / 20, style.uniform(0, TAU), 1) * (0.35 + 0.65 * step(border, 0.06, 0.15))
    return base * (tone * light)[..., None]


def collage(style: Random, instance: Random, size: int) -> Array:
    """Bars, boxes and discs of several colours laid out on a sheet, as on labels and printed panels."""
    palette = np.stack([colour(style, value=(0.05, 0.95)) for _ in range(4)])
    sheet = colour(style) * (1 + style.uniform(0, 0.06) * smooth_noise(instance, size, style.uniform(3, 60)))[..., None]
    centre = (instance.uniform(-0.04, 0.04), instance.uniform(-0.04, 0.04))
    x, y = coordinates(size, style.choice([0, style.uniform(0, np.pi)]) + instance.uniform(-0.04, 0.04), centre)
    step_of_grid, turns = style.uniform(0.05, 0.15), style.random() < 0.5
    for _ in range(style.integers(4, 40)):
        at = np.round(style.uniform(-0.6, 0.6, 2) / step_of_grid) * step_of_grid
        u, v = x - at[0], y - at[1]
        if turns and style.random() < 0.3:
            u, v = (u + v) * 0.707, (v - u) * 0.707
        if style.random() < 0.35:
            ring = style.uniform(0.01, 0.06)
            edge = np.abs(np.hypot(u, v) - ring) - style.choice([ring, 0.006])
        else:
            half = style.permutation([style.uniform(0.004, 0.06), style.uniform(0.01, 0.25)])
            edge = np.maximum(np.abs(u) - half[0], np.abs(v) - half[1])
        sheet = mix(sheet, palette[style.integers(4)], step(-edge, 0, 2 / size))
    return sheet


def abstract(style: Random, instance: Random, size: int) -> Array:
    """A texture of no particular material: waves and noise, warped, thresholded and coloured at random."""
    palette = [colour(style, value=(0.1, 0.95)) for _ in range(3)]
    value = np.zeros((size, size), dtype=np.float32)
    for _ in range(style.integers(1, 4)):
        x, y = coordinates(size, style.uniform(0, np.pi))
        bend = style.uniform(0, 0.04) * smooth_noise(instance, size, style.uniform(2, 12))
        wave = np.sin(TAU * style.uniform(3, 24) * (x + bend + instance.uniform()))
        cross = np.sin(TAU * style.uniform(3, 24) * (y - bend + instance.uniform()))
        value += style.choice([wave, wave * cross, np.maximum(wave, cross), np.abs(wave)], axis=0)
    noise = fractal_noise(instance, size, style.uniform(3, 50), int(style.integers(1, 5)), 0.7)
    value = style.uniform(0, 0.5) * value + style.uniform(0, 0.3) * noise
    if style.random() < 0.4:
        value = np.tanh(value * style.uniform(1, 6))
    picture = mix(palette[0], palette[1], np.clip(value * 0.5 + 0.5, 0, 1))
    fine = step(smooth_noise(instance, size, style.uniform(20, 90)), style.uniform(1, 2.5), 0.5)
    picture = mix(picture, palette[2], fine * style.uniform(0, 0.6))
    return blur(picture, style.uniform(0.5, 1.5) * size / 256)


MATERIALS: dict[str, Draw] = {
    "brushed metal": brushed_metal,
    "cast metal": cast_metal,
    "hammered metal": hammered_metal,
    "wood": wood,
    "parquet": parquet,
    "fabric": fabric,
    "twill": twill,
    "carpet": carpet,
    "ceramic": speckled_ceramic,
    "tile": tile,
    "brick": brick,
    "concrete": concrete,
    "terrazzo": terrazzo,
    "marble": marble,
    "plastic": moulded_plastic,
    "rubber": ribbed_rubber,
    "cardboard": cardboard,
    "wire mesh": wire_mesh,
    "perforated sheet": perforated_sheet,
    "chequer plate": chequer_plate,
    "foam": foam,
    "painted surface": painted_surface,
    "printed pattern": printed_pattern,
    "honeycomb": honeycomb,
    "gravel": gravel,
    "collage": collage,
    "texture": abstract,
}
"""Name in captions of each material that pretraining draws."""
