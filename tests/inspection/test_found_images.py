"""What lies below a folder: pictures turned, large, foreign, unreadable, left out; runs in the same output again."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from anomalib_zsad.cli import main
from anomalib_zsad.inspection import inspect_images as inspecting
from anomalib_zsad.inspection import read_images as reading
from anomalib_zsad.outputs.exit_codes import ExitCode
from tests.inspection.bright_image import BrightImageScorer

ORIENTATION = 0x0112
ALLOCATOR = (
    "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
)


@pytest.fixture(autouse=True)
def scorer(monkeypatch: pytest.MonkeyPatch) -> BrightImageScorer:
    """The commands score by brightness."""
    made = BrightImageScorer()
    monkeypatch.setattr("anomalib_zsad.scoring.build.build_scorer", lambda *_: made)
    monkeypatch.setattr("anomalib_zsad.scoring.image_scorer.ModelImageScorer", lambda _: made)
    return made


def inspect(*arguments: object) -> int:
    return int(main(["inspect", *map(str, arguments), "--allow-untrained"]))


def save(path: Path, height: int = 20, width: int = 30, orientation: int | None = None) -> Path:
    """A picture whose top left corner is bright, perhaps with an EXIF orientation."""
    pixels = np.zeros((height, width), np.uint8)
    pixels[: height // 3, : width // 3] = 250
    exif = Image.Exif()
    if orientation is not None:
        exif[ORIENTATION] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def rows_of(output: Path) -> dict[str, dict[str, str]]:
    with (output / "images.csv").open(encoding="utf-8") as stream:
        return {row["image"]: row for row in csv.DictReader(stream)}


def report_of(output: Path) -> dict[str, Any]:
    return json.loads((output / "report.json").read_text())


# EXIF orientation -------------------------------------------------------------------------------------------------


def test_pictures_are_turned_upright_and_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "in" / "plain.png")
    save(tmp_path / "in" / "upright.jpg", orientation=1)
    save(tmp_path / "in" / "turned.jpg", orientation=6)
    save(tmp_path / "in" / "turned.tif", orientation=6)
    assert inspect("-i", tmp_path / "in", "-o", tmp_path / "out") == ExitCode.DONE
    assert "turned upright, as their EXIF orientation says: 2\n" in capsys.readouterr().out
    rows, report = rows_of(tmp_path / "out"), report_of(tmp_path / "out")
    assert report["turned"] == 2
    assert {name: row["turned"] for name, row in rows.items()} == {
        "plain.png": "false", "upright.jpg": "false", "turned.jpg": "true", "turned.tif": "true",
    }  # fmt: skip
    for name in ("turned.jpg", "turned.tif"):
        assert (rows[name]["width"], rows[name]["height"]) == ("20", "30")
        assert float(rows[name]["peak_x"]) > 10 > float(rows[name]["peak_y"])  # from the left to the right, at the top
    assert float(rows["plain.png"]["peak_x"]) < 10


# A budget of pixels -----------------------------------------------------------------------------------------------


def test_a_picture_beyond_the_budget_is_unreadable_and_is_not_decoded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "in" / "small.png")
    Image.new("1", (20_000, 10_000)).save(tmp_path / "in" / "large.png")  # more than Pillow's own limit
    decoded = []
    monkeypatch.setattr(reading, "read_picture", lambda path, _: decoded.append(path.name) or torch.zeros(3, 9, 9))
    assert inspect("-i", tmp_path / "in", "-o", tmp_path / "out") == ExitCode.SOME_REFUSED
    assert decoded == ["small.png"]
    reason = rows_of(tmp_path / "out")["large.png"]["reason"]
    assert "the file has 20000 x 10000 pixels, 200,000,000 in all, and no more than 100,000,000 are read" in reason
    assert "raise --max-pixels" in reason
    assert inspect("-i", tmp_path / "in", "-o", tmp_path / "two", "--max-pixels", "200000000") == ExitCode.DONE
    assert sorted(decoded) == ["large.png", "small.png", "small.png"]
    assert inspect("-i", tmp_path / "in", "-o", tmp_path / "three", "--max-pixels", 0) == ExitCode.USAGE
    assert "number of pixels of an image is at least 1, not 0" in capsys.readouterr().err


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError(ALLOCATOR), torch.OutOfMemoryError("CUDA")])
def test_memory_that_runs_out_over_an_image_ends_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    save(tmp_path / "in" / "a.png")
    save(tmp_path / "in" / "b.png")
    read = reading.read_picture

    def failing(path: Path, max_pixels: int) -> Any:
        if path.name == "a.png":
            raise error
        return read(path, max_pixels)

    monkeypatch.setattr(reading, "read_picture", failing)
    assert inspect("-i", tmp_path / "in", "-o", tmp_path / "out") == ExitCode.SOME_REFUSED
    assert rows_of(tmp_path / "out")["a.png"]["reason"] == "there is not enough memory to read the file"


def test_other_errors_of_the_program_are_not_swallowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise RuntimeError("a mistake in the program")

    save(tmp_path / "in" / "a.png")
    monkeypatch.setattr(reading, "read_picture", failing)
    with pytest.raises(RuntimeError, match="a mistake"):
        inspect("-i", tmp_path / "in", "-o", tmp_path / "out")


# Folders that cannot be read --------------------------------------------------------------------------------------


def lock(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Make a folder one that may not be listed; a mode alone does not stop the superuser."""
    listed = os.scandir
    folder.chmod(0)

    def scandir(path: Any) -> Iterator[Any]:
        if Path(path) == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)


