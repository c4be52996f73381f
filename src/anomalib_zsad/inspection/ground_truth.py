"""What folder names and masks say of images that are inspected, so that misses and false alarms can be looked at."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from anomalib_zsad.data.folder_layout import MASK_FOLDERS, NORMAL_NAMES
from anomalib_zsad.data.pictures import read_marks

Truth = Literal["normal", "abnormal"]
_IMAGES = "images"
_MASK_THRESHOLD = 127


def ground_truth(images: Sequence[tuple[str, Path]]) -> dict[str, Truth]:
    """What is known of images, by name; nothing is guessed where neither folders nor masks tell.

    An image in a folder `good`, `normal` or `ok` is normal, and one in a folder beside such a one is abnormal. In a
    folder `images` with `masks` or `ground_truth` beside it, and beside a file `..._mask.png`, the mask tells.

    Args:
        images: Names below a folder, with forward slashes, and paths.
    """
    folders = {PurePosixPath(name).parent for name, _ in images}
    beside_normal = {folder.parent for folder in folders if folder.name.casefold() in NORMAL_NAMES}
    paths = {PurePosixPath(name): path for name, path in images}
    masks = _masks_beside(paths)
    found: dict[str, Truth] = {}
    for name, path in paths.items():
        folder = name.parent
        if set(folder.parts) & set(MASK_FOLDERS) or name in masks.values():
            continue
        if folder.name.casefold() in NORMAL_NAMES:
            found[str(name)] = "normal"
        elif folder.name and folder.parent in beside_normal:
            found[str(name)] = "abnormal"
        else:
            told = _told_by_mask(path, masks.get(name), paths)
            if told is not None:
                found[str(name)] = told
    return found


def _masks_beside(paths: Mapping[PurePosixPath, Path]) -> dict[PurePosixPath, PurePosixPath]:
    """By image, the file `..._mask` beside it."""
    by_stem = {name.with_suffix(""): name for name in paths}
    pairs = ((name, by_stem.get(name.with_name(f"{name.stem}_mask"))) for name in paths)
    return {name: mask for name, mask in pairs if mask is not None}


def _told_by_mask(path: Path, beside: PurePosixPath | None, paths: Mapping[PurePosixPath, Path]) -> Truth | None:
    """What the mask of an image says; `None` without one, or where it cannot be read."""
    candidates = [paths[beside]] if beside is not None else []
    if path.parent.name == _IMAGES:
        folders = (path.parent.parent / name for name in MASK_FOLDERS)
        stems = (path.stem, f"{path.stem}_mask")
        candidates += [file for folder in folders for stem in stems if _is_file(file := folder / f"{stem}.png")]
    if not candidates:
        return None
    try:
        return "abnormal" if read_marks(candidates[0], _MASK_THRESHOLD).any() else "normal"
    except (OSError, ValueError):
        return None


def _is_file(path: Path) -> bool:
    """Whether there is a file; of a folder that may not be entered nothing is known."""
    try:
        return path.is_file()
    except OSError:
        return False
