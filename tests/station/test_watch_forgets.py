"""What a station forgets after long: answers of pictures that are gone for 30 days, and no others."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.cli import main
from anomalib_zsad.station.journal import PUBLISHED, Journal
from anomalib_zsad.station.watch import Station
from tests.inspection.bright_image import BrightImageScorer
from tests.station.station_builders import calibrated, options, pictures, save, work

DAY = 86_400


@pytest.fixture
def on_day(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the clock; the test for drift needs no answer for longer than it takes."""
    monkeypatch.setattr("anomalib_zsad.station.watch._SNAPSHOT", 1)
    now = time.time()

    def set_clock(day: float) -> None:
        monkeypatch.setattr("time.time", lambda: now + day * DAY)

    return set_clock


def remembered(output: Path) -> list[str]:
    journal = Journal(output / "journal.sqlite3")
    found = [entry.content["image"] for entry in journal.all_after(0)]
    journal.close()
    return found


def test_old_overlays_go_and_answers_of_files_that_are_gone_are_forgotten(
    tmp_path: Path, on_day: Callable[[float], None]
) -> None:
    on_day(0)
    old = save(tmp_path / "in", "old.png")
    save(tmp_path / "in", "stays.png")
    work(tmp_path / "in", tmp_path / "out", 2)
    (tmp_path / "out" / "overlays" / "mine.txt").write_text("mine")
    assert len(list((tmp_path / "out" / "overlays").rglob("*.jpg"))) == 2
    on_day(60)
    old.unlink()
    save(tmp_path / "in", "new.png")
    work(tmp_path / "in", tmp_path / "out", 1)
    for day in (61, 80, 89):
        on_day(day)
        work(tmp_path / "in", tmp_path / "out", 0)
        assert remembered(tmp_path / "out") == ["old.png", "stays.png", "new.png"]
    on_day(92)
    work(tmp_path / "in", tmp_path / "out", 0, keep_days=40)
    assert remembered(tmp_path / "out") == ["stays.png", "new.png"]
    assert (tmp_path / "out" / "overlays" / "mine.txt").is_file()
    assert len(pictures(tmp_path / "out")) == 3  # the results stay
    journal = Journal(tmp_path / "out" / "journal.sqlite3")
    assert journal.next_number() == 4
    journal.close()


def test_overlays_older_than_they_are_kept_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "in", "old.png")
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now - 40 * DAY)
    work(tmp_path / "in", tmp_path / "out", 1)
    monkeypatch.undo()
    save(tmp_path / "in", "new.png")
    work(tmp_path / "in", tmp_path / "out", 1, keep_days=30)
    work(tmp_path / "in", tmp_path / "out", 0, keep_days=30)
    assert [path.name for path in (tmp_path / "out" / "overlays").rglob("*.jpg")] == ["00000002.jpg"]


@pytest.mark.parametrize("empty", [False, True])
def test_a_share_that_is_away_for_long_holds_no_new_pictures(
    tmp_path: Path, on_day: Callable[[float], None], empty: bool
) -> None:
    folder, away = tmp_path / "in", tmp_path / "away"
    on_day(0)
    for name in "ab":
        save(folder, f"{name}.png")
    work(folder, tmp_path / "out", 2)
    folder.rename(away)
    if empty:
        folder.mkdir()  # as the place at which a share was mounted
    for day in (40, 60):
        on_day(day)
        work(folder, tmp_path / "out", 0)
    if empty:
        folder.rmdir()
    away.rename(folder)
    on_day(61)
    scorer, looks = BrightImageScorer(), []
    with Station(folder, tmp_path / "out", scorer, options()) as station:
        station.run(lambda: looks.append(1) or len(looks) > 5)
    on_day(80)  # what was missed before is missed no more
    work(folder, tmp_path / "out", 0)
    on_day(95)
    work(folder, tmp_path / "out", 0)
    assert scorer.batches == []
    assert sorted(remembered(tmp_path / "out")) == ["a.png", "b.png"]


def test_names_that_are_no_text_are_not_forgotten(tmp_path: Path, on_day: Callable[[float], None]) -> None:
    on_day(0)
    path = Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/a\xff.png"))
    save(tmp_path / "in", "a.png").rename(path)
    work(tmp_path / "in", tmp_path / "out", 1)
    scorer = BrightImageScorer()
    for day in (31, 62, 93):
        on_day(day)
        work(tmp_path / "in", tmp_path / "out", 0, scorer)
    looks: list[int] = []
    with Station(tmp_path / "in", tmp_path / "out", scorer, options()) as station:
        station.run(lambda: looks.append(1) or len(looks) > 5)
    assert scorer.batches == []
    assert remembered(tmp_path / "out") == ["a\\xff.png"]


def test_one_name_used_again_and_again_is_forgotten_but_for_its_last_picture(
    tmp_path: Path, on_day: Callable[[float], None]
) -> None:
    for day in range(4):
        on_day(day)
        os.utime(save(tmp_path / "in", "latest.png"), (1000 + day, 1000 + day))
        work(tmp_path / "in", tmp_path / "out", 1)
    for day in (5, 36):
        on_day(day)
        work(tmp_path / "in", tmp_path / "out", 0)
    assert remembered(tmp_path / "out") == ["latest.png"]
    status = json.loads((tmp_path / "out" / "status.json").read_text())
    assert (status["answered"], status["last_number"]) == (4, 4)


def test_many_answers_are_looked_through_some_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_day: Callable[[float], None]
) -> None:
    monkeypatch.setattr("anomalib_zsad.station.journal._LOOKED_THROUGH_AT_A_TIME", 2)
    on_day(0)
    for number in range(5):
        save(tmp_path / "in", f"{number}.png")
    work(tmp_path / "in", tmp_path / "out", 5)
    for number in range(5):
        (tmp_path / "in" / f"{number}.png").unlink()
    for day in (1, 32):
        on_day(day)
        looks: list[int] = []
        with Station(tmp_path / "in", tmp_path / "out", BrightImageScorer(), options()) as station:
            station.run(lambda looks=looks: looks.append(1) or len(looks) >= 2)
            assert len(remembered(tmp_path / "out")) == (5 if day == 1 else 1)  # two looks, two each
            station.run(lambda looks=looks: looks.append(1) or len(looks) >= 3)
    assert remembered(tmp_path / "out") == []


def test_a_start_without_a_broker_lets_no_answer_wait_for_one(tmp_path: Path, monkeypatch: Any) -> None:
    save(tmp_path / "in", "a.png")
    work(tmp_path / "in", tmp_path / "out", 1)
    journal = Journal(tmp_path / "out" / "journal.sqlite3")
    journal.mark(PUBLISHED, 0)  # as a start with --mqtt leaves it
    monkeypatch.setattr("anomalib_zsad.cli.watch.load_image_scorer", lambda _: BrightImageScorer())
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(Station, "run", lambda _: None)
    words = ["watch", "-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--allow-untrained"]
    rule = DecisionRule("images", calibrated())
    monkeypatch.setattr("anomalib_zsad.cli.watch.decision_rule", lambda *_: rule)
    assert main(words) == 0
    assert not journal.is_marked(PUBLISHED)
    journal.close()
