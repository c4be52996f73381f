"""A folder that goes away while pictures of it wait: none is answered by that, and all are once it is back."""

import errno
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from anomalib_zsad.inspection.read_images import ImageReader, ReadImage
from anomalib_zsad.station.watch import Station
from tests.inspection.bright_image import BrightImageScorer
from tests.station.station_builders import options, pictures, save


def backlog(folder: Path, count: int = 20) -> None:
    for number in range(count):
        os.utime(save(folder, f"{number:02d}.png", 90), (1000 + number, 1000 + number))


class Leaving(BrightImageScorer):
    """Has something done to the folder while it scores its first batch."""

    def __init__(self, leave: Any) -> None:
        super().__init__()
        self._leave = leave

    def __call__(self, batch: torch.Tensor):
        if not self.batches:
            self._leave()
        return super().__call__(batch)


def answer_all(folder: Path, scorer: BrightImageScorer, come_back: Any, count: int = 20) -> list[dict[str, Any]]:
    """Work until all have an answer, or ten seconds long; the folder comes back after a few looks."""
    looks, end = [], time.monotonic() + 10

    def until() -> bool:
        looks.append(station.counts["answered"])
        if len(looks) == 5:
            come_back()
        return station.counts["answered"] >= count or time.monotonic() > end

    with Station(folder, folder.parent / "out", scorer, options(batch_size=2)) as station:
        station.run(until)
    assert looks[4] <= 2  # nothing was answered while it was away
    return pictures(folder.parent / "out")


def test_a_folder_that_leaves_in_the_middle_of_a_backlog_is_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, away = tmp_path / "in", tmp_path / "away"
    backlog(folder)
    found = answer_all(folder, Leaving(lambda: folder.rename(away)), lambda: away.rename(folder))
    assert sorted(line["image"] for line in found) == [f"{number:02d}.png" for number in range(20)]
    assert {line["reason"] for line in found} == {""}
    said = [record.message for record in caplog.records]
    assert sum("cannot be looked at" in text for text in said) == 1
    assert said.count("the folder can be looked at again") == 1


def test_a_share_that_leaves_an_empty_folder_behind_is_waited_for(tmp_path: Path) -> None:
    folder, away = tmp_path / "in", tmp_path / "away"
    backlog(folder)

    def leave() -> None:
        folder.rename(away)
        folder.mkdir()  # as the place at which a share was mounted

    def come_back() -> None:
        folder.rmdir()
        away.rename(folder)

    found = answer_all(folder, Leaving(leave), come_back)
    assert len(found) == 20
    assert {line["reason"] for line in found} == {""}


def test_a_folder_below_that_leaves_is_waited_for(tmp_path: Path) -> None:
    folder, away = tmp_path / "in" / "camera1", tmp_path / "away"
    backlog(folder)
    found = answer_all(tmp_path / "in", Leaving(lambda: folder.rename(away)), lambda: away.rename(folder))
    assert len(found) == 20
    assert {line["reason"] for line in found} == {""}


def test_a_share_that_hangs_up_while_a_file_is_read_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backlog(tmp_path / "in", 3)
    opened, read = Path.open, ImageReader.read
    down = [True]

    def no_answer(self: Path, *words: Any, **named: Any) -> Any:
        if down and self.suffix == ".png":
            raise OSError(errno.EHOSTDOWN, os.strerror(errno.EHOSTDOWN))
        return opened(self, *words, **named)

    def reading(self: ImageReader, name: str, path: Path) -> ReadImage:
        return ReadImage(name, reason=os.strerror(errno.EHOSTDOWN)) if down else read(self, name, path)

    monkeypatch.setattr(Path, "open", no_answer)
    monkeypatch.setattr(ImageReader, "read", reading)
    found = answer_all(tmp_path / "in", BrightImageScorer(), down.clear, 3)
    assert [line["reason"] for line in found] == [""] * 3


def test_a_file_that_is_removed_before_it_was_read_is_answered_by_that(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    backlog(folder, 4)
    end = time.monotonic() + 10
    scorer = Leaving((folder / "03.png").unlink)
    with Station(folder, tmp_path / "out", scorer, options(batch_size=2)) as station:
        station.run(lambda: station.counts["answered"] >= 4 or time.monotonic() > end)
    reasons = {line["image"]: line["reason"] for line in pictures(tmp_path / "out")}
    assert reasons == {"00.png": "", "01.png": "", "02.png": "", "03.png": "No such file or directory"}


def test_files_that_leave_with_their_folder_have_no_answer(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    backlog(folder, 2)
    backlog(folder / "removed", 3)
    end = time.monotonic() + 10
    scorer = Leaving(lambda: shutil.rmtree(folder / "removed"))
    with Station(folder, tmp_path / "out", scorer, options(batch_size=1)) as station:
        station.run(
            lambda: (station.counts["answered"] >= 2 and not station._arrivals.waiting) or time.monotonic() > end
        )
        assert station._arrivals.waiting == 0
    assert {line["image"]: line["reason"] for line in pictures(tmp_path / "out")} == {"00.png": "", "01.png": ""}
