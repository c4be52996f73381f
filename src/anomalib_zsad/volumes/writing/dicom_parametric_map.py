"""DICOM Parametric Map of the anomaly map, float32 with real-world values, in the frame of reference of the source."""

from pathlib import Path

from anomalib_zsad.outputs.quiet_pydicom import quiet_pydicom
from anomalib_zsad.volumes.map_file import MapFile
from anomalib_zsad.volumes.writing.codes import ANOMALY_SCORE
from anomalib_zsad.volumes.writing.derived_object import Algorithm, describe_series, settle_uids
from anomalib_zsad.volumes.writing.dicom_source import SourceImages


def write_parametric_map(path: Path, source: SourceImages, maps: MapFile, algorithm: Algorithm) -> None:
    """Write the map with every source frame (PS3.3, A.75); it is in memory once while that lasts.

    Args:
        path: A new file.
        source: The source images.
        maps: Anomaly map in [0, 1] on the volume's grid.
        algorithm: What made the map.
    """
    from highdicom import ContributingEquipment
    from highdicom.pm import ParametricMap, RealWorldValueMapping
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    mapping = RealWorldValueMapping(
        lut_label="ANOMALY",
        lut_explanation="Anomaly score, 0 normal to 1 abnormal; uncalibrated",
        unit=codes.UCUM.NoUnits,
        value_range=(0.0, 1.0),
        intercept=0.0,
        slope=1.0,
        quantity_definition=ANOMALY_SCORE.concept(),
    )
    equipment = ContributingEquipment(
        manufacturer=algorithm.equipment()["manufacturer"],
        purpose_of_reference=codes.DCM.ProcessingEquipment,
        manufacturer_model_name=algorithm.name,
        software_versions=algorithm.version,
        contribution_description="Anomaly map",
    )
    with quiet_pydicom():
        made = ParametricMap(
            source_images=source.headers,
            pixel_array=source.stacked(maps),
            series_instance_uid=generate_uid(),
            series_number=901,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[mapping],
            window_center=0.5,
            window_width=1.0,
            content_label="ANOMALY",
            content_description="Anomaly map",
            plane_positions=source.positions,
            contributing_equipment=[equipment],
            **algorithm.equipment(),
        )
        made.Laterality = ""  # type 2C: there, and empty, where nobody says whether the body part is one of a pair
        describe_series(made, source, "Anomaly map")
        settle_uids(made, source, algorithm, "parametric map")
        made.save_as(path)
