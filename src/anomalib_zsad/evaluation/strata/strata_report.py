"""Strata as Markdown, CSV and JSON, and as tables of a terminal."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.text import Text

from anomalib_zsad.evaluation.figure import Figure
from anomalib_zsad.evaluation.strata.stratum import Stratum
from anomalib_zsad.outputs.atomic import write_text
from anomalib_zsad.outputs.csv_tables import table_text
from anomalib_zsad.outputs.terminal import plain_table, visible

REMARK = (
    "Intervals are those of each stratum by itself, 95 %. Strata that differ by chance are to be expected where there "
    "are many: nothing is corrected for their number."
)
_COLUMNS = ("set", "category", "protocol", "checkpoint", "seed", "column", "value", "figure", "result", "low", "high",
            "count", "of", "threshold", "few", "note")  # fmt: skip
_SHOWN_COUNTS = (
    "images", "volumes scored", "volumes failed", "patients", "abnormal", "volumes with a lesion", "lesions",
    "false positives at the common threshold",
)  # fmt: skip


def write_strata(folder: Path, strata: Sequence[Stratum], provenance: Mapping[str, Any]) -> list[Path]:
    """Write `strata.json`, `strata.csv` and `strata.md`; each appears whole or not at all.

    Args:
        folder: The output folder, which exists.
        strata: At least one.
        provenance: What made them.

    Returns:
        The files.

    Raises:
        OSError: If one cannot be written.
    """
    shown = [_shown(one) for one in strata]
    content = {"provenance": dict(provenance), "remark": REMARK, "strata": [asdict(one) for one in shown]}
    texts = {
        "strata.json": json.dumps(content, indent=1, allow_nan=False, default=str) + "\n",
        "strata.csv": table_text(_COLUMNS, _csv_rows(shown)),
        "strata.md": _markdown(shown),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def _shown(one: Stratum) -> Stratum:
    """The stratum without what would say too little: of few patients there are counts alone."""
    figures = {
        name: replace(figure, value=None, low=None, high=None) if figure.few else figure
        for name, figure in one.figures.items()
    }
    return replace(one, figures=figures)


def _text(figure: Figure) -> str:
    """As tables show it; a figure of few patients may have lost its value."""
    if figure.few:
        return "too few" if figure.of is None else f"{figure.count} of {figure.of}"
    return figure.text()


def _csv_rows(strata: Sequence[Stratum]) -> Iterator[list[object]]:
    for one in strata:
        run = one.run
        first = [one.target, one.category, run.protocol, run.checkpoint, run.seed, one.column, one.value]
        for name, count in one.counts.items():
            yield [*first, name, None, None, None, count, None, None, "", ""]
        for name, made in one.figures.items():
            numbers = [made.value, made.low, made.high, made.count, made.of, made.threshold]
            yield [*first, name, *numbers, made.few, made.note]


def strata_tables(strata: Sequence[Stratum]) -> list[tuple[str, list[list[str]]]]:
    """A title and rows of stratum, figure, value and remark, for each set, run and column."""
    tables = []
    for key, members in groupby(strata, lambda one: (one.target, one.category, one.run, one.column)):
        target, category, run, column = key
        title = (
            f"{target} / {category} by {column} ({run.checkpoint or 'no checkpoint'}, {run.protocol}, seed {run.seed})"
        )
        tables.append((title, [row for one in members for row in _rows(one)]))
    return tables


def _rows(one: Stratum) -> Iterator[list[str]]:
    told = ", ".join(f"{name}: {one.counts[name]}" for name in _SHOWN_COUNTS if name in one.counts)
    yield [one.value, "counts", told, ""]
    for name, made in one.figures.items():
        yield [one.value, name, _text(made), made.remark]


def _markdown(strata: Sequence[Stratum]) -> str:
    lines = ["# Strata", "", REMARK, ""]
    for title, rows in strata_tables(strata):
        lines += [f"## {_cell(title)}", "", "| stratum | figure | value | remarks |", "| --- | --- | --- | --- |"]
        lines += [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]
        lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return visible(text).replace("\n", " ").replace("|", "\\|").replace("<", "&lt;")


def terminal_strata(strata: Sequence[Stratum]) -> list[Group]:
    """For each set, run and column a table; remarks stand below, so that no figure is squeezed by them."""
    groups = []
    for title, rows in strata_tables(strata):
        table = plain_table("stratum", "figure", "value", "remark")
        remarks: dict[str, int] = {}
        for value, members in groupby(rows, lambda row: row[0]):
            for place, (_, name, text, remark) in enumerate(members):
                marks = [str(remarks.setdefault(part, len(remarks) + 1)) for part in remark.split("; ") if part]
                stratum = Text(visible(value), style="bold") if place == 0 else Text("")
                table.add_row(stratum, Text(name), Text(text), Text(", ".join(marks)))
        groups.append(Group(Text(visible(title)), table, *(Text(f"{mark}: {note}") for note, mark in remarks.items())))
    return groups
