"""Processes that start at once, and are killed: forked from a server that has imported everything."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def forked(preload: str) -> Iterator[Any]:
    """The means to start them, where a module of the tests was imported."""
    context = multiprocessing.get_context("forkserver")
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), before]))
    context.set_forkserver_preload([preload])
    yield context
    os.environ["PYTHONPATH"] = before


def start(context: Any, target: Callable[..., None], *args: Any) -> tuple[Any, Any]:
    """A process that runs `target(*args, pipe)`, and what it first says through the pipe."""
    here, there = context.Pipe()
    process = context.Process(target=target, args=(*args, there), daemon=True)
    process.start()
    if not here.poll(60):
        raise TimeoutError(f"{target.__name__} does not start")
    return process, here.recv()


def kill(process: Any) -> None:
    """End a process at once, whatever it is doing."""
    os.kill(process.pid, signal.SIGKILL)
    process.join()
