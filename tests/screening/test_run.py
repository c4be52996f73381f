"""A run over many series: none stops the others, it resumes, and exit codes tell."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from pydicom.dataset import Dataset

from anomalib_zsad.outputs import atomic
from anomalib_zsad.outputs.disk_errors import DiskError
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.outputs.output_folder import OutputInUseError
from anomalib_zsad.scoring.scores import SliceScores
from anomalib_zsad.screening.options import ScreeningOptions, VolumeOptions
from anomalib_zsad.screening.screen import screen
from anomalib_zsad.volumes.faults import Fault
from anomalib_zsad.volumes.options import ReadingOptions
from tests.screening.bright_spot import BrightSpotScorer
from tests.volumes.volume_builders import SHAPE, affines, edit_file, marked_voxels, write_nifti, write_series

WINDOW = VolumeOptions(window="900/450")
ALLOCATOR = "[enforce fail] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 99999999999 bytes."


def write_tree(folder: Path) -> Path:
    """Two good series, one broken one, a localizer-like file, a mask and a text file."""
    write_series(folder / "a", seed="a")
    broken = write_series(folder / "b", seed="b") / "f001.dcm"
    broken.write_bytes(broken.read_bytes()[:-30])
    write_nifti(folder / "c" / "v.nii.gz", marked_voxels(), affines()["las"])
    write_nifti(folder / "c" / "mask.nii.gz", (marked_voxels() > 500).astype(np.uint8), affines()["las"])
    (folder / "notes.txt").write_text("notes")
    return folder


def statuses(output: Path) -> list[str]:
    return [entry["status"] for entry in json.loads((output / "summary.json").read_text())["series"]]


def tree_of(output: Path) -> set[str]:
    return {str(path.relative_to(output)) for path in output.rglob("*")}


def test_one_bad_series_does_not_stop_the_others(tmp_path: Path) -> None:
    code, entries = screen(write_tree(tmp_path / "in"), tmp_path / "out", BrightSpotScorer())
    assert code is ExitCode.SOME_REFUSED
    by_status = {entry.status: entry for entry in entries}
    assert set(by_status) == {"done", "done with warnings", "refused", "skipped"}
    assert "truncated" in by_status["refused"].reason
    assert sorted(statuses(tmp_path / "out")) == sorted(entry.status for entry in entries)
    assert len([path for path in (tmp_path / "out").iterdir() if path.is_dir()]) == 2
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["state"] == "complete"
    assert summary["counts"] == {"done": 1, "done with warnings": 1, "refused": 1, "skipped": 2}
    assert not any(".partial" in name for name in tree_of(tmp_path / "out"))


def test_exit_codes(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert screen(tmp_path / "empty", tmp_path / "1", BrightSpotScorer())[0] is ExitCode.NOTHING_FOUND
    broken = write_series(tmp_path / "b")
    for path in broken.iterdir():
        path.write_bytes(path.read_bytes()[:-30])
    assert screen(broken, tmp_path / "2", BrightSpotScorer())[0] is ExitCode.ALL_REFUSED
    good = write_series(tmp_path / "g")
    assert screen(good, tmp_path / "3", BrightSpotScorer())[0] is ExitCode.DONE
    with pytest.raises(FileNotFoundError, match="nothing at the input path"):
        screen(tmp_path / "none", tmp_path / "4", BrightSpotScorer())
    assert not (tmp_path / "4").exists()


def test_02_and_15_are_scored_in_2d_mode(tmp_path: Path) -> None:
    def strip(dataset, index):
        del dataset.ImagePositionPatient

    source = write_series(tmp_path / "s", edit=strip)
    assert screen(source, tmp_path / "1", BrightSpotScorer())[0] is ExitCode.ALL_REFUSED
    options = ScreeningOptions(reading=ReadingOptions(mode="2d"), volume=WINDOW)
    code, (entry,) = screen(source, tmp_path / "2", BrightSpotScorer(), options)
    assert code is ExitCode.DONE
    assert entry.slices == SHAPE[2]


def test_05_series_can_be_chosen(tmp_path: Path) -> None:
    write_series(tmp_path / "in", seed="one", prefix="a")
    write_series(tmp_path / "in", seed="two", prefix="b")
    _, entries = screen(tmp_path / "in", tmp_path / "all", BrightSpotScorer())
    chosen = entries[1].series
    code, entries = screen(tmp_path / "in", tmp_path / "one", BrightSpotScorer(), ScreeningOptions(series=(chosen,)))
    assert code is ExitCode.DONE
    assert [entry.series for entry in entries] == [chosen]
    code, entries = screen(
        tmp_path / "in", tmp_path / "wrong", BrightSpotScorer(), ScreeningOptions(series=("series-none",))
    )
    assert code is ExitCode.ALL_REFUSED
    assert "no series of this name" in entries[0].reason


def test_a_plane_that_cannot_be_cut_refuses_the_series(tmp_path: Path) -> None:
    def move(dataset, index):
        dataset.ImagePositionPatient[2] = index**1.7

    source = write_series(tmp_path / "s", edit=move)
    options = ScreeningOptions(volume=VolumeOptions(plane="coronal"))
    _, (entry,) = screen(source, tmp_path / "out", BrightSpotScorer(), options)
    assert entry.status == "refused"
    assert "use the native plane" in entry.reason


def test_33_a_failing_model_leaves_no_half_series_and_no_message_with_data(tmp_path: Path) -> None:
    write_series(tmp_path / "in", seed="one", prefix="a")
    write_series(tmp_path / "in", seed="two", prefix="b")
    options = ScreeningOptions(volume=VolumeOptions(batch_size=2))
    code, entries = screen(tmp_path / "in", tmp_path / "out", BrightSpotScorer(fail_after=4), options)
    assert code is ExitCode.SOME_REFUSED
    assert entries[1].reason.startswith("unexpected RuntimeError in volume_pass.py, line ")
    assert "SECRET" not in (tmp_path / "out" / "summary.json").read_text()
    assert len([path for path in (tmp_path / "out").iterdir() if path.is_dir()]) == 1


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError(ALLOCATOR)]
)
def test_running_out_of_memory_is_said_in_words(tmp_path: Path, error: BaseException) -> None:
    source = write_series(tmp_path / "s")
    _, (entry,) = screen(source, tmp_path / "out", BrightSpotScorer(fail_after=0, error=error))
    assert "smaller --batch-size" in entry.reason


def test_33_an_interrupt_keeps_what_is_done_and_resumes(tmp_path: Path) -> None:
    write_series(tmp_path / "in", seed="one", prefix="a")
    write_series(tmp_path / "in", seed="two", prefix="b")
    stopping = BrightSpotScorer(fail_after=1, error=KeyboardInterrupt())
    code, _ = screen(tmp_path / "in", tmp_path / "out", stopping, ScreeningOptions(volume=WINDOW))
    assert code is ExitCode.INTERRUPTED
    assert statuses(tmp_path / "out") == ["done"]
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["state"] == "interrupted"
    going_on = BrightSpotScorer()
    code, entries = screen(tmp_path / "in", tmp_path / "out", going_on, ScreeningOptions(volume=WINDOW, resume=True))
    assert code is ExitCode.DONE
    assert len(going_on.batches) == 1
    assert [entry.status for entry in entries] == ["done", "done"]
    assert entries[0].volume_score == pytest.approx(entries[1].volume_score)


def test_a_foreign_folder_in_the_place_of_a_result_is_told(tmp_path: Path) -> None:
    source = write_series(tmp_path / "s")
    _, (entry,) = screen(source, tmp_path / "out", BrightSpotScorer())
    (tmp_path / "out" / entry.series / "report.json").unlink()
    code, (again,) = screen(source, tmp_path / "out", BrightSpotScorer(), ScreeningOptions(resume=True))
    assert code is ExitCode.ALL_REFUSED
    assert "no whole result; move it away and resume" in again.reason


def test_a_series_that_grew_is_not_passed_off_as_done(tmp_path: Path) -> None:
    source = write_series(tmp_path / "s", edit=lambda _, index: index < 4)
    _, (entry,) = screen(source, tmp_path / "out", BrightSpotScorer(), ScreeningOptions(volume=WINDOW))
    assert entry.slices == 4
    write_series(source)
    options = ScreeningOptions(volume=WINDOW, resume=True)
    code, (again,) = screen(source, tmp_path / "out", BrightSpotScorer(), options)
    assert code is ExitCode.DONE
    assert again.slices == 6
    assert [finding.fault for finding in again.findings] == [Fault.CHANGED_INPUT]


def test_42_changed_pixels_under_the_same_uids_are_screened_again(tmp_path: Path) -> None:
    source = write_series(tmp_path / "s")
    _, (entry,) = screen(source, tmp_path / "out", BrightSpotScorer(), ScreeningOptions(volume=WINDOW))
    resume = ScreeningOptions(volume=WINDOW, resume=True)
    _, (same,) = screen(source, tmp_path / "out", BrightSpotScorer(), resume)
    assert (same.status, same.volume_score) == (entry.status, entry.volume_score)

    def darken(dataset: Dataset) -> None:
        dataset.PixelData = (dataset.pixel_array // 2).astype("<i2").tobytes()

    for path in sorted(source.iterdir()):
        edit_file(path, darken)
    code, (again,) = screen(source, tmp_path / "out", BrightSpotScorer(), resume)
    assert code is ExitCode.DONE
    assert again.volume_score < entry.volume_score
    assert [finding.fault for finding in again.findings] == [Fault.CHANGED_INPUT]
    assert "the input has changed since an earlier run" in again.findings[0].message
    _, (settled,) = screen(source, tmp_path / "out", BrightSpotScorer(), resume)
    assert settled.volume_score == again.volume_score


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "{}", '{"settings": 3}'])
def test_a_damaged_record_is_no_earlier_run(tmp_path: Path, content: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.json").write_text(content)
    with pytest.raises(OutputInUseError, match=r"run.json .* earlier run's; choose a new folder"):
        screen(write_series(tmp_path / "s"), tmp_path / "out", BrightSpotScorer(), ScreeningOptions(resume=True))
    assert (tmp_path / "out" / "run.json").read_text() == content


def test_33_a_kill_before_the_first_summary_leaves_a_folder_to_use(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".partial-12-summary.json").write_text("{")
    code, _ = screen(write_series(tmp_path / "s"), tmp_path / "out", BrightSpotScorer())
    assert code is ExitCode.DONE
    assert not any(".partial" in name for name in tree_of(tmp_path / "out"))


def test_file_names_that_are_no_text_are_spelled_out(tmp_path: Path) -> None:
    source = write_nifti(tmp_path / "in" / "v.nii", marked_voxels(), affines()["las"])
    source.rename(source.with_name(os.fsdecode(b"\xff.nii")))
    code, _ = screen(tmp_path / "in", tmp_path / "out", BrightSpotScorer(), ScreeningOptions(source_names=True))
    assert code is ExitCode.DONE
    assert "\\udcff.nii" in (tmp_path / "out" / "summary.csv").read_text()


def test_33_a_full_disk_ends_the_run_without_half_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_series(tmp_path / "in", seed="one", prefix="a")
    write_series(tmp_path / "in", seed="two", prefix="b")
    full = OSError(errno.ENOSPC, "No space left on device")
    code, entries = screen(tmp_path / "in", tmp_path / "out", BrightSpotScorer(fail_after=1, error=full))
    assert code is ExitCode.DISK
    assert caplog.messages == ["stopped: No space left on device"]
    assert len(entries) == 1
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["state"] == "stopped: No space left on device"
    assert not any(".partial" in name for name in tree_of(tmp_path / "out"))


KILLED = """
import sys, time
from pathlib import Path
from anomalib_zsad.screening.screen import screen
from anomalib_zsad.screening.options import ScreeningOptions
sys.path.insert(0, sys.argv[3])
from tests.screening.bright_spot import BrightSpotScorer
class Slow(BrightSpotScorer):
    def __call__(self, images):
        if self.batches:
            print("half", flush=True)
            time.sleep(60)
        return super().__call__(images)
