"""A polite request to end (SIGTERM), which a batch system or `kill` sends: it ends a command as Ctrl-C does."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from anomalib_zsad.outputs.exit_codes import ExitCode


class Terminated(KeyboardInterrupt):
    """The process was asked to end; whatever cleans up after an interrupt cleans up after this one, too."""


def exit_code_of_interrupt(interrupt: KeyboardInterrupt) -> ExitCode:
    """What the shell is told: 143 after SIGTERM, 130 after Ctrl-C."""
    return ExitCode.TERMINATED if isinstance(interrupt, Terminated) else ExitCode.INTERRUPTED


@contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """While the context lasts, SIGTERM raises `Terminated` in the main thread, once: a second one changes nothing.

    Only the main thread can take signals; in any other this does nothing.

    Raises:
        Terminated: In the block, when the process is asked to end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    del frame
    signal.signal(number, signal.SIG_IGN)  # what is being written at the end is not to be cut off
    raise Terminated
