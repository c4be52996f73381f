"""One thread for the model: it scores what waits, in batches that are as large as there is something waiting."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.calibration.drift import DriftAlarm
from anomalib_zsad.inspection.drift_monitor import DriftMonitor
from anomalib_zsad.inspection.image_answers import answer_batch, heat_of, image_record, judge_images
from anomalib_zsad.inspection.read_images import ReadImage
from anomalib_zsad.outputs.memory_errors import is_out_of_memory
from anomalib_zsad.records.drift_report import DriftReport
from anomalib_zsad.records.image_records import ImageRecord
from anomalib_zsad.scoring.image_scorer import ImageScorer
from anomalib_zsad.station.room import FullError

_LOG = logging.getLogger("anomalib_zsad.station")
_PAUSE = 0.2
# So many batches in a row that fail: it is not the pictures.
_MOST_FAILURES = 3


class Answer(NamedTuple):
    """What is said of one picture.

    Attributes:
        record: Score, decision and all.
        heat: Its map, (h, w); `None` where the model has none.
        number: Which answer it is, counted from 1.
        evidence: Of drift by then; `None` where it is not tested.
        alarm: Of drift by then.
    """

    record: ImageRecord
    heat: NDArray[np.float32] | None
    number: int
    evidence: float | None
    alarm: DriftAlarm | None


class CannotScoreError(ValueError):
    """The model fails on a picture, and on this one alone."""


class _Job(NamedTuple):
    item: ReadImage
    future: "Future[Answer]"


class Batcher:
    """Scores pictures, as a context. Threads may share it.

    What waits is bounded, and what is given up while it waits is let go of at once, even if the model is stuck.

    Args:
        scorer: The model.
        rule: How scores become decisions.
        monitor: Tests for drift, in the order in which pictures are scored.
        batch_size: Most pictures in a batch.
        most_bytes: Most bytes of prepared pictures that wait together; one that is larger waits alone.
        on_batch: Called with the size of each batch.
    """

    def __init__(
        self,
        scorer: ImageScorer,
        rule: DecisionRule,
        monitor: DriftMonitor,
        batch_size: int,
        most_bytes: int,
        on_batch: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._scorer, self._rule, self._on_batch = scorer, rule, on_batch
        self._size = 1 if scorer.one_by_one else batch_size
        self._monitor, self._monitor_lock = monitor, threading.Lock()
        self._jobs: OrderedDict[Future[Answer], ReadImage] = OrderedDict()
        self._most_bytes, self._bytes = most_bytes, 0
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._number = self._failures = 0
        self._busy_since: float | None = None
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Score what waits, and end."""
        self._stop.set()
        self._thread.join()

    def is_well(self, longest: float) -> bool:
        """Whether the model is at work, and did not fail on everything of late.

        Args:
            longest: Seconds that no batch should take.
        """
        since = self._busy_since
        stuck = since is not None and time.monotonic() - since > longest
        return self._thread.is_alive() and self._failures < _MOST_FAILURES and not stuck

    @property
    def waiting(self) -> int:
        """How many pictures wait."""
        return len(self._jobs)

    def submit(self, item: ReadImage) -> "Future[Answer]":
        """Have a picture scored. A future that is cancelled before its turn costs nothing.

        Args:
            item: A picture that could be read.

        Raises:
            FullError: If too much waits.
        """
        future: Future[Answer] = Future()
        with self._changed:
            if self._bytes and self._bytes + _size(item) > self._most_bytes:
                raise FullError
            self._jobs[future] = item
            self._bytes += _size(item)
            self._changed.notify()
        future.add_done_callback(self._forget)
        return future

    def _forget(self, future: "Future[Answer]") -> None:
        """Let go of a picture whose answer nobody waits for any more."""
        with self._changed:
            item = self._jobs.pop(future, None)
            self._bytes -= 0 if item is None else _size(item)

    def drift(self) -> DriftReport:
        """What is known of drift by now."""
        with self._monitor_lock:
            return self._monitor.report()

    def restart_drift(self, monitor: DriftMonitor) -> None:
        """Begin a new test for drift."""
        with self._monitor_lock:
            self._monitor = monitor

    def _work(self) -> None:
        while True:
            batch = self._next_batch()
            if batch:
                self._on_batch(len(batch))
                self._busy_since = time.monotonic()
                self._score(batch)
                self._busy_since = None
            elif self._stop.is_set():
                return

    def _next_batch(self) -> list[_Job]:
        """What waits, without waiting for more."""
        batch: list[_Job] = []
        with self._changed:
            self._changed.wait_for(lambda: self._jobs, _PAUSE)
            while self._jobs and len(batch) < self._size:
                future, item = self._jobs.popitem(last=False)
                self._bytes -= _size(item)
                if future.set_running_or_notify_cancel():
                    batch.append(_Job(item, future))
        return batch

    def _score(self, batch: Sequence[_Job]) -> None:
        """Answer a batch; where the model fails on several, it is asked of each by itself."""
        try:
            found = self._found(batch)
        except Exception as error:
            # Whatever the model fails with must not end the service; others' pictures are asked for again.
            if isinstance(error, ValueError) or is_out_of_memory(error):
                self._fail_alone(batch, error)
                return
            self._failures += 1
            _LOG.error("the model failed on a batch: %s", type(error).__name__)
            for job in batch:
                job.future.set_exception(error)
            return
        self._failures = 0
        for job, (record, heat) in zip(batch, found, strict=True):
            job.future.set_result(self._answer(record, heat))

    def _found(self, batch: Sequence[_Job]) -> list[tuple[ImageRecord, NDArray[np.float32] | None]]:
        """What is said of each picture, and its map.

        Raises:
            ValueError: If the model's answer is none.
        """
        answer = answer_batch(self._scorer, [job.item for job in batch])
        if answer is None:  # never of pictures that were read
            raise ValueError("there is no picture to score")
        judged = judge_images(self._rule, answer)
        return [
            (
                image_record(job.item, answer, place, judged[place], self._rule.mask_threshold),
                heat_of(answer, place).copy() if answer.has_map else None,
            )
            for place, job in enumerate(batch)
        ]

    def _fail_alone(self, batch: Sequence[_Job], error: Exception) -> None:
        if len(batch) == 1:
            reason = "there is not enough memory" if is_out_of_memory(error) else str(error)
            batch[0].future.set_exception(CannotScoreError(f"the model cannot score it: {reason}"))
            return
        for job in batch:
            self._score([job])

    def _answer(self, record: ImageRecord, heat: NDArray[np.float32] | None) -> Answer:
        with self._monitor_lock:
            raised = self._monitor.add(record)
            self._number += 1
            if raised:
                _LOG.warning("%s", self._monitor.report().statement)
            return Answer(record, heat, self._number, self._monitor.evidence, self._monitor.alarm)


def _size(item: ReadImage) -> int:
    """Bytes that a prepared picture takes."""
    return 0 if item.prepared is None else item.prepared.untyped_storage().nbytes()
