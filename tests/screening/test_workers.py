"""Screening by workers: the same results as by one process, whoever dies on the way."""

import re
from pathlib import Path

import pytest

from anomalib_zsad.cli import main
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.screening.screen import screen, screen_by_crew
from anomalib_zsad.screening.workers import StartSeriesWorker
from anomalib_zsad.units.crew import Ready
from anomalib_zsad.units.local_crew import LocalCrew
from anomalib_zsad.units.worker_count import Share
from tests.screening.bright_spot import BrightSpotScorer
from tests.screening.crew_hands import BuildDeadly
from tests.screening.test_shared_runs import OPTIONS, contents, write_tree
from tests.volumes.volume_builders import affines, marked_voxels, write_nifti


def two(first: Ready) -> Share:
    assert first.description["model"] == "BrightSpot"
    assert first.memory > 1 << 20
    return Share(2, 1, "two")


def crew(tmp_path: Path, output: str = "out", device: str = "cpu") -> LocalCrew:
    (tmp_path / "fuses").mkdir(exist_ok=True)
    return LocalCrew(StartSeriesWorker(BuildDeadly(tmp_path / "fuses"), (device,), tmp_path / output, OPTIONS))


def test_workers_that_die_are_replaced_and_a_deadly_series_is_refused_by_name(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "in")
    screen(source, tmp_path / "alone", BrightSpotScorer(), OPTIONS)
    write_nifti(source / "h.nii.gz", marked_voxels((11, 9, 4), (1, 1, 1)), affines()["las"])
    write_nifti(source / "i.nii.gz", marked_voxels((13, 9, 4), (1, 1, 1)), affines()["las"])
    crew(tmp_path)
    for name in ("11-0", "13-0", "13-1", "13-2"):  # one death of one file, three of the other
        (tmp_path / "fuses" / name).touch()
    code, entries = screen_by_crew(source, tmp_path / "out", crew(tmp_path), OPTIONS, two)
    assert code is ExitCode.SOME_REFUSED
    assert len(entries) == 10
    (given_up,) = [entry for entry in entries if "ended its worker 3 times" in entry.reason]
    assert given_up.status == "refused"
    assert given_up.series.startswith("series-")
    assert not list((tmp_path / "fuses").iterdir())
    assert not list((tmp_path / "out").glob(".partial*"))
    assert not (tmp_path / "out" / ".units").exists()
    made, expected = contents(tmp_path / "out"), contents(tmp_path / "alone")
    assert {name: made[name] for name in expected if "/" in name} == {
        name: content for name, content in expected.items() if "/" in name
    }


def test_a_model_that_cannot_be_built_is_told_as_without_workers(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "in")
    with pytest.raises(ValueError, match="there is no device 'none'"):
        screen_by_crew(source, tmp_path / "out", crew(tmp_path, device="none"), OPTIONS, two)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--ray-address", "auto"), "--ray-address needs --executor ray"),
        (("--devices", "2", "--device", "cuda:1"), "names one device"),
        (("--devices", "2", "--device", "cuda"), "no CUDA device|is more than there are"),
        (("--num-parts", "2", "--part-id", "2"), "there is no 2"),
    ],
)
def test_workers_that_make_no_sense(
    tmp_path: Path, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_nifti(tmp_path / "in" / "v.nii.gz", marked_voxels(), affines()["las"])
    given = ["screen", "-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--allow-untrained", *words]
    assert main(given) == ExitCode.USAGE
    assert re.search(said, capsys.readouterr().err)


def test_the_number_of_devices_is_a_number_or_auto(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["screen", "-i", str(tmp_path), "-o", str(tmp_path / "out"), "--devices", "0"])
    assert "'0' is neither auto nor a number from 1 on" in capsys.readouterr().err
