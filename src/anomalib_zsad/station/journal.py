"""A station's durable journal: every answer, in an SQLite file, and how far its outputs have got.

What a method has done is on the disk when it returns; a process that is killed at any point leaves the journal before
or after the method, never between.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from anomalib_zsad.outputs.durable_file import DurableFile
from anomalib_zsad.station.arrivals import Arrival

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, name TEXT, state TEXT, at REAL NOT NULL,
    content TEXT NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS answers_by_name ON answers(name, state) WHERE kind <> 'drift';
CREATE TABLE IF NOT EXISTS begun (name TEXT NOT NULL, state TEXT NOT NULL, times INTEGER NOT NULL,
    PRIMARY KEY (name, state));
CREATE TABLE IF NOT EXISTS missing (number INTEGER PRIMARY KEY, since REAL NOT NULL);
CREATE TABLE IF NOT EXISTS marks (name TEXT PRIMARY KEY, number INTEGER NOT NULL, content TEXT NOT NULL);
"""
_VERSION = 1
_DAY = 86_400.0
# Answers of files that are gone are remembered so long from when they were first missed: a share that was not there
# for a while, or stood empty, holds no new pictures.
_REMEMBERED_DAYS = 30
_AT_A_TIME = 500
_LOOKED_THROUGH_AT_A_TIME = 2000

PUBLISHED = "published"
"""The mark of how far messages have got."""
_ANSWERED = "answered"  # the mark of how many pictures have had their answer, those that were forgotten included

_ALARM = "alarm"  # the mark of the last alarm, or of the new test since, which outlives its entry

Kind = Literal["picture", "drift", "drift_restart", "skipped"]


class Entry(NamedTuple):
    """A line of the journal.

    Attributes:
        number: Its number; they grow.
        kind: `picture` (an answer), `drift` (an alarm), `drift_restart` (a new test, which withdraws it) or `skipped`
            (a picture that is not to be answered).
        at: When, in seconds since the epoch.
        content: What is said, in JSON's types.
    """

    number: int
    kind: Kind
    at: float
    content: dict[str, Any]


@dataclass(frozen=True)
class NewEntry:
    """What is to be noted.

    Attributes:
        kind: As in `Entry`.
        content: As in `Entry`.
        arrival: The picture; `None` where it is about none.
        at: As in `Entry`.
    """

    kind: Kind
    content: Mapping[str, Any]
    arrival: Arrival | None
    at: float


