"""What a command that failed says, and the exit code that tells the shell why: the same for every command."""

import sys

from anomalib_zsad.outputs.disk_errors import NOTHING_CAN_BE_WRITTEN, DiskError
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.outputs.output_folder import OutputInUseError
from anomalib_zsad.outputs.terminal import visible
from anomalib_zsad.outputs.termination import exit_code_of_interrupt
from anomalib_zsad.units.crew import WorkersLostError


def exit_code_of(error: BaseException, *, resumable: bool) -> ExitCode:
    """Say what went wrong, if the user can do something about it.

    Args:
        error: What ended the command.
        resumable: Whether the command has `--resume`.

    Returns:
        The exit code.

    Raises:
        BaseException: The error itself, where it is no fault of the user's: a traceback is what helps then.
    """
    if isinstance(error, KeyboardInterrupt):
        code = exit_code_of_interrupt(error)
        what = "asked to end" if code is ExitCode.TERMINATED else "interrupted"
        say(what + "; the same command with --resume goes on" * resumable)
        return code
    full = isinstance(error, OSError) and error.errno in NOTHING_CAN_BE_WRITTEN
    if isinstance(error, DiskError) or full:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        say(f"error: {error.place if isinstance(error, DiskError) else DiskError.place} cannot be written: {reason}")
        return ExitCode.DISK
    if isinstance(error, WorkersLostError):
        say(f"error: {error}" + "; the same command with --resume goes on" * resumable)
        return ExitCode.FAILED
    if isinstance(error, ValueError | OSError | OutputInUseError):
        say(f"error: {error}")
        return ExitCode.USAGE
    raise error


def say(text: str) -> None:
    """A line on standard error; what others chose is made visible."""
    sys.stderr.write(f"{visible(text)}\n")
    sys.stderr.flush()
