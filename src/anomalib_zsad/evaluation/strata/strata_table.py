"""A table of the user's that says which stratum each patient, volume or image belongs to."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

KEYS = ("image", "volume", "series", "patient")
"""Columns that say what a row is about; of several the first of these counts."""

NOT_TOLD = "(not told)"
MOST_STRATA = 30
_MOST_BYTES = 50_000_000


@dataclass
class StrataTable:
    """What a table says of patients, volumes or images.

    Attributes:
        key: What its rows are about, one of `KEYS`.
        columns: The columns that make strata.
        rows: For each key the values of these columns.
        used: The keys that were asked for and found.
    """

    key: str
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[str, ...]]
    used: set[str] = field(default_factory=set)

    def find(self, names: Iterable[str]) -> tuple[str, ...]:
        """The values of the row that one of these names is the key of; all `NOT_TOLD` where none is."""
        for name in names:
            if name in self.rows:
                self.used.add(name)
                return self.rows[name]
        return (NOT_TOLD,) * len(self.columns)

    def find_image(self, path: str, others: Mapping[str, int]) -> tuple[str, ...]:
        """The values of the row of an image, whose key is its path or the end of it, in whole parts.

        Args:
            path: Of the image.
            others: How many images each ending names (`endings_of`).

        Raises:
            ValueError: If the key names several images.
        """
        for ending in endings(path):
            if ending in self.rows and others[ending] > 1:
                raise ValueError(
                    f"the image {ending!r} of the strata is {others[ending]} images of the data set: write more of "
                    "its path"
                )
        return self.find(endings(path))

    @property
    def unused(self) -> int:
        """How many rows are of nothing that was asked for."""
        return len(self.rows) - len(self.used)


def ordered(values: Iterable[str]) -> list[str]:
    """Values in alphabetical order, each once; what is not told comes last."""
    return sorted(set(values), key=lambda value: (value == NOT_TOLD, value))


def endings(path: str) -> list[str]:
    """A path and all that it ends in, in whole parts, the longest first: a/b/c.png, b/c.png, c.png."""
    parts = PurePath(path).parts
    return [path, *("/".join(parts[start:]) for start in range(len(parts)))]


def endings_of(paths: Iterable[str]) -> dict[str, int]:
    """How many of the paths end in each ending."""
    counts: dict[str, int] = {}
    for path in paths:
        for ending in dict.fromkeys(endings(path)):
            counts[ending] = counts.get(ending, 0) + 1
    return counts


def read_strata(path: Path, columns: Sequence[str]) -> StrataTable:
    """Read a table: CSV with a header, separated by commas, semicolons or tabs.

    Args:
        path: The file. One of its columns is `image`, `volume`, `series` or `patient`.
        columns: Those that make strata, at least one.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no such table, lacks a column, contradicts itself, or a column has too many values.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no table of strata {path}")
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{path} has {path.stat().st_size:,} bytes: a table of strata has {_MOST_BYTES:,} at most")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 (byte {error.start}): save the table as CSV, UTF-8") from error
    separator = max(",;\t", key=lines[0].count) if lines else ","
    reader = csv.reader(lines, delimiter=separator)
    header = [name.strip() for name in next(reader, [])]
    key = next((name for name in KEYS if name in header), None)
    if key is None:
        raise ValueError(f"{path} needs a column {', '.join(KEYS[:-1])} or {KEYS[-1]}; it has {_listed(header)}")
    missing = [name for name in columns if name not in header or name == key]
    if missing:
        others = _listed([name for name in header if name not in KEYS])
        raise ValueError(f"{path} has no column {', '.join(missing)} to make strata of; it has {others}")
    rows = _rows(path, reader, header.index(key), [header.index(name) for name in columns])
    for place, name in enumerate(columns):
        many = len({values[place] for values in rows.values()})
        if many > MOST_STRATA:
            raise ValueError(
                f"the column {name} has {many} different values, and a stratum is shared by many: put them into "
                f"classes first ({MOST_STRATA} at most)"
            )
    return StrataTable(key, tuple(columns), rows)


def _rows(path: Path, reader: Iterable[Sequence[str]], key: int, places: Sequence[int]) -> dict[str, tuple[str, ...]]:
    rows: dict[str, tuple[str, ...]] = {}
    for number, cells in enumerate(reader, 2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) <= max(key, *places):
            raise ValueError(f"{path}, row {number} has {len(cells)} cells, fewer than the header")
        name = cells[key].strip().replace("\\", "/")
        values = tuple(cells[place].strip() or NOT_TOLD for place in places)
        if rows.setdefault(name, values) != values:
            raise ValueError(f"{path}, row {number} says otherwise than an earlier row of the same name")
    if not rows:
        raise ValueError(f"{path} has a header and no rows")
    return rows


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) or "none"
