"""From the headers of a DICOM series to volumes that can be read truthfully: grouping, splitting, refusing."""

import math
from dataclasses import dataclass, field

import numpy as np

from anomalib_zsad.volumes.faults import Fault, Finding, SeriesRefusedError, refuse, skip, warn
from anomalib_zsad.volumes.geometry import StackGeometry, affine_from_dicom, stack_geometry
from anomalib_zsad.volumes.input_files import FileSource
from anomalib_zsad.volumes.options import SizeBudget
from anomalib_zsad.volumes.reading.dicom_files import has_foreign_preamble
from anomalib_zsad.volumes.reading.dicom_headers import Frame, read_frames
from anomalib_zsad.volumes.reading.dicom_pixels import check_transfer_syntax, decode, is_hounsfield
from anomalib_zsad.volumes.reading.discovery import Candidate

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_OFFER_2D = "Use --mode 2d to score its images one by one, without millimetres."
# Sources of a dominant stack: it holds most images of the series, and at least twice as many as any other.
_DOMINANT_SHARE = 0.5


@dataclass
class VolumePlan:
    """One volume of a series, known from headers alone.

    Attributes:
        key: The series' pseudonym, with a suffix where a series was split (such as `-b400`).
        files: Files of the whole series; frames refer to them by index.
        frames: The planes, ordered along the normal (or in file order in 2D mode).
        geometry: How they are stacked; `None` in 2D mode.
        findings: Warnings met so far.
    """

    key: str
    files: tuple[FileSource, ...]
    frames: list[Frame]
    geometry: StackGeometry | None
    findings: list[Finding] = field(default_factory=list)

    @property
    def slots(self) -> int:
        """Number of slices of the grid, empty ones included."""
        return len(self.frames) if self.geometry is None else int(self.geometry.slots[-1]) + 1

    @property
    def affine(self) -> np.ndarray:
        """Voxel (column, row, slice) to world (RAS, mm), shape (4, 4); identity in 2D mode."""
        first = self.frames[0]
        if self.geometry is None or first.orientation is None or first.spacing is None:
            return np.eye(4)
        return affine_from_dicom(self.geometry.origin, first.orientation, first.spacing, self.geometry.step)


@dataclass
class SeriesPlan:
    """The volumes of one series, and what of it is left out."""

    volumes: list[VolumePlan]
    findings: list[Finding] = field(default_factory=list)


def plan_series(candidate: Candidate, *, mode_2d: bool = False, budget: SizeBudget | None = None) -> SeriesPlan:
    """Decide from headers which volumes a DICOM series holds.

    Args:
        candidate: The series.
        mode_2d: Take images that are no volume (no geometry, colour, ultrasound) one by one instead of refusing them.
        budget: Limits on what headers may claim.

    Raises:
        SeriesRefusedError: If the series as a whole cannot be read truthfully.
    """
    frames = read_frames(candidate.files)
    for syntax in sorted({frame.transfer_syntax for frame in frames}):
        check_transfer_syntax(syntax)
    _check_rescale(frames)
    budget = budget or SizeBudget()
    budget.check_volume(sum(frame.rows * frame.columns for frame in frames), "a DICOM series")
    notes = _notes(frames, candidate.files)
    try:
        _check_volume_like(frames, candidate.files)
    except SeriesRefusedError:
        if not mode_2d:
            raise
        return _plan_2d(candidate, frames, notes)
    frames, dropped = _without_duplicates(frames, candidate.files)
    main, findings = _main_stack(frames)
    if not main:
        return SeriesPlan([], findings)
    kept = [finding for finding in findings if finding.outcome.value == "warning"]
    plan = SeriesPlan([], [finding for finding in findings if finding not in kept])
    for suffix, group, split in _split_repeated(main, candidate.files):
        volume = _stack(candidate, suffix, group)
        volume.findings = [*notes, *dropped, *kept, *split, *volume.findings]
        budget.check_volume(volume.slots * group[0].rows * group[0].columns, "a DICOM series with its empty slots")
        plan.volumes.append(volume)
    return plan


def _check_rescale(frames: list[Frame]) -> None:
    for frame in frames:
        if frame.has_lookup_table:
            continue
        if frame.slope == 0 or not math.isfinite(frame.slope) or not math.isfinite(frame.intercept):
            message = f"rescale slope {frame.slope}, intercept {frame.intercept}: values would be meaningless"
            refuse(Fault.RESCALE, message, _uids([frame]))


