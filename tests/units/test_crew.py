"""What the driver of a crew does when workers die: with workers that are no processes."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from anomalib_zsad.cli.failures import exit_code_of
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.units import ray_crew, worker_count
from anomalib_zsad.units.crew import Died, Driver, Event, Finished, GivenUp, Ready, WorkersLostError
from anomalib_zsad.units.worker_count import Machine, share


class Paper:
    """Workers that answer, in turn, what they are told to.

    Args:
        answer: What happens to a worker that gets a task.
        starts: What happens when a worker starts; `Ready` once there is nothing more in it.
    """

    def __init__(self, answer: Callable[[str], Event], starts: tuple[Event, ...] = ()) -> None:
        self.answer, self.starts = answer, list(starts)
        self.events: list[tuple[int, Event]] = []
        self.started: list[int] = []
        self.given: list[str] = []

    def start(self, number: int) -> None:
        self.started.append(number)
        self.events.append((number, self.starts.pop(0) if self.starts else Ready("paper")))

    def configure(self, value: object) -> None:
        pass

    def submit(self, number: int, task: str) -> None:
        self.given.append(task)
        self.events.append((number, self.answer(task)))

    def wait(self) -> list[tuple[int, Event]]:
        return [self.events.pop(0)]

    def close(self) -> None:
        pass


def test_tasks_are_done_by_all_workers() -> None:
    crew = Paper(lambda task: Finished(task.upper()))
    driver = Driver(crew)
    driver.grow(3)
    assert driver.first.description == "paper"
    assert dict(driver.run(iter("abcdef"))) == {letter: letter.upper() for letter in "abcdef"}
    assert crew.started == [0, 1, 2]
    assert dict(driver.run(iter("xy"))) == {"x": "X", "y": "Y"}
    assert list(driver.run(iter(""))) == []


def test_a_task_whose_worker_died_is_done_again_and_given_up_after_three_times() -> None:
    deaths = {"b": 2, "d": 9}

    def answer(task: str) -> Event:
        deaths[task] = deaths.get(task, 0) - 1
        return Died() if deaths[task] >= 0 else Finished(task)

    crew = Paper(answer)
    driver = Driver(crew)
    driver.grow(2)
    done = dict(driver.run(iter("abcde")))
    assert done == {"a": "a", "b": "b", "c": "c", "d": GivenUp(3), "e": "e"}
    assert crew.given.count("b") == crew.given.count("d") == 3
    assert len(crew.started) == 2 + 2 + 3


def test_workers_that_cannot_be_started() -> None:
    with pytest.raises(WorkersLostError, match="worker 0 died 3 times before it did anything"):
        Driver(Paper(Finished, (Died(), Died(), Died())))
    driver = Driver(Paper(Finished, (Died(), Ready(1), Died(), Died(), Died())))
    driver.grow(2)
    with pytest.raises(WorkersLostError, match="worker 1 died 3 times"):
        list(driver.run(iter("ab" * 9)))


def test_as_many_workers_as_pay() -> None:
    gib = 1 << 30
    assert share(Machine(8, 32 * gib), gib).workers == 8
    few = share(Machine(8, 5 * gib), gib)
    assert (few.workers, few.threads) == (2, 4)
    assert few.reason == ("2 workers of 4 threads (memory allows no more): 8 cores, 5.0 GiB free for 2.0 GiB each")
    assert share(Machine(8, gib // 2), gib).workers == 1
    asked = share(Machine(2, 32 * gib), gib, 4)
    assert (asked.workers, asked.threads) == (4, 1)
    assert "as asked" in asked.reason
    assert share(Machine(4, 0), 0).reason == "4 workers of 1 thread (one a core): 4 cores, memory unknown"


def test_the_limits_of_a_container_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_count, "_CGROUP", tmp_path)
    whole = Machine.here()
    assert whole.cores >= 1
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    (tmp_path / "memory.max").write_text("2000000\n")
    (tmp_path / "memory.current").write_text("500000\n")
    assert Machine.here() == Machine(1, 1_500_000)
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert Machine.here().cores == whole.cores


def test_without_ray_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"--executor ray needs Ray.*pip install 'anomalib-zsad\[ray\]'"):
        ray_crew.import_ray()


def test_without_a_node_ray_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    alive = [True, True, False]

    def nodes() -> list[dict[str, bool]]:
        return [{"Alive": False}, {"Alive": alive.pop(0)}]

    ray = SimpleNamespace(init=lambda *_, **__: None, wait=lambda *_, **__: ([], ["pending"]), nodes=nodes)
    monkeypatch.setattr(ray_crew, "import_ray", lambda: ray)
    with pytest.raises(WorkersLostError, match="no node of Ray is left to run workers on"):
        ray_crew.RayCrew().wait()
    assert alive == []


def test_lost_workers_are_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(WorkersLostError("no node of Ray is left"), resumable=True) is ExitCode.FAILED
    assert capsys.readouterr().err == "error: no node of Ray is left; the same command with --resume goes on\n"
