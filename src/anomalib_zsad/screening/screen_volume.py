"""Screen one volume: windows, slices, scores, and every output of one series."""

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anomalib_zsad.outputs.atomic import write_text
from anomalib_zsad.outputs.versions import versions
from anomalib_zsad.pages import series_page
from anomalib_zsad.pages.slice_pictures import SlicePictures
from anomalib_zsad.records.slice_rows import Decision, SliceRow, rows_to_csv
from anomalib_zsad.scoring.scores import SliceScorer, SliceScores
from anomalib_zsad.screening.decisions import DecisionRule, Thresholds
from anomalib_zsad.screening.options import VolumeOptions
from anomalib_zsad.screening.previews import TopSlices
from anomalib_zsad.screening.scored_batches import ScoredBatch, score_stack
from anomalib_zsad.screening.series_report import report_text, volume_report
from anomalib_zsad.volumes.faults import Fault, refuse, warn
from anomalib_zsad.volumes.map_file import MapFile
from anomalib_zsad.volumes.regions import Regions, regions_csv
from anomalib_zsad.volumes.slice_stack import SliceStack
from anomalib_zsad.volumes.volume import Volume
from anomalib_zsad.volumes.windowing import Window, choose_window
from anomalib_zsad.volumes.writing.dicom_seg import write_segmentation
from anomalib_zsad.volumes.writing.map_outputs import MapOutputs


@dataclass
class VolumeResult:
    """What screening says about one volume.

    Attributes:
        score: Mean of the `top_k` highest slice scores.
        score_std: Mean of these slices' standard deviations (the same sampled prompts are used for every slice, so
            their errors do not average out); `None` if the model has none.
        rows: One for each slice, in order.
        window: Grey levels used.
        top_slices: Indices of the slices behind the score, best first.
        thresholds: From which score on slices, pixels and the volume are flagged.
        p_value: Conformal p-value of the volume's score; `None` without a calibration.
        decision: About the volume; `None` without a calibration.
        regions: Connected regions of the map, once they were looked for.
    """

    score: float
    score_std: float | None
    rows: list[SliceRow]
    window: Window
    top_slices: list[int]
    thresholds: Thresholds
    p_value: float | None = None
    decision: Decision | None = None
    regions: Regions | None = None
    files: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def flagged(self) -> int:
        """Number of flagged slices."""
        return sum(row.flagged for row in self.rows)

    @property
    def uncertain(self) -> int:
        """Number of slices that are not decided."""
        return sum(row.decision == "uncertain" for row in self.rows)


class Advance:
    """Receives the number of slices done; the progress bar implements it."""

    def __call__(self, slices: int) -> None:
        """`slices` more are done."""


def screen_volume(
    volume: Volume,
    scorer: SliceScorer,
    options: VolumeOptions,
    folder: Path,
    *,
    rule: DecisionRule | None = None,
    facts: dict[str, Any] | None = None,
    advance: Advance | None = None,
) -> VolumeResult:
    """Score a volume's slices and write all outputs of its series.

    Its voxels are released once they are scored: the volume cannot be used for images afterwards.

    Args:
        volume: The volume. Warnings are added to its findings.
        scorer: The model.
        options: How.
        folder: An existing folder for the outputs.
        rule: How scores become decisions; by default by the options' threshold.
        facts: What the caller knows for the report (pseudonyms, reading time).
        advance: Told about progress.

    Raises:
        SeriesRefusedError: If the plane cannot be cut from this volume, or it is unlike those calibrated on.
        ValueError: If the scorer's answers are no scores.
    """
    rule = rule or DecisionRule()
    started = time.perf_counter()
    window, findings = choose_window(volume, options.window)
    volume.findings.extend(findings)
    stack = _stack(volume, window, options)
    rule.check(volume, stack)
    thresholds = rule.thresholds(options.threshold)
    with ExitStack() as temporary:
        outputs = MapOutputs(
            folder,
            volume,
            stack.axis,
            thresholds.mask,
            nifti="nifti" in options.output_types,
            deviations=options.std_map,
        )
        temporary.enter_context(outputs)
        pictures = None
        if options.pages:
            pictures = temporary.enter_context(SlicePictures(stack, folder / ".pictures", thresholds.mask))
        targets = _Targets(outputs, TopSlices(options.previews), pictures)
        rows = _score(stack, scorer, options, thresholds.mask, targets, advance or Advance())
        _note_blank(volume, rows)
        volume.release_voxels()
        result = _result(rows, window, options.top_k, rule, thresholds)
        result.seconds["scoring"] = time.perf_counter() - started
        writing = time.perf_counter()
        regions = _write(folder, volume, stack, result, options, scorer, targets)
        if pictures is not None:
            result.files.append(series_page.NAME)
            report = volume_report(volume, stack, result, options, rule, scorer.describe(), facts or {})
            page = series_page.SeriesPage(stack, result.rows, regions, report, pictures)
            page.write(folder / series_page.NAME)
        result.seconds["writing"] = time.perf_counter() - writing
    report = volume_report(volume, stack, result, options, rule, scorer.describe(), facts or {})
    write_text(folder / "report.json", report_text(report))
    return result


