"""Open whatever `discover` found as volumes, one at a time."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from anomalib_zsad.volumes.faults import Finding
from anomalib_zsad.volumes.input_files import FileSource
from anomalib_zsad.volumes.options import ReadingOptions
from anomalib_zsad.volumes.reading.dicom_reader import read_volume
from anomalib_zsad.volumes.reading.discovery import Candidate, candidate_of_file, content_hash, pseudonym
from anomalib_zsad.volumes.reading.nifti_reader import read_nifti, read_nifti_pair
from anomalib_zsad.volumes.reading.other_formats import read_other_format
from anomalib_zsad.volumes.reading.series_plan import VolumePlan, plan_series
from anomalib_zsad.volumes.reading.voxel_arrays import has_two_values
from anomalib_zsad.volumes.volume import Volume

MASK_REASON = "a mask (two values only), not an image to screen"


@dataclass(frozen=True)
class Job:
    """One volume to be read.

    Attributes:
        key: Pseudonym, unique in a run.
        candidate: The series it belongs to.
        plan: For DICOM, what the headers say.
    """

    key: str
    candidate: Candidate
    plan: VolumePlan | None = None

    @cached_property
    def images(self) -> str:
        """What a resumed run knows the images of the volume by: a hash of their content that tells nothing else."""
        if self.plan is None:
            return self.candidate.key  # made from the file's content
        return _hash_images((frame.identity, self.plan.files[frame.file]) for frame in self.plan.frames)

    def read(self, options: ReadingOptions) -> Volume:
        """Decode the volume.

        Raises:
            SeriesRefusedError: If it cannot be read truthfully.
        """
        if self.plan is not None:
            return read_volume(self.plan)
        files, kind = self.candidate.files, self.candidate.kind
        if kind not in ("nifti", "nifti-pair"):
            return read_other_format(kind, files[0], options)
        read = read_nifti if kind == "nifti" else read_nifti_pair
        return read(
            *files,
            modality="" if options.modality == "auto" else options.modality,
            affine_choice=options.nifti_affine,
            volume_index=options.volume_index,
            budget=options.budget,
        )


def plan_jobs(candidate: Candidate, options: ReadingOptions) -> tuple[list[Job], list[Finding]]:
    """The volumes of a candidate, and findings about what of it is left out.

    Raises:
        SeriesRefusedError: If the series as a whole cannot be read truthfully.
    """
    if candidate.kind != "dicom":
        return [Job(candidate.key, candidate)], []
    plan = plan_series(candidate, options)
    return [Job(volume.key, candidate, volume) for volume in plan.volumes], plan.findings


def read_file(path: Path, options: ReadingOptions | None = None) -> Volume | None:
    """The volume of a file that is no DICOM: NIfTI, or one of the other formats; `None` where it is none of these.

    Raises:
        SeriesRefusedError: If it cannot be read truthfully.
    """
    candidate = candidate_of_file(path)
    return None if candidate is None else Job(candidate.key, candidate).read(options or ReadingOptions())


def images_of(volume: Volume) -> str:
    """What screening knows the images of a DICOM volume by: `Job.images`."""
    known = (pair for pair in zip(volume.slices, volume.locations, strict=True) if None not in pair)
    return _hash_images(
        ((source.sop_instance_uid, location.frame, None if source.tile is None else source.tile - 1), location.file)
        for source, location in known
        if source is not None and location is not None
    )


def _hash_images(images: Iterable[tuple[tuple[str, int | None, int | None], FileSource]]) -> str:
    """A pseudonym of images, from their identities and the content of their files."""
    hashes: dict[str, str] = {}
    lines = []
    for identity, file in images:
        if file.name not in hashes:
            hashes[file.name] = content_hash(file)
        lines.append("/".join(map(str, (*identity, hashes[file.name]))))
    return pseudonym("images", *sorted(lines))


def is_mask(volume: Volume) -> bool:
    """Whether a volume of a file without a modality (all but DICOM) holds exactly two values, of whatever type."""
    return not volume.locations and has_two_values(volume.voxels)
