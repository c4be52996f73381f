"""Which series a DICOM file belongs to, and whether it is an image at all; read from a few tags."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from anomalib_zsad.volumes.input_files import FileSource
from anomalib_zsad.volumes.options import SizeBudget
from anomalib_zsad.volumes.reading.dicom_files import (
    BoundedHeader,
    check_items,
    is_bare,
    open_dicom,
    quiet_pydicom,
    refuse_header,
)
from anomalib_zsad.volumes.reading.header_scan import (
    COLUMNS,
    FIRST_BYTES,
    FRAME_OF_REFERENCE,
    MEDIA_STORAGE_SOP_CLASS,
    MODALITY,
    ROWS,
    SERIES,
    SOP_CLASS,
    SOP_INSTANCE,
    STUDY,
    scan_header,
)
from anomalib_zsad.volumes.reading.tag_values import code, uid

WITHOUT_PIXELS = "a DICOM object without pixels, not an image"
"""Why a file is left out whose header tells no size of an image; also one that was cut off says so."""

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
_DIRECTORY = "1.2.840.10008.1.3.10"
_UIDS = {
    SOP_CLASS: "SOPClassUID",
    SOP_INSTANCE: "SOPInstanceUID",
    STUDY: "StudyInstanceUID",
    SERIES: "SeriesInstanceUID",
    FRAME_OF_REFERENCE: "FrameOfReferenceUID",
}
_TAG_NAMES = [*_UIDS.values(), "Modality", "Rows", "Columns"]


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


def read_series_tag(file: FileSource, budget: SizeBudget | None = None) -> SeriesTag | None:
    """The series that a file belongs to; `None` if it is no DICOM file.

    Raises:
        SeriesRefusedError: If it is a DICOM file whose header cannot be read, or is larger than any true one.
    """
    head = file.head(FIRST_BYTES)
    if head[128:132] != b"DICM" and not is_bare(head):
        return None
    found = scan_header(file, head)
    return _series_tag(_parsed(file, budget) if found is None else found, file)


def _parsed(file: FileSource, budget: SizeBudget | None) -> Mapping[int, Any]:
    """What `scan_header` tells, of any header that pydicom can read."""
    with open_dicom(file, budget) as stream:
        check_items(stream, file)
        try:
            with quiet_pydicom():
                source: Any = BoundedHeader(stream)
                dataset = pydicom.dcmread(source, stop_before_pixels=True, force=True, specific_tags=_TAG_NAMES)
                meta = getattr(dataset, "file_meta", Dataset())
                return {
                    **{tag: uid(dataset, name) for tag, name in _UIDS.items()},
                    MEDIA_STORAGE_SOP_CLASS: uid(meta, "MediaStorageSOPClassUID"),
                    MODALITY: code(dataset.get("Modality")),
                    ROWS: dataset.get("Rows"),
                    COLUMNS: dataset.get("Columns"),
                }
        except MemoryError:
            raise
        # A parser of untrusted bytes fails in many ways; each of them means that this header cannot be read.
        except Exception as error:
            refuse_header(error, file)


def _series_tag(found: Mapping[int, Any], file: FileSource) -> SeriesTag:
    sop_class = found.get(SOP_CLASS) or found.get(MEDIA_STORAGE_SOP_CLASS)
    modality, series, rows, columns = (
        found.get(MODALITY, ""),
        found.get(SERIES, ""),
        found.get(ROWS),
        found.get(COLUMNS),
    )
    identity: dict[str, Any] = {
        "sop_instance_uid": found.get(SOP_INSTANCE, ""),
        "series_instance_uid": series,
        "study_instance_uid": found.get(STUDY, ""),
        "modality": modality,
    }
    if sop_class == _DIRECTORY:
        return SeriesTag((), **identity, skip_reason="a DICOMDIR; its files are found on their own", is_directory=True)
    reason = _NOT_IMAGES.get(modality, "")
    if sop_class in _SEGMENTATIONS:
        reason = _NOT_IMAGES["SEG"]
    elif sop_class == _PARAMETRIC_MAP:
        reason = "a parametric map (derived values), not an image to screen"
    elif not reason and not (rows and columns):
        reason = WITHOUT_PIXELS
    # Files without the UID of a series: those of a folder that look alike.
    alike = (file.folder, modality, found.get(FRAME_OF_REFERENCE, ""), f"{rows}x{columns}")
    return SeriesTag((series,) if series else alike, **identity, skip_reason=reason)
