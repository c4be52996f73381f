"""The files of a station's answers: JSON lines and CSV, one of each for every day (UTC), made of the journal alone.

A line has the number of its entry in the journal, and numbers grow. So a kill at any point leaves files that the next
start can complete: a line that was cut off is taken away, and what has a higher number than the last one is added.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from datetime import datetime, timezone
from itertools import groupby
from pathlib import Path
from typing import Any

from anomalib_zsad.outputs.csv_tables import table_text
from anomalib_zsad.records.image_records import ImageRecord
from anomalib_zsad.station.journal import Entry

FOLDER = "results"
_LEFT_OUT = ("truth",)  # a station knows none
COLUMNS = ("number", "at", *(one.name for one in fields(ImageRecord) if one.name not in _LEFT_OUT), "overlay", "drift")
"""Columns of the CSV files; lines of JSON have the same names, and more."""
_TAIL = 1 << 16


class Results:
    """Writes the files of a station.

    Args:
        folder: The station's output folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER
        self._folder.mkdir(exist_ok=True)

    def append(self, entries: Sequence[Entry]) -> None:
        """Add entries to their days' files; they are on the disk when this returns.

        Raises:
            OSError: If they cannot be written.
        """
        for day, own in _by_day(entries):
            self._add(day, "jsonl", [json_line(entry) for entry in own], "")
            self._add(day, "csv", [csv_line(entry) for entry in own if entry.kind == "picture"], _header())

    def complete(self, entries: Iterable[Entry]) -> int:
        """Add those of some entries that a kill kept from their files; entries in their order.

        Returns:
            How many lines were missing.

        Raises:
            OSError: If they cannot be written.
        """
        missing = 0
        for day, own in _by_day(entries):
            last = {ending: self._last_number(day, ending) for ending in ("jsonl", "csv")}
            for entry in own:
                if entry.number > last["jsonl"]:
                    self._add(day, "jsonl", [json_line(entry)], "")
                    missing += 1
                if entry.number > last["csv"] and entry.kind == "picture":
                    self._add(day, "csv", [csv_line(entry)], _header())
                    missing += 1
        return missing

    def _path(self, day: str, ending: str) -> Path:
        return self._folder / f"{day}.{ending}"

    def _add(self, day: str, ending: str, lines: Sequence[str], header: str) -> None:
        if not lines:
            return
        with self._path(day, ending).open("ab") as stream:
            text = (header if stream.tell() == 0 else "") + "".join(lines)
            stream.write(text.encode("utf-8", "backslashreplace"))
            stream.flush()
            os.fsync(stream.fileno())

    def _last_number(self, day: str, ending: str) -> int:
        """Number of the last whole line of a file, behind which everything is taken away; 0 if there is none."""
        path = self._path(day, ending)
        if not path.is_file():
            return 0
        with path.open("r+b") as stream:
            end = stream.seek(0, os.SEEK_END)
            for line, start in _lines_from_the_end(stream, end):
                number = _number_of(line, ending)
                if number is not None:
                    stream.truncate(start + len(line))
                    return number
            stream.truncate(0)
        return 0


def _lines_from_the_end(stream: Any, end: int) -> Iterator[tuple[bytes, int]]:
    """Lines and where they begin, from the last on; some of the file at a time is in memory."""
    rest, start = b"", end
    while start > 0:
        begin = max(0, start - _TAIL)
        stream.seek(begin)
        rest, start = stream.read(start - begin) + rest, begin
        lines = rest.splitlines(keepends=True)
        # The first line may begin before what was read.
        first = 0 if start == 0 else 1
        place = start + len(rest)
        for line in reversed(lines[first:]):
            place -= len(line)
            yield line, place
        rest = b"" if first == 0 else lines[0]


def _number_of(line: bytes, ending: str) -> int | None:
    """The number of a whole line; `None` of one that was cut off, and of the header (which is written anew)."""
    if not line.endswith(b"\n"):
        return None
    if ending == "csv":
        first = line.partition(b",")[0]
        return int(first) if first.isdigit() else None
    try:
        return int(json.loads(line)["number"])
    except (ValueError, KeyError, TypeError):
        return None


def _by_day(entries: Iterable[Entry]) -> Iterator[tuple[str, list[Entry]]]:
    for day, own in groupby(entries, lambda entry: day_of(entry.at)):
        yield day, list(own)


def day_of(at: float) -> str:
    """The day (UTC) of a time."""
    return moment(at)[:10]


def moment(at: float) -> str:
    """A time (seconds since the epoch) as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def as_record(entry: Entry) -> dict[str, Any]:
    """What is said of an entry, in JSON's types: of a picture, or of an alarm."""
    return {"number": entry.number, "at": moment(entry.at), "kind": entry.kind, **entry.content}


def json_line(entry: Entry) -> str:
    """An entry as a line of JSON."""
    return json.dumps(as_record(entry), allow_nan=False) + "\n"


def csv_line(entry: Entry) -> str:
    """The entry of a picture as a line of CSV."""
    record = as_record(entry)
    row = [record.get(column) for column in COLUMNS]
    return table_text(COLUMNS, [row]).partition("\n")[2]


def _header() -> str:
    return table_text(COLUMNS, [])
