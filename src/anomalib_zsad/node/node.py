"""A node at work: receiver, worker, a courier for each target, and the status page, until it is told to stop."""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout
from typing_extensions import Self

from anomalib_zsad.network.targets import Target
from anomalib_zsad.node.deliver import Courier
from anomalib_zsad.node.options import ReceivingOptions, StatusOptions, WorkingOptions
from anomalib_zsad.node.queue import Queue
from anomalib_zsad.node.receive import Receiver
from anomalib_zsad.node.rules import Rule
from anomalib_zsad.node.worker import Build, Worker, build_model
from anomalib_zsad.outputs.disk_errors import disk_errors
from anomalib_zsad.outputs.output_folder import OutputInUseError

QUEUE, RECEIVED, RESULTS = "queue.sqlite3", "received", "results"
"""What a node's folder holds."""

_LOG = logging.getLogger("anomalib_zsad.node")
_LOCK = ".anomalib-zsad-lock"
_PAUSE = 0.1


@dataclass
class Node:
    """A node, as a context: it works while the context lasts.

    Attributes:
        folder: Its own folder; made if missing. A node that was killed goes on where it was.
        rules: Which series are screened, and how.
        targets: Where results go.
        receiving: What is taken, and from whom.
        working: When studies are screened, and how results are sent.
        status: The status page.
        token: What visitors of the page must know; empty for no token, on loopback alone.
        build: How a model is built.
    """

    folder: Path
    rules: tuple[Rule, ...]
    targets: Sequence[Target] = ()
    receiving: ReceivingOptions = field(default_factory=ReceivingOptions)
    working: WorkingOptions = field(default_factory=WorkingOptions)
    status: StatusOptions = field(default_factory=StatusOptions)
    token: str = ""
    build: Build = build_model
    _stop: threading.Event = field(default_factory=threading.Event, repr=False)

    def __enter__(self) -> Self:
        """Start.

        Raises:
            OutputInUseError: If another process is at work in the folder, or it holds something else than a queue that
                this version knows.
            DiskError: If the folder cannot be written.
            OSError: If a port cannot be had.
            ValueError: If something of the options does not fit.
        """
        self._prepare_folder()
        self._threads: list[threading.Thread] = []
        received, results = self.folder / RECEIVED, self.folder / RESULTS
        try:
            self.queue = Queue(self.folder / QUEUE)
        except (sqlite3.Error, ValueError) as error:
            self._lock.release()
            raise OutputInUseError(f"{self.folder / QUEUE} cannot be used as a node's queue: {error}") from error
        removed = self.queue.recover(received)
        if removed:
            _LOG.info("%d file(s) that were never acknowledged are removed", removed)
        self.receiver = Receiver(self.queue, received, self.receiving, self.working.quiet_seconds)
        names = tuple(target.name for target in self.targets)
        working = self.rules, names, self.working, self.build, self.receiver.busy, self._stop.is_set
        self.worker = Worker(self.queue, received, results, *working)
        self.page: Any = None
        try:
            self.receiver.start()
            if self.status.status_port is not None:
                from anomalib_zsad.node.page_server import PageServer

                self.page = PageServer(self.status, self.token, self.queue, self.receiver, results, names)
                self.page.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self._run("worker", self.worker.step)
        for number, target in enumerate(self.targets):
            self._run(f"courier-{number}", Courier(self.queue, results, target, self.working).step)
        return self

    def _prepare_folder(self) -> None:
        with disk_errors():
            self.folder.mkdir(parents=True, exist_ok=True)
            held = [path for path in self.folder.iterdir() if path.name != _LOCK]
        if held and not (self.folder / QUEUE).is_file():
            raise OutputInUseError(f"{self.folder} is not empty and holds no node's queue; choose a new folder")
        self._lock = FileLock(self.folder / _LOCK, timeout=0)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise OutputInUseError(f"another node is at work in {self.folder}") from error
        with disk_errors():
            for name in (RECEIVED, RESULTS):
                (self.folder / name).mkdir(exist_ok=True)
                (self.folder / name).chmod(0o700)  # images of patients: for the owner alone

    def _run(self, name: str, step: Callable[[], bool]) -> None:
        """Do steps in a thread, one after the other, with a pause where there is nothing to do."""

        def work() -> None:
            while not self._stop.is_set():
                try:
                    busy = step()
                except Exception as error:
                    # The queue itself may fail for a while (a full disk): nothing is lost, and it goes on.
                    _LOG.error("%s: %s; it goes on in 10 s", name, type(error).__name__)
                    self._stop.wait(10)
                    continue
                if not busy:
                    self._stop.wait(_PAUSE)

        thread = threading.Thread(target=work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop: nothing more is taken, and what is under way is finished."""
        self._stop.set()
        self.receiver.stop()
        if self.page is not None:
            self.page.stop()
        for thread in self._threads:
            thread.join()
        self.queue.close()
        self._lock.release()

    def wait(self) -> None:
        """Wait until the process is interrupted or told to end (SIGINT, SIGTERM)."""
        while not self._stop.wait(1):
            pass

    def stop(self) -> None:
        """Let `wait` end."""
        self._stop.set()

    def wait_until(self, reached: Callable[[Queue], bool], seconds: float) -> bool:
        """Wait until the queue is in some state; returns whether it came to be within the time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if reached(self.queue):
                return True
            time.sleep(0.05)
        return reached(self.queue)
