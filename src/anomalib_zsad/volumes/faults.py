"""What can be wrong with an input, and what happens then: refused, skipped, or screened with a warning.

Every message is made of this package's own words, numbers and UIDs. File names travel beside the message
(`Finding.files`), because they may hold a patient's name; a caller shows them only where the user asked for names.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, NoReturn


class Outcome(str, Enum):
    """What happens to a series (or a file) that has a fault."""

    REFUSE = "refused"
    SKIP = "skipped"
    WARN = "warning"


class Fault(Enum):
    """The known faults: (number, code, outcomes that may follow, what it is)."""

    TRUNCATED_PIXELS = (1, "truncated-pixel-data", "R", "pixel data shorter than the header says, or not decodable")
    NO_GEOMETRY = (2, "no-position-or-orientation", "RW", "no image position or orientation")
    MISSING_UIDS = (3, "missing-uids", "W", "no SOP class UID or frame of reference UID")
    DUPLICATE_INSTANCES = (4, "duplicate-instances", "RW", "the same instance more than once")
    SEVERAL_SERIES = (5, "several-series", "W", "several series in one place")
    OTHER_ORIENTATION = (6, "other-orientation", "SW", "a localizer, or images of another orientation or size")
    GANTRY_TILT = (7, "gantry-tilt", "W", "slices shifted against their normal")
    UNEVEN_SPACING = (8, "uneven-spacing", "RW", "missing slices or uneven spacing")
    REPEATED_POSITIONS = (9, "repeated-positions", "RW", "several frames at one position")
    MULTI_FRAME = (10, "enhanced-multi-frame", "RW", "geometry per frame")
    MONOCHROME1 = (11, "monochrome1", "W", "low values are shown white")
    MIXED_SIGN = (12, "mixed-pixel-representation", "W", "signed and unsigned pixels in one series")
    RESCALE = (13, "rescale", "RW", "rescale slope that is zero or not a number")
    PADDING = (14, "pixel-padding", "W", "pixel padding value")
    COLOUR = (15, "colour-or-ultrasound", "RW", "colour, palette, ultrasound or secondary capture image")
    TRANSFER_SYNTAX = (16, "unsupported-transfer-syntax", "R", "a compression that no installed package reads")
    LOSSY = (17, "lossy-compression", "W", "pixels were compressed with loss")
    NOT_AN_IMAGE = (18, "not-an-image", "S", "segmentation, structure set, report, dose, waveform or key object")
    OTHER_FILE = (19, "other-file", "RS", "DICOMDIR, a file of another kind, or nothing at all")
    UNSAFE_PATH = (20, "unsafe-path", "RS", "an entry that leaves the input folder, or a device file")
    TOO_LARGE = (21, "too-large", "R", "more data than the size budget allows")
    DAMAGED_GZIP = (22, "damaged-file", "R", "truncated, or a checksum that does not fit")
    NOT_FINITE = (23, "not-finite", "RW", "voxels that are NaN or infinite")
    TOO_MANY_AXES = (24, "too-many-axes", "RW", "more than three axes")
    SHEARED_AFFINE = (25, "sheared-affine", "W", "axes that are not perpendicular")
    UNKNOWN_ORIENTATION = (26, "orientation-unknown", "W", "no usable qform, sform or voxel size")
    QFORM_AGAINST_SFORM = (27, "qform-against-sform", "RW", "two transforms that disagree")
    VOXEL_TYPE = (28, "voxel-type", "R", "colour or complex voxels")
    INSTANCE_NUMBERS = (29, "instance-numbers", "W", "instance numbers missing or repeated")
    BLANK_SLICES = (30, "blank-slices", "W", "constant slices")
    PREAMBLE = (31, "foreign-preamble", "W", "a DICOM preamble that is another format")
    CHARACTERS = (32, "odd-characters", "W", "character sets or path characters in tags")
    INTERRUPTED = (33, "interrupted", "RW", "disk full, interrupt or kill")
    WINDOW_GUESSED = (34, "window-guessed", "W", "the window was chosen without knowing modality or body part")
    BURNED_IN = (35, "burned-in-annotation", "W", "text may be part of the picture")
    FAILED = (36, "failed", "R", "an error that no other row names")
    NO_DICOM_OBJECT = (37, "no-dicom-object", "W", "a DICOM object that could not be made of the results")
    CALIBRATION = (38, "calibration", "RW", "a volume unlike those calibrated on, or one of them")

    TILED_SLICES = (39, "tiled-slices", "RW", "many slices in one image: Siemens mosaic, United Imaging grid")
    ABSURD_NUMBERS = (40, "absurd-numbers", "R", "sizes, positions or values beyond anything real")
    DERIVED = (41, "derived-image", "W", "a map, a phase image, or another image computed from others")
    CHANGED_INPUT = (42, "changed-input", "W", "other images or values than when it was screened before")
    TOO_COMPLEX = (43, "too-complex", "R", "a header of too many or too deeply nested sequences")
    NO_PIXELS = (44, "no-pixels", "R", "an image object without pixel data")
    OTHER_FORMAT = (45, "other-format", "R", "a volume of a format other than DICOM and single-file NIfTI")
    NOT_SELECTED = (46, "not-selected", "S", "a part of a series that was not asked for")
    OUT_OF_MEMORY = (47, "out-of-memory", "R", "not enough memory at that time")

    def __init__(self, number: int, code: str, outcomes: str, description: str) -> None:
        self.number = number
        self.code = code
        self.outcomes = frozenset({"R": Outcome.REFUSE, "S": Outcome.SKIP, "W": Outcome.WARN}[x] for x in outcomes)
        self.description = description

    @property
    def passes(self) -> bool:
        """Whether it says something of the machine and nothing of the data, so that another try may go well."""
        return self is Fault.OUT_OF_MEMORY


@dataclass(frozen=True)
class Finding:
    """One fault that was met.

    Attributes:
        fault: Which.
        outcome: What happened because of it; one of the fault's outcomes.
        message: What was wrong, with the value, and what to do. Holds no patient data and no file name.
        instances: SOP instance UIDs of the files concerned.
        files: Names of the files concerned, relative to the input. They may hold patient data.
    """

    fault: Fault
    outcome: Outcome
    message: str
    instances: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.outcome not in self.fault.outcomes:
            raise ValueError(f"{self.fault.name} cannot end in {self.outcome.value}")

    def as_dict(self, *, with_files: bool = False) -> dict[str, Any]:
        """The finding for a report; file names only where the user asked for them."""
        record: dict[str, Any] = {
            "fault": self.fault.number,
            "code": self.fault.code,
            "outcome": self.outcome.value,
            "message": self.message,
        }
        if self.instances:
            record["sop_instance_uids"] = list(self.instances)
        if with_files and self.files:
            record["files"] = list(self.files)
        return record

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "Finding":
        """A finding from a report.

        Raises:
            KeyError: If there is no such fault, or the record is no finding.
        """
        fault = {known.code: known for known in Fault}[record["code"]]
        instances, files = tuple(record.get("sop_instance_uids", ())), tuple(record.get("files", ()))
        return cls(fault, Outcome(record["outcome"]), record["message"], instances, files)


class SeriesRefusedError(Exception):
    """A series (or file) cannot be read truthfully. `finding` says why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding

    def about(self, *files: str) -> "SeriesRefusedError":
        """The same error, about the files of these names."""
        return SeriesRefusedError(replace(self.finding, files=files))


def warn(fault: Fault, message: str, instances: tuple[str, ...] = (), files: tuple[str, ...] = ()) -> Finding:
    """A finding with which the series goes on."""
    return Finding(fault, Outcome.WARN, message, instances, files)


def skip(fault: Fault, message: str, instances: tuple[str, ...] = (), files: tuple[str, ...] = ()) -> Finding:
    """A finding with which something is left out and listed."""
    return Finding(fault, Outcome.SKIP, message, instances, files)


def refuse(fault: Fault, message: str, instances: tuple[str, ...] = (), files: tuple[str, ...] = ()) -> NoReturn:
    """Refuse the series at hand.

    Raises:
        SeriesRefusedError: Always.
    """
    raise SeriesRefusedError(Finding(fault, Outcome.REFUSE, message, instances, files))
