"""Data sets of volumes with masks on disk: which files make up which case."""

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pydicom

from anomalib_zsad.outputs.quiet_pydicom import quiet_pydicom
from anomalib_zsad.volumes.faults import SeriesRefusedError
from anomalib_zsad.volumes.input_files import DiskFile
from anomalib_zsad.volumes.options import ReadingOptions
from anomalib_zsad.volumes.reading.discovery import Candidate, discover, pseudonym
from anomalib_zsad.volumes.reading.loading import plan_jobs

Layout = Literal["auto", "nnunet", "decathlon", "folder", "dicom"]

logger = logging.getLogger(__name__)

_IMAGE_SUFFIXES = (".nii.gz", ".nii", ".zip", ".mgz", ".mgh", ".nrrd", ".mha", ".hdr")


@dataclass(frozen=True)
class Case:
    """One volume of a data set.

    Attributes:
        name: Unique in the data set; becomes a folder name of slices.
        image: NIfTI file, folder or zip of one DICOM series.
        masks: Files of its mask (NIfTI, or DICOM SEG objects); empty if there is none.
        patient: Cases of one patient never fall on both sides of a split.
        volume_index: Which volume of a file with more than three axes.
        modality: CT or MR where the data set says so.
        series: Pseudonym of the volume, where the files hold several.
        files: The series' own files, where `image` holds others too.
    """

    name: str
    image: Path
    masks: tuple[Path, ...] = ()
    patient: str = ""
    volume_index: int | None = None
    modality: str = ""
    series: str | None = None
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class LayoutOptions:
    """Where images and masks are.

    Attributes:
        layout: `auto` takes the first that fits: nnU-Net, Decathlon, a folder with images, a DICOM tree.
        images: Pattern of images in the plain layout, relative to the root; what `*` stands for names the case.
        masks: Pattern of masks; the same text in place of its `*` makes the pair.
        channel: Which channel (nnU-Net's `_0000`, Decathlon's fourth axis) is read.
        patient: Regular expression whose first group, found in a case's name, is its patient; by default every case is
            a patient of its own.
    """

    layout: Layout = "auto"
    images: str = "images/*"
    masks: str = "masks/*"
    channel: int = 0
    patient: str | None = None


def find_cases(root: Path, options: LayoutOptions) -> list[Case]:
    """All cases of a data set, ordered by name.

    Raises:
        FileNotFoundError: If the root or the files that its layout needs are missing.
        ValueError: If no layout fits, or the patient's expression does not.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"the data set's root {root} is no folder")
    layout = recognise_layout(root, options) if options.layout == "auto" else options.layout
    finders = {"nnunet": _nnunet, "decathlon": _decathlon, "folder": _folder, "dicom": _dicom}
    cases = sorted(finders[layout](root, options), key=lambda case: case.name)
    if not cases:
        raise ValueError(f"{root} holds no images in the layout {layout!r}")
    return [_with_patient(case, options.patient) for case in cases]


def recognise_layout(root: Path, options: LayoutOptions) -> Layout:
    """The first layout that fits a data set.

    Raises:
        ValueError: If none does.
    """
    if not (root / "imagesTr").is_dir() and (root / "imagesTs").is_dir():
        return "nnunet"
    if (root / "imagesTr").is_dir():
        return "decathlon" if "training" in _dataset_json(root) else "nnunet"
    if any(_matches(root, options.images)):
        return "folder"
    if any(candidate.kind == "dicom" for candidate in discover(root).candidates):
        return "dicom"
    raise ValueError(
        f"no layout fits {root}: expected imagesTr/ with dataset.json, {options.images}, or DICOM series; give images "
        "and masks as patterns, such as '*_flair.nii.gz' and '*_lesions.nii.gz'"
    )


def _dataset_json(root: Path) -> dict[str, Any]:
    path = root / "dataset.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _modality(description: dict[str, Any], channel: int) -> str:
    """CT or MR, as dataset.json's `modality` (Decathlon) or `channel_names` (nnU-Net) says it."""
    names = description.get("channel_names") or description.get("modality") or {}
    name = str(names.get(str(channel), "")).upper()
    if name == "CT":
        return "CT"
    return "MR" if re.search(r"MR|FLAIR|T1|T2|ADC|DWI", name) else ""


def _nnunet(root: Path, options: LayoutOptions) -> Iterator[Case]:
    """imagesTr/CASE_0000.nii.gz with labelsTr/CASE.nii.gz; imagesTs and labelsTs where there is no imagesTr."""
    part = "Tr" if (root / "imagesTr").is_dir() else "Ts"
    description = _dataset_json(root)
    ending = str(description.get("file_ending", ".nii.gz"))
    suffix = f"_{options.channel:04d}{ending}"
    for image in (root / f"images{part}").glob(f"*{suffix}"):
        name = image.name[: -len(suffix)]
        mask = root / f"labels{part}" / f"{name}{ending}"
        masks = (mask,) if mask.is_file() else ()
        yield Case(name, image, masks, modality=_modality(description, options.channel))


