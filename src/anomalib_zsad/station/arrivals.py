"""Files that arrive in a folder: each is told once it is whole, and again when another takes its place."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Literal, NamedTuple

from anomalib_zsad.data.files_below import spoken
from anomalib_zsad.data.image_endings import IMAGE_ENDINGS
from anomalib_zsad.inspection.journal import file_state
from anomalib_zsad.inspection.options import ImageReading

_ENDINGS = tuple(IMAGE_ENDINGS)
# What reading a file says where the machine that has it does not answer. What names are known of the file may still
# come from a cache.
_NO_ANSWER = {
    errno.ESTALE,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.ENOTCONN,
    errno.ETIMEDOUT,
    errno.ECONNABORTED,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
}

Seen = Literal["same", "another", "gone", "away"]
"""How a file is found again: as it was, written anew, removed, or in a folder that is not there itself."""


class Arrival(NamedTuple):
    """A file as it was seen.

    Attributes:
        name: Below the folder, with forward slashes; bytes that are no text are spelled out.
        path: Of the file.
        state: Its size and time of modification, as `inspection.journal.file_state` says it.
        changed: The latter, in nanoseconds.
    """

    name: str
    path: Path
    state: str
    changed: int

    @property
    def digest(self) -> bytes:
        """16 bytes that stand for name and state."""
        return _digest(self.name, self.state)


class Arrivals:
    """Looks at a folder again and again.

    What is kept in memory are about 100 bytes for each picture that lies in the folder and 300 for each folder below,
    and nothing of those that left. `look_again` may be called by other threads than the one that polls, between polls.

    Args:
        folder: The folder, looked through to any depth; links to folders are not followed.
        reading: Which pictures are asked for.
        stable_polls: See `WatchOptions`.
        is_answered: Whether a picture of a name and state has its answer already.
    """

    def __init__(
        self, folder: Path, reading: ImageReading, stable_polls: int, is_answered: Callable[[str, str], bool]
    ) -> None:
        self._folder, self._reading, self._polls, self._is_answered = folder, reading, stable_polls, is_answered
        self._answered: set[bytes] = set()
        self._waiting: dict[str, tuple[str, int]] = {}
        self._folders: dict[Path, tuple[int, int]] = {}

    def poll(self) -> list[Arrival]:
        """The pictures that are whole and have no answer yet, oldest first.

        Raises:
            OSError: If the folder itself cannot be looked at.
        """
        present: set[bytes] = set()
        waiting: dict[str, tuple[str, int]] = {}
        whole: list[Arrival] = []
        for arrival in self._pictures():
            digest = arrival.digest
            if digest in self._answered or self._was_answered(arrival):
                present.add(digest)
                continue
            state, polls = self._waiting.get(arrival.name, ("", 0))
            polls = polls + 1 if state == arrival.state else 0
            waiting[arrival.name] = (arrival.state, polls)
            if polls >= self._polls:
                whole.append(arrival)
        self._answered, self._waiting = present, waiting
        return sorted(whole, key=lambda arrival: (arrival.changed, arrival.name))

    @property
    def waiting(self) -> int:
        """How many pictures had no answer at the last look, or since."""
        return len(self._waiting)

    def existing(self) -> list[Arrival]:
        """What lies in the folder now, whole or not.

        Raises:
            OSError: If the folder itself cannot be looked at.
        """
        return list(self._pictures())

    def _was_answered(self, arrival: Arrival) -> bool:
        # What was seen at the look before had no answer then, and gets one through `answered` alone.
        seen = self._waiting.get(arrival.name, ("", 0))[0] == arrival.state
        return not seen and self._is_answered(arrival.name, arrival.state)

    def answered(self, arrival: Arrival) -> None:
        """A picture got its answer."""
        self._answered.add(arrival.digest)
        self._waiting.pop(arrival.name, None)

    def has_answered(self, name: str, state: str) -> bool:
        """Whether a picture of a name and state that has its answer lay there at the last look that succeeded."""
        return _digest(name, state) in self._answered

    def changed(self, arrival: Arrival) -> None:
        """A picture was written anew while it was read: it waits until it is whole again."""
        self._waiting.pop(arrival.name, None)

    def look_again(self, arrival: Arrival, *, was_read: bool) -> Seen:
        """How a picture is found after the last poll.

        One that is not there is `gone` where its folder is still the one that was looked at. A share that is away may
        leave an empty folder in its place, which is another one.

        Args:
            arrival: The picture.
            was_read: Whether it could be read; of one that could not, it is asked whether anything can.
        """
        try:
            if file_state(arrival.path) != arrival.state:
                return "another"
        except (FileNotFoundError, NotADirectoryError):
            # A link that leads nowhere leads to something that is away.
            return "away" if arrival.path.is_symlink() or not self._has_folders(arrival.path.parent) else "gone"
        except OSError:
            return "away"
        return "same" if was_read or _answers(arrival.path) else "away"

    def _has_folders(self, folder: Path) -> bool:
        """Whether a folder, and the watched one, are those that the last poll looked at."""
        try:
            return all(_identity(path) == self._folders.get(path) for path in (folder, self._folder))
        except OSError:
            return False

    def _pictures(self) -> Iterator[Arrival]:
        self._folders = {}
        yield from self._below(self._folder, "")

    def _below(self, folder: Path, prefix: str) -> Iterator[Arrival]:
        try:
            self._folders[folder] = _identity(folder)
            entries = os.scandir(folder)
        except OSError:
            if not prefix:
                raise
            return  # a folder below that is gone by now, or closed to us
        with entries:
            for entry in entries:
                name = f"{prefix}{entry.name}"
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    yield from self._below(Path(entry.path), f"{name}/")
                elif entry.name.lower().endswith(_ENDINGS) and self._reading.asks_for(spoken(name)):
                    found = self._look(entry, spoken(name))
                    if found is not None:
                        yield found

    @staticmethod
    def _look(entry: "os.DirEntry[str]", name: str) -> Arrival | None:
        try:
            status = entry.stat()
        except OSError:  # gone by now, or a link that leads nowhere
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        return Arrival(name, Path(entry.path), f"{status.st_size} {status.st_mtime_ns}", status.st_mtime_ns)


def _digest(name: str, state: str) -> bytes:
    return blake2b(f"{state} {name}".encode("utf-8", "surrogateescape"), digest_size=16).digest()


def _answers(path: Path) -> bool:
    """Whether the machine that has a file answers when it is read, be it by a refusal."""
    try:
        with path.open("rb") as stream:
            stream.read(1)
    except OSError as error:
        return error.errno not in _NO_ANSWER
    return True


def _identity(folder: Path) -> tuple[int, int]:
    """What tells a folder from another one at the same place."""
    status = folder.stat()
    return status.st_dev, status.st_ino
