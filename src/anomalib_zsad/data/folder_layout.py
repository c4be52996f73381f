"""Find images, labels and masks in a folder of images.

A *category* is a folder that shows one kind of thing. Three layouts of a category are understood; `*` stands for any
image file, and a folder of a *kind* is normal if its name is among `normal_names`, else it is a kind of defect.

1. MVTec AD::

       category/train/good/*.png              (not for testing)
       category/test/<kind>/000.png
       category/ground_truth/<kind>/000.png   or 000_mask.png

2. Plain::

       category/<kind>/000.jpg

   with the mask of `category/crack/000.jpg` in any one of these places, its suffix that of any image::

       category/masks/crack/000.png           or 000_mask.png   (the folder may be ground_truth)
       category/crack/000_mask.png
       category/crack/000.png                 beside an image that is not a PNG

3. Images and masks::

       category/images/000.jpg
       category/masks/000.png                 or 000_mask.png   (the folder may be ground_truth)

   Here the masks tell the labels: an image is anomalous if its mask marks any pixel.

Files whose names begin with a dot are passed over.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from anomalib_zsad.data.image_endings import IMAGE_ENDINGS
from anomalib_zsad.data.labelled_image import LabelledImage
from anomalib_zsad.data.pictures import read_marks

__all__ = ["NORMAL_NAMES", "find_categories", "find_labelled_images"]

NORMAL_NAMES = ("good", "normal", "ok")
MASK_FOLDERS = ("masks", "ground_truth")
_IMAGES = "images"
_LAYOUTS = (
    "Expected category/<kind>/*, category/test/<kind>/* with category/ground_truth/<kind>/*, "
    "or category/images/* with category/masks/*"
)


def find_categories(root: Path) -> list[str]:
    """Names of the categories in a folder, sorted; `["."]` if the folder is itself one category.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it holds no images in any of the layouts.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}")
    if _is_category(root):
        return ["."]
    categories = [folder.name for folder in _folders(root) if _is_category(folder)]
    if not categories:
        raise ValueError(f"{root} holds no images in a layout that is understood. {_LAYOUTS}.")
    return categories


def find_labelled_images(
    category: Path, normal_names: Sequence[str] = NORMAL_NAMES, mask_threshold: float = 127
) -> list[LabelledImage]:
    """Find a category's images, sorted by path.

    Args:
        category: The category's folder.
        normal_names: Names of folders that hold normal images; case does not matter.
        mask_threshold: Largest mask value that means normal; read in the layout where masks tell the labels.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If there are no images, or if only some of the anomalous ones have masks.
    """
    if not category.is_dir():
        raise FileNotFoundError(f"there is no folder {category}")
    normal = {name.casefold() for name in normal_names}
    if (category / "test").is_dir():
        images = [*_kinds(category / "test", category, normal), *_training_part(category / "train", normal)]
    elif _images(category / _IMAGES) and _mask_folder(category):
        images = list(_labelled_by_masks(category, mask_threshold))
    else:
        images = list(_kinds(category, category, normal))
    if not images:
        raise ValueError(f"{category} holds no images. {_LAYOUTS}.")
    _check_masks(category, images)
    return sorted(images, key=lambda found: found.image_path)


def _kinds(parent: Path, category: Path, normal: set[str]) -> Iterator[LabelledImage]:
    """Images of the folders of kinds in `parent`, their masks in the category's mask folder or beside them."""
    masks = _mask_folder(category)
    for folder in _folders(parent):
        if folder.name in MASK_FOLDERS:
            continue
        is_anomalous = folder.name.casefold() not in normal
        images, beside = _split_off_masks(_images(folder))
        found = _by_stem(_images(masks / folder.name)) if masks else {}
        for image in images:
            mask = found.get(image.stem) or beside.get(image.stem) if is_anomalous else None
            yield LabelledImage(image, is_anomalous, mask_path=mask, kind=folder.name)


def _training_part(folder: Path, normal: set[str]) -> Iterator[LabelledImage]:
    """The normal images of an MVTec layout's training part."""
    for kind in _folders(folder):
        if kind.name.casefold() in normal:
            yield from (LabelledImage(image, abnormal=False, kind=kind.name, split="train") for image in _images(kind))


def _labelled_by_masks(category: Path, mask_threshold: float) -> Iterator[LabelledImage]:
    """Images of the layout in which masks tell the labels."""
    masks = _by_stem(_images(_mask_folder(category) or category))
    for image in _images(category / _IMAGES):
        mask = masks.get(image.stem)
        if mask is None:
            raise ValueError(
                f"{image} has no mask in {_mask_folder(category)}. In this layout the masks tell which images are "
                "anomalous: give an empty one for a normal image, or sort the images into folders of kinds."
            )
        abnormal = bool(read_marks(mask, mask_threshold).any())
        yield LabelledImage(image, abnormal, mask_path=mask, kind=_IMAGES)


def _check_masks(category: Path, images: list[LabelledImage]) -> None:
    """Raise if some anomalous images have masks and others have none."""
    anomalous = [image for image in images if image.abnormal]
    lacking = [image.image_path for image in anomalous if image.mask_path is None]
    if lacking and len(lacking) < len(anomalous):
        raise ValueError(
            f"{len(lacking)} of {len(anomalous)} anomalous images in {category} have no mask, the first is "
            f"{lacking[0]}. Give all of them masks, or none; a folder of normal images is named in normal_names."
        )


def _is_category(folder: Path) -> bool:
    """Whether a folder is a category: it has a test part, or folders that hold images directly."""
    return (folder / "test").is_dir() or any(_images(child) for child in _folders(folder))


def _split_off_masks(files: list[Path]) -> tuple[list[Path], dict[str, Path]]:
    """Tell the images of a folder from masks that lie beside them; masks are given by their images' stems."""
    by_stem: dict[str, list[Path]] = {}
    for file in files:
        by_stem.setdefault(file.stem, []).append(file)
    masks: dict[str, Path] = {}
    for stem, group in by_stem.items():
        suffixed = by_stem.get(f"{stem}_mask")
        pngs = [file for file in group if file.suffix.lower() == ".png"]
        if suffixed:
            masks[stem] = suffixed[0]
        elif len(group) == 2 and len(pngs) == 1:
            masks[stem] = pngs[0]
    taken = set(masks.values())
    return [file for file in files if file not in taken], masks


def _by_stem(files: list[Path]) -> dict[str, Path]:
    """Mask files by the stem of the image they belong to."""
    return {file.stem.removesuffix("_mask"): file for file in files}


def _mask_folder(category: Path) -> Path | None:
    """The category's folder of masks, if it has one."""
    return next((category / name for name in MASK_FOLDERS if (category / name).is_dir()), None)


def _folders(parent: Path) -> list[Path]:
    """The visible folders in a folder, sorted; none if it is absent."""
    return sorted(child for child in _children(parent) if child.is_dir())


def _images(folder: Path) -> list[Path]:
    """The visible image files directly in a folder, sorted; none if it is absent."""
    return sorted(child for child in _children(folder) if child.suffix.lower() in IMAGE_ENDINGS and child.is_file())


def _children(folder: Path) -> Iterator[Path]:
    """What a folder holds, hidden things left out."""
    return (child for child in folder.iterdir() if not child.name.startswith(".")) if folder.is_dir() else iter(())
