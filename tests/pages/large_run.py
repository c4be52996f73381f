"""The summary and index of a run of thousands of series, of records and folders that no run made."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from anomalib_zsad.pages.run_index import write_index
from anomalib_zsad.records.run_summary import DONE, REFUSED, WARNED, RunEntry, RunSummary
from anomalib_zsad.volumes.faults import Fault, Finding, Outcome

GAP = "the slices have a gap of 12 mm after the fifth"
REPORT = {
    "geometry": {"shape": [512, 512, 40], "spacing_mm": [0.5, 0.5, 5.0]},
    "plane": {"nearest": "axial"},
    "sequence": {"TE ms": 90.0, "TR ms": 4000.0},
}
SETTINGS = {"reading": {}, "volume": {}, "decisions": {"calibration": None}, "model": {"model": "BrightSpot"}}


def entry_of(number: int, score: float) -> RunEntry:
    """Most are done; of a hundred three are refused, and two have a warning."""
    name, study = f"series-{number:010x}", f"study-{number // 2:010x}"
    modality = ("CT", "MR", "MR", "DX")[number % 4]
    if number % 100 < 3:
        return RunEntry.left_out(Finding(Fault.UNEVEN_SPACING, Outcome.REFUSE, GAP), name, study, modality)
    findings = (Finding(Fault.LOSSY, Outcome.WARN, "lossy"),) if number % 100 < 5 else ()
    return RunEntry(
        name, WARNED if findings else DONE, study, "lossy" if findings else "", modality, 10 + number % 60, 0, 0,
        score, score / 10, findings=findings,
    )  # fmt: skip


def picture(random: np.random.Generator) -> bytes:
    file = io.BytesIO()
    Image.fromarray(random.integers(0, 255, (24, 24, 3)).astype(np.uint8)).resize((256, 256)).save(file, "png")
    return file.getvalue()


def write_large_run(folder: Path, series: int) -> RunSummary:
    """Write all that a run as a whole leaves; of a series, what the index looks at."""
    random = np.random.default_rng(0)
    entries = [entry_of(number, float(score)) for number, score in enumerate(random.random(series))]
    pictures = [picture(random) for _ in range(8)]
    report = json.dumps(REPORT)
    for number, entry in enumerate(entries):
        if entry.status == REFUSED:
            continue
        (folder / entry.series / "previews").mkdir(parents=True)
        (folder / entry.series / "report.json").write_text(report)
        (folder / entry.series / "report.html").write_text(f"<title>{entry.series}</title>")
        (folder / entry.series / "previews" / "rank01_slice_0001.png").write_bytes(pictures[number % 8])
    summary = RunSummary("Scores are no evidence.", "complete", False, SETTINGS, entries)
    (folder / "summary.json").write_text(summary.text())
    (folder / "summary.csv").write_text(summary.table())
    write_index(folder, summary)
    return summary
