"""Screening from an object store into one, by fsspec: in memory, and in a folder that is taken for a store."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.util import get_temp_dir
from pathlib import Path
from typing import Any

import fsspec
import pytest

from anomalib_zsad.cli import main
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.outputs.object_store import StoreError, StorePlace, place_of
from anomalib_zsad.outputs.output_folder import OutputInUseError
from anomalib_zsad.outputs.scratch_folder import ScratchFolder
from anomalib_zsad.screening.merge import merge
from anomalib_zsad.screening.options import ScreeningOptions, VolumeOptions
from anomalib_zsad.screening.result_place import result_place
from anomalib_zsad.screening.screen import screen, screen_by_crew
from anomalib_zsad.screening.workers import StartSeriesWorker
from anomalib_zsad.units.local_crew import LocalCrew
from anomalib_zsad.units.worker_count import Share
from anomalib_zsad.volumes.reading.discovery import discover
from tests.screening.bright_spot import BrightSpotScorer
from tests.screening.crew_hands import BuildDeadly
from tests.screening.test_shared_runs import contents, part, write_tree
from tests.volumes.volume_builders import affines, marked_voxels, write_nifti, write_series

OPTIONS = ScreeningOptions(volume=VolumeOptions(window="900/450", previews=1))


@pytest.fixture
def store() -> StorePlace:
    """An empty store in memory."""
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
    return StorePlace.of("memory://bucket")


@pytest.fixture(autouse=True)
def scratch(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where copies go; nothing may be left there."""
    tmp_path_factory.getbasetemp()
    get_temp_dir()  # of the socket at which workers meet, which is chosen once in a process
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr("tempfile.tempdir", folder)
        yield Path(folder)


def upload(folder: Path, place: StorePlace) -> StorePlace:
    place.files.put(f"{folder}/", place.path, recursive=True)
    return place


def fetched(place: StorePlace, folder: Path) -> dict[str, bytes]:
    """What lies in a place, as `contents` tells it of a folder."""
    place.files.get(place.path, str(folder), recursive=True)
    return contents(folder)


def test_a_store_gets_what_a_folder_gets(store: StorePlace, tmp_path: Path, scratch: Path) -> None:
    source = write_tree(tmp_path / "in")
    write_nifti(source / "h.nii.gz", marked_voxels(), affines()["lps"])
    code, alone = screen(source, tmp_path / "alone", BrightSpotScorer(), OPTIONS)
    told, entries = screen(upload(source, store / "in"), store / "out", BrightSpotScorer(), OPTIONS)
    assert (told, entries) == (code, alone)
    assert fetched(store / "out", tmp_path / "out") == contents(tmp_path / "alone")
    assert list(scratch.glob("anomalib-*")) == []


def test_a_run_in_a_store_goes_on(store: StorePlace, tmp_path: Path) -> None:
    source, scorer = write_tree(tmp_path / "in"), BrightSpotScorer()
    screen(source, tmp_path / "alone", BrightSpotScorer(), OPTIONS)
    screen(source, store / "out", BrightSpotScorer(), replace(OPTIONS, num_parts=2))
    with pytest.raises(OutputInUseError, match="memory:///bucket/out holds an earlier run; give --resume"):
        screen(source, store / "out", scorer, OPTIONS)
    other = replace(OPTIONS, resume=True, volume=replace(OPTIONS.volume, top_k=2))
    with pytest.raises(OutputInUseError, match="memory:///bucket/out holds a run with other settings"):
        screen(source, store / "out", scorer, other)
    _, entries = screen(source, store / "out", scorer, replace(OPTIONS, resume=True))
    assert 0 < len(scorer.batches) < 6
    assert sum(entry.found_done for entry in entries) == 6 - len(scorer.batches)
    assert fetched(store / "out", tmp_path / "out") == contents(tmp_path / "alone")


def test_parts_meet_in_a_store(store: StorePlace, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "in")
    screen(source, tmp_path / "alone", BrightSpotScorer(), OPTIONS)
    for number in (1, 0):
        screen(source, store / "out", BrightSpotScorer(), part(number))
        state = json.loads((store / "out" / "summary.json").read_bytes())["state"]
        assert state == "complete" if number == 0 else state.startswith("incomplete: ")
    assert fetched(store / "out", tmp_path / "out") == contents(tmp_path / "alone")
    (store / "out" / "summary.json").remove()
    assert merge([store / "out"]).state == "complete"
    assert fetched(store / "out", tmp_path / "again") == contents(tmp_path / "alone")
    with pytest.raises(ValueError, match="parts in an object store share one place"):
        merge([store / "out", tmp_path / "alone"], tmp_path / "merged")


