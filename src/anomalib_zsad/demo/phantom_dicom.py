"""Write arrays as DICOM: a classic CT or MR series, one file for each slice. For phantoms and tests."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

from anomalib_zsad.volumes.geometry import LPS_TO_RAS, Floats


def write_dicom_series(
    folder: str | Path,
    voxels: NDArray[np.int16],
    affine: Floats,
    *,
    seed: str = "phantom",
    modality: str = "CT",
    patient: str = "PHANTOM",
) -> Path:
    """Write one series.

    Args:
        folder: Where the files go; made if missing.
        voxels: int16, shape (columns, rows, slices); CT values in HU.
        affine: Voxel to world (RAS, mm); columns of its linear part may be oblique, and slices tilted.
        seed: UIDs are derived from it, so that equal calls write equal files.
        modality: CT or MR.
        patient: The patient's ID.

    Returns:
        The folder.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for index in range(voxels.shape[2]):
        dataset = slice_dataset(voxels[:, :, index], LPS_TO_RAS @ affine, index, seed=seed, modality=modality)
        dataset.PatientID = patient
        dataset.save_as(target / f"slice_{index + 1:03d}.dcm", enforce_file_format=True)
    return target


def slice_dataset(plane: NDArray[np.int16], affine_lps: Floats, index: int, *, seed: str, modality: str) -> Dataset:
    """One slice as a complete CT or MR Image Storage instance.

    Args:
        plane: int16, shape (columns, rows).
        affine_lps: Voxel to world (LPS, mm) of the series.
        index: Which slice, from 0.
        seed: UIDs are derived from it.
        modality: CT or MR.
    """
    spacing = np.linalg.norm(affine_lps[:3, :3], axis=0)
    position = affine_lps[:3, 3] + index * affine_lps[:3, 2]
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
    dataset.SOPInstanceUID = _uid(seed, "instance", str(index))
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    _describe(dataset, seed, modality)
    dataset.InstanceNumber = index + 1
    dataset.ImagePositionPatient = [_decimal(value) for value in position]
    cosines = [*(affine_lps[:3, 0] / spacing[0]), *(affine_lps[:3, 1] / spacing[1])]
    dataset.ImageOrientationPatient = [_decimal(value) for value in cosines]
    dataset.PixelSpacing = [_decimal(spacing[1]), _decimal(spacing[0])]
    dataset.SliceThickness = _decimal(spacing[2])
    dataset.Rows, dataset.Columns = plane.shape[1], plane.shape[0]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.PixelData = np.ascontiguousarray(plane.T).astype("<i2").tobytes()
    return dataset


def _describe(dataset: Dataset, seed: str, modality: str) -> None:
    """Patient, study, series, frame of reference and equipment of a phantom."""
    values: dict[str, Any] = {
        "PatientName": "Phantom",
        "PatientID": "PHANTOM",
        "PatientBirthDate": "",
        "PatientSex": "",
        "StudyDate": "",
        "StudyTime": "",
        "StudyID": "",
        "AccessionNumber": "",
        "ReferringPhysicianName": "",
        "StudyInstanceUID": _uid(seed, "study"),
        "SeriesInstanceUID": _uid(seed, "series"),
        "FrameOfReferenceUID": _uid(seed, "frame of reference"),
        "PositionReferenceIndicator": "",
        "Modality": modality,
        "Manufacturer": "anomalib-zsad",
        "SeriesNumber": 1,
        "AcquisitionNumber": 1,
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    }
    if modality == "CT":
        values |= {
            "BodyPartExamined": "HEAD",
            "KVP": None,
            "RescaleIntercept": 0,
            "RescaleSlope": 1,
            "RescaleType": "HU",
        }
    else:
        values |= {
            "ScanningSequence": "SE",
            "SequenceVariant": "NONE",
            "ScanOptions": "",
            "MRAcquisitionType": "2D",
            "EchoTime": None,
            "RepetitionTime": None,
            "EchoTrainLength": None,
        }
    for keyword, value in values.items():
        setattr(dataset, keyword, value)


def _uid(*entropy: str) -> pydicom.uid.UID:
    return generate_uid(entropy_srcs=list(entropy))


def _decimal(value: float) -> str:
    """A number as DICOM's decimal string of at most 16 characters."""
    return str(pydicom.valuerep.DSfloat(float(value), auto_format=True))
