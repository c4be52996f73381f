"""Average precision of the marks of a set: which of them are lesions, ranked over all volumes.

The step-wise area under precision over recall, as scikit-learn's; a lesion that no mark finds counts in the recall and
is never reached, as in PI-CAI (Saha et al., Lancet Oncology 2024). Interval: bootstrap over patients.
"""

import numpy as np
from numpy.typing import NDArray

from anomalib_zsad.evaluation.volumes.bootstrap import Clusters, draw_patients
from anomalib_zsad.evaluation.volumes.set_marks import SetMarks

# Numbers in memory at a time.
_CHUNK = 2_000_000


def average_precision(marks: SetMarks, counts: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
    """Average precision, in [0, 1], of each resample, shape (resamples,); where marks were cut, of what is known.

    Args:
        marks: Of the volumes of a set, with at least one lesion.
        counts: How often each patient is drawn, shape (resamples, patients); `None` for the set itself, which gives
            one value. Each resample holds a lesion.
    """
    if counts is None:
        counts = np.ones((1, marks.patients), np.int64)
    found = ~np.isnan(marks.lesion_scores)
    scores = np.concatenate([marks.lesion_scores[found], marks.false_scores])
    owner = np.concatenate([marks.lesion_patient[found], marks.false_patient])
    truth = np.arange(len(scores)) < int(found.sum())
    known = np.ones(len(scores), bool) if marks.lowest is None else scores >= marks.lowest
    scores, owner, truth = scores[known], owner[known], truth[known]
    if not len(scores):
        return np.zeros(len(counts))
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    owner, truth = owner[order], truth[order]
    lesions = np.bincount(marks.lesion_patient, minlength=marks.patients)
    size = max(1, _CHUNK // len(scores))
    parts = []
    for start in range(0, len(counts), size):
        drawn = counts[start : start + size].astype(np.float64)
        weights = drawn[:, owner]
        hits = np.cumsum(weights * truth, axis=1)[:, ends]
        marked = np.cumsum(weights, axis=1)[:, ends]
        steps = np.diff(hits, axis=1, prepend=0)
        precision = np.divide(hits, marked, out=np.zeros_like(hits), where=marked > 0)
        parts.append((steps * precision).sum(axis=1) / (drawn @ lesions))
    return np.concatenate(parts)


def precision_interval(marks: SetMarks, volumes: Clusters, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval over 2,000 resamples of patients, each with all of his or her volumes.

    Args:
        marks: Of the set, with at least one lesion.
        volumes: Its volumes, by the same patients: they are drawn within strata, so that each resample has lesions.
        seed: Of the resampling.
    """
    values = average_precision(marks, draw_patients(volumes, seed=seed))
    low, high = (float(value) for value in np.percentile(values, (2.5, 97.5)))
    return low, high
