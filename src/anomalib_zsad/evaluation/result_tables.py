"""Tables of results: rows for categories and means, several runs condensed to mean and deviation, published figures."""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from anomalib_zsad.evaluation.published_figures import published_figures
from anomalib_zsad.evaluation.results import CategoryResult
from anomalib_zsad.metrics import METRICS
from anomalib_zsad.outputs.atomic import write_text
from anomalib_zsad.outputs.csv_tables import table_text
from anomalib_zsad.outputs.terminal import visible

MEAN = "mean"
HEADINGS = {
    "image_AUROC": "image AUROC",
    "image_AP": "image AP",
    "image_F1Max": "image F1-max",
    "pixel_AUROC": "pixel AUROC",
    "pixel_AP": "pixel AP",
    "pixel_F1Max": "pixel F1-max",
    "pixel_AUPRO": "PRO",
}
NOT_DEFINED = "-"
_ROOM_FOR_DEVIATIONS = 110


@dataclass(frozen=True)
class Cell:
    """A metric over runs, in [0, 1].

    Attributes:
        mean: Mean over the runs; none where the metric is not defined.
        deviation: Sample standard deviation over the runs; none for a single run.
    """

    mean: float | None
    deviation: float | None = None

    def percent(self) -> str:
        """The cell as a table shows it, in percent."""
        if self.mean is None:
            return NOT_DEFINED
        deviation = "" if self.deviation is None else f" ± {100 * self.deviation:.1f}"
        return f"{100 * self.mean:.1f}{deviation}"


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        target: Name of the set.
        category: Name of the category, "mean", or "published".
        protocol: Name of the protocol.
        cells: A cell for each of `metrics.METRICS`.
        images: Number of images; 0 for published figures.
        runs: Number of runs.
        notes: What a reader must know.
    """

    target: str
    category: str
    protocol: str
    cells: Mapping[str, Cell]
    images: int = 0
    runs: int = 0
    notes: tuple[str, ...] = ()


def make_rows(results: Iterable[CategoryResult], method: str, auxiliary_set: str | None) -> list[Row]:
    """Rows of all targets and protocols: the categories, their mean, and the published mean where there is one.

    The mean is taken within each run first, over the categories for which the metric is defined, so that its deviation
    is that of the mean and not of the categories.
    """
    rows = []
    for (target, protocol), group in _grouped(results, lambda one: (one.target, one.run.protocol)).items():
        by_category = _grouped(group, lambda one: one.category)
        rows += [_category_row(target, name, protocol, runs) for name, runs in by_category.items()]
        rows.append(_mean_row(target, protocol, group, len(by_category)))
        figures = published_figures(method, target, auxiliary_set)
        if figures:
            cells = {metric: Cell(figures.get(metric)) for metric in METRICS}
            rows.append(Row(target, f"published ({method})", "paper", cells))
    return rows


def _grouped(results: Iterable[CategoryResult], key: Any) -> dict[Any, list[CategoryResult]]:
    groups: dict[Any, list[CategoryResult]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return groups


def _category_row(target: str, name: str, protocol: str, runs: Sequence[CategoryResult]) -> Row:
    cells = {metric: _cell([_shown(run, metric) for run in runs]) for metric in METRICS}
    few = [f"no percentages: {run.few}" for run in runs if run.few]
    notes = tuple(dict.fromkeys([*few, *(note for run in runs for note in run.notes)]))
    return Row(target, name, protocol, cells, runs[0].images, len(runs), notes)


def _mean_row(target: str, protocol: str, results: Sequence[CategoryResult], categories: int) -> Row:
    by_run = _grouped(results, lambda one: one.run)
    cells, notes = {}, []
    for metric in METRICS:
        values = [[_shown(one, metric) for one in run] for run in by_run.values()]
        present = [[value for value in run if value is not None] for run in values]
        cells[metric] = _cell([statistics.fmean(run) if run else None for run in present])
        if 0 < len(present[0]) < categories:
            notes.append(f"{HEADINGS[metric]} over {len(present[0])} of {categories} categories")
    images = sum(one.images for one in next(iter(by_run.values())))
    return Row(target, MEAN, protocol, cells, images, len(by_run), tuple(notes))


def _shown(result: CategoryResult, metric: str) -> float | None:
    """The metric, where there are patients enough to show it to people."""
    return None if result.few else result.metrics.get(metric)


def _cell(values: Sequence[float | None]) -> Cell:
    present = [value for value in values if value is not None]
    if not present:
        return Cell(None)
    return Cell(statistics.fmean(present), statistics.stdev(present) if len(present) > 1 else None)


def rich_tables(rows: Sequence[Row], width: int = 200) -> list[Table]:
    """The rows as tables for a terminal, in percent, one for each set and protocol.

    Args:
        rows: The rows.
        width: Of the terminal, in characters; on a narrow one deviations stand below their means.
    """
    parted = "\n±" if width < _ROOM_FOR_DEVIATIONS else "±"
    tables: dict[tuple[str, str], Table] = {}
    for row in rows:
        key = (row.target, row.protocol if row.runs else next(reversed(tables))[1])
        if key not in tables:
            tables[key] = _empty_table(f"{key[0]}, {key[1]}")
        shown = [row.cells[metric].percent().replace(" ± ", parted) for metric in METRICS]
        images = str(row.images) if row.images else ""
        tables[key].add_row(Text(visible(row.category)), images, *shown, style="bold" if row.category == MEAN else None)
    return list(tables.values())


def _empty_table(title: str) -> Table:
    table = Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("category", overflow="fold")
    table.add_column("images", justify="right")
    for metric in METRICS:
        table.add_column(HEADINGS[metric].replace(" ", "\n"), justify="right", no_wrap=True)
    return table


def _texts(row: Row) -> list[str]:
    images = str(row.images) if row.images else ""
    return [row.target, row.category, row.protocol, images, *(row.cells[metric].percent() for metric in METRICS)]


def markdown(rows: Sequence[Row], title: str, remarks: Sequence[str] = ()) -> str:
    """The rows as a Markdown table, in percent, with the notes below it."""
    headings = ["set", "category", "protocol", "images", *(HEADINGS[metric] for metric in METRICS)]
    lines = [f"# {title}", "", *remarks, *([""] if remarks else [])]
    lines += [_markdown_row(headings), _markdown_row(["---"] * 3 + ["---:"] * (len(headings) - 3))]
    lines += [_markdown_row(_texts(row)) for row in rows]
    notes = [f"- {row.target} / {row.category} ({row.protocol}): {note}" for row in rows for note in row.notes]
    return "\n".join([*lines, *([""] if notes else []), *notes, ""])


def table_cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of the rows as texts, in percent."""
    return ["set", "category", "protocol", "images", *(HEADINGS[metric] for metric in METRICS)], [
        _texts(row) for row in rows
    ]


