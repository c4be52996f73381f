"""`evaluate --models`: several models in one table, with paired differences."""

import csv
import json
from pathlib import Path

import pytest

from anomalib_zsad.cli import main
from anomalib_zsad.evaluation.model_names import parse_models
from tests.scoring.conftest import write_tiles


def call(*arguments: object) -> int:
    return main([*(str(argument) for argument in arguments), "--no-progress"])


@pytest.mark.usefixtures("small_winclip")
def test_models_of_all_kinds_stand_in_one_table(
    checkpoints: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiles = write_tiles(tmp_path / "tiles", normal=8, abnormal=6)
    models = ("BayesPFL?backbone=demo&num_samples=2", "WinClip", *(f"{k}={v}" for k, v in checkpoints.items()))
    command = ("evaluate", "-i", tiles, "-o", tmp_path / "out", "--models", *models, "--allow-untrained")
    assert call(*command) == 0
    said = capsys.readouterr().out
    assert "image AUROC, difference from BayesPFL" in said
    assert "BayesPFL: untrained: its prompts are random" in said
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [one["model"] for one in content["differences"]] == ["WinClip", "Patchcore", "Padim"]
    for one in content["differences"]:
        areas = one["areas"]
        assert areas["low"] <= one["difference"] <= areas["high"]
        assert (areas["units"], one["unit"]) == (14, "image")
    rows = list(csv.DictReader((tmp_path / "out" / "comparison.csv").open()))
    assert [row["model"] for row in rows] == ["BayesPFL", "WinClip", "Patchcore", "Padim"] * 2
    alone = json.loads(
        (tmp_path / "out" / "models" / "Padim" / "categories" / "tiles").glob("*.json").__next__().read_text()
    )
    assert float(rows[3]["image_AUROC"]) == pytest.approx(alone["result"]["metrics"]["image_AUROC"], abs=1e-6)
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert "- Padim: its backbone was not pre-trained (pre_trained: false): random features" in text
    assert call(*command) == 2
    assert "--resume" in capsys.readouterr().err
    assert call(*command, "--resume") == 0


def test_mistakes_are_told_before_anything_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(*options: object) -> str:
        assert call("evaluate", "-i", tmp_path, "-o", tmp_path / "out", "--models", *options) == 2
        return capsys.readouterr().err

    assert "takes two models at least" in told("WinClip")
    assert "no checkpoint was given for BayesPFL" in told("WinClip", "BayesPFL")
    assert "there is no checkpoint none.ckpt" in told("WinClip", "Padim=none.ckpt")
    assert "exclude each other" in told("WinClip", "WinClip", "--model", "CoPS")
    assert "cannot be told apart in the table: WinClip" in told("WinClip", "WinClip")
    assert "'backbone' is no KEY=VALUE" in told("WinClip", "CoPS?backbone")
    assert "--lesion-figures, --claim and --models exclude each other" in told(
        "WinClip", "Padim", "--lesion-figures", "iou", "--claim"
    )
    assert "one --seed" in told("WinClip", "CoPS", "--seed", "0", "1")


def test_labels_say_what_tells_models_apart(tmp_path: Path) -> None:
    for name in ("a.ckpt", "b.ckpt"):
        (tmp_path / name).write_bytes(b"")
    made = parse_models([f"Padim={tmp_path / 'a.ckpt'}", f"Padim={tmp_path / 'b.ckpt'}", "package.Own?size=3"])
    assert [model.label for model in made] == ["Padim a.ckpt", "Padim b.ckpt", "Own"]
    assert (made[2].method, made[2].arguments) == ("package.Own", {"size": 3})
