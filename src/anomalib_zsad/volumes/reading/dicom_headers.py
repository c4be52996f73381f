"""DICOM headers as the few facts that reading needs: one `Frame` for each image plane.

Single-frame files and enhanced multi-frame files give the same `Frame`s, so that everything after this module treats
them alike. No text tag (names, descriptions, comments) is ever looked at.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from anomalib_zsad.volumes.faults import Fault, refuse
from anomalib_zsad.volumes.input_files import FileSource
from anomalib_zsad.volumes.reading.dicom_files import is_bare, quiet_pydicom, read_dataset

Triple = tuple[float, float, float]

_NOT_IMAGES = {
    "SEG": "a DICOM segmentation, not an image to screen",
    "RTSTRUCT": "a radiotherapy structure set, not an image",
    "RTPLAN": "a radiotherapy plan, not an image",
    "RTDOSE": "a radiotherapy dose grid, not an image to screen",
    "RTRECORD": "a radiotherapy record, not an image",
    "SR": "a structured report, not an image",
    "KO": "a key object selection, not an image",
    "PR": "a presentation state, not an image",
    "REG": "a registration, not an image",
    "FID": "a set of fiducials, not an image",
    "DOC": "an encapsulated document, not an image",
    "ECG": "a waveform, not an image",
    "HD": "a waveform, not an image",
    "AU": "a waveform, not an image",
    "RWV": "a real world value map, not an image",
    "ANN": "annotations, not an image",
}
_PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"
_SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_DIRECTORY = "1.2.840.10008.1.3.10"
_TAG_NAMES = [
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "Modality",
    "Rows",
    "Columns",
]
# (group, element) of vendors' private b-values: Siemens, GE, Philips, United Imaging.
_PRIVATE_B_VALUES = ((0x0019, 0x100C), (0x0043, 0x1039), (0x2001, 0x1003), (0x0065, 0x1009))


@dataclass(frozen=True)
class SeriesTag:
    """What decides which series a file belongs to.

    Attributes:
        group: Files with an equal group are one series.
        skip_reason: Why the file is no image; empty for images.
        is_directory: Whether it is a DICOMDIR.
    """

    group: tuple[str, ...]
    sop_instance_uid: str = ""
    series_instance_uid: str = ""
    study_instance_uid: str = ""
    modality: str = ""
    skip_reason: str = ""
    is_directory: bool = False


@dataclass(frozen=True)
class Frame:
    """One image plane of a series, from its header.

    Attributes:
        file: Index of its file within the series.
        index: Index of the frame within the file; `None` for single-frame files.
        position: ImagePositionPatient (LPS, mm), or `None`.
        orientation: ImageOrientationPatient, direction cosines of a row and of a column (LPS), or `None`.
        spacing: PixelSpacing (between rows, between columns) in mm, or `None`.
        padding: Smallest and largest stored value that means "no data", or `None`.
        slope, intercept: Modality rescale; NaN where the header says so.
        moments: What may tell frames at one position apart: (name, value) pairs, b-value first.
    """

    file: int
    index: int | None
    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str
    frame_of_reference_uid: str
    modality: str
    body_part: str
    rows: int
    columns: int
    position: Triple | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, float] | None
    thickness: float | None
    transfer_syntax: str
    photometric: str
    samples: int
    bits_stored: int
    signed: bool
    slope: float
    intercept: float
    has_lookup_table: bool
    rescale_type: str
    padding: tuple[int, int] | None
    instance_number: int | None
    image_type: tuple[str, ...]
    lossy: bool
    burned_in: bool
    moments: tuple[tuple[str, float], ...]


def read_series_tag(file: FileSource) -> SeriesTag | None:
    """The series that a file belongs to; `None` if it is no DICOM file.

    Raises:
        SeriesRefusedError: If it is a DICOM file whose header cannot be read.
    """
    head = file.head(1024)
    if head[128:132] != b"DICM" and not is_bare(head):
        return None
    if _DEFLATED in head:
        message = f"the deflated transfer syntax ({_DEFLATED.decode()}) is not read, as it may grow without bound"
        refuse(Fault.TRANSFER_SYNTAX, message, (), (file.name,))
    with file.open() as stream:
        dataset = _header_only(stream, file)
    with quiet_pydicom():
        return _series_tag(dataset, file)


def _header_only(stream: BinaryIO, file: FileSource) -> Dataset:
    try:
        with quiet_pydicom():
            return pydicom.dcmread(stream, stop_before_pixels=True, force=True, specific_tags=_TAG_NAMES)
    except (InvalidDicomError, EOFError, ValueError, KeyError, NotImplementedError, AttributeError, OSError) as error:
        refuse(Fault.TRUNCATED_PIXELS, f"a DICOM header is damaged ({type(error).__name__})", (), (file.name,))


def _series_tag(dataset: Dataset, file: FileSource) -> SeriesTag:
    meta = getattr(dataset, "file_meta", Dataset())
    sop_class = _uid(dataset, "SOPClassUID") or _uid(meta, "MediaStorageSOPClassUID")
    modality = _code(dataset, "Modality")
    series = _uid(dataset, "SeriesInstanceUID")
    identity: dict[str, Any] = {
        "sop_instance_uid": _uid(dataset, "SOPInstanceUID"),
        "series_instance_uid": series,
        "study_instance_uid": _uid(dataset, "StudyInstanceUID"),
        "modality": modality,
    }
    if sop_class == _DIRECTORY:
        return SeriesTag((), **identity, skip_reason="a DICOMDIR; its files are found on their own", is_directory=True)
    reason = _NOT_IMAGES.get(modality, "")
    if sop_class in _SEGMENTATIONS:
        reason = _NOT_IMAGES["SEG"]
    elif sop_class == _PARAMETRIC_MAP:
        reason = "a parametric map (derived values), not an image to screen"
    elif not reason and not (dataset.get("Rows") and dataset.get("Columns")):
        reason = "a DICOM object without pixels, not an image"
    if series:
        group: tuple[str, ...] = (series,)
    else:
        size = f"{dataset.get('Rows')}x{dataset.get('Columns')}"
        group = (file.folder, modality, _uid(dataset, "FrameOfReferenceUID"), size)
    return SeriesTag(group, **identity, skip_reason=reason)


def read_frames(files: tuple[FileSource, ...]) -> list[Frame]:
    """The planes of all files of a series, in the files' order.

    Raises:
        SeriesRefusedError: If a header cannot be read.
    """
    return [frame for number, file in enumerate(files) for frame in _read_file(file, number)]


def _read_file(file: FileSource, number: int) -> list[Frame]:
    try:
        with file.open() as stream:
            dataset = read_dataset(stream, pixels=False)
        if dataset is None:
            refuse(Fault.OTHER_FILE, "a file of the series is no DICOM file", (), (file.name,))
        with quiet_pydicom():
            return list(frames_of(dataset, number))
    except (EOFError, ValueError, TypeError, KeyError, AttributeError, IndexError, OSError) as error:
        refuse(Fault.TRUNCATED_PIXELS, f"a DICOM header is damaged ({type(error).__name__})", (), (file.name,))


def frames_of(dataset: Dataset, file: int) -> Iterator[Frame]:
    """The planes of one dataset; `file` is its index in the series."""
    count = int(dataset.get("NumberOfFrames") or 1)
    shared = _first(dataset, "SharedFunctionalGroupsSequence")
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    if not per_frame and count == 1:
        yield _frame(dataset, [dataset], file, None)
        return
    for index in range(count):
        groups = [per_frame[index]] if index < len(per_frame) else []
        yield _frame(dataset, [*groups, *([shared] if shared is not None else []), dataset], file, index)


def _frame(dataset: Dataset, groups: list[Dataset], file: int, index: int | None) -> Frame:
    """One plane. `groups` are searched in order: the frame's own functional groups, the shared ones, the dataset."""
    position = _numbers(_find(groups, "PlanePositionSequence", "ImagePositionPatient"), 3)
    orientation = _numbers(_find(groups, "PlaneOrientationSequence", "ImageOrientationPatient"), 6)
    spacing = _numbers(_find(groups, "PixelMeasuresSequence", "PixelSpacing"), 2)
    slope = _find(groups, "PixelValueTransformationSequence", "RescaleSlope")
    intercept = _find(groups, "PixelValueTransformationSequence", "RescaleIntercept")
    lossy = str(dataset.get("LossyImageCompression", "")) == "01"
    return Frame(
        file=file,
        index=index,
        sop_instance_uid=_uid(dataset, "SOPInstanceUID"),
        sop_class_uid=_uid(dataset, "SOPClassUID"),
        series_instance_uid=_uid(dataset, "SeriesInstanceUID"),
        study_instance_uid=_uid(dataset, "StudyInstanceUID"),
        frame_of_reference_uid=_uid(dataset, "FrameOfReferenceUID"),
        modality=_code(dataset, "Modality"),
        body_part=_code(dataset, "BodyPartExamined"),
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        position=(position[0], position[1], position[2]) if position else None,
        orientation=orientation,
        spacing=(spacing[0], spacing[1]) if spacing else None,
        thickness=_number(_find(groups, "PixelMeasuresSequence", "SliceThickness")),
        transfer_syntax=str(dataset.file_meta.TransferSyntaxUID),
        photometric=_code(dataset, "PhotometricInterpretation", r"[A-Z0-9_ ]{1,16}"),
        samples=int(dataset.get("SamplesPerPixel") or 1),
        bits_stored=int(dataset.get("BitsStored") or dataset.get("BitsAllocated") or 16),
        signed=bool(dataset.get("PixelRepresentation", 0)),
        slope=1.0 if slope is None else _float_or_nan(slope),
        intercept=0.0 if intercept is None else _float_or_nan(intercept),
        has_lookup_table=bool(dataset.get("ModalityLUTSequence")),
        rescale_type=_code(dataset, "RescaleType")
        or _code_of(_find(groups, "PixelValueTransformationSequence", "RescaleType")),
        padding=_padding(dataset),
        instance_number=_integer(dataset.get("InstanceNumber")),
        image_type=tuple(str(part) for part in (dataset.get("ImageType") or ())),
        lossy=lossy or _is_lossy_syntax(str(dataset.file_meta.TransferSyntaxUID)),
        burned_in=str(dataset.get("BurnedInAnnotation", "")) == "YES",
        moments=tuple(_moments(groups)),
    )


