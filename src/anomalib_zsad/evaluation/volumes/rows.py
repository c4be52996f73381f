"""One row for each volume, and one for each lesion, as CSV."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from anomalib_zsad.evaluation.volumes.calibrated_figures import dice_of, reaches
from anomalib_zsad.evaluation.volumes.figures import oracle_dice, recall_threshold
from anomalib_zsad.evaluation.volumes.lesions import size_class, size_classes, sphere_diameter
from anomalib_zsad.evaluation.volumes.set_marks import matches_of
from anomalib_zsad.evaluation.volumes.volume_record import VolumeRecord
from anomalib_zsad.evaluation.volumes.volume_set import VolumeSet
from anomalib_zsad.outputs.csv_tables import table_text

_SET_COLUMNS = ("set", "category", "checkpoint", "seed")
_VOLUME_COLUMNS = (
    "volume", "patient", "status", "reason", "modality", "window", "abnormal", "score", "score_std", "p_value",
    "flagged", "map_max", "map_p_value", "marked", "slices", "abnormal_slices", "blank_slices", "lesions",
    "lesions_found_at_1_fp", "lesions_found_calibrated", "lesions_touched_calibrated", "marked_regions",
    "false_regions", "dice_calibrated", "dice_oracle", "seconds",
)  # fmt: skip
_LESION_COLUMNS = (
    "volume", "lesion", "voxels", "volume_mm3", "diameter_mm", "size", "map_max", "score", "found_at_1_fp",
    "found_calibrated", "touched_calibrated",
)  # fmt: skip


def volumes_csv(sets: Sequence[VolumeSet], *, source_names: bool = False) -> str:
    """A row for each volume, those that failed included; what there is not is empty.

    Args:
        sets: The volumes.
        source_names: Add the names of cases in the data set, which may hold patient data.
    """
    columns = (*_SET_COLUMNS, *_VOLUME_COLUMNS, *(("source",) if source_names else ()))
    return _csv(columns, (row for one in sets for row in _volumes(one)))


def lesions_csv(sets: Sequence[VolumeSet]) -> str:
    """A row for each lesion; for each kind of overlap that was asked for, how much, and the score of its region."""
    kinds = dict.fromkeys(kind for one in sets for kind in _kinds(one))
    further = [f"{name}_{kind}" for kind in kinds for name in ("overlap", "score")]
    return _csv((*_SET_COLUMNS, *_LESION_COLUMNS, *further), (row for one in sets for row in _lesions(one)))


def _kinds(volumes: VolumeSet) -> list[Literal["iou", "dice"]]:
    return [kind for kind in volumes.lesion_rules.lesion_figures if kind != "panoptic"]


def _csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    return table_text(columns, ([row.get(column) for column in columns] for row in rows))


def _of_set(volumes: VolumeSet) -> dict[str, Any]:
    run = volumes.run
    return dict(zip(_SET_COLUMNS, (volumes.target, volumes.category, run.checkpoint, run.seed), strict=True))


def _volumes(volumes: VolumeSet) -> Iterable[dict[str, Any]]:
    first, pointed, oracle = _of_set(volumes), recall_threshold(volumes), oracle_dice(volumes).threshold
    for record in volumes.records:
        slices = record.slices
        row = {
            **first,
            "volume": record.name,
            "patient": record.patient,
            "status": "scored",
            "modality": record.modality,
            "window": record.window,
            "abnormal": record.abnormal,
            "score": record.score,
            "score_std": record.score_std,
            "map_max": record.map_max,
            "slices": len(slices.index),
            "abnormal_slices": int(slices.abnormal.sum()),
            "blank_slices": int(slices.blank.sum()),
            "lesions": len(record.lesions),
            "lesions_found_at_1_fp": None if pointed is None else int((record.lesions.scores >= pointed).sum()),
            "dice_oracle": float(record.dice.at(np.array(oracle)))
            if record.dice is not None and oracle is not None
            else None,
            "seconds": record.seconds,
        }
        yield {**row, **_calibrated_cells(volumes, record), "source": volumes.sources.get(record.name)}
    for failure in volumes.failures:
        failed = {"volume": failure.volume, "status": "failed", "reason": failure.reason, "source": failure.source}
        yield {**first, **failed}


def _calibrated_cells(volumes: VolumeSet, record: VolumeRecord) -> dict[str, Any]:
    calibration = volumes.rule.calibration
    if calibration is None or record.marks is None:
        return {}
    p_value, mask_p_value = (
        float(calibration.p_values(level, [value])[0])
        for level, value in (("volume", record.score), ("mask", record.map_max))
    )
    return {
        "p_value": None if record.blank else p_value,
        "flagged": bool(reaches(record.score, volumes.rule.thresholds["volume"])) and not record.blank,
        "map_p_value": mask_p_value,
        "marked": bool(reaches(record.map_max, volumes.rule.mask_threshold)),
        "lesions_found_calibrated": int(reaches(record.lesions.scores, volumes.rule.mask_threshold).sum()),
        "lesions_touched_calibrated": int(reaches(record.lesions.map_max, volumes.rule.mask_threshold).sum()),
        "marked_regions": record.marks.regions,
        "false_regions": record.marks.false_regions,
        "dice_calibrated": dice_of(record),
    }


def _lesions(volumes: VolumeSet) -> Iterable[dict[str, Any]]:
    first, pointed = _of_set(volumes), recall_threshold(volumes)
    limit = volumes.rule.mask_threshold if volumes.rule.calibration is not None else None
    rules = volumes.lesion_rules
    for record in volumes.records:
        matches = {kind: matches_of(record, kind, rules.min_overlap, rules.lesion_regions) for kind in _kinds(volumes)}
        for number in range(len(record.lesions)):
            size = None if record.voxel_mm3 is None else float(record.lesions.voxels[number] * record.voxel_mm3)
            diameter = None if size is None else float(sphere_diameter(size))
            score, highest = float(record.lesions.scores[number]), float(record.lesions.map_max[number])
            yield {
                **first,
                "volume": record.name,
                "lesion": number + 1,
                "voxels": int(record.lesions.voxels[number]),
                "volume_mm3": size,
                "diameter_mm": diameter,
                "size": "" if diameter is None else size_classes()[int(size_class(np.array(diameter)))],
                "map_max": highest,
                "score": score,
                "found_at_1_fp": None if pointed is None else score >= pointed,
                "found_calibrated": None if limit is None else bool(reaches(score, limit)),
                "touched_calibrated": None if limit is None else bool(reaches(highest, limit)),
                **{f"overlap_{kind}": float(found.lesion_overlaps[number]) for kind, found in matches.items()},
                **{f"score_{kind}": float(found.lesion_scores[number]) for kind, found in matches.items()},
            }
