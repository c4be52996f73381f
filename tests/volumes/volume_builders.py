"""Small DICOM series and NIfTI files, whole or with one fault, for the tests of volumes."""

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from anomalib_zsad.demo.phantom_dicom import slice_dataset
from anomalib_zsad.volumes.faults import Finding, SeriesRefusedError
from anomalib_zsad.volumes.geometry import LPS_TO_RAS
from anomalib_zsad.volumes.options import ReadingOptions
from anomalib_zsad.volumes.reading.discovery import discover
from anomalib_zsad.volumes.reading.loading import plan_jobs
from anomalib_zsad.volumes.volume import Volume

SHAPE = (12, 10, 6)
MARK = (9, 2, 4)  # off every middle, so that no flip maps it onto itself

Edit = Callable[[Dataset, int], "Dataset | None"]


def rotation(degrees: float, axis: int) -> np.ndarray:
    """Rotation matrix about one world axis."""
    turn, cosine, sine = np.eye(3), np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    first, second = [other for other in range(3) if other != axis]
    turn[first, first] = turn[second, second] = cosine
    turn[first, second], turn[second, first] = -sine, sine
    return turn


def make_affine(linear: np.ndarray, offset: tuple[float, float, float] = (31.0, -17.0, 8.0)) -> np.ndarray:
    """A RAS affine from its linear part."""
    affine = np.eye(4)
    affine[:3, :3] = linear
    affine[:3, 3] = offset
    return affine


def affines() -> dict[str, np.ndarray]:
    """The inputs that geometry tests go through. DICOM's usual axial order of axes (column, row, slice) is LPS."""
    size = np.diag([1.5, 1.25, 4.0])
    lps = np.diag([-1.0, -1.0, 1.0]) @ size
    oblique = rotation(23, 0) @ rotation(-14, 2) @ lps
    tilted = lps.copy()
    tilted[:, 2] += [0.0, -0.9, 0.0]
    sagittal = np.array([[0, 0, 4.0], [-1.5, 0, 0], [0, -1.25, 0]])
    return {
        "lps": make_affine(lps),
        "ras": make_affine(size),
        "las": make_affine(np.diag([-1.0, 1.0, 1.0]) @ size),
        "oblique": make_affine(oblique),
        "sagittal": make_affine(sagittal),
        "tilted": make_affine(tilted),
    }


def marked_voxels(shape: tuple[int, int, int] = SHAPE, mark: tuple[int, int, int] = MARK) -> np.ndarray:
    """Soft noise with one bright voxel, int16."""
    voxels = np.random.default_rng(0).integers(0, 60, shape).astype(np.int16)
    voxels[mark] = 900
    return voxels


def write_series(
    folder: Path,
    voxels: np.ndarray | None = None,
    affine: np.ndarray | None = None,
    *,
    edit: Edit | None = None,
    seed: str = "test",
    modality: str = "CT",
    prefix: str = "f",
) -> Path:
    """Write a series; `edit(dataset, index)` may change a slice in place, replace it, or drop it (return False)."""
    folder.mkdir(parents=True, exist_ok=True)
    voxels = marked_voxels() if voxels is None else voxels
    affine = affines()["lps"] if affine is None else affine
    for index in range(voxels.shape[2]):
        dataset = slice_dataset(voxels[:, :, index], LPS_TO_RAS @ affine, index, seed=seed, modality=modality)
        if edit is not None and edit(dataset, index) is False:
            continue
        dataset.save_as(folder / f"{prefix}{index:03d}.dcm", enforce_file_format=True)
    return folder


def write_enhanced(path: Path, affine: np.ndarray, *, order: list[int], slopes: list[float] | None = None) -> Path:
    """An enhanced CT with one plane position per frame, frames in any order."""
    voxels = marked_voxels()
    first = None
    frames = []
    for index in order:
        plane = slice_dataset(voxels[:, :, index], LPS_TO_RAS @ affine, index, seed="enhanced", modality="CT")
        first = first or plane
        groups = Dataset()
        for sequence, keywords in {
            "PlanePositionSequence": ["ImagePositionPatient"],
            "PlaneOrientationSequence": ["ImageOrientationPatient"],
            "PixelMeasuresSequence": ["PixelSpacing", "SliceThickness"],
        }.items():
            item = Dataset()
            for keyword in keywords:
                setattr(item, keyword, getattr(plane, keyword))
            setattr(groups, sequence, Sequence([item]))
        rescale = Dataset()
        rescale.RescaleSlope = slopes[index] if slopes else 1
        rescale.RescaleIntercept = 0
        rescale.RescaleType = "HU"
        groups.PixelValueTransformationSequence = Sequence([rescale])
        frames.append((groups, plane.PixelData))
    for keyword in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "SliceThickness",
        "RescaleSlope",
        "RescaleIntercept",
        "RescaleType",
    ):
        delattr(first, keyword)
    first.SOPClassUID = first.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    first.NumberOfFrames = len(frames)
    first.PerFrameFunctionalGroupsSequence = Sequence([groups for groups, _ in frames])
    first.PixelData = b"".join(pixels for _, pixels in frames)
    path.parent.mkdir(parents=True, exist_ok=True)
    first.save_as(path, enforce_file_format=True)
    return path


def edit_file(path: Path, change: Callable[[Dataset], None]) -> None:
    """Change one file in place."""
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)


def write_nifti(path: Path, voxels: np.ndarray, affine: np.ndarray | None, **header: object) -> Path:
    """Write a NIfTI file; `header` entries are set as they are."""
    image = nibabel.Nifti1Image(voxels, affine)
    for key, value in header.items():
        image.header[key] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)
    return path


def read_all(location: Path, **options: object) -> tuple[list[Volume], list[Finding]]:
    """Every volume below a location, and every finding (volumes' own warnings included)."""
    settings = ReadingOptions(**options)
    found = discover(location, settings.budget)
    volumes, findings = [], list(found.findings)
    for candidate in found.candidates:
        try:
            jobs, left_out = plan_jobs(candidate, settings)
            findings += left_out
            for job in jobs:
                volume = job.read(settings)
                volumes.append(volume)
                findings += volume.findings
        except SeriesRefusedError as error:  # noqa: PERF203
            findings.append(error.finding)
    return volumes, findings


def only(location: Path, **options: object) -> Volume:
    """The one volume of a location that has no other."""
    volumes, findings = read_all(location, **options)
    assert len(volumes) == 1, findings
    return volumes[0]


def outcomes(findings: list[Finding]) -> dict[int, str]:
    """Number of each fault met, and what followed."""
    return {finding.fault.number: finding.outcome.value for finding in findings}


def message(findings: list[Finding], number: int) -> str:
    """The message of one fault."""
    return next(finding.message for finding in findings if finding.fault.number == number)
