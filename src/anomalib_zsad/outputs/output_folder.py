"""The folder of a run: nothing of others is touched, one process at a time, and only an equal run goes on in it."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout
from typing_extensions import Self

from anomalib_zsad.outputs.atomic import is_partial_file, remove_partial, write_text
from anomalib_zsad.outputs.disk_errors import disk_errors

RECORD = "run.json"
"""What decides the results of the run in a folder: command and settings."""

_LOCK = ".anomalib-zsad-lock"


class OutputInUseError(Exception):
    """The output folder holds something that would be overwritten or mixed up."""


class RunFolder:
    """The output folder of one run, as a context: made or taken up, and locked while the context lasts.

    A lock is the operating system's: that of a process that died is free.

    Args:
        path: A new or empty folder, or with `resume` that of an earlier run with equal settings.
        command: Name of the command, such as `screen`.
        settings: What decides results, by part, in JSON's types.
        source: The input, which the folder must not lie in; `None` where there are several, or data sets.
        resume: Go on with an earlier run.
        shown: What the folder is called in messages; by default its path.

    Attributes:
        resumed: Whether an earlier run is taken up.
    """

    def __init__(
        self,
        path: Path,
        command: str,
        settings: Mapping[str, Any],
        *,
        source: Path | None,
        resume: bool = False,
        shown: str = "",
    ) -> None:
        self.path, self._source, self._resume, self._shown = path, source, resume, shown or str(path)
        self._record = json.loads(json.dumps({"command": command, "settings": dict(settings)}))
        self.resumed = False
        self._lock = FileLock(path / _LOCK, timeout=0)

    def __enter__(self) -> Self:
        """Make or take up the folder.

        Raises:
            OutputInUseError: If it holds something else, lies inside the input, or another process is at work in it.
            DiskError: If it cannot be written.
        """
        source = self._source
        if (
            source is not None
            and source.is_dir()
            and Path(os.path.realpath(self.path)).is_relative_to(source.resolve())
        ):
            raise OutputInUseError("the output folder lies inside the input folder; choose another place")
        with disk_errors():
            self.path.mkdir(parents=True, exist_ok=True)
            self._refuse_foreign()
            self._acquire()
        try:
            self._take_up() if self._refuse_foreign() else self._begin()
        except BaseException:
            self._lock.release()
            raise
        return self

    def _refuse_foreign(self) -> bool:
        """Whether the folder holds an earlier run; what is no run's is refused."""
        if (self.path / RECORD).is_file():
            return True
        if any(path.name != _LOCK and not is_partial_file(path) for path in self.path.iterdir()):
            raise OutputInUseError(f"{self._shown} is not empty and holds no earlier run; choose a new folder")
        return False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not self.resumed:
            self._forget()
        self._lock.release()

    def _forget(self) -> None:
        """A run that failed before it wrote anything leaves nothing: the corrected command can use the folder."""
        if not any(path.name not in (RECORD, _LOCK) for path in self.path.iterdir()):
            (self.path / RECORD).unlink(missing_ok=True)

    def _acquire(self) -> None:
        try:
            self._lock.acquire()
        except Timeout as error:
            raise OutputInUseError(
                f"another process is at work in {self._shown}; wait for it, or choose a new folder"
            ) from error

    def _begin(self) -> None:
        self._clean()
        with disk_errors():
            write_text(self.path / RECORD, json.dumps(self._record, indent=2) + "\n")

    def _take_up(self) -> None:
        earlier = _read_record(self.path / RECORD)
        if not self._may_go_on():
            raise OutputInUseError(
                f"{self._shown} holds an earlier run; give --resume to go on with it, or choose a new folder"
            )
        settings = self._record["settings"]
        changed = [part for part in settings if earlier["settings"].get(part) != settings[part]]
        if earlier["command"] != self._record["command"]:
            changed = ["command"]
        if changed or earlier["settings"].keys() != settings.keys():
            raise OutputInUseError(
                f"{self._shown} holds a run with other settings ({', '.join(changed)}); choose a new folder, or repeat "
                "them"
            )
        self.resumed = True
        self._clean()

    def _may_go_on(self) -> bool:
        """Whether this run was told to go on with an earlier one."""
        return self._resume

    def _clean(self) -> None:
        with disk_errors():
            remove_partial(self.path)


def read_run(folder: Path, shown: str = "") -> dict[str, Any]:
    """Command and settings of the run in a folder.

    Args:
        folder: The folder.
        shown: What it is called in messages; by default its path.

    Raises:
        OutputInUseError: If there is none.
    """
    if not (folder / RECORD).is_file():
        raise OutputInUseError(f"{shown or folder} holds no run: there is no {RECORD} in it")
    return _read_record(folder / RECORD)


def _read_record(path: Path) -> dict[str, Any]:
    """Command and settings of an earlier run.

    Raises:
        OutputInUseError: If the file is no record of a run.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(record["command"], str) and isinstance(record["settings"], dict):
            return record
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputInUseError(f"{path} cannot be read as an earlier run's; choose a new folder") from error
    raise OutputInUseError(f"{path} is no earlier run's; choose a new folder")