def _markdown_row(texts: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", r"\|") for text in texts) + " |"


def csv_text(results: Sequence[CategoryResult], rows: Sequence[Row]) -> str:
    """Every result by itself, values in [0, 1], then the means over categories; what is not defined is empty."""
    columns = ["set", "category", "protocol", "checkpoint", "seed", "images", "abnormal", "masked", *METRICS]
    lines: list[list[object]] = []
    for one in results:
        counts = [one.images, one.abnormal, one.masked]
        values = [_number(one.metrics.get(metric)) for metric in METRICS]
        lines.append([one.target, one.category, one.run.protocol, one.run.checkpoint, one.run.seed, *counts, *values])
    for row in rows:
        if row.runs and row.category != MEAN:
            continue
        values = [_number(row.cells[metric].mean) for metric in METRICS]
        lines.append([row.target, row.category, row.protocol, "", "", row.images or "", "", "", *values])
    return table_text(columns, lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def write_reports(
    folder: Path, results: Sequence[CategoryResult], rows: Sequence[Row], title: str, provenance: Mapping[str, Any]
) -> list[Path]:
    """Write `results.json`, `results.csv` and `results.md`; each appears whole or not at all.

    Returns:
        The files.
    """
    content = {
        "provenance": dict(provenance),
        "results": [result.summary() for result in results],
        "rows": [asdict(row) for row in rows],
    }
    remarks = [f"{key}: {value}  " for key, value in provenance.items() if isinstance(value, str | int | float)]
    texts = {
        "results.json": json.dumps(content, indent=1, default=str) + "\n",
        "results.csv": csv_text(results, rows),
        "results.md": markdown(rows, title, remarks),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]
