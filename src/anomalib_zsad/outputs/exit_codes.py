"""What every command tells the shell."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes, of the same meaning in every command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOTHING_FOUND = 3
    SOME_REFUSED = 4
    ALL_REFUSED = 5
    DISK = 6
    INTERRUPTED = 130
    BROKEN_PIPE = 141
