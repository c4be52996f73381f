"""Outcomes of units, append-only: a line for each, in files that one process alone writes, so that none waits."""

import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from typing_extensions import Self

_ENDING = ".jsonl"


@dataclass(frozen=True)
class UnitRecord:
    """What became of a unit.

    Attributes:
        unit: Its name.
        place: Where it comes in the order of the plan; records are told in this order.
        state: Of its input, when it was done: another state means that it has to be looked at again.
        outcome: In JSON's types.
        turn: How often it was recorded; of several records the one with the highest turn counts.
    """

    unit: str
    place: int
    state: str
    outcome: Any
    turn: int = 1


class _Where(NamedTuple):
    """Where a record lies, without its outcome."""

    turn: int
    place: int
    path: Path
    offset: int


class Records:
    """The records in a folder. Several processes may write and read at the same time, on several machines.

    Each appends to a file of its own, a whole line at a time. A line that was cut off by a kill, or that a crash of the
    machine damaged, is passed over: its unit counts as not recorded, and is looked at again. Memory holds of a record
    where it lies.

    Args:
        folder: The folder; made when the first record is added.
        group: Name of the folder in it that this process writes to, and that `refresh` looks at.
        earlier: A file with the records of earlier processes, as `gather` writes it.
    """

    def __init__(self, folder: Path, group: str = "all", earlier: Path | None = None) -> None:
        self._folder, self._own, self._gathered = folder, folder / group, earlier
        self._known: dict[str, _Where] = {}
        self._read: dict[Path, int] = {}
        self._path = self._own / f"{secrets.token_hex(8)}{_ENDING}"
        self._stream: int | None = None
        self._end = 0
        self.refresh(everything=True)
        self._earlier = dict(self._read)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._known)

    def refresh(self, *, everything: bool = False) -> None:
        """Take up what other processes have recorded since.

        Args:
            everything: Look at all groups, and not only at that of this process.

        Raises:
            OSError: If a file cannot be read.
        """
        for path in self._files(everything=everything):
            start = self._read.get(path, 0)
            if path != self._path and path.stat().st_size > start:
                self._read[path] = self._take_up(path, start)

    def _files(self, *, everything: bool) -> list[Path]:
        folder = self._folder if everything else self._own
        gathered = [self._gathered] if everything and self._gathered is not None and self._gathered.is_file() else []
        return [*gathered, *(sorted(folder.rglob(f"*{_ENDING}")) if folder.is_dir() else [])]

    def _take_up(self, path: Path, start: int) -> int:
        """Note the whole lines of a file from an offset on; returns where they end."""
        with path.open("rb") as stream:
            stream.seek(start)
            for line in stream:
                if not line.endswith(b"\n"):
                    break
                record = _parsed(line)
                if record is not None:
                    self._note(record, path, start)
                start += len(line)
        return start

    def _note(self, record: UnitRecord, path: Path, offset: int) -> None:
        known = self._known.get(record.unit)
        if known is None or record.turn >= known.turn:
            self._known[record.unit] = _Where(record.turn, record.place, path, offset)

    def get(self, unit: str) -> UnitRecord | None:
        """The record of a unit, or none."""
        where = self._known.get(unit)
        return None if where is None else _parsed(_line_at(where))

    def place(self, unit: str) -> int | None:
        """Where a unit comes in the order of the plan; `None` if it is not recorded, or not of the plan."""
        where = self._known.get(unit)
        return None if where is None or where.place < 0 else where.place

    def is_earlier(self, unit: str) -> bool:
        """Whether the record of a unit was there when these were opened."""
        where = self._known[unit]
        return where.offset < self._earlier.get(where.path, 0)

    def __iter__(self) -> Iterator[str]:
        """The units, in the order of their places."""
        return (unit for _, unit in sorted((where.place, unit) for unit, where in self._known.items()))

    def add(self, unit: str, place: int, state: str, outcome: Any) -> None:
        """Record a unit.

        Args:
            unit: Its name.
            place: Where it comes in the order of the plan.
            state: Of its input.
            outcome: In JSON's types.

        Raises:
            OSError: If it cannot be written; then nothing of it is.
        """
        known = self._known.get(unit)
        record = UnitRecord(unit, place, state, outcome, 1 if known is None else known.turn + 1)
        line = (json.dumps(asdict(record), allow_nan=False) + "\n").encode("ascii")
        if self._stream is None:
            self._own.mkdir(parents=True, exist_ok=True)
            self._stream = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            left = memoryview(line)
            while left:
                left = left[os.write(self._stream, left) :]
        except OSError:  # such as on a full disk: half a line must not stand before the next one
            os.ftruncate(self._stream, self._end)
            os.lseek(self._stream, self._end, os.SEEK_SET)
            raise
        self._note(record, self._path, self._end)
        self._end += len(line)

    def gather(self, path: Path) -> None:
        """Write all records to one file, whole, so that the folder can go. Nobody else may be writing.

        Raises:
            OSError: If it cannot be written.
        """
        partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
        try:
            with partial.open("wb") as stream:
                for unit in self:
                    stream.write(_line_at(self._known[unit]))
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            os.close(self._stream)
            self._stream = None


def _parsed(line: bytes) -> UnitRecord | None:
    try:
        record = UnitRecord(**json.loads(line))
        return record if isinstance(record.unit, str) and isinstance(record.turn, int) else None
    except (ValueError, TypeError):
        return None


def _line_at(where: _Where) -> bytes:
    with where.path.open("rb") as stream:
        stream.seek(where.offset)
        return stream.readline()
