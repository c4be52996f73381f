"""The dry run: what lies below an input path, where it lies in space, and what screening would say about it."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from nibabel.orientations import aff2axcodes

from anomalib_zsad.outputs.object_store import Place
from anomalib_zsad.volumes.faults import Fault, Finding, Outcome, skip
from anomalib_zsad.volumes.geometry import Floats, voxel_sizes
from anomalib_zsad.volumes.guard import guarded
from anomalib_zsad.volumes.options import ReadingOptions
from anomalib_zsad.volumes.reading.discovery import Candidate, discover
from anomalib_zsad.volumes.reading.loading import MASK_REASON, Job, is_mask, plan_jobs
from anomalib_zsad.volumes.reading.series_plan import VolumePlan
from anomalib_zsad.volumes.reading.store_files import at_hand


@dataclass
class InventoryItem:
    """One volume, or something that would be refused or skipped.

    Attributes:
        series: Pseudonym, as `--series` takes it; empty for files that belong to no series.
        status: `ready`, `ready with warnings`, `refused` or `skipped`.
        shape: Voxels along each axis.
        spacing: Voxel edges in mm; `None` where unknown, or where slices are unevenly spaced.
        orientation: Where the axes point, such as LPS; empty where unknown.
        source: Name of the first file (may hold patient data).
    """

    series: str
    status: str
    kind: str = ""
    study: str = ""
    modality: str = ""
    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] | None = None
    orientation: str = ""
    findings: list[Finding] = field(default_factory=list)
    source: str = ""

    @property
    def reasons(self) -> str:
        """All messages, in one line."""
        return "; ".join(finding.message for finding in self.findings)

    def as_dict(self, *, with_files: bool) -> dict[str, Any]:
        """For JSON."""
        record: dict[str, Any] = {
            "series": self.series,
            "status": self.status,
            "kind": self.kind,
            "study": self.study,
            "modality": self.modality,
            "shape": list(self.shape),
            "spacing_mm": None if self.spacing is None else [round(size, 6) for size in self.spacing],
            "orientation": self.orientation,
            "findings": [finding.as_dict(with_files=with_files) for finding in self.findings],
        }
        return {**record, "source": self.source} if with_files else record


def take_inventory(location: Place, options: ReadingOptions, *, check: bool = False) -> Iterator[InventoryItem]:
    """Look at everything below a location, one volume in memory at a time.

    Args:
        location: A file, folder or zip archive, or a place in an object store.
        options: How volumes would be read.
        check: Decode DICOM pixels too, which finds truncated and damaged files. NIfTI files are always read whole.

    Raises:
        FileNotFoundError: If there is nothing at `location`.
    """
    found = discover(location, options.budget)
    for finding in found.findings:
        yield _left_out(options.told(finding))
    for candidate in found.candidates:
        for item in _look_at(candidate, options, check=check):
            item.findings = [options.told(finding) for finding in item.findings]
            yield item


def _look_at(candidate: Candidate, options: ReadingOptions, *, check: bool) -> Iterator[InventoryItem]:
    with ExitStack() as stack:
        here = guarded(lambda: stack.enter_context(at_hand(candidate)))
        if isinstance(here, Finding):
            yield _left_out(here, candidate)
        else:
            yield from _look_at_series(here, options, check=check)


def _look_at_series(candidate: Candidate, options: ReadingOptions, *, check: bool) -> Iterator[InventoryItem]:
    planned = guarded(lambda: plan_jobs(candidate, options))
    if isinstance(planned, Finding):
        yield _left_out(planned, candidate)
        return
    jobs, left_out = planned
    for finding in left_out:
        yield _left_out(finding, candidate)
    for job in jobs:
        yield _look_at_volume(job, options, check=check)


def _look_at_volume(job: Job, options: ReadingOptions, *, check: bool) -> InventoryItem:
    plan = job.plan
    looked = guarded(lambda: _decoded(job, options) if check or plan is None else _planned(job, plan))
    return _left_out(looked, job.candidate, job.key) if isinstance(looked, Finding) else looked


def _planned(job: Job, plan: VolumePlan) -> InventoryItem:
    """A DICOM volume from its headers."""
    first = plan.frames[0]
    item = _item(job, list(plan.findings))
    item.modality = first.modality
    item.shape = (first.columns, first.rows, plan.slots)
    if plan.geometry is not None:
        item.spacing = tuple(float(size) for size in voxel_sizes(plan.affine)) if plan.geometry.regular else None
        item.orientation = _axes(plan.affine)
    return item


def _decoded(job: Job, options: ReadingOptions) -> InventoryItem:
    """A volume with its pixels read."""
    volume = job.read(options)
    if is_mask(volume):
        return _left_out(skip(Fault.NOT_AN_IMAGE, MASK_REASON), job.candidate, job.key)
    item = _item(job, list(volume.findings))
    item.modality, item.shape = volume.modality, volume.shape
    item.spacing = volume.spacing if volume.regular else None
    item.orientation = _axes(volume.affine) if volume.geometry_known else ""
    return item


def _axes(affine: Floats) -> str:
    """Where the axes point, such as LPS."""
    return "".join(code or "?" for code in aff2axcodes(affine))


def _item(job: Job, findings: list[Finding]) -> InventoryItem:
    status = "ready with warnings" if findings else "ready"
    candidate = job.candidate
    source = candidate.files[0].name
    return InventoryItem(job.key, status, candidate.kind, candidate.study, findings=findings, source=source)


def _left_out(finding: Finding, candidate: Candidate | None = None, key: str = "") -> InventoryItem:
    status = "refused" if finding.outcome is Outcome.REFUSE else "skipped"
    source = finding.files[0] if finding.files else ""
    if candidate is None:
        return InventoryItem("", status, findings=[finding], source=source)
    item = InventoryItem(key or candidate.key, status, candidate.kind, candidate.study, candidate.modality)
    item.findings, item.source = [finding], source or candidate.files[0].name
    return item
