"""Copies of one instance: equal ones are dropped, damaged ones too; different ones are refused."""

import numpy as np

from anomalib_zsad.volumes.faults import Fault, Finding, SeriesRefusedError, refuse, warn
from anomalib_zsad.volumes.input_files import FileSource
from anomalib_zsad.volumes.reading.dicom_headers import Frame
from anomalib_zsad.volumes.reading.dicom_pixels import stored_pixels
from anomalib_zsad.volumes.reading.header_checks import uids


def without_duplicates(frames: list[Frame], files: tuple[FileSource, ...]) -> tuple[list[Frame], list[Finding]]:
    """Drop instances that occur twice with equal pixels, and copies that cannot be decoded where another one can.

    Raises:
        SeriesRefusedError: If two instances of one UID differ.
    """
    kept: dict[object, Frame] = {}
    equal: list[Frame] = []
    damaged: list[Frame] = []
    for number, frame in enumerate(frames):
        identity = frame.identity if frame.sop_instance_uid else number
        first = kept.setdefault(identity, frame)
        if first is frame:
            continue
        try:
            same = same_image(first, frame, files)
        except SeriesRefusedError:
            broken = undecodable([first, frame], files)
            kept[identity] = first if frame in broken else frame
            damaged += broken[-1:]
            continue
        if same:
            equal.append(frame)
        else:
            names = (files[first.file].name, files[frame.file].name)
            message = f"two different files have one SOP instance UID, {frame.sop_instance_uid}"
            refuse(Fault.DUPLICATE_INSTANCES, message, uids([frame]), names)
    findings = []
    if equal:
        message = f"{len(equal)} image(s) occur twice with equal pixels: the copies are left out"
        findings.append(warn(Fault.DUPLICATE_INSTANCES, message, uids(equal)))
    if damaged:
        message = f"{len(damaged)} copies of images cannot be decoded (damaged, or no decoder): they are left out"
        left = tuple(dict.fromkeys(files[frame.file].name for frame in damaged))
        findings.append(warn(Fault.DUPLICATE_INSTANCES, message, uids(damaged), left))
    return list(kept.values()), findings


def undecodable(frames: list[Frame], files: tuple[FileSource, ...]) -> list[Frame]:
    """Those frames whose pixels cannot be had."""
    broken = []
    for frame in frames:
        try:
            stored_pixels(files[frame.file], frame)
        except SeriesRefusedError:  # noqa: PERF203
            broken.append(frame)
    return broken


def same_image(one: Frame, other: Frame, files: tuple[FileSource, ...]) -> bool:
    """Whether two frames have the same place and the same stored pixels with the same meaning.

    Raises:
        SeriesRefusedError: If pixels cannot be decoded.
    """
    for name in ("position", "orientation", "spacing", "slope", "intercept", "has_lookup_table", "photometric"):
        if getattr(one, name) != getattr(other, name):
            return False
    first, second = (stored_pixels(files[frame.file], frame) for frame in (one, other))
    return np.array_equal(first, second)
