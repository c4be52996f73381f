"""What a calibration does on a set of volumes: false alarms measured on its normal ones, and what is found."""

from collections.abc import Sequence

import numpy as np

from anomalib_zsad.calibration import Calibration
from anomalib_zsad.calibration.decision_rule import reaches
from anomalib_zsad.evaluation.figure import Figure, not_defined, share
from anomalib_zsad.evaluation.volumes.dice import dice
from anomalib_zsad.evaluation.volumes.volume_record import VolumeRecord
from anomalib_zsad.evaluation.volumes.volume_set import VolumeSet

_NO_NORMAL = "no volume without lesions was scored"
_NO_ABNORMAL = "no volume with a lesion was scored"


def calibrated_figures(volumes: VolumeSet) -> dict[str, Figure]:
    """False alarms, sensitivity and Dice at the thresholds of a calibration.

    Args:
        volumes: A set whose rule has a calibration.

    Raises:
        ValueError: If it has none.
    """
    calibration = volumes.rule.calibration
    if calibration is None:
        raise ValueError("the set was evaluated without a calibration: there are no calibrated thresholds")
    limits = volumes.rule.thresholds
    normal = [record for record in volumes.records if not record.abnormal]
    abnormal = [record for record in volumes.records if record.abnormal]
    caution = _caution(normal, calibration)
    return {
        "normal volumes flagged by their score": _by_score(normal, limits["volume"], _NO_NORMAL, caution),
        "normal volumes with any marked voxel": _by_mark(normal, limits["mask"], _NO_NORMAL, caution),
        "slices of normal volumes flagged": _by_slice(normal, limits["slice"], _NO_NORMAL, with_lesion=False),
        "volumes with a lesion flagged by their score": _by_score(abnormal, limits["volume"], _NO_ABNORMAL, ""),
        "volumes with a lesion with any marked voxel": _by_mark(abnormal, limits["mask"], _NO_ABNORMAL, ""),
        "slices with a lesion flagged": _by_slice(abnormal, limits["slice"], _NO_ABNORMAL, with_lesion=True),
        "Dice": _dice(abnormal, limits["mask"]),
    }


def _by_score(records: Sequence[VolumeRecord], threshold: float | None, lacking: str, note: str) -> Figure:
    if not records:
        return not_defined(lacking)
    # The model has not seen a volume whose slices are all blank; screening never flags one.
    flagged = [bool(reaches(record.score, threshold)) and not record.blank for record in records]
    return share(sum(flagged), len(records), threshold=threshold, note=note)


def _by_mark(records: Sequence[VolumeRecord], threshold: float | None, lacking: str, note: str) -> Figure:
    if not records:
        return not_defined(lacking)
    marked = reaches([record.map_max for record in records], threshold)
    return share(int(marked.sum()), len(records), threshold=threshold, note=note)


def _by_slice(records: Sequence[VolumeRecord], threshold: float | None, lacking: str, *, with_lesion: bool) -> Figure:
    """Blank slices are no members of the calibration; one with a lesion is a missed one."""
    slices = [record.slices for record in records]
    chosen = [part.counted & (part.abnormal == with_lesion) for part in slices]
    total = sum(int(part.sum()) for part in chosen)
    if not total:
        return not_defined(lacking)
    flagged = [reaches(part.score, threshold) & ~part.blank & c for part, c in zip(slices, chosen, strict=True)]
    note = "no interval: the slices of a volume are not independent"
    return share(sum(int(part.sum()) for part in flagged), total, interval=False, threshold=threshold, note=note)


def _caution(normal: Sequence[VolumeRecord], calibration: Calibration) -> str:
    """What must be said of false alarms on these normal volumes."""
    notes = []
    known = sum(record.images in calibration.cases for record in normal)
    if known:
        notes.append(
            f"{known} of the {len(normal)} normal volumes were calibrated on: false alarms on them are no measurement"
        )
    if len({record.patient for record in normal}) < len(normal):
        notes.append("several volumes of one patient are counted as independent: the interval is too narrow")
    return "; ".join(notes)


def _dice(abnormal: Sequence[VolumeRecord], threshold: float | None) -> Figure:
    """Mean Dice at the calibrated threshold, which was fixed without these masks."""
    values = [value for record in abnormal if (value := dice_of(record)) is not None]
    if not values:
        return not_defined(_NO_ABNORMAL)
    low, middle, high = np.percentile(values, (0, 50, 100))
    note = f"mean over {len(values)} volumes with lesions; lowest {low:.3f}, median {middle:.3f}, highest {high:.3f}"
    return Figure(float(np.mean(values)), threshold=threshold, note=note)


def dice_of(record: VolumeRecord) -> float | None:
    """Dice of a volume at the calibrated threshold; `None` without a lesion or a calibration."""
    if record.marks is None:
        return None
    return dice(record.marks.hits, record.marks.voxels, int(record.lesions.voxels.sum()))
