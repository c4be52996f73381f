"""Thresholds for scores and maps that are probabilities already."""

from typing import Any

import torch
from anomalib.metrics import AnomalibMetric
from anomalib.post_processing import PostProcessor
from torch import Tensor

from anomalib_zsad.metrics.score_summary import ABNORMAL, NORMAL, SCORE, join_ties, sort
from anomalib_zsad.metrics.streaming import ScoreSummary

from .image_calibration import below

DEFAULT_THRESHOLD = 0.5


class _F1Threshold(ScoreSummary):
    """The threshold of the largest F1, in memory that does not grow with the number of pixels.

    NaN without samples of both classes, as anomalib's post-processor expects of a threshold that is not known.
    """

    def compute(self) -> Tensor:
        summaries = self._as_list()
        if not summaries:
            return self._value(float("nan"))
        points = join_ties(sort(torch.cat(summaries)))
        reached = points[:, NORMAL:].cumsum(0)
        normal, abnormal = reached[:, NORMAL - 1], reached[:, ABNORMAL - 1]
        if normal[-1] == 0 or abnormal[-1] == 0:
            return self._value(float("nan"))
        best = int((2 * abnormal / (abnormal[-1] + abnormal + normal)).argmax())
        # Predictions are abnormal where they exceed the threshold: it lies half-way to the next lower score.
        scores = points[:, SCORE]
        lower = scores[best + 1] if best + 1 < len(scores) else scores[best] - 1e-6
        return self._value(float((scores[best] + lower) / 2))


class F1Threshold(AnomalibMetric, _F1Threshold):  # type: ignore[misc]
    """The threshold of the largest F1 on fields of a batch."""


class ZeroShotPostProcessor(PostProcessor):
    """Label and mask by a threshold; scores and maps stay what the model said.

    anomalib's default rescales and clamps scores with the minimum and maximum of validation data, which are other data
    here. The thresholds are those of the best F1 on validation data, where a run has some (held-out auxiliary
    categories), else 0.5; or those of a calibration, see `use`.

    Args:
        enable_thresholding: Whether labels and masks are given at all.
        image_sensitivity: In [0, 1]; 0.5 leaves the image threshold, 1 calls every image abnormal, 0 none.
        pixel_sensitivity: The same for pixels.
    """

    def __init__(
        self, enable_thresholding: bool = True, image_sensitivity: float = 0.5, pixel_sensitivity: float = 0.5
    ) -> None:
        super().__init__(
            enable_normalization=False,
            enable_thresholding=enable_thresholding,
            enable_threshold_matching=False,
            image_sensitivity=image_sensitivity,
            pixel_sensitivity=pixel_sensitivity,
        )
        options: dict[str, Any] = {"strict": False}
        image_fields, pixel_fields = ["pred_score", "gt_label"], ["anomaly_map", "gt_mask"]
        self._image_threshold_metric = F1Threshold(fields=image_fields, **options)  # type: ignore[assignment]
        self._pixel_threshold_metric = F1Threshold(fields=pixel_fields, **options)  # type: ignore[assignment]
        # Not buffers: a calibration belongs to a use of the model and never to its checkpoint.
        self.calibrated: tuple[float, float] | None = None

    def use(self, calibrated: tuple[float, float] | None) -> None:
        """Use the image and the pixel threshold of a calibration: what reaches them is abnormal; `None` for none.

        Raises:
            ValueError: A sensitivity would shift them.
        """
        if calibrated is not None and (self.image_sensitivity, self.pixel_sensitivity) != (0.5, 0.5):
            raise ValueError(
                f"the sensitivities are {self.image_sensitivity} and {self.pixel_sensitivity}, and would shift the "
                "thresholds of the calibration; leave them at 0.5 and choose another false-alarm rate"
            )
        self.calibrated = calibrated

    @property
    def normalized_image_threshold(self) -> Tensor:
        """The image threshold in use: the calibration's, or the other shifted by the sensitivity."""
        if self.calibrated is not None:
            return torch.full_like(self.image_threshold, below(self.calibrated[0]))
        return _shift(self.image_threshold, self.image_sensitivity)

    @property
    def normalized_pixel_threshold(self) -> Tensor:
        """The pixel threshold in use: the calibration's, or the other shifted by the sensitivity."""
        if self.calibrated is not None:
            return torch.full_like(self.pixel_threshold, below(self.calibrated[1]))
        return _shift(self.pixel_threshold, self.pixel_sensitivity)

    @staticmethod
    def _apply_threshold(preds: Tensor | None, threshold: Tensor) -> Tensor | None:
        """Compare in float32: a threshold rounded to half precision is another one."""
        return PostProcessor._apply_threshold(None if preds is None else preds.float(), threshold)  # noqa: SLF001


def _shift(threshold: Tensor, sensitivity: float) -> Tensor:
    """Move a threshold linearly towards 0 (sensitivity 1) or 1 (sensitivity 0); NaN means the default."""
    threshold = torch.where(torch.isnan(threshold), torch.full_like(threshold, DEFAULT_THRESHOLD), threshold)
    if sensitivity >= 0.5:
        return threshold * (1 - sensitivity) / 0.5
    return threshold + (1 - threshold) * (0.5 - sensitivity) / 0.5
