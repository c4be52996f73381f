"""Strata of volumes: the readers' figures of each, and lesions found at one threshold for all strata."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from anomalib_zsad.evaluation.figure import Figure, counts_only, not_defined
from anomalib_zsad.evaluation.strata.strata_table import StrataTable, ordered
from anomalib_zsad.evaluation.strata.stratum import Stratum
from anomalib_zsad.evaluation.volumes.bootstrap import RESAMPLES
from anomalib_zsad.evaluation.volumes.figures import counts, figures, recall_threshold
from anomalib_zsad.evaluation.volumes.lesion_figures import NO_LESIONS
from anomalib_zsad.evaluation.volumes.volume_set import VolumeSet

_SHOWN = {
    "slices": {"AUROC": "AUROC of slices"},
    "volumes": {"AUROC": "AUROC of volumes"},
    "lesions": {"average precision": "average precision of places"},
    "lesions by iou": {"average precision": "average precision by intersection over union"},
    "lesions by dice": {"average precision": "average precision by Dice"},
    "panoptic": {"panoptic quality": "panoptic quality"},
}
_LEFT_OUT = "volumes left out for lack of a mask"


def volume_strata(volumes: VolumeSet, table: StrataTable) -> list[Stratum]:
    """The strata of a set of volumes, column by column, values in alphabetical order; failures are counted in theirs.

    Args:
        volumes: The set.
        table: What says where each patient or volume belongs: by the pseudonyms of reports, or as the data set has it.
    """
    told = {name: table.find(_names(volumes, name, table.key)) for name in _all_names(volumes)}
    threshold = recall_threshold(volumes)
    found = []
    for place, column in enumerate(table.columns):
        for value in ordered(row[place] for row in told.values()):
            records = tuple(one for one in volumes.records if told[one.name][place] == value)
            failures = tuple(one for one in volumes.failures if told[one.volume][place] == value)
            part = replace(volumes, records=records, failures=failures, unlabelled=0)
            found.append(
                Stratum(
                    volumes.target,
                    volumes.category,
                    volumes.run,
                    column,
                    value,
                    _counts(part, threshold),
                    _figures(part, threshold) if records else {},
                )
            )
    return found


def _all_names(volumes: VolumeSet) -> list[str]:
    return [*(one.name for one in volumes.records), *(one.volume for one in volumes.failures)]


def _names(volumes: VolumeSet, name: str, key: str) -> Sequence[str]:
    """What a volume, or its patient, may be called in the table."""
    if key == "patient":
        return volumes.owners.get(name, ())
    return (name, volumes.sources[name]) if name in volumes.sources else (name,)


def _counts(part: VolumeSet, threshold: float | None) -> dict[str, int]:
    found = {name: count for name, count in counts(part).items() if name != _LEFT_OUT}
    if threshold is None:
        return found
    wrong = sum(int((one.candidates.scores[one.hits == 0] >= threshold).sum()) for one in part.records)
    return {**found, "false positives at the common threshold": wrong}


def _figures(part: VolumeSet, threshold: float | None) -> dict[str, Figure]:
    made = figures(part)
    chosen = {
        label: made[group][name] for group, names in _SHOWN.items() if group in made for name, label in names.items()
    }
    if threshold is not None:
        chosen["lesions found at the common threshold"] = _found(part, threshold)
    return {**chosen, **made.get("calibrated", {})}


def _found(part: VolumeSet, threshold: float) -> Figure:
    """Lesions pointed to at the threshold of the whole set, so that strata can be compared."""
    lesions = [len(one.lesions) for one in part.records]
    if not sum(lesions):
        return not_defined(NO_LESIONS)
    found = [int((one.lesions.scores >= threshold).sum()) for one in part.records]
    low, high = _interval(part, found, lesions)
    told = "the threshold is that of 1 false positive per volume over all strata"
    recall = Figure(sum(found) / sum(lesions), low, high, sum(found), sum(lesions), threshold, told)
    return counts_only(recall, part.few_abnormal) if part.few_abnormal else recall


def _interval(part: VolumeSet, found: Sequence[int], lesions: Sequence[int]) -> tuple[float, float]:
    """95 % percentile interval of the share of lesions found, over resamples of the patients with lesions."""
    patient = part.volumes.patient
    hits, total = (np.bincount(patient, np.asarray(values, float)) for values in (found, lesions))
    hits, total = hits[total > 0], total[total > 0]
    drawn = np.random.default_rng(0).multinomial(len(total), np.full(len(total), 1 / len(total)), RESAMPLES)
    low, high = np.percentile((drawn @ hits) / (drawn @ total), (2.5, 97.5))
    return float(low), float(high)
