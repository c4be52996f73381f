"""What is reported of a screened series: facts of the volume, its slices and the outcome, put together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.records.series_report import (
    GeometryReport,
    PlaneReport,
    RegionTotals,
    SeriesIdentity,
    SeriesReport,
    SeriesResult,
    Thresholds,
)
from anomalib_zsad.records.slice_rows import SliceRow
from anomalib_zsad.scoring.scores import SliceScorer
from anomalib_zsad.screening.options import VolumeOptions
from anomalib_zsad.volumes.regions import Regions
from anomalib_zsad.volumes.slice_stack import SliceStack
from anomalib_zsad.volumes.uid_pseudonyms import hash_uid, hash_uids_of
from anomalib_zsad.volumes.volume import Volume
from anomalib_zsad.volumes.writing.dicom_source import IDENTITY


@dataclass(frozen=True)
class VolumeJudgement:
    """What was found in a volume.

    Attributes:
        score: Mean of the highest slice scores.
        score_std: Mean of these slices' standard deviations; `None` if the model has none.
        p_value: Conformal p-value of the score; `None` without a calibration.
        decision: About the volume; `None` without a calibration.
        rows: One for each slice, in order.
        top_slices: Slices behind the score, best first.
        thresholds: In use.
    """

    score: float
    score_std: float | None
    p_value: float | None
    decision: str | None
    rows: Sequence[SliceRow]
    top_slices: tuple[int, ...]
    thresholds: Thresholds


def series_report(
    stack: SliceStack,
    found: VolumeJudgement,
    regions: Regions,
    options: VolumeOptions,
    rule: DecisionRule,
    scorer: SliceScorer,
    identity: SeriesIdentity,
    files: Sequence[str],
    seconds: Mapping[str, float],
) -> SeriesReport:
    """The report of a series."""
    volume = stack.volume
    return SeriesReport(
        statement=rule.statement,
        calibrated=rule.calibration is not None,
        decided_by=rule.decided_by,
        calibration=rule.report(slice=found.thresholds.slice),
        identity=identity,
        series_instance_uid=volume.series_instance_uid or None,
        study_instance_uid=volume.study_instance_uid or None,
        modality=volume.modality or None,
        units=volume.units.value,
        geometry=_geometry(volume),
        plane=PlaneReport(options.plane, stack.plane, stack.axis),
        channels=options.channels,
        crop=_shown(stack) if options.crop or stack.padded_shape != stack.shape else None,
        window=stack.window,
        thresholds=found.thresholds,
        uncertainty=rule.uncertainty,
        model=scorer.describe(),
        result=_result(found, regions, volume, decided=rule.decided_by != "nothing"),
        warnings=tuple(volume.findings),
        files=tuple(files),
        privacy=_privacy(files),
        seconds=dict(seconds),
        sequence=dict(volume.sequence),
    )


def with_hashed_uids(report: SeriesReport) -> SeriesReport:
    """The report with pseudonyms in the place of UIDs."""
    return replace(
        report,
        series_instance_uid=hash_uid(report.series_instance_uid or "") or None,
        study_instance_uid=hash_uid(report.study_instance_uid or "") or None,
        warnings=tuple(map(hash_uids_of, report.warnings)),
        privacy=_privacy(report.files, hashed=True),
    )


def _result(found: VolumeJudgement, regions: Regions, volume: Volume, *, decided: bool) -> SeriesResult:
    rows = found.rows
    return SeriesResult(
        volume_score=found.score,
        volume_score_std=found.score_std,
        volume_p_value=found.p_value,
        volume_decision=found.decision,
        volume_score_is=f"mean of the {len(found.top_slices)} highest slice scores",
        top_slices=list(found.top_slices),
        slices=len(rows),
        flagged_slices=sum(bool(row.flagged) for row in rows) if decided else None,
        uncertain_slices=sum(row.decision == "uncertain" for row in rows) if decided else None,
        blank_slices=sum(row.blank for row in rows),
        regions=RegionTotals(regions.count, len(regions.listed), regions.voxels, regions.volume_mm3, regions.outside),
        slots_without_slice=[index for index, source in enumerate(volume.slices) if source is None],
    )


def _geometry(volume: Volume) -> GeometryReport:
    return GeometryReport(
        shape=list(volume.shape),
        known=volume.geometry_known,
        spacing_mm=list(volume.spacing) if volume.spacing and volume.regular else None,
        affine_ras_mm=volume.affine.tolist() if volume.geometry_known and volume.regular else None,
        evenly_spaced=volume.regular,
        slice_axis=volume.native_axis,
    )


def _shown(stack: SliceStack) -> dict[str, list[int]]:
    """The box of the slices that the model is shown, and the size that it is padded to, to keep proportions."""
    rows, columns = stack.box.rows, stack.box.columns
    box = {"rows": [rows.start, rows.stop], "columns": [columns.start, columns.stop]}
    return {**box, "padded_to": list(stack.padded_shape)} if stack.padded_shape != stack.shape else box


def _privacy(files: Sequence[str], *, hashed: bool = False) -> str:
    others = "The files carry no names, patient IDs or dates of their own, but UIDs, in which scanners may write their "
    others += "serial number and the date of the study."
    if hashed:
        others = "The files carry no names, patient IDs or dates of their own, and pseudonyms in the place of UIDs."
    others += " Text burned into pictures is not removed."
    objects = sorted({name.partition("/")[0] for name in files if name.endswith(".dcm")})
    if not objects:
        return others
    uids, carry = " and UIDs" if hashed else "", "carry" if len(objects) > 1 else "carries"
    return (
        f"{', '.join(objects)} {carry} what the source says of patient and study ({', '.join(IDENTITY)}){uids}, "
        "as DICOM objects of a study must. "
        f"{others.replace('The files', 'The other files')}"
    )
