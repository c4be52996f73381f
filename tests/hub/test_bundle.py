"""A MONAI bundle screens as `screen` does, by MONAI's own command."""

import csv
import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from anomalib_zsad import CoPS
from anomalib_zsad.cli import main
from anomalib_zsad.demo.phantoms import normal_phantoms, write_phantom
from anomalib_zsad.screening.monai_bundle import BundleScreening
from anomalib_zsad.volumes.options import ReadingOptions, SizeBudget
from tests.hub.test_pretrained import checkpoint

# What MONAI's schema of metadata.json (meta_schema_20240725) requires.
REQUIRED = {
    *("version", "changelog", "monai_version", "pytorch_version", "numpy_version", "required_packages_version"),
    *("task", "description", "authors", "copyright", "network_data_format"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint and a folder with one small volume."""
    folder = tmp_path_factory.mktemp("place")
    checkpoint(folder, CoPS).rename(folder / "cops.safetensors")
    write_phantom(next(iter(normal_phantoms("head_ct", range(1000, 1001)))), folder / "phantoms", patient="one")
    source = next((folder / "phantoms" / "images").rglob("*.nii.gz"), None)
    if source is not None:
        volume: Any = nibabel.load(source)
        (folder / "STUDIES").mkdir()
        nibabel.save(volume.slicer[:, :, :6], folder / "STUDIES" / "one.nii.gz")
    else:
        (folder / "phantoms" / "images").rename(folder / "STUDIES")
    return folder


def run_by_monai(bundle: Path, source: Path, output: Path) -> "subprocess.CompletedProcess[str]":
    config = ["--config_file", "configs/inference.json", "--meta_file", "configs/metadata.json"]
    command = [sys.executable, "-m", "monai.bundle", "run", "--bundle_root", ".", *config]
    ends = ["--input", str(source), "--output", str(output)]
    return subprocess.run([*command, *ends], cwd=bundle, capture_output=True, text=True, check=False)


def rows(folder: Path) -> list[dict[str, str]]:
    (path,) = folder.rglob("slices.csv")
    with path.open() as file:
        return list(csv.DictReader(file))


def report(folder: Path) -> dict[str, Any]:
    (path,) = folder.rglob("report.json")
    return json.loads(path.read_text())


def test_a_bundle_answers_as_screen_does(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fire", reason="the extra [bundle] is not installed")
    monkeypatch.chdir(place)
    model = ["--checkpoint", "cops.safetensors", "--class-name", "brain", "--model.num_samples", "2"]
    how = ["--top-k", "2", "--map-type", "float32", "--output-type", "nifti"]
    assert main(["bundle", "-o", "BUNDLE", *model, *how]) == 0
    assert main(["screen", "-i", "STUDIES", "-o", "OUT", *model, *how]) == 0
    (place / "BUNDLE").rename(place / "MOVED")
    done = run_by_monai(place / "MOVED", place / "STUDIES", place / "BY_MONAI")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "exit code 0" in done.stdout
    assert rows(place / "BY_MONAI") == rows(place / "OUT")
    maps = [next((place / out).rglob("anomaly_map.nii.gz")) for out in ("OUT", "BY_MONAI")]
    ours, theirs = (np.asarray(nibabel.load(path).dataobj) for path in maps)  # type: ignore[attr-defined]
    assert np.array_equal(ours, theirs)
    content = json.loads((place / "MOVED" / "configs" / "metadata.json").read_text())
    assert set(content) >= REQUIRED
    for side in content["network_data_format"].values():
        for spec in side.values():
            assert {"type", "format", "num_channels", "spatial_shape", "dtype", "value_range", "is_patch_data"} <= set(
                spec
            )
    assert "Apache License" in (place / "MOVED" / "LICENSE").read_text()
    assert "python -m monai.bundle run" in (place / "MOVED" / "docs" / "README.md").read_text()


def test_reading_options_of_the_command_are_at_work_in_the_bundle(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of two volumes whose affines disagree: each option missing would be a refusal or another window."""
    pytest.importorskip("fire", reason="the extra [bundle] is not installed")
    monkeypatch.chdir(place)
    voxels = np.random.default_rng(0).normal(40, 30, size=(24, 20, 3, 2)).astype(np.float32)
    image = nibabel.Nifti1Image(voxels, np.diag([1.0, 1.0, 3.0, 1.0]))  # type: ignore[attr-defined]
    image.set_qform(np.diag([2.0, 2.0, 5.0, 1.0]), code=1)
    Path("SERIES").mkdir()
    nibabel.save(image, "SERIES/two.nii.gz")  # type: ignore[attr-defined]
    model = ["--checkpoint", "cops.safetensors", "--class-name", "brain", "--output-type", "nifti"]
    how = ["--modality", "CT", "--nifti-affine", "qform", "--volume-index", "1"]
    assert main(["bundle", "-o", "READS", *model, *how]) == 0
    assert main(["screen", "-i", "SERIES", "-o", "SCREENED", *model, *how]) == 0
    done = run_by_monai(place / "READS", place / "SERIES", place / "READ_BY_MONAI")
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert rows(place / "READ_BY_MONAI") == rows(place / "SCREENED")
    ours, theirs = (report(place / name) for name in ("SCREENED", "READ_BY_MONAI"))
    assert ours["modality"] == theirs["modality"] == "CT"
    assert ours["window"] == theirs["window"]


def test_no_reading_option_is_left_out_of_a_bundle(place: Path) -> None:
    """Each is given another value than its default, on the command line, and comes out of the bundle's settings."""
    how = {
        "--mode": "2d",
        "--modality": "MR",
        "--nifti-affine": "sform",
        "--volume-index": "2",
        "--select": "kind=original",
        "--max-volume-gib": "0.5",
    }
    words = [word for pair in how.items() for word in pair]
    checkpoint_of = ["--checkpoint", str(place / "cops.safetensors"), "--class-name", "brain"]
    assert main(["bundle", "-o", str(place / "ALL"), *checkpoint_of, *words, "--hash-uids"]) == 0
    content = json.loads((place / "ALL" / "configs" / "inference.json").read_text())
    given = {name: content[name] for name in ("reading", "volume", "rule", "calibration", "resume")}
    scorer: Any = None
    reading = BundleScreening(scorer, "in", "out", **given).options.reading
    assert reading == ReadingOptions("2d", "MR", "sform", 2, ("kind=original",), True, SizeBudget(1 << 29))
    default = ReadingOptions()
    assert not [field.name for field in fields(default) if getattr(reading, field.name) == getattr(default, field.name)]


def test_a_bundle_needs_a_trained_model_and_a_free_place(place: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["bundle", "-o", str(place / "NEVER"), "--model", "CoPS"]) == 2
    assert "a bundle is made of a trained model: give --checkpoint" in capsys.readouterr().err
    own = ["--model", "Patchcore", "--checkpoint", str(place / "cops.safetensors")]
    assert main(["bundle", "-o", str(place / "NEVER"), *own]) == 2
    assert "Patchcore is one of anomalib's own models, of which no bundle is made" in capsys.readouterr().err
    assert not (place / "NEVER").exists()
    (place / "TAKEN").mkdir()
    (place / "TAKEN" / "mine.txt").write_text("precious")
    assert main(["bundle", "-o", str(place / "TAKEN"), "--checkpoint", str(place / "cops.safetensors")]) == 2
    assert "TAKEN exists already and is not overwritten" in capsys.readouterr().err