def test_a_result_that_was_cut_off_is_made_again(
    store: StorePlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_series(tmp_path / "in")
    screen(source, tmp_path / "alone", BrightSpotScorer(), OPTIONS)
    put, names = StorePlace.put, []

    def refuse_report(place: StorePlace, path: Path) -> None:
        names.append(place.name)
        with place.errors():
            if place.name == "report.json":
                raise PermissionError(place.path)
        put(place, path)

    monkeypatch.setattr(StorePlace, "put", refuse_report)
    code, _ = screen(source, store / "out", BrightSpotScorer(), OPTIONS)
    assert code is ExitCode.DISK
    assert "anomaly_map.nii.gz" in names[: names.index("report.json")]
    stopped = json.loads((store / "out" / "summary.json").read_bytes())
    assert stopped["state"] == (
        "stopped: the store memory://bucket does not answer as asked (PermissionError): check its name, the "
        "credentials and the endpoint"
    )
    assert stopped["series"] == []
    monkeypatch.setattr(StorePlace, "put", put)
    (series,) = (name for name in (store / "out").names() if name.startswith("series-"))
    (store / "out" / series / "of an earlier version").files.pipe_file(f"{store.path}/out/{series}/stale.txt", b"old")
    scorer = BrightSpotScorer()
    assert screen(source, store / "out", scorer, replace(OPTIONS, resume=True))[0] is ExitCode.DONE
    assert len(scorer.batches) == 1
    assert fetched(store / "out", tmp_path / "out") == contents(tmp_path / "alone")


def test_a_result_without_its_record_is_found(store: StorePlace, tmp_path: Path) -> None:
    source, scorer = write_tree(tmp_path / "in"), BrightSpotScorer()
    screen(source, store / "out", BrightSpotScorer(), OPTIONS)
    before = fetched(store / "out", tmp_path / "before")
    (store / "out" / ".units").remove()
    screen(source, store / "out", scorer, replace(OPTIONS, resume=True))
    assert scorer.batches == []
    assert fetched(store / "out", tmp_path / "after") == before


def test_an_object_that_changed_is_screened_again(store: StorePlace, tmp_path: Path) -> None:
    source = upload(write_series(tmp_path / "in", seed="a"), store / "in")
    screen(source, store / "out", BrightSpotScorer(), OPTIONS)
    brighter = write_series(tmp_path / "brighter", marked_voxels() + 100, seed="a")
    upload(brighter, source)
    scorer = BrightSpotScorer()
    _, (entry,) = screen(source, store / "out", scorer, replace(OPTIONS, resume=True))
    assert len(scorer.batches) == 1
    assert "the input has changed since an earlier run screened it" in entry.findings[0].message


def test_the_index_shows_a_result_that_was_made_anew(store: StorePlace, tmp_path: Path) -> None:
    """Its earlier copy was already brought here when the summary was written in between."""
    source = upload(write_series(tmp_path / "in"), store / "in")
    screen(source, store / "out", BrightSpotScorer(), OPTIONS)
    (series,) = (name for name in (store / "out").names() if name.startswith("series-"))
    place = result_place(store / "out")
    place.begin()
    place.bring([series])
    with place.whole(series, again=True) as folder:
        (folder / "report.json").write_text("anew")
    place.forget(series)
    place.bring([series])
    assert (place.folder / series / "report.json").read_text() == "anew"
    assert not (place.folder / series / "report.html").exists()
    place.close()


def test_first_bytes_are_fetched_together(store: StorePlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(40):
        write_series(tmp_path / "in" / f"{number:02d}", marked_voxels()[:, :, :4], seed=f"{number}")
    flat = store / "in"
    for path in (tmp_path / "in").rglob("*.dcm"):
        flat.files.put_file(str(path), f"{flat.path}/{path.parent.name}-{path.name}")
    calls: list[int] = []
    ranges = flat.files.cat_ranges

    def counted(paths: list[str], *arguments: Any, **options: Any) -> Any:
        calls.append(len(paths))
        return ranges(paths, *arguments, **options)

    monkeypatch.setattr(flat.files, "cat_ranges", counted)
    assert len(discover(flat).candidates) == 40
    assert calls == [128, 32]


def test_what_a_store_holds_besides(store: StorePlace, tmp_path: Path) -> None:
    source = upload(write_series(tmp_path / "in"), store / "in")
    for name in ("studies.zip", "empty", "notes.txt"):
        source.files.pipe_file(f"{source.path}/{name}", b"" if name == "empty" else b"notes")
    found = discover(source)
    assert len(found.candidates) == 1
    assert [finding.message for finding in found.findings] == [
        "an archive in an object store is not read; unpack it there, or copy it to a disk",
        "2 file(s) are neither DICOM nor NIfTI",
    ]
    volume = write_nifti(tmp_path / "one.nii.gz", marked_voxels(), affines()["lps"])
    source.files.put_file(str(volume), f"{store.path}/one.nii.gz")
    (alone,) = discover(store / "one.nii.gz").candidates
    assert alone.key == discover(volume).candidates[0].key


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ftp://host/a", "no object store that is known by this name; there are s3://, gs://, file://"),
        ("memory://", "no bucket is named"),
    ],
)
def test_addresses_that_are_none(address: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        place_of(address)


@pytest.mark.parametrize(("scheme", "package"), [("s3", "s3fs"), ("gs", "gcsfs")])
def test_a_missing_package_is_named(scheme: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=rf"needs {package}, .*: pip install 'anomalib-zsad\[{scheme}\]'"):
        place_of(f"{scheme}://bucket/studies")


def test_places_that_cannot_be_written(store: StorePlace, tmp_path: Path) -> None:
    source = upload(write_series(tmp_path / "in"), store / "in")
    with pytest.raises(OutputInUseError, match="the output lies inside the input"):
        screen(source, source / "out", BrightSpotScorer(), OPTIONS)
    with pytest.raises(OutputInUseError, match="is not empty and holds no earlier run; choose a new place"):
        screen(source, store, BrightSpotScorer(), OPTIONS)
    with pytest.raises(FileNotFoundError, match="there is nothing at the input path: memory:///bucket/none"):
        screen(store / "none", store / "out", BrightSpotScorer(), OPTIONS)


def test_a_series_that_cannot_be_fetched_is_refused(
    store: StorePlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = upload(write_tree(tmp_path / "in"), store / "in")
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10})())
    code, entries = screen(source, store / "out", BrightSpotScorer(), OPTIONS)
    assert code is ExitCode.ALL_REFUSED
    assert all("bytes of a store and room for 10: set TMPDIR" in entry.reason for entry in entries if entry.series)


