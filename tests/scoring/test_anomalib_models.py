"""anomalib's own models in every command that scores."""

import csv
import json
from pathlib import Path
from unittest import mock

import nibabel
import numpy as np
import pytest
import torch
from anomalib.data import ImageBatch
from anomalib.models import Ganomaly, Padim, Patchcore, WinClip

from anomalib_zsad.calibration import Calibration
from anomalib_zsad.cli import main
from anomalib_zsad.data.image_files import read_image
from anomalib_zsad.models.components.checkpoint import CheckpointError
from anomalib_zsad.scoring.anomalib_adapter import AnomalibAdapter
from anomalib_zsad.scoring.anomalib_classes import anomalib_class
from anomalib_zsad.scoring.build import build_model, build_scorer
from anomalib_zsad.scoring.image_scorer import ModelImageScorer
from tests.scoring.conftest import write_tiles
from tests.volumes.volume_builders import write_nifti


def call(*arguments: object) -> int:
    return main([*(str(argument) for argument in arguments), "--no-progress"])


def test_names_and_class_paths_mean_anomalibs_classes() -> None:
    assert anomalib_class("WinClip") is anomalib_class("win_clip") is WinClip
    assert anomalib_class("anomalib.models.image.padim.Padim") is Padim
    assert anomalib_class("BayesPFL") is anomalib_class("nothing") is anomalib_class("no.such.Class") is None


@pytest.mark.parametrize("name", ["Patchcore", "Padim"])
def test_scores_and_maps_are_the_models_own(name: str, checkpoints: dict[str, Path], tiles: Path) -> None:
    """Neither clamped nor scaled, however large; image by image what anomalib's own loaded model answers."""
    scorer = ModelImageScorer(build_scorer(checkpoints[name], name, device="cpu"))
    images = [read_image(path) for path in sorted(tiles.glob("tile/test/*/*.png"))]
    answer = scorer(torch.stack([scorer.prepare(image) for image in images]))
    own = {"Patchcore": Patchcore, "Padim": Padim}[name].load_from_checkpoint(checkpoints[name], pre_trained=False)
    with torch.no_grad():
        batch = ImageBatch(image=own.pre_processor.transform(torch.stack(images)))
        expected = own.eval().predict_step(batch, 0)
    torch.testing.assert_close(answer.score, expected.pred_score.reshape(-1))
    torch.testing.assert_close(answer.anomaly_map, expected.anomaly_map.reshape(answer.anomaly_map.shape))
    assert answer.score.max() > 1
    assert answer.score_std is None
    assert answer.map_std is None


def test_evaluate_ranks_what_lies_outside_the_unit_interval(
    checkpoints: dict[str, Path], tiles: Path, tmp_path: Path
) -> None:
    options = ("--model", "Padim", "--checkpoint", checkpoints["Padim"], "-o", tmp_path / "out")
    assert call("evaluate", "-i", tiles, *options) == 0
    result = json.loads((tmp_path / "out" / "results.json").read_text())["results"][0]
    assert result["metrics"]["image_AUROC"] == pytest.approx(1)
    assert result["metrics"]["pixel_AUROC"] > 0.9
    assert any("not zero-shot" in note for note in result["notes"])
    assert any("pre_trained: false" in note for note in result["notes"])


def test_a_calibration_keeps_its_promise_on_any_scale(
    checkpoints: dict[str, Path], tiles: Path, tmp_path: Path
) -> None:
    write_tiles(tmp_path / "more", normal=24, abnormal=0)
    model = ("--model", "Padim", "--checkpoint", checkpoints["Padim"], "--class-name", "tile")
    calibration = tmp_path / "calibration.json"
    assert call("calibrate", "-i", tmp_path / "more" / "tile" / "test" / "good", "-o", calibration, *model) == 0
    threshold = Calibration.load(calibration).threshold("image", 0.1)
    options = ("--calibration", calibration, "--false-alarm-rate", 0.1)
    assert call("inspect", "-i", tiles / "tile" / "test", "-o", tmp_path / "out", *model, *options) == 0
    rows = list(csv.DictReader((tmp_path / "out" / "images.csv").open()))
    flagged = {row["image"] for row in rows if row["flagged"] == "true"}
    assert {name for name in flagged if name.startswith("spot/")} == {f"spot/{number:03}.png" for number in range(4)}
    assert max(float(row["score"]) for row in rows) > 1
    for row in rows:
        assert (float(row["score"]) >= np.float32(threshold)) == (row["flagged"] == "true")
        assert row["score_std"] == ""
    other = ("--model", "Patchcore", "--checkpoint", checkpoints["Patchcore"], "--class-name", "tile")
    assert call("inspect", "-i", tiles / "tile" / "test", "-o", tmp_path / "no", *other, *options) == 2
    by_module = tmp_path / "module.json"
    assert call("calibrate", "-i", f"FolderTree:{tmp_path / 'more'}", "-o", by_module, *model) == 0
    assert Calibration.load(by_module).threshold("image", 0.1) == pytest.approx(threshold, rel=1e-6)


