"""The page of a screening run: `index.html`, with a line for everything that was found."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalib_zsad.outputs.atomic import write_text
from anomalib_zsad.pages import series_page
from anomalib_zsad.pages.document import render

if TYPE_CHECKING:
    from anomalib_zsad.screening.summary import Entry

NAME = "index.html"


def write_index(
    folder: Path, summary: Mapping[str, Any], entries: "Sequence[Entry]", *, calibrated: bool, with_files: bool
) -> None:
    """Write the page, whole.

    Args:
        folder: The run's, with a folder for each series.
        summary: The content of summary.json.
        entries: What became of what was found.
        calibrated: Whether a calibration was in use.
        with_files: Show file names, which may hold patient data.
    """
    settings = summary["settings"]
    page = render(
        "index.html.j2",
        (),
        state=summary["state"],
        statement=summary["statement"],
        counts=summary["counts"],
        calibrated=calibrated,
        with_files=with_files,
        with_flagged=sum(bool(entry.flagged_slices) for entry in entries),
        model=settings["model"].get("model", ""),
        entries=[_line(folder, entry) for entry in sorted(entries, key=_order)],
        provenance={
            "Model": settings["model"],
            "Volumes": settings["volume"],
            "Reading": settings["reading"],
            "Decisions": settings["decisions"],
            "Versions": summary["versions"],
        },
    )
    write_text(folder / NAME, page)


def _line(folder: Path, entry: "Entry") -> dict[str, Any]:
    """An entry, its messages in full, and the way to its page."""
    page = f"{entry.series}/{series_page.NAME}"
    messages = [finding["message"] if isinstance(finding, Mapping) else finding.message for finding in entry.findings]
    exists = bool(entry.series) and (folder / page).is_file()
    return {"entry": entry, "messages": list(dict.fromkeys(messages)), "page": page if exists else ""}


def _order(entry: "Entry") -> tuple[int, float]:
    """Screened series first, those with the highest scores on top; then what was refused; then what was skipped."""
    rank = {"refused": 1, "skipped": 2}.get(entry.status, 0)
    return rank, -(entry.volume_score or 0.0)