def test_commands_know_stores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path / "in")
    address, out = f"file://{tmp_path}/in", f"file://{tmp_path}/out"
    assert main(["info", "-i", address]) == 0
    model = ["--model", "BayesPFL", "--model.backbone", "demo", "--allow-untrained", "--no-progress"]
    assert main(["screen", "-i", address, "-o", out, *model]) == 0
    assert f"written to {out} (exit code 0" in capsys.readouterr().out
    assert (tmp_path / "out" / "index.html").is_file()
    assert main(["merge", out]) == 0
    with pytest.raises(SystemExit):
        main(["inspect", "-i", "s3://bucket/pictures", "-o", str(tmp_path / "o"), *model])
    assert "only screen, info and merge know object stores; copy or mount it" in capsys.readouterr().err


def test_workers_share_no_folder_but_the_store(tmp_path: Path, scratch: Path) -> None:
    """One of them is killed on its first series; nothing of it is left, neither there nor here."""
    source = upload(write_tree(tmp_path / "in"), StorePlace.of(f"file://{tmp_path}/store/in"))
    output = StorePlace.of(f"file://{tmp_path}/store/out")
    fuses = tmp_path / "fuses"
    fuses.mkdir()
    _, alone = screen(tmp_path / "in", tmp_path / "alone", BrightSpotScorer(), OPTIONS)
    (fuses / "12-once").touch()
    crew = LocalCrew(StartSeriesWorker(BuildDeadly(fuses), ("cpu",), output, OPTIONS))
    _, entries = screen_by_crew(source, output, crew, OPTIONS, lambda _: Share(2, 1, ""))
    assert list(fuses.iterdir()) == []
    assert entries == alone
    assert contents(tmp_path / "store" / "out") == contents(tmp_path / "alone")
    ScratchFolder().close()
    assert list(scratch.glob("anomalib-*")) == []


def test_a_killed_process_leaves_its_copy_to_the_next(scratch: Path) -> None:
    program = (
        "import time; from anomalib_zsad.outputs.scratch_folder import ScratchFolder\n"
        "kept = ScratchFolder(); (kept.path / 'slice.dcm').touch(); print(kept.path, flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    path = Path(process.stdout.readline().strip())
    with ScratchFolder():
        assert (path / "slice.dcm").exists()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    with ScratchFolder() as own:
        assert not path.exists()
        assert own.path.stat().st_mode & 0o777 == 0o700
    assert list(scratch.glob("anomalib-*")) == []


def test_a_store_that_does_not_answer_is_named() -> None:
    place = StorePlace.of("memory://bucket/patient")
    with (
        pytest.raises(StoreError, match=r"memory://bucket does not answer as asked \(RuntimeError\)") as caught,
        place.errors(),
    ):
        raise RuntimeError("patient/name is not allowed")
    assert "patient" not in str(caught.value)
