"""Runs that several processes do together, parts of a run, and what they leave."""

import csv
import json
import multiprocessing
import os
import random
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
import torch

from anomalib_zsad.cli import main
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.outputs.output_folder import OutputInUseError
from anomalib_zsad.screening.merge import merge
from anomalib_zsad.screening.options import ScreeningOptions, VolumeOptions
from anomalib_zsad.screening.screen import screen
from anomalib_zsad.volumes.reading import series_plan
from tests.screening.bright_spot import BrightSpotScorer
from tests.volumes.volume_builders import affines, edit_file, marked_voxels, write_nifti, write_series

TIMES = ("DA", "TM", "DT")
OPTIONS = ScreeningOptions(volume=VolumeOptions(window="900/450", previews=1))


def write_tree(folder: Path) -> Path:
    """Six good series, a broken one, a file of another kind."""
    for name in "abcdef":
        write_series(folder / name, seed=name)
    broken = write_series(folder / "g", seed="g") / "f001.dcm"
    broken.write_bytes(broken.read_bytes()[:-30])
    (folder / "notes.txt").write_text("notes")
    return folder


def contents(output: Path) -> dict[str, bytes]:
    """All files that a run leaves to be looked at, without times."""
    found = {}
    for path in sorted(output.rglob("*")):
        name = path.relative_to(output).as_posix()
        if path.is_dir() or name.startswith("."):
            continue
        content = path.read_bytes()
        if path.name == "report.json":
            report = json.loads(content)
            report.pop("seconds")
            content = json.dumps(report).encode()
        elif path.suffix == ".dcm":
            dataset = pydicom.dcmread(path)
            dataset.walk(lambda inner, element: delattr(inner, element.keyword) if element.VR in TIMES else None)
            content = dataset.to_json().encode()
        found[name] = content
    return found


def part(number: int, count: int = 2, *, resume: bool = False) -> ScreeningOptions:
    return replace(OPTIONS, num_parts=count, part_id=number, resume=resume)


def test_parts_in_one_folder_are_the_run_as_a_whole(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "in")
    _, alone = screen(source, tmp_path / "alone", BrightSpotScorer(), OPTIONS)
    scorers, entries = [BrightSpotScorer(), BrightSpotScorer()], []
    for number in (1, 0):
        entries += screen(source, tmp_path / "parts", scorers[number], part(number))[1]
        state = json.loads((tmp_path / "parts" / "summary.json").read_text())["state"]
        assert state == "complete" if number == 0 else state.startswith("incomplete: ")
    assert all(scorer.batches for scorer in scorers)
    assert sum(len(scorer.batches) for scorer in scorers) == 6
    assert sorted(entry.series for entry in entries) == sorted(entry.series for entry in alone)
    assert contents(tmp_path / "parts") == contents(tmp_path / "alone")


def test_a_part_that_was_begun_goes_on_with_resume_alone(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "in")
    screen(source, tmp_path / "out", BrightSpotScorer(), part(0))
    with pytest.raises(OutputInUseError, match="give --resume"):
        screen(source, tmp_path / "out", BrightSpotScorer(), part(0))
    again = BrightSpotScorer()
    _, entries = screen(source, tmp_path / "out", again, part(0, resume=True))
    assert not again.batches
    assert all(entry.found_done for entry in entries if entry.status.startswith("done"))


def test_a_process_that_joins_does_what_is_left_and_takes_over_what_is_done(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "in")
    joined: list[tuple[ExitCode, int]] = []

    class Joined(BrightSpotScorer):
        """While it scores its second series, another process joins, and does all but that."""

        def __call__(self, images):
            if len(self.batches) == 1 and not joined:
                joined.append((ExitCode.DONE, 0))
                other = BrightSpotScorer()
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr("anomalib_zsad.screening.screen.SeriesUnits", Impatient)
                    code, entries = screen(source, tmp_path / "out", other, replace(OPTIONS, resume=True))
                joined[0] = (code, len(other.batches))
                assert sum(entry.found_done for entry in entries) == 1
            return super().__call__(images)

    from anomalib_zsad.screening.series_units import SeriesUnits

    class Impatient(SeriesUnits):
        """Does not wait for the other, who waits for it."""

        def do(self, task):
            return super().do(replace(task, patience=0.0))

    scorer = Joined()
    code, entries = screen(source, tmp_path / "out", scorer, OPTIONS)
    assert joined == [(ExitCode.SOME_REFUSED, 4)]
    assert len(scorer.batches) == 2
    assert code is ExitCode.SOME_REFUSED
    assert len(entries) == 8
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["state"] == "complete"
    assert (
        len({entry["series"] for entry in json.loads((tmp_path / "out" / "summary.json").read_text())["series"]}) == 8
    )