def test_a_folder_without_permission_is_listed_and_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "in" / "a.png")
    locked = save(tmp_path / "in" / "locked" / "b.png").parent
    lock(monkeypatch, locked)
    try:
        assert inspect("-i", tmp_path / "in", "-o", tmp_path / "out") == ExitCode.SOME_REFUSED
        assert "unreadable: locked/: the folder cannot be read: Permission denied" in capsys.readouterr().out
        assert rows_of(tmp_path / "out")["locked/"]["decision"] == "unreadable"
        assert inspect("-i", tmp_path / "in", "-o", tmp_path / "out", "--resume") == ExitCode.SOME_REFUSED
        assert inspect("-i", locked, "-o", tmp_path / "all") == ExitCode.ALL_REFUSED
        for source in (tmp_path / "in", locked):
            words = ["calibrate", "-i", str(source), "-o", str(tmp_path / "c.json"), "--allow-untrained"]
            monkeypatch.setattr(BrightImageScorer, "class_name", "part", raising=False)
            assert main(words) == ExitCode.USAGE
            assert "cannot be read: Permission denied" in capsys.readouterr().err
    finally:
        locked.chmod(0o755)


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
def test_a_folder_without_permission_as_the_system_has_it(tmp_path: Path) -> None:
    """Found by a process that is no superuser, where this one can start such a process."""
    save(tmp_path / "in" / "a.png")
    locked = save(tmp_path / "in" / "locked" / "b.png").parent
    program = (
        "import os, sys\nfrom pathlib import Path\n"
        "from anomalib_zsad.inspection.find_images import find_images\n"
        "os.chdir(sys.argv[1])\n"
        "if os.geteuid() == 0:\n    os.setuid(65534)\n"
        "found = find_images(Path('in'))\n"
        "print([name for name, _ in found.images], found.unreadable)\n"
    )
    tmp_path.chmod(0o755)
    locked.chmod(0)
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True, cwd=Path.cwd()
        )
    finally:
        locked.chmod(0o755)
    assert done.stdout.strip() == "['a.png'] {'locked/': 'the folder cannot be read: Permission denied'}"