def _decathlon(root: Path, options: LayoutOptions) -> Iterator[Case]:
    """The pairs that dataset.json lists under `training` (Medical Segmentation Decathlon)."""
    description = _dataset_json(root)
    several = len(description.get("modality", {})) > 1
    for pair in description["training"]:
        image, mask = (_inside(root, pair[part]) for part in ("image", "label"))
        index = options.channel if several else None
        yield Case(_stem(image), image, (mask,), volume_index=index, modality=_modality(description, options.channel))


def _inside(root: Path, name: str) -> Path:
    """A file that dataset.json names, which must exist below the root.

    Raises:
        FileNotFoundError: If it does not.
    """
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()) or not path.is_file():
        raise FileNotFoundError(f"dataset.json names {name!r}, which is no file below {root}")
    return path


def _folder(root: Path, options: LayoutOptions) -> Iterator[Case]:
    """Images and masks that match two patterns with the same text in place of `*`."""
    masks = dict(_matches(root, options.masks))
    for name, image in _matches(root, options.images):
        if image.is_dir() or image.name.lower().endswith(_IMAGE_SUFFIXES):
            mask = masks.get(name)
            yield Case(name, image, (mask,) if mask is not None else ())


def _matches(root: Path, pattern: str) -> Iterator[tuple[str, Path]]:
    """(what `*` stands for, without suffix; path) of what matches a pattern with one star."""
    folder, _, last = pattern.rpartition("/")
    if last.count("*") != 1:
        raise ValueError(f"the pattern {pattern!r} needs exactly one * in its last part: it names the case")
    start, end = last.split("*")
    for path in sorted((root / folder).glob(last)):
        name = path.name[len(start) : len(path.name) - len(end)]
        yield (_stem(Path(name)) if not end else name), path


def _stem(path: Path) -> str:
    """A file name without the ending of its format."""
    ending = next((suffix for suffix in _IMAGE_SUFFIXES if path.name.lower().endswith(suffix)), "")
    return path.name[: len(path.name) - len(ending)]


def _dicom(root: Path, _: LayoutOptions) -> Iterator[Case]:
    """Every DICOM series below the root; SEG objects below the root that refer to it are its masks."""
    segmentations = _segmentations(root)
    for candidate in discover(root).candidates:
        files = tuple(file.path for file in candidate.files if isinstance(file, DiskFile))
        if candidate.kind != "dicom" or len(files) < len(candidate.files):
            continue
        header = _identity(files[0])
        masks = tuple(segmentations.get(header["series"], ()))
        for key in _volumes(candidate):
            yield Case(key, root, masks, patient=header["patient"], series=key, files=files)


def _volumes(candidate: Candidate) -> list[str]:
    """Pseudonyms of the volumes of a series: several where it is split, none where it is refused or a localizer."""
    try:
        jobs, left_out = plan_jobs(candidate, ReadingOptions())
    except SeriesRefusedError as error:
        logger.warning("%s is left out: %s", candidate.key, error)
        return []
    for finding in left_out:
        logger.warning("%s: %s", candidate.key, finding.message)
    return [job.key for job in jobs]


def _identity(path: Path) -> dict[str, str]:
    """Series UID, and a pseudonym of the patient made from PatientID (or the study, where that is empty)."""
    with quiet_pydicom():
        tags = ["SeriesInstanceUID", "PatientID", "StudyInstanceUID"]
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags, force=True)
        patient = str(header.get("PatientID") or header.get("StudyInstanceUID") or path)
        return {"series": str(header.get("SeriesInstanceUID", "")), "patient": pseudonym("patient", patient)}


def _segmentations(root: Path) -> dict[str, list[Path]]:
    """SEG files below a folder, by the series UID they refer to."""
    found: dict[str, list[Path]] = {}
    names = {name for finding in discover(root).findings if "segmentation" in finding.message for name in finding.files}
    for name in sorted(names):
        if not (root / name).is_file():
            continue
        with quiet_pydicom():
            header = pydicom.dcmread(root / name, stop_before_pixels=True)
        for reference in header.get("ReferencedSeriesSequence") or ():
            found.setdefault(str(reference.get("SeriesInstanceUID", "")), []).append(root / name)
    return found


def _with_patient(case: Case, pattern: str | None) -> Case:
    """The case with its patient filled in.

    Raises:
        ValueError: If the expression is not found in the name.
    """
    if pattern is None:
        return case if case.patient else replace(case, patient=case.name)
    match = re.search(pattern, case.name)
    if match is None or not match.groups():
        raise ValueError(f"the patient expression {pattern!r} finds no group in the case name {case.name!r}")
    return replace(case, patient=match[1])
