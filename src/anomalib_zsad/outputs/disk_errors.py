"""Errors of the file system that end a run, told without a path."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOTHING_CAN_BE_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
"""Errors after which nothing further can be written either."""


class DiskError(Exception):
    """The output cannot be written: disk full, no permission, or the like.

    Attributes:
        place: What cannot be written, for people.
    """

    place = "the output"


class CacheError(DiskError):
    """A cache cannot be written: the disk is full, or the like."""

    place = "the cache"


@contextmanager
def disk_errors(*numbers: int) -> Iterator[None]:
    """Turn errors of the file system (all, or those of some numbers) into one that ends the run; names no path.

    Args:
        numbers: Values of `errno`; none for all.

    Raises:
        DiskError: Instead of an `OSError` of these numbers.
    """
    try:
        yield
    except OSError as error:
        if numbers and error.errno not in numbers:
            raise
        raise DiskError(error.strerror or type(error).__name__) from error


@contextmanager
def writes_of_libraries(path: Path) -> Iterator[None]:
    """Give the error of a file that a C++ library cannot write the number that it lacks.

    OpenVINO says so by a `RuntimeError` of the C++ standard library, without a reason.

    Args:
        path: What is written.

    Raises:
        OSError: Instead, as for a full disk.
    """
    try:
        yield
    except RuntimeError as error:
        if "iostream error" not in str(error):
            raise
        reason = "writing stopped before the end, as it does where the disk is full"
        raise OSError(errno.ENOSPC, reason, str(path)) from error
