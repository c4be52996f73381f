"""kill -9 at any moment, and start again: no acknowledged instance is lost, nothing is screened or sent twice."""

import json
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pydicom
import pytest

from tests.killed_processes import forked, kill, start
from tests.network.orthanc import running_orthanc
from tests.node.killed_node import serve
from tests.node.node_builders import QUIET_SECONDS, Archive, send_to, write_series


@pytest.fixture(scope="module")
def processes():
    with forked("tests.node.killed_node") as context:
        yield context


def start_node(context, folder: Path, targets: list[str]):
    return start(context, serve, str(folder), targets)


def rows(folder: Path, statement: str) -> list[tuple]:
    connection = sqlite3.connect(folder / "node" / "queue.sqlite3", timeout=30)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def is_done(folder: Path, studies: int) -> bool:
    screened = rows(folder, "SELECT COUNT(*) FROM studies WHERE state = 'screened'")[0][0]
    sent = rows(folder, "SELECT COUNT(DISTINCT study) FROM deliveries WHERE state = 'delivered'")[0][0]
    unsent = rows(folder, "SELECT COUNT(*) FROM deliveries WHERE state NOT IN ('delivered', 'superseded')")[0][0]
    return screened == sent == studies and not unsent


def wait_until(reached, seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if reached():
            return True
        time.sleep(0.05)
    return False


def reached(folder: Path, stage: str) -> bool:
    """Whether a node has come to a stage of its work."""
    counted = {
        "receiving": "SELECT COUNT(*) FROM instances",
        "screening": "SELECT COUNT(*) FROM studies WHERE state = 'screening'",
        "sending": "SELECT COUNT(*) FROM deliveries",
    }
    return rows(folder, counted[stage])[0][0] > 0


def survive(context, folder: Path, stage: str, delay: float, target: str, stored: Callable[[], set[str]]) -> str:
    """Send two studies, kill the node some seconds after it has come to a stage, start it again, send them again.

    Args:
        context: Starts processes.
        folder: A new one for everything.
        stage: Of `reached`.
        delay: Seconds.
        target: Where results go.
        stored: SOP Instance UIDs of what lies there.

    Returns:
        What the node was at when it was killed.
    """
    studies = [write_series(folder / name, f"{folder.name} {name}", slices=8) for name in ("a", "b")]
    before = stored()
    process, port = start_node(context, folder, [target])
    acknowledged: list[Path] = []
    times: list[float] = []

    def send_all() -> None:
        for path in [path for paths in studies for path in paths]:
            times.append(time.monotonic())
            if send_to(port, [path]) == [0]:
                acknowledged.append(path)

    sender = threading.Thread(target=send_all)
    sender.start()
    assert wait_until(lambda: reached(folder, stage))
    time.sleep(delay)
    kill(process)
    sender.join()
    states = [state for (state,) in rows(folder, "SELECT state FROM studies")]
    at = f"{len(acknowledged)} acknowledged, studies {states}, sent {len(stored() - before)}"
    kept = dict(rows(folder, "SELECT sop_uid, file FROM instances"))
    for path in acknowledged:
        sent = pydicom.dcmread(path)
        found = folder / "node" / "received" / kept[str(sent.SOPInstanceUID)]
        assert pydicom.dcmread(found).PixelData == sent.PixelData, at
    made = {path: path.read_bytes() for path in (folder / "node" / "results").glob("*/*/series-*/lesions_seg.dcm")}
    process, port = start_node(context, folder, [target])
    try:
        for paths in studies:
            assert send_to(port, paths) == [0] * len(paths), at
        assert wait_until(lambda: is_done(folder, len(studies))), (at, rows(folder, "SELECT * FROM deliveries"))
    finally:
        kill(process)
    # Where a client was slower than the node waits, a study was screened before all of it had come, and again.
    pause = max(after - earlier for earlier, after in pairwise(times)) if len(times) > 1 else 0.0
    complete = len(acknowledged) == 16 and pause < 0.8 * QUIET_SECONDS
    check_results(folder, stored() - before, made, complete=complete, at=at)
    return at


def check_results(folder: Path, stored: set[str], made: dict[Path, bytes], *, complete: bool, at: str) -> None:
    """Every series was screened whole; results that were whole at the kill are the same; they lie at the target."""
    slices = rows(folder, "SELECT slices FROM series WHERE state = 'screened'")
    assert slices == [(8,), (8,)], at
    found = list((folder / "node" / "results").glob("*/*/series-*/lesions_seg.dcm"))
    assert len(found) == 2, at
    assert not list((folder / "node" / "results").rglob(".partial-*")), at
    for path, content in made.items():
        if complete:  # a series that was screened before all of it had come is screened again
            assert path.read_bytes() == content, at
    now = {str(pydicom.dcmread(path).SOPInstanceUID) for path in found}
    assert now <= stored, at
    if complete:
        assert now == stored, at
        assert len(stored) == 2, at
    assert all(json.loads(path.with_name("report.json").read_text())["result"]["slices"] == 8 for path in found)


STAGES = (("receiving", 1.0), ("screening", 1.5), ("sending", 4.0))  # and the longest delay


def test_killed_at_three_seeded_moments(tmp_path: Path, processes):
    draw = random.Random(3)  # noqa: S311
    with Archive().listening() as archive:
        for stage, longest in STAGES:
            moment = draw.uniform(0.0, longest)
            print(survive(processes, tmp_path / stage, stage, moment, archive.word, lambda: set(archive.kept)))


@pytest.mark.slow
def test_killed_at_twenty_seeded_moments_each_result_is_in_orthanc_once(tmp_path: Path, processes):
    draw = random.Random(15)  # noqa: S311
    with running_orthanc(tmp_path / "orthanc") as orthanc:
        for number in range(20):
            stage, longest = STAGES[number % 3]
            moment = draw.uniform(0.0, longest)
            print(stage, survive(processes, tmp_path / str(number), stage, moment, orthanc.entity, orthanc.instances))
        assert len(orthanc.get("/instances")) == len(orthanc.instances())  # no object twice