def run_by_no_superuser(program: str, folder: Path) -> str:
    """What a program prints that runs in a folder, and is no superuser where this process can choose."""
    start = "import os, sys\nos.chdir(sys.argv[1])\nif os.geteuid() == 0:\n    os.setuid(65534)\n"
    # What is imported as another user must be found without the superuser's rights.
    imports, _, rest = program.partition("\n\n")
    done = subprocess.run(
        [sys.executable, "-c", f"{imports}\n{start}{rest}", folder],
        capture_output=True, text=True, check=True, cwd=Path.cwd(),
    )  # fmt: skip
    return done.stdout.strip()


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
def test_a_folder_that_may_be_listed_and_not_entered_is_told_of(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png")
    save(tmp_path / "in" / "closed" / "below" / "b.png")
    closed = tmp_path / "in" / "closed"
    program = (
        "from pathlib import Path\nfrom anomalib_zsad.inspection.find_images import find_images\n\n"
        "found = find_images(Path('in'))\n"
        "print([name for name, _ in found.images], sorted(found.unreadable.items()))\n"
    )
    tmp_path.chmod(0o755)
    closed.chmod(0o644)
    try:
        told = run_by_no_superuser(program, tmp_path)
    finally:
        closed.chmod(0o755)
    assert told == (
        "['a.png'] [('closed/', 'the folder cannot be read: Permission denied'), "
        "('closed/below/', 'the folder cannot be read: Permission denied')]"
    )


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
def test_masks_that_may_not_be_looked_at_say_nothing(tmp_path: Path) -> None:
    save(tmp_path / "in" / "images" / "a.png")
    masks = save(tmp_path / "in" / "masks" / "a.png").parent
    program = (
        "from pathlib import Path\nfrom anomalib_zsad.inspection.ground_truth import ground_truth\n\n"
        "print(ground_truth([('images/a.png', Path('in/images/a.png'))]))\n"
    )
    tmp_path.chmod(0o755)
    masks.chmod(0)
    try:
        assert run_by_no_superuser(program, tmp_path) == "{}"
    finally:
        masks.chmod(0o755)


# Which files are images, and which are asked for ------------------------------------------------------------------


def test_files_that_are_no_images_are_counted_by_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = save(tmp_path / "in" / "a.png").parent
    for name in ("1.txt", "2.TXT", "deep/3.txt", "LICENSE", ".hidden.png", ".DS_Store"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text("x")
    frames = [Image.new("L", (8, 8), value) for value in (0, 90)]
    frames[0].save(source / "film.gif", save_all=True, append_images=frames[1:])
    (source / "link").symlink_to(source / "deep")
    os.mkfifo(source / "pipe.png")
    assert inspect("-i", source, "-o", tmp_path / "out") == ExitCode.DONE
    expected = "skipped: 3 .txt, 2 hidden, 1 .gif, 1 devices, pipes or sockets, 1 links to folders, 1 without an ending"
    assert expected in capsys.readouterr().out
    assert list(rows_of(tmp_path / "out")) == ["a.png"]
    assert report_of(tmp_path / "out")["skipped"][".txt"] == 3


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (("--exclude", "*_mask.png"), {"a.png", "b/a.png", "b/c.jpg"}),
        (("--include", "*.png"), {"a.png", "a_mask.png", "b/a.png", "b/a_mask.png"}),
        (("--include", "*.png", "--exclude", "*_mask.png"), {"a.png", "b/a.png"}),
        (("--include", "b/*", "--exclude", "*_mask.png", "*.jpg"), {"b/a.png"}),
    ],
)
def test_masks_beside_images_can_be_left_out(
    options: tuple[str, ...], left: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.png", "a_mask.png", "b/a.png", "b/a_mask.png", "b/c.jpg"):
        save(tmp_path / "in" / name)
    assert inspect("-i", tmp_path / "in", "-o", tmp_path / "out", *options) == ExitCode.DONE
    assert set(rows_of(tmp_path / "out")) == left
    assert f"skipped: {5 - len(left)} left out by --include or --exclude" in capsys.readouterr().out
    assert inspect("-i", tmp_path / "in", "-o", tmp_path / "out", "--resume") == ExitCode.USAGE
    assert "a run with other settings (reading)" in capsys.readouterr().err


def test_patterns_that_leave_nothing_or_are_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "in" / "a.png")
    assert inspect("-i", tmp_path / "in", "-o", tmp_path / "out", "--exclude", "*") == ExitCode.NOTHING_FOUND
    assert "no images at the input path; skipped: 1 left out by --include or --exclude" in capsys.readouterr().err
    assert inspect("-i", tmp_path / "in", "-o", tmp_path / "out", "--exclude", "") == ExitCode.USAGE
    assert "a pattern of images is empty" in capsys.readouterr().err


