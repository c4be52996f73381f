"""`anomalib-zsad export`, and what its files say and answer beside `inspect`."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from anomalib_zsad.cli import main
from anomalib_zsad.data.image_files import read_image
from anomalib_zsad.models.components.export_metadata import read_metadata
from anomalib_zsad.models.components.exportable_resize import ExportableResize, interpolation_weights
from anomalib_zsad.outputs.exit_codes import ExitCode
from tests.models.tester import exported

MODEL = ["--model", "CoPS", "--allow-untrained", "--model.backbone", "demo"]


def test_the_matrices_of_the_resize_equal_torchs_antialiased_resize() -> None:
    from torchvision.transforms.v2 import InterpolationMode

    for height, width, side in (
        (30, 41, 56),
        (1500, 2100, 518),
        (56, 56, 56),
        (997, 33, 192),
        (1, 2, 56),
        (7000, 3, 9),
    ):
        picture = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
        resize = ExportableResize((side, side), interpolation=InterpolationMode.BICUBIC, antialias=True)
        rows, columns = interpolation_weights(height, side), interpolation_weights(width, side)
        torch.testing.assert_close(rows @ (picture @ columns.T), resize(picture), atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--class-name", "a", "--class-names", "b"], "--class-name and --class-names exclude each other"),
        (["--format", "torch", "--class-names", "b", "c"], "--class-names is not for torch"),
        (["--format", "torch", "--input-size", "56", "56"], "--input-size is not for torch"),
        (["--input-size", "0", "5"], "--input-size is 0 5; give pixels, at least 1"),
        (["--class-names", "bolt", "bolt"], "a class name comes twice: bolt, bolt"),
        (["--calibration", "absent.json"], "there is no calibration at absent.json"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, capsys: Any, options: list[str], message: str) -> None:
    assert main(["export", "-o", str(tmp_path / "out"), *MODEL, *options]) == ExitCode.USAGE
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_output_that_is_there_is_left_alone(tmp_path: Path, capsys: Any) -> None:
    assert main(["export", "-o", str(tmp_path), *MODEL]) == ExitCode.USAGE
    assert "exists already and is not overwritten" in capsys.readouterr().err


def test_a_missing_extra_is_named_with_its_command(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "onnx" else found(name, *rest))
    assert main(["export", "-o", str(tmp_path / "out"), *MODEL]) == ExitCode.USAGE
    error = capsys.readouterr().err
    assert "needs onnx, which is not installed: pip install 'anomalib-zsad[export]'" in error
    assert "Traceback" not in error


def test_files_that_are_no_exports_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no export"):
        read_metadata(tmp_path / "absent.onnx")
    for name, message in (("a.txt", "by its ending"), ("a.onnx", "damaged"), ("a.xml", "cannot be read by OpenVINO")):
        (tmp_path / name).write_bytes(b"\xff nothing")
        with pytest.raises(ValueError, match=message):
            read_metadata(tmp_path / name)


@pytest.mark.slow
def test_exports_answer_real_files_as_inspect_does(shared_data: Path, tmp_path: Path) -> None:
    pictures = [path for folder in sorted((shared_data / "magnetic_tile").iterdir()) for path in _some(folder)]
    folder = tmp_path / "pictures"
    folder.mkdir()
    for path in pictures:
        (folder / f"{path.parent.parent.name}-{path.name}").write_bytes(path.read_bytes())
    named = ["--class-name", "magnetic tile"]
    assert main(["inspect", "-i", str(folder), "-o", str(tmp_path / "inspected"), *MODEL, *named]) == 0
    formats = ["torch", "onnx", "openvino"]
    assert main(["export", "-o", str(tmp_path / "exported"), *MODEL, *named, "--format", *formats]) == 0
    with (tmp_path / "inspected" / "images.csv").open() as stream:
        expected = {row["image"]: float(row["score"]) for row in csv.DictReader(stream)}
    assert len(expected) == len(pictures) >= 12
    weights = tmp_path / "exported" / "weights"
    files = {"torch": "torch/model.pt", "onnx": "onnx/model.onnx", "openvino": "openvino/model.xml"}
    for kind, name in files.items():
        runner = exported(kind, weights / name)
        for path in sorted(folder.iterdir()):
            image = read_image(path).as_subclass(torch.Tensor)[None]
            np.testing.assert_allclose(runner(image)[0].reshape(-1), [expected[path.name]], atol=1e-4)
    metadata = json.loads((tmp_path / "exported" / "metadata.json").read_text())
    assert metadata["class_names"] == ["magnetic tile"]
    assert read_metadata(weights / files["onnx"]) == read_metadata(weights / files["openvino"]) == metadata


def _some(folder: Path) -> list[Path]:
    """Two pictures of a kind of defect."""
    return sorted(path for path in folder.rglob("*.jpg"))[:2]
