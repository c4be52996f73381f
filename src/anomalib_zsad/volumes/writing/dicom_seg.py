"""DICOM SEG of what lies above the threshold, in the frame of reference of the source."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydicom.dataset import Dataset

from anomalib_zsad.volumes.map_file import MapFile
from anomalib_zsad.volumes.reading.dicom_files import quiet_pydicom, read_dataset
from anomalib_zsad.volumes.reading.dicom_headers import Frame, frames_of
from anomalib_zsad.volumes.volume import FrameLocation, Volume

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription

PATIENT_MODULE = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
# What the standard allows in those of a fixed form (PS3.5, 6.2; PS3.3, C.7.1.1).
_VALID = {
    "PatientBirthDate": re.compile(r"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])$"),
    "PatientSex": re.compile(r"[MFO]$"),
}
# Type 2 attributes of the study: they must be there, and stay empty.
_EMPTY = (
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
    "PositionReferenceIndicator",
)
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


def write_segmentation(
    path: Path, volume: Volume, maps: MapFile, threshold: float, algorithm: str, version: str
) -> list[str]:
    """Write a BINARY segmentation with every source frame, empty ones included (PS3.3, A.51).

    It carries the source's patient module, as it must to belong to the same study; nothing else that identifies.

    Args:
        path: A new file.
        volume: A segmentable DICOM volume (its voxels are not touched).
        maps: Anomaly map on the volume's grid.
        threshold: Voxels at or above it are in the segment.
        algorithm: Name of the model.
        version: Version of this package.

    Returns:
        Keywords of patient attributes that hold no valid value in the source, and none in the SEG.

    Raises:
        ValueError: If the volume's source cannot be referred to.
    """
    from highdicom.seg import Segmentation, SegmentationTypeValues
    from pydicom.uid import generate_uid

    if not volume.segmentable:
        raise ValueError("no DICOM SEG can refer to this volume: UIDs or geometry are missing")
    slots = [slot for slot, location in enumerate(volume.locations) if location is not None]
    locations = [location for location in volume.locations if location is not None]
    masks = _masks(maps, threshold, slots)
    left_empty: set[str] = set()
    with quiet_pydicom():
        sources, order = _sources(left_empty, locations, volume.spacing[2] if volume.spacing else 1.0)
        segmentation = Segmentation(
            source_images=sources,
            pixel_array=masks[order],
            segmentation_type=SegmentationTypeValues.BINARY,
            segment_descriptions=[_description(algorithm, version, generate_uid())],
            series_instance_uid=generate_uid(),
            series_number=900,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer="anomalib-zsad",
            manufacturer_model_name=algorithm,
            software_versions=version,
            device_serial_number="0",
            content_label="ANOMALY",
            content_description="Anomaly map above threshold",
            omit_empty_frames=False,
            plane_positions=_positions(sources, locations, order),
        )
        segmentation.save_as(path)
    return sorted(left_empty)


def _masks(maps: MapFile, threshold: float, slots: list[int]) -> np.ndarray:
    """Masks in DICOM's order, uint8, shape (slices, rows, columns); empty slots are left out."""
    masks = np.zeros((len(slots), maps.shape[1], maps.shape[0]), np.uint8)
    wanted = {slot: place for place, slot in enumerate(slots)}
    for slot, plane in enumerate(maps.planes()):
        if slot in wanted:
            np.greater_equal(plane.T, threshold, out=masks[wanted[slot]], casting="unsafe")
    return masks


def _sources(
    left_empty: set[str], locations: Sequence[FrameLocation], thickness: float
) -> tuple[list[Dataset], list[int]]:
    """Source headers, and which mask belongs to each source frame."""
    if locations[0].frame is not None:
        order = sorted(range(len(locations)), key=lambda place: locations[place].frame or 0)
        return [_header(left_empty, locations[0], thickness)], order
    return [_header(left_empty, location, thickness) for location in locations], list(range(len(locations)))


def _header(left_empty: set[str], location: FrameLocation, thickness: float) -> Dataset:
    """A source's header with its geometry, UIDs and patient module, and nothing else that could be copied.

    Patient attributes that are not valid become empty, which the standard allows, and go into `left_empty`.
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
    for keyword in _EMPTY:
        setattr(header, keyword, "")
    # Sources name character sets that do not exist, or none; what was decoded is written in UTF-8.
    patient = {keyword: str(dataset.get(keyword) or "") for keyword in PATIENT_MODULE}
    if not "".join(patient.values()).isascii():
        header.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in patient.items():
        valid = not value or _VALID.get(keyword, re.compile("")).match(value)
        setattr(header, keyword, value if valid else "")
        left_empty.update(() if valid else (keyword,))
    if location.frame is not None:
        _set_functional_groups(header, list(frames_of(dataset, 0)), location.frame, thickness)
    elif not header.get("SliceThickness"):
        header.SliceThickness = f"{thickness:.6g}"  # type 1C in the SEG's pixel measures
    return header


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


def _description(algorithm: str, version: str, tracking_uid: str) -> "SegmentDescription":
    """One segment: a lesion among morphologically altered structures, found automatically."""
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from pydicom.sr.codedict import codes

    return SegmentDescription(
        segment_number=1,
        segment_label="Anomaly",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name=algorithm, family=codes.DCM.ArtificialIntelligence, version=version
        ),
        tracking_uid=tracking_uid,
        tracking_id="anomaly-1",
    )
