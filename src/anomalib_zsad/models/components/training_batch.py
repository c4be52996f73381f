"""A batch as the training losses take it."""

from typing import Any, NamedTuple

import torch
from torch import Tensor


class TrainingBatch(NamedTuple):
    """A labelled batch of n images.

    Attributes:
        images: Normalised images (n, 3, side, side).
        labels: 1 for abnormal images, (n,).
        masks: 1 where abnormal, (n, side, side).
        class_names: One name an image.
        is_filler: Whether all images of this step are on other processes. The one image here keeps the process in step
            with them and does not count.
    """

    images: Tensor
    labels: Tensor
    masks: Tensor
    class_names: list[str]
    is_filler: bool = False

    @property
    def counted(self) -> slice:
        """The rows that count."""
        return slice(0 if self.is_filler else None)

    def take(self, images: int) -> "TrainingBatch":
        """The first images alone; of none, one that does not count."""
        rows = slice(max(images, 1))
        parts = (self.images[rows], self.labels[rows], self.masks[rows])
        return TrainingBatch(*parts, self.class_names[rows], is_filler=not images)


def training_batch(batch: Any, class_names: list[str]) -> TrainingBatch:
    """Take labels and masks from an anomalib batch.

    A batch of normal images alone needs no masks: theirs are empty.

    Args:
        batch: Batch of n images.
        class_names: One name an image.

    Raises:
        ValueError: The images have no labels, or an abnormal image comes without a mask.
    """
    if batch.gt_label is None:
        raise ValueError(
            f"{_first_path(batch)} has no label; training needs normal and abnormal images that are labelled"
        )
    masks = batch.gt_mask
    if masks is None:
        if bool(batch.gt_label.any()):
            first = int(batch.gt_label.int().argmax())
            raise ValueError(
                f"{_first_path(batch, first)} is abnormal and has no mask; training needs one for each of these"
            )
        masks = torch.zeros(batch.image.shape[0], *batch.image.shape[-2:], device=batch.image.device)
    return TrainingBatch(batch.image, batch.gt_label, masks, class_names)


def _first_path(batch: Any, index: int = 0) -> str:
    paths = batch.image_path
    return "An image" if paths is None else f"'{paths[index]}'"
