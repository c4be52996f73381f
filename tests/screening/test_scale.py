"""A few hundred small series by every executor, and through 20 kills: what is left is byte-equal, but for times."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from anomalib_zsad.demo.phantom_dicom import write_dicom_series
from anomalib_zsad.demo.phantoms import make_phantom
from anomalib_zsad.screening.merge import merge
from tests.screening.test_shared_runs import contents

pytestmark = pytest.mark.slow

SERIES, KILLS, LIMIT = 200, 20, 600
ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_memory_monitor_refresh_ms": "0"}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small head CTs of four slices."""
    folder = tmp_path_factory.mktemp("archive")
    phantoms = [make_phantom("head_ct", seed, lesion=bool(seed % 2)) for seed in range(8)]
    for number in range(SERIES):
        phantom = phantoms[number % 8]
        voxels = np.roll(phantom.voxels[::2, ::2, 4:8], number // 8, axis=0)
        write_dicom_series(folder / f"{number % 10}" / f"{number:04d}", voxels, phantom.affine, seed=f"{number}")
    return folder


@pytest.fixture(scope="module")
def expected(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process makes of it."""
    output = tmp_path_factory.mktemp("expected") / "out"
    assert run("alone", archive, output) == 0
    return contents(output)


def start(kind: str, archive: Path, output: Path) -> subprocess.Popen[bytes]:
    fuses = output.parent / "fuses"
    fuses.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "tests.screening.at_scale", kind, str(archive), str(output), str(fuses)]
    return subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT)


def refused(output: Path) -> list[str]:
    series = json.loads((output / "summary.json").read_text())["series"]
    return [entry["reason"] for entry in series if entry["status"] == "refused"]


def run(kind: str, archive: Path, output: Path) -> int:
    process = start(kind, archive, output)
    try:
        return process.wait(LIMIT)
    finally:
        process.kill()


def children_of(parent: int) -> list[int]:
    """Processes that another has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[1]) == parent:
            found.append(int(path.parent.name))
    return found


def oldest_worker_of(driver: int, *, ray: bool = False) -> int:
    """The worker of a driver that was started first: a child of its fork server, or of Ray's raylet."""
    workers = [worker for child in children_of(driver) for worker in children_of(child)]
    if ray:
        workers = [worker for worker in workers if is_at_work_for_ray(worker)]
    return min(workers, key=lambda worker: int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[19]))


def is_at_work_for_ray(process: int) -> bool:
    """Whether it holds an actor: Ray names such a process for what it does, and names its own agents likewise."""
    return Path(f"/proc/{process}/cmdline").read_bytes().startswith(b"ray::Actor")


def half_done(output: Path) -> set[tuple[str, int]]:
    """Series that are being screened, or were when their process was killed: names, and times of the last change."""
    found = set()
    for path in output.glob(".partial-series-*"):
        with suppress(FileNotFoundError):
            found.add((path.name, path.stat().st_ctime_ns))
    return found


def wait_for_work(process: subprocess.Popen[bytes], output: Path, earlier: Collection[tuple[str, int]] = ()) -> bool:
    """Wait until a series is half done that was not before; whether the process is still there."""
    stop = time.monotonic() + LIMIT
    while process.poll() is None and time.monotonic() < stop:
        if half_done(output) - set(earlier):
            return True
        time.sleep(0.005)
    return False


def moments(seed: int) -> Iterator[float]:
    """Seconds to wait once a series is half done: enough for whatever happens to two or three series."""
    random_numbers = random.Random(seed)  # noqa: S311
    return (random_numbers.uniform(0, 0.2) for _ in range(KILLS))


def done(output: Path) -> int:
    return sum(1 for _ in output.glob("series-*"))


def wait_for_series(process: subprocess.Popen[bytes], output: Path, count: int) -> None:
    """Wait until so many series are done."""
    stop = time.monotonic() + LIMIT
    while done(output) < count:
        assert process.poll() is None
        assert time.monotonic() < stop, f"{done(output)} series of {count}"
        time.sleep(0.01)


@pytest.mark.parametrize("kind", ["local-1", "local-2", "ray1", "ray2"])
def test_all_executors_make_the_same(kind: str, archive: Path, expected: dict[str, bytes], tmp_path: Path) -> None:
    if kind.startswith("ray"):
        pytest.importorskip("ray", reason="the extra `ray` is not installed")
    assert run(kind, archive, tmp_path / "out") == 0
    assert contents(tmp_path / "out") == expected


def test_two_parts_at_a_time_make_the_same(archive: Path, expected: dict[str, bytes], tmp_path: Path) -> None:
    for output in ((tmp_path / "shared", tmp_path / "shared"), (tmp_path / "one", tmp_path / "other")):
        parts = [start(f"part-{number}", archive, output[number]) for number in range(2)]
        assert [part.wait(LIMIT) for part in parts] == [0, 0]
    assert contents(tmp_path / "shared") == expected
    merge([tmp_path / "one", tmp_path / "other"], tmp_path / "merged")
    assert contents(tmp_path / "merged") == expected


def test_two_processes_at_a_time_do_each_series_once(archive: Path, expected: dict[str, bytes], tmp_path: Path) -> None:
    both = [start("alone", archive, tmp_path / "out") for _ in range(2)]
    assert [process.wait(LIMIT) for process in both] == [0, 0]
    assert contents(tmp_path / "out") == expected


@pytest.mark.parametrize("kind", ["local-2", "ray2"])
def test_drivers_of_workers_that_are_killed_leave_nothing_half_and_nothing_double(
    kind: str, archive: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    if kind.startswith("ray"):
        pytest.importorskip("ray", reason="the extra `ray` is not installed")
    output = tmp_path / "out"
    for moment in moments(1):
        earlier = half_done(output)
        process = start(kind, archive, output)
        assert wait_for_work(process, output, earlier)
        time.sleep(moment)
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert run(kind, archive, output) == 0
    assert contents(output) == expected
    assert not list(output.glob(".partial*"))


@pytest.mark.parametrize("kind", ["local-2", "ray2"])
def test_workers_that_are_killed_leave_nothing_half_and_nothing_double(
    kind: str, archive: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    if kind.startswith("ray"):
        pytest.importorskip("ray", reason="the extra `ray` is not installed")
    output = tmp_path / "out"
    process = start(kind, archive, output)
    for moment in moments(3):
        before = done(output)
        # The first series of a new worker takes long. No series may be killed three times, which would refuse it: so
        # there is work in between, and the worker that has been there longer is killed.
        wait_for_series(process, output, before + 4)
        assert wait_for_work(process, output)
        time.sleep(moment)
        os.kill(oldest_worker_of(process.pid, ray=kind.startswith("ray")), signal.SIGKILL)
    code = process.wait(LIMIT)
    assert refused(output) == []
    assert code == 0
    assert contents(output) == expected
    assert not list(output.glob(".partial*"))


def test_a_lost_node_of_ray_ends_the_run_and_says_so(archive: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    output = tmp_path / "out"
    process = start("ray2", archive, output)
    try:
        wait_for_series(process, output, 4)
        (raylet,) = (
            child for child in children_of(process.pid) if Path(f"/proc/{child}/comm").read_text() == "raylet\n"
        )
        os.kill(raylet, signal.SIGKILL)
        assert process.wait(LIMIT) == 1
    finally:
        process.kill()
    assert json.loads((output / "summary.json").read_text())["state"].startswith("stopped: no node of Ray is left")
