"""The source images of a DICOM volume, as objects that are derived from them refer to them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from anomalib_zsad.volumes.map_file import MapFile
from anomalib_zsad.volumes.reading.dicom_files import read_dataset
from anomalib_zsad.volumes.reading.dicom_headers import Frame, frames_of
from anomalib_zsad.volumes.volume import FrameLocation, Volume

if TYPE_CHECKING:
    from highdicom import PlanePositionSequence

PATIENT_MODULE = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
STUDY_MODULE = ("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID")
# All objects of a study say the same of patient and study (PS3.3, A.1.2): an archive takes one with another date or
# accession number, or with none, for one to be corrected. Those above must be there, if only empty; these may be.
_OPTIONAL = ("IssuerOfPatientID", "StudyDescription")
IDENTITY = (*PATIENT_MODULE, *STUDY_MODULE, *_OPTIONAL)
_FRAME_OF_REFERENCE = "PositionReferenceIndicator"
_DATE = re.compile(r"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])$")
# What the standard allows in those of a fixed form (PS3.5, 6.2; PS3.3, C.7.1.1).
_VALID = {
    "PatientBirthDate": _DATE,
    "PatientSex": re.compile(r"[MFO]$"),
    "StudyDate": _DATE,
    "StudyTime": re.compile(r"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?$"),
}
_GEOMETRY = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "Modality",
    "ImageType",
    "InstanceNumber",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "NumberOfFrames",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "DimensionOrganizationSequence",
    "DimensionIndexSequence",
)


@dataclass(frozen=True)
class SourceImages:
    """Headers of a volume's source with geometry, UIDs, and what all objects of a study share of patient and study.

    Nothing else is there that could be copied.

    Attributes:
        headers: One multi-frame header, or one for each slice in the order of the volume's filled slots.
        slots: The filled slots along the volume's native axis, in the order of source frames.
        positions: Plane positions of the frames, where only some frames of a multi-frame source make up the volume.
        left_empty: Keywords of those attributes that hold no valid value in the source, and are empty here.
    """

    headers: list[Dataset]
    slots: list[int]
    positions: "list[PlanePositionSequence] | None"
    left_empty: tuple[str, ...]

    @classmethod
    def of(cls, volume: Volume) -> "SourceImages":
        """The source of a volume.

        Raises:
            ValueError: If objects cannot refer to it: UIDs or geometry are missing.
        """
        if not volume.segmentable:
            raise ValueError("no DICOM object can refer to this volume: UIDs or geometry are missing")
        filled = [(slot, location) for slot, location in enumerate(volume.locations) if location is not None]
        locations = [location for _, location in filled]
        left_empty: set[str] = set()
        headers, order = _sources(left_empty, locations, volume.spacing[2] if volume.spacing else 1.0)
        slots = [filled[place][0] for place in order]
        return cls(headers, slots, _positions(headers, locations, order), tuple(sorted(left_empty)))

    @property
    def uids(self) -> set[str]:
        """UIDs of the source's study, series, instances and frame of reference."""
        keywords = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
        return {str(header[keyword].value) for header in self.headers for keyword in keywords if keyword in header}

    @property
    def identities(self) -> tuple[str, ...]:
        """What tells this volume from others: its instances, and which frames or slices of them."""
        return (*(str(header.SOPInstanceUID) for header in self.headers), *map(str, self.slots))

    def header_of(self, slot: int) -> Dataset:
        """The header of the instance that a slice is from."""
        return self.headers[0] if len(self.headers) == 1 else self.headers[self.slots.index(slot)]

    def stacked(self, maps: MapFile) -> NDArray[np.float32]:
        """A map on the volume's grid in the order of source frames, shape (slices, rows, columns)."""
        stacked = np.zeros((len(self.slots), maps.shape[1], maps.shape[0]), np.float32)
        for place, plane in self._planes(maps):
            stacked[place] = plane
        return stacked

    def masks(self, maps: MapFile, threshold: float) -> NDArray[np.uint8]:
        """1 where a map on the volume's grid reaches the threshold, likewise, without the map in memory."""
        masks = np.zeros((len(self.slots), maps.shape[1], maps.shape[0]), np.uint8)
        for place, plane in self._planes(maps):
            np.greater_equal(plane, threshold, out=masks[place], casting="unsafe")
        return masks

    def _planes(self, maps: MapFile) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Planes of a map as (rows, columns), each with its place among the source frames; empty slots are left out."""
        place_of = {slot: place for place, slot in enumerate(self.slots)}
        for slot, plane in enumerate(maps.planes()):
            if slot in place_of:
                yield place_of[slot], plane.T


def reference_to(header: Dataset) -> Dataset:
    """An item that refers to an instance."""
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    return reference


def _sources(
    left_empty: set[str], locations: Sequence[FrameLocation], thickness: float
) -> tuple[list[Dataset], list[int]]:
    """Source headers, and which mask belongs to each source frame."""
    if locations[0].frame is not None:
        order = sorted(range(len(locations)), key=lambda place: locations[place].frame or 0)
        return [_header(left_empty, locations[0], thickness)], order
    return [_header(left_empty, location, thickness) for location in locations], list(range(len(locations)))


def _header(left_empty: set[str], location: FrameLocation, thickness: float) -> Dataset:
    """A source's header as `SourceImages` has it.

    What is not valid of patient and study becomes empty, which the standard allows, and goes into `left_empty`.
    """
    with location.file.open() as stream:
        dataset = read_dataset(stream, pixels=False)
    if dataset is None:
        raise ValueError("a source file is no longer a DICOM file")
    header = Dataset()
    header.file_meta = dataset.file_meta
    for keyword in _GEOMETRY:
        if keyword in dataset:
            header[keyword] = dataset[keyword]
    # Sources name character sets that do not exist, or none; what was decoded is written in UTF-8.
    identity = {keyword: _text(dataset, keyword) for keyword in (*IDENTITY, _FRAME_OF_REFERENCE)}
    if not "".join(identity.values()).isascii():
        header.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in identity.items():
        valid = not value or _VALID.get(keyword, re.compile("")).match(value)
        if value or keyword not in _OPTIONAL:
            setattr(header, keyword, value if valid else "")
        left_empty.update(() if valid else (keyword,))
    if location.frame is not None:
        _set_functional_groups(header, list(frames_of(dataset, 0)), location.frame, thickness)
    elif not header.get("SliceThickness"):
        header.SliceThickness = f"{thickness:.6g}"  # type 1C in the SEG's pixel measures
    return header


def _text(dataset: Dataset, keyword: str) -> str:
    """An attribute's text; values of one that has several, against the rules or not, with backslashes between them."""
    value = dataset.get(keyword)
    return "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value or "")


