"""The output folder of a run that several processes share: each joins, claims units, and leaves."""

import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout
from typing_extensions import Self

from anomalib_zsad.outputs.atomic import remove_partial, write_text
from anomalib_zsad.outputs.disk_errors import disk_errors
from anomalib_zsad.outputs.output_folder import RunFolder
from anomalib_zsad.units.claims import Claims
from anomalib_zsad.units.parts import Part
from anomalib_zsad.units.records import Records

UNITS = ".units"
"""The folder, in that of a run, of records, claims and those who are at work; it is gone when nobody is."""

RECORDS = ".units.jsonl"
"""The records of those who have left."""

PARTS = ".units-parts"
"""The names of the parts that were begun."""

# The folder's lock is held for a moment by whoever joins or leaves, and by other commands for their whole run.
_PATIENCE = 60.0


def records_of(path: Path) -> Records:
    """The records of a run that others may be at work on; to be closed."""
    return Records(path / UNITS / "records", "readers", path / RECORDS)


def records_in(path: Path, part: Part) -> Records:
    """Outcomes of the units of a part of the run in a folder, with a file of its own; to be closed."""
    return Records(path / UNITS / "records", part.name, path / RECORDS)


def claims_in(path: Path) -> Claims:
    """Claims on units of the run in a folder."""
    return Claims(path / UNITS / "claims")


def presence_in(path: Path) -> FileLock:
    """A lock that says that a process is at work on the run in a folder, until it is released or the process ends."""
    folder = path / UNITS / "presence"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / secrets.token_hex(8), timeout=0)
    lock.acquire()
    return lock


class SharedRunFolder(RunFolder):
    """The output folder of one run, which any number of processes with equal settings work in, as a context.

    Who works on a part of a run joins it without being told to go on, unless this part was begun before.

    Args:
        path: A new or empty folder, or with `resume` that of an earlier run with equal settings, which others may be
            at work on.
        command: Name of the command.
        settings: What decides results.
        source: The input, which the folder must not lie in.
        resume: Go on with an earlier run.
        part: Which part of the run this process does.
        shown: What the folder is called in messages; by default its path.
    """

    def __init__(
        self,
        path: Path,
        command: str,
        settings: Mapping[str, Any],
        *,
        source: Path | None,
        resume: bool = False,
        part: Part | None = None,
        shown: str = "",
    ) -> None:
        super().__init__(path, command, settings, source=source, resume=resume, shown=shown)
        self._part = part or Part()
        self._units = path / UNITS
        self._lock = FileLock(self._lock.lock_file, timeout=_PATIENCE)
        self._presence: FileLock | None = None

    @property
    def claims(self) -> Claims:
        """Claims on units of this run."""
        return claims_in(self.path)

    def records(self) -> Records:
        """Outcomes of the units, with a file of its own for whoever asks; to be closed."""
        return records_in(self.path, self._part)

    def __enter__(self) -> Self:
        """Join the run.

        Raises:
            OutputInUseError: If the folder holds something else, or a run that this one was not told to go on with.
            DiskError: If it cannot be written.
        """
        super().__enter__()
        try:
            with disk_errors():
                self._join()
        finally:
            self._lock.release()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._lock.acquire()
        except Timeout:  # those who come and go are many: the next one who is alone tidies up
            return
        if self._presence is not None:
            self._presence.release()
            Path(self._presence.lock_file).unlink(missing_ok=True)
        if self._alone():
            self._tidy()
        super().__exit__(kind, error, trace)

    def _tidy(self) -> None:
        """Remove what killed workers left, and gather the records in one file, if there is room; nobody is at work."""
        with suppress(OSError):
            remove_partial(self.path, deep=False)
            if (self._units / "records").is_dir():
                records = self.records()
                records.gather(self.path / RECORDS)
            shutil.rmtree(self._units)

    def _may_go_on(self) -> bool:
        begun = self._begun()
        joins = any(name.endswith(f"-of-{self._part.count}") for name in begun) and self._part.name not in begun
        return self._resume or (not self._part.whole and joins)

    def _begun(self) -> list[str]:
        """Parts of the run that were begun."""
        path = self.path / PARTS
        return path.read_text(encoding="ascii").split() if path.is_file() else []

    def _join(self) -> None:
        begun = self._begun()
        if not self._part.whole and self._part.name not in begun:
            write_text(self.path / PARTS, "\n".join((*begun, self._part.name)) + "\n")
        self._presence = presence_in(self.path)

    def _clean(self) -> None:
        """Remove what killed processes left, if nobody is at work; else it goes when the unit is done again."""
        if self._alone():
            with disk_errors():
                remove_partial(self.path, deep=False)

    def _alone(self) -> bool:
        """Whether no other process is at work, while this one holds the folder's lock and is not counted."""
        folder = self._units / "presence"
        for path in folder.iterdir() if folder.is_dir() else ():
            lock = FileLock(path, timeout=0)
            try:
                lock.acquire()
            except Timeout:
                return False
            lock.release()
            path.unlink(missing_ok=True)  # of a process that died
        return True

    def _forget(self) -> None:
        """A run that failed before it wrote anything leaves nothing."""
        if not (self.path / RECORDS).exists() and self._alone():
            (self.path / PARTS).unlink(missing_ok=True)
            super()._forget()
