"""What inspection asks of a model: scores and maps for a batch of prepared images."""

from typing import Any, Protocol

import torch
from torch import Tensor

from anomalib_zsad.calibration import image_fingerprint
from anomalib_zsad.scoring.model_scorer import ModelScorer
from anomalib_zsad.scoring.scores import SliceScores


class ImageScorer(Protocol):
    """A model that scores images of any size."""

    @property
    def one_by_one(self) -> bool:
        """Whether prepared images differ in size, so that they are given one at a time (tiles)."""
        ...

    def prepare(self, image: Tensor) -> Tensor:
        """Bring an image, (3, h, w) in [0, 1], to what the model takes; called from other threads.

        That is (3, side, side), or an image of a size of its own where they are given one by one.
        """
        ...

    def __call__(self, batch: Tensor) -> SliceScores:
        """Score prepared images, (n, 3, h, w); answers are on the CPU, maps on h x w pixels."""
        ...

    def describe(self) -> dict[str, Any]:
        """What made the scores, for the report."""
        ...

    def fingerprint(self) -> dict[str, Any]:
        """What a calibration must have been made with."""
        ...


class ModelImageScorer:
    """A zero-shot model of this package, on each image by itself, at the model's size or in tiles, as it is calibrated.

    Args:
        scorer: The model.
    """

    def __init__(self, scorer: ModelScorer) -> None:
        self._scorer = scorer

    @property
    def one_by_one(self) -> bool:
        """See `ImageScorer`."""
        return getattr(self._scorer.module.model, "one_by_one", False)

    def prepare(self, image: Tensor) -> Tensor:
        """See `ImageScorer`."""
        return self._scorer.module.pre_processor.transform(image)

    @torch.inference_mode()
    def __call__(self, batch: Tensor) -> SliceScores:
        """See `ImageScorer`."""
        scorer = self._scorer
        answer = scorer.module.model(batch.to(scorer.device), [scorer.class_name] * len(batch))
        return scorer.on_slices(answer, batch.shape[-2:])

    def describe(self) -> dict[str, Any]:
        """See `ImageScorer`."""
        return self._scorer.describe()

    def fingerprint(self) -> dict[str, Any]:
        """See `ImageScorer`."""
        return image_fingerprint(self._scorer.module, self._scorer.class_name)
