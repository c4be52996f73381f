"""Receiver operating characteristic of slices and volumes, and what it gives at asked specificities."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anomalib_zsad.evaluation.figure import Figure, not_defined

# Shares are fractions of counts; two that should be equal may differ by rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class RocCurve:
    """Operating points, one for each distinct score from the highest down, after one at which nothing is flagged.

    Attributes:
        thresholds: What reaches the threshold is flagged; infinite first, shape (n,).
        false_alarms: Normal members flagged, shape (n,).
        hits: Abnormal members flagged, shape (n,).
    """

    thresholds: NDArray[np.float64]
    false_alarms: NDArray[np.int64]
    hits: NDArray[np.int64]

    @property
    def normal(self) -> int:
        """Number of normal members."""
        return int(self.false_alarms[-1])

    @property
    def abnormal(self) -> int:
        """Number of abnormal members."""
        return int(self.hits[-1])

    @property
    def lacking(self) -> str:
        """Why nothing can be said, such as "there is no normal volume"; empty where both classes are there."""
        if self.normal and self.abnormal:
            return ""
        return (
            "none is normal and none abnormal"
            if not (self.normal or self.abnormal)
            else ("only abnormal ones" if self.abnormal else "only normal ones")
        )

    @property
    def false_positive_rate(self) -> NDArray[np.float64]:
        """Share of normal members flagged, shape (n,)."""
        return self.false_alarms / max(1, self.normal)

    @property
    def sensitivity(self) -> NDArray[np.float64]:
        """Share of abnormal members flagged, shape (n,)."""
        return self.hits / max(1, self.abnormal)


def roc_curve(scores: NDArray, abnormal: NDArray[np.bool_]) -> RocCurve:
    """The operating points of scores.

    Args:
        scores: Shape (n,).
        abnormal: Shape (n,).
    """
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    ranked, truth = np.asarray(scores, np.float64)[order], np.asarray(abnormal, bool)[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else np.zeros(0, np.int64)
    hits = np.concatenate([[0], np.cumsum(truth)[last]]).astype(np.int64)
    false_alarms = np.concatenate([[0], np.cumsum(~truth)[last]]).astype(np.int64)
    return RocCurve(np.concatenate([[np.inf], ranked[last]]), false_alarms, hits)


def area(curve: RocCurve) -> float | None:
    """Area under the curve, ties counted half; `None` without both classes."""
    if curve.lacking:
        return None
    return float(np.sum(np.diff(curve.false_positive_rate) * (curve.sensitivity[1:] + curve.sensitivity[:-1]) / 2))


def sensitivity_at_specificity(curve: RocCurve, specificity: float) -> Figure:
    """Highest sensitivity of an operating point whose specificity is at least the asked one.

    Nothing is interpolated: an operating point between two scores cannot be chosen. With few normal members the
    specificity that is reached may be well above the asked one; the note says which it is.
    """
    if curve.lacking:
        return not_defined(curve.lacking)
    allowed = (1 - specificity) * curve.normal + _ROUNDING
    place = int(np.flatnonzero(curve.false_alarms <= allowed)[-1])
    reached = 1 - curve.false_alarms[place] / curve.normal
    correct = curve.normal - int(curve.false_alarms[place])
    note = f"specificity reached: {100 * reached:.1f} % [{correct} of {curve.normal}]"
    return _at(curve, place, int(curve.hits[place]), curve.abnormal, note)


def specificity_at_sensitivity(curve: RocCurve, sensitivity: float) -> Figure:
    """Highest specificity of an operating point whose sensitivity is at least the asked one; nothing interpolated."""
    if curve.lacking:
        return not_defined(curve.lacking)
    needed = sensitivity * curve.abnormal - _ROUNDING
    place = int(np.flatnonzero(curve.hits >= needed)[0])
    reached = curve.hits[place] / curve.abnormal
    note = f"sensitivity reached: {100 * reached:.1f} % [{int(curve.hits[place])} of {curve.abnormal}]"
    return _at(curve, place, curve.normal - int(curve.false_alarms[place]), curve.normal, note)


def _at(curve: RocCurve, place: int, count: int, of: int, note: str) -> Figure:
    threshold = float(curve.thresholds[place])
    if np.isinf(threshold):
        return Figure(count / of, count=count, of=of, note=f"{note}; only by flagging nothing")
    return Figure(count / of, count=count, of=of, threshold=threshold, note=note)
