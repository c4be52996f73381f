"""A dataset whose items know their class name, made from any of anomalib's image datasets."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
import torch
from anomalib import TaskType
from anomalib.data import AnomalibDataset, MVTecLOCODataset
from anomalib.data.utils import LabelName
from torchvision.transforms.v2 import Transform
from torchvision.tv_tensors import Image, Mask

from anomalib_zsad.data.augmentation import mosaic
from anomalib_zsad.data.image_files import read_image, read_mask, was_turned
from anomalib_zsad.data.items import ClassNamedBatch, ClassNamedItem, check_class_name
from anomalib_zsad.data.pillow_resize import PillowResize
from anomalib_zsad.data.seeded_sampler import DrawnIndex

__all__ = ["ClassNamedDataset", "has_mask"]

# These read an image and a mask, or the union of several masks: what ClassNamedDataset reads too.
_READABLE = {AnomalibDataset.__getitem__, MVTecLOCODataset.__getitem__}


def has_mask(mask_path: Any) -> bool:
    """Whether a cell of a `mask_path` column names a file (or several); datasets write None, "" or NaN for none."""
    return bool(mask_path) if isinstance(mask_path, str | list | tuple) else False


class ClassNamedDataset(AnomalibDataset):
    """Images, masks, labels and class names from a table of samples.

    The names are a column of the table, so they survive what anomalib does with datasets: sums, subsets, splits,
    copies, and pickling to worker processes. Items carry masks if every image that is not normal has one; else the
    dataset is one for classification.

    Subclasses that read something else than image files override `read_sample`.

    Args:
        samples: Table with the columns `image_path`, `label_index` (0 normal, 1 anomalous, -1 unknown) and
            `split`, and optionally `mask_path` (a path, a list of paths, or none), `class_name` and
            `mask_threshold` (largest mask value that means normal, default 0).
        augmentations: Applied to image and mask together.
        mosaic_probability: Probability with which an item is replaced by a 2 x 2 mosaic of anomalous images of its
            class, drawn from this dataset. Only for training.

    Attributes:
        augmented_views: Number of different views of each image that a training run shows, where its sampler repeats
            them; None where each epoch shows new ones.
        max_pixels: Most pixels of an image file, which is not decoded if it has more; None for Pillow's own limit.

    Raises:
        ValueError: If `mosaic_probability` is not in [0, 1].
    """

    augmented_views: int | None = None
    max_pixels: int | None = None

    def __init__(
        self,
        samples: pd.DataFrame | None = None,
        augmentations: Transform | None = None,
        mosaic_probability: float = 0.0,
    ) -> None:
        super().__init__(augmentations=augmentations)
        if not 0 <= mosaic_probability <= 1:
            raise ValueError(f"mosaic_probability must be in [0, 1], got {mosaic_probability}")
        self.mosaic_probability = mosaic_probability
        if samples is not None:
            self.samples = samples

    @classmethod
    def from_dataset(cls, dataset: AnomalibDataset, class_name: str | None) -> "ClassNamedDataset":
        """Return any image dataset of anomalib as a class-named one.

        A class-named dataset comes back unchanged: it knows its names.

        Args:
            dataset: An image dataset, its samples set.
            class_name: Name of what all its images show, or None if that is not known.

        Raises:
            TypeError: If the dataset reads its items in a way of its own.
        """
        if isinstance(dataset, ClassNamedDataset):
            return dataset
        if type(dataset).__getitem__ not in _READABLE:
            raise TypeError(
                f"{type(dataset).__name__} reads its items in a way of its own, so they cannot be given class names. "
                "Derive it from anomalib_zsad.data.ClassNamedDataset and override read_sample."
            )
        return cls(dataset.samples.assign(class_name=class_name), augmentations=dataset.augmentations)

    @staticmethod
    def pooled(parts: "Sequence[ClassNamedDataset]") -> "ClassNamedDataset":
        """Return the sum of datasets of one class; its other properties are the first one's.

        Raises:
            TypeError: If the datasets are of different classes.
        """
        if len({type(part) for part in parts}) != 1:
            raise TypeError(f"only datasets of one class can be pooled, got {[type(part).__name__ for part in parts]}")
        total = copy.copy(parts[0])
        total.samples = pd.concat([part.samples for part in parts], ignore_index=True)
        return total

    @property
    def samples(self) -> pd.DataFrame:
        """The table of samples."""
        if self._samples is None:
            raise RuntimeError(f"{type(self).__name__} has no samples yet. Assign a table to its `samples`.")
        return self._samples

    @samples.setter
    def samples(self, samples: pd.DataFrame) -> None:
        """Set the table, the optional columns filled in, and work out what every item needs to know of it.

        Raises:
            TypeError: If a class name is no string.
        """
        for name in samples.class_name.dropna() if "class_name" in samples else ():
            if not isinstance(name, str):
                check_class_name(name)
        defaults = {"mask_path": None, "class_name": None, "mask_threshold": 0}
        missing = {column: value for column, value in defaults.items() if column not in samples}
        AnomalibDataset.samples.fset(self, samples.assign(**missing))  # type: ignore[attr-defined]
        self._anomalous_of_class = {
            name: rows.index.tolist()
            for name, rows in self.samples[self.samples.label_index == LabelName.ABNORMAL].groupby("class_name")
        }
        self._gives_masks = self.task == TaskType.SEGMENTATION

    @property
    def task(self) -> TaskType:
        """Segmentation if there are anomalous images and all that is not normal has masks; else classification."""
        with_masks = self.has_anomalous and not len(self.lacking_masks())
        return TaskType.SEGMENTATION if with_masks else TaskType.CLASSIFICATION

    @property
    def class_names(self) -> list[str]:
        """The class names that occur, sorted."""
        return sorted(self.samples.class_name.dropna().unique())

    @property
    def reads_files(self) -> bool:
        """Whether `image_path` names image files, and not something that a subclass reads in its own way."""
        return type(self).read_sample is ClassNamedDataset.read_sample

    def lacking_masks(self) -> pd.DataFrame:
        """The samples that are not normal and have no mask."""
        samples = self.samples
        return samples[(samples.label_index != LabelName.NORMAL) & ~samples.mask_path.map(has_mask).astype(bool)]

    def read_sample(self, sample: Any) -> tuple[Image, Mask | None]:
        """Read one row of the table.

        An image is turned as its EXIF orientation says, and its mask lies on the picture as it is shown then.

        Args:
            sample: The row, its columns as attributes.

        Returns:
            The image, float32 (3, h, w) in [0, 1], and its mask, uint8 (h, w), or None where there is none.

        Raises:
            ValueError: If a file cannot be read, or if image and mask differ in size.
        """
        image = read_image(sample.image_path, self.max_pixels)
        height, width = image.shape[-2:]
        if sample.label_index == LabelName.NORMAL:
            return image, Mask(torch.zeros(height, width, dtype=torch.uint8))
        if not has_mask(sample.mask_path):
            return image, None
        mask = read_mask(sample.mask_path, sample.mask_threshold)
        if tuple(mask.shape) != (height, width):
            raise ValueError(
                f"mask {sample.mask_path} has {mask.shape[0]} x {mask.shape[1]} pixels (height x width), its image "
                f"{sample.image_path} has {height} x {width}"
                f"{', turned as its EXIF orientation says' * was_turned(image)}. Give a mask of the image's size."
            )
        return image, mask

    def __getitem__(self, index: int | DrawnIndex) -> ClassNamedItem:
        """Return an item; a `DrawnIndex` seeds the random draws of its augmentation."""
        if isinstance(index, DrawnIndex):
            with _seeded(index.seed):
                return self[index.position]
        sample = self.samples.iloc[index]
        label = sample.label_index
        partners = self._draw_mosaic_partners(sample.class_name)
        if partners:
            image, mask = mosaic([self.read_sample(self.samples.iloc[partner]) for partner in partners])
            label = LabelName.ABNORMAL
        else:
            image, mask = self.read_sample(sample)
            if isinstance(self.augmentations, PillowResize) and self.reads_files:
                image = self.augmentations.resize_file(sample.image_path, image)
        turned = not partners and was_turned(image)
        image, mask = self._augment(image, mask if self._gives_masks else None)
        item = ClassNamedItem(
            image=image,
            gt_mask=mask,
            gt_label=None if label == LabelName.UNKNOWN else torch.tensor(int(label)),
            image_path=str(sample.image_path),
            mask_path=_first_path(sample.mask_path),
            class_name=sample.class_name if isinstance(sample.class_name, str) else None,
        )
        item.turned = turned  # type: ignore[attr-defined] # no field: anomalib knows how its own are joined to batches
        return item

    def _draw_mosaic_partners(self, class_name: str) -> list[int]:
        """Draw whether an item becomes a mosaic: four rows of anomalous images of the class, or none."""
        if not self.mosaic_probability or torch.rand(()) >= self.mosaic_probability:
            return []
        candidates = self._anomalous_of_class.get(class_name, [])
        return [candidates[draw] for draw in torch.randint(len(candidates), (4,))] if candidates else []

    def _augment(self, image: Image, mask: Mask | None) -> tuple[Image, Mask | None]:
        """Apply the augmentations, if there are any, to image and mask alike."""
        if self.augmentations is None:
            return image, mask
        return (self.augmentations(image), None) if mask is None else self.augmentations(image, mask)

    @property
    def collate_fn(self) -> Any:
        """What joins items to a `ClassNamedBatch`."""
        return ClassNamedBatch.collate


def _first_path(mask_path: Any) -> str | None:
    """The path that stands for a cell of the `mask_path` column."""
    if not has_mask(mask_path):
        return None
    return str(mask_path) if isinstance(mask_path, str) else str(mask_path[0])


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch's generator on the CPU for a while; the draws before and after do not notice."""
    state = torch.random.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.random.set_rng_state(state)
