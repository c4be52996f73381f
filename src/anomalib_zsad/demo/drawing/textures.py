"""Photographs of real materials, on which defects are drawn: contact sheets of tileable CC0 pictures.

A sheet holds pictures of one material, `TILE` pixels a side, `COLUMNS` a row, at the pitches below; places that are
left white are empty. `sample_data/textures` holds the sheets that the embedded backbone was pretrained with.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from anomalib_zsad.demo.drawing.fields import Array, blur
from anomalib_zsad.demo.drawing.materials import Random
from anomalib_zsad.demo.drawing.scene import Scene
from anomalib_zsad.demo.drawing.workpieces import cut_out, lit, rolled

TILE, COLUMNS = 128, 7
_MARGIN, _ACROSS, _DOWN = 16, 144, 176
_EMPTY_SHARE = 0.9
# Compression has softened the outermost pixels; a border of them would show as a grid where pictures are repeated.
_SOFT = 2
# Sheets whose pictures are objects or holes more than a surface: a defect drawn on them is no longer one.
_UNUSED = ("Net", "ScatteredLeaves", "Grass", "PineNeedles")

TEXTURE_NAMES = (
    "asphalt",
    "bamboo",
    "bark",
    "bricks",
    "cardboard",
    "carpet",
    "chainmail",
    "chipboard",
    "clay",
    "concrete",
    "cork",
    "corrugated steel",
    "diamond plate",
    "fabric",
    "foil",
    "glazed terracotta",
    "granite",
    "gravel",
    "ground",
    "logs",
    "marble",
    "metal",
    "moss",
    "office ceiling",
    "onyx",
    "paint",
    "paper",
    "paving stones",
    "planks",
    "plaster",
    "plastic",
    "porcelain",
    "road",
    "rock",
    "rocks",
    "roofing tiles",
    "rubber",
    "rust",
    "snow",
    "solar panel",
    "tatami",
    "terrazzo",
    "thatched roof",
    "tiles",
    "tire tracks",
    "travertine",
    "wallpaper",
    "wood",
    "wood chips",
    "wood floor",
    "wood siding",
)
"""Names in captions of the materials whose sheets the repository holds."""


@dataclass(frozen=True)
class Textures:
    """Photographs of materials.

    Attributes:
        pictures: Each (S, S, 3), 8 bits, S a little less than `TILE`; nearly tileable.
        names: The material of each, in lower case words.
    """

    pictures: tuple[NDArray[np.uint8], ...]
    names: tuple[str, ...]


@lru_cache(maxsize=2)
def read_textures(folder: Path) -> Textures:
    """Cut the pictures out of all sheets (`NAME.webp` or `.png`) of a folder.

    Raises:
        FileNotFoundError: If there is no sheet; says what is expected.
    """
    sheets = sorted(path for path in folder.glob("*") if path.suffix in {".webp", ".png"} and path.stem not in _UNUSED)
    if not sheets:
        raise FileNotFoundError(
            f"there are no contact sheets (.webp or .png) of textures in '{folder}'; give the folder "
            "sample_data/textures of the repository as --textures"
        )
    pictures, names = [], []
    for sheet in sheets:
        with Image.open(sheet) as image:
            found = list(_cut(np.asarray(image.convert("RGB"))))
        pictures += found
        names += [material_name(sheet.stem)] * len(found)
    return Textures(tuple(pictures), tuple(names))


def material_name(stem: str) -> str:
    """`PavingStones` as `paving stones`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", stem).lower()


def _cut(sheet: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    found = []
    for top in range(_MARGIN, sheet.shape[0] - TILE + 1, _DOWN):
        for column in range(COLUMNS):
            left = _MARGIN + column * _ACROSS
            picture = sheet[top : top + TILE, left : left + TILE]
            if picture.shape[:2] == (TILE, TILE) and (picture.min(-1) > 250).mean() < _EMPTY_SHARE:
                found.append(picture[_SOFT:-_SOFT, _SOFT:-_SOFT].copy())
    return found


def photographed(textures: Textures, style: Random, instance: Random, size: int) -> tuple[str, Scene]:
    """A real surface that fills the picture, and what it is made of.

    The picture is repeated, enlarged between 0.8 and 3 times and cut at a random place; now and then it loses its
    colours, its contrast, or its sharpness, is drawn out along one axis, lit from one side, or ends within the
    picture, as pieces before the camera of a production line do.
    """
    pick = int(style.integers(len(textures.pictures)))
    tile = textures.pictures[pick].astype(np.float32) / 255
    scale = float(np.exp(style.uniform(np.log(0.8), np.log(3.0))))
    needed = int(np.ceil(size / scale)) + 2
    shift = instance.integers(0, len(tile), 2)
    rows, columns = ((np.arange(needed) + offset) % len(tile) for offset in shift)
    picture = tile[rows][:, columns]
    picture = ndimage.zoom(picture, (scale, scale, 1), order=1 if scale > 1 else 0)[:size, :size]
    if style.random() < 0.45:
        picture = np.repeat(picture.mean(-1, keepdims=True), 3, axis=-1)
    picture = _toned(picture, style)
    if style.random() < 0.3:
        picture = blur(picture, style.uniform(0.4, 1.5))
    picture = np.clip(picture, 0, 1)
    if style.random() < 0.4:
        picture = rolled(picture, style, instance)
    if style.random() < 0.45:
        picture = lit(picture, instance)
    area = np.ones((size, size), dtype=bool)
    if style.random() < 0.35:
        picture, area = cut_out(picture, style, instance)
    turns = int(instance.integers(4))
    picture, area = np.rot90(picture, turns).astype(np.float32), np.rot90(area, turns).copy()
    return textures.names[pick], Scene(picture, area, np.zeros_like(picture))


def _toned(picture: Array, style: Random) -> Array:
    """The picture with another contrast and brightness."""
    mean = picture.mean()
    contrast = style.uniform(0.25, 1.2) if style.random() < 0.85 else style.uniform(1.2, 3.5)
    return mean + (picture - mean) * contrast + (style.uniform(0.2, 0.75) - mean) * style.uniform(0, 1)
