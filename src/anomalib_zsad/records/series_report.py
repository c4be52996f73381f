"""The machine-readable report of one screened series: report.json, and what its page shows."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from anomalib_zsad.calibration.decision_rule import DecidedBy
from anomalib_zsad.outputs.versions import versions
from anomalib_zsad.volumes.faults import Finding
from anomalib_zsad.volumes.windowing import Window


@dataclass(frozen=True)
class SeriesIdentity:
    """What a run knows a volume by.

    Attributes:
        series: Its pseudonym.
        study: The pseudonym of its study; `None` if unknown.
        images: Hash of its images, by which a resumed run knows them.
        source_kind: `dicom` or `nifti`.
    """

    series: str | None = None
    study: str | None = None
    images: str | None = None
    source_kind: str | None = None


@dataclass(frozen=True)
class GeometryReport:
    """Where a volume lies.

    Attributes:
        shape: Voxels along each axis.
        known: Whether anything is known of its place in the world.
        spacing_mm: Voxel edges in mm; `None` where unknown.
        affine_ras_mm: From voxels to the world (RAS, mm), 4 x 4; `None` where unknown.
        evenly_spaced: Whether one affine places all slices.
        slice_axis: Voxel axis across the acquired slices.
    """

    shape: list[int]
    known: bool
    spacing_mm: list[float] | None
    affine_ras_mm: list[list[float]] | None
    evenly_spaced: bool
    slice_axis: int


@dataclass(frozen=True)
class PlaneReport:
    """Which slices were screened: the plane that was asked for, the nearest anatomical one, their voxel axis."""

    asked: str
    nearest: str
    voxel_axis: int


@dataclass(frozen=True)
class Thresholds:
    """From which score on something was flagged.

    Attributes:
        slice: Of slice scores; `None` where nothing is decided, or where no score at all would be flagged
            (Benjamini-Hochberg, few normal units).
        mask: Of map pixels; where nothing is decided it is arbitrary, and for outlines alone.
        volume: Of the volume's score; `None` without a calibration.
    """

    slice: float | None
    mask: float
    volume: float | None


@dataclass(frozen=True)
class RegionTotals:
    """Connected regions of the lesion map, all together; each is in regions.csv.

    Attributes:
        count: How many.
        listed: How many of them regions.csv has.
        voxels, volume_mm3: Of all of them together.
        outside_body: How many lie mostly outside the patient's body, of those that are counted.
    """

    count: int
    listed: int
    voxels: int
    volume_mm3: float | None
    outside_body: int = 0


@dataclass(frozen=True)
class SeriesResult:
    """What screening says about one volume.

    Attributes:
        volume_score: Mean of the highest slice scores.
        volume_score_std: Mean of these slices' standard deviations; `None` if the model has none.
        volume_p_value: Conformal p-value; `None` without a calibration.
        volume_decision: About the volume; `None` without a calibration.
        volume_score_is: The definition of the score, in words.
        top_slices: Slices behind the score, best first.
        slices: Number of slices.
        flagged_slices, uncertain_slices: How many of them are so; `None` where nothing is decided.
        blank_slices: How many of them are so.
        regions: Regions of the lesion map.
        slots_without_slice: Places along the slice axis where no slice was acquired.
    """

    volume_score: float
    volume_score_std: float | None
    volume_p_value: float | None
    volume_decision: str | None
    volume_score_is: str
    top_slices: list[int]
    slices: int
    flagged_slices: int | None
    uncertain_slices: int | None
    blank_slices: int
    regions: RegionTotals
    slots_without_slice: list[int]


@dataclass(frozen=True)
class SeriesReport:
    """Everything that is needed to understand and repeat the screening of one series; no patient data.

    Attributes:
        statement: What every output says of the scores.
        calibrated: Whether a calibration was in use.
        decided_by: `calibration`, `threshold` (which the user chose), or `nothing`: then slices are ranked alone.
        calibration: Hash, units, rate, thresholds and statements of the calibration; `None` without one.
        identity: What the run knows the volume by.
        series_instance_uid, study_instance_uid: Of DICOM; `None` elsewhere.
        modality: DICOM's code; `None` where unknown.
        units: Of the voxels.
        geometry: Where the volume lies.
        plane: Which slices were screened.
        channels: How a slice was shown to the model.
        crop: Rows and columns that were shown, where it was cropped.
        window: Grey levels.
        thresholds: In use.
        uncertainty: Standard deviations within which a decision is uncertain.
        model: What the scorer says of itself.
        result: What was found.
        warnings: What is odd about the series.
        files: Names of the outputs.
        privacy: What the outputs hold of the patient.
        seconds: Time spent, by step.
        sequence: How the series was acquired (echo time, b-value and the like), by name with unit.
    """

    statement: str
    calibrated: bool
    decided_by: DecidedBy
    calibration: Mapping[str, Any] | None
    identity: SeriesIdentity
    series_instance_uid: str | None
    study_instance_uid: str | None
    modality: str | None
    units: str
    geometry: GeometryReport
    plane: PlaneReport
    channels: str
    crop: Mapping[str, list[int]] | None
    window: Window
    thresholds: Thresholds
    uncertainty: float
    model: Mapping[str, Any]
    result: SeriesResult
    warnings: tuple[Finding, ...]
    files: tuple[str, ...]
    privacy: str
    seconds: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=versions)
    sequence: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The report in JSON's types."""
        return {
            "format": 1,
            "statement": self.statement,
            "calibrated": self.calibrated,
            "decided_by": self.decided_by,
            "calibration": self.calibration,
            **asdict(self.identity),
            "series_instance_uid": self.series_instance_uid,
            "study_instance_uid": self.study_instance_uid,
            "modality": self.modality,
            "units": self.units,
            "sequence": dict(self.sequence),
            "geometry": asdict(self.geometry),
            "plane": asdict(self.plane),
            "channels": self.channels,
            "crop": self.crop,
            "window": self.window.as_dict(),
            "thresholds": asdict(self.thresholds),
            "uncertainty": self.uncertainty,
            "model": self.model,
            "result": asdict(self.result),
            "warnings": [finding.as_dict() for finding in self.warnings],
            "files": list(self.files),
            "privacy": self.privacy,
            "versions": self.versions,
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
        }

    def text(self) -> str:
        """The report as JSON text."""
        return json.dumps(self.as_dict(), indent=2, allow_nan=False) + "\n"
