"""The pages of a screening run: `index.html`, with a line for everything found, and `compare.html`, for two series."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from anomalib_zsad.outputs.atomic import write_text
from anomalib_zsad.pages import series_page
from anomalib_zsad.pages.document import data_address, number, render
from anomalib_zsad.pages.encoding import Quality, jpeg
from anomalib_zsad.records.run_summary import REFUSED, SKIPPED, RunEntry, RunSummary
from anomalib_zsad.scoring.demonstration import demonstration_notice

NAME, COMPARE = "index.html", "compare.html"
_THUMBNAIL = Quality(144, 70)
_PICTURED = 1000
"""So many entries, those with the highest scores, may have a picture: a page of ten thousand would be 40 MB."""

_KEPT = 20_000


@dataclass(frozen=True)
class _Line:
    """An entry of the run, with what its folder says of it.

    Attributes:
        entry: The entry.
        messages: What was odd about it, in full.
        page: The way to its page, if it has one.
        picture: Its highest slice with the map, small, as `data:` address; empty without a preview.
        plane, matrix, voxel: In words; empty where unknown.
        sequence: How it was acquired, in words.
        comparable: Whether its study has another series with a page.
    """

    entry: RunEntry
    messages: list[str]
    page: str
    picture: str = ""
    plane: str = ""
    matrix: str = ""
    voxel: str = ""
    sequence: tuple[str, ...] = ()
    comparable: bool = False

    @property
    def label(self) -> str:
        """The series in a line of words."""
        parts = [self.entry.series, self.entry.modality, self.plane, self.matrix, *self.sequence]
        return " · ".join(part for part in parts if part)


def write_index(folder: Path, summary: RunSummary) -> None:
    """Write the pages, each whole.

    Args:
        folder: The run's, with a folder for each series.
        summary: What became of what was found.
    """
    settings, entries = summary.settings, summary.entries
    with_pages = Counter(entry.study for entry in entries if entry.study and _page(folder, entry))
    ordered = sorted(entries, key=_order)
    lines = [_line(folder, entry, with_pages, place < _PICTURED) for place, entry in enumerate(ordered)]
    page = render(
        "index.html.j2",
        ("run.js",),
        summary=summary,
        notice=demonstration_notice(settings["model"]),
        judged=summary.calibrated,
        with_flagged=sum(bool(entry.flagged_slices) for entry in entries),
        model=settings["model"].get("model", ""),
        lines=lines,
        unpictured=max(0, len(lines) - _PICTURED),
        provenance={
            "Model": settings["model"],
            "Volumes": settings["volume"],
            "Reading": settings["reading"],
            "Decisions": settings["decisions"],
            "Versions": summary.versions,
        },
    )
    write_text(folder / NAME, page)
    if any(line.comparable for line in lines):
        write_text(folder / COMPARE, _compare(lines))


def _compare(lines: Sequence[_Line]) -> str:
    """The page that shows two series."""
    series = [
        {"name": line.entry.series, "study": line.entry.study, "address": line.page, "label": line.label}
        for line in lines
        if line.page
    ]
    return render("compare.html.j2", ("compare.js",), frames=True, data=series)


def _page(folder: Path, entry: RunEntry) -> str:
    page = f"{entry.series}/{series_page.NAME}"
    return page if entry.series and (folder / page).is_file() else ""


def _line(folder: Path, entry: RunEntry, with_pages: Mapping[str, int], pictured: bool) -> _Line:
    messages = list(dict.fromkeys(finding.message for finding in entry.findings))
    page = _page(folder, entry)
    if not page:
        return _Line(entry, messages, page)
    report = folder / entry.series / "report.json"
    changed = report.stat().st_mtime_ns if report.is_file() else 0
    facts = _facts(folder / entry.series, changed)
    picture = _thumbnail(folder / entry.series, changed) if pictured else ""
    return _Line(entry, messages, page, picture, **facts, comparable=with_pages[entry.study] > 1)


@lru_cache(_KEPT)
def _facts(folder: Path, _changed: int) -> dict[str, Any]:
    """What the folder of a series says of it; read once, as the index is written again and again."""
    try:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        shape, spacing = report["geometry"]["shape"], report["geometry"]["spacing_mm"]
        return {
            "plane": report["plane"]["nearest"],
            "matrix": " \N{MULTIPLICATION SIGN} ".join(map(str, shape)),
            "voxel": "" if spacing is None else " \N{MULTIPLICATION SIGN} ".join(map(number, spacing)) + " mm",
            "sequence": tuple(_in_words(name, value) for name, value in report.get("sequence", {}).items()),
        }
    except (OSError, ValueError, KeyError, TypeError):  # a folder of an earlier version says less
        return {}


def _in_words(name: str, value: Any) -> str:
    """A fact of the acquisition: `TE 90 ms`, `b 1000 s/mm2`."""
    if isinstance(value, str):
        return value
    what, _, unit = name.rpartition(" ")
    return f"{what} {value:g} {unit}"


@lru_cache(2 * _PICTURED)
def _thumbnail(folder: Path, _changed: int) -> str:
    """The preview of the highest slice, small; empty where there is none that can be read."""
    preview = min(folder.glob("previews/rank*.png"), default=None)
    if preview is None:
        return ""
    try:
        with Image.open(preview) as picture:
            return data_address(jpeg(np.asarray(picture.convert("RGB")), _THUMBNAIL), "jpeg")
    except OSError:
        return ""


def _order(entry: RunEntry) -> tuple[int, float]:
    """Screened series first, those with the highest scores on top; then what was refused; then what was skipped."""
    rank = {REFUSED: 1, SKIPPED: 2}.get(entry.status, 0)
    return rank, -(entry.volume_score or 0.0)
