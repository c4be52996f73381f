"""One row for each slice, and the file they go to."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Literal

from anomalib_zsad.calibration.decision_rule import Decision
from anomalib_zsad.outputs.csv_tables import rounded_text, table_text

SliceDecision = Decision | Literal["blank"]


@dataclass(frozen=True)
class SliceRow:
    """What screening says about one slice.

    Attributes:
        slice: Index along the plane's voxel axis.
        sop_instance_uid, frame: Source instance (native plane of DICOM only).
        x_mm, y_mm, z_mm: World position (RAS) of the slice's middle.
        score, score_std: Of the model; 0 and empty for blank slices, which the model does not see.
        map_max: Largest value of the map, at voxel (peak_i, peak_j, peak_k) and world position peak_*_mm (RAS).
        area_pixels, area_mm2: Of what reaches the threshold.
        flagged: Whether the score reaches the threshold in use; with a calibration this is what its false-alarm rate
            is about.
        blank: Whether the slice is constant.
        p_value: Conformal p-value of the score; `None` without a calibration, and for blank slices.
        decision: As `flagged` says, or `uncertain` where the threshold lies within the score's spread over the sampled
            prompts, or `blank`. Both are `None` where nothing is decided: without a calibration or a chosen threshold.
        rank: Place among the slices by score, 1 for the highest (of equal scores the lower slice); `None` for blank
            ones.
    """

    slice: int
    sop_instance_uid: str
    frame: int | None
    x_mm: float | None
    y_mm: float | None
    z_mm: float | None
    score: float
    score_std: float | None
    map_max: float
    peak_i: int | None
    peak_j: int | None
    peak_k: int | None
    peak_x_mm: float | None
    peak_y_mm: float | None
    peak_z_mm: float | None
    area_pixels: int
    area_mm2: float | None
    flagged: bool | None
    blank: bool
    p_value: float | None
    decision: SliceDecision | None
    rank: int | None = None


def rows_to_csv(rows: Iterable[SliceRow]) -> str:
    """The rows as CSV text with a header; nothing for `None`, `true` and `false` for booleans."""
    return table_text([field.name for field in fields(SliceRow)], (asdict(row).values() for row in rows), rounded_text)
