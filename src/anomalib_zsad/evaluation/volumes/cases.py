"""The cases of a set of volumes: under pseudonyms, with what cannot even be planned as failures."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from anomalib.data.utils import Split

from anomalib_zsad.screening.options import VolumeOptions
from anomalib_zsad.volumes.datasets.datamodule import VolumeDataModule
from anomalib_zsad.volumes.datasets.layouts import Case, recognise_layout
from anomalib_zsad.volumes.datasets.slice_cache import SliceOptions
from anomalib_zsad.volumes.faults import SeriesRefusedError
from anomalib_zsad.volumes.options import ReadingOptions
from anomalib_zsad.volumes.reading.discovery import NIFTI_SUFFIXES, discover, pseudonym
from anomalib_zsad.volumes.reading.loading import plan_jobs


@dataclass(frozen=True)
class Failure:
    """A case that could not be read or scored.

    Attributes:
        volume: Its pseudonym.
        reason: Why, without patient data.
        source: Its name in the data set, which may hold patient data: shown on request only.
    """

    volume: str
    reason: str
    source: str = ""


@dataclass(frozen=True)
class NamedCase:
    """A case under pseudonyms.

    Attributes:
        name: Pseudonym made from its content or UIDs, that which `anomalib-zsad info` lists it under.
        patient: Pseudonym of its patient.
        images: What screening knows a NIfTI file by; empty for DICOM, where the volume tells.
        masks: Hash of its masks' content.
        case: The case itself, whose own name may hold patient data.
    """

    name: str
    patient: str
    images: str
    masks: str
    case: Case


@dataclass(frozen=True)
class Inventory:
    """What a set holds.

    Attributes:
        cases: With masks: the cases that can be evaluated.
        unlabelled: How many test cases have no mask at all.
        failures: Series that cannot be read, found while looking for cases.
    """

    cases: tuple[NamedCase, ...]
    unlabelled: int
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class VolumeSource:
    """The test volumes of a `VolumeDataModule`.

    Attributes:
        make: Makes the datamodule; nothing is read before `inventory`.
    """

    make: Callable[[], VolumeDataModule]

    def inventory(self) -> Inventory:
        """Find the cases of the test split.

        Raises:
            FileNotFoundError: If the root or files that the layout names are missing.
            ValueError: If no layout fits, or the split leaves nothing to test on.
        """
        datamodule = self.make()
        cases = datamodule.split_cases()[Split.TEST]
        labelled = [case for case in cases if case.masks]
        return Inventory(tuple(_named(labelled)), len(cases) - len(labelled), tuple(_unplanned(datamodule)))

    def class_name(self) -> str | None:
        """What the slices show, if the datamodule says so."""
        return self.make().class_name

    def options(self, batch_size: int) -> tuple[SliceOptions, VolumeOptions]:
        """How volumes are read, and how they are screened: as the datamodule's arguments say."""
        slices = self.make().slices
        volumes = VolumeOptions(
            plane=slices.plane,
            channels=slices.channels,
            crop=slices.crop,
            window=slices.window,
            batch_size=batch_size,
            score_blank=not slices.skip_blank,
        )
        return slices, volumes


def _named(cases: Sequence[Case]) -> Iterable[NamedCase]:
    # In the DICOM layout names are pseudonyms already.
    known = [case.name if case.series is not None else _pseudonym_of(case) for case in cases]
    names = _unique(known)
    members: dict[str, list[str]] = {}
    for case, name in zip(cases, names, strict=True):
        members.setdefault(case.patient, []).append(name)
    for case, name, content in zip(cases, names, known, strict=True):
        # Not made from the patient's own name or number: those can be guessed, and the guess be confirmed.
        patient = pseudonym("patient", *sorted(members[case.patient]))
        images = content if case.image.name.lower().endswith(NIFTI_SUFFIXES) else ""
        yield NamedCase(name, patient, images, _content_hash(case.masks), case)


def _unique(names: Iterable[str]) -> list[str]:
    """The names, with a number behind those that were there before: identical volumes under two names."""
    seen: Counter[str] = Counter()
    unique = []
    for name in names:
        seen[name] += 1
        unique.append(name if seen[name] == 1 else f"{name}-copy{seen[name]}")
    return unique


def _pseudonym_of(case: Case) -> str:
    """As `discover` and `plan_jobs` name the volume; made from its name where they cannot read it."""
    try:
        candidates = discover(case.image).candidates
        if len(candidates) == 1:
            jobs, _ = plan_jobs(candidates[0], ReadingOptions())
            if len(jobs) == 1:
                return jobs[0].key
    except (SeriesRefusedError, OSError):
        pass  # reading it will fail too, and say why
    return pseudonym("series", case.name)


def _content_hash(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _unplanned(datamodule: VolumeDataModule) -> Iterable[Failure]:
    """DICOM series that `find_cases` leaves out because they are refused as a whole."""
    layout = datamodule.layout.layout
    if layout == "auto":
        layout = recognise_layout(datamodule.root, datamodule.layout)
    if layout != "dicom":
        return
    for candidate in discover(datamodule.root).candidates:
        if candidate.kind == "dicom":
            try:
                plan_jobs(candidate, ReadingOptions())
            except SeriesRefusedError as error:
                yield Failure(candidate.key, str(error), candidate.files[0].name)