def _is_lossy_syntax(uid: str) -> bool:
    """Transfer syntaxes that are lossy by name (PS3.6, table A-1): baseline and extended JPEG, HEVC, MPEG."""
    return uid.startswith(("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.10"))


def _moments(groups: list[Dataset]) -> Iterator[tuple[str, float]]:
    """What may tell two frames at one position apart."""
    b_value = _number(_find(groups, "MRDiffusionSequence", "DiffusionBValue"))
    if b_value is None:
        b_value = _private_b_value(groups[-1])
    candidates = [
        ("b-value", b_value),
        ("time", _number(_find(groups, "FrameContentSequence", "TemporalPositionIndex"))),
        ("time", _number(_find(groups, "", "TemporalPositionIdentifier"))),
        ("echo", _number(_find(groups, "MREchoSequence", "EffectiveEchoTime"))),
        ("echo", _number(_find(groups, "", "EchoTime"))),
        ("acquisition", _number(_find(groups, "", "AcquisitionNumber"))),
        ("trigger", _number(_find(groups, "", "TriggerTime"))),
    ]
    yield from ((name, value) for name, value in candidates if value is not None)


def _private_b_value(dataset: Dataset) -> float | None:
    for tag in _PRIVATE_B_VALUES:
        if tag in dataset:
            value = dataset[tag].value
            if isinstance(value, bytes):
                value = value.decode("ascii", "ignore").split("\\")[0].strip()
            if isinstance(value, (list, tuple, pydicom.multival.MultiValue)):
                value = value[0] if len(value) else None
            number = _number(value)
            if number is not None:
                # Quirk of GE's (0043,1039): a billion is added to the b-value in some software versions.
                return number % 1e6 if number >= 1e9 else number
    return None


