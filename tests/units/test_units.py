"""Records, claims, parts and the folder that processes share."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from anomalib_zsad.outputs.output_folder import OutputInUseError, RunFolder
from anomalib_zsad.units import intervals
from anomalib_zsad.units.claims import Claims
from anomalib_zsad.units.intervals import GrowingIntervals
from anomalib_zsad.units.parts import Part
from anomalib_zsad.units.records import Records
from anomalib_zsad.units.shared_folder import SharedRunFolder


def outcomes(records: Records) -> dict[str, object]:
    return {unit: records.get(unit).outcome for unit in records}


def test_records_of_several_processes_are_told_in_the_order_of_the_plan(tmp_path: Path) -> None:
    one, other = Records(tmp_path), Records(tmp_path)
    one.add("b", 1, "s", [1.5])
    other.add("a", 0, "s", ["x"])
    one.refresh()
    assert list(outcomes(one).items()) == [("a", ["x"]), ("b", [1.5])]
    other.refresh()
    other.add("b", 1, "t", [2.5])
    later = Records(tmp_path)
    assert outcomes(later) == {"a": ["x"], "b": [2.5]}
    assert later.get("b").state == "t"
    assert later.is_earlier("b")
    later.add("c", 2, "s", [])
    assert not later.is_earlier("c")


def test_a_line_that_was_cut_off_counts_as_not_recorded(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.add("a", 0, "s", 1)
    records.add("b", 1, "s", 2)
    records.close()
    (path,) = tmp_path.rglob("*.jsonl")
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert len(Records(tmp_path)) == whole[:length].count(b"\n")
    path.write_bytes(whole.replace(b'"unit": "a"', b"\0\0\0\0\0\0\0\0\0\0\0"))
    assert outcomes(Records(tmp_path)) == {"b": 2}


def test_a_record_that_finds_no_room_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records, write = Records(tmp_path), os.write
    records.add("a", 0, "s", 1)

    def full(stream: int, content: bytes) -> int:
        if len(content) < 10:
            raise OSError(28, "No space left on device")
        return write(stream, bytes(content)[:-5])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        records.add("b", 1, "s", 2)
    monkeypatch.setattr(os, "write", write)
    records.add("c", 2, "s", 3)
    assert outcomes(records) == outcomes(Records(tmp_path)) == {"a": 1, "c": 3}


def test_gathered_records_are_one_file_of_what_counts(tmp_path: Path) -> None:
    records = Records(tmp_path / "many")
    for turn in range(3):
        records.add("a", 0, "s", turn)
    records.add("b", 1, "s", "b")
    records.gather(tmp_path / "one")
    assert len((tmp_path / "one").read_text().splitlines()) == 2
    assert outcomes(Records(tmp_path / "none", earlier=tmp_path / "one")) == {"a": 2, "b": "b"}


def test_a_claim_is_of_one_at_a_time(tmp_path: Path) -> None:
    with Claims(tmp_path).claim("unit") as mine, Claims(tmp_path).claim("unit") as theirs:
        assert (mine, theirs) == (True, False)
        with Claims(tmp_path).claim("another") as free:
            assert free
    with Claims(tmp_path).claim("unit") as again:
        assert again


HOLDS = """
import sys, time
from pathlib import Path
from anomalib_zsad.units.claims import Claims
with Claims(Path(sys.argv[1])).claim("unit"):
    print("holds", flush=True)
    time.sleep(60)
"""


def test_the_claim_of_a_process_that_died_is_taken_over(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"holds\n"
    claims = Claims(tmp_path)
    with claims.claim("unit") as mine:
        assert not mine
    timer = threading.Timer(0.2, os.kill, (process.pid, signal.SIGKILL))
    timer.start()
    with claims.claim("unit", seconds=-1) as mine:
        assert mine
    process.wait()


def test_parts_divide_what_there_is_by_names_alone() -> None:
    names = [f"series-{number:04d}" for number in range(1000)]
    parts = [Part(number, 4) for number in range(4)]
    held = [[name for name in names if part.holds(name)] for part in parts]
    assert sorted(name for own in held for name in own) == names
    assert all(200 < len(own) < 300 for own in held)
    assert held[2] == [name for name in names[::-1] if parts[2].holds(name)][::-1]
    assert all(Part().holds(name) for name in names)


@pytest.mark.parametrize(("number", "count", "said"), [(4, 4, "there is no 4"), (-1, 2, "no -1"), (0, 0, "at least 1")])
def test_parts_that_make_no_sense(number: int, count: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Part(number, count)


def test_intervals_grow_with_the_number_of_units(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(intervals.time, "monotonic", lambda: now[0])
    times = GrowingIntervals()
    due = [count for count in range(1, 5001) if times.due()]
    assert due[:5] == [1, 2, 3, 4, 5]
    assert len(due) < 45
    slow = GrowingIntervals()
    assert slow.due()
    slow.begin()
    now[0] = 1.0
    slow.end()
    now[0] = 100.9
    assert not slow.due()
    now[0] = 101.1
    assert slow.due()


def shared(path: Path, part: Part | None = None, *, resume: bool = False) -> SharedRunFolder:
    return SharedRunFolder(path, "screen", {"a": 1}, source=None, resume=resume, part=part)


def test_processes_join_a_run_and_the_last_one_tidies_up(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with shared(output) as first:
        with pytest.raises(OutputInUseError, match="give --resume"), shared(output):
            pass
        records = first.records()
        records.add("a", 0, "s", 1)
        half = output / ".partial-unit"
        half.mkdir()
        with shared(output, resume=True) as second:
            assert outcomes(second.records()) == {"a": 1}
            assert half.exists()  # another process is at work on it
        assert (output / ".units").is_dir()
        records.close()
    assert not (output / ".units").exists()
    with shared(output, resume=True) as third:
        assert not half.exists()
        assert outcomes(third.records()) == {"a": 1}


def test_a_part_joins_and_goes_on_only_when_it_is_told_to(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with shared(output, Part(0, 2)) as folder:
        records = folder.records()
        records.add("a", 0, "s", 1)
        records.close()
    with shared(output, Part(1, 2)):
        pass
    for part in (Part(0, 2), Part(1, 2), Part(1, 3), Part()):
        with pytest.raises(OutputInUseError, match="give --resume"), shared(output, part):
            pass
    with shared(output, Part(0, 2), resume=True), shared(output, Part(1, 3), resume=True):
        pass


def test_a_run_that_fails_before_it_wrote_anything_leaves_a_folder_to_use(tmp_path: Path) -> None:
    def fail() -> None:
        with shared(tmp_path / "out", Part(0, 2)):
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    with shared(tmp_path / "out", Part(0, 2)):
        assert json.loads((tmp_path / "out" / "run.json").read_text())["settings"] == {"a": 1}


def test_a_command_that_wants_the_folder_alone_keeps_others_out(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "out", "screen", {"a": 1}, source=None):
        folder = shared(tmp_path / "out", resume=True)
        folder._lock.timeout = 0
        with pytest.raises(OutputInUseError, match="another process is at work"), folder:
            pass
