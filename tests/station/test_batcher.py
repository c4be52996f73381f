"""What waits for the model: bounded by its bytes, let go of once it is given up, and no failure ends the thread."""

import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.calibration.drift import DriftOptions
from anomalib_zsad.inspection.drift_monitor import DriftMonitor
from anomalib_zsad.inspection.read_images import ReadImage
from anomalib_zsad.station import batcher as batchers
from anomalib_zsad.station.batcher import Batcher, CannotScoreError
from anomalib_zsad.station.room import FullError
from tests.inspection.bright_image import SIDE, BrightImageScorer

BYTES = 3 * SIDE * SIDE * 4
"""Of a prepared picture."""


class Stuck(BrightImageScorer):
    """Waits until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.may_go_on = threading.Event(), threading.Event()

    def __call__(self, batch: torch.Tensor):
        self.begun.set()
        assert self.may_go_on.wait(60)
        return super().__call__(batch)


@contextmanager
def working(scorer: BrightImageScorer, most_bytes: int = 100 * BYTES, batch_size: int = 1) -> Iterator[Batcher]:
    rule = DecisionRule("images")
    with Batcher(scorer, rule, DriftMonitor(rule, DriftOptions(), "arrival"), batch_size, most_bytes) as batcher:
        try:
            yield batcher
        finally:
            if isinstance(scorer, Stuck):
                scorer.may_go_on.set()


def prepared(value: float = 0.5, copies: int = 1) -> ReadImage:
    return ReadImage("picture", size=(SIDE, SIDE * copies), prepared=torch.full((3, SIDE * copies, SIDE), value))


def becomes(condition) -> bool:
    end = time.monotonic() + 20
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(condition())


def test_what_waits_is_bounded_by_its_bytes_until_the_model_takes_it() -> None:
    scorer = Stuck()
    with working(scorer, 2 * BYTES) as batcher:
        first = batcher.submit(prepared(0.1))
        assert scorer.begun.wait(20)
        others = [batcher.submit(prepared(value)) for value in (0.2, 0.3)]
        with pytest.raises(FullError):
            batcher.submit(prepared())
        assert batcher.waiting == 2
        scorer.may_go_on.set()
        scores = [future.result(20).record.score for future in (first, *others)]
        assert scores == pytest.approx([0.1, 0.2, 0.3])
        assert batcher.submit(prepared(0.4)).result(20).record.score == pytest.approx(0.4)


def test_one_that_is_larger_than_all_that_may_wait_waits_alone() -> None:
    scorer = Stuck()
    with working(scorer, 2 * BYTES) as batcher:
        batcher.submit(prepared())
        assert scorer.begun.wait(20)
        large = batcher.submit(prepared(0.7, copies=5))
        with pytest.raises(FullError):
            batcher.submit(prepared())
        scorer.may_go_on.set()
        assert large.result(20).record.score == pytest.approx(0.7)


def test_what_is_given_up_is_let_go_of_though_the_model_is_stuck() -> None:
    scorer = Stuck()
    with working(scorer, 2 * BYTES) as batcher:
        batcher.submit(prepared())
        assert scorer.begun.wait(20)
        for _ in range(50):  # each would find no room if the last were still there
            item = prepared()
            kept = weakref.ref(item.prepared)
            assert batcher.submit(item).cancel()
            del item
            assert kept() is None
        assert batcher.waiting == 0


def test_memory_that_is_full_after_the_model_answered_fails_one_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    real = batchers.heat_of

    def fail(answer, place):
        if float(answer.score[place]) > 0.9:
            raise MemoryError
        return real(answer, place)

    monkeypatch.setattr(batchers, "heat_of", fail)
    with working(BrightImageScorer(), batch_size=4) as batcher:
        futures = [batcher.submit(prepared(value)) for value in (0.2, 1.0, 0.3)]
        assert futures[0].result(20).record.score == pytest.approx(0.2)
        with pytest.raises(CannotScoreError, match="there is not enough memory"):
            futures[1].result(20)
        assert futures[2].result(20).record.score == pytest.approx(0.3)
        assert batcher.is_well(60)
        np.testing.assert_allclose(batcher.submit(prepared(0.5)).result(20).heat, 0.5)
