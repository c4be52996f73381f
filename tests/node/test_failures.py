"""What becomes of a study when something else than the study is at fault: the disk, memory, the queue, a kill."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest
import torch

from anomalib_zsad.node import worker as worker_module
from anomalib_zsad.node.entries import Arrival
from anomalib_zsad.node.options import WorkingOptions
from anomalib_zsad.node.queue import MOST_ATTEMPTS, Queue
from anomalib_zsad.node.rules import load_rules
from anomalib_zsad.node.worker import Worker
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.scoring.scores import SliceScores
from tests.node.node_builders import RULES, is_settled, make_node, rules_file, send, write_series
from tests.screening.bright_spot import BrightSpotScorer

SECONDS = 60
OFTEN = 2 * MOST_ATTEMPTS + 3


def make_worker(folder: Path, *series: list[Path], scorer: object = None, rules: str = RULES) -> Worker:
    """A worker without a node, whose queue holds series that are complete at once."""
    queue = Queue(folder / "queue.sqlite3")
    received, results = folder / "received", folder / "results"
    received.mkdir()
    results.mkdir()
    for path in (path for paths in series for path in paths):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        uids = str(header.SOPInstanceUID), str(header.StudyInstanceUID), str(header.SeriesInstanceUID)
        copy = received / "arriving"
        shutil.copyfile(path, copy)
        assert queue.store(Arrival(*uids, "0" * 64, copy.stat().st_size), copy, received) == "stored"
    options = WorkingOptions(quiet_seconds=1e-6, retry_seconds=1e-6, longest_retry_seconds=1e-6)
    model = scorer or BrightSpotScorer()
    chosen = load_rules(rules_file(folder, rules))
    return Worker(queue, received, results, chosen, (), options, build=lambda _: model)


def study_of(queue: Queue) -> sqlite3.Row:
    (study,) = queue.rows("SELECT * FROM studies")
    return study


def series_states(queue: Queue) -> list[str]:
    return sorted(row["state"] for row in queue.rows("SELECT state FROM series"))


@contextmanager
def full_disk(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """While the context lasts, screening finds no room for its results."""
    with patch.context() as patched:
        patched.setattr(worker_module, "screen", lambda *_, **__: (ExitCode.DISK, []))
        yield


def test_a_disk_that_is_full_for_long_loses_no_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = make_worker(tmp_path, write_series(tmp_path / "in"))
    with full_disk(monkeypatch):
        for _ in range(OFTEN):
            assert worker.step()
            assert study_of(worker.queue)["state"] == "complete"
            assert "the disk is full" in study_of(worker.queue)["reason"]
    assert worker.queue.recover(worker.received) == 0  # as after a restart
    assert worker.step()
    assert study_of(worker.queue)["state"] == "screened"


def test_delays_grow_while_the_disk_is_full_and_other_studies_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = make_worker(tmp_path, write_series(tmp_path / "in"))
    delays, known = [], Queue.try_again

    def noted(queue: Queue, study: str, delay: float, *rest: object, **named: object) -> None:
        delays.append(delay)
        known(queue, study, 0.0, *rest, **named)

    monkeypatch.setattr(Queue, "try_again", noted)
    worker.options = WorkingOptions(quiet_seconds=1e-6, retry_seconds=10, longest_retry_seconds=50)
    with full_disk(monkeypatch):
        for _ in range(4):
            assert worker.step()
    assert delays == [10, 20, 40, 50]
    later = write_series(tmp_path / "later", "later")
    (first,) = worker.queue.rows("SELECT uid FROM studies")
    header = pydicom.dcmread(later[0], stop_before_pixels=True)
    uids = str(header.SOPInstanceUID), str(header.StudyInstanceUID), str(header.SeriesInstanceUID)
    worker.queue.store(Arrival(*uids, "0" * 64, 1), later[0], worker.received)
    worker.queue.complete_quiet(-1)
    assert worker.queue.take_study() == uids[1] != first["uid"]


def test_a_study_that_ends_the_program_each_time_is_given_up_and_says_so(tmp_path: Path) -> None:
    worker = make_worker(tmp_path, write_series(tmp_path / "in"))
    worker.queue.complete_quiet(0)
    for _ in range(MOST_ATTEMPTS):
        assert worker.queue.take_study() is not None  # and the program is killed
        worker.queue.recover(worker.received)
    assert worker.step()
    study = study_of(worker.queue)
    assert (study["state"], study["reason"]) == ("failed", "given up: it failed or ended the program 8 times")


def failing(method: Callable[..., None], times: int) -> Callable[..., None]:
    """A method of the queue that finds the disk full the first times."""
    left = [times]

    def call(*arguments: object, **named: object) -> None:
        if left[0] > 0:
            left[0] -= 1
            raise sqlite3.OperationalError("database or disk is full")
        method(*arguments, **named)

    return call


@pytest.mark.parametrize("method", ["finish_study", "try_again", "finish_series"])
def test_a_study_whose_end_the_queue_could_not_take_is_screened_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    worker = make_worker(tmp_path, write_series(tmp_path / "in"))
    monkeypatch.setattr(Queue, method, failing(getattr(Queue, method), OFTEN))
    failures = 0
    for number in range(2 * OFTEN):
        with monkeypatch.context() as patched:
            if method == "try_again" and number < OFTEN:
                patched.setattr(worker_module, "screen", lambda *_, **__: (ExitCode.DISK, []))
            try:
                worker.step()
            except sqlite3.OperationalError:
                failures += 1
        if study_of(worker.queue)["state"] == "screened":
            break
    assert study_of(worker.queue)["state"] == "screened"
    assert series_states(worker.queue) == ["screened"]
    assert failures == (0 if method == "finish_series" else OFTEN)


class ForgetfulScorer(BrightSpotScorer):
    """Has not memory enough for a series of seven slices, the first times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def __call__(self, images: torch.Tensor) -> SliceScores:
        if len(images) == 7 and self.times > 0:
            self.times -= 1
            raise MemoryError
        return super().__call__(images)


