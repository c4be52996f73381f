"""Tables of a comparison of models: for a terminal, as Markdown, CSV and JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from anomalib_zsad.evaluation.comparison import Difference, ModelRow
from anomalib_zsad.evaluation.result_tables import HEADINGS, MEAN, NOT_DEFINED
from anomalib_zsad.metrics import METRICS
from anomalib_zsad.outputs.atomic import write_text
from anomalib_zsad.outputs.csv_tables import table_text
from anomalib_zsad.outputs.terminal import plain_table, visible

_EXPLANATION = (
    "Differences are those of the image AUROC, in points, from {reference}: 95 % percentile intervals of 2,000 paired "
    "resamples of {units}s, and two-sided p-values of DeLong's test (Obuchowski's form where units have several "
    "images), not corrected for the number of comparisons."
)


def explanation(found: Sequence[Difference]) -> str:
    """What the differences are, in words; empty without any."""
    if not found:
        return ""
    return _EXPLANATION.format(
        reference=found[0].reference, units=" or ".join(dict.fromkeys(one.unit for one in found))
    )


def terminal_tables(rows: Sequence[ModelRow], found: Sequence[Difference]) -> list[Table]:
    """For each set and protocol the means of all models; then the differences of these means, with intervals."""
    tables = []
    for (target, protocol), group in groupby(_summaries(rows), lambda one: (one.row.target, one.row.protocol)):
        table = plain_table("model", *(HEADINGS[metric].replace(" ", "\n") for metric in METRICS), title=target)
        table.title = Text(f"{target}, {protocol}")
        for column in table.columns[1:]:
            column.justify = "right"
        for one in group:
            table.add_row(Text(visible(one.model)), *(one.row.cells[metric].percent() for metric in METRICS))
        tables.append(table)
    shown = _compared(found)
    if shown:
        title = f"image AUROC, difference from {shown[0].reference}"
        table = plain_table("set", "model", "difference", "95 % interval", "p", title=title)
        for difference in shown:
            texts = (difference.target, difference.model, *_texts(difference))
            table.add_row(*(Text(visible(text)) for text in texts))
        tables.append(table)
    return tables


def _summaries(rows: Sequence[ModelRow]) -> list[ModelRow]:
    return [one for one in rows if one.row.category == MEAN]


def _compared(found: Sequence[Difference]) -> list[Difference]:
    """The difference of means where there are several categories, else that of the one."""
    meant = {(one.target, one.protocol, one.model) for one in found if one.category == MEAN}
    return [one for one in found if one.category == MEAN or (one.target, one.protocol, one.model) not in meant]


def _texts(one: Difference) -> tuple[str, str, str]:
    areas = one.areas
    interval = NOT_DEFINED
    if areas.low is not None and areas.high is not None:
        interval = f"{100 * areas.low:+.1f} to {100 * areas.high:+.1f}"
    p_value = NOT_DEFINED if areas.p_value is None else f"{areas.p_value:.3f}" if areas.p_value >= 0.001 else "< 0.001"
    return f"{100 * areas.difference:+.1f}", interval, p_value


def markdown(rows: Sequence[ModelRow], found: Sequence[Difference], remarks: Sequence[str]) -> str:
    """The whole comparison as Markdown, in percent; what a reader must know of a model stands below."""
    lines = ["# Comparison", "", *(f"- {remark}" for remark in remarks), *([""] if remarks else [])]
    headings = ["set", "protocol", "category", "images", "model", *(HEADINGS[metric] for metric in METRICS)]
    lines += _head(headings, left=5)
    for one in rows:
        row = one.row
        cells = (row.cells[metric].percent() for metric in METRICS)
        lines.append(_line([row.target, row.protocol, row.category, str(row.images), one.model, *cells]))
    if found:
        lines += ["", "## Differences", "", explanation(found), ""]
        lines += _head(["set", "protocol", "category", "model", "difference", "95 % interval", "p", "units"], left=4)
        for each in found:
            named = [each.target, each.protocol, each.category, each.model]
            lines.append(_line([*named, *_texts(each), f"{each.areas.units} {each.unit}s"]))
    notes = dict.fromkeys(f"- {one.model}: {note}" for one in rows for note in one.row.notes)
    notes |= dict.fromkeys(f"- {each.target} / {each.category}: {each.areas.note}" for each in found if each.areas.note)
    return "\n".join([*lines, *(["", *notes] if notes else []), ""])


def _head(headings: Sequence[str], left: int) -> list[str]:
    return [_line(headings), _line(["---"] * left + ["---:"] * (len(headings) - left))]


def _line(texts: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", r"\|") for text in texts) + " |"


def csv_text(rows: Sequence[ModelRow], found: Sequence[Difference]) -> str:
    """A line for each model, set, protocol and category: figures in [0, 1], and the difference from the first model."""
    known = {(one.target, one.protocol, one.category, one.model): one.areas for one in found}
    columns = ["set", "protocol", "category", "images", "model", *METRICS]
    columns += ["difference", "difference_low", "difference_high", "p_value", "units"]
    lines = []
    for one in rows:
        row = one.row
        areas = known.get((row.target, row.protocol, row.category, one.model))
        numbers = [row.cells[metric].mean for metric in METRICS]
        compared = [areas.difference, areas.low, areas.high, areas.p_value] if areas else [None] * 4
        texts = ["" if value is None else f"{value:.6f}" for value in (*numbers, *compared)]
        units = areas.units if areas else ""
        lines.append([row.target, row.protocol, row.category, row.images, one.model, *texts, units])
    return table_text(columns, lines)


def write_comparison(
    folder: Path,
    rows: Sequence[ModelRow],
    found: Sequence[Difference],
    remarks: Sequence[str],
    provenance: Mapping[str, Any],
) -> list[Path]:
    """Write `comparison.json`, `comparison.csv` and `comparison.md`; each appears whole or not at all.

    Returns:
        The files.
    """
    content = {
        "provenance": dict(provenance),
        "remarks": list(remarks),
        "rows": [asdict(one) for one in rows],
        "differences": [{**asdict(one), "difference": one.areas.difference} for one in found],
        "explanation": explanation(found),
    }
    texts = {
        "comparison.json": json.dumps(content, indent=1, default=str) + "\n",
        "comparison.csv": csv_text(rows, found),
        "comparison.md": markdown(rows, found, remarks),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]