def _padding(dataset: Dataset) -> tuple[int, int] | None:
    value = _integer(dataset.get("PixelPaddingValue"))
    if value is None:
        return None
    limit = _integer(dataset.get("PixelPaddingRangeLimit"))
    limit = value if limit is None else limit
    return min(value, limit), max(value, limit)


def _find(groups: list[Dataset], sequence: str, keyword: str) -> Any:
    """The first value of `keyword` in `sequence` of any group, or in a group itself."""
    for group in groups:
        item = _first(group, sequence) if sequence else None
        value = item.get(keyword) if item is not None else group.get(keyword)
        if value is not None and value != "":
            return value
    return None


def _first(dataset: Dataset, keyword: str) -> Dataset | None:
    sequence = dataset.get(keyword)
    return sequence[0] if sequence else None


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    """`count` finite numbers, or `None`."""
    try:
        numbers = tuple(float(part) for part in value)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and all(math.isfinite(part) for part in numbers) else None


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _float_or_nan(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _integer(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _uid(dataset: Dataset, keyword: str) -> str:
    """A UID, or an empty string where it is missing or is no UID (PS3.5, 9.1): free text must not pass as one."""
    value = str(dataset.get(keyword) or "")
    return value if re.fullmatch(r"[0-9.]{1,64}", value) else ""


def _code(dataset: Dataset, keyword: str, pattern: str = r"[A-Z0-9_ ]{1,16}") -> str:
    return _code_of(dataset.get(keyword), pattern)


def _code_of(value: Any, pattern: str = r"[A-Z0-9_ ]{1,16}") -> str:
    text = str(value or "").strip()
    return text if re.fullmatch(pattern, text) else ""
