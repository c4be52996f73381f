"""DICOM secondary captures: pictures with everything burned in, which any viewer shows."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anomalib_zsad.outputs.quiet_pydicom import quiet_pydicom
from anomalib_zsad.volumes.writing.derived_object import MANUFACTURER, Algorithm, describe_series, settle_uids
from anomalib_zsad.volumes.writing.dicom_source import SourceImages, reference_to

# DICOM's letters for people that stand on two feet.
_TOWARDS = {"S": "H", "I": "F"}
_SIDES = ("right", "bottom")


def write_capture(
    path: Path,
    source: SourceImages,
    picture: NDArray[np.uint8],
    slots: tuple[int, ...],
    number: int,
    edges: dict[str, str] | None,
    algorithm: Algorithm,
) -> None:
    """Write one picture of a series of captures (PS3.3, A.8.1).

    Args:
        path: A new file.
        source: The source images.
        picture: RGB, (H, W, 3).
        slots: The slices of the source that it shows, along the native axis; none for all of them.
        number: Its place in the series, from 1.
        edges: Letters of what lies beyond the picture's edges (`SliceStack.edges`); `None` where unknown.
        algorithm: What made it.
    """
    from highdicom.sc import ConversionTypeValues, SCImage
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    shown = source.headers if not slots else [source.header_of(slot) for slot in slots]
    right, bottom = ("", "") if edges is None else (_TOWARDS.get(edges[side], edges[side]) for side in _SIDES)
    with quiet_pydicom():
        made = SCImage.from_ref_dataset(
            ref_dataset=shown[0],
            pixel_array=np.ascontiguousarray(picture),
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            series_instance_uid=generate_uid(),
            series_number=903,
            sop_instance_uid=generate_uid(),
            instance_number=number,
            manufacturer=MANUFACTURER,
            patient_orientation=(right, bottom),
            transfer_syntax_uid=ExplicitVRLittleEndian,
        )
        made.ConversionType = ConversionTypeValues.WSD.value
        made.ManufacturerModelName, made.SoftwareVersions = algorithm.name, algorithm.version
        made.BurnedInAnnotation = "NO"  # what is burned in tells nothing of the patient
        made.SourceImageSequence = [reference_to(header) for header in shown]
        made.Laterality = ""  # type 2C: there, and empty, where nobody says whether the body part is one of a pair
        describe_series(made, source, "Anomaly overlay")
        settle_uids(made, source, algorithm, "capture", number)
        made.save_as(path)
