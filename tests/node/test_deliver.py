"""What a courier does when a target takes some objects of a study and others not."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from anomalib_zsad.network.targets import DeliveryError
from anomalib_zsad.node.deliver import Courier
from anomalib_zsad.node.entries import Arrival, SeriesOutcome
from anomalib_zsad.node.options import WorkingOptions
from anomalib_zsad.node.queue import Queue


class ChoosyTarget:
    """Takes what it does not refuse; as a storage SCP's association, a send ends at the first that may go later."""

    name = "choosy"

    def __init__(self, *refused: str, away: bool = False) -> None:
        self.refused, self.away = set(refused), away
        self.kept: set[str] = set()
        self.calls: list[list[str]] = []

    def send(self, files: Sequence[Path]) -> None:
        self.calls.append([path.stem for path in files])
        if self.away:
            raise DeliveryError("choosy cannot be reached", retry=True)
        for path in files:
            path.read_bytes()
            if path.stem in self.refused:
                raise DeliveryError("choosy cannot store now (status 0110)", retry=True)
            self.kept.add(path.stem)


def make_courier(folder: Path, target: ChoosyTarget, names: Sequence[str]) -> Courier:
    """A courier that has objects of one study to send."""
    queue, results = Queue(folder / "queue.sqlite3"), folder / "results"
    results.mkdir()
    (folder / "one").write_bytes(b"1")
    queue.store(Arrival("1.1", "1", "1.2", "0" * 64, 1), folder / "one", folder / "received")
    for name in names:
        (results / f"{name}.dcm").write_bytes(name.encode())
    objects = tuple((f"2.{number}", f"{name}.dcm", name) for number, name in enumerate(names))
    queue.finish_series("1", SeriesOutcome("1.2", "screened", objects=objects), [target.name])
    return Courier(queue, results, target, WorkingOptions(retry_seconds=1e-6, longest_retry_seconds=1e-6))


def states(courier: Courier) -> dict[str, str]:
    rows = courier.queue.rows("SELECT file, state FROM deliveries")
    return {row["file"].partition(".")[0]: row["state"] for row in rows}


def test_an_object_that_cannot_be_stored_now_keeps_no_other_back(tmp_path: Path) -> None:
    target = ChoosyTarget("a")
    courier = make_courier(tmp_path, target, "abcd")
    assert courier.step()
    assert states(courier) == {"a": "pending", "b": "delivered", "c": "delivered", "d": "delivered"}
    (row,) = courier.queue.rows("SELECT * FROM deliveries WHERE state = 'pending'")
    assert "0110" in row["last_error"]
    target.refused.clear()
    assert courier.step()
    assert set(states(courier).values()) == {"delivered"}


def test_many_that_cannot_be_stored_now_keep_no_other_back_for_long(tmp_path: Path) -> None:
    target = ChoosyTarget(*"abcdefgh")
    courier = make_courier(tmp_path, target, "abcdefghijkl")
    for _ in range(4):
        assert courier.step()
    assert target.kept == set("ijkl")
    assert {name for name, state in states(courier).items() if state == "delivered"} == set("ijkl")


def test_files_that_are_gone_keep_no_other_back_and_are_told(tmp_path: Path) -> None:
    target = ChoosyTarget()
    courier = make_courier(tmp_path, target, "abcdefgh")
    for name in "abcdef":
        (tmp_path / "results" / f"{name}.dcm").unlink()
    assert courier.step()
    assert target.calls == [["g", "h"]]
    assert {name for name, state in states(courier).items() if state == "delivered"} == {"g", "h"}
    for row in courier.queue.rows("SELECT last_error FROM deliveries WHERE state = 'pending'"):
        assert "a file is gone" in row["last_error"]
    (tmp_path / "results" / "a.dcm").write_bytes(b"a")
    assert courier.step()
    assert states(courier)["a"] == "delivered"


@pytest.mark.parametrize("count", [1, 20])
def test_a_target_that_is_away_is_asked_a_few_times_and_not_for_each_object(tmp_path: Path, count: int) -> None:
    target = ChoosyTarget(away=True)
    courier = make_courier(tmp_path, target, "abcdefghijklmnopqrst"[:count])
    assert courier.step()
    assert len(target.calls) <= 4
    assert set(states(courier).values()) == {"pending"}
    attempts = courier.queue.rows("SELECT DISTINCT attempts FROM deliveries")
    assert [row["attempts"] for row in attempts] == [1]