def test_what_is_missing_is_told(
    checkpoints: dict[str, Path], tiles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(command: str, *options: object) -> str:
        assert call(command, "-i", tiles, "-o", tmp_path / "out", *options) == 2
        return capsys.readouterr().err

    padim = ("--model", "Padim", "--checkpoint", checkpoints["Padim"])
    assert "give --calibration, or a --threshold on that scale" in told("inspect", *padim)
    assert "does not say of which; name it, as in --model Patchcore" in told(
        "evaluate", "--checkpoint", checkpoints["Padim"]
    )
    assert "Patchcore learns from normal images" in told("evaluate", "--model", "Patchcore")
    assert "VlmAd cannot be used here: it asks a language model" in told("evaluate", "--model", "VlmAd")
    assert "another of anomalib's models (list_models()" in told("evaluate", "--model", "Best", "--allow-untrained")
    with pytest.raises(CheckpointError, match="is no checkpoint of Patchcore, or of one with other settings"):
        build_model(checkpoints["Padim"], "Patchcore", device="cpu")


def test_a_model_without_maps_has_image_figures_alone(tiles: Path, tmp_path: Path) -> None:
    def build(*_: object) -> AnomalibAdapter:
        torch.manual_seed(0)
        return AnomalibAdapter(Ganomaly(batch_size=4).eval(), trained=True)

    with mock.patch("anomalib_zsad.scoring.anomalib_classes.build_adapter", build):
        assert call("evaluate", "-i", tiles, "-o", tmp_path / "e", "--model", "Ganomaly") == 0
        options = ("--model", "Ganomaly", "--threshold", 0.5)
        assert call("inspect", "-i", tiles / "tile" / "test", "-o", tmp_path / "i", *options) == 0
    result = json.loads((tmp_path / "e" / "results.json").read_text())["results"][0]
    assert result["metrics"]["image_AUROC"] is not None
    assert result["metrics"]["pixel_AUROC"] is None
    assert "pixel metrics not defined: the model has no maps" in result["notes"]
    rows = list(csv.DictReader((tmp_path / "i" / "images.csv").open()))
    assert all(row["map_max"] == row["area_share"] == "" and row["score"] for row in rows)


@pytest.mark.usefixtures("small_winclip")
def test_winclip_needs_no_checkpoint_and_speaks_each_images_name(tiles: Path, tmp_path: Path) -> None:
    assert call("evaluate", "-i", tiles, "-o", tmp_path / "out", "--model", "WinClip") == 0
    result = json.loads((tmp_path / "out" / "results.json").read_text())["results"][0]
    assert result["class_names"] == ["tile"]
    assert result["metrics"]["pixel_AP"] is not None
    model = build_model(None, "WinClip", device="cpu").module.model
    images = torch.rand(3, 3, 240, 240)
    with torch.inference_mode():
        mixed = model(images, ["tile", "brain", "tile"])
        for place, name in enumerate(["tile", "brain", "tile"]):
            alone = model(images[place : place + 1], [name])
            torch.testing.assert_close(mixed.pred_score[place], alone.pred_score[0])
            torch.testing.assert_close(mixed.anomaly_map[place], alone.anomaly_map[0])


@pytest.mark.usefixtures("small_winclip")
def test_a_window_of_all_of_an_image_is_the_image() -> None:
    """anomalib's WinClip over open_clip 3 mixes windows with each other, unless that is mended."""
    model = build_model(None, "WinClip", device="cpu").module.model.hosted.model
    images, seen = torch.rand(2, 3, 240, 240), {}
    hook = model.clip.visual.patch_dropout.register_forward_hook(lambda _, inputs, __: seen.update(tokens=inputs[0]))
    with torch.inference_mode():
        whole, _ = model.clip.encode_image(images)
        hook.remove()
        everything = torch.arange(225)[:, None].repeat(1, 3)
        windows = model._get_window_embeddings(seen["tokens"], everything)
    torch.testing.assert_close(windows, whole[:, None].expand(-1, 3, -1), rtol=1e-4, atol=1e-5)


def test_screen_keeps_the_models_scale(
    checkpoints: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    voxels = np.random.default_rng(0).integers(80, 120, (48, 48, 3)).astype(np.int16)
    voxels[16:30, 16:30, 1] = 400
    write_nifti(tmp_path / "in" / "head.nii.gz", voxels, np.eye(4))
    model = ("--model", "Padim", "--checkpoint", checkpoints["Padim"], "--threshold", 2)
    command = ("screen", "-i", tmp_path / "in", "-o", tmp_path / "out", *model)
    assert call(*command) == 2
    assert "give --map-type float32" in capsys.readouterr().err
    assert call(*command, "--map-type", "float32", "-ot", "nifti", "structured_report") == 2
    assert "give --output-type nifti dicom_seg" in capsys.readouterr().err
    assert call(*command, "--map-type", "float32") == 0
    (report,) = (tmp_path / "out").glob("*/report.json")
    rows = list(csv.DictReader((report.parent / "slices.csv").open()))
    heat = nibabel.load(report.parent / "anomaly_map.nii.gz").get_fdata()
    assert heat.max() == pytest.approx(max(float(row["map_max"]) for row in rows if row["map_max"]), rel=1e-4)
    assert heat.max() > 1
    lesions = nibabel.load(report.parent / "lesions.nii.gz").get_fdata()
    np.testing.assert_array_equal(lesions > 0, heat >= 2)
