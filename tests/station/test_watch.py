"""Watching a folder: each picture is answered once, broken ones by an error, drift is told, and everything goes on."""

import json
import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anomalib_zsad.calibration import CalibrationMismatchError
from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.outputs.disk_errors import DiskError
from anomalib_zsad.outputs.output_folder import OutputInUseError
from anomalib_zsad.station.journal import Journal
from anomalib_zsad.station.options import WatchOptions
from anomalib_zsad.station.watch import Station
from tests.inspection.bright_image import BrightImageScorer
from tests.station.station_builders import NORMAL, calibrated, lines, options, pictures, rows, save, work


def test_pictures_are_answered_in_all_files(tmp_path: Path) -> None:
    for number, value in enumerate((90, 110, 240)):
        os.utime(save(tmp_path / "in", f"line3/part{number}.png", value), (1000 + number, 1000 + number))
    assert work(tmp_path / "in", tmp_path / "out", 3) == {"answered": 3, "flagged": 1, "unreadable": 0}
    found = pictures(tmp_path / "out")
    assert [line["image"] for line in found] == [f"line3/part{number}.png" for number in range(3)]
    assert [line["number"] for line in found] == [1, 2, 3]
    assert found[0]["score"] == pytest.approx(90 / 255, abs=1e-3)
    assert [line["decision"] for line in found] == ["normal", "uncertain", "abnormal"]
    assert found[2]["p_value"] == pytest.approx(1 / 101)
    assert found[0]["drift"] is False
    assert found[0]["seconds"] > 0
    assert found[0]["at"].endswith("Z")
    table = rows(tmp_path / "out")
    assert [row["image"] for row in table] == [line["image"] for line in found]
    assert [float(row["score"]) for row in table] == pytest.approx([line["score"] for line in found], abs=1e-5)
    overlay = Image.open(tmp_path / "out" / found[2]["overlay"])
    assert overlay.size == (12, 12)
    assert table[2]["overlay"] == found[2]["overlay"]
    status = json.loads((tmp_path / "out" / "status.json").read_text())
    assert (status["state"], status["answered"], status["waiting"]) == ("stopped", 3, 0)
    assert status["since_start"] == {"answered": 3, "flagged": 1, "unreadable": 0}


def test_a_second_start_answers_what_is_new_alone(tmp_path: Path) -> None:
    save(tmp_path / "in", "a.png")
    work(tmp_path / "in", tmp_path / "out", 1)
    save(tmp_path / "in", "b.png", 240)
    time.sleep(0.01)
    save(tmp_path / "in", "a.png", 200)  # in the place of the first
    scorer = BrightImageScorer()
    work(tmp_path / "in", tmp_path / "out", 2, scorer)
    assert sum(scorer.batches) == 2
    found = pictures(tmp_path / "out")
    assert [line["number"] for line in found] == [1, 2, 3]
    assert sorted(line["image"] for line in found) == ["a.png", "a.png", "b.png"]
    assert [row["number"] for row in rows(tmp_path / "out")] == ["1", "2", "3"]


def test_broken_pictures_become_an_error_and_end_nothing(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "empty.png").write_bytes(b"")
    save(tmp_path / "in", "whole.png")
    (tmp_path / "in" / "cut.png").write_bytes((tmp_path / "in" / "whole.png").read_bytes()[:40])
    save(tmp_path / "in", "large.png", side=50)
    counts = work(tmp_path / "in", tmp_path / "out", 4, reading=options().reading.__class__(max_pixels=2000))
    assert counts == {"answered": 4, "flagged": 0, "unreadable": 3}
    found = {line["image"]: line for line in pictures(tmp_path / "out")}
    assert "cannot be read as an image" in found["empty.png"]["reason"]
    assert "cannot be read as an image" in found["cut.png"]["reason"]
    assert "no more than 2,000 are read" in found["large.png"]["reason"]
    assert str(tmp_path) not in json.dumps(found)
    assert found["cut.png"]["decision"] == "unreadable"
    assert found["cut.png"]["score"] is None
    assert found["whole.png"]["reason"] == ""


class Choosy(BrightImageScorer):
    """Answers no number for white pictures, and runs out of memory for black ones."""

    def __call__(self, batch: torch.Tensor):
        if (batch.flatten(1).amax(1) < 0.01).any():
            raise MemoryError("no more")
        answer = super().__call__(batch)
        answer.score[answer.score > 0.99] = float("nan")
        return answer


