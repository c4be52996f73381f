"""How many requests, and how many bytes of them, are at work at a time."""

import threading


class FullError(Exception):
    """There is no room for one more."""


class Room:
    """Counts what is at work. Threads may share it.

    Args:
        most: Most requests.
        most_bytes: Most bytes of them together.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._lock = threading.Lock()
        self._count = self._bytes = 0

    @property
    def count(self) -> int:
        """How many requests are at work."""
        return self._count

    def enter(self) -> "Place":
        """Take one in.

        Raises:
            FullError: If there are as many as there may be.
        """
        with self._lock:
            if self._count >= self._most:
                raise FullError
            self._count += 1
        return Place(self)

    def take(self, count: int) -> None:
        """Take bytes of one that is in.

        Raises:
            FullError: If there are as many as there may be.
        """
        with self._lock:
            if self._bytes + count > self._most_bytes:
                raise FullError
            self._bytes += count

    def leave(self, count: int) -> None:
        """Let one out, with its bytes."""
        with self._lock:
            self._count -= 1
            self._bytes -= count


class Place:
    """The place of one request, which leaves once all who hold it have let go. Threads may share it."""

    def __init__(self, room: Room) -> None:
        self._room, self._bytes, self._holders = room, 0, 1
        self._lock = threading.Lock()

    def grow(self, total: int) -> None:
        """Have room for so many bytes in all.

        Raises:
            FullError: If there is not that much.
        """
        if total > self._bytes:
            self._room.take(total - self._bytes)
            self._bytes = total

    def hold(self) -> None:
        """Hold it once more."""
        with self._lock:
            self._holders += 1

    def let_go(self) -> None:
        """Hold it once less; whoever is the last gives it back."""
        with self._lock:
            self._holders -= 1
            last = self._holders == 0
        if last:
            self._room.leave(self._bytes)