# Again in the same output -----------------------------------------------------------------------------------------


def test_a_command_without_images_leaves_the_output_to_the_corrected_one(tmp_path: Path) -> None:
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / "notes.txt").write_text("x")
    assert inspect("-i", tmp_path / "wrong", "-o", tmp_path / "out") == ExitCode.NOTHING_FOUND
    assert not (tmp_path / "out").exists()
    save(tmp_path / "right" / "a.png")
    assert inspect("-i", tmp_path / "right", "-o", tmp_path / "out") == ExitCode.DONE


def test_resuming_a_finished_run_leaves_nothing_to_do(
    tmp_path: Path, scorer: BrightImageScorer, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = save(tmp_path / "in" / "a.png").parent, tmp_path / "out"
    save(source / "b.png", 40)
    assert inspect("-i", source, "-o", output) == ExitCode.DONE
    assert "nothing left to do" not in capsys.readouterr().out
    written = {path: path.stat().st_mtime_ns for path in output.iterdir() if not path.name.startswith(".")}
    assert inspect("-i", source, "-o", output, "--resume") == ExitCode.DONE
    said = capsys.readouterr().out
    assert "nothing left to do: an earlier run had scored all of them" in said
    assert "2 images, 0 unreadable" in said
    assert scorer.batches == [2]
    assert {path: path.stat().st_mtime_ns for path in written} == written

    save(source / "c.png")
    assert inspect("-i", source, "-o", output, "--resume") == ExitCode.DONE
    assert "nothing left to do" not in capsys.readouterr().out
    assert set(rows_of(output)) == {"a.png", "b.png", "c.png"}
    (output / "report.html").unlink()
    assert inspect("-i", source, "-o", output, "--resume") == ExitCode.DONE
    assert (output / "report.html").is_file()
    (source / "c.png").unlink()
    assert inspect("-i", source, "-o", output, "--resume") == ExitCode.DONE
    assert set(rows_of(output)) == {"a.png", "b.png"}


def test_what_was_unreadable_is_tried_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = save(tmp_path / "in" / "a.png").parent
    (source / "b.png").write_bytes(b"")
    assert inspect("-i", source, "-o", tmp_path / "out") == ExitCode.SOME_REFUSED
    assert inspect("-i", source, "-o", tmp_path / "out", "--resume") == ExitCode.SOME_REFUSED
    assert "nothing left to do" not in capsys.readouterr().out
    save(source / "b.png")
    assert inspect("-i", source, "-o", tmp_path / "out", "--resume") == ExitCode.DONE


def test_a_resumed_run_that_did_not_end_is_not_taken_for_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = save(tmp_path / "in" / "a.png").parent
    assert inspect("-i", source, "-o", tmp_path / "out") == ExitCode.DONE
    save(source / "b.png")
    with monkeypatch.context() as patch:
        patch.setattr(inspecting, "write_outputs", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert inspect("-i", source, "-o", tmp_path / "out", "--resume") == ExitCode.INTERRUPTED
    assert set(rows_of(tmp_path / "out")) == {"a.png"}
    assert inspect("-i", source, "-o", tmp_path / "out", "--resume") == ExitCode.DONE
    assert set(rows_of(tmp_path / "out")) == {"a.png", "b.png"}