def test_a_picture_that_the_model_fails_on_takes_no_other_with_it(tmp_path: Path) -> None:
    for name, value in (("a", 90), ("black", 0), ("white", 255), ("b", 110)):
        save(tmp_path / "in", f"{name}.png", value)
    work(tmp_path / "in", tmp_path / "out", 4, Choosy())
    found = {line["image"]: line for line in pictures(tmp_path / "out")}
    assert found["a.png"]["score"] == pytest.approx(90 / 255, abs=1e-3)
    assert found["b.png"]["score"] == pytest.approx(110 / 255, abs=1e-3)
    assert "the scorer's score holds NaN" in found["white.png"]["reason"]
    assert found["black.png"]["reason"] == "the model cannot score it: no more"


def test_a_model_that_is_broken_ends_the_station_and_loses_nothing(tmp_path: Path) -> None:
    save(tmp_path / "in", "a.png")
    with pytest.raises(RuntimeError, match="broken"):
        work(tmp_path / "in", tmp_path / "out", 1, BrightImageScorer(0))
    assert lines(tmp_path / "out") == []
    work(tmp_path / "in", tmp_path / "out", 1)
    assert len(pictures(tmp_path / "out")) == 1


def test_a_picture_that_is_written_anew_while_it_is_read_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "in", "a.png", 90)
    from anomalib_zsad.inspection.read_images import ImageReader

    reading, written = ImageReader.read, []

    def read(self, name, place):
        found = reading(self, name, place)
        if not written:
            written.append(1)
            time.sleep(0.01)
            save(tmp_path / "in", "a.png", 240)
        return found

    monkeypatch.setattr(ImageReader, "read", read)
    work(tmp_path / "in", tmp_path / "out", 1)
    (found,) = pictures(tmp_path / "out")
    assert found["score"] == pytest.approx(240 / 255, abs=1e-3)
    assert path.is_file()


def test_drift_is_told_once_and_stays_until_a_new_test_begins(tmp_path: Path) -> None:
    drawn = np.random.default_rng(0).choice(NORMAL, 120)
    drawn[60:] *= 0.8
    for number, value in enumerate(drawn):
        os.utime(save(tmp_path / "in", f"{number:03d}.png", value), (1000 + number, 1000 + number))
    rule = DecisionRule("images", calibrated(brightness=(100 / 255, 0.05)))
    work(tmp_path / "in", tmp_path / "out", 120, rule=rule, overlays="none")
    (alarm,) = [line for line in lines(tmp_path / "out") if line["kind"] == "drift"]
    assert 60 < alarm["alarm"]["image"] < 110
    assert alarm["order"] == "arrival"
    assert "in the order in which they came" in alarm["statement"]
    assert {change["figure"] for change in alarm["changes"]} == {"score", "brightness", "sharpness"}
    told = [line["drift"] for line in pictures(tmp_path / "out")]
    assert told.index(True) == alarm["alarm"]["image"] - 1
    assert all(told[told.index(True) :])
    assert len(rows(tmp_path / "out")) == 120
    evidence = pictures(tmp_path / "out")[-1]["drift_evidence"]
    with Station(tmp_path / "in", tmp_path / "out", BrightImageScorer(), options(rule=rule)) as station:
        assert float(f"{station.drift.evidence:.4g}") == evidence  # out of the journal
        assert station.drift.alarm is not None
    with Station(
        tmp_path / "in", tmp_path / "out", BrightImageScorer(), options(rule=rule, restart_drift=True)
    ) as station:
        assert station.drift.alarm is None
        last = lines(tmp_path / "out")[-1]
        assert (last["kind"], last["number"]) == ("drift_restart", 122)
        assert last["statement"] == "a new test for drift begins"
    with Station(tmp_path / "in", tmp_path / "out", BrightImageScorer(), options(rule=rule)) as station:
        assert station.drift.alarm is None