def test_what_is_done_is_found_by_the_state_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_tree(tmp_path / "in")
    screen(source, tmp_path / "out", BrightSpotScorer(), OPTIONS)
    before = contents(tmp_path / "out")
    headers: list[int] = []
    read = series_plan.read_frames
    monkeypatch.setattr(series_plan, "read_frames", lambda *given: headers.append(1) or read(*given))
    scorer = BrightSpotScorer()
    code, _ = screen(source, tmp_path / "out", scorer, replace(OPTIONS, resume=True))
    assert code is ExitCode.SOME_REFUSED
    assert not scorer.batches
    assert len(headers) == 1  # of the series that was refused, which is tried again
    os.utime(source / "a" / "f000.dcm")
    screen(source, tmp_path / "out", scorer, replace(OPTIONS, resume=True))
    assert len(headers) == 3
    assert not scorer.batches  # the file was touched, and is as it was
    assert contents(tmp_path / "out") == before


def test_a_lost_record_is_made_again_of_the_result(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "in")
    screen(source, tmp_path / "out", BrightSpotScorer(), OPTIONS)
    before = contents(tmp_path / "out")
    (tmp_path / "out" / ".units.jsonl").unlink()
    scorer = BrightSpotScorer()
    screen(source, tmp_path / "out", scorer, replace(OPTIONS, resume=True))
    assert not scorer.batches
    assert contents(tmp_path / "out") == before


def test_records_tell_no_names_of_files(tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "SECRET_NAME")
    screen(tmp_path / "in", tmp_path / "out", BrightSpotScorer(), OPTIONS)
    assert "SECRET" not in (tmp_path / "out" / ".units.jsonl").read_text()


def test_series_and_volumes_that_were_chosen_at_different_times(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "in")
    _, entries = screen(source, tmp_path / "all", BrightSpotScorer(), OPTIONS)
    one, other, *_ = [entry.series for entry in entries if entry.status.startswith("done")]
    screen(source, tmp_path / "out", BrightSpotScorer(), replace(OPTIONS, series=(one,)))
    _, chosen = screen(source, tmp_path / "out", BrightSpotScorer(), replace(OPTIONS, series=(other,), resume=True))
    assert [entry.series for entry in chosen] == ["", other]
    screen(source, tmp_path / "out", BrightSpotScorer(), replace(OPTIONS, resume=True))
    assert contents(tmp_path / "out") == contents(tmp_path / "all")


def test_what_is_gone_from_the_input_is_gone_from_the_summary(tmp_path: Path) -> None:
    first = write_nifti(tmp_path / "in" / "a.nii.gz", marked_voxels(), affines()["las"])
    write_nifti(tmp_path / "in" / "b.nii.gz", marked_voxels() + 1, affines()["las"])
    screen(tmp_path / "in", tmp_path / "out", BrightSpotScorer(), OPTIONS)
    first.unlink()
    screen(tmp_path / "in", tmp_path / "out", BrightSpotScorer(), replace(OPTIONS, resume=True))
    rows = list(csv.DictReader((tmp_path / "out" / "summary.csv").open()))
    assert len(rows) == 1


def test_parts_in_folders_of_their_own_are_merged_to_the_run_as_a_whole(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "in")
    screen(source, tmp_path / "alone", BrightSpotScorer(), OPTIONS)
    folders = [tmp_path / "part-0", tmp_path / "part-1"]
    for number, folder in enumerate(folders):
        screen(source, folder, BrightSpotScorer(), part(number))
    before = [contents(folder) for folder in folders]
    half = merge(folders[:1], tmp_path / "half")
    assert half.state.startswith("incomplete: ")
    merged = merge(folders[::-1], tmp_path / "merged")
    assert merged.state == "complete"
    assert len(merged.entries) == 8
    assert contents(tmp_path / "merged") == contents(tmp_path / "alone")
    assert [contents(folder) for folder in folders] == before
    scorer = BrightSpotScorer()
    screen(source, tmp_path / "merged", scorer, replace(OPTIONS, resume=True))  # a run like any other
    assert not scorer.batches


