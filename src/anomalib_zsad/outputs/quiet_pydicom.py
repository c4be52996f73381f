"""Keep pydicom, and what builds on it, from quoting headers: their values may be patient data."""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# A warning of highdicom may count as one of whoever called it: of our writers.
_WHO_WARNS = r"(pydicom|pynetdicom|highdicom|dicomweb_client|anomalib_zsad\.volumes)(\.|$)"
_SILENT = logging.CRITICAL + 1


def silence_pydicom() -> None:
    """Silence the warnings and the log of pydicom for good: for a process that is ours, before its threads begin."""
    warnings.filterwarnings("ignore", module=_WHO_WARNS)
    logging.getLogger("pydicom").setLevel(_SILENT)


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Silence them while a block lasts, in all threads: a program that uses this package may want them for its own.

    Python has one list of filters for all threads. So the first that comes in sets them, and the last that leaves puts
    back what was there: a thread that left earlier would make the others loud.
    """
    _BLOCKS.enter()
    try:
        yield
    finally:
        _BLOCKS.leave()


class _Blocks:
    """The blocks that are quiet now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = 0
        self._before = warnings.catch_warnings()
        self._level = logging.NOTSET

    def enter(self) -> None:
        with self._lock:
            self._open += 1
            if self._open > 1:
                return
            logger = logging.getLogger("pydicom")
            self._before, self._level = warnings.catch_warnings(), logger.level
            self._before.__enter__()
            silence_pydicom()

    def leave(self) -> None:
        with self._lock:
            self._open -= 1
            if self._open == 0:
                self._before.__exit__(None, None, None)
                logging.getLogger("pydicom").setLevel(self._level)


_BLOCKS = _Blocks()
