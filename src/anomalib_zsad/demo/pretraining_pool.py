"""A pool of twins (a flawless picture and its damaged copy) for pretraining, drawn in parallel.

The flawless one is a drawn product, a photograph of a real material, or a drawn section of a body.
"""

from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from anomalib_zsad.demo.drawing import scene
from anomalib_zsad.demo.drawing.anatomy import scanner_noise, section
from anomalib_zsad.demo.drawing.defects import KINDS, Damage, InvisibleDefectError, Kind
from anomalib_zsad.demo.drawing.lesions import LESIONS
from anomalib_zsad.demo.drawing.materials import MATERIALS, Random
from anomalib_zsad.demo.drawing.objects import OBJECTS
from anomalib_zsad.demo.drawing.surface_faults import SURFACE_FAULTS
from anomalib_zsad.demo.drawing.textures import photographed, read_textures

SURFACES = tuple(MATERIALS)
# What each source gives of the pool: without photographs and sections the backbone knows drawings alone.
SHARES = {"drawn": 0.35, "photographed": 0.37, "section": 0.28}
FAULTS = {**KINDS, **SURFACE_FAULTS}
CHUNK = 100
Twin: TypeAlias = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_], str, str]


@dataclass(frozen=True)
class Pool:
    """Drawn twins.

    Attributes:
        normal: flawless pictures (n, S, S, 3), 8 bits.
        abnormal: the same with a defect.
        masks: where they differ (n, S, S).
        names: name of each product.
        kinds: kind of each defect.
    """

    normal: NDArray[np.uint8]
    abnormal: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    names: list[str]
    kinds: list[str]

    def __len__(self) -> int:
        """Number of twins."""
        return len(self.names)


def draw_scene(rng: Random, size: int) -> tuple[str, scene.Scene, bool]:
    """A random product: its name, its scene, and whether it is an object."""
    style, instance = (np.random.default_rng(seed) for seed in rng.integers(2**63, size=2))
    # Textures and collages of no particular product teach most: they are drawn more often than others.
    material = str(rng.choice(SURFACES)) if rng.random() < 0.7 else str(rng.choice(["texture", "texture", "collage"]))
    draw = rng.random()
    if draw < 0.45:
        return material, scene.surface(MATERIALS[material], style, instance, size), False
    name = str(rng.choice(list(OBJECTS)))
    if draw < 0.88:
        return name, scene.body(OBJECTS[name], MATERIALS[material], style, instance, size), True
    other = str(rng.choice(SURFACES))
    panel = scene.panel(OBJECTS[name], (MATERIALS[material], MATERIALS[other]), style, instance, size)
    return f"{material} panel", panel, False


def draw_twin(seed: tuple[int, int], size: int, textures: Path) -> Twin:
    """One twin of pictures (size, size, 3), the mask (size, size), the product's name and the kind of defect.

    What cannot be damaged visibly, such as a section with too little tissue, is drawn anew.

    Args:
        seed: Seed of the pool, and the twin's number in it.
        size: Width and height in pixels.
        textures: Folder of contact sheets of photographs.
    """
    rng = np.random.default_rng(seed)
    while True:
        source = str(rng.choice(list(SHARES), p=list(SHARES.values())))
        try:
            return _TWINS[source](rng, size, textures)
        except InvisibleDefectError:
            continue


def _drawn(rng: Random, size: int, _textures: Path) -> Twin:
    name, clean, is_object = draw_scene(rng, size)
    damaged = damage_somehow(clean, rng, [*KINDS, *["chip"] * 3] if is_object else list(KINDS), KINDS)
    return _photographs(name, clean, damaged, scene.light(rng, size))


def _photographed(rng: Random, size: int, textures: Path) -> Twin:
    style, instance = (np.random.default_rng(seed) for seed in rng.integers(2**63, size=2))
    name, clean = photographed(read_textures(textures), style, instance, size)
    # Faults of real surfaces come twice as often as the plainer kinds.
    damaged = damage_somehow(clean, rng, [*KINDS, *SURFACE_FAULTS, *SURFACE_FAULTS, *SURFACE_FAULTS], FAULTS)
    return _photographs(name, clean, damaged, scene.light(rng, size, 0.6))


def _section(rng: Random, size: int, _textures: Path) -> Twin:
    name, clean = section(rng, size)
    damaged = damage_somehow(clean, rng, list(LESIONS), LESIONS)
    return _photographs(name, clean, damaged, scanner_noise(rng, size))


_TWINS = {"drawn": _drawn, "photographed": _photographed, "section": _section}


def _photographs(name: str, clean: scene.Scene, damaged: Damage, lamp: scene.Light) -> Twin:
    """Both pictures in the same light, with the same noise."""
    return lamp.photograph(clean.picture), lamp.photograph(damaged.picture), damaged.mask, name, damaged.kind


def damage_somehow(clean: scene.Scene, rng: Random, kinds: list[str], draws: Mapping[str, Kind]) -> Damage:
    """Damage a scene with the first of the shuffled kinds that can be seen on it."""
    for kind in rng.permutation(kinds):
        try:
            return scene.damage(clean, str(kind), rng, rng.uniform(0.7, 1.6), draws)
        except InvisibleDefectError:  # noqa: PERF203 - rare
            continue
    raise InvisibleDefectError(f"none of {', '.join(kinds)} can be seen on this scene")


def _draw_chunk(start: int, count: int, size: int, seed: int, textures: Path) -> Pool:
    twins = [draw_twin((seed, number), size, textures) for number in range(start, start + count)]
    normal, abnormal, masks, names, kinds = zip(*twins, strict=True)
    return Pool(np.stack(normal), np.stack(abnormal), np.stack(masks), list(names), list(kinds))


def draw_pool(count: int, size: int, seed: int, textures: Path, workers: int = 2) -> Pool:
    """Draw `count` twins of `size` pixels; the same seed gives the same pool with any number of workers."""
    starts = list(range(0, count, CHUNK))
    pictures = (np.empty((count, size, size, 3), dtype=np.uint8), np.empty((count, size, size, 3), dtype=np.uint8))
    pool = Pool(*pictures, np.empty((count, size, size), dtype=bool), [], [])
    draw = partial(_draw_chunk, size=size, seed=seed, textures=textures)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as executor:
        chunks = executor.map(draw, starts, [min(CHUNK, count - start) for start in starts])
        for start, chunk in zip(starts, chunks, strict=True):
            part = slice(start, start + len(chunk))
            pool.normal[part], pool.abnormal[part], pool.masks[part] = chunk.normal, chunk.abnormal, chunk.masks
            pool.names.extend(chunk.names)
            pool.kinds.extend(chunk.kinds)
    return pool
