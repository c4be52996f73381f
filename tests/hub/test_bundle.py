"""A MONAI bundle screens as `screen` does, by MONAI's own command."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from anomalib_zsad import CoPS
from anomalib_zsad.cli import main
from anomalib_zsad.demo.phantoms import normal_phantoms, write_phantom
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


def rows(folder: Path) -> list[dict[str, str]]:
    (path,) = folder.rglob("slices.csv")
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_bundle_answers_as_screen_does(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fire", reason="the extra [bundle] is not installed")
    monkeypatch.chdir(place)
    model = ["--checkpoint", "cops.safetensors", "--class-name", "brain", "--model.num_samples", "2"]
    how = ["--top-k", "2", "--map-type", "float32", "--output-type", "nifti"]
    assert main(["bundle", "-o", "BUNDLE", *model, *how]) == 0
    assert main(["screen", "-i", "STUDIES", "-o", "OUT", *model, *how]) == 0
    (place / "BUNDLE").rename(place / "MOVED")
    config = ["--config_file", "configs/inference.json", "--meta_file", "configs/metadata.json"]
    command = [sys.executable, "-m", "monai.bundle", "run", "--bundle_root", ".", *config]
    ends = ["--input", str(place / "STUDIES"), "--output", str(place / "BY_MONAI")]
    done = subprocess.run([*command, *ends], cwd=place / "MOVED", capture_output=True, text=True, check=False)
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


def test_a_bundle_needs_a_trained_model_and_a_free_place(place: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["bundle", "-o", str(place / "NEVER"), "--model", "CoPS"]) == 2
    assert "a bundle is made of a trained model: give --checkpoint" in capsys.readouterr().err
    assert not (place / "NEVER").exists()
    (place / "TAKEN").mkdir()
    (place / "TAKEN" / "mine.txt").write_text("precious")
    assert main(["bundle", "-o", str(place / "TAKEN"), "--checkpoint", str(place / "cops.safetensors")]) == 2
    assert "TAKEN exists already and is not overwritten" in capsys.readouterr().err
