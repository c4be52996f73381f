"""Small public sets of real pictures, as they are distributed, written anew in MVTec AD's layout.

Three sets are known, each by what its folder looks like:

- magnetic tiles: `MT_Free` and `MT_<defect>` with a `.jpg` picture and a `.png` mask of the same name;
- NEU steel: `images` and `masks` (0 is background, other numbers are kinds of defect);
- head CT pictures: `normal` and `haemorrhage`, without masks.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class RealSet:
    """A set of real pictures.

    Attributes:
        name: Its name.
        folder: Name of its folder.
        class_name: What its pictures show.
    """

    name: str
    folder: str
    class_name: str


SETS = (
    RealSet("magnetic tiles", "magnetic_tile", "magnetic tile"),
    RealSet("NEU steel", "neu_steel", "steel"),
    RealSet("head CT pictures", "head_ct_png", "brain"),
)


def write_trees(source: Path, target: Path) -> dict[str, RealSet]:
    """Write those sets that a folder holds as folders of MVTec AD's layout.

    Args:
        source: Folder with the sets' folders.
        target: New folder for the trees, one a set, each named as the set's folder.

    Returns:
        The sets that were found, by the name of their folder.

    Raises:
        FileNotFoundError: If there is none of them; says which are known.
    """
    found = {one.folder: one for one in SETS if (source / one.folder).is_dir()}
    if not found:
        known = ", ".join(one.folder for one in SETS)
        raise FileNotFoundError(f"'{source}' holds none of the folders {known}")
    for folder in found:
        pictures = _PICTURES[folder](source / folder)
        for kind, path, mask in pictures:
            _copy(target / folder, kind, path, mask)
    return found


_Picture = tuple[str, Path, Path | None]


def _tiles(folder: Path) -> list[_Picture]:
    found: list[_Picture] = []
    for path in sorted(folder.glob("MT_*/*.jpg")):
        kind = path.parent.name.removeprefix("MT_").lower()
        free = kind == "free"
        found.append(("good" if free else kind, path, None if free else path.with_suffix(".png")))
    return found


def _steel(folder: Path) -> list[_Picture]:
    images = sorted((folder / "images").glob("*.jpg"))
    return [("defect", path, next((folder / "masks").glob(f"{path.stem}.*"))) for path in images]


def _head_ct(folder: Path) -> list[_Picture]:
    kinds = (("good", "normal"), ("haemorrhage", "haemorrhage"))
    return [(kind, path, None) for kind, name in kinds for path in sorted((folder / name).glob("*.png"))]


_PICTURES = {"magnetic_tile": _tiles, "neu_steel": _steel, "head_ct_png": _head_ct}


def _copy(tree: Path, kind: str, path: Path, mask: Path | None) -> None:
    picture = tree / "test" / kind / path.name
    picture.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, picture)
    if mask is None:
        return
    values = np.asarray(Image.open(mask).convert("L"))
    # Tiles' masks are drawn in 255 with traces of small numbers; steel's number the kinds.
    marked = values > (127 if values.max() > 127 else 0)
    truth = tree / "ground_truth" / kind / f"{path.stem}_mask.png"
    truth.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(marked.astype(np.uint8) * 255).save(truth)