screen(Path(sys.argv[1]), Path(sys.argv[2]), Slow())
"""


def test_33_a_kill_leaves_whole_results_and_the_run_resumes(tmp_path: Path) -> None:
    write_series(tmp_path / "in", seed="one", prefix="a")
    write_series(tmp_path / "in", seed="two", prefix="b")
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", KILLED, str(tmp_path / "in"), str(tmp_path / "out"), str(root)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout.readline() == b"half\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    partial = [name for name in tree_of(tmp_path / "out") if name.startswith(".partial")]
    assert partial
    done = [path for path in (tmp_path / "out").iterdir() if path.is_dir() and not path.name.startswith(".")]
    stamp = (done[0] / "report.json").stat().st_mtime_ns
    assert len(done) == 1
    code, entries = screen(tmp_path / "in", tmp_path / "out", BrightSpotScorer(), ScreeningOptions(resume=True))
    assert code is ExitCode.DONE
    assert len(entries) == 2
    assert not any(name.startswith(".partial") for name in tree_of(tmp_path / "out"))
    assert (done[0] / "report.json").stat().st_mtime_ns == stamp


def test_nothing_of_the_users_is_overwritten(tmp_path: Path) -> None:
    source = write_series(tmp_path / "in" / "s")
    with pytest.raises(OutputInUseError, match="lies inside the input"):
        screen(tmp_path / "in", tmp_path / "in" / "out", BrightSpotScorer())
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputInUseError, match="holds no earlier run"):
        screen(source, tmp_path / "used", BrightSpotScorer(), ScreeningOptions(resume=True))
    assert (tmp_path / "used" / "thesis.txt").read_text() == "mine"
    screen(source, tmp_path / "out", BrightSpotScorer())
    with pytest.raises(OutputInUseError, match="give --resume"):
        screen(source, tmp_path / "out", BrightSpotScorer())
    other = ScreeningOptions(resume=True, volume=VolumeOptions(top_k=3))
    with pytest.raises(OutputInUseError, match=r"other settings \(volume\)"):
        screen(source, tmp_path / "out", BrightSpotScorer(), other)


def test_output_that_cannot_be_made(tmp_path: Path) -> None:
    source = write_series(tmp_path / "s")
    (tmp_path / "file").write_text("x")
    with pytest.raises(DiskError):
        screen(source, tmp_path / "file" / "out", BrightSpotScorer())


def test_wrong_answers_of_a_scorer_are_refused() -> None:
    good = torch.zeros(2)
    with pytest.raises(ValueError, match=r"anomaly_map has shape \(2, 3, 3\), expected \(2, 4, 4\)"):
        SliceScores(good, torch.zeros(2, 3, 3)).check(2, (4, 4))
    with pytest.raises(ValueError, match="score holds NaN"):
        SliceScores(good / 0, torch.zeros(2, 4, 4)).check(2, (4, 4))
    with pytest.raises(ValueError, match="score_std has shape"):
        SliceScores(good, torch.zeros(2, 4, 4), torch.zeros(3)).check(2, (4, 4))
    with pytest.raises(ValueError, match="anomaly_map holds NaN or infinite values"):
        SliceScores(good, torch.tensor([torch.inf, -torch.inf]).repeat(2, 4, 2)).check(2, (4, 4))
    SliceScores(good, torch.full((2, 4, 4), 3e38)).check(2, (4, 4))  # though their sum is infinite


def test_progress_is_silent_without_a_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    screen(write_series(tmp_path / "s"), tmp_path / "out", BrightSpotScorer())
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_folders_of_others_are_not_removed(tmp_path: Path) -> None:
    (tmp_path / ".partial-x").mkdir()
    (tmp_path / ".partial-x" / "precious").write_text("1")
    assert atomic.remove_partial(tmp_path) == 0
    with pytest.raises(FileExistsError, match="not made by this program"), atomic.whole_folder(tmp_path / "x"):
        pass
    (tmp_path / "y").mkdir()
    with pytest.raises(FileExistsError, match="exists already"), atomic.whole_folder(tmp_path / "y"):
        pass
    assert (tmp_path / ".partial-x" / "precious").exists()


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def fail() -> None:
        with atomic.whole_folder(tmp_path / "z") as folder:
            (folder / "half").write_text("1")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert list(tmp_path.iterdir()) == []
    started = time.time()
    with atomic.whole_folder(tmp_path / "z") as folder:
        (folder / "whole").write_text("1")
    assert [path.name for path in (tmp_path / "z").iterdir()] == ["whole"]
    assert (tmp_path / "z").stat().st_mtime >= started - 2
