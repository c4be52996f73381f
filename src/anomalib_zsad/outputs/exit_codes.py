"""What every command tells the shell."""

from enum import IntEnum

from typing_extensions import Self


class ExitCode(IntEnum):
    """Exit codes, of the same meaning in every command."""

    DONE = 0, "everything done"
    FAILED = 1, "an error of the program, with a traceback; or its workers were lost"
    USAGE = 2, "something in the command or its input does not fit"
    NOTHING_FOUND = 3, "the input holds nothing of the kind"
    SOME_REFUSED = 4, "some series or images were refused or unreadable"
    ALL_REFUSED = 5, "all of them were"
    DISK = 6, "the output, or a cache, cannot be written"
    INTERRUPTED = 130, "interrupted; --resume goes on where there is one"
    BROKEN_PIPE = 141, "the program reading the output closed it (such as `head`)"
    TERMINATED = 143, "asked to end (SIGTERM); --resume goes on where there is one"

    meaning: str

    def __new__(cls, value: int, meaning: str) -> Self:
        """A code with what it means."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    @classmethod
    def table(cls) -> str:
        """All of them, for the end of a help text."""
        return "exit codes:\n" + "".join(f"  {code.value:3}  {code.meaning}\n" for code in cls)
