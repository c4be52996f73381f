"""The commands `screen` and `info` as a user calls them."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from anomalib_zsad.cli import main
from anomalib_zsad.scoring import build
from anomalib_zsad.scoring.build import build_scorer
from anomalib_zsad.scoring.device import resolve_device
from anomalib_zsad.scoring.model_scorer import ModelScorer
from tests.screening.bright_spot import BrightSpotScorer
from tests.volumes.volume_builders import SHAPE, affines, marked_voxels, write_nifti, write_series

SAMPLES = Path(__file__).resolve().parents[2] / "sample_data" / "medical"


def call(*arguments: object) -> int:
    return int(main([str(argument) for argument in arguments]))


@pytest.fixture
def fake_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "build_scorer", lambda *_: BrightSpotScorer())


@pytest.mark.usefixtures("fake_model")
def test_screen_tells_what_became_of_every_series(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path / "in" / "a", seed="a")
    broken = write_series(tmp_path / "in" / "b", seed="b") / "f001.dcm"
    broken.write_bytes(broken.read_bytes()[:-30])
    code = call("screen", "-i", tmp_path / "in", "-o", tmp_path / "out", "--allow-untrained", "--window", "900/450")
    out = capsys.readouterr().out
    assert code == 4
    assert "truncated" in out
    assert "research use only" in out
    assert "exit code 4" in out
    assert call("screen", "-i", tmp_path / "in", "-o", tmp_path / "out", "--allow-untrained") == 2
    assert "give --resume" in capsys.readouterr().err
    again = ("screen", "-i", tmp_path / "in", "-o", tmp_path / "out", "--allow-untrained", "--window", "900/450")
    assert call(*again, "--resume") == 4
    assert "nothing left to do" not in capsys.readouterr().out


@pytest.mark.usefixtures("fake_model")
def test_resuming_a_finished_run_leaves_nothing_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path / "in" / "a", seed="a")
    (tmp_path / "in" / "notes.txt").write_text("x")
    words = ("screen", "-i", tmp_path / "in", "-o", tmp_path / "out", "--allow-untrained", "--window", "900/450")
    assert call(*words) == 0
    assert "nothing left to do" not in capsys.readouterr().out
    assert call(*words, "--resume") == 0
    assert "nothing left to do: an earlier run had screened all of it" in capsys.readouterr().out


@pytest.mark.usefixtures("fake_model")
@pytest.mark.parametrize("command", ["screen", "info"])
def test_a_folder_without_permission_is_listed_and_counts(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The superuser may read any folder, so listing fails here as it fails for others."""
    write_series(tmp_path / "in" / "a", seed="a")
    locked = write_series(tmp_path / "in" / "locked", seed="b")
    listed = os.scandir

    def scandir(path: Any) -> Iterator[Any]:
        if not isinstance(path, int) and Path(path) == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    words = ["-o", tmp_path / "out", "--allow-untrained", "--window", "900/450"] if command == "screen" else []
    assert call(command, "-i", tmp_path / "in", *words) == 4
    assert "a folder cannot be read (Permission denied)" in capsys.readouterr().out
    assert call(command, "-i", locked, *[tmp_path / "two" if word == tmp_path / "out" else word for word in words]) == 5


@pytest.mark.usefixtures("fake_model")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no --checkpoint was given"),
        (("--allow-untrained", "--threshold", "2"), "threshold is in"),
        (("--allow-untrained", "--window", "head"), "unknown window 'head'"),
        (("--allow-untrained", "--max-volume-gib", "0"), "--max-volume-gib must be a number above 0"),
        (("--allow-untrained", "--max-volume-gib", "inf"), "--max-volume-gib must be a number above 0"),
        (("--allow-untrained", "--max-volume-gib", "nan"), "--max-volume-gib must be a number above 0"),
        (("--allow-untrained", "--volume-index", "-1"), "--volume-index is at least 0"),
        (("--allow-untrained", "-i", "/nowhere/at/all"), "nothing at the input path"),
        (("--allow-untrained", "-i", "x" * 300), "File name too long"),
    ],
)
def test_wrong_usage_is_said_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    source = write_series(tmp_path / "s")
    assert call("screen", "-i", source, "-o", tmp_path / "out", *arguments) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert "Traceback" not in captured.err
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("fake_model")
def test_19_nothing_to_screen_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("x")
    assert call("screen", "-i", tmp_path / "in", "-o", tmp_path / "out", "--allow-untrained") == 3
    assert "nothing to screen" in capsys.readouterr().err


@pytest.mark.usefixtures("fake_model")
def test_an_output_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("x")
    source = write_series(tmp_path / "s")
    assert call("screen", "-i", source, "-o", tmp_path / "file" / "out", "--allow-untrained") == 6
    assert "cannot be written" in capsys.readouterr().err