class Journal(DurableFile):
    """The journal of one station. Threads may share it.

    Args:
        path: The SQLite file; made if missing.

    Raises:
        ValueError: If the file is that of another version.
        sqlite3.Error: If it is no journal, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, _SCHEMA, _VERSION, "journal")

    # Answers

    def is_answered(self, name: str, state: str) -> bool:
        """Whether a picture of a name and state has its answer."""
        question = "SELECT 1 FROM answers WHERE name = ? AND state = ? AND kind <> 'drift'"
        return bool(self.rows(question, name, state))

    def last_number(self) -> int:
        """Number of the last entry there ever was; 0 if there was none."""
        return self.next_number() - 1

    def count(self) -> int:
        """How many pictures ever had their answer."""
        if self.is_marked(_ANSWERED):
            return self.marked(_ANSWERED)[0]
        return int(self.rows("SELECT COUNT(*) AS number FROM answers WHERE kind = 'picture'")[0]["number"])

    def next_number(self) -> int:
        """The number that the next entry will have, whatever was removed before."""
        rows = self.rows("SELECT seq FROM sqlite_sequence WHERE name = 'answers'")
        return int(rows[0]["seq"]) + 1 if rows else 1

    def note(self, entries: Sequence[NewEntry], marks: Mapping[str, tuple[int, Any]] | None = None) -> list[Entry]:
        """Note entries, and marks, in one; nobody is at work on these pictures any more.

        Args:
            entries: In their order.
            marks: See `mark`.

        Returns:
            The entries with their numbers.
        """
        made: list[Entry] = []
        with self.writing() as connection:
            answered = self.count() + sum(entry.kind == "picture" for entry in entries)
            _mark(connection, _ANSWERED, answered, None)
            for entry in entries:
                name, state = (None, None) if entry.arrival is None else (entry.arrival.name, entry.arrival.state)
                content = json.dumps(entry.content, allow_nan=False)
                row = connection.execute(
                    "INSERT INTO answers (kind, name, state, at, content) VALUES (?, ?, ?, ?, ?)",
                    (entry.kind, name, state, entry.at, content),
                )
                made.append(Entry(int(row.lastrowid or 0), entry.kind, entry.at, dict(entry.content)))
                connection.execute("DELETE FROM begun WHERE name = ? AND state = ?", (name, state))
                if entry.kind in ("drift", "drift_restart"):
                    _mark(connection, _ALARM, made[-1].number, made[-1]._asdict())
            for mark, (number, content) in (marks or {}).items():
                _mark(connection, mark, number, content)
        return made

    def alarm(self) -> Entry | None:
        """The last alarm, or the new test that withdrew it; `None` if there was no alarm."""
        _, last = self.marked(_ALARM)
        return None if last is None else Entry(**last)

    def after(self, number: int, most: int = _AT_A_TIME) -> list[Entry]:
        """Answers and alarms after a number, in their order, at most so many."""
        rows = self.rows(
            "SELECT * FROM answers WHERE number > ? AND kind <> 'skipped' ORDER BY number LIMIT ?", number, most
        )
        return [Entry(row["number"], row["kind"], row["at"], json.loads(row["content"])) for row in rows]

    def all_after(self, number: int) -> Iterator[Entry]:
        """All answers and alarms after a number, in their order; some at a time are in memory."""
        while found := self.after(number):
            yield from found
            number = found[-1].number

    # What was begun

    def begin(self, arrivals: Sequence[Arrival]) -> None:
        """Note that pictures are about to be read: a kill meanwhile shows itself at the next start."""
        with self.writing() as connection:
            connection.executemany(
                "INSERT INTO begun VALUES (?, ?, 1) ON CONFLICT (name, state) DO UPDATE SET times = times + 1",
                [(arrival.name, arrival.state) for arrival in arrivals],
            )

    def times_begun(self, arrival: Arrival) -> int | None:
        """How often the program ended at a picture that has no answer yet; `None` if it was never begun."""
        rows = self.rows("SELECT times FROM begun WHERE name = ? AND state = ?", arrival.name, arrival.state)
        return int(rows[0]["times"]) if rows else None

    def take_back(self, arrivals: Sequence[Arrival], *, doubtful: bool = False) -> None:
        """Undo `begin` for those that were not noted: what ends the work upon them is nothing that is to count.

        Args:
            arrivals: The pictures.
            doubtful: Whether one of them may be to blame all the same: they stay known as begun.
        """
        try:
            self._take_back(arrivals, doubtful)
        except sqlite3.OperationalError:
            # The disk is full. What the write-ahead log holds goes to the file, and its own room is used anew.
            self.rows("PRAGMA wal_checkpoint(RESTART)")
            self._take_back(arrivals, doubtful)

    def _take_back(self, arrivals: Sequence[Arrival], doubtful: bool) -> None:
        keys = [(arrival.name, arrival.state) for arrival in arrivals]
        with self.writing() as connection:
            connection.executemany("UPDATE begun SET times = times - 1 WHERE name = ? AND state = ?", keys)
            if not doubtful:
                connection.executemany("DELETE FROM begun WHERE name = ? AND state = ? AND times <= 0", keys)

    def give_up(self, arrivals: Sequence[Arrival]) -> None:
        """Note that pictures were begun and left, since there are others in their place."""
        with self.writing() as connection:
            connection.executemany(
                "DELETE FROM begun WHERE name = ? AND state = ?",
                [(arrival.name, arrival.state) for arrival in arrivals],
            )

    # How far outputs have got

    def mark(self, name: str, number: int, content: Any = None) -> None:
        """Note that something has got as far as a number, and what else is to be known of it."""
        with self.writing() as connection:
            _mark(connection, name, number, content)

    def marked(self, name: str) -> tuple[int, Any]:
        """What `mark` noted; 0 and `None` if it did not."""
        rows = self.rows("SELECT number, content FROM marks WHERE name = ?", name)
        return (int(rows[0]["number"]), json.loads(rows[0]["content"])) if rows else (0, None)

    def is_marked(self, name: str) -> bool:
        """Whether `mark` ever noted something by a name."""
        return bool(self.rows("SELECT 1 FROM marks WHERE name = ?", name))

    def unmark(self, name: str) -> None:
        """Forget what `mark` noted."""
        with self.writing() as connection:
            connection.execute("DELETE FROM marks WHERE name = ?", (name,))

    def forget(self, after: int, done: int, is_there: Callable[[str, str], bool]) -> int | None:
        """Remove answers of pictures that have been missed for long, so that the journal does not grow for ever.

        Some entries at a time are looked through, so that nobody waits; a file of the same name is another picture.

        Args:
            after: The number after which to look.
            done: Up to which number all outputs have got.
            is_there: Whether a picture of a name and state lies in the folder.

        Returns:
            The number after which to look next; `None` if all were looked through.
        """
        now = time.time()
        before = now - _REMEMBERED_DAYS * _DAY
        rows = self.rows(
            "SELECT number, name, state, at, since FROM answers LEFT JOIN missing USING (number) "
            "WHERE number > ? AND number <= ? ORDER BY number LIMIT ?",
            after,
            done,
            _LOOKED_THROUGH_AT_A_TIME,
        )
        found, missed, gone = [], [], []
        for row in rows:
            number = row["number"]
            if row["name"] is None:  # about no picture
                gone += [(number,)] if row["at"] < before else []
            elif is_there(row["name"], row["state"]):
                found += [(number,)] if row["since"] is not None else []
            elif row["since"] is None:
                missed.append((number, now))
            elif row["since"] < before:
                gone.append((number,))
        if found or missed or gone:
            with self.writing() as connection:
                connection.executemany("INSERT INTO missing VALUES (?, ?)", missed)
                connection.executemany("DELETE FROM missing WHERE number = ?", found + gone)
                connection.executemany("DELETE FROM answers WHERE number = ?", gone)
        return rows[-1]["number"] if len(rows) == _LOOKED_THROUGH_AT_A_TIME else None


def _mark(connection: sqlite3.Connection, name: str, number: int, content: Any) -> None:
    text = json.dumps(content, allow_nan=False)
    connection.execute("INSERT OR REPLACE INTO marks VALUES (?, ?, ?)", (name, number, text))
