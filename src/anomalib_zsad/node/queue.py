"""The durable queue: instances, studies and series with their state, in an SQLite file of the node's folder.

What a method has done is on the disk when it returns; a process that is killed at any point leaves the queue before or
after the method, never between.
"""

import os
import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from anomalib_zsad.node.entries import (
    Arrival,
    ReceivedSeries,
    SeriesOutcome,
    Stored,
    StudyState,
    hidden_name,
    shown_name,
)
from anomalib_zsad.outputs.durable_file import DurableFile

MOST_ATTEMPTS = 8
"""How often a study is begun that fails, or ends the program, without getting anywhere."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS studies (
    uid TEXT PRIMARY KEY, name TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '',
    first_arrival REAL NOT NULL, last_arrival REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, next_attempt REAL NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS instances (
    sop_uid TEXT PRIMARY KEY, study TEXT NOT NULL REFERENCES studies(uid), series TEXT NOT NULL, file TEXT NOT NULL,
    state TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL, arrival REAL NOT NULL);
CREATE INDEX IF NOT EXISTS instances_of_study ON instances(study, series);
CREATE TABLE IF NOT EXISTS series (
    study TEXT NOT NULL REFERENCES studies(uid), uid TEXT NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '', rule TEXT NOT NULL DEFAULT '', digest TEXT NOT NULL,
    folder TEXT NOT NULL DEFAULT '', slices INTEGER NOT NULL DEFAULT 0, finished REAL NOT NULL,
    PRIMARY KEY (study, uid));
CREATE TABLE IF NOT EXISTS deliveries (
    sop_uid TEXT NOT NULL, target TEXT NOT NULL, study TEXT NOT NULL, series TEXT NOT NULL, file TEXT NOT NULL,
    digest TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    next_attempt REAL NOT NULL DEFAULT 0, last_error TEXT NOT NULL DEFAULT '', changed REAL NOT NULL,
    PRIMARY KEY (sop_uid, target));
CREATE INDEX IF NOT EXISTS deliveries_of_study ON deliveries(study, state);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries(target, state, next_attempt);
CREATE INDEX IF NOT EXISTS studies_by_state ON studies(state, last_arrival);
"""
_VERSION = 1
_NOT_COUNTED = "attempts = MAX(attempts - 1, 0)"
_PUT_BACK = f"UPDATE studies SET state = 'complete', {_NOT_COUNTED} WHERE state = 'screening'"  # noqa: S608


