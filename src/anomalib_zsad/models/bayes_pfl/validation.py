"""The published validation of a training run: what its stage rule goes by."""

from collections.abc import Sequence

import torch
from torch import Tensor, distributed

from anomalib_zsad.metrics import ScoreSummary, curves
from anomalib_zsad.models.components.global_batch import is_shared
from anomalib_zsad.models.components.noise import seeded_normal
from anomalib_zsad.models.components.prediction import Evidence

PIXEL_AP, IMAGE_AP = "validation_pixel_AP", "validation_image_AP"

# Prompts sampled for each image and entry of the bank (R in the paper) in validation, where a test takes 10.
VALIDATION_SAMPLES = 5


class StageValidation:
    """Average precision of pixels and of images, taken for each category by itself and then averaged.

    Pixels are ranked by the map before smoothing, at the model's image size; images by the probability from the image
    feature alone, without the map. A category where either is not defined (no abnormal image, or no mask) does not
    count for it; where it is defined for none, the mean is NaN.
    """

    def __init__(self) -> None:
        self._categories: dict[str, tuple[ScoreSummary, ScoreSummary]] = {}
        self._device = torch.device("cpu")

    def reset(self) -> None:
        """Forget all images."""
        self._categories = {}

    def update(self, evidence: Evidence, class_names: Sequence[str], labels: Tensor, masks: Tensor | None) -> None:
        """Take a batch.

        Args:
            evidence: What the model sees in n images.
            class_names: Category of each image.
            labels: Whether an image is abnormal, (n,).
            masks: Whether a pixel is, (n, side, side); `None` where there are no masks.
        """
        self._device = labels.device
        for index, name in enumerate(class_names):
            pixels, images = self._of(name)
            images.update(evidence.image_probability[index, None].float(), labels[index, None])
            if masks is not None:
                pixels.update(evidence.unsmoothed_map[index].float(), masks[index, None])

    def compute(self) -> dict[str, float]:
        """The means over categories, over the images of all processes, by `PIXEL_AP` and `IMAGE_AP`; NaN for none."""
        names = set(self._categories)
        if is_shared():
            gathered: list[set[str]] = [set()] * distributed.get_world_size()
            distributed.all_gather_object(gathered, names)
            names = set().union(*gathered)
        pairs = [self._of(name) for name in sorted(names)]
        return {
            key: _mean([_average_precision(pair[place]) for pair in pairs])
            for place, key in enumerate((PIXEL_AP, IMAGE_AP))
        }

    def _of(self, name: str) -> tuple[ScoreSummary, ScoreSummary]:
        if name not in self._categories:
            self._categories[name] = (ScoreSummary().to(self._device), ScoreSummary().to(self._device))
        return self._categories[name]


def _average_precision(summary: ScoreSummary) -> float:
    """The average precision; NaN without samples of both classes."""
    if not is_shared() and not summary.update_count:
        return float("nan")  # torchmetrics warns of a metric without updates
    return curves.average_precision(summary.compute())


def _mean(values: Sequence[float]) -> float:
    return float(torch.tensor(values or [float("nan")], dtype=torch.float64).nanmean())


def validation_noise(seed: int, epoch: int, images: Sequence[str], width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Standard normal draws of a validation batch, for the context and for the normal and the abnormal state.

    As published, draws of the context are each image's own, (n, samples, D), and those of the states are made anew for
    each validation and shared by its images, (samples, D). They depend on the seed, the epoch and the images' names
    alone, so a run that is resumed, or shared by processes, has the same.

    Args:
        seed: The run's seed.
        epoch: The epoch that is validated.
        images: Name of each image.
        width: Width of the draws (D).
    """
    shape, words = (VALIDATION_SAMPLES, width), seed & 0xFFFFFFFF
    context = [seeded_normal(f"validation.{epoch}.context.{image}", shape, words) for image in images]
    normal, abnormal = (seeded_normal(f"validation.{epoch}.{state}", shape, words) for state in ("normal", "abnormal"))
    return torch.stack(context), normal, abnormal
