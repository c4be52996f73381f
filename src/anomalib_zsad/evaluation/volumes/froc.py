"""Free-response ROC: how many lesions are pointed to, against how many places are pointed to wrongly.

Bunch et al., "A free-response approach to the measurement and characterization of radiographic-observer performance",
1978; Chakraborty, Medical Physics 1989. The rates at which sensitivity is read off, and their mean, are those of LUNA16
(Setio et al., Medical Image Analysis 2017); the rule for a hit is CAMELYON16's (Ehteshami Bejnordi et al., JAMA 2017).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RATES = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)
"""False positives per volume."""

_ROUNDING = 1e-9


@dataclass(frozen=True)
class FrocCurve:
    """Operating points, from the highest threshold down, after one at which nothing is marked.

    Attributes:
        thresholds: Candidates that reach it are marks; infinite first, shape (n,).
        false_positives: Marks outside all lesions, per volume, shape (n,).
        found: Lesions hit, shape (n,).
        lesions: How many lesions there are.
        volumes: How many volumes there are.
        complete: Whether the curve goes down to the last candidate; if not, lists of candidates were cut below
            its last threshold.
    """

    thresholds: NDArray[np.float64]
    false_positives: NDArray[np.float64]
    found: NDArray[np.int64]
    lesions: int
    volumes: int
    complete: bool = True

    @property
    def sensitivity(self) -> NDArray[np.float64]:
        """Share of the lesions hit, shape (n,)."""
        return self.found / max(1, self.lesions)

    def place(self, rate: float) -> int:
        """The operating point with the most lesions among those with at most `rate` false positives per volume."""
        return int(np.flatnonzero(self.false_positives <= rate + _ROUNDING)[-1])

    def reaches(self, rate: float) -> bool:
        """Whether the curve is known as far as a rate."""
        return self.complete or bool(self.false_positives[-1] > rate)

    @property
    def mean_sensitivity(self) -> float | None:
        """Mean over `RATES`; `None` without lesions, or where the curve ends before the last rate."""
        if not self.lesions or not self.volumes or not all(self.reaches(rate) for rate in RATES):
            return None
        return float(np.mean([self.sensitivity[self.place(rate)] for rate in RATES]))


def froc_curve(lesion_scores: NDArray, false_scores: NDArray, volumes: int, lowest: float | None = None) -> FrocCurve:
    """The curve of a set of volumes.

    Args:
        lesion_scores: For each lesion the highest score of a candidate that hits it; NaN where none does.
        false_scores: Scores of the candidates that hit no lesion.
        volumes: How many volumes these are of, the normal ones included.
        lowest: Below this score lists of candidates were cut, so that the curve is not known there.
    """
    lesion_scores, false_scores = np.asarray(lesion_scores, np.float64), np.asarray(false_scores, np.float64)
    hit = lesion_scores[~np.isnan(lesion_scores)]
    thresholds = np.unique(np.concatenate([hit, false_scores]))[::-1]
    complete = lowest is None or not len(thresholds) or bool(thresholds[-1] >= lowest)
    if not complete:
        thresholds = thresholds[thresholds >= lowest]
    false_positives = _reaching(false_scores, thresholds) / max(1, volumes)
    return FrocCurve(
        thresholds=np.concatenate([[np.inf], thresholds]),
        false_positives=np.concatenate([[0.0], false_positives]),
        found=np.concatenate([[0], _reaching(hit, thresholds)]).astype(np.int64),
        lesions=len(lesion_scores),
        volumes=volumes,
        complete=complete and lowest is None,
    )


def _reaching(scores: NDArray, thresholds: NDArray) -> NDArray[np.int64]:
    """How many scores are at or above each threshold."""
    return len(scores) - np.searchsorted(np.sort(scores), thresholds, "left")
