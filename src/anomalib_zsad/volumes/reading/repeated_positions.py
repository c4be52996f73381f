"""Frames that share positions: split into volumes by what their headers say, or refused."""

import math
from collections import Counter
from dataclasses import dataclass, field
from itertools import combinations

from anomalib_zsad.volumes.faults import Fault, Finding, refuse, warn
from anomalib_zsad.volumes.input_files import FileSource
from anomalib_zsad.volumes.reading.dicom_headers import Frame
from anomalib_zsad.volumes.reading.duplicates import same_image
from anomalib_zsad.volumes.reading.header_checks import uids

Value = float | str | tuple[float, ...]

# A split is a true one where its volumes cover at least this share of the positions on average.
_LEAST_COVERAGE = 0.5
_MOST_KEYS = 3
_SHORT = {"b-value": "b", "component": "", "type": ""}


@dataclass(frozen=True)
class Part:
    """Frames of one volume of a series.

    Attributes:
        frames: No two at one position.
        labels: What tells them apart from the other volumes of the series, by name, such as `b` and `time`.
        findings: What was done.
    """

    frames: list[Frame]
    labels: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def suffix(self) -> str:
        """Of the volume's name: empty where the series is one volume."""
        return "".join(
            f"-{'' if name in ('component', 'type') else name}{value}" for name, value in self.labels.items()
        )


def split_repeated(frames: list[Frame], files: tuple[FileSource, ...]) -> list[Part]:
    """Split frames that share positions by component, b-value, time, echo, acquisition and the like.

    One name is tried after the other, then two and three together; then the order in time at each position.

    Returns:
        The volumes, in order; one without labels where positions are unique.

    Raises:
        SeriesRefusedError: If nothing in the headers tells frames at one position apart.
    """
    if not _has_repeats(frames):
        return [Part(frames)]
    values = _telling(frames)
    for count in range(1, _MOST_KEYS + 1):
        for names in combinations(values, count):
            groups: dict[tuple[Value, ...], list[Frame]] = {}
            for number, frame in enumerate(frames):
                groups.setdefault(tuple(values[name][number] for name in names), []).append(frame)
            if _is_split(groups, frames):
                return _parts(names, groups)
    ordered = _by_order(frames)
    if ordered:
        return ordered
    unique = _unique_pixels(frames, files)
    if unique is None:
        message = (
            f"{len(frames)} images at {len(_places(frames))} positions, and no b-value, time, echo or acquisition "
            "number tells them apart: not one volume"
        )
        refuse(Fault.REPEATED_POSITIONS, message, uids(frames))
    message = f"{len(frames) - len(unique)} image(s) at an occupied position have equal pixels: left out"
    return [Part(unique, {}, [warn(Fault.DUPLICATE_INSTANCES, message)])]


def _telling(frames: list[Frame]) -> dict[str, list[Value]]:
    """Value of every frame by the names that all frames have, and that differ."""
    values: dict[str, list[Value]] = {}
    for name in dict.fromkeys(name for frame in frames for name, _ in frame.moments):
        column = [next((value for key, value in frame.moments if key == name), None) for frame in frames]
        if None not in column and len(set(column)) > 1:
            values[name] = [value for value in column if value is not None]
    return values


def _is_split(groups: dict[tuple[Value, ...], list[Frame]], frames: list[Frame]) -> bool:
    """Whether each group has positions of its own once, and the groups together are volumes, not single slices."""
    covered = len(frames) / (len(groups) * len(_places(frames)))
    return len(groups) > 1 and covered >= _LEAST_COVERAGE and not any(map(_has_repeats, groups.values()))


def _parts(names: tuple[str, ...], groups: dict[tuple[Value, ...], list[Frame]]) -> list[Part]:
    message = f"several frames at one position: split by {' and '.join(names)} into {len(groups)} volumes"
    note = [warn(Fault.REPEATED_POSITIONS, message)]
    ranks = {name: sorted({key[place] for key in groups}) for place, name in enumerate(names)}  # type: ignore[type-var]
    parts = []
    for key, group in sorted(groups.items(), key=lambda item: item[0]):
        labels = {
            _SHORT.get(name, "") or name: _label(value, ranks[name]) for name, value in zip(names, key, strict=True)
        }
        parts.append(Part(group, labels, note))
    return parts


def _label(value: Value, ranked: list[Value]) -> str:
    """A value as a part of a name: numbers as they are, words in small letters, directions counted from 1."""
    if isinstance(value, tuple):
        return str(1 + ranked.index(value))
    return value.lower().replace(" ", "_") if isinstance(value, str) else f"{value:g}"


def _by_order(frames: list[Frame]) -> list[Part] | None:
    """Volumes by the order in time at each position, where every position has as many frames, each with its time."""
    counts = Counter(map(_place, frames))
    count = max(counts.values())
    if min(counts.values()) < count:
        return None
    for clock in dict.fromkeys(name for frame in frames for name, _ in frame.order):
        queues: dict[tuple[float, ...], list[tuple[float, Frame]]] = {}
        for frame in frames:
            time = next((value for name, value in frame.order if name == clock), math.nan)
            queues.setdefault(_place(frame), []).append((time, frame))
        times = [[time for time, _ in queue] for queue in queues.values()]
        if any(len(set(column)) < count or any(map(math.isnan, column)) for column in times):
            continue
        name, _, keyword = clock.partition(" by ")
        message = f"several frames at one position: split by {name} (order of {keyword}) into {count} volumes"
        note = [warn(Fault.REPEATED_POSITIONS, message)]
        ordered = [sorted(queue, key=lambda pair: pair[0]) for queue in queues.values()]
        return [Part([queue[index][1] for queue in ordered], {name: str(index + 1)}, note) for index in range(count)]
    return None


def _place(frame: Frame) -> tuple[float, ...]:
    """A position, rounded to 10 micrometres."""
    return tuple(round(value, 2) for value in frame.position or ())


def _places(frames: list[Frame]) -> set[tuple[float, ...]]:
    return {_place(frame) for frame in frames}


def _has_repeats(frames: list[Frame]) -> bool:
    return len(_places(frames)) < len(frames)


def _unique_pixels(frames: list[Frame], files: tuple[FileSource, ...]) -> list[Frame] | None:
    """One frame for each position, if those at one position have equal pixels; otherwise `None`."""
    kept: dict[tuple[float, ...], Frame] = {}
    for frame in frames:
        if _place(frame) not in kept:
            kept[_place(frame)] = frame
        elif not same_image(kept[_place(frame)], frame, files):
            return None
    return list(kept.values())
