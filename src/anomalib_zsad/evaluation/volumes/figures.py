"""The figures of a set of volumes that readers understand, each with its counts, its interval and its reservations."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from anomalib_zsad.evaluation.figure import Figure, counts_only, not_defined, share
from anomalib_zsad.evaluation.volumes.bootstrap import Clusters
from anomalib_zsad.evaluation.volumes.calibrated_figures import calibrated_figures
from anomalib_zsad.evaluation.volumes.dice import mean_dice
from anomalib_zsad.evaluation.volumes.lesion_figures import (
    NO_LESIONS,
    overlap_figures,
    panoptic_figures,
    point_figures,
)
from anomalib_zsad.evaluation.volumes.lesions import size_class, size_classes, sphere_diameter
from anomalib_zsad.evaluation.volumes.roc import (
    RocCurve,
    area,
    sensitivity_at_specificity,
    specificity_at_sensitivity,
)
from anomalib_zsad.evaluation.volumes.volume_record import VolumeRecord
from anomalib_zsad.evaluation.volumes.volume_set import VolumeSet

RATE_OF_RECALL = 1.0
"""False positives per volume at which recall by size is read off."""

_CHANCE = 0.5

Figures = dict[str, dict[str, Figure]]
Interval = tuple[tuple[float, float] | None, str]


def counts(volumes: VolumeSet) -> dict[str, int]:
    """How many of what there are; failures are counted, never dropped."""
    abnormal = sum(record.abnormal for record in volumes.records)
    slices = [record.slices for record in volumes.records]
    return {
        "volumes found": volumes.found,
        "volumes failed": len(volumes.failures),
        "volumes scored": len(volumes.records),
        "volumes with a lesion": abnormal,
        "volumes without": len(volumes.records) - abnormal,
        "volumes left out for lack of a mask": volumes.unlabelled,
        "patients": volumes.patients,
        "slices": sum(int(part.counted.sum()) for part in slices),
        "slices with a lesion": sum(int(part.abnormal.sum()) for part in slices),
        "blank slices left out": sum(int((~part.counted).sum()) for part in slices),
        "lesions": sum(len(record.lesions) for record in volumes.records),
    }


def figures(volumes: VolumeSet) -> Figures:
    """All figures, by group and name; the groups are those of `definitions.GROUPS`."""
    result: Figures = {
        "slices": _ranking(volumes.slices, volumes.slice_curve, lambda: volumes.slice_interval),
        "volumes": _ranking(volumes.volumes, volumes.volume_curve, lambda: volumes.volume_interval),
        "lesions": _reserved(point_figures(volumes), volumes.few_abnormal),
    }
    asked = volumes.lesion_rules.lesion_figures
    kinds: tuple[Literal["iou", "dice"], ...] = ("iou", "dice")
    for kind in kinds:
        if kind in asked:
            result[f"lesions by {kind}"] = _reserved(overlap_figures(volumes, kind), volumes.few_abnormal)
    if "panoptic" in asked:
        result["panoptic"] = _reserved(panoptic_figures(volumes), volumes.few_abnormal)
    result["segmentation"] = _reserved({"best Dice (oracle)": oracle_dice(volumes)}, volumes.few_abnormal)
    if volumes.rule.calibration is not None:
        result["calibrated"] = {
            name: _reserved_one(figure, volumes.few_normal if "normal volumes" in name else volumes.few_abnormal)
            for name, figure in calibrated_figures(volumes).items()
        }
    return result


def _reserved(part: dict[str, Figure], few: str) -> dict[str, Figure]:
    """Figures of which people see counts alone where there are too few patients."""
    return {name: _reserved_one(figure, few) for name, figure in part.items()}


def _reserved_one(figure: Figure, few: str) -> Figure:
    return counts_only(figure, few) if few else figure


def _ranking(members: Clusters, curve: RocCurve, find: Callable[[], Interval]) -> dict[str, Figure]:
    value, few = area(curve), members.few
    if value is None:
        auroc = not_defined(curve.lacking)
    elif few:
        auroc = Figure(value)
    else:
        interval, note = find()
        low, high = interval or (None, None)
        if value < _CHANCE:
            note = "; ".join(
                [*([note] if note else []), "below 50 %: normal ones score higher than those with a lesion"]
            )
        auroc = Figure(value, low, high, note=note)
    part = {
        "AUROC": auroc,
        "sensitivity at 90 % specificity": sensitivity_at_specificity(curve, 0.90),
        "sensitivity at 95 % specificity": sensitivity_at_specificity(curve, 0.95),
        "specificity at 90 % sensitivity": specificity_at_sensitivity(curve, 0.90),
        "specificity at 95 % sensitivity": specificity_at_sensitivity(curve, 0.95),
    }
    # What is reached is said in percent, too.
    return {
        name: counts_only(replace(one, note=""), few) if few and one.value is not None else one
        for name, one in part.items()
    }


def recall_threshold(volumes: VolumeSet) -> float | None:
    """The threshold with about one false positive per volume; infinite where only no mark at all stays below."""
    curve = volumes.froc
    if not curve.lesions or not curve.reaches(RATE_OF_RECALL):
        return None
    return float(curve.thresholds[curve.place(RATE_OF_RECALL)])


@dataclass(frozen=True)
class RecallRow:
    """Lesions of one class of size.

    Attributes:
        size: Name of the class.
        lesions: How many there are.
        recall: For each rule of `recall_rules` the share of them that is found.
    """

    size: str
    lesions: int
    recall: dict[str, Figure]


def recall_by_size(volumes: VolumeSet) -> list[RecallRow]:
    """The lesions found of each class of size; empty classes are kept, with the count 0."""
    rules = recall_rules(volumes)
    rows = []
    for number, label in enumerate(size_classes()):
        chosen = [_of_class(record, number) for record in volumes.records]
        rows.append(_recall_row(label, volumes, chosen, rules))
    unknown = [np.full(len(record.lesions), record.voxel_mm3 is None) for record in volumes.records]
    if any(part.any() for part in unknown):
        rows.append(_recall_row("size unknown", volumes, unknown, rules))
    return rows


def recall_rules(volumes: VolumeSet) -> dict[str, Callable[[VolumeRecord], np.ndarray]]:
    """By name, what tells which lesions of a volume are found."""
    rules: dict[str, Callable[[VolumeRecord], np.ndarray]] = {}
    threshold = recall_threshold(volumes)
    if threshold is not None:
        rules["pointed to at 1 false positive per volume"] = lambda record: record.lesions.scores >= threshold
    if volumes.rule.calibration is not None:
        mask = np.float32(volumes.rule.mask_threshold)
        rules["pointed to at the calibrated threshold"] = lambda record: record.lesions.scores >= mask
        rules["touched at the calibrated threshold"] = lambda record: record.lesions.map_max >= mask
    return rules


def _of_class(record: VolumeRecord, number: int) -> np.ndarray:
    if record.voxel_mm3 is None:
        return np.zeros(len(record.lesions), bool)
    return size_class(sphere_diameter(record.lesions.voxels * record.voxel_mm3)) == number


def _recall_row(
    label: str, volumes: VolumeSet, chosen: list[np.ndarray], rules: dict[str, Callable[[VolumeRecord], np.ndarray]]
) -> RecallRow:
    total = sum(int(part.sum()) for part in chosen)
    found = {
        name: sum(int((rule(record) & part).sum()) for record, part in zip(volumes.records, chosen, strict=True))
        for name, rule in rules.items()
    }
    recall = {
        name: _reserved_one(share(count, total, interval=False), volumes.few_abnormal)
        if total
        else not_defined("no lesion of this size")
        for name, count in found.items()
    }
    return RecallRow(label, total, recall)


def oracle_dice(volumes: VolumeSet) -> Figure:
    """The highest mean Dice over the volumes with lesions at one threshold for all, chosen with the masks in view."""
    curves = [record.dice for record in volumes.records if record.dice is not None]
    if not curves:
        return not_defined(NO_LESIONS)
    thresholds, means = mean_dice(curves)
    best = int(means.argmax())
    note = (
        f"an oracle: one threshold for the whole set, chosen with its masks in view; mean over {len(curves)} volumes "
        "with lesions"
    )
    return Figure(float(means[best]), threshold=float(thresholds[best]), note=note)