class Queue(DurableFile):
    """The queue of one node. Threads may share it.

    Args:
        path: The SQLite file; made if missing.

    Raises:
        ValueError: If the file is that of another version.
        sqlite3.Error: If it is no queue, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)  # it holds UIDs: for the owner alone
        os.close(descriptor)
        super().__init__(path, _SCHEMA, _VERSION, "queue")

    def known(self, arrival: Arrival) -> Stored:
        """What is known of an instance: `stored` stands for a new one, to be stored."""
        found = self.rows("SELECT digest FROM instances WHERE sop_uid = ?", arrival.sop_uid)
        if not found:
            return "stored"
        return "known" if found[0]["digest"] == arrival.digest else "conflict"

    def store(self, arrival: Arrival, temporary: Path, received: Path) -> Stored:
        """Take an instance in: put its file in its place, and write its row.

        Args:
            arrival: What it is.
            temporary: Its file, flushed to the disk, on the same file system as `received`; moved if it is stored.
            received: The folder of received files.

        Returns:
            `stored`; `known` if the same was stored before; `conflict` if another content was, which stays.

        Raises:
            OSError: If the file cannot be moved: nothing is stored then.
            sqlite3.Error: If the row cannot be written: nothing is stored then.
        """
        place = received / arrival.place
        with self._lock:  # of two associations that send the same instance at a time, one comes first
            known = self.known(arrival)
            if known != "stored":
                return known
            move_durably(temporary, place)
            try:
                self._add(arrival)
            except BaseException:
                place.unlink(missing_ok=True)
                raise
        return "stored"

    def _add(self, arrival: Arrival) -> None:
        """The rows of a new instance."""
        now = time.time()
        with self.writing() as connection:
            connection.execute(
                "INSERT INTO studies (uid, name, state, first_arrival, last_arrival) VALUES (?, ?, 'receiving', ?, ?) "
                "ON CONFLICT (uid) DO UPDATE SET state = 'receiving', reason = '', "
                "last_arrival = excluded.last_arrival, attempts = 0, next_attempt = 0",
                (arrival.study, shown_name("study", arrival.study), now, now),
            )
            connection.execute(
                "INSERT INTO instances VALUES (?, ?, ?, ?, 'stored', ?, ?, ?)",
                (arrival.sop_uid, arrival.study, arrival.series, arrival.place, arrival.digest, arrival.size, now),
            )

    def complete_quiet(self, seconds: float, busy: Sequence[str] = ()) -> int:
        """Studies of which nothing has arrived for so long become complete, but for those that are still arriving.

        Returns:
            How many there were.
        """
        marks = ", ".join("?" * len(busy))
        with self.writing() as connection:
            found = connection.execute(
                f"UPDATE studies SET state = 'complete' WHERE state = 'receiving' AND last_arrival <= ? "  # noqa: S608
                f"AND uid NOT IN ({marks})",
                (time.time() - seconds, *busy),
            )
            return found.rowcount

    def take_study(self) -> str | None:
        """The next complete study, which becomes `screening`; `None` if there is none to screen now.

        One that failed or ended the program before comes after all others. There is one worker: a study that is still
        `screening` when it asks again is one whose end could not be recorded, such as on a full disk; it is complete
        again, and that attempt does not count.
        """
        with self.writing() as connection:
            connection.execute(_PUT_BACK)
            found = connection.execute(
                "SELECT uid FROM studies WHERE state = 'complete' AND next_attempt <= ? "
                "ORDER BY attempts, next_attempt, last_arrival",
                (time.time(),),
            ).fetchone()
            if found is None:
                return None
            connection.execute(
                "UPDATE studies SET state = 'screening', reason = '', attempts = attempts + 1 WHERE uid = ?",
                (found["uid"],),
            )
            return str(found["uid"])

    def series_of(self, study: str) -> list[ReceivedSeries]:
        """The series of a study, with what became of them before."""
        instances = self.rows(
            "SELECT i.*, EXISTS (SELECT 1 FROM deliveries d WHERE d.sop_uid = i.sop_uid) AS own FROM instances i "
            "WHERE study = ? ORDER BY series, sop_uid",
            study,
        )
        done = {
            row["uid"]: row["digest"]
            for row in self.rows("SELECT uid, digest FROM series WHERE study = ? AND state <> 'failed'", study)
        }
        groups: dict[str, list[sqlite3.Row]] = {}
        for row in instances:
            groups.setdefault(row["series"], []).append(row)
        return [_received(uid, rows, done.get(uid, "")) for uid, rows in groups.items()]

    def finish_series(self, study: str, outcome: SeriesOutcome, targets: Sequence[str]) -> None:
        """Record what became of a series, and what is to be sent of it, in one.

        Objects that an earlier screening of the series left unsent are not sent any more; those that it sent, and that
        the new ones take the place of, are `superseded`.

        Args:
            study: Study Instance UID.
            outcome: What became of it.
            targets: Names of the targets that its objects go to.
        """
        now, name = time.time(), shown_name("series", outcome.uid)
        with self.writing() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO series VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    study,
                    outcome.uid,
                    name,
                    outcome.state,
                    outcome.reason,
                    outcome.rule,
                    outcome.digest,
                    outcome.folder,
                    outcome.slices,
                    now,
                ),
            )
            if outcome.state != "failed":  # it got somewhere
                connection.execute("UPDATE studies SET attempts = 1 WHERE uid = ?", (study,))
            _plan_deliveries(connection, study, outcome, targets)

    def finish_study(self, study: str, state: StudyState, reason: str = "") -> None:
        """Record what became of a study, unless more of it has arrived meanwhile."""
        with self.writing() as connection:
            connection.execute(
                "UPDATE studies SET state = ?, reason = ? WHERE uid = ? AND state = 'screening'", (state, reason, study)
            )

    def try_again(self, study: str, delay: float, reason: str, *, counted: bool = True) -> None:
        """Put a study back, to be screened after some seconds.

        Args:
            study: Study Instance UID.
            delay: How many.
            reason: Why.
            counted: Whether it was an attempt of the `MOST_ATTEMPTS`; not where the study is not what was at fault.
        """
        taken_back = "" if counted else f", {_NOT_COUNTED}"
        with self.writing() as connection:
            connection.execute(
                f"UPDATE studies SET state = 'complete', reason = ?, next_attempt = ?{taken_back} "  # noqa: S608
                "WHERE uid = ? AND state = 'screening'",
                (reason, time.time() + delay, study),
            )

    def attempts(self, study: str) -> int:
        """How often screening a study was begun since it last got somewhere."""
        return int(self.rows("SELECT attempts FROM studies WHERE uid = ?", study)[0]["attempts"])

    def recover(self, received: Path) -> int:
        """After a start: studies that were being screened are complete again, and files without a row are removed.

        A file without a row was never acknowledged: whoever sent it sends it again. What failed is tried once more,
        after what is new; a study that ended the program again and again is not.

        Returns:
            How many files were removed.
        """
        with self.writing() as connection:
            connection.execute("UPDATE studies SET state = 'complete' WHERE state = 'screening'")
            connection.execute("UPDATE deliveries SET state = 'pending', next_attempt = 0 WHERE state = 'failed'")
            connection.execute(
                "UPDATE studies SET state = 'complete', attempts = 1, next_attempt = 0 "
                "WHERE state = 'failed' AND attempts <= ?",
                (MOST_ATTEMPTS,),
            )
        kept = {row["file"] for row in self.rows("SELECT file FROM instances WHERE state = 'stored'")}
        orphans = [path for path in received.rglob("*.dcm") if path.relative_to(received).as_posix() not in kept]
        for path in orphans:
            path.unlink()
        return len(orphans)

    def deletable(self) -> list[str]:
        """Studies of which everything is screened and sent, and whose instances still lie on the disk."""
        return [
            str(row["uid"])
            for row in self.rows(
                "SELECT uid FROM studies s WHERE state = 'screened' "
                "AND EXISTS (SELECT 1 FROM instances WHERE study = s.uid AND state = 'stored') "
                "AND NOT EXISTS (SELECT 1 FROM series WHERE study = s.uid AND state = 'failed') "
                "AND NOT EXISTS (SELECT 1 FROM deliveries WHERE study = s.uid AND state IN ('pending', 'failed'))"
            )
        ]

    def delete_instances(self, study: str, received: Path) -> int:
        """Remove the files of a study that is done with; its rows stay, so that a resend is still known.

        What a kill leaves of the files `recover` removes.

        Args:
            study: Study Instance UID.
            received: The folder of received files.

        Returns:
            How many there were; 0 if more of the study has arrived meanwhile.
        """
        with self._lock:  # nothing is stored while folders vanish
            with self.writing() as connection:
                if study not in self.deletable():
                    return 0
                files = [row["file"] for row in self.rows("SELECT file FROM instances WHERE study = ?", study)]
                connection.execute("UPDATE instances SET state = 'deleted' WHERE study = ?", (study,))
            for file in files:
                (received / file).unlink(missing_ok=True)
            for folder in [*{(received / file).parent for file in files}, received / hidden_name("study", study)]:
                with suppress(OSError):  # not empty, or gone
                    folder.rmdir()
            return len(files)


def _plan_deliveries(
    connection: sqlite3.Connection, study: str, outcome: SeriesOutcome, targets: Sequence[str]
) -> None:
    """What is to be sent of a series that was just screened, and what of earlier results is no longer."""
    now, key = time.time(), (study, outcome.uid)
    connection.execute("DELETE FROM deliveries WHERE study = ? AND series = ? AND state IN ('pending', 'failed')", key)
    if outcome.objects:
        connection.execute(
            "UPDATE deliveries SET state = 'superseded', changed = ? WHERE study = ? AND series = ?", (now, *key)
        )
    for uid, file, digest in outcome.objects:
        for target in targets:
            # What was delivered stays so, unless the object of this UID holds something else now.
            connection.execute(
                "INSERT INTO deliveries (sop_uid, target, study, series, file, digest, state, changed) "
                "VALUES (?, ?, ?, ?, ?, ?, 'pending', ?) ON CONFLICT (sop_uid, target) DO UPDATE SET "
                "state = CASE WHEN deliveries.digest = excluded.digest THEN 'delivered' ELSE 'pending' END, "
                "file = excluded.file, digest = excluded.digest, attempts = 0, next_attempt = 0, "
                "changed = excluded.changed",
                (uid, target, study, outcome.uid, file, digest, now),
            )


def _received(uid: str, rows: Sequence[sqlite3.Row], done: str) -> ReceivedSeries:
    content = "\n".join(f"{row['sop_uid']} {row['digest']}" for row in rows)
    files = tuple(row["file"] for row in rows if row["state"] == "stored")
    own = any(row["own"] for row in rows)
    return ReceivedSeries(uid, files, sha256(content.encode()).hexdigest(), len(rows) - len(files), own, done)


def move_durably(temporary: Path, place: Path) -> None:
    """Put a flushed file in its place, so that a loss of power after the return leaves it there.

    Raises:
        OSError: If that fails.
    """
    made = [folder for folder in (place.parent, place.parent.parent) if not folder.exists()]
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary.replace(place)
    for folder in {place.parent, *(folder.parent for folder in made)}:
        flush(folder)


def flush(path: Path) -> None:
    """Have the system write a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
