"""kill -9 at any moment, and start again: every picture is answered exactly once, in every file."""

import random
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.killed_processes import forked, kill, start
from tests.station.station_builders import pictures, rows, save, watch


@pytest.fixture(scope="module")
def processes():
    with forked("tests.station.station_builders") as context:
        yield context


def start_watching(context, folder: Path):
    process, _ = start(context, watch, str(folder / "in"), str(folder / "out"))
    return process


def texts(folder: Path) -> str:
    """Lines of JSON that are there by now, the last one perhaps half."""
    return "".join(path.read_text() for path in (folder / "out" / "results").glob("*.jsonl"))


def survive(context, folder: Path, kills: int, count: int, draw: random.Random) -> None:
    """Let pictures arrive while a station is killed and started again; some come twice under one name."""
    (folder / "in").mkdir(parents=True)
    expected: Counter[str] = Counter()

    def produce() -> None:
        names = [f"{draw.randrange(3)}/part{number:03d}.png" for number in range(count - 4)]
        for number, name in enumerate([*names, *names[:4]]):
            # What is written over before it was answered has no answer: nobody could have read it.
            while expected[name] and f'"{name}"' not in texts(folder):
                time.sleep(0.01)
            save(folder / "in", name, number + 1)
            expected[name] += 1
            time.sleep(0.01)

    producer = threading.Thread(target=produce)
    process = start_watching(context, folder)
    producer.start()
    for _ in range(kills):
        time.sleep(draw.uniform(0.02, 0.4))
        kill(process)
        process = start_watching(context, folder)
    producer.join()
    end = time.monotonic() + 60
    while texts(folder).count("\n") < sum(expected.values()) and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.3)  # for what would come twice
    kill(process)
    found = pictures(folder / "out")
    assert Counter(line["image"] for line in found) == expected
    numbers = [line["number"] for line in found]
    assert numbers == sorted(set(numbers))
    assert [int(row["number"]) for row in rows(folder / "out")] == numbers
    assert sorted(round(255 * line["score"]) for line in found) == list(range(1, count + 1))
    overlays = {path.relative_to(folder / "out").as_posix() for path in (folder / "out" / "overlays").rglob("*.jpg")}
    assert {line["overlay"] for line in found} <= overlays


def test_killed_at_three_seeded_moments(tmp_path: Path, processes) -> None:
    survive(processes, tmp_path, 3, 60, random.Random(5))  # noqa: S311


@pytest.mark.slow
def test_killed_at_forty_seeded_moments(tmp_path: Path, processes) -> None:
    for seed in range(4):
        survive(processes, tmp_path / str(seed), 10, 120, random.Random(seed))  # noqa: S311
