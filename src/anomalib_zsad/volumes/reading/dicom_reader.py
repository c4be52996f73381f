"""Read DICOM volumes: planned from headers, decoded slice by slice."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from anomalib_zsad.volumes.faults import Fault, Finding, warn
from anomalib_zsad.volumes.reading.dicom_headers import Frame
from anomalib_zsad.volumes.reading.dicom_pixels import decode, is_hounsfield
from anomalib_zsad.volumes.reading.sequence_facts import common_facts
from anomalib_zsad.volumes.reading.series_plan import VolumePlan
from anomalib_zsad.volumes.reading.voxel_arrays import has_two_values
from anomalib_zsad.volumes.volume import FrameLocation, SliceSource, Units, Volume


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
        sequence=common_facts([frame.sequence for frame in plan.frames]),
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