def test_the_summary_of_a_shared_folder_is_made_anew(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "in")
    screen(source, tmp_path / "out", BrightSpotScorer(), OPTIONS)
    before = contents(tmp_path / "out")
    for name in ("summary.csv", "index.html"):
        (tmp_path / "out" / name).unlink()
    assert merge([tmp_path / "out"]).state == "complete"
    assert contents(tmp_path / "out") == before


def test_merges_that_make_no_sense(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "in")
    one, other, third = (tmp_path / name for name in ("one", "other", "third"))
    screen(source, one, BrightSpotScorer(), OPTIONS)
    screen(source, other, BrightSpotScorer(), replace(OPTIONS, volume=replace(OPTIONS.volume, top_k=2)))
    with pytest.raises(OutputInUseError, match=r"different settings \(volume\)"):
        merge([one, other], tmp_path / "merged")
    with pytest.raises(ValueError, match="2 folders to merge need an --output"):
        merge([one, one])
    with pytest.raises(OutputInUseError, match=r"holds no run: there is no run.json"):
        merge([source], tmp_path / "merged")

    def darken(dataset: pydicom.Dataset) -> None:
        dataset.PixelData = (dataset.pixel_array // 2).astype("<i2").tobytes()

    for path in sorted((source / "a").iterdir()):
        edit_file(path, darken)
    screen(source, third, BrightSpotScorer(), OPTIONS)
    with pytest.raises(ValueError, match=r"series-\w+ has different results in .*one and .*third; merge one"):
        merge([one, third], tmp_path / "merged")
    assert not list((tmp_path / "merged").glob("series-*"))


def test_merge_is_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_tree(tmp_path / "in")
    for number in range(2):
        screen(source, tmp_path / f"part-{number}", BrightSpotScorer(), part(number))
    parts = [str(tmp_path / "part-0"), str(tmp_path / "part-1")]
    assert main(["merge", *parts, "-o", str(tmp_path / "all")]) == ExitCode.SOME_REFUSED
    told = capsys.readouterr().out
    assert f"written to {tmp_path / 'all'} (exit code 4" in told
    assert main(["merge", parts[0], "-o", str(tmp_path / "half")]) == ExitCode.SOME_REFUSED
    assert "series of other parts have no result yet" in capsys.readouterr().out
    assert main(["merge", *parts]) == ExitCode.USAGE
    assert "need an --output folder" in capsys.readouterr().err


def test_20_kills_leave_nothing_half_and_nothing_double(tmp_path: Path) -> None:
    """Each process is killed at a moment of its own, counted in system calls that change the folder."""
    source = write_tree(tmp_path / "in")
    screen(source, tmp_path / "alone", BrightSpotScorer(), OPTIONS)
    context, moments = multiprocessing.get_context("fork"), random.Random(0)  # noqa: S311
    output, killed = tmp_path / "out", 0
    for _ in range(20):
        arguments = (source, output, replace(OPTIONS, resume=True), moments.randrange(1, 60))
        process = context.Process(target=killed_after, args=arguments)
        process.start()
        process.join(120)
        killed += process.exitcode == -signal.SIGKILL
        for folder in output.glob("series-*"):
            assert (folder / "report.json").is_file()
    assert killed >= 10
    screen(source, output, BrightSpotScorer(), replace(OPTIONS, resume=True))
    assert contents(output) == contents(tmp_path / "alone")
    assert not list(output.glob(".partial*"))
    assert not (output / ".units").exists()


def killed_after(source: Path, output: Path, options: ScreeningOptions, calls: int) -> None:
    """Screen, and be killed before a call that would change the folder for the time of this number."""
    left = [calls]

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        changes = event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir") or (
            event == "open" and isinstance(arguments[1], str) and "w" in arguments[1]
        )
        if changes and str(output) in str(arguments[0]):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)
    sys.addaudithook(watch)
    screen(source, output, BrightSpotScorer(), options)
