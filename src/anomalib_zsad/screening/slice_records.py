"""From scored batches of slices to rows, and the rows judged."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.records.slice_rows import SliceRow
from anomalib_zsad.scoring.scores import SliceScores
from anomalib_zsad.volumes.slice_stack import SliceStack


def scored_row(stack: SliceStack, index: int, answer: SliceScores, place: int, mask_threshold: float) -> SliceRow:
    """What is known of a slice by itself; the decision comes when all slices are known.

    Args:
        stack: The slices.
        index: Which one.
        answer: Of its batch.
        place: Where in it.
        mask_threshold: From it on a pixel belongs to a lesion.
    """
    heat = answer.anomaly_map[place].numpy()
    row, column = (int(number) for number in np.unravel_index(int(heat.argmax()), heat.shape))
    peak = stack.voxel_index(index, row, column)
    area = int(np.count_nonzero(heat >= mask_threshold))
    uid, frame = _source(stack, index)
    x, y, z = stack.center(index) or (None, None, None)
    peak_x, peak_y, peak_z = stack.volume.world(peak) or (None, None, None)
    return SliceRow(
        slice=index,
        sop_instance_uid=uid,
        frame=frame,
        x_mm=x,
        y_mm=y,
        z_mm=z,
        score=float(answer.score[place]),
        score_std=None if answer.score_std is None else float(answer.score_std[place]),
        map_max=float(heat.max()),
        peak_i=peak[0],
        peak_j=peak[1],
        peak_k=peak[2],
        peak_x_mm=peak_x,
        peak_y_mm=peak_y,
        peak_z_mm=peak_z,
        area_pixels=area,
        area_mm2=None if stack.pixel_area is None else area * stack.pixel_area,
        flagged=None,
        blank=False,
        p_value=None,
        decision=None,
    )


def blank_row(stack: SliceStack, index: int) -> SliceRow:
    """The row of a slice that the model was not shown."""
    uid, frame = _source(stack, index)
    x, y, z = stack.center(index) or (None, None, None)
    area = None if stack.pixel_area is None else 0.0
    values: list[Any] = [0.0, None, 0.0, *[None] * 6, 0, area, None, True, None, None]
    return SliceRow(index, uid, frame, x, y, z, *values)


def judge_rows(rule: DecisionRule, rows: Sequence[SliceRow]) -> tuple[list[SliceRow], float | None]:
    """The rows with ranks, p-values, flags and decisions, and the threshold that was in use.

    Blank ones are not flagged, and have neither rank nor p-value.
    """
    scored = [row for row in rows if not row.blank]
    deviations = [np.nan if row.score_std is None else row.score_std for row in scored]
    judgements, threshold = rule.judge_together("slice", [row.score for row in scored], deviations)
    ranked = sorted(scored, key=lambda row: (-row.score, row.slice))
    ranks = {row.slice: rank for rank, row in enumerate(ranked, 1)}
    judged = {
        row.slice: replace(row, rank=ranks[row.slice], **one._asdict())
        for row, one in zip(scored, judgements, strict=True)
    }
    decided = rule.decided_by != "nothing"
    empty: dict[str, Any] = {"flagged": False if decided else None, "decision": "blank" if decided else None}
    return [judged.get(row.slice) or replace(row, **empty) for row in rows], threshold


def _source(stack: SliceStack, index: int) -> tuple[str, int | None]:
    """The DICOM instance of a slice; none for planes that cross the acquired slices."""
    source = stack.volume.slices[index] if stack.axis == stack.volume.native_axis else None
    return (source.sop_instance_uid, source.frame_number) if source else ("", None)
