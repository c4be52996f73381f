"""One thread for the model: it scores what waits, in batches that are as large as there is something waiting."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
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


@dataclass
class _Job:
    item: ReadImage
    future: "Future[Answer]"


class Batcher:
    """Scores pictures, as a context. Threads may share it.

    Args:
        scorer: The model.
        rule: How scores become decisions.
        monitor: Tests for drift, in the order in which pictures are scored.
        batch_size: Most pictures in a batch.
        on_batch: Called with the size of each batch.
    """

    def __init__(
        self,
        scorer: ImageScorer,
        rule: DecisionRule,
        monitor: DriftMonitor,
        batch_size: int,
        on_batch: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._scorer, self._rule, self._on_batch = scorer, rule, on_batch
        self._size = 1 if scorer.one_by_one else batch_size
        self._monitor, self._monitor_lock = monitor, threading.Lock()
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
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
        return self._jobs.qsize()

    def submit(self, item: ReadImage) -> "Future[Answer]":
        """Have a picture scored. A future that is cancelled before its turn costs nothing.

        Args:
            item: A picture that could be read.
        """
        job = _Job(item, Future())
        self._jobs.put(job)
        return job.future

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
        try:
            job = self._jobs.get(timeout=_PAUSE)
            while True:
                if job.future.set_running_or_notify_cancel():
                    batch.append(job)
                if len(batch) == self._size:
                    break
                job = self._jobs.get_nowait()
        except queue.Empty:
            pass
        return batch

    def _score(self, batch: Sequence[_Job]) -> None:
        """Answer a batch; where the model fails on several, it is asked of each by itself."""
        try:
            answer = answer_batch(self._scorer, [job.item for job in batch])
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
        judged = judge_images(self._rule, answer)
        for place, job in enumerate(batch):
            if answer is None:  # never of pictures that were read
                continue
            record = image_record(job.item, answer, place, judged[place], self._rule.mask_threshold)
            heat = heat_of(answer, place).copy() if answer.has_map else None
            job.future.set_result(self._answer(record, heat))

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
