"""The machine-readable report of an inspection: report.json, and what its gallery shows."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from anomalib_zsad.outputs.versions import versions
from anomalib_zsad.records.drift_report import DriftReport


@dataclass(frozen=True)
class ImageThresholds:
    """Lowest flagged score of an image (`None` where nothing is decided), and lowest value of a marked map pixel."""

    image: float | None
    mask: float


@dataclass(frozen=True)
class InspectionReport:
    """An inspection as a whole.

    Attributes:
        statement: What every output says of the scores.
        calibrated: Whether a calibration was in use.
        thresholds: In use.
        model: What the scorer says of itself, without its device.
        decisions: What decides decisions, by name.
        uncertainty: Standard deviations within which a decision is uncertain.
        pages: Whether there is a gallery.
        pictures: How many images have pictures in it at most.
        device: What the model ran on.
        images: Number of images.
        flagged: How many of them are flagged; `None` where nothing is decided.
        counts: How many have which decision.
        turned: How many were turned as their EXIF orientation says.
        skipped: How many files of which kind were not looked at.
        reading: Which images were asked for, and how large they may be.
        files: Names of the outputs.
        drift: Whether images are still like those calibrated on.
    """

    statement: str
    calibrated: bool
    thresholds: ImageThresholds
    model: Mapping[str, Any]
    decisions: Mapping[str, Any]
    uncertainty: float
    pages: bool
    pictures: int
    device: str | None
    images: int
    flagged: int | None
    counts: Mapping[str, int]
    turned: int
    skipped: Mapping[str, int]
    reading: Mapping[str, Any]
    files: tuple[str, ...]
    drift: DriftReport = field(default_factory=lambda: DriftReport(tested=False, reason="it was not asked for"))
    versions: Mapping[str, str] = field(default_factory=versions)

    def text(self) -> str:
        """The content of report.json."""
        record = asdict(self)
        del record["uncertainty"]  # one of the decisions' settings
        record["drift"] = self.drift.as_dict()
        return json.dumps({"format": 1, **record}, indent=2, allow_nan=False) + "\n"
