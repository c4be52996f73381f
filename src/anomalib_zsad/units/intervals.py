"""When to write what grows with the number of units: at growing intervals, so that a unit costs the same at the end."""

import time


class GrowingIntervals:
    """Says when it is time again.

    After each of the first units, then whenever there are a quarter more; and never so often that writing takes more
    than a hundredth of the time.
    """

    _GROWTH = 1.25
    _PAUSE = 100

    def __init__(self) -> None:
        self._count, self._next = 0, 1
        self._rest_until = 0.0
        self._started = 0.0

    def due(self) -> bool:
        """Count one more unit; returns whether it is time."""
        self._count += 1
        if self._count < self._next or time.monotonic() < self._rest_until:
            return False
        self._next = max(self._count + 1, int(self._count * self._GROWTH))
        return True

    def begin(self) -> None:
        """Writing begins."""
        self._started = time.monotonic()

    def end(self) -> None:
        """Writing ended."""
        now = time.monotonic()
        self._rest_until = now + self._PAUSE * (now - self._started)
