"""Workers that are processes of this machine, each at the other end of a pipe."""

import multiprocessing
import os
import pickle
import signal
import sys
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from anomalib_zsad.outputs.termination import termination_as_interrupt
from anomalib_zsad.units.crew import Died, Event, Finished, Ready, Start

_PATIENCE = 15.0


class LocalCrew:
    """Processes that end when this process ends, however that ends.

    Where the system can, they are forked from one that has imported what they need: starting one anew costs little.

    Args:
        start: Makes the hands of a worker.
    """

    def __init__(self, start: Start) -> None:
        self._start = start
        self._context: Any
        if "forkserver" in multiprocessing.get_all_start_methods():
            self._context = multiprocessing.get_context("forkserver")
            self._context.set_forkserver_preload([type(start).__module__])
        else:
            self._context = multiprocessing.get_context("spawn")
        self._processes: dict[int, Any] = {}
        self._pipes: dict[int, Connection] = {}
        self._settled: list[Any] = []

    def start(self, number: int) -> None:
        """Start a worker, or start it anew."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=serve, args=(theirs, self._start, number), name=f"worker-{number}", daemon=True
        )
        process.start()
        theirs.close()
        self._processes[number], self._pipes[number] = process, ours
        for value in self._settled:
            ours.send(("configure", value))

    def configure(self, value: Any) -> None:
        """Tell all workers, those that will be started as well, what was decided."""
        self._settled = [value]
        for pipe in self._pipes.values():
            pipe.send(("configure", value))

    def submit(self, number: int, task: Any) -> None:
        """Give a worker that is ready a task."""
        with suppress(OSError):  # it died in this moment, which `wait` tells
            self._pipes[number].send(("task", task))

    def wait(self) -> list[tuple[int, Event]]:
        """What happened, once something has.

        Raises:
            Exception: What a worker raised.
        """
        numbers = {id(pipe): number for number, pipe in self._pipes.items()}
        return [(numbers[id(pipe)], self._event(numbers[id(pipe)])) for pipe in wait(list(self._pipes.values()))]

    def _event(self, number: int) -> Event:
        try:
            event = self._pipes[number].recv()
        except (EOFError, OSError):
            self._pipes.pop(number).close()
            self._processes.pop(number).join()
            return Died()
        if isinstance(event, BaseException):
            raise event
        return event

    def close(self) -> None:
        """End all workers."""
        for pipe in self._pipes.values():
            pipe.close()
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.join(_PATIENCE)
            process.kill()
            process.join()
        self._processes, self._pipes = {}, {}


def serve(pipe: Connection, start: Start, number: int) -> None:
    """Do tasks that come through a pipe until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the driver decides
    with suppress(KeyboardInterrupt, BrokenPipeError, EOFError, ConnectionResetError), termination_as_interrupt():
        try:
            hands = start(number)
            pipe.send(Ready(hands.describe(), peak_memory()))
            while True:
                kind, value = pipe.recv()
                if kind == "configure":
                    hands.configure(value)
                else:
                    pipe.send(Finished(hands(value)))
        except (EOFError, OSError, KeyboardInterrupt) as error:
            if not isinstance(error, OSError) or isinstance(error, ConnectionError):
                raise
            pipe.send(_portable(error))
        except Exception as error:
            pipe.send(_portable(error))


def _portable(error: Exception) -> Exception:
    """The error itself where it survives the pipe; else one that quotes it."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - made a moment ago
    except Exception:
        return RuntimeError("".join(traceback.format_exception(error)))
    return error


def peak_memory() -> int:
    """Most bytes that this process has held so far; 0 where that cannot be known."""
    if os.name != "posix":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
