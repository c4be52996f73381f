"""Errors of the file system that end a run, told without a path."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

NOTHING_CAN_BE_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
"""Errors after which nothing further can be written either."""


class DiskError(Exception):
    """The output cannot be written: disk full, no permission, or the like."""


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
