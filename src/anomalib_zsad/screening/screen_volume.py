"""Screen one volume: score its slices, judge them, and write every output of its series."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.outputs.atomic import write_text
from anomalib_zsad.outputs.versions import versions
from anomalib_zsad.pages import series_page
from anomalib_zsad.pages.slice_pictures import SlicePictures
from anomalib_zsad.records.region_rows import RegionRow, region_rows, regions_csv
from anomalib_zsad.records.series_report import SeriesIdentity, SeriesReport, Thresholds
from anomalib_zsad.records.slice_rows import SliceRow, rows_to_csv
from anomalib_zsad.scoring.scores import SliceScorer
from anomalib_zsad.screening.dicom_results import DicomResults
from anomalib_zsad.screening.options import VolumeOptions, volume_fingerprint
from anomalib_zsad.screening.previews import TopSlices
from anomalib_zsad.screening.series_report import VolumeJudgement, series_report, with_hashed_uids
from anomalib_zsad.screening.slice_records import blank_row, judge_rows, scored_row
from anomalib_zsad.screening.volume_pass import ScoredBatch, VolumeScores, check_population, cut_slices, pass_over
from anomalib_zsad.screening.volume_viewer import VolumeViewer
from anomalib_zsad.volumes.body import Body, find_body
from anomalib_zsad.volumes.faults import Fault, warn
from anomalib_zsad.volumes.place_words import body_extent
from anomalib_zsad.volumes.region_shapes import longest_diameters
from anomalib_zsad.volumes.regions import Regions
from anomalib_zsad.volumes.slice_stack import SliceStack
from anomalib_zsad.volumes.uid_pseudonyms import hash_uid
from anomalib_zsad.volumes.volume import Volume
from anomalib_zsad.volumes.writing.derived_object import Algorithm
from anomalib_zsad.volumes.writing.map_outputs import MapOutputs

# Regions whose diameters are measured: those that a page lists.
_MEASURED = 100


def screen_volume(
    volume: Volume,
    scorer: SliceScorer,
    options: VolumeOptions,
    folder: Path,
    *,
    rule: DecisionRule | None = None,
    identity: SeriesIdentity | None = None,
    reading_seconds: float = 0.0,
    hash_uids: bool = False,
    advance: Callable[[int], None] = lambda _: None,
) -> SeriesReport:
    """Score a volume's slices and write all outputs of its series.

    Its voxels are released once they are scored: the volume cannot be used for images afterwards.

    Args:
        volume: The volume. Warnings are added to its findings.
        scorer: The model.
        options: How.
        folder: An existing folder for the outputs.
        rule: How scores become decisions; by default by a threshold of 0.5.
        identity: What the caller knows the volume by, for the report.
        reading_seconds: Time that reading took, for the report.
        hash_uids: Write pseudonyms in the place of UIDs, but in the DICOM SEG.
        advance: Told how many slices more are done.

    Returns:
        What report.json says.

    Raises:
        SeriesRefusedError: If the plane cannot be cut from this volume, or it is unlike those calibrated on.
        ValueError: If the scorer's answers are no scores.
    """
    rule = rule or DecisionRule("volumes")
    seconds = {"reading": reading_seconds} if reading_seconds else {}
    started = time.perf_counter()
    stack = cut_slices(volume, options)
    check_population(rule.calibration, stack)
    with ExitStack() as temporary:
        beside = temporary.enter_context(ThreadPoolExecutor(1, thread_name_prefix="body"))
        finding = beside.submit(find_body, volume)
        objects = DicomResults.of(folder, stack, options, rule, _algorithm(scorer, options, rule))
        keeper = _Keeper.open(stack, options, folder, rule, objects, finding.result, temporary)
        scores = pass_over(stack, scorer, options, keeper.keep, advance)
        keeper.finish()
        _warn_of_blanks(scores, volume)
        viewer, body = VolumeViewer.of(stack, options), finding.result()
        volume.release_voxels()
        found = _judge(scores, keeper.rows, rule)
        if hash_uids:
            rows = [replace(row, sop_instance_uid=hash_uid(row.sop_instance_uid)) for row in found.rows]
            found = replace(found, rows=rows)
        seconds["scoring"] = time.perf_counter() - started
        writing = time.perf_counter()
        files, regions, listed = _write(folder, stack, found, keeper, body)
        if keeper.pictures is not None:
            files += [series_page.NAME, *viewer.files]
        identity = identity or SeriesIdentity()

        def report() -> SeriesReport:
            made = series_report(stack, found, regions, options, rule, scorer, identity, files, seconds)
            return with_hashed_uids(made) if hash_uids else made

        files += objects.write(report, regions, keeper.outputs.maps, keeper.top)
        if keeper.pictures is not None:
            shown = keeper.pictures, body, keeper.key_slices(), viewer.note
            series_page.SeriesPage(stack, found.rows, regions, listed, report(), *shown).write(
                folder / series_page.NAME
            )
            viewer.write(folder, keeper.outputs.maps, report(), listed)
        seconds["writing"] = time.perf_counter() - writing
    whole = report()
    write_text(folder / "report.json", whole.text())
    return whole


@dataclass
class _Keeper:
    """Where maps, pictures and rows of slices go while they stream past."""

    stack: SliceStack
    outputs: MapOutputs
    top: TopSlices
    objects: DicomResults
    pictures: SlicePictures | None
    rule: DecisionRule
    rows: list[SliceRow] = field(default_factory=list)

    @classmethod
    def open(
        cls,
        stack: SliceStack,
        options: VolumeOptions,
        folder: Path,
        rule: DecisionRule,
        objects: DicomResults,
        body: Callable[[], Body | None],
        temporary: ExitStack,
    ) -> "_Keeper":
        """Open everything that is closed when `temporary` ends."""
        outputs = MapOutputs(
            folder,
            stack.volume,
            stack.axis,
            rule.mask_threshold,
            nifti=options.map_type if "nifti" in options.output_types else None,
            deviations=options.std_map,
            body=body,
        )
        temporary.enter_context(outputs)
        pictures = None
        if options.pages:
            pictures = temporary.enter_context(SlicePictures(stack, folder / ".pictures", rule.mask_threshold))
        return cls(stack, outputs, TopSlices(options.previews), objects, pictures, rule)

    def keep(self, batch: ScoredBatch) -> None:
        """Store what was answered of a batch."""
        self.objects.keep(batch)
        for index in batch.blank:
            self.rows.append(blank_row(self.stack, index))
            if self.pictures is not None:
                self.pictures.offer(index)
        for place in range(len(batch.indices)):
            self._keep_slice(batch, place)

    def _keep_slice(self, batch: ScoredBatch, place: int) -> None:
        answer, index = batch.answer, batch.indices[place]
        if answer is None:
            return
        row = scored_row(self.stack, index, answer, place, self.rule.mask_threshold)
        heat = answer.anomaly_map[place].numpy()
        deviation = None if answer.map_std is None else answer.map_std[place].numpy()
        spread = None if deviation is None else self.stack.to_plane(deviation)
        self.outputs.add(index, self.stack.to_plane(heat), spread)
        low, high = self.rule.shown_range
        shown = ((answer.anomaly_map[place] - low) / (high - low)).numpy()
        self.top.offer(index, row.score, batch.images[place, 1].numpy(), shown)
        if self.pictures is not None:
            self.pictures.offer(index, heat, deviation)
        self.rows.append(row)

    def key_slices(self) -> list[series_page.KeySlice]:
        """What is printed of the slices."""
        low, high = self.rule.shown_range
        return self.top.printed(self.stack.pixel_spacing, (self.rule.mask_threshold - low) / (high - low))

    def finish(self) -> None:
        """All slices were seen."""
        if self.pictures is not None:
            self.pictures.finish()
        self.rows.sort(key=lambda row: row.slice)


def _warn_of_blanks(scores: VolumeScores, volume: Volume) -> None:
    if scores.all_blank:
        message = f"all {len(scores.blank)} slices are blank in this window: nothing was scored"
        volume.findings.append(warn(Fault.BLANK_SLICES, message))


def _judge(scores: VolumeScores, rows: list[SliceRow], rule: DecisionRule) -> VolumeJudgement:
    p_value, decision = None, None
    if rule.calibration is not None:
        judged = rule.judge("volume", [scores.volume_score], [scores.volume_std or 0.0])[0]
        p_value, decision = (None, "blank") if scores.all_blank else (judged.p_value, judged.decision)
    judged_rows, slice_threshold = judge_rows(rule, rows)
    thresholds = Thresholds(slice_threshold, rule.mask_threshold, rule.thresholds["volume"])
    return VolumeJudgement(
        scores.volume_score, scores.volume_std, p_value, decision, judged_rows, scores.top, thresholds
    )


def _write(
    folder: Path, stack: SliceStack, found: VolumeJudgement, keeper: _Keeper, body: Body | None
) -> tuple[list[str], Regions, list[RegionRow]]:
    """Write everything but DICOM objects, page and report, several files at a time; names of the files, and regions."""
    with ThreadPoolExecutor(2, thread_name_prefix="write") as pool:
        finished = pool.submit(keeper.outputs.finish)
        previews = pool.submit(keeper.top.write, folder / "previews", stack.pixel_spacing)
        write_text(folder / "slices.csv", rows_to_csv(found.rows))
        names, regions = finished.result()
        maps, threshold, first = keeper.outputs.maps, keeper.rule.mask_threshold, regions.listed[:_MEASURED]
        diameters = longest_diameters(first, maps, threshold, stack.volume)
        rows = region_rows(regions.listed, stack.axis, diameters=diameters, extent=body_extent(body, stack.volume))
        write_text(folder / "regions.csv", regions_csv(rows))
        shown = [f"previews/{name}" for name in previews.result()]
    return [*names, "slices.csv", "regions.csv", *shown], regions, rows


def _algorithm(scorer: SliceScorer, options: VolumeOptions, rule: DecisionRule) -> Algorithm:
    """What made the results, for DICOM objects: their UIDs follow from the source and from this."""
    described = scorer.describe()
    settings = json.dumps([volume_fingerprint(described, options), rule.settings()], sort_keys=True, default=str)
    return Algorithm(str(described.get("model", "anomalib-zsad")), versions()["anomalib-zsad"], settings)
