"""What ends a station again and again: only a picture that does it itself is answered by that."""

import os
import resource
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from anomalib_zsad.outputs.disk_errors import DiskError
from anomalib_zsad.station.arrivals import Arrival
from anomalib_zsad.station.journal import Journal
from anomalib_zsad.station.watch import Station
from tests.inspection.bright_image import BrightImageScorer
from tests.killed_processes import forked, start
from tests.station.station_builders import options, pictures, save, work

RESTARTS = 14
"""So many would use up what two pictures may end."""


class Ending(BrightImageScorer):
    """Ends at a black picture; a device that was brought out of order answers nothing after it."""

    def __init__(self, *, lasting: bool) -> None:
        super().__init__()
        self._lasting, self._out_of_order = lasting, False

    def __call__(self, batch: torch.Tensor):
        if self._out_of_order or (batch.flatten(1).amax(1) < 0.01).any():
            self._out_of_order = self._lasting
            raise RuntimeError("an illegal memory access was encountered")
        return super().__call__(batch)


class Dying(BrightImageScorer):
    """Takes the whole process with it at a black picture."""

    def __call__(self, batch: torch.Tensor):
        if (batch.flatten(1).amax(1) < 0.01).any():
            os._exit(9)
        return super().__call__(batch)


def restarts(folder: Path, count: int, error: type[Exception], scorer: Any, **others: Any) -> int:
    """Start again and again; returns how often it ended by the error before all were answered."""
    for ended in range(RESTARTS):
        try:
            work(folder / "in", folder / "out", count, scorer(), **others)
        except error:
            continue
        return ended
    return RESTARTS


def reasons(folder: Path) -> dict[str, str]:
    return {line["image"]: line["reason"] for line in pictures(folder / "out")}


def test_a_disk_that_stays_full_loses_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        save(tmp_path / "in", f"{name}.png", 90)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("anomalib_zsad.station.overlays.Overlays.write", full)  # the journal still has room
    assert restarts(tmp_path, 3, DiskError, BrightImageScorer) == RESTARTS
    assert pictures(tmp_path / "out") == []
    monkeypatch.undo()
    work(tmp_path / "in", tmp_path / "out", 3)
    assert reasons(tmp_path) == {"a.png": "", "b.png": "", "c.png": ""}


def test_a_model_that_stays_broken_loses_no_picture(tmp_path: Path) -> None:
    for name in "abc":
        save(tmp_path / "in", f"{name}.png", 90)
    assert restarts(tmp_path, 3, RuntimeError, lambda: BrightImageScorer(0)) == RESTARTS
    assert pictures(tmp_path / "out") == []
    work(tmp_path / "in", tmp_path / "out", 3)
    assert reasons(tmp_path) == {"a.png": "", "b.png": "", "c.png": ""}


def test_a_model_that_breaks_at_work_and_stays_broken_loses_no_picture(tmp_path: Path) -> None:
    for number, name in enumerate("abcd"):
        os.utime(save(tmp_path / "in", f"{name}.png", 90), (1000 + number, 1000 + number))
    with pytest.raises(RuntimeError, match="broken"):
        work(tmp_path / "in", tmp_path / "out", 4, BrightImageScorer(1), batch_size=2)
    assert restarts(tmp_path, 4, RuntimeError, lambda: BrightImageScorer(0), batch_size=2) == RESTARTS
    work(tmp_path / "in", tmp_path / "out", 2)
    assert reasons(tmp_path) == dict.fromkeys(("a.png", "b.png", "c.png", "d.png"), "")


@pytest.mark.parametrize("lasting", [False, True])
@pytest.mark.parametrize("others", [0, 3])
def test_a_picture_at_which_the_model_fails_each_time_is_answered_by_that(
    tmp_path: Path, lasting: bool, others: int
) -> None:
    for number in range(others):
        save(tmp_path / "in", f"good{number}.png", 90)
    save(tmp_path / "in", "bad.png", 0)
    ended = restarts(tmp_path, others + 1, RuntimeError, lambda: Ending(lasting=lasting))
    assert 6 <= ended <= 7
    found = reasons(tmp_path)
    assert found.pop("bad.png") == "the program ended 6 times while it was at work on it"
    assert found == {f"good{number}.png": "" for number in range(others)}


def watch_and_die(folder: str, output: str, pipe: Any) -> None:
    """Work until a picture ends it, or all three have an answer."""
    torch.set_num_threads(1)
    pipe.send("ready")
    end = time.monotonic() + 20
    with Station(Path(folder), Path(output), Dying(), options()) as station:
        station.run(lambda: station.journal.count() >= 3 or time.monotonic() > end)


def test_a_picture_at_which_the_process_dies_each_time_is_answered_by_that(tmp_path: Path) -> None:
    save(tmp_path / "in", "bad.png", 0)
    for name in "ab":
        save(tmp_path / "in", f"{name}.png", 90)
    codes = []
    with forked("tests.station.test_watch_ends") as context:
        while len(codes) < RESTARTS and codes[-1:] != [0]:
            process, _ = start(context, watch_and_die, str(tmp_path / "in"), str(tmp_path / "out"))
            process.join(60)
            codes.append(process.exitcode)
    assert codes == [9] * 6 + [0]
    found = reasons(tmp_path)
    assert found == {"bad.png": "the program ended 6 times while it was at work on it", "a.png": "", "b.png": ""}


def test_an_interrupt_counts_for_no_picture(tmp_path: Path) -> None:
    save(tmp_path / "in", "a.png", 90)
    with pytest.raises(KeyboardInterrupt):
        work(tmp_path / "in", tmp_path / "out", 1, BrightImageScorer(0, KeyboardInterrupt()))
    journal = Journal(tmp_path / "out" / "journal.sqlite3")
    assert not journal.rows("SELECT * FROM begun WHERE times > 0")
    journal.close()


@pytest.mark.parametrize(
    "step", ["__init__", "marked", "mark", "last_number", "is_answered", "begin", "note", "forget"]
)
def test_whatever_step_finds_the_disk_full_says_so(tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "in", "a.png", 90)

    def full(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Journal, step, full)
    with pytest.raises(DiskError, match="the journal: database or disk is full"):
        work(tmp_path / "in", tmp_path / "out", 1)
    monkeypatch.undo()
    work(tmp_path / "in", tmp_path / "out", 1)
    assert reasons(tmp_path) == {"a.png": ""}


def test_on_a_full_disk_the_room_of_the_log_is_enough_to_take_an_end_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite3")
    arrival = Arrival("a.png", tmp_path / "a.png", "1 1", 1)
    for _ in range(3):
        journal.begin([arrival])
    log = tmp_path / "journal.sqlite3-wal"
    before = log.stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (before, limits[1]))  # no file can grow beyond that of the log
    try:
        with pytest.raises(sqlite3.OperationalError):
            journal.begin([arrival])
        journal.take_back([arrival])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert journal.times_begun(arrival) == 2
    journal.close()