def two_series(folder: Path) -> list[list[Path]]:
    """Series of one study: one of six slices and one of seven."""
    first = write_series(folder / "six", "six")
    study = pydicom.dcmread(first[0]).StudyInstanceUID
    return [first, write_series(folder / "seven", "seven", slices=7, StudyInstanceUID=study)]


def test_a_series_that_memory_does_not_do_for_is_tried_again_and_the_others_are_not(tmp_path: Path) -> None:
    scorer = ForgetfulScorer(MOST_ATTEMPTS - 2)
    worker = make_worker(tmp_path, *two_series(tmp_path), scorer=scorer)
    assert worker.step()
    study = study_of(worker.queue)
    assert (study["state"], study["reason"]) == ("complete", "not enough memory for 1 series")
    assert series_states(worker.queue) == ["screened"]
    for _ in range(MOST_ATTEMPTS - 2):
        assert worker.step()
    assert study_of(worker.queue)["state"] == "screened"
    assert series_states(worker.queue) == ["screened", "screened"]
    assert [shape[0] for shape in scorer.batches] == [6, 7]


def test_a_series_that_memory_never_does_for_is_given_up_and_says_why(tmp_path: Path) -> None:
    bad = write_series(tmp_path / "bad", "bad")
    cut = pydicom.dcmread(bad[0])
    cut.PixelData = cut.PixelData[:-40]
    cut.save_as(bad[0])
    series = two_series(tmp_path)
    for path in bad:
        dataset = pydicom.dcmread(path)
        dataset.StudyInstanceUID = pydicom.dcmread(series[0][0]).StudyInstanceUID
        dataset.save_as(path)
    worker = make_worker(tmp_path, bad, *series, scorer=ForgetfulScorer(OFTEN))
    steps = 0
    while study_of(worker.queue)["state"] != "failed" and steps < OFTEN:
        assert worker.step()
        steps += 1
    assert steps in (MOST_ATTEMPTS, MOST_ATTEMPTS + 1)  # once more, where another series was screened by the first
    assert study_of(worker.queue)["reason"] == "2 series failed"
    assert series_states(worker.queue) == ["failed", "failed", "screened"]
    reasons = [row["reason"] for row in worker.queue.rows("SELECT reason FROM series WHERE state = 'failed'")]
    assert sum("not enough memory" in reason for reason in reasons) == 1


def many_series(folder: Path, count: int) -> list[list[Path]]:
    """Series of one study."""
    first = write_series(folder / "0", "0")
    study = pydicom.dcmread(first[0]).StudyInstanceUID
    others = [write_series(folder / str(each), str(each), StudyInstanceUID=study) for each in range(1, count)]
    return [first, *others]


def test_a_node_that_is_told_to_end_ends_after_the_series_under_way_and_goes_on_later(tmp_path: Path) -> None:
    scorer = BrightSpotScorer()
    worker = make_worker(tmp_path, *many_series(tmp_path / "in", 3), scorer=scorer)
    worker.stopping = lambda: bool(scorer.batches)
    for _ in range(2):  # a restart takes nothing away of the attempts
        assert worker.step()
        study = study_of(worker.queue)
        assert (study["state"], study["attempts"]) == ("complete", 0)
        assert len(scorer.batches) == 1
        assert series_states(worker.queue) == ["screened"]
        worker.queue.recover(worker.received)
    worker.stopping = lambda: False
    assert worker.step()
    assert study_of(worker.queue)["state"] == "screened"
    assert series_states(worker.queue) == ["screened"] * 3
    assert len(scorer.batches) == 3
    (summary,) = (tmp_path / "results").rglob("summary.json")
    told = json.loads(summary.read_text())
    assert told["state"] == "complete"
    assert [entry["status"] for entry in told["series"]] == ["done"] * 3


def test_each_series_is_recorded_and_to_be_sent_when_it_is_done(tmp_path: Path) -> None:
    states = []

    class Watching(BrightSpotScorer):
        def __call__(self, images: torch.Tensor) -> SliceScores:
            states.append((len(series_states(worker.queue)), len(worker.queue.rows("SELECT 1 FROM deliveries"))))
            return super().__call__(images)

    worker = make_worker(tmp_path, *many_series(tmp_path / "in", 3), scorer=Watching())
    worker.targets = ("archive",)
    assert worker.step()
    assert states == [(0, 0), (1, 1), (2, 2)]


def test_sigterm_ends_a_node_between_two_series(tmp_path: Path) -> None:
    class Slow(BrightSpotScorer):
        def __call__(self, images: torch.Tensor) -> SliceScores:
            node.stop()
            return super().__call__(images)

    scorer = Slow()
    with make_node(tmp_path, scorer=scorer) as node:
        send(node, [path for paths in many_series(tmp_path / "in", 3) for path in paths])
        node.wait()
    assert len(scorer.batches) == 1
    with make_node(tmp_path) as node:
        assert node.wait_until(is_settled, SECONDS)
        assert series_states(node.queue) == ["screened"] * 3