def _notes(frames: list[Frame], files: tuple[FileSource, ...]) -> list[Finding]:
    """Warnings that hold for the series as a whole."""
    notes = []
    if any(not frame.sop_class_uid or not frame.frame_of_reference_uid for frame in frames):
        missing = "SOP class UID" if any(not frame.sop_class_uid for frame in frames) else "frame of reference UID"
        notes.append(warn(Fault.MISSING_UIDS, f"no {missing}: scored, but no DICOM SEG can refer to it"))
    if any(frame.photometric == "MONOCHROME1" for frame in frames):
        text = "Hounsfield units, kept as they are" if is_hounsfield(frames[0]) else "inverted, so that high is bright"
        notes.append(warn(Fault.MONOCHROME1, f"MONOCHROME1: values are {text}"))
    if len({frame.signed for frame in frames}) > 1:
        notes.append(warn(Fault.MIXED_SIGN, "signed and unsigned pixels in one series: rescaled file by file"))
    if any(frame.lossy for frame in frames):
        notes.append(warn(Fault.LOSSY, "the pixels were compressed with loss"))
    if any(frame.burned_in for frame in frames):
        notes.append(warn(Fault.BURNED_IN, "BurnedInAnnotation is YES: previews may show text about the patient"))
    numbers = [frame.instance_number for frame in frames if frame.index is None]
    if None in numbers or len(set(numbers)) < len(numbers):
        notes.append(warn(Fault.INSTANCE_NUMBERS, "instance numbers are missing or repeated: sorted by position"))
    if any(has_foreign_preamble(file) for file in files[:1]):
        notes.append(warn(Fault.PREAMBLE, "the file's preamble is not empty (it may be another format): not copied"))
    return notes


def _check_volume_like(frames: list[Frame], files: tuple[FileSource, ...]) -> None:
    """Refuse, as a volume, what has colour or no geometry.

    Raises:
        SeriesRefusedError: Offering the 2D mode.
    """
    names = tuple(file.name for file in files[:1])
    colour = [frame for frame in frames if not frame.photometric.startswith("MONOCHROME")]
    if colour or frames[0].modality == "US" or frames[0].sop_class_uid.startswith(_SECONDARY_CAPTURE):
        what = f"{colour[0].photometric} image" if colour else "ultrasound or secondary capture"
        message = f"{what}: not a volume, and text may be burned into the picture. {_OFFER_2D}"
        refuse(Fault.COLOUR, message, _uids(frames[:1]), names)
    placed = [frame for frame in frames if frame.position and frame.orientation and frame.spacing]
    if len(placed) < len(frames) or any(min(frame.spacing or (0,)) <= 0 for frame in frames):
        lacking = next((frame for frame in frames if frame not in placed), frames[0])
        fault = Fault.NO_GEOMETRY
        message = f"{len(frames) - len(placed)} of {len(frames)} images have no position, orientation or pixel spacing"
        refuse(fault, f"{message}: not a volume. {_OFFER_2D}", _uids([lacking]), (files[lacking.file].name,))
    if any(np.linalg.norm(np.cross(frame.orientation[:3], frame.orientation[3:])) < 0.5 for frame in placed):  # type: ignore[index]
        refuse(Fault.NO_GEOMETRY, f"the orientation's rows and columns are parallel: not a volume. {_OFFER_2D}")


def _uids(frames: list[Frame]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(frame.sop_instance_uid for frame in frames if frame.sop_instance_uid))


def _plan_2d(candidate: Candidate, frames: list[Frame], notes: list[Finding]) -> SeriesPlan:
    groups: dict[tuple[int, int], list[Frame]] = {}
    for frame in sorted(frames, key=lambda frame: (frame.instance_number or 0, frame.file, frame.index or 0)):
        groups.setdefault((frame.columns, frame.rows), []).append(frame)
    notes = [*notes, warn(Fault.NO_GEOMETRY, "2D mode: images scored one by one, without position or millimetres")]
    if any(not frame.photometric.startswith("MONOCHROME") for frame in frames):
        notes.append(warn(Fault.COLOUR, "colour is reduced to luminance; text may be burned into the picture"))
    elif frames[0].modality == "US" or frames[0].sop_class_uid.startswith(_SECONDARY_CAPTURE):
        notes.append(warn(Fault.COLOUR, "ultrasound or secondary capture: text may be burned into the picture"))
    plans = []
    for (columns, rows), group in groups.items():
        suffix = f"-{columns}x{rows}" if len(groups) > 1 else ""
        plans.append(VolumePlan(candidate.key + suffix, candidate.files, group, None, list(notes)))
    return SeriesPlan(plans)


