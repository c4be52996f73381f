"""Tables as CSV text, one way of writing numbers, truth values and nothing in all of them."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence

import numpy as np


def cell_text(value: object) -> str:
    """Nothing for `None` and NaN, `true` and `false` for booleans, six significant digits for floats."""
    if value is None:
        return ""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else f"{value:.6g}"
    return str(value)


def rounded_text(value: object) -> str:
    """The same, floats rounded to six decimals first: what is left of a coordinate of zero is no number to show."""
    return cell_text(round(value, 6) if isinstance(value, float) else value)


def table_text(
    columns: Sequence[str], rows: Iterable[Iterable[object]], cell: Callable[[object], str] = cell_text
) -> str:
    """A header and rows of as many values as CSV text."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([cell(value) for value in row] for row in rows)
    return buffer.getvalue()
