"""anomalib's own integration tests for models, over ours: the engine's every route on a stock datamodule.

anomalib runs these over each of its models, with a small set in MVTec AD's layout; here the backbone is the demo one.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from anomalib.data import MVTecAD
from anomalib.deploy import ExportType
from anomalib.models import get_model
from PIL import Image

from tests.models.tester import engine, scores_by_path

METHODS = ("bayes_pfl", "cops")


def write_image(path: Path, seed: int, square: bool = False) -> None:
    """A noisy image, with a bright square or not."""
    pixels = np.random.default_rng(seed).integers(60, 120, (64, 64, 3), dtype=np.uint8)
    if square:
        pixels[20:40, 20:40] = 230
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set in MVTec AD's layout with one category, `dummy`."""
    root = tmp_path_factory.mktemp("mvtec")
    for index in range(4):
        write_image(root / f"dummy/train/good/{index:03}.png", index)
        write_image(root / f"dummy/test/good/{index:03}.png", 10 + index)
        write_image(root / f"dummy/test/bad/{index:03}.png", 20 + index, square=True)
        mask = np.zeros((64, 64), np.uint8)
        mask[20:40, 20:40] = 255
        path = root / f"dummy/ground_truth/bad/{index:03}_mask.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(path)
    return root


@pytest.fixture
def data(root: Path) -> MVTecAD:
    return MVTecAD(root=root, category="dummy", train_batch_size=2, eval_batch_size=2, num_workers=0)


@pytest.fixture(scope="module", params=METHODS)
def fitted(request, root, tmp_path_factory) -> tuple[Any, Path]:
    """A model that was fitted for an epoch by its short name, and its checkpoint."""
    torch.manual_seed(0)
    model = get_model(request.param, backbone="demo")
    run = engine(tmp_path_factory.mktemp("fit"))
    data = MVTecAD(root=root, category="dummy", train_batch_size=2, eval_batch_size=2, num_workers=0)
    run.fit(model, datamodule=data)
    return model, Path(run.trainer.checkpoint_callback.best_model_path)


def test_fit(fitted) -> None:
    _, checkpoint = fitted
    assert checkpoint.is_file()
    assert checkpoint.stat().st_size < 40e6


def test_test_from_the_checkpoint(fitted, data, tmp_path) -> None:
    model, checkpoint = fitted
    results = engine(tmp_path).test(model=model, datamodule=data, ckpt_path=checkpoint)
    assert 0 <= results[0]["image_AUROC"] <= 1
    assert len(list(tmp_path.rglob("images/**/*.png"))) == 8


@pytest.mark.parametrize("method", METHODS)
def test_train(method, data, tmp_path) -> None:
    results = engine(tmp_path).train(model=get_model(method, backbone="demo", visualizer=False), datamodule=data)
    assert 0 <= results[0]["pixel_AUROC"] <= 1


def test_train_with_a_checkpoint_is_zero_shot(fitted, data, tmp_path) -> None:
    model, checkpoint = fitted
    ready = type(model)(backbone="demo", checkpoint=str(checkpoint), visualizer=False)
    before = {name: value.clone() for name, value in ready.model.named_parameters()}
    engine(tmp_path).train(model=ready, datamodule=data)
    assert all(torch.equal(value, before[name]) for name, value in ready.model.named_parameters())


def test_validate(fitted, data, tmp_path) -> None:
    model, checkpoint = fitted
    results = engine(tmp_path).validate(model=model, datamodule=data, ckpt_path=checkpoint)
    assert "image_AUROC" in results[0]


def test_predict_on_a_datamodule_and_on_a_folder(fitted, data, root, tmp_path) -> None:
    model, checkpoint = fitted
    on_data = engine(tmp_path).predict(model=model, datamodule=data, ckpt_path=checkpoint)
    assert sum(len(batch.image_path) for batch in on_data) == 8
    ready = type(model)(backbone="demo", checkpoint=str(checkpoint), visualizer=False, class_name="dummy")
    on_folder = engine(tmp_path).predict(model=ready, data_path=root / "dummy" / "test" / "bad")
    assert sum(len(batch.image_path) for batch in on_folder) == 4
    assert on_folder[0].score_std is not None
    expected, found = scores_by_path(on_data), scores_by_path(on_folder)
    assert found == pytest.approx({path: expected[path] for path in found}, abs=1e-4)


@pytest.mark.parametrize("kind", [ExportType.TORCH, ExportType.ONNX, ExportType.OPENVINO])
def test_export(fitted, kind, tmp_path) -> None:
    model, checkpoint = fitted
    path = engine(tmp_path).export(model=model, ckpt_path=checkpoint, export_type=kind, input_size=(192, 192))
    assert path.is_file()
