"""Draw the industrial sample set: `python -m anomalib_zsad.demo.draw_sample_set`.

Ten categories in the layout of MVTec AD. A category is one product (one `style`), each picture another piece of it.
The pieces depend on the seed, the category and their number alone.
"""

import argparse
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anomalib_zsad.data.sample_set import AUXILIARY_CATEGORIES, UNSEEN_CATEGORIES
from anomalib_zsad.demo.drawing import defects, materials, objects, scene, unseen
from anomalib_zsad.demo.drawing.scene import Scene

SEED = 20
SIZE = 256
TRAIN_GOOD, TEST_GOOD, TEST_PER_DEFECT = 10, 20, 6


@dataclass(frozen=True)
class Category:
    """How to draw one category.

    Attributes:
        material: what it is made of.
        kinds: kinds of defect.
        outline: the object's form; None for a material that fills the picture.
        turn: largest turn of an object in radians.
        style: number that picks the product's colours and proportions.
    """

    material: materials.Draw
    kinds: tuple[str, ...]
    outline: objects.Outline | None = None
    turn: float = 0.1
    style: int = 0


@dataclass(frozen=True)
class Piece:
    """One picture of the set: 8-bit pictures (H, W, 3) with and without the defect, and the mask (H, W)."""

    picture: NDArray[np.uint8]
    flawless: NDArray[np.uint8]
    mask: NDArray[np.bool_] = field(repr=False)


CATEGORIES: dict[str, Category] = {
    "fabric": Category(materials.fabric, ("cut", "stain", "fibre", "distortion"), style=2),
    "metal_plate": Category(
        materials.brushed_metal, ("scratch", "rust", "dent", "stain"), objects.metal_plate, style=1
    ),
    "tablet": Category(
        materials.painted_surface, ("chip", "crack", "contamination", "discolouration"), objects.tablet, np.pi, style=9
    ),
    "tile": Category(materials.tile, ("crack", "glue", "misplaced", "wear"), style=2),
    "washer": Category(
        materials.cast_metal, ("scratch", "chip", "rust", "contamination"), objects.washer, np.pi, style=10
    ),
    "wood": Category(materials.wood, ("hole", "burn", "scratch", "glue"), style=4),
    "biscuit": Category(unseen.crumb, ("chip", "crack", "burn", "contamination"), unseen.biscuit, 0.3, style=7),
    "circuit_board": Category(unseen.circuit_board, ("scratch", "burn", "glue", "misplaced"), style=2),
    "knitwear": Category(unseen.knitwear, ("hole", "fibre", "stain", "distortion"), style=7),
    "leather": Category(unseen.leather, ("cut", "fold", "discolouration", "hole"), style=3),
}
"""The ten categories; the last four are drawn from `unseen`."""


def flawless_scene(category: Category, style: np.random.Generator, instance: np.random.Generator, size: int) -> Scene:
    """A product without flaw."""
    if category.outline is None:
        return scene.surface(category.material, style, instance, size)
    return scene.body(category.outline, category.material, style, instance, size, category.turn)


def draw_piece(name: str, number: int, kind: str | None = None, size: int = SIZE, seed: int = SEED) -> Piece:
    """Draw one piece of a category.

    Args:
        name: a key of `CATEGORIES`.
        number: which piece; every number is another.
        kind: kind of defect, None for a good piece.
        size: width and height in pixels.
        seed: seed of the whole set.
    """
    category, key = CATEGORIES[name], zlib.crc32(name.encode())
    style = np.random.default_rng([seed, key, category.style])
    instance = np.random.default_rng([seed, key, category.style, number])
    clean = flawless_scene(category, style, instance, size)
    lamp = scene.light(instance, size, 0.5)
    flawless = lamp.photograph(clean.picture)
    if kind is None:
        return Piece(flawless, flawless, np.zeros((size, size), dtype=bool))
    damaged: defects.Damage = scene.damage(clean, kind, instance)
    return Piece(lamp.photograph(damaged.picture), flawless, damaged.mask)


def plan(name: str) -> Iterator[tuple[str, str | None, int]]:
    """The pieces of a category: (folder, kind of defect, number), numbers running over the whole category."""
    folders: list[tuple[str, str | None, int]] = [("train/good", None, TRAIN_GOOD), ("test/good", None, TEST_GOOD)]
    folders += [(f"test/{kind}", kind, TEST_PER_DEFECT) for kind in CATEGORIES[name].kinds]
    number = 0
    for folder, kind, count in folders:
        for _ in range(count):
            yield folder, kind, number
            number += 1


def write_category(root: Path, name: str) -> None:
    """Draw one category into `root/name`."""
    for folder, kind, number in plan(name):
        piece = draw_piece(name, number, kind)
        target = root / name / folder / f"{number:03d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(piece.picture).save(target, quality=88, optimize=True)
        if kind is not None:
            mask = root / name / "ground_truth" / kind / f"{number:03d}_mask.png"
            mask.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(piece.mask.astype(np.uint8) * 255).convert("1").convert("L").save(mask, optimize=True)


def write(root: Path) -> None:
    """Draw the whole set into the new folder `root`; it appears whole or not at all.

    Raises:
        FileExistsError: if `root` exists.
    """
    if root.exists():
        raise FileExistsError(f"{root} exists already; name a new folder, or move the old one away")
    root.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".sample_data_", dir=root.parent))
    try:
        for name in (*AUXILIARY_CATEGORIES, *UNSEEN_CATEGORIES):
            write_category(draft, name)
        draft.chmod(0o755)
        draft.replace(root)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Draw the industrial sample set in the layout of MVTec AD.")
    parser.add_argument("--output", type=Path, required=True, help="new folder to write")
    write(parser.parse_args().output)


if __name__ == "__main__":
    main()