@dataclass(frozen=True)
class _Targets:
    """Where maps and pictures of slices go while they stream past."""

    outputs: MapOutputs
    top: TopSlices
    pictures: SlicePictures | None


def _stack(volume: Volume, window: Window, options: VolumeOptions) -> SliceStack:
    try:
        return SliceStack(volume, window, options.plane, options.channels, crop=options.crop)
    except ValueError as error:
        refuse(Fault.NO_GEOMETRY, str(error))


def _score(
    stack: SliceStack,
    scorer: SliceScorer,
    options: VolumeOptions,
    mask_threshold: float,
    targets: _Targets,
    advance: Advance,
) -> list[SliceRow]:
    rows: list[SliceRow] = []
    with ThreadPoolExecutor(1, thread_name_prefix="keep") as keeper:  # while the model is at the next batch
        kept: Future[list[SliceRow]] | None = None
        for batch in score_stack(stack, scorer, options.batch_size, score_blank=options.score_blank):
            if kept is not None:  # at most one batch waits
                rows.extend(kept.result())
            kept = keeper.submit(_keep_batch, stack, batch, mask_threshold, targets)
            advance(len(batch.indices) + len(batch.blank))
        if kept is not None:
            rows.extend(kept.result())
    if targets.pictures is not None:
        targets.pictures.finish()
    rows.sort(key=lambda row: row.slice)
    return rows


def _keep_batch(stack: SliceStack, batch: ScoredBatch, mask_threshold: float, targets: _Targets) -> list[SliceRow]:
    """Store what was answered of a batch, and give its rows."""
    rows = [_blank_row(stack, index) for index in batch.blank]
    if targets.pictures is not None:
        for index in batch.blank:
            targets.pictures.offer(index)
    if batch.answer is not None:
        for place, index in enumerate(batch.indices):
            rows.append(_row(stack, index, batch.answer, place, mask_threshold))
            _keep(stack, rows[-1], batch.answer, place, batch.images[place, 1], targets)
    return rows


def _keep(
    stack: SliceStack, row: SliceRow, answer: SliceScores, place: int, image: torch.Tensor, targets: _Targets
) -> None:
    """Store what was answered of one slice."""
    heat = answer.anomaly_map[place].numpy()
    deviation = None if answer.map_std is None else answer.map_std[place].numpy()
    spread = None if deviation is None else stack.to_plane(deviation)
    targets.outputs.add(row.slice, stack.to_plane(heat), spread)
    targets.top.offer(row.slice, row.score, image.numpy(), heat)
    if targets.pictures is not None:
        targets.pictures.offer(row.slice, heat, deviation)


def _row(stack: SliceStack, index: int, answer: SliceScores, place: int, mask_threshold: float) -> SliceRow:
    """What is known of a slice by itself; the decision comes when all slices are known."""
    heat = answer.anomaly_map[place].numpy()
    row, column = (int(number) for number in np.unravel_index(int(heat.argmax()), heat.shape))
    peak = stack.voxel_index(index, row, column)
    score = float(answer.score[place])
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
        score=score,
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
        flagged=False,
        blank=False,
        p_value=None,
        decision="normal",
    )


