"""Claims on units, so that of several processes one does it: the operating system's locks, free when a process dies."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


class Claims:
    """Claims of one process in a folder that several share. The file system must know locks across its machines.

    Lock files stay: one that vanishes while another process opens it would lock nobody out. They go with the folder,
    when no process is left.

    Args:
        folder: Where lock files are; made when the first claim is made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def claim(self, name: str, seconds: float = 0.0) -> Iterator[bool]:
        """Claim something while the block lasts.

        Args:
            name: What; any text.
            seconds: How long to wait for another process that holds it; below zero for ever.

        Yields:
            Whether it is claimed; it is not where another process holds it.

        Raises:
            OSError: If no lock file can be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._folder / hashlib.sha256(name.encode()).hexdigest()[:20], timeout=seconds)
        try:
            lock.acquire()
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()
