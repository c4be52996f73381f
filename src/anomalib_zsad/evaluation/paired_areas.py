"""Two models on the same images: the difference of their areas under the ROC curve, with interval and p-value.

Units (patients, or images where there are none) are what is resampled and what is independent. DeLong, DeLong &
Clarke-Pearson, Biometrics 1988 (correlated areas); Obuchowski, Biometrics 1997 (the same of clustered data, equal to
DeLong's where every unit has one member).
"""

import math
from dataclasses import dataclass
from itertools import starmap

import numpy as np
from numpy.typing import NDArray

from anomalib_zsad.evaluation.volumes.bootstrap import FEWEST_PATIENTS, RESAMPLES, Clusters, draw_patients

# Numbers in memory at a time.
_CHUNK = 20_000_000


@dataclass(frozen=True)
class AreaDifference:
    """How much larger the area of a second model is than that of a first.

    Attributes:
        first, second: Areas, in [0, 1].
        low, high: 95 % percentile interval of second - first over paired resamples; `None` where there is none.
        p_value: Of no difference, two-sided, by DeLong's test or its form for clustered data; `None` likewise.
        units: How many units there are.
        note: Why there is no interval or no p-value.
    """

    first: float
    second: float
    low: float | None
    high: float | None
    p_value: float | None
    units: int
    note: str = ""

    @property
    def difference(self) -> float:
        """Second minus first."""
        return self.second - self.first


def compare_areas(
    first: Clusters, second: Clusters, seed: int = 0
) -> tuple[AreaDifference, NDArray[np.float64] | None]:
    """Compare two models on the same members of both classes.

    Args:
        first: Members as the first model scores them.
        second: The same members, in the same order, as the second does.
        seed: Of the resampling.

    Returns:
        The difference; and second - first of each resample, shape (resamples,), or `None` where fewer than
        `FEWEST_PATIENTS` units have members of a class, or the members are not the same.
    """
    same = np.array_equal(first.abnormal, second.abnormal) and np.array_equal(first.patient, second.patient)
    areas = [float(weighted_areas(one, np.ones((1, one.patients), np.int64))[0]) for one in (first, second)]
    if not same:
        note = "no interval: not the same images were scored, so nothing can be compared in pairs"
        return AreaDifference(areas[0], areas[1], None, None, None, first.patients, note), None
    fewest = min(int((first.per_patient(part) > 0).sum()) for part in (first.abnormal, ~first.abnormal))
    if fewest < FEWEST_PATIENTS:
        note = f"no interval: {fewest} units in the smaller class, {FEWEST_PATIENTS} are needed"
        return AreaDifference(areas[0], areas[1], None, None, None, first.patients, note), None
    counts = draw_patients(first, RESAMPLES, seed)
    differences = weighted_areas(second, counts) - weighted_areas(first, counts)
    low, high = (float(value) for value in np.percentile(differences, (2.5, 97.5)))
    p_value = difference_p_value(first, second)
    note = "" if p_value is not None else "no p-value: the difference has no variance"
    return AreaDifference(areas[0], areas[1], low, high, p_value, first.patients, note), differences


def weighted_areas(clusters: Clusters, counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Area under the ROC curve of each resample, ties counted half, shape (resamples,).

    In O(members) for each resample, where `bootstrap.resampled_areas` takes the square of the units.

    Args:
        clusters: Members of both classes.
        counts: How often each unit is drawn, shape (resamples, units); each resample has members of both classes.
    """
    order = np.argsort(clusters.scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(clusters.scores[order]) != 0, True))
    truth, owner = clusters.abnormal[order], clusters.patient[order]
    size = max(1, _CHUNK // max(1, len(order)))
    areas = []
    for start in range(0, len(counts), size):
        weights = counts[start : start + size, owner].astype(np.float64)
        below = np.cumsum(weights * ~truth, axis=1)[:, ends]
        found = np.diff(np.cumsum(weights * truth, axis=1)[:, ends], axis=1, prepend=0)
        middle = (below + np.concatenate([np.zeros((len(below), 1)), below[:, :-1]], axis=1)) / 2
        areas.append((found * middle).sum(axis=1) / (found.sum(axis=1) * below[:, -1]))
    return np.concatenate(areas)


def difference_p_value(first: Clusters, second: Clusters) -> float | None:
    """Two-sided p-value of equal areas by DeLong's test, in Obuchowski's form; `None` where nothing varies."""
    from scipy.stats import norm

    (area_a, abnormal_a, normal_a), (area_b, abnormal_b, normal_b) = starmap(_components, ((first,), (second,)))
    # The variance of a difference is that of the components' differences.
    abnormal, normal = abnormal_b - abnormal_a, normal_b - normal_a
    members = first.per_patient(first.abnormal), first.per_patient(~first.abnormal)
    total = [int(count.sum()) for count in members]
    holders = [int((count > 0).sum()) for count in members]
    variance = holders[0] / (holders[0] - 1) * float(abnormal @ abnormal) / total[0] ** 2
    variance += holders[1] / (holders[1] - 1) * float(normal @ normal) / total[1] ** 2
    variance += 2 * first.patients / (first.patients - 1) * float(abnormal @ normal) / (total[0] * total[1])
    if not variance > 1e-15:
        return 1.0 if area_a == area_b else None
    return float(2 * norm.sf(abs(area_b - area_a) / math.sqrt(variance)))


def _components(clusters: Clusters) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """The area, and each unit's sums of deviations from it, of abnormal and of normal members, shape (units,) each."""
    scores, abnormal = clusters.scores, clusters.abnormal
    positive, negative = scores[abnormal], scores[~abnormal]
    above = _share_below(negative, positive)
    beneath = 1 - _share_below(positive, negative)
    area = float(above.mean())
    return (
        area,
        np.bincount(clusters.patient[abnormal], above - area, clusters.patients).astype(np.float64),
        np.bincount(clusters.patient[~abnormal], beneath - area, clusters.patients).astype(np.float64),
    )


def _share_below(others: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of `others` below each of `values`, ties counted half."""
    ranked = np.sort(others)
    places = np.searchsorted(ranked, values, "left") + np.searchsorted(ranked, values, "right")
    return np.asarray(places / (2 * len(ranked)))
