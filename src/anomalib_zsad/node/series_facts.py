"""What rules can ask of a received series, read from the headers of its files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from anomalib_zsad.outputs.quiet_pydicom import quiet_pydicom
from anomalib_zsad.volumes.faults import Fault, Finding, refuse, skip
from anomalib_zsad.volumes.guard import guarded
from anomalib_zsad.volumes.input_files import DiskFile
from anomalib_zsad.volumes.reading.dicom_files import open_dicom, read_dataset
from anomalib_zsad.volumes.reading.series_tags import read_series_tag

_PLANES = ("sagittal", "coronal", "axial")  # by the axis that slices are stacked along: left, posterior, head


@dataclass(frozen=True)
class SeriesFacts:
    """What is known of a series before it is read. Texts may hold patient data: for matching alone.

    Attributes:
        modality: DICOM's code, such as CT.
        description: Series description; empty where there is none.
        body_part: Body part examined; empty where there is none.
        slices: Number of images, frames counted one by one.
        plane: Which anatomical plane the slices are nearest to: axial, coronal, sagittal; empty where not given.
    """

    modality: str
    description: str
    body_part: str
    slices: int
    plane: str


def series_facts(received: Path, files: Sequence[str]) -> SeriesFacts | Finding:
    """Facts of a series; a finding where no header of it can be read, or it holds no images.

    Args:
        received: The folder of received files.
        files: Files of the series, relative to it.
    """
    return guarded(lambda: _facts(received, files))


def _facts(received: Path, files: Sequence[str]) -> SeriesFacts | Finding:
    tag = read_series_tag(DiskFile(received / files[0], files[0]))
    if tag is not None and tag.skip_reason:
        return skip(Fault.NOT_AN_IMAGE, tag.skip_reason)
    header = _header(received / files[0])
    if header is None:
        refuse(Fault.OTHER_FILE, "a received file is no DICOM file")
    with quiet_pydicom():
        frames = int(header.get("NumberOfFrames") or 1)
        texts = [str(header.get(name) or "").strip() for name in ("Modality", "SeriesDescription", "BodyPartExamined")]
        # Files of a series that hold several frames hold as many, so one header tells.
        return SeriesFacts(texts[0], texts[1], texts[2], frames * len(files), _plane(header))


def _header(path: Path) -> Dataset | None:
    with open_dicom(DiskFile(path, path.name)) as stream:
        return read_dataset(stream, pixels=False)


def _plane(header: Dataset) -> str:
    orientation = header.get("ImageOrientationPatient") or _functional_orientation(header)
    try:
        cosines = np.asarray(orientation, np.float64).reshape(2, 3)
    except (TypeError, ValueError):
        return ""
    normal = np.abs(np.cross(cosines[0], cosines[1]))
    return _PLANES[int(normal.argmax())] if np.isfinite(normal).all() and normal.max() > 0 else ""


def _functional_orientation(header: Dataset) -> Any:
    """The orientation of an enhanced image: shared by all frames, or that of the first."""
    for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in list(header.get(name) or [])[:1]:
            for plane in group.get("PlaneOrientationSequence") or []:
                return plane.get("ImageOrientationPatient")
    return None
