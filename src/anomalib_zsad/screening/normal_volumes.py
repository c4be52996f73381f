"""Normal volumes to calibrate on: where they are, and whose they are."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pydicom

from anomalib_zsad.data.patient_names import patient_expression, patient_in
from anomalib_zsad.outputs.quiet_pydicom import quiet_pydicom
from anomalib_zsad.volumes.datasets.layouts import Case, find_cases
from anomalib_zsad.volumes.datasets.masks import read_masks
from anomalib_zsad.volumes.datasets.slice_cache import SliceOptions, read_case
from anomalib_zsad.volumes.faults import Finding, Outcome
from anomalib_zsad.volumes.guard import guarded
from anomalib_zsad.volumes.input_files import DiskFile
from anomalib_zsad.volumes.options import ReadingOptions
from anomalib_zsad.volumes.reading.discovery import NIFTI_SUFFIXES, Candidate, content_hash, discover, pseudonym
from anomalib_zsad.volumes.reading.loading import Job, plan_jobs
from anomalib_zsad.volumes.volume import Volume

if TYPE_CHECKING:
    from anomalib_zsad.volumes.datasets.datamodule import VolumeDataModule

Told = Callable[[str, str], None]
"""Told of a series (its pseudonym, or "") that is left out, and why."""


@dataclass(frozen=True)
class NormalVolume:
    """A volume that is said to be normal.

    Attributes:
        name: Its pseudonym.
        patient: Whose it is; a hash that stays in memory.
        read: Decodes it.
        images: What screening knows its images by; `None` for a DICOM series of a datamodule, whose volume tells.
        shows_lesion: Whether its mask marks anything; `None` without a mask.
    """

    name: str
    patient: str
    read: Callable[[], Volume]
    images: str | None = None
    shows_lesion: Callable[[Volume], bool] | None = None


@dataclass
class Normals:
    """Volumes to calibrate on, and what was left out of them.

    Attributes:
        volumes: The volumes.
        left_out: Why how many series were left out.
        tell: Told of each that is left out.
    """

    tell: Told
    volumes: list[NormalVolume] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def leave_out(self, name: str, reason: str, message: str = "") -> None:
        """Leave out a series for a reason (a few words, which are counted), told at length by the message."""
        self.left_out[reason] += 1
        self.tell(name, message or reason)

    @property
    def patients(self) -> int:
        """Number of patients."""
        return len({volume.patient for volume in self.volumes})


def find_volumes(location: Path, reading: ReadingOptions, patient: str | None, tell: Told) -> Normals:
    """Volumes below a path, on the path that screening reads them.

    Args:
        location: A file, folder or zip archive.
        reading: How they are read.
        patient: Regular expression whose first group, in the name of a series' first file relative to the location, is
            the patient. By default DICOM's PatientID is, and every NIfTI file is a patient of its own.
        tell: Told of each that is left out.

    Raises:
        FileNotFoundError: If there is nothing at the location.
        ValueError: If the regular expression is none.
    """
    pattern = None if patient is None else patient_expression(patient)
    found = discover(location, reading.budget)
    normals = Normals(tell)
    for finding in map(reading.told, found.findings):
        if finding.outcome is Outcome.REFUSE:
            normals.leave_out("", finding.fault.code, finding.message)
    for candidate in found.candidates:
        _add_candidate(normals, candidate, reading, pattern)
    return normals


def _add_candidate(
    normals: Normals, candidate: Candidate, reading: ReadingOptions, pattern: re.Pattern[str] | None
) -> None:
    if candidate.kind != "dicom" and "-copy" in candidate.key:
        normals.leave_out(candidate.key, "the same file as another")
        return
    whose = _patient_of(candidate, pattern)
    if whose is None:
        message = (
            "nothing says whose it is (no PatientID, or the expression is not found in its name): give --patient with "
            "an expression that finds the patient in the names of files"
        )
        normals.leave_out(candidate.key, "no patient known", message)
        return
    planned = guarded(lambda: plan_jobs(candidate, reading))
    jobs, findings = ([], [planned]) if isinstance(planned, Finding) else planned
    for finding in map(reading.told, findings):
        normals.leave_out(candidate.key, finding.fault.code, finding.message)
    for job in jobs:
        normals.volumes.append(NormalVolume(job.key, whose, _reader(job, reading), job.images))


def _reader(job: Job, reading: ReadingOptions) -> Callable[[], Volume]:
    return lambda: job.read(reading)


def _patient_of(candidate: Candidate, pattern: re.Pattern[str] | None) -> str | None:
    """A hash of whose series it is; `None` if nothing says."""
    file = candidate.files[0]
    if pattern is not None:
        patient = patient_in(file.name, pattern)
        return None if patient is None else _hash(patient)
    if candidate.kind != "dicom":
        return candidate.key
    with file.open() as stream, quiet_pydicom():
        tags = ["PatientID", "IssuerOfPatientID"]
        header = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=tags, force=True)
        number = str(header.get("PatientID") or "").strip()
        return _hash(number, str(header.get("IssuerOfPatientID") or "")) if number else None


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def volumes_of_datamodule(datamodule: "VolumeDataModule", tell: Told) -> Normals:
    """All volumes of a datamodule, whatever their split; those whose masks mark a lesion are left out when read.

    Where some volumes have masks, those without are left out: nothing says that they are normal.

    Raises:
        FileNotFoundError: If the root or files that its layout names are missing.
        ValueError: If no layout fits.
    """
    cases = find_cases(datamodule.root, datamodule.layout)
    masked = any(case.masks for case in cases)
    normals = Normals(tell)
    for case in cases:
        if masked and not case.masks:
            normals.leave_out(pseudonym("case", case.name), "no mask, while others have one")
        else:
            normals.volumes.append(_normal_case(case, datamodule.slices))
    return normals


def _normal_case(case: Case, options: SliceOptions) -> NormalVolume:
    def shows_lesion(volume: Volume) -> bool:
        return bool(read_masks(case.masks, volume, options.mask_labels, options.nifti_affine).any())

    is_nifti = case.image.is_file() and case.image.name.lower().endswith(NIFTI_SUFFIXES)
    return NormalVolume(
        name=pseudonym("case", case.name),
        patient=_hash(case.patient),
        read=lambda: read_case(case, options),
        images=pseudonym("series", content_hash(DiskFile(case.image, case.name))) if is_nifti else None,
        shows_lesion=shows_lesion if case.masks else None,
    )
