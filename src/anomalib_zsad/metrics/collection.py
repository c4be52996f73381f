"""The metrics of the tables: all of them over one pass, and as a list for anomalib's evaluator."""

from typing import Any

import torch
from anomalib.metrics import AnomalibMetric, Evaluator
from torch import Tensor

from anomalib_zsad.metrics import curves
from anomalib_zsad.metrics.streaming import (
    ScoreSummary,
    StreamingAUPRO,
    StreamingAUROC,
    StreamingAveragePrecision,
    StreamingF1Max,
)

IMAGE_METRICS = ("image_AUROC", "image_AP", "image_F1Max")
PIXEL_METRICS = ("pixel_AUROC", "pixel_AP", "pixel_F1Max", "pixel_AUPRO")
METRICS = IMAGE_METRICS + PIXEL_METRICS


class _RegionSummary(ScoreSummary):
    per_region = True


class ImageMetrics:
    """Image AUROC, AP and F1-max over one stream of scores."""

    def __init__(self) -> None:
        self._summary = ScoreSummary()

    def update(self, scores: Tensor, labels: Tensor) -> None:
        """Take image scores and labels, both of shape (n,)."""
        self._summary.update(scores, labels)

    def compute(self) -> dict[str, float]:
        """Values by the names in `IMAGE_METRICS`, in [0, 1]; NaN is "not defined"."""
        reached = _reached(self._summary)
        values = (curves.auroc(reached), curves.average_precision(reached), curves.f1_max(reached))
        return dict(zip(IMAGE_METRICS, values, strict=True))


class PixelMetrics:
    """Pixel AUROC, AP, F1-max and AUPRO over one stream of maps: the samples are sorted once, not four times."""

    def __init__(self, fpr_limit: float = 0.3) -> None:
        self._summary = _RegionSummary()
        self._fpr_limit = fpr_limit

    def update(self, maps: Tensor, masks: Tensor) -> None:
        """Take maps and masks, both of shape (n, height, width) or (n, 1, height, width)."""
        self._summary.update(maps, masks)

    def compute(self) -> dict[str, float]:
        """Values by the names in `PIXEL_METRICS`, in [0, 1]; NaN is "not defined"."""
        reached = _reached(self._summary)
        values = (
            curves.auroc(reached),
            curves.average_precision(reached),
            curves.f1_max(reached),
            curves.aupro(reached, self._fpr_limit),
        )
        return dict(zip(PIXEL_METRICS, values, strict=True))


def _reached(summary: ScoreSummary) -> Tensor:
    """Running sums; torchmetrics warns of a metric without updates, but a set without masks is nothing to warn of."""
    return summary.compute() if summary.update_count else curves.running_sums(torch.zeros(0, 4, dtype=torch.float64))


def streaming_metrics(strict: bool = False) -> list[AnomalibMetric]:
    """The metrics of `METRICS` for anomalib's evaluator, named `image_StreamingAUROC` and so on.

    Args:
        strict: whether a batch without masks is an error; if not, it is passed over.
    """
    image: dict[str, Any] = {"fields": ["pred_score", "gt_label"], "prefix": "image_", "strict": strict}
    pixel: dict[str, Any] = {"fields": ["anomaly_map", "gt_mask"], "prefix": "pixel_", "strict": strict}
    ranking = (StreamingAUROC, StreamingAveragePrecision, StreamingF1Max)
    return [*(m(**image) for m in ranking), *(m(**pixel) for m in ranking), StreamingAUPRO(**pixel)]


def streaming_evaluator() -> Evaluator:
    """Give anomalib's evaluator with the streaming metrics for the test stage."""
    return Evaluator(test_metrics=streaming_metrics())