def test_models_and_devices_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no model 'Best'"):
        build_scorer(None, "Best", {})
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        build_scorer(tmp_path / "none.ckpt", "BayesPFL", {})
    with pytest.raises(ValueError, match="unknown device 'tpu9x'"):
        resolve_device("tpu9x")
    with pytest.raises(ValueError, match="there is no device 'meta' to compute on"):
        resolve_device("meta")
    with pytest.raises(ValueError, match=r"the model cannot score on cpu: a prompt of .* use a shorter class name"):
        build_scorer(None, "BayesPFL", {"backbone": "demo"}, class_name="brain " * 100)
    with pytest.raises(ValueError, match="BayesPFL has no argument flavour; it has backbone"):
        build_scorer(None, "BayesPFL", {"backbone": "demo", "flavour": 1})


def test_info_lists_geometry_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path / "ct", affine=affines()["sagittal"])
    write_nifti(tmp_path / "mr.nii.gz", marked_voxels(), affines()["las"])
    write_nifti(tmp_path / "mask.nii.gz", (marked_voxels() > 500).astype(np.uint8), affines()["las"])
    before = sorted(tmp_path.rglob("*"))
    assert call("info", "-i", tmp_path, "--json") == 0
    items = {item["kind"] + item["status"]: item for item in json.loads(capsys.readouterr().out)}
    assert items["dicomready"]["shape"] == list(SHAPE)
    assert items["dicomready"]["orientation"] == "PIR"
    assert items["dicomready"]["spacing_mm"] == [1.5, 1.25, 4.0]
    assert items["niftiready"]["orientation"] == "LAS"
    assert "a mask" in items["niftiskipped"]["findings"][0]["message"]
    assert sorted(tmp_path.rglob("*")) == before


def test_info_checks_pixels_where_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = write_series(tmp_path / "b") / "f001.dcm"
    broken.write_bytes(broken.read_bytes()[:-30])
    assert call("info", "-i", tmp_path) == 0
    assert call("info", "-i", tmp_path, "--check") == 5
    out = capsys.readouterr().out
    assert "truncated" in out
    assert "f001.dcm" not in out
    assert call("info", "-i", tmp_path, "--check", "--source-names") == 5
    assert "f001.dcm" in capsys.readouterr().out


def test_info_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("info", "-i", tmp_path) == 3
    assert "nothing was found" in capsys.readouterr().out
    assert call("info", "-i", tmp_path / "none") == 2
    assert "nothing at the input path" in capsys.readouterr().err
    assert call("info", "-i", "x" * 300) == 2
    assert "File name too long" in capsys.readouterr().err


def test_list_series_is_info(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_series(tmp_path / "s")
    assert call("screen", "-i", source, "-o", tmp_path / "out", "--list-series") == 0
    assert "series-" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_a_model_of_the_package_screens_a_phantom(tmp_path: Path) -> None:
    """With the demonstration backbone, untrained: the plumbing from prompt to map, not accuracy."""
    image = nibabel.load(SAMPLES / "brain_mr" / "images" / "lesion.nii.gz")
    nibabel.save(image.slicer[:, :, 10:13], tmp_path / "v.nii.gz")
    arguments = ("--allow-untrained", "--model.backbone", "demo", "--model.num_samples", "2", "--class-name", "brain")
    outputs = []
    for name in ("one", "two"):
        code = call(
            "screen", "-i", tmp_path / "v.nii.gz", "-o", tmp_path / name, *arguments, "--modality", "MR", "--std-map"
        )
        assert code == 0
        (folder,) = [path for path in (tmp_path / name).iterdir() if path.is_dir()]
        report = json.loads((folder / "report.json").read_text())
        assert report["model"]["class_name"] == "brain"
        assert report["model"]["trained"] is False
        outputs.append(np.asarray(nibabel.load(folder / "anomaly_map.nii.gz").dataobj))
        deviations = np.asarray(nibabel.load(folder / "anomaly_map_std.nii.gz").dataobj)
        assert deviations.shape == outputs[0].shape == (80, 96, 3)
        assert deviations.max() > 0
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert 0 < outputs[0].min() <= outputs[0].max() < 1


def test_scores_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    import torch

    scorer = build_scorer(None, "BayesPFL", {"backbone": "demo", "num_samples": 2})
    assert isinstance(scorer, ModelScorer)
    images = torch.rand(3, 3, 40, 56, generator=torch.Generator().manual_seed(0))
    whole = scorer(images)
    whole.check(3, (40, 56))
    alone = scorer(images[1:2])
    torch.testing.assert_close(alone.score[0], whole.score[1], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(alone.anomaly_map[0], whole.anomaly_map[1], atol=1e-5, rtol=1e-4)
