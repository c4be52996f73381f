"""Read DICOM volumes: planned from headers, decoded slice by slice; also as a MONAI `ImageReader`."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import ImageReader
from numpy.typing import NDArray

from anomalib_zsad.volumes.faults import Fault, Finding, refuse, warn
from anomalib_zsad.volumes.input_files import FileSource
from anomalib_zsad.volumes.options import ReadingOptions, SizeBudget
from anomalib_zsad.volumes.reading.dicom_headers import Frame
from anomalib_zsad.volumes.reading.dicom_pixels import decode, is_hounsfield
from anomalib_zsad.volumes.reading.discovery import Candidate, Discovery, discover
from anomalib_zsad.volumes.reading.series_plan import SeriesPlan, VolumePlan, plan_series
from anomalib_zsad.volumes.reading.voxel_arrays import has_two_values
from anomalib_zsad.volumes.volume import FrameLocation, SliceSource, Units, Volume, monai_data


def read_volume(plan: VolumePlan) -> Volume:
    """Decode a planned volume, one slice at a time.

    Args:
        plan: The volume, from `plan_series`.

    Raises:
        SeriesRefusedError: If pixels are truncated or damaged.
    """
    first = plan.frames[0]
    slots = range(len(plan.frames)) if plan.geometry is None else plan.geometry.slots.tolist()
    shape = (first.columns, first.rows, plan.slots)
    voxels = np.empty(shape, np.float32, order="F")
    if plan.slots > len(plan.frames):
        voxels[...] = np.nan
    by_file: dict[int, list[tuple[int, Frame]]] = {}
    for slot, frame in zip(slots, plan.frames, strict=True):
        by_file.setdefault(frame.file, []).append((slot, frame))
    for number, members in by_file.items():
        planes = decode(plan.files[number], [frame for _, frame in members])
        for (slot, _), plane in zip(members, planes, strict=True):
            voxels[:, :, slot] = plane.T
    sources: list[SliceSource | None] = [None] * plan.slots
    locations: list[FrameLocation | None] = [None] * plan.slots
    for slot, frame in zip(slots, plan.frames, strict=True):
        sources[slot] = _source(frame)
        locations[slot] = FrameLocation(plan.files[frame.file], frame.index)
    return Volume(
        voxels=voxels,
        affine=plan.affine,
        modality=first.modality,
        units=Units.HOUNSFIELD if is_hounsfield(first) else Units.ARBITRARY,
        native_axis=2,
        slices=tuple(sources),
        findings=[*plan.findings, *_notes_of_voxels(plan, voxels, slots)],
        geometry_known=plan.geometry is not None,
        regular=plan.geometry is None or plan.geometry.regular,
        has_spatial_stack=plan.geometry is not None,
        series_instance_uid=first.series_instance_uid,
        study_instance_uid=first.study_instance_uid,
        frame_of_reference_uid=first.frame_of_reference_uid,
        body_part=first.body_part,
        locations=tuple(locations),
        segmentable=_segmentable(plan),
    )


def _notes_of_voxels(plan: VolumePlan, voxels: NDArray[np.float32], slots: Iterable[int]) -> list[Finding]:
    """Warnings about what the decoded voxels hold."""
    notes = []
    if any(frame.padding is not None for frame in plan.frames):
        masked = sum(int(np.isnan(voxels[:, :, slot]).sum()) for slot in slots)
        if masked:
            notes.append(warn(Fault.PADDING, f"{masked:,} padding voxels are masked"))
    if plan.geometry is not None and has_two_values(voxels):
        notes.append(warn(Fault.DERIVED, "the images hold two values only: a mask, or a map, not a picture"))
    return notes


def _segmentable(plan: VolumePlan) -> bool:
    return plan.geometry is not None and all(
        frame.sop_class_uid and frame.sop_instance_uid and frame.frame_of_reference_uid and frame.tile is None
        for frame in plan.frames
    )


def _source(frame: Frame) -> SliceSource:
    position = None
    tile = None if frame.tile is None else frame.tile.number + 1
    if frame.position is not None:
        position = (-frame.position[0], -frame.position[1], frame.position[2])
    return SliceSource(frame.sop_instance_uid, None if frame.index is None else frame.index + 1, position, tile)


class DicomSeriesReader(ImageReader):
    """MONAI reader of one DICOM series with its true geometry.

    The input is a folder, a zip archive, one file, or a list of files of one series; files may come in any order. Give
    it to `LoadVolume` rather than to `monai.transforms.LoadImage`: the latter goes on to other readers, silently, where
    this one refuses.

    Args:
        series: Pseudonym of the series (or volume of a split series) to take where there are several.
        mode_2d: Read images that are no volume one by one, without geometry, instead of refusing them.
        budget: Limits on what headers may claim.
    """

    def __init__(self, series: str | None = None, *, mode_2d: bool = False, budget: SizeBudget | None = None) -> None:
        super().__init__()
        self.series = series
        self.options = ReadingOptions(mode="2d" if mode_2d else "volume", budget=budget or SizeBudget())

    def verify_suffix(self, filename: Sequence[Any] | Any) -> bool:
        """Whether the names may be DICOM's: folders, zips, and files that are not NIfTI."""
        names = [filename] if isinstance(filename, (str, Path)) else list(filename)
        return all(not str(name).lower().endswith((".nii", ".nii.gz")) for name in names)

    def read(self, data: Sequence[Any] | Any, **_: Any) -> Volume:
        """Read one volume.

        Raises:
            SeriesRefusedError: If it cannot be read truthfully, or if there are several and none was chosen.
        """
        found = _find(data, self.options.budget)
        volumes: dict[str, VolumePlan] = {}
        skipped = [*found.findings]
        for candidate in found.candidates:
            if candidate.kind != "dicom":
                continue
            plan: SeriesPlan = plan_series(candidate, self.options)
            skipped.extend(plan.findings)
            volumes.update({volume.key: volume for volume in plan.volumes})
        if self.series is not None:
            volumes = {key: value for key, value in volumes.items() if key == self.series}
        if not volumes:
            reasons = "; ".join(dict.fromkeys(finding.message for finding in skipped))
            refuse(Fault.OTHER_FILE, f"no DICOM volume here{f': {reasons}' if reasons else ''}")
        if len(volumes) > 1:
            refuse(Fault.OTHER_FILE, f"{len(volumes)} volumes here; choose one with series=: {', '.join(volumes)}")
        return read_volume(next(iter(volumes.values())))

    def get_data(self, img: Volume) -> tuple[np.ndarray, dict[str, Any]]:
        """Voxels of shape (X, Y, Z), float32, and MONAI's metadata (affine in RAS); no patient data."""
        return monai_data(img)


def _find(data: Sequence[Any] | Any, budget: SizeBudget) -> Discovery:
    if isinstance(data, (str, Path)):
        return discover(data, budget)
    merged = Discovery()
    groups: dict[str, list[FileSource]] = {}
    for path in data:
        found = discover(path, budget)
        merged.findings.extend(found.findings)
        for candidate in found.candidates:
            groups.setdefault(candidate.key, []).extend(candidate.files)
    merged.candidates = [Candidate(key, "dicom", tuple(files)) for key, files in groups.items()]
    return merged
