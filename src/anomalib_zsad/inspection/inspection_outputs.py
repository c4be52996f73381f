"""What an inspection leaves: images.csv, report.html, report.json."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomalib_zsad.inspection.journal import Journal
from anomalib_zsad.inspection.options import InspectionOptions
from anomalib_zsad.outputs.atomic import write_text
from anomalib_zsad.pages import gallery
from anomalib_zsad.pages.gallery_selection import Shown
from anomalib_zsad.records.drift_report import DriftReport
from anomalib_zsad.records.image_records import ImageRecord, records_csv
from anomalib_zsad.records.inspection_report import ImageThresholds, InspectionReport

TABLES = ("images.csv", "report.json")


@dataclass(frozen=True)
class Told:
    """What outputs say of an inspection, beside its images.

    Attributes:
        settings: What decides results, in JSON's types.
        device: What the model ran on.
        skipped: How many files of which kind were not looked at.
        location: The folder that was inspected, or the one image.
    """

    settings: Mapping[str, Any]
    device: str | None
    skipped: Mapping[str, int]
    location: Path


def shown_of(options: InspectionOptions) -> Shown:
    """The choice of images with large pictures, before there is one."""
    decided = options.rule.thresholds["image"] if options.rule.calibration is not None else None
    return Shown(options.pictures if options.pages else 0, decided)


def write_outputs(
    output: Path,
    records: Sequence[ImageRecord],
    journal: Journal,
    shown: Shown,
    options: InspectionOptions,
    told: Told,
    drift: DriftReport,
) -> None:
    """Write all outputs, each whole; the report last.

    Args:
        output: The run's folder.
        records: Of all images, highest score first.
        journal: Where their pictures wait.
        shown: Which have large pictures.
        options: How they were inspected.
        told: What else is said.
        drift: Whether images are still like those calibrated on.

    Raises:
        OSError: If it cannot be written.
    """
    report = _report(records, options, told, drift)
    write_text(output / "images.csv", records_csv(records))
    if options.pages:
        partial = output / f".partial-{gallery.NAME}"
        partial.unlink(missing_ok=True)
        gallery.write_gallery(partial, records, shown, report, journal, told.location, options.rule.shown_range)
        partial.replace(output / gallery.NAME)
    write_text(output / "report.json", report.text())


def _report(
    records: Sequence[ImageRecord], options: InspectionOptions, told: Told, drift: DriftReport
) -> InspectionReport:
    rule = options.rule
    decisions: Counter[str | None] = Counter(record.decision for record in records)
    decided = rule.decided_by != "nothing"
    names = ("abnormal", "uncertain", "normal", "unreadable")
    return InspectionReport(
        statement=rule.statement,
        calibrated=rule.calibration is not None,
        thresholds=ImageThresholds(rule.thresholds["image"], rule.mask_threshold),
        model=told.settings["model"],
        decisions=told.settings["decisions"],
        uncertainty=rule.uncertainty,
        pages=options.pages,
        pictures=options.pictures,
        device=told.device,
        images=len(records),
        flagged=sum(bool(record.flagged) for record in records) if decided else None,
        counts={name: decisions.get(name, 0) for name in (names if decided else names[-1:])},
        turned=sum(bool(record.turned) for record in records),
        skipped=dict(told.skipped),
        reading=told.settings["reading"],
        files=("images.csv", *([gallery.NAME] if options.pages else [])),
        drift=drift,
    )