def _blank_row(stack: SliceStack, index: int) -> SliceRow:
    uid, frame = _source(stack, index)
    x, y, z = stack.center(index) or (None, None, None)
    area = None if stack.pixel_area is None else 0.0
    values: list[Any] = [0.0, None, 0.0, *[None] * 6, 0, area, False, True, None, "blank"]
    return SliceRow(index, uid, frame, x, y, z, *values)


def _source(stack: SliceStack, index: int) -> tuple[str, int | None]:
    """The DICOM instance of a slice; none for planes that cross the acquired slices."""
    source = stack.volume.slices[index] if stack.axis == stack.volume.native_axis else None
    return (source.sop_instance_uid, source.frame_number) if source else ("", None)


def _note_blank(volume: Volume, rows: list[SliceRow]) -> None:
    blank = sum(row.blank for row in rows)
    if blank == len(rows):
        volume.findings.append(
            warn(Fault.BLANK_SLICES, f"all {blank} slices are blank in this window: nothing was scored")
        )


def mean_of_top(scores: Sequence[float], count: int) -> float:
    """Mean of the highest scores, a volume's own score; 0 without any. In float32, like the scores of slices."""
    best = sorted(scores, reverse=True)[:count]
    return float(np.float32(np.mean(best))) if best else 0.0


def _result(
    rows: list[SliceRow], window: Window, top_k: int, rule: DecisionRule, thresholds: Thresholds
) -> VolumeResult:
    best = sorted(rows, key=lambda row: row.score, reverse=True)[:top_k]
    deviations = [row.score_std for row in best if row.score_std is not None]
    score, deviation = (
        mean_of_top([row.score for row in rows], top_k),
        float(np.mean(deviations)) if deviations else None,
    )
    blank = all(row.blank for row in rows)
    p_value, decision = rule.judge_volume(score, deviation, thresholds, blank=blank)
    rows, thresholds = rule.judge_slices(rows, thresholds)
    top_slices = [row.slice for row in best]
    return VolumeResult(score, deviation, rows, window, top_slices, thresholds, p_value, decision)


def _write(
    folder: Path,
    volume: Volume,
    stack: SliceStack,
    result: VolumeResult,
    options: VolumeOptions,
    scorer: SliceScorer,
    targets: _Targets,
) -> Regions:
    """Write everything but the page and the report, several files at a time."""
    with ThreadPoolExecutor(2, thread_name_prefix="write") as pool:
        finished = pool.submit(targets.outputs.finish)
        previews = pool.submit(targets.top.write, folder / "previews", stack.pixel_spacing)
        if "dicom_seg" in options.output_types and volume.segmentable:
            _write_segmentation(folder / "lesions_seg.dcm", volume, result, scorer, targets.outputs.maps)
        write_text(folder / "slices.csv", rows_to_csv(result.rows))
        names, regions = finished.result()
        write_text(folder / "findings.csv", regions_csv(regions.listed, stack.axis))
        shown = [f"previews/{name}" for name in previews.result()]
    result.files = [*names, *result.files, "slices.csv", "findings.csv", *shown]
    result.regions = regions
    return regions


def _write_segmentation(path: Path, volume: Volume, result: VolumeResult, scorer: SliceScorer, maps: MapFile) -> None:
    """Write the SEG; where the source's header does not allow one, the other outputs still stand."""
    model = str(scorer.describe().get("model", "anomalib-zsad"))
    try:
        empty = write_segmentation(path, volume, maps, result.thresholds.mask, model, versions()["anomalib-zsad"])
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        path.unlink(missing_ok=True)
        message = f"the source's header allows no DICOM SEG ({type(error).__name__}); the other outputs are whole"
        volume.findings.append(warn(Fault.NO_SEGMENTATION, message))
    else:
        result.files.append(path.name)
        if empty:
            message = f"no valid value of {', '.join(empty)} in the source; the SEG's stays empty"
            volume.findings.append(warn(Fault.CHARACTERS, message))