def _set_functional_groups(header: Dataset, frames: list[Frame], sample: int, thickness: float) -> None:
    """Functional groups with geometry alone, where the source may have them shared, per frame, or in part.

    Args:
        header: To be filled.
        frames: All frames of the source.
        sample: One frame of the volume, whose orientation and spacing are all its frames'.
        thickness: Distance between slices in mm, where the source has no thickness.
    """
    from highdicom import PixelMeasuresSequence, PlaneOrientationSequence, PlanePositionSequence

    one = frames[sample]
    if one.orientation is None or one.spacing is None:
        raise ValueError("a frame of the source has no orientation or spacing")
    shared = Dataset()
    shared.PixelMeasuresSequence = PixelMeasuresSequence(one.spacing, one.thickness or thickness)
    shared.PlaneOrientationSequence = PlaneOrientationSequence("PATIENT", one.orientation)
    header.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for frame in frames:
        group = Dataset()
        group.PlanePositionSequence = PlanePositionSequence("PATIENT", frame.position or (0.0, 0.0, 0.0))
        groups.append(group)
    header.PerFrameFunctionalGroupsSequence = groups


def _positions(sources: list[Dataset], locations: Sequence[FrameLocation], order: list[int]) -> list | None:
    """Plane positions of the frames, where only some frames of a multi-frame source make up the volume."""
    if locations[0].frame is None or len(locations) == int(sources[0].NumberOfFrames):
        return None
    from highdicom import PlanePositionSequence

    groups = sources[0].PerFrameFunctionalGroupsSequence
    frames = [groups[locations[place].frame or 0] for place in order]
    return [PlanePositionSequence("PATIENT", frame.PlanePositionSequence[0].ImagePositionPatient) for frame in frames]
