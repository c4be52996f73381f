"""Intervals for areas under ROC curves by resampling patients, not slices: those of one patient are alike.

Efron & Tibshirani, "An Introduction to the Bootstrap", 1993 (percentile interval); Obuchowski, "Nonparametric analysis
of clustered ROC curve data", Biometrics 1997 (why clusters must be resampled whole).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
_SEED = 0
FEWEST_PATIENTS = 5
"""Patients of each class below which there are counts, and neither percentages nor intervals nor curves."""
# With 10 patients of each class a 95 % interval held the truth in 89 to 92 % of simulated sets, with 5 in 82 to 84 %.
_FEW_PATIENTS = 10
# Resamples whose curves are in memory at the same time hold about this many numbers.
_CHUNK = 20_000_000


@dataclass(frozen=True)
class Clusters:
    """Scored members with the patient each belongs to.

    Attributes:
        scores: Shape (n,).
        abnormal: Shape (n,).
        patient: Number of each member's patient, 0 and up, shape (n,).
        patients: How many patients there are.
    """

    scores: NDArray[np.float64]
    abnormal: NDArray[np.bool_]
    patient: NDArray[np.int64]
    patients: int

    @classmethod
    def of(cls, scores: NDArray, abnormal: NDArray[np.bool_], patients: Sequence[str]) -> "Clusters":
        """Members by the names of their patients, n of them."""
        names, numbers = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
        return cls(np.asarray(scores, np.float64), np.asarray(abnormal, bool), numbers.reshape(-1), len(names))

    @property
    def few(self) -> str:
        """Why percentages would say too little: too few patients of a class; empty where there are enough."""
        normal, abnormal = (int((self.per_patient(part) > 0).sum()) for part in (~self.abnormal, self.abnormal))
        if min(normal, abnormal) >= FEWEST_PATIENTS:
            return ""
        return f"patients: {abnormal} with a lesion, {normal} without (percentages need {FEWEST_PATIENTS} of each)"

    def per_patient(self, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Number of chosen members of each patient, shape (patients,)."""
        return np.bincount(self.patient[chosen], minlength=self.patients)


def draw_patients(clusters: Clusters, resamples: int = RESAMPLES, seed: int = _SEED) -> NDArray[np.int64]:
    """How often each patient is in each resample, shape (resamples, patients).

    Patients are drawn with replacement within strata: those with normal members only, with abnormal members only, and
    with both. As many are drawn of a stratum as it has, so that every resample has members of both classes.
    """
    has_normal, has_abnormal = clusters.per_patient(~clusters.abnormal) > 0, clusters.per_patient(clusters.abnormal) > 0
    random = np.random.default_rng(seed)
    counts = np.zeros((resamples, clusters.patients), np.int64)
    for stratum in (has_normal & ~has_abnormal, has_abnormal & ~has_normal, has_normal & has_abnormal):
        members = np.flatnonzero(stratum)
        if len(members):
            shares = np.full(len(members), 1 / len(members))
            counts[:, members] = random.multinomial(len(members), shares, resamples)
    return counts


def resampled_areas(clusters: Clusters, counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Area under the ROC curve of each resample, shape (resamples,).

    The area is a mean over pairs of an abnormal and a normal member. Pairs are summed up for each pair of patients
    once; a resample then only weighs those sums.

    Args:
        clusters: Members of both classes.
        counts: How often each patient is drawn, shape (resamples, patients).
    """
    wins = _wins(clusters)
    weights = counts.astype(np.float64)
    pairs = (weights @ clusters.per_patient(clusters.abnormal)) * (weights @ clusters.per_patient(~clusters.abnormal))
    return np.einsum("rp,rp->r", weights @ wins, weights) / pairs


def _wins(clusters: Clusters) -> NDArray[np.float64]:
    """For the abnormal members of patient i and the normal ones of patient j: pairs in order, ties half, (i, j)."""
    abnormal = clusters.scores[clusters.abnormal]
    owner = clusters.patient[clusters.abnormal]
    wins = np.zeros((clusters.patients, clusters.patients))
    order = np.argsort(clusters.patient, kind="stable")
    order = order[~clusters.abnormal[order]]
    bounds = np.searchsorted(clusters.patient[order], np.arange(clusters.patients + 1))
    for other in range(clusters.patients):
        normal = np.sort(clusters.scores[order[bounds[other] : bounds[other + 1]]])
        if len(normal):
            below = np.searchsorted(normal, abnormal, "left") + np.searchsorted(normal, abnormal, "right")
            wins[:, other] = np.bincount(owner, below / 2, clusters.patients)
    return wins


def area_interval(clusters: Clusters, seed: int = _SEED) -> tuple[tuple[float, float] | None, str]:
    """95 % percentile interval of the area under the ROC curve, and what must be said of it.

    Returns:
        The interval, or `None` where fewer than `FEWEST_PATIENTS` patients have members of a class: there are too few
        ways to draw them; and a note, or "".
    """
    normal, abnormal = (int((clusters.per_patient(part) > 0).sum()) for part in (~clusters.abnormal, clusters.abnormal))
    if min(normal, abnormal) < FEWEST_PATIENTS:
        return None, (
            f"no interval: patients are what is resampled, and {normal} have normal ones and {abnormal} have ones with "
            f"a lesion; at least {FEWEST_PATIENTS} of each are needed"
        )
    areas = resampled_areas(clusters, draw_patients(clusters, seed=seed))
    low, high = (float(value) for value in np.percentile(areas, (2.5, 97.5)))
    notes = []
    if min(normal, abnormal) < _FEW_PATIENTS:
        notes.append(f"{min(normal, abnormal)} patients in the smaller class: the interval is too narrow")
    if high - low < 1e-12:
        notes.append("every resample gives the same value: an interval without width is no certainty")
    return (low, high), "; ".join(notes)


def roc_band(
    clusters: Clusters, false_positive_rates: NDArray[np.float64], seed: int = _SEED
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pointwise 95 % band of the sensitivity at false positive rates, over the same resamples.

    Args:
        clusters: Members of both classes.
        false_positive_rates: Ascending, in [0, 1], shape (m,).
        seed: Of the resampling.

    Returns:
        Lower and upper bound, shape (m,) each.
    """
    counts = draw_patients(clusters, seed=seed)
    order = np.argsort(-clusters.scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(clusters.scores[order]) != 0, True))
    size = max(1, _CHUNK // max(1, len(order)))
    curves = [
        _sensitivities(clusters, order, ends, counts[start : start + size], false_positive_rates)
        for start in range(0, len(counts), size)
    ]
    low, high = np.percentile(np.concatenate(curves), (2.5, 97.5), axis=0)
    return low, high


def _sensitivities(
    clusters: Clusters,
    order: NDArray[np.int64],
    ends: NDArray[np.int64],
    counts: NDArray[np.int64],
    false_positive_rates: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Sensitivity at each rate (highest of an operating point with at most that rate), shape (resamples, m)."""
    weights = counts[:, clusters.patient[order]]
    truth = clusters.abnormal[order]
    hits = np.cumsum(weights * truth, axis=1)[:, ends]
    false_alarms = np.cumsum(weights * ~truth, axis=1)[:, ends]
    result = np.empty((len(counts), len(false_positive_rates)))
    for row, (hit, alarm) in enumerate(zip(hits, false_alarms, strict=True)):
        places = np.searchsorted(alarm, false_positive_rates * alarm[-1] + 1e-9, "right")
        result[row] = np.concatenate([[0], hit])[places] / hit[-1]
    return result
