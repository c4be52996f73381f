"""Streaming ranking metrics: torchmetrics metrics whose memory does not grow with the number of samples.

Unlike torchmetrics' own, they apply no sigmoid to scores outside [0, 1], clamp nothing, and answer NaN where a metric
is not defined. Up to `summary.CELLS` distinct scores they are exact; beyond, within 1e-3 whatever the distribution of
the scores (docs/protocol.md, "Metrics").
"""

from typing import Any

import torch
from anomalib.metrics import AnomalibMetric
from torch import Tensor
from torchmetrics import Metric

from anomalib_zsad.metrics import curves
from anomalib_zsad.metrics.region_weights import region_weights
from anomalib_zsad.metrics.score_summary import append, summarise


class ScoreSummary(Metric):
    """State that the streaming metrics share: a logarithmic number of bounded summaries.

    Its value is the running sums over all samples (`curves.running_sums`), from which all the metrics can be computed
    at once; the subclasses give one of them each.
    """

    is_differentiable = False
    higher_is_better: bool | None = True
    full_state_update = False
    per_region = False
    summaries: list[Tensor] | Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("summaries", default=[], dist_reduce_fx="cat")

    def update(self, scores: Tensor, target: Tensor) -> None:
        """Take a batch.

        Args:
            scores: image scores, shape (n,), or maps, shape (n, height, width) or (n, 1, height, width).
            target: labels or masks, of the same shape (up to the channel); whatever is not zero is abnormal.

        Raises:
            ValueError: if the shapes differ, or a score is not a number.
        """
        scores, target = _without_channel(scores.detach()), _without_channel(target)
        if scores.shape != target.shape:
            raise ValueError(
                f"scores of shape {tuple(scores.shape)} do not fit a ground truth of shape {tuple(target.shape)}; "
                "resize the masks to the size of the maps"
            )
        abnormal = target.bool()
        weights = region_weights(abnormal).flatten() if self.per_region else None
        summary = summarise(scores.flatten(), abnormal.flatten(), weights)
        self.summaries = append(self._as_list(), summary)

    def compute(self) -> Tensor:
        """Running sums of normal samples, abnormal samples and region weight, shape (distinct scores + 1, 3)."""
        summaries = self._as_list()
        return curves.running_sums(torch.cat(summaries) if summaries else torch.zeros(0, 4, dtype=torch.float64))

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gather the summaries of all processes; one that saw no samples takes part with an empty one."""
        if not self._as_list():
            self.summaries = [torch.zeros(0, 4, dtype=torch.float64, device=self.device)]
        super().sync(*args, **kwargs)

    def _as_list(self) -> list[Tensor]:
        """The summaries; torchmetrics joins them to one tensor when it synchronises processes."""
        return [self.summaries] if isinstance(self.summaries, Tensor) else list(self.summaries)

    def _value(self, value: float) -> Tensor:
        return torch.tensor(value, dtype=torch.float32, device=self.device)


class _AUROC(ScoreSummary):
    def compute(self) -> Tensor:
        return self._value(curves.auroc(super().compute()))


class AveragePrecision(ScoreSummary):
    """Average precision, as scikit-learn defines it, NaN without samples of both classes; fed with tensors."""

    def compute(self) -> Tensor:
        """The average precision of all that was taken in."""
        return self._value(curves.average_precision(super().compute()))


class _F1Max(ScoreSummary):
    def compute(self) -> Tensor:
        return self._value(curves.f1_max(super().compute()))


class _AUPRO(ScoreSummary):
    per_region = True

    def __init__(self, fpr_limit: float = 0.3, **kwargs: Any) -> None:
        if not 0 < fpr_limit <= 1:
            raise ValueError(f"fpr_limit must lie in (0, 1], got {fpr_limit}")
        super().__init__(**kwargs)
        self.fpr_limit = fpr_limit

    def compute(self) -> Tensor:
        return self._value(curves.aupro(super().compute(), self.fpr_limit))


# anomalib's mixin gives `update` another signature by design (a batch, not tensors), hence the ignored type errors.


class StreamingAUROC(AnomalibMetric, _AUROC):  # type: ignore[misc]
    """Area under the receiver operating characteristic curve, NaN without samples of both classes.

    Example:
        >>> StreamingAUROC(fields=["anomaly_map", "gt_mask"], prefix="pixel_").name
        'pixel_StreamingAUROC'
    """


class StreamingAveragePrecision(AnomalibMetric, AveragePrecision):  # type: ignore[misc]
    """Average precision, as scikit-learn defines it, NaN without samples of both classes."""


class StreamingF1Max(AnomalibMetric, _F1Max):  # type: ignore[misc]
    """The largest F1 over all thresholds, NaN without samples of both classes."""


class StreamingAUPRO(AnomalibMetric, _AUPRO):  # type: ignore[misc]
    """Area under the per-region overlap curve up to `fpr_limit` (default 0.3), divided by it; NaN without regions."""

    default_fields = ["anomaly_map", "gt_mask"]  # noqa: RUF012 - the type anomalib gives this attribute


def _without_channel(values: Tensor) -> Tensor:
    """Drop the single channel of (n, 1, height, width)."""
    return values.squeeze(1) if values.ndim == 4 and values.shape[1] == 1 else values
