"""Drift over the images of an inspection, in the order in which they were taken, as names or times tell it."""

import re
from collections.abc import Callable, Iterable

from anomalib_zsad.inspection.drift_monitor import DriftMonitor
from anomalib_zsad.inspection.options import InspectionOptions
from anomalib_zsad.records.drift_report import DriftReport
from anomalib_zsad.records.image_records import ImageRecord


def drift_over(
    records: Iterable[ImageRecord], options: InspectionOptions, changed: Callable[[str], int | None]
) -> DriftReport:
    """Whether the images of an inspection drifted.

    Args:
        records: Of all images.
        options: How images are judged, in which order they are taken, and when drift is told.
        changed: From the name of an image to the time of its file's last modification, in nanoseconds.
    """
    monitor = DriftMonitor(options.rule, options.drift, options.drift_order)
    if options.drift_order == "time":
        ordered = sorted(records, key=lambda record: (changed(record.image) or 0, by_name(record.image)))
    else:
        ordered = sorted(records, key=lambda record: by_name(record.image))
    for record in ordered:
        monitor.add(record)
    return monitor.report()


def by_name(name: str) -> tuple[tuple[bool, int, str], ...]:
    """What names are sorted by: `part_9` before `part_10`."""
    parts = re.split(r"(\d+)", name)
    return tuple((part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts)
