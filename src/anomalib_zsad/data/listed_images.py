"""Datasets made from a table of files, where masks may be absent.

The sets of the zero-shot papers are less tidy than anomalib's: whole categories have no masks, though their tables name
some, and some sets hold only normal or only abnormal images.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from anomalib.data.utils import LabelName, Split
from pandas import DataFrame
from torchvision.transforms.v2 import Transform

from anomalib_zsad.data.class_named_dataset import ClassNamedDataset
from anomalib_zsad.data.labelled_image import LabelledImage


class ListedImages(ClassNamedDataset):
    """A dataset of images from a list, as class-named items.

    Items have masks if every abnormal image has one; else the dataset is one for classification.

    Args:
        images: The images, at least one.
        augmentations: Transform of image and mask.

    Raises:
        ValueError: There are no images.
        FileNotFoundError: An image is absent, or some masks are; the message names the first.
    """

    def __init__(self, images: Iterable[LabelledImage], augmentations: Transform | None = None) -> None:
        table = without_absent_masks(list(images))
        if not table:
            raise ValueError("a dataset needs at least one image, got none")
        _check_files("image", [image.image_path for image in table])
        frame = DataFrame(
            {
                "image_path": [str(image.image_path) for image in table],
                "mask_path": [str(image.mask_path) if image.mask_path else None for image in table],
                "label": [image.kind or ("abnormal" if image.abnormal else "normal") for image in table],
                "label_index": [int(LabelName.ABNORMAL if image.abnormal else LabelName.NORMAL) for image in table],
                "split": Split.TEST.value,
                "class_name": [image.class_name for image in table],
            }
        )
        super().__init__(frame, augmentations)


def without_absent_masks(images: Sequence[LabelledImage]) -> list[LabelledImage]:
    """Forget masks that a set names but does not have.

    Prepared sets without masks (HeadCT, BrainMRI, Br35H) name a file for every abnormal image all the same. If not one
    of the masks exists the set has none; if some are missing, files were lost.

    Raises:
        FileNotFoundError: Some masks exist and others do not.
    """
    named = [image.mask_path for image in images if image.abnormal and image.mask_path]
    if any(path.is_file() for path in named):
        _check_files("mask", named)
        keep = True
    else:
        keep = False
    return [image if keep and image.abnormal else replace(image, mask_path=None) for image in images]


def _check_files(what: str, paths: Sequence[Path]) -> None:
    absent = [path for path in paths if not path.is_file()]
    if absent:
        raise FileNotFoundError(f"{len(absent)} of {len(paths)} {what} files do not exist, the first is {absent[0]}")
