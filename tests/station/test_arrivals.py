"""Files that arrive: when they are whole, what a new one is, what is none, and what memory it takes."""

import os
from pathlib import Path

import pytest

from anomalib_zsad.inspection.options import ImageReading
from anomalib_zsad.station.arrivals import Arrivals


def watched(folder: Path, polls: int = 2, known: set[tuple[str, str]] = frozenset(), **reading: object) -> Arrivals:
    folder.mkdir(exist_ok=True)
    return Arrivals(folder, ImageReading(**reading), polls, lambda name, state: (name, state) in known)


def names(found: list) -> list[str]:
    return [arrival.name for arrival in found]


def test_a_file_is_told_once_it_has_been_the_same_for_so_many_looks(tmp_path: Path) -> None:
    arrivals = watched(tmp_path / "in", polls=2)
    path = tmp_path / "in" / "a.png"
    path.write_bytes(b"half")
    assert arrivals.poll() == []
    path.write_bytes(b"half and more")
    assert arrivals.poll() == []
    assert arrivals.poll() == []
    (found,) = arrivals.poll()
    assert (found.name, found.path) == ("a.png", path)
    assert names(arrivals.poll()) == ["a.png"]  # as long as it has no answer
    assert arrivals.waiting == 1
    arrivals.answered(found)
    assert arrivals.poll() == []
    assert arrivals.waiting == 0


def test_another_file_of_the_same_name_is_a_new_picture(tmp_path: Path) -> None:
    arrivals = watched(tmp_path / "in", polls=1)
    path = tmp_path / "in" / "a.png"
    path.write_bytes(b"one")
    arrivals.poll()
    (first,) = arrivals.poll()
    arrivals.answered(first)
    (tmp_path / "other.png").write_bytes(b"two")
    os.utime(tmp_path / "other.png", (1_000_000, 1_000_000))  # moved in, with a time of its own
    (tmp_path / "other.png").rename(path)
    assert arrivals.poll() == []
    (second,) = arrivals.poll()
    assert second.name == first.name
    assert second.state != first.state


def test_what_was_answered_before_the_start_is_not_told_again(tmp_path: Path) -> None:
    path = tmp_path / "in" / "a.png"
    (tmp_path / "in").mkdir()
    path.write_bytes(b"one")
    state = f"3 {path.stat().st_mtime_ns}"
    arrivals = watched(tmp_path / "in", polls=1, known={("a.png", state)})
    assert arrivals.poll() == arrivals.poll() == []
    path.write_bytes(b"three")
    arrivals.poll()
    assert names(arrivals.poll()) == ["a.png"]


def test_only_pictures_that_are_asked_for_are_told_oldest_first(tmp_path: Path) -> None:
    arrivals = watched(tmp_path / "in", polls=1, exclude=("*_mask.png",))
    for number, name in enumerate(
        ("z.PNG", "b.jpg", "c.txt", ".hidden.png", "d_mask.png", "sub/.part/a.png", "sub/e.tif")
    ):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        os.utime(path, (1000 + number, 1000 + number))
    os.mkfifo(tmp_path / "in" / "pipe.png")
    (tmp_path / "in" / "nowhere.png").symlink_to(tmp_path / "nothing")
    (tmp_path / "in" / "round").symlink_to(tmp_path / "in")
    arrivals.poll()
    assert names(arrivals.poll()) == ["z.PNG", "b.jpg", "sub/e.tif"]


def test_names_that_are_no_text_are_spelled_out(tmp_path: Path) -> None:
    arrivals = watched(tmp_path / "in", polls=1)
    Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/a\xff.png")).write_bytes(b"x")
    arrivals.poll()
    (found,) = arrivals.poll()
    assert found.name == "a\\xff.png"
    assert found.path.read_bytes() == b"x"


def test_nothing_is_kept_of_files_that_left(tmp_path: Path) -> None:
    arrivals = watched(tmp_path / "in", polls=1)
    for number in range(50):
        path = tmp_path / "in" / f"{number}.png"
        path.write_bytes(b"x")
        arrivals.poll()
        for found in arrivals.poll():
            arrivals.answered(found)
        path.unlink()
    arrivals.poll()
    assert len(arrivals._answered) == arrivals.waiting == 0


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    arrivals = watched(tmp_path / "in")
    (tmp_path / "in").rmdir()
    with pytest.raises(FileNotFoundError):
        arrivals.poll()
