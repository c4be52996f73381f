"""The comparison with anomalib's own models, made by one command: on what is drawn and on tiles."""

import json
from pathlib import Path

import numpy as np
import pytest
from anomalib.models.image.winclip import torch_model as winclip
from PIL import Image

from anomalib_zsad.demo import measure_models, train
from anomalib_zsad.demo.measure_models import tiles_tree

MODELS = ["BayesPFL", "CoPS", "Patchcore", "Padim", "WinClip"]


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """Magnetic tiles as they are distributed: six without a defect, two cracks."""
    rng, root = np.random.default_rng(0), tmp_path / "real" / "magnetic_tile"
    mask = np.zeros((48, 48), np.uint8)
    mask[10:20, 10:20] = 255
    for kind, count in (("Free", 6), ("Crack", 2)):
        (root / f"MT_{kind}").mkdir(parents=True)
        for number in range(count):
            Image.fromarray(rng.integers(0, 255, (48, 48, 3), dtype=np.uint8)).save(
                root / f"MT_{kind}" / f"{number}.jpg"
            )
            Image.fromarray(mask * (kind == "Crack")).save(root / f"MT_{kind}" / f"{number}.png")
    return tmp_path / "real"


def test_what_is_trained_on_is_not_tested(real: Path, tmp_path: Path) -> None:
    tree = tiles_tree(real, tmp_path / "sets" / "magnetic_tile")
    trained = {path.name for path in (tree / "train" / "good").iterdir()}
    tested = {path.name for path in (tree / "test" / "good").iterdir()}
    assert (len(trained), len(tested)) == (3, 3)
    assert not trained & tested
    assert len(list((tree / "test" / "crack").iterdir())) == 2


def test_an_output_that_exists_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        measure_models.main(["--output", str(tmp_path)])
    assert "exists; give another --output" in capsys.readouterr().err


@pytest.mark.slow
def test_five_models_stand_in_one_table(real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for method in train.METHODS:
        monkeypatch.setitem(train.EPOCHS, method, 1)
    monkeypatch.setitem(train.ARGUMENTS["BayesPFL"], "stage_1_epochs", 1)
    monkeypatch.setitem(train.EPOCHS, "BayesPFL", 2)
    monkeypatch.setattr(winclip, "BACKBONE", winclip.BACKBONE)  # put back at the end
    monkeypatch.setattr(winclip, "PRETRAINED", winclip.PRETRAINED)
    output = tmp_path / "out"
    assert measure_models.main(["--real", str(real), "--output", str(output)]) == 0
    for name in ("drawn", "magnetic_tile"):
        content = json.loads((output / name / "comparison.json").read_text())
        # Of each category, and of their mean.
        assert list(dict.fromkeys(one["model"] for one in content["differences"])) == MODELS[1:]
        assert all(model in (output / name / "comparison.md").read_text() for model in MODELS)