def test_the_test_for_drift_goes_on_from_its_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anomalib_zsad.station.watch._SNAPSHOT", 10)
    for number, value in enumerate(np.random.default_rng(0).choice(NORMAL, 35)):
        os.utime(save(tmp_path / "in", f"{number:03d}.png", value), (1000 + number, 1000 + number))
    work(tmp_path / "in", tmp_path / "out", 35)
    with Station(tmp_path / "in", tmp_path / "out", BrightImageScorer(), options()) as station:
        assert station.journal.marked("drift")[0] >= 20
        assert station.drift.report().images == 35
        assert float(f"{station.drift.evidence:.4g}") == pictures(tmp_path / "out")[-1]["drift_evidence"]


def test_without_a_calibration_nothing_is_decided_and_no_drift_told(tmp_path: Path) -> None:
    save(tmp_path / "in", "a.png", 250)
    work(tmp_path / "in", tmp_path / "out", 1, rule=DecisionRule("images"))
    (found,) = pictures(tmp_path / "out")
    assert [found[name] for name in ("p_value", "flagged", "decision", "drift", "drift_evidence")] == [None] * 5
    assert found["score"] == pytest.approx(250 / 255, abs=1e-3)


@pytest.mark.parametrize(("overlays", "expected"), [("all", 2), ("flagged", 1), ("none", 0)])
def test_overlays_of_those_that_were_asked_for(tmp_path: Path, overlays: str, expected: int) -> None:
    save(tmp_path / "in", "a.png", 20)
    save(tmp_path / "in", "b.png", 250)
    rule = DecisionRule("images", calibrated(), uncertainty=0)
    work(tmp_path / "in", tmp_path / "out", 2, overlays=overlays, rule=rule)
    assert len(list((tmp_path / "out" / "overlays").rglob("*.jpg"))) == expected
    assert sum(line["overlay"] is not None for line in pictures(tmp_path / "out")) == expected


def test_what_lies_there_at_the_first_start_can_be_left_out(tmp_path: Path) -> None:
    save(tmp_path / "in", "before.png")
    (tmp_path / "out").mkdir()
    end = time.monotonic() + 10
    with Station(tmp_path / "in", tmp_path / "out", BrightImageScorer(), options(skip_existing=True)) as station:
        save(tmp_path / "in", "after.png")
        station.run(lambda: station.counts["answered"] >= 1 or time.monotonic() > end)
    assert [line["image"] for line in pictures(tmp_path / "out")] == ["after.png"]
    save(tmp_path / "in", "later.png")
    work(tmp_path / "in", tmp_path / "out", 1, skip_existing=True)  # the first start alone
    assert [line["image"] for line in pictures(tmp_path / "out")] == ["after.png", "later.png"]


def test_only_what_lies_there_at_the_very_first_start_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    work(tmp_path / "in", tmp_path / "out", 0, skip_existing=True)  # nothing lies there
    save(tmp_path / "in", "a.png")
    work(tmp_path / "in", tmp_path / "out", 1, skip_existing=True)
    assert [line["image"] for line in pictures(tmp_path / "out")] == ["a.png"]


def test_pictures_of_a_first_batch_that_came_to_no_answer_are_not_left_out(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with Station(tmp_path / "in", tmp_path / "out", BrightImageScorer(0), options(skip_existing=True)) as station:
        save(tmp_path / "in", "a.png")
        with pytest.raises(RuntimeError, match="broken"):
            station.run()
    work(tmp_path / "in", tmp_path / "out", 1, skip_existing=True)
    assert [line["image"] for line in pictures(tmp_path / "out")] == ["a.png"]


def test_a_first_start_that_leaves_nothing_out_is_the_first_one_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    work(tmp_path / "in", tmp_path / "out", 0)
    save(tmp_path / "in", "a.png")
    work(tmp_path / "in", tmp_path / "out", 1, skip_existing=True)
    assert [line["image"] for line in pictures(tmp_path / "out")] == ["a.png"]


def test_a_folder_that_is_away_for_a_while_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path / "in", "a.png")
    work(tmp_path / "in", tmp_path / "out", 1)
    (tmp_path / "in").rename(tmp_path / "away")
    polls: list[int] = []

    def until() -> bool:
        polls.append(1)
        if len(polls) == 5:
            (tmp_path / "away").rename(tmp_path / "in")
            save(tmp_path / "in", "b.png")
        return station.counts["answered"] >= 1 or len(polls) > 500

    with Station(tmp_path / "in", tmp_path / "out", BrightImageScorer(), options()) as station:
        station.run(until)
    assert [line["image"] for line in pictures(tmp_path / "out")] == ["a.png", "b.png"]
    said = [record.message for record in caplog.records]
    assert said.count("the folder cannot be looked at (No such file or directory); it is tried again") == 1
    assert said.count("the folder can be looked at again") == 1