def _without_duplicates(frames: list[Frame], files: tuple[FileSource, ...]) -> tuple[list[Frame], list[Finding]]:
    """Drop instances that occur twice with equal pixels.

    Raises:
        SeriesRefusedError: If two instances of one UID differ.
    """
    first: dict[tuple[str, int | None], Frame] = {}
    kept: list[Frame] = []
    dropped: list[Frame] = []
    for frame in frames:
        identity = (frame.sop_instance_uid, frame.index)
        if not frame.sop_instance_uid or identity not in first:
            first[identity] = frame
            kept.append(frame)
        elif _equal(first[identity], frame, files):
            dropped.append(frame)
        else:
            names = (files[first[identity].file].name, files[frame.file].name)
            message = f"two different files have one SOP instance UID, {frame.sop_instance_uid}"
            refuse(Fault.DUPLICATE_INSTANCES, message, _uids([frame]), names)
    if not dropped:
        return kept, []
    message = f"{len(dropped)} image(s) occur twice with equal pixels: the copies are left out"
    return kept, [warn(Fault.DUPLICATE_INSTANCES, message, _uids(dropped))]


def _equal(one: Frame, other: Frame, files: tuple[FileSource, ...]) -> bool:
    """Whether two frames have the same place and the same pixels."""
    if (one.position, one.orientation, one.spacing) != (other.position, other.orientation, other.spacing):
        return False
    first, second = (next(decode(files[frame.file], [frame])) for frame in (one, other))
    return np.array_equal(first, second, equal_nan=True)


def _main_stack(frames: list[Frame]) -> tuple[list[Frame], list[Finding]]:
    """The dominant stack of parallel, equally sized images, and findings about the rest.

    Returns:
        An empty list where there is none: a localizer.
    """
    groups: list[list[Frame]] = []
    for frame in frames:
        home = next((group for group in groups if _parallel(group[0], frame)), None)
        if home is None:
            groups.append([frame])
        else:
            home.append(frame)
    localizers = [group for group in groups if "LOCALIZER" in group[0].image_type]
    groups.sort(key=len, reverse=True)
    stacks = [group for group in groups if group not in localizers]
    sizes = " + ".join(str(len(group)) for group in groups)
    runner_up = len(stacks[1]) if len(stacks) > 1 else 0
    if not stacks or len(stacks[0]) <= _DOMINANT_SHARE * len(frames) or len(stacks[0]) < 2 * runner_up:
        kind = "a localizer" if not stacks else "a localizer or a mix of planes"
        message = f"{kind}: {len(groups)} orientations or sizes ({sizes} images) under one series, not a volume"
        return [], [skip(Fault.OTHER_ORIENTATION, message, _uids(frames))]
    if len(groups) == 1:
        return stacks[0], []
    rest = [frame for group in groups if group is not stacks[0] for frame in group]
    message = f"{len(rest)} image(s) of another orientation, size or frame of reference (such as a scout) are left out"
    return stacks[0], [skip(Fault.OTHER_ORIENTATION, message, _uids(rest)), warn(Fault.OTHER_ORIENTATION, message)]


def _parallel(one: Frame, other: Frame) -> bool:
    return (
        (one.rows, one.columns, one.frame_of_reference_uid) == (other.rows, other.columns, other.frame_of_reference_uid)
        and ("LOCALIZER" in one.image_type) == ("LOCALIZER" in other.image_type)
        and np.allclose(one.orientation or (), other.orientation or (), atol=1e-3)
        and np.allclose(one.spacing or (), other.spacing or (), rtol=1e-3)
    )


