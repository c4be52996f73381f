"""From the headers of a DICOM series to volumes that can be read truthfully: grouping, splitting, refusing."""

import math
from dataclasses import dataclass, field

import numpy as np

from anomalib_zsad.volumes.faults import Fault, Finding, SeriesRefusedError, skip, warn
from anomalib_zsad.volumes.geometry import StackGeometry, affine_from_dicom, stack_geometry
from anomalib_zsad.volumes.input_files import FileSource
from anomalib_zsad.volumes.options import ReadingOptions, SizeBudget
from anomalib_zsad.volumes.reading.dicom_headers import Frame, read_frames
from anomalib_zsad.volumes.reading.dicom_pixels import check_transfer_syntax
from anomalib_zsad.volumes.reading.discovery import Candidate
from anomalib_zsad.volumes.reading.duplicates import without_duplicates
from anomalib_zsad.volumes.reading.header_checks import (
    check_places,
    check_rescale,
    check_volume_like,
    is_screenshot,
    note_kinds,
    notes_of,
    uids,
)
from anomalib_zsad.volumes.reading.repeated_positions import split_repeated
from anomalib_zsad.volumes.reading.selection import choose_parts

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


def plan_series(candidate: Candidate, options: ReadingOptions | None = None) -> SeriesPlan:
    """Decide from headers which volumes a DICOM series holds.

    Args:
        candidate: The series.
        options: How to read; its mode `2d` takes images that are no volume (no geometry, colour, ultrasound) one by
            one instead of refusing them.

    Raises:
        SeriesRefusedError: If the series as a whole cannot be read truthfully.
    """
    options = options or ReadingOptions()
    budget = options.budget
    frames, damaged = read_frames(candidate.files, budget)
    check_rescale(frames)
    check_places(frames, candidate.files)
    frames, dropped = without_duplicates(frames, candidate.files)
    for syntax in sorted({frame.transfer_syntax for frame in frames}):
        check_transfer_syntax(syntax)
    notes = [*notes_of(frames, candidate.files), *damaged]
    try:
        check_volume_like(frames, candidate.files)
    except SeriesRefusedError:
        if options.mode != "2d":
            raise
        return _plan_2d(candidate, frames, [*notes, *dropped], budget)
    main, findings = _main_stack(frames)
    if not main:
        return SeriesPlan([], findings)
    kept = [finding for finding in findings if finding.outcome.value == "warning"]
    left_out = [finding for finding in findings if finding not in kept]
    parts = split_repeated(main, candidate.files)
    chosen = choose_parts(parts, options)
    if len(chosen) < len(parts):
        gone = [part.suffix.removeprefix("-") for part in parts if part not in chosen]
        message = f"{len(gone)} of {len(parts)} volumes of the series were not asked for: {_listed(gone)}"
        left_out.append(skip(Fault.NOT_SELECTED, message))
    plan = SeriesPlan([], left_out)
    for part in chosen:
        volume = _stack(candidate, part.suffix, part.frames)
        volume.findings = [*notes, *dropped, *kept, *note_kinds(part.frames), *part.findings, *volume.findings]
        first = part.frames[0]
        budget.check_volume(volume.slots * first.rows * first.columns, "a DICOM volume with its empty slots")
        plan.volumes.append(volume)
    return plan


def _listed(names: list[str], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(name or 'the whole' for name in names[:most])}{more}"


def _plan_2d(candidate: Candidate, frames: list[Frame], notes: list[Finding], budget: SizeBudget) -> SeriesPlan:
    groups: dict[tuple[int, int], list[Frame]] = {}
    for frame in sorted(frames, key=lambda frame: (frame.instance_number or 0, frame.file, frame.index or 0)):
        groups.setdefault((frame.columns, frame.rows), []).append(frame)
    notes = [*notes, warn(Fault.NO_GEOMETRY, "2D mode: images scored one by one, without position or millimetres")]
    if any(not frame.photometric.startswith("MONOCHROME") for frame in frames):
        notes.append(warn(Fault.COLOUR, "colour is reduced to luminance; text may be burned into the picture"))
    elif is_screenshot(frames[0]):
        notes.append(warn(Fault.COLOUR, "ultrasound or secondary capture: text may be burned into the picture"))
    plans = []
    for (columns, rows), group in groups.items():
        budget.check_volume(len(group) * columns * rows, "a DICOM series")
        suffix = f"-{columns}x{rows}" if len(groups) > 1 else ""
        plans.append(VolumePlan(candidate.key + suffix, candidate.files, group, None, list(notes)))
    return SeriesPlan(plans)


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
        return [], [skip(Fault.OTHER_ORIENTATION, message, uids(frames))]
    if len(groups) == 1:
        return stacks[0], []
    rest = [frame for group in groups if group is not stacks[0] for frame in group]
    message = f"{len(rest)} image(s) of another orientation, size or frame of reference (such as a scout) are left out"
    return stacks[0], [skip(Fault.OTHER_ORIENTATION, message, uids(rest)), warn(Fault.OTHER_ORIENTATION, message)]


def _parallel(one: Frame, other: Frame) -> bool:
    return (
        (one.rows, one.columns, one.frame_of_reference_uid) == (other.rows, other.columns, other.frame_of_reference_uid)
        and ("LOCALIZER" in one.image_type) == ("LOCALIZER" in other.image_type)
        and np.allclose(one.orientation or (), other.orientation or (), atol=1e-3)
        and np.allclose(one.spacing or (), other.spacing or (), rtol=1e-3)
    )


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
