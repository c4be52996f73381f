"""The DICOM objects of a screened series: which are asked for, what goes into them, what is said where one fails."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.records.series_report import SeriesReport
from anomalib_zsad.screening.key_slices import TITLE, key_slices_pdf
from anomalib_zsad.screening.options import VolumeOptions
from anomalib_zsad.screening.overlay import overlay
from anomalib_zsad.screening.previews import TopSlices
from anomalib_zsad.screening.volume_pass import ScoredBatch
from anomalib_zsad.volumes.faults import Fault, warn
from anomalib_zsad.volumes.map_file import MapFile
from anomalib_zsad.volumes.region_shapes import shape_of
from anomalib_zsad.volumes.regions import Regions
from anomalib_zsad.volumes.slice_stack import SliceStack
from anomalib_zsad.volumes.writing.derived_object import RESEARCH_ONLY, Algorithm
from anomalib_zsad.volumes.writing.dicom_capture import write_capture
from anomalib_zsad.volumes.writing.dicom_parametric_map import write_parametric_map
from anomalib_zsad.volumes.writing.dicom_pdf import write_pdf
from anomalib_zsad.volumes.writing.dicom_report import ReportedRegion, ReportedSeries, write_report
from anomalib_zsad.volumes.writing.dicom_seg import write_segmentation
from anomalib_zsad.volumes.writing.dicom_source import SourceImages

NAMES = {
    "dicom_seg": "lesions_seg.dcm",
    "parametric_map": "anomaly_map.dcm",
    "structured_report": "report.dcm",
    "secondary_capture": "captures",
    "pdf": "key_slices.dcm",
}
_MOST_REGIONS = 20
_WHAT = {
    "dicom_seg": "SEG",
    "parametric_map": "Parametric Map",
    "structured_report": "structured report",
    "secondary_capture": "secondary capture",
    "pdf": "encapsulated PDF",
}


@dataclass
class DicomResults:
    """Makes the objects of a series; an object that the source's header does not allow costs no other output.

    Attributes:
        folder: Where.
        stack: The screened slices.
        kinds: What is asked for.
        rule: How scores become decisions.
        algorithm: What made them.
        source: The source images; `None` where none can be referred to.
        failed: Kinds that could not be made.
    """

    folder: Path
    stack: SliceStack
    kinds: tuple[str, ...]
    rule: DecisionRule
    algorithm: Algorithm
    source: SourceImages | None = None
    failed: set[str] = field(default_factory=set)
    _written: list[str] = field(default_factory=list)
    _captured: int = 0

    @classmethod
    def of(
        cls, folder: Path, stack: SliceStack, options: VolumeOptions, rule: DecisionRule, algorithm: Algorithm
    ) -> "DicomResults":
        """For a series; makes nothing where its source is no DICOM, or one that cannot be referred to."""
        kinds = tuple(kind for kind in NAMES if kind in options.output_types) if stack.volume.segmentable else ()
        results = cls(folder, stack, kinds, rule, algorithm)
        if kinds:
            source = results._tried(kinds, lambda: SourceImages.of(stack.volume))
            results.source = source
            if source is not None and source.left_empty:
                message = (
                    f"no valid value of {', '.join(source.left_empty)} in the source; DICOM objects leave it empty"
                )
                stack.volume.findings.append(warn(Fault.CHARACTERS, message))
        return results

    def keep(self, batch: ScoredBatch) -> None:
        """Make the captures of a batch, while the voxels of its slices are there."""
        shown: list[tuple[int, Any, Any, str]] = [(index, None, None, "blank, not scored") for index in batch.blank]
        for place, index in enumerate(batch.indices):
            if batch.answer is not None:
                words = f"score {float(batch.answer.score[place]):.3f}"
                shown.append((index, batch.images[place, 1].numpy(), batch.answer.anomaly_map[place].numpy(), words))
        for index, image, heat, words in sorted(shown, key=lambda one: one[0]):
            if self._wants("secondary_capture"):
                grey = self.stack.image(index) if image is None else image
                self._tried(("secondary_capture",), self._capture, index, grey, heat, words)

    def _capture(self, index: int, image: Any, heat: Any, words: str) -> None:
        outline = f"outline at {self.rule.mask_threshold:.3f}"
        told = "calibrated" if self.rule.calibration is not None else "uncalibrated"
        lines = (f"slice {index}: {words}, {outline}, {told}", RESEARCH_ONLY)
        picture = overlay(image, heat, self.rule.mask_threshold, self.stack.pixel_spacing, lines)
        folder = self.folder / NAMES["secondary_capture"]
        folder.mkdir(exist_ok=True)
        slots = (index,) if self.stack.axis == self.stack.volume.native_axis else ()
        path = folder / f"slice{index:04d}.dcm"
        write_capture(path, self._source, picture, slots, index + 1, self.stack.edges(), self.algorithm)
        self._written.append(f"{folder.name}/{path.name}")

    def write(self, report: Callable[[], SeriesReport], regions: Regions, maps: MapFile, top: TopSlices) -> list[str]:
        """Write everything else; names of all files."""
        threshold = self.rule.mask_threshold
        reported: list[ReportedRegion] = []
        if {"structured_report", "pdf"} & set(self.kinds):
            shaped = self._tried(("structured_report", "pdf"), lambda: self._regions(regions, maps))
            reported = shaped or []
        makers: dict[str, Callable[[Path], None]] = {
            "dicom_seg": lambda path: write_segmentation(
                path, self._source, maps, threshold, self.rule.standing, self.algorithm
            ),
            "parametric_map": lambda path: write_parametric_map(path, self._source, maps, self.algorithm),
            "structured_report": lambda path: write_report(
                path, self._source, self._series(report(), regions, reported), self.algorithm
            ),
            "pdf": lambda path: write_pdf(
                path, self._source, self._document(report(), reported, top), TITLE, self.algorithm
            ),
        }
        for kind, make in makers.items():
            if self._wants(kind):
                path = self.folder / NAMES[kind]
                self._tried((kind,), make, path)
                if kind not in self.failed:
                    self._written.append(path.name)
        return sorted(self._written)

    def _regions(self, regions: Regions, maps: MapFile) -> list[ReportedRegion]:
        calibration, threshold = self.rule.calibration, self.rule.mask_threshold
        made = []
        for region in regions.listed[:_MOST_REGIONS]:
            p_value = None if calibration is None else float(calibration.p_values("mask", [region.peak])[0])
            made.append(ReportedRegion(region, shape_of(region, maps, threshold, self.stack.volume), p_value))
        return made

    def _series(self, report: SeriesReport, regions: Regions, reported: Sequence[ReportedRegion]) -> ReportedSeries:
        result = report.result
        return ReportedSeries(
            result.volume_score,
            result.volume_score_std,
            result.volume_p_value,
            result.volume_decision,
            self.rule.mask_threshold,
            report.statement,
            reported,
            regions.count,
        )

    def _document(self, report: SeriesReport, reported: Sequence[ReportedRegion], top: TopSlices) -> bytes:
        pictures = []
        for entry in top.best():
            words = (f"slice {entry.index}: score {entry.score:.3f}", RESEARCH_ONLY)
            image, heat = (np.asarray(part, np.float32) / np.float32(255) for part in (entry.image, entry.heat))
            pictures.append(overlay(image, heat, self.rule.mask_threshold, self.stack.pixel_spacing, words))
        return key_slices_pdf(report, reported, pictures)

    @property
    def _source(self) -> SourceImages:
        if self.source is None:
            raise ValueError("there is no source to refer to")
        return self.source

    def _wants(self, kind: str) -> bool:
        return self.source is not None and kind in self.kinds and kind not in self.failed

    def _tried(self, kinds: tuple[str, ...], work: Callable[..., Any], *arguments: Any) -> Any:
        """What the work gives; where the source's header does not allow it, `None` and a warning."""
        try:
            return work(*arguments)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            self.failed.update(kinds)
            for kind in kinds:
                self._remove(kind)
            what = ", ".join(_WHAT[kind] for kind in kinds)
            message = (
                f"the source's header allows no DICOM {what} ({type(error).__name__}); the other outputs are whole"
            )
            self.stack.volume.findings.append(warn(Fault.NO_DICOM_OBJECT, message))
            return None

    def _remove(self, kind: str) -> None:
        """An object that failed leaves nothing, of a series of captures none."""
        path = self.folder / NAMES[kind]
        if path.is_dir():
            for one in path.iterdir():
                one.unlink()
            path.rmdir()
        path.unlink(missing_ok=True)
        self._written = [name for name in self._written if not name.startswith(f"{NAMES[kind]}/")]
