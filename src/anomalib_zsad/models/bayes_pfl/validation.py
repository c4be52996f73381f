"""The figures that the training stages of Bayes-PFL go by: as published, which is not what anomalib reports."""

from collections.abc import Sequence

import torch
from torch import Tensor, distributed

from anomalib_zsad.metrics.streaming import AveragePrecision
from anomalib_zsad.models.components.global_batch import is_shared
from anomalib_zsad.models.components.prediction import Evidence
from anomalib_zsad.models.components.training_noise import step_generator

from .torch_model import Noise

PIXEL_FIGURE, IMAGE_FIGURE = "stage_pixel_AP", "stage_image_AP"
"""Names of the figures: average precision of each category, over all its pixels or images, averaged over categories."""

SAMPLES = 5
"""Draws for each entry of the prompt bank in validation (R in the paper)."""

# Apart from the draws of training steps.
_STREAM = 0x56414C


class StageFigures:
    """Average precision of the unsmoothed map and of the image probability, category by category."""

    def __init__(self) -> None:
        self._pixel: dict[str, AveragePrecision] = {}
        self._image: dict[str, AveragePrecision] = {}

    def update(self, evidence: Evidence, class_names: Sequence[str], labels: Tensor, masks: Tensor | None) -> None:
        """Take a batch of n images.

        Args:
            evidence: Of the images.
            class_names: What they show, n of them.
            labels: 1 for abnormal, (n,).
            masks: 1 where abnormal, (n, side, side); `None` where there are none: then pixels are not counted.
        """
        maps = evidence.unsmoothed_map.detach()
        for name in dict.fromkeys(class_names):
            rows = torch.tensor([index for index, one in enumerate(class_names) if one == name], device=labels.device)
            image = self._image.setdefault(name, AveragePrecision())
            image.update(evidence.image_probability.detach()[rows], labels[rows])
            if masks is not None:
                self._pixel.setdefault(name, AveragePrecision()).update(maps[rows], masks[rows][:, None])

    def compute(self) -> dict[str, float]:
        """Both figures; NaN where no category has any."""
        return {PIXEL_FIGURE: _mean(self._pixel), IMAGE_FIGURE: _mean(self._image)}


def _mean(metrics: dict[str, AveragePrecision]) -> float:
    """Mean over the categories of all processes."""
    names = set(metrics)
    if is_shared():
        everybodys: list[list[str]] = [[] for _ in range(distributed.get_world_size())]
        distributed.all_gather_object(everybodys, sorted(names))
        names = {name for own in everybodys for name in own}
    values = [float(metrics.get(name, AveragePrecision()).compute()) for name in sorted(names)]
    return sum(values) / len(values) if values else float("nan")


def validation_noise(seed: int, epoch: int, places: Sequence[int], width: int, device: torch.device) -> Noise:
    """Draws of a validation: those for the states once for all its images, those for the context an image.

    An image has the draws of its place, so that neither the size of a batch nor the number of processes matters.

    Args:
        seed: The run's seed.
        epoch: The epoch.
        places: Of each image of a batch, its place in the validation of all processes.
        width: Width of the draws.
        device: Where they are used.
    """
    once = step_generator(seed ^ _STREAM, epoch, 0)
    normal, abnormal = (torch.randn(SAMPLES, width, generator=once).to(device) for _ in range(2))
    own = [step_generator(seed ^ _STREAM, epoch, place + 1) for place in places]
    context = torch.stack([torch.randn(SAMPLES, width, generator=generator) for generator in own])
    return context.to(device), normal, abnormal