def _split_repeated(frames: list[Frame], files: tuple[FileSource, ...]) -> list[tuple[str, list[Frame], list[Finding]]]:
    """Split frames that share positions by b-value, time, echo or acquisition.

    Returns:
        (suffix, frames, findings) for each volume; one entry with an empty suffix where positions are unique.

    Raises:
        SeriesRefusedError: If nothing in the headers tells frames at one position apart.
    """
    if not _has_repeats(frames):
        return [("", frames, [])]
    for name in dict.fromkeys(name for frame in frames for name, _ in frame.moments):
        groups: dict[float, list[Frame]] = {}
        for frame in frames:
            value = next((value for key, value in frame.moments if key == name), math.nan)
            groups.setdefault(value, []).append(frame)
        if len(groups) < 2 or any(math.isnan(value) or _has_repeats(group) for value, group in groups.items()):
            continue
        message = f"several frames at one position: split by {name} into {len(groups)} volumes"
        note = [warn(Fault.REPEATED_POSITIONS, message)]
        short = {"b-value": "b"}.get(name, name)
        return [(f"-{short}{value:g}", group, note) for value, group in sorted(groups.items())]
    unique = _unique_pixels(frames, files)
    if unique is None:
        places = len({_place(frame) for frame in frames})
        message = (
            f"{len(frames)} images at {places} positions, and no b-value, time, echo or acquisition number tells them "
            "apart: not one volume"
        )
        refuse(Fault.REPEATED_POSITIONS, message, _uids(frames))
    message = f"{len(frames) - len(unique)} image(s) at an occupied position have equal pixels: left out"
    return [("", unique, [warn(Fault.DUPLICATE_INSTANCES, message)])]


def _place(frame: Frame) -> tuple[float, ...]:
    """A position, rounded to 10 micrometres."""
    return tuple(round(value, 2) for value in frame.position or ())


def _has_repeats(frames: list[Frame]) -> bool:
    return len({_place(frame) for frame in frames}) < len(frames)


def _unique_pixels(frames: list[Frame], files: tuple[FileSource, ...]) -> list[Frame] | None:
    """One frame for each position, if those at one position have equal pixels; otherwise `None`."""
    kept: dict[tuple[float, ...], Frame] = {}
    for frame in frames:
        if _place(frame) not in kept:
            kept[_place(frame)] = frame
        elif not _equal(kept[_place(frame)], frame, files):
            return None
    return list(kept.values())


def _stack(candidate: Candidate, suffix: str, frames: list[Frame]) -> VolumePlan:
    first = frames[0]
    positions = np.array([frame.position for frame in frames], np.float64)
    geometry = stack_geometry(positions, first.orientation or (), first.thickness)
    ordered = [frames[index] for index in geometry.order]
    findings = _stack_findings(geometry, ordered)
    return VolumePlan(candidate.key + suffix, candidate.files, ordered, geometry, findings)


def _stack_findings(geometry: StackGeometry, frames: list[Frame]) -> list[Finding]:
    findings = []
    if not geometry.regular:
        message = (
            "the slices are unevenly spaced: scored slice by slice at their true positions; "
            "NIfTI outputs are written in evenly spaced parts"
        )
        findings.append(warn(Fault.UNEVEN_SPACING, message))
    elif geometry.deviation > max(0.01, 0.01 * geometry.spacing):
        message = f"slice positions deviate from an even grid by up to {geometry.deviation:.3f} mm"
        findings.append(warn(Fault.UNEVEN_SPACING, message))
    empty = sorted(set(range(int(geometry.slots[-1]) + 1)) - set(geometry.slots.tolist()))
    if geometry.regular and empty:
        places = [_format_ras(geometry.origin + slot * geometry.step) for slot in empty[:20]]
        more = f" and {len(empty) - 20} more" if len(empty) > 20 else ""
        message = (
            f"{len(empty)} slice(s) missing at a spacing of {geometry.spacing:.3f} mm; first voxels of the gaps (RAS, "
            f"mm): {'; '.join(places)}{more}. Outputs are empty there"
        )
        findings.append(warn(Fault.UNEVEN_SPACING, message))
    in_plane = math.sin(math.radians(geometry.tilt_degrees)) * geometry.spacing * (len(frames) - 1)
    pixel = min(frames[0].spacing or (1.0,))
    if len(frames) > 1 and geometry.tilt_degrees > 0.05 and in_plane > 0.5 * pixel:
        message = (
            f"slices are tilted by {geometry.tilt_degrees:.2f} degrees against their normal; the sheared affine is kept"
        )
        findings.append(warn(Fault.GANTRY_TILT, message))
    if len(frames) == 1 and not frames[0].thickness:
        findings.append(warn(Fault.UNEVEN_SPACING, "a single slice without thickness: 1 mm is assumed"))
    return findings


def _format_ras(position: np.ndarray) -> str:
    return f"({-position[0]:.1f}, {-position[1]:.1f}, {position[2]:.1f})"
