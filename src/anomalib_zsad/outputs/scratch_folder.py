"""A folder of this machine that is gone when it is no longer used, however the process that used it ended."""

import secrets
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout
from typing_extensions import Self

_NAME, _LOCK = "anomalib-zsad-scratch-", ".lock"
_PATIENCE = 10.0
"""Whoever sweeps may hold a lock that was just made, for a moment."""


class ScratchFolder:
    """A folder in `TMPDIR` that this user alone can read, as a context.

    What killed processes left is removed by whoever opens or closes one next: the lock beside it, which is the
    operating system's, is free then.

    Attributes:
        path: The folder.
    """

    def __init__(self) -> None:
        base = Path(tempfile.gettempdir())
        _sweep(base)
        name = _NAME + secrets.token_hex(8)
        self._lock = FileLock(base / f"{name}{_LOCK}", timeout=_PATIENCE)
        self._lock.acquire()
        self.path = base / name
        self.path.mkdir(mode=0o700)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove it, and what killed processes left."""
        shutil.rmtree(self.path, ignore_errors=True)
        Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()
        _sweep(self.path.parent)


def _sweep(base: Path) -> None:
    """Remove folders that nobody uses any more; those of other users cannot be, and stay."""
    for lock_file in base.glob(f"{_NAME}*{_LOCK}"):
        lock = FileLock(lock_file, timeout=0)
        with suppress(Timeout, OSError):
            lock.acquire()
            try:
                shutil.rmtree(lock_file.with_suffix(""), ignore_errors=True)
                lock_file.unlink(missing_ok=True)
            finally:
                lock.release()
