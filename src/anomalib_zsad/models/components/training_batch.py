"""A batch as the training losses take it."""

from typing import NamedTuple

from torch import Tensor


class TrainingBatch(NamedTuple):
    """A labelled batch of n images.

    Attributes:
        images: Normalised images (n, 3, side, side).
        labels: 1 for abnormal images, (n,).
        masks: 1 where abnormal, (n, side, side).
        class_names: One name an image.
    """

    images: Tensor
    labels: Tensor
    masks: Tensor
    class_names: list[str]
