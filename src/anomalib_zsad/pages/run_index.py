"""The page of a screening run: `index.html`, with a line for everything that was found."""

from dataclasses import dataclass
from pathlib import Path

from anomalib_zsad.outputs.atomic import write_text
from anomalib_zsad.pages import series_page
from anomalib_zsad.pages.document import render
from anomalib_zsad.records.run_summary import REFUSED, SKIPPED, RunEntry, RunSummary
from anomalib_zsad.scoring.demonstration import demonstration_notice

NAME = "index.html"


@dataclass(frozen=True)
class _Line:
    """An entry, its messages in full, and the way to its page, if it has one."""

    entry: RunEntry
    messages: list[str]
    page: str


def write_index(folder: Path, summary: RunSummary) -> None:
    """Write the page, whole.

    Args:
        folder: The run's, with a folder for each series.
        summary: What became of what was found.
    """
    settings, entries = summary.settings, summary.entries
    page = render(
        "index.html.j2",
        (),
        summary=summary,
        notice=demonstration_notice(settings["model"]),
        with_flagged=sum(bool(entry.flagged_slices) for entry in entries),
        model=settings["model"].get("model", ""),
        lines=[_line(folder, entry) for entry in sorted(entries, key=_order)],
        provenance={
            "Model": settings["model"],
            "Volumes": settings["volume"],
            "Reading": settings["reading"],
            "Decisions": settings["decisions"],
            "Versions": summary.versions,
        },
    )
    write_text(folder / NAME, page)


def _line(folder: Path, entry: RunEntry) -> _Line:
    page = f"{entry.series}/{series_page.NAME}"
    messages = list(dict.fromkeys(finding.message for finding in entry.findings))
    exists = bool(entry.series) and (folder / page).is_file()
    return _Line(entry, messages, page if exists else "")


def _order(entry: RunEntry) -> tuple[int, float]:
    """Screened series first, those with the highest scores on top; then what was refused; then what was skipped."""
    rank = {REFUSED: 1, SKIPPED: 2}.get(entry.status, 0)
    return rank, -(entry.volume_score or 0.0)
