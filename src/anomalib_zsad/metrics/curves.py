"""Ranking metrics of a summary of scored samples (`summary.py`): AUROC, AP, F1-max and AUPRO, in float64.

Every function answers NaN, "not defined", where the samples do not determine the metric: only normal, only abnormal, or
none at all. Ties count as scikit-learn counts them.
"""

import torch
from torch import Tensor

from anomalib_zsad.metrics.score_summary import ABNORMAL, NORMAL, REGION, join_ties, sort

NOT_DEFINED = float("nan")


def running_sums(points: Tensor) -> Tensor:
    """Running sums over distinct scores, from the highest down, beginning with zeros.

    Args:
        points: rows of one or several summaries, shape (n, 4).

    Returns:
        Normal samples, abnormal samples and region weight at or above each score, shape (distinct scores + 1, 3).
    """
    if len(points) == 0:
        return torch.zeros(1, 3, dtype=torch.float64)
    reached = join_ties(sort(points))[:, NORMAL:].cumsum(0)
    return torch.cat([torch.zeros_like(reached[:1]), reached])


def _both_classes(reached: Tensor) -> bool:
    return bool(reached[-1, NORMAL - 1] > 0 and reached[-1, ABNORMAL - 1] > 0)


def auroc(reached: Tensor) -> float:
    """Area under the receiver operating characteristic curve, in [0, 1]; `reached` (n, 3) from `running_sums`."""
    if not _both_classes(reached):
        return NOT_DEFINED
    false_positive_rate = reached[:, NORMAL - 1] / reached[-1, NORMAL - 1]
    true_positive_rate = reached[:, ABNORMAL - 1] / reached[-1, ABNORMAL - 1]
    return float(torch.trapezoid(true_positive_rate, false_positive_rate))


def average_precision(reached: Tensor) -> float:
    """Average precision (the step-wise area, not the trapezoid), in [0, 1]; `reached` (n, 3)."""
    if not _both_classes(reached):
        return NOT_DEFINED
    true_positives = reached[:, ABNORMAL - 1]
    precision = true_positives[1:] / (true_positives + reached[:, NORMAL - 1])[1:]
    return float((true_positives.diff() * precision).sum() / true_positives[-1])


def f1_max(reached: Tensor) -> float:
    """The largest F1 over all thresholds, in [0, 1]; `reached` (n, 3)."""
    if not _both_classes(reached):
        return NOT_DEFINED
    true_positives = reached[:, ABNORMAL - 1]
    return float((2 * true_positives / (true_positives[-1] + true_positives + reached[:, NORMAL - 1])).max())


def aupro(reached: Tensor, fpr_limit: float = 0.3) -> float:
    """Area under the per-region overlap curve up to a false positive rate, divided by that rate, in [0, 1].

    The overlap of one region at a threshold is the share of its pixels at or above it; the curve is their mean over
    all regions of all images against the share of normal pixels of all images (Bergmann et al., MVTec AD, IJCV 2021).

    Args:
        reached: running sums, shape (n, 3), where each pixel of a region weighs 1 / (area of the region).
        fpr_limit: upper end of the integral, in (0, 1].
    """
    if not (_both_classes(reached) and reached[-1, REGION - 1] > 0):
        return NOT_DEFINED
    rate = reached[:, NORMAL - 1] / reached[-1, NORMAL - 1]
    overlap = reached[:, REGION - 1] / reached[-1, REGION - 1]
    inside = int((rate <= fpr_limit).sum())
    area = float(torch.trapezoid(overlap[:inside], rate[:inside]))
    if inside < len(rate):
        area += _area_to_limit(rate[inside - 1 : inside + 1], overlap[inside - 1 : inside + 1], fpr_limit)
    return area / fpr_limit


def _area_to_limit(rate: Tensor, overlap: Tensor, limit: float) -> float:
    """Area of the part before `limit` of the segment between two points of the curve, each argument of shape (2,)."""
    width = limit - float(rate[0])
    slope = float(overlap[1] - overlap[0]) / float(rate[1] - rate[0])
    return width * (float(overlap[0]) + slope * width / 2)
