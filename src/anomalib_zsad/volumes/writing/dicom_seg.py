"""DICOM SEG of what lies above the threshold, in the frame of reference of the source."""

from pathlib import Path
from typing import TYPE_CHECKING

from anomalib_zsad.calibration.decision_rule import CALIBRATED
from anomalib_zsad.outputs.quiet_pydicom import quiet_pydicom
from anomalib_zsad.volumes.map_file import MapFile
from anomalib_zsad.volumes.writing.derived_object import Algorithm, describe_series, settle_uids
from anomalib_zsad.volumes.writing.dicom_source import SourceImages

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription


def write_segmentation(
    path: Path, source: SourceImages, maps: MapFile, threshold: float, standing: str, algorithm: Algorithm
) -> None:
    """Write a BINARY segmentation with every source frame, empty ones included (PS3.3, A.51).

    Viewers leave out segmentations that lack frames, and some refuse FRACTIONAL ones. It carries the source's patient
    module, as it must to belong to the same study; nothing else that identifies.

    Args:
        path: A new file.
        source: The source images.
        maps: Anomaly map on the volume's grid.
        threshold: Voxels at or above it are in the segment.
        standing: What the threshold is worth: `CALIBRATED`, or else why it is not; a viewer shows it with the segment.
        algorithm: What made the map.
    """
    from highdicom.seg import Segmentation, SegmentationTypeValues
    from pydicom.uid import generate_uid

    name = "Anomaly" if standing == CALIBRATED else "Anomaly, uncalibrated"
    told = f"Map at or above {threshold:.4g}; {standing}"
    with quiet_pydicom():
        made = Segmentation(
            source_images=source.headers,
            pixel_array=source.masks(maps, threshold),
            segmentation_type=SegmentationTypeValues.BINARY,
            segment_descriptions=[_description(name, told, algorithm, generate_uid())],
            series_instance_uid=generate_uid(),
            series_number=900,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            content_label="ANOMALY",
            content_description=told,
            omit_empty_frames=False,
            plane_positions=source.positions,
            **algorithm.equipment(),
        )
        describe_series(made, source, name)
        settle_uids(made, source, algorithm, "segmentation")
        made.save_as(path)


def _description(name: str, told: str, algorithm: Algorithm, tracking_uid: str) -> "SegmentDescription":
    """One segment: a lesion among morphologically altered structures, found automatically."""
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from pydicom.sr.codedict import codes

    made = SegmentDescription(
        segment_number=1,
        segment_label=name,
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name=algorithm.name, family=codes.DCM.ArtificialIntelligence, version=algorithm.version
        ),
        tracking_uid=tracking_uid,
        tracking_id="anomaly-1",
    )
    made.SegmentDescription = told
    return made
