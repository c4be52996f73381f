"""Datasets made from a table of files, where masks may be absent.

The sets of the zero-shot papers are less tidy than anomalib's: whole categories have no masks, though their tables name
some, and some sets hold only normal or only abnormal images.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from anomalib.data.utils import LabelName, Split
from pandas import DataFrame
from torchvision.transforms.v2 import Transform

from anomalib_zsad.data.class_named_dataset import ClassNamedDataset


@dataclass(frozen=True)
class Sample:
    """One image of a set.

    Attributes:
        image_path: File of the image.
        abnormal: Whether the image shows an anomaly.
        class_name: What the image shows, for the prompts.
        mask_path: File of the mask, or none: for a normal image that is an empty mask, for an abnormal one an unknown.
        kind: Kind of anomaly ("scratch"), or "good".
    """

    image_path: Path
    abnormal: bool
    class_name: str
    mask_path: Path | None = None
    kind: str = ""


class SampleDataset(ClassNamedDataset):
    """A dataset of samples, as class-named items.

    Items have masks if every abnormal image has one; else the dataset is one for classification.

    Args:
        samples: The images, at least one.
        augmentations: Transform of image and mask.

    Raises:
        ValueError: There are no samples.
        FileNotFoundError: An image is absent, or some masks are; the message names the first.
    """

    def __init__(self, samples: Iterable[Sample], augmentations: Transform | None = None) -> None:
        table = without_absent_masks(list(samples))
        if not table:
            raise ValueError("A dataset needs at least one sample, got none.")
        _check_files("image", [sample.image_path for sample in table])
        frame = DataFrame(
            {
                "image_path": [str(sample.image_path) for sample in table],
                "mask_path": [str(sample.mask_path) if sample.mask_path else None for sample in table],
                "label": [sample.kind or ("abnormal" if sample.abnormal else "normal") for sample in table],
                "label_index": [int(LabelName.ABNORMAL if sample.abnormal else LabelName.NORMAL) for sample in table],
                "split": Split.TEST.value,
                "class_name": [sample.class_name for sample in table],
            }
        )
        super().__init__(frame, augmentations)


def without_absent_masks(samples: Sequence[Sample]) -> list[Sample]:
    """Forget masks that a set names but does not have.

    Prepared sets without masks (HeadCT, BrainMRI, Br35H) name a file for every abnormal image all the same. If not one
    of the masks exists the set has none; if some are missing, files were lost.

    Raises:
        FileNotFoundError: Some masks exist and others do not.
    """
    named = [sample.mask_path for sample in samples if sample.abnormal and sample.mask_path]
    if any(path.is_file() for path in named):
        _check_files("mask", named)
        keep = True
    else:
        keep = False
    return [
        Sample(s.image_path, s.abnormal, s.class_name, s.mask_path if keep and s.abnormal else None, s.kind)
        for s in samples
    ]


def _check_files(what: str, paths: Sequence[Path]) -> None:
    absent = [path for path in paths if not path.is_file()]
    if absent:
        msg = f"{len(absent)} of {len(paths)} {what} files do not exist, the first is {absent[0]}."
        raise FileNotFoundError(msg)
