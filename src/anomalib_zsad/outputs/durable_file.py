"""An SQLite file that holds what a long-running program has done, also when it is killed at any point."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class DurableFile:
    """Tables in a file. Threads may share it.

    Args:
        path: The SQLite file; made if missing.
        schema: Statements that make the tables where they are missing.
        version: Of the schema.
        kind: What the file is, for messages.

    Raises:
        ValueError: If the file is that of another version.
        sqlite3.Error: If it is no such file, or cannot be written.
    """

    def __init__(self, path: Path, schema: str, version: int, kind: str) -> None:
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        found = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
        if found not in (0, version):
            raise ValueError(f"the {kind} in {path.parent} is of version {found}; this program knows {version}")
        self._connection.executescript(schema)
        self._connection.execute(f"PRAGMA user_version={version}")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it is on the disk when the block ends, or none of it."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def rows(self, statement: str, *values: Any) -> list[sqlite3.Row]:
        """What a SELECT gives."""
        with self._lock:
            return self._connection.execute(statement, values).fetchall()
