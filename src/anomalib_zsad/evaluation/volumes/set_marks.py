"""The marks of all volumes of a set against their lesions, by one definition of a hit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from anomalib_zsad.evaluation.volumes.froc import FrocCurve, froc_curve
from anomalib_zsad.evaluation.volumes.overlap_matching import Matches, match
from anomalib_zsad.evaluation.volumes.volume_record import VolumeRecord


@dataclass(frozen=True)
class SetMarks:
    """Lesions, m of them, and marks that hit none, k of them, over all volumes.

    Attributes:
        lesion_scores: Score of the mark that finds each; NaN where none does, shape (m,).
        lesion_patient: Number of each one's patient, 0 and up, shape (m,).
        false_scores: Shape (k,).
        false_patient: Shape (k,).
        patients: How many patients there are.
        volumes: How many volumes.
        lowest: Below this score marks of a volume were cut; `None` where none were.
    """

    lesion_scores: NDArray[np.float64]
    lesion_patient: NDArray[np.int64]
    false_scores: NDArray[np.float64]
    false_patient: NDArray[np.int64]
    patients: int
    volumes: int
    lowest: float | None = None

    def froc(self) -> FrocCurve:
        """Free-response ROC of the marks."""
        return froc_curve(self.lesion_scores, self.false_scores, self.volumes, self.lowest)


def point_marks(records: Sequence[VolumeRecord], patient: NDArray[np.int64]) -> SetMarks:
    """Marks are places: a candidate hits the lesion that it lies in.

    Args:
        records: The volumes, at least one.
        patient: Number of each one's patient, shape (volumes,).
    """
    cut = [float(one.candidates.scores[-1]) for one in records if not one.candidates.complete]

    def of(record: VolumeRecord) -> tuple[NDArray, NDArray]:
        return record.lesions.scores, record.candidates.scores[record.hits == 0]

    return _joined(records, patient, of, max(cut) if cut else None)


def overlap_marks(
    records: Sequence[VolumeRecord],
    patient: NDArray[np.int64],
    kind: Literal["iou", "dice"],
    min_overlap: float,
    source: str,
) -> SetMarks:
    """Marks are regions: one finds the lesion that it overlaps enough, one to one.

    Args:
        records: The volumes, at least one.
        patient: Number of each one's patient, shape (volumes,).
        kind: What overlap is.
        min_overlap: From which on it is enough.
        source: Which regions.
    """
    cut = [float(one.regions[source].scores[-1]) for one in records if not one.regions[source].complete]

    def of(record: VolumeRecord) -> tuple[NDArray, NDArray]:
        made = matches_of(record, kind, min_overlap, source)
        return made.lesion_scores, made.false_scores

    return _joined(records, patient, of, max(cut) if cut else None)


def matches_of(record: VolumeRecord, kind: Literal["iou", "dice"], min_overlap: float, source: str) -> Matches:
    """Regions and lesions of one volume, paired."""
    return match(record.regions[source], record.lesions.voxels, kind, min_overlap)


def _joined(
    records: Sequence[VolumeRecord],
    patient: NDArray[np.int64],
    of: Callable[[VolumeRecord], tuple[NDArray, NDArray]],
    lowest: float | None,
) -> SetMarks:
    parts = [of(record) for record in records]
    lesions, wrong = ([np.asarray(part[place], np.float64) for part in parts] for place in (0, 1))
    return SetMarks(
        np.concatenate(lesions),
        np.repeat(patient, [len(part) for part in lesions]),
        np.concatenate(wrong),
        np.repeat(patient, [len(part) for part in wrong]),
        int(patient.max()) + 1,
        len(records),
        lowest,
    )
