"""docs/adding-a-method.md is true: a method of another package, one line of registration, every command."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SAMPLES = Path(__file__).resolve().parents[2] / "sample_data"
SRC = Path(__file__).resolve().parents[2] / "src"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as pip would leave it: a module, and metadata with the one line of registration."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(Path(__file__).with_name("third_method") / "third_method.py", folder)
    metadata = folder / "third_method-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: third-method\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[anomalib_zsad.methods]\nThirdMethod = third_method:ThirdMethod\n")
    return folder


def run(package: Path, *arguments: object, code: int = 0) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(package), str(SRC)])}
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from anomalib_zsad.cli import main; sys.exit(main())",
            *map(str, arguments),
        ],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def checkpoint(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained by anomalib's own command, by its short name."""
    folder = tmp_path_factory.mktemp("trained")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(package), str(SRC)])}
    command = [
        *(sys.executable, "-c", "import sys; from anomalib.cli.cli import main; sys.exit(main())", "train"),
        *("--model", "ThirdMethod", "--model.backbone", "demo", "--trainer.max_epochs", "1"),
        *("--trainer.accelerator", "cpu", "--trainer.limit_train_batches", "2", "--trainer.limit_val_batches", "1"),
        *("--trainer.limit_test_batches", "1", "--default_root_dir", str(folder)),
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return next(folder.rglob("model.ckpt"))


def test_a_third_method_trains_and_every_command_knows_it(package: Path, checkpoint: Path, tmp_path: Path) -> None:
    tree = SAMPLES / "industrial"
    run(
        package,
        "evaluate",
        "-i",
        f"sample={tree}",
        "--categories",
        "leather",
        "-o",
        tmp_path / "e",
        "--checkpoint",
        checkpoint,
    )
    provenance = json.loads((tmp_path / "e" / "results.json").read_text())["provenance"]
    assert provenance["model"] == "ThirdMethod"

    head = SAMPLES / "medical" / "head_ct" / "images" / "normal"
    said = run(package, "screen", "-i", head, "-o", tmp_path / "s", "--checkpoint", checkpoint, "--previews", "0")
    assert "loading model model.ckpt" in said
    (report,) = (tmp_path / "s").glob("*/report.json")
    assert json.loads(report.read_text())["model"]["model"] == "ThirdMethod"

    normals = tmp_path / "normals"
    normals.mkdir()
    for number in range(24):
        pixels = np.random.default_rng(number).integers(90, 160, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(normals / f"{number}.png")
    model = ("--checkpoint", checkpoint, "--class-name", "washer")
    run(package, "calibrate", "-i", normals, "-o", tmp_path / "c.json", *model)
    run(package, "inspect", "-i", normals, "-o", tmp_path / "i", *model, "--calibration", tmp_path / "c.json")
    assert json.loads((tmp_path / "i" / "report.json").read_text())["model"]["class_name"] == "washer"


def test_an_unknown_method_of_a_checkpoint_is_told(checkpoint: Path, tmp_path: Path) -> None:
    from anomalib_zsad.models.components.checkpoint import CheckpointError
    from anomalib_zsad.models.methods import method_of

    with pytest.raises(CheckpointError, match=r"is a checkpoint of ThirdMethod, which is not known here; install its"):
        method_of(checkpoint)


def test_a_class_path_names_a_method_that_nobody_registered(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from anomalib_zsad.models.methods import find_method

    monkeypatch.syspath_prepend(str(package))
    assert find_method("third_method.ThirdMethod").__name__ == "ThirdMethod"
    with pytest.raises(ValueError, match="is no zero-shot model: its class does not mix in ZeroShotMixin"):
        find_method("third_method.ThirdModel")
    with pytest.raises(ValueError, match=r"there is no model 'third_method.Fourth'"):
        find_method("third_method.Fourth")
