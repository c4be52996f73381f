"""Tables as CSV text: one way of writing numbers, truth values, nothing, and text that others chose."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence

import numpy as np

# A spreadsheet would compute a text that begins like a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
# A line break inside a cell splits a row for every reader that takes lines.
_LINE_BREAKS = str.maketrans({"\r": "\\r", "\n": "\\n"})


def cell_text(value: object) -> str:
    """Nothing for `None` and NaN, `true` and `false` for booleans, six significant digits for floats, guarded text.

    Text that begins like a formula gets an apostrophe in front, and line breaks are spelled out.
    """
    if value is None:
        return ""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else f"{value:.6g}"
    if isinstance(value, str):
        guard = "'" if len(value) > 1 and value.startswith(_FORMULA) else ""
        return guard + value.translate(_LINE_BREAKS)
    return str(value)


def rounded_text(value: object) -> str:
    """The same, floats rounded to six decimals first: what is left of a coordinate of zero is no number to show."""
    return cell_text(round(value, 6) if isinstance(value, float) else value)


def table_text(
    columns: Sequence[str], rows: Iterable[Iterable[object]], cell: Callable[[object], str] = cell_text
) -> str:
    """A header and rows of as many values as CSV text.

    Args:
        columns: The header.
        rows: Of as many values each.
        cell: How a value is written; text goes through `cell_text` all the same.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([cell_text(column) for column in columns])
    writer.writerows([cell_text(value) if isinstance(value, str) else cell(value) for value in row] for row in rows)
    return buffer.getvalue()