def test_told_to_stop_it_answers_what_is_under_way(tmp_path: Path) -> None:
    for number in range(6):
        save(tmp_path / "in", f"{number}.png")
    started = threading.Event()

    class Waiting(BrightImageScorer):
        def __call__(self, batch):
            started.set()
            time.sleep(0.1)
            return super().__call__(batch)

    with Station(tmp_path / "in", tmp_path / "out", Waiting(), options(batch_size=2)) as station:
        thread = threading.Thread(target=station.run)
        thread.start()
        assert started.wait(10)
        station.stop()
        thread.join(10)
        assert not thread.is_alive()
    assert 2 <= len(pictures(tmp_path / "out")) < 6
    assert json.loads((tmp_path / "out" / "status.json").read_text())["state"] == "stopped"


def test_lines_that_were_cut_off_or_never_written_are_put_right(tmp_path: Path) -> None:
    for number in range(5):
        os.utime(save(tmp_path / "in", f"{number}.png"), (1000 + number, 1000 + number))
    work(tmp_path / "in", tmp_path / "out", 5, batch_size=1)
    (tables,) = (tmp_path / "out" / "results").glob("*.csv")
    (texts,) = (tmp_path / "out" / "results").glob("*.jsonl")
    whole = tables.read_bytes(), texts.read_bytes()
    journal = Journal(tmp_path / "out" / "journal.sqlite3")
    for damage in (-1, -30, 0, -len(whole[1]) // 2):
        # As a kill leaves them: the mark before the last answers, and files with any part of these.
        journal.mark("written", 0)
        tables.write_bytes(whole[0][:damage] if damage else b"")
        texts.write_bytes(whole[1][:damage] if damage else b"")
        with Station(tmp_path / "in", tmp_path / "out", BrightImageScorer(), options()):
            assert (tables.read_bytes(), texts.read_bytes()) == whole, damage
    journal.close()


def test_outputs_that_are_in_use_and_options_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "in", "a.png")
    with (
        Station(tmp_path / "in", tmp_path / "out", BrightImageScorer(), options()),
        pytest.raises(OutputInUseError, match="another process is at work"),
        Station(tmp_path / "in", tmp_path / "out", BrightImageScorer(), options()),
    ):
        pass
    with (
        pytest.raises(OutputInUseError, match=r"a run with other settings \(decisions\)"),
        Station(tmp_path / "in", tmp_path / "out", BrightImageScorer(), options(rule=DecisionRule("images"))),
    ):
        pass
    with (
        pytest.raises(OutputInUseError, match="lies inside the input folder"),
        Station(tmp_path / "in", tmp_path / "in" / "out", BrightImageScorer(), options()),
    ):
        pass
    (tmp_path / "out" / "journal.sqlite3").write_bytes(b"no database" * 100)
    with (
        pytest.raises(OutputInUseError, match="cannot be used as a station's journal"),
        Station(tmp_path / "in", tmp_path / "out", BrightImageScorer(), options()),
    ):
        pass
    other = calibrated().__class__("images", calibrated().scores, {"model.model": "Another"})
    with pytest.raises(CalibrationMismatchError, match="was 'Another'"):
        Station(tmp_path / "in", tmp_path / "2", BrightImageScorer(), options(rule=DecisionRule("images", other)))
    for wrong in ({"poll_seconds": 0.0}, {"stable_polls": 0}, {"batch_size": 0}, {"keep_days": -1}):
        with pytest.raises(ValueError, match=r"is above 0|at least"):
            WatchOptions(**wrong)


def test_a_full_disk_ends_it_and_the_picture_is_answered_after_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "in", "a.png")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("anomalib_zsad.station.results.Results.append", full)
    with pytest.raises(DiskError, match="No space left"):
        work(tmp_path / "in", tmp_path / "out", 1)
    monkeypatch.undo()
    work(tmp_path / "in", tmp_path / "out", 0)
    assert [line["number"] for line in pictures(tmp_path / "out")] == [1]
    shutil.rmtree(tmp_path / "out")
