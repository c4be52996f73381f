"""A checkpoint is enough to use a model, and an argument that contradicts it is refused with both values."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from anomalib_zsad import BayesPFL, CoPS
from anomalib_zsad.models.components.checkpoint import CheckpointError
from anomalib_zsad.models.methods import method_of
from tests.models.small import write_backbone
from tests.models.tester import CLIP, SIDE, engine, images, squares

# Shapes that are not the published ones, which a model takes where nothing is said.
SHAPES: dict[type, dict[str, int]] = {
    BayesPFL: {"num_prompts": 2, "context_length": 4, "state_length": 3, "num_flows": 2},
    CoPS: {"context_length": 3, "state_length": 4, "class_length": 1, "deep_depth": 2, "deep_length": 3}
    | {"extractor_heads": 4},
}


@pytest.fixture(scope="module", params=SHAPES, ids=lambda cls: cls.__name__)
def trained(request, tmp_path_factory) -> tuple[type, Path, dict[str, str]]:
    """A class, a checkpoint of it, and the files of the backbone that it was trained over."""
    files = write_backbone(tmp_path_factory.mktemp("clip"), 20, CLIP)
    model = request.param(**files, image_size=SIDE, class_name="washer", visualizer=False, **SHAPES[request.param])
    run = engine(tmp_path_factory.mktemp("run"))
    run.fit(model, squares(), squares())
    return request.param, Path(run.trainer.checkpoint_callback.best_model_path), files


@torch.no_grad()
def score(model: Any) -> torch.Tensor:
    return model.eval().model(images(1), "bolt").pred_score


def test_a_checkpoint_is_enough(trained) -> None:
    cls, path, files = trained
    assert method_of(path) is cls
    model = cls(checkpoint=str(path))
    assert model.model.backbone.config.name == files["backbone"]
    assert model.model.backbone.image_size == SIDE
    assert model.pretrained == files["pretrained"]
    assert model.class_name == model.model.class_name == "washer"
    assert cls(checkpoint=str(path), class_name="gear").class_name == "gear"  # what is shown now is no contradiction


@pytest.mark.parametrize(
    ("name", "value", "trained_with"),
    [
        ("backbone", "demo", r"'.*clip\.json'"),
        ("image_size", 112, "56"),
        ("layers", (1,), r"\[.*4\]"),
        ("context_length", 9, r"\d"),
        ("state_length", 9, r"\d"),
    ],
)
def test_an_argument_that_contradicts_the_checkpoint_is_refused(trained, name, value, trained_with) -> None:
    cls, path, _ = trained
    with pytest.raises(
        CheckpointError, match=rf"{name} is given as .*, and '.*' was trained with {trained_with}; leave it out"
    ):
        cls(checkpoint=str(path), **{name: value})


def test_every_argument_of_the_shape_is_compared(trained) -> None:
    cls, path, _ = trained
    for name, value in SHAPES[cls].items():
        assert cls(checkpoint=str(path), **{name: value}).hparams[name] == value
        with pytest.raises(CheckpointError, match=f"{name} is given as 7, and '.*' was trained with {value}; leave"):
            cls(checkpoint=str(path), **{name: 7})


def test_other_weights_of_the_same_backbone_are_refused(trained) -> None:
    cls, path, _ = trained
    with pytest.raises(CheckpointError, match=r"was trained over backbone .* this model has .* with other weights"):
        cls(checkpoint=str(path), pretrained=None)


@pytest.mark.parametrize("cls", [BayesPFL, CoPS])
@pytest.mark.parametrize("version", [None, "99"])  # the first version wrote none
def test_a_checkpoint_over_another_version_of_the_embedded_backbone_is_refused_by_name(cls, version, tmp_path) -> None:
    module = cls(backbone="demo")
    stamp = module.stamp()
    now = stamp["backbone"]["version"]
    stamp["backbone"] = {**stamp["backbone"], "fingerprint": "0" * 16, "version": version}
    old = tmp_path / "old.ckpt"
    torch.save({"state_dict": module.state_dict(), "anomalib_zsad": stamp}, old)
    expected = (
        rf"over version {version or 1} of the embedded backbone 'demo', .* weights here are of version {now}; "
        "train it again"
    )
    with pytest.raises(CheckpointError, match=expected):
        cls(checkpoint=str(old))


def test_a_model_built_from_a_checkpoint_makes_checkpoints_that_rebuild_it(trained, tmp_path) -> None:
    cls, path, _ = trained
    model = cls(checkpoint=str(path), visualizer=False)
    model.trained = False  # anomalib trains what is not zero-shot
    run = engine(tmp_path)
    run.fit(model, squares(), squares())
    written = run.trainer.checkpoint_callback.best_model_path
    expected = score(model)
    for again in (cls.load_from_checkpoint(written, visualizer=False), cls(checkpoint=written)):
        torch.testing.assert_close(score(again), expected)
        assert again.class_name == "washer"


def test_files_that_were_moved_are_told_and_taken_from_their_new_place(trained, tmp_path) -> None:
    cls, path, files = trained
    content = torch.load(path, weights_only=True)
    gone = {name: str(tmp_path / "gone" / Path(file).name) for name, file in files.items()}
    content["anomalib_zsad"]["backbone"] |= {"name": gone["backbone"], "pretrained": gone["pretrained"]}
    torch.save(content, tmp_path / "carried.ckpt")
    for name, given in (("backbone", {}), ("pretrained", {"backbone": files["backbone"]})):
        with pytest.raises(
            CheckpointError, match=f"was trained with {name} '.*', and there is no such file here; give .* as {name}"
        ):
            cls(checkpoint=str(tmp_path / "carried.ckpt"), **given)
    here = {name: shutil.copy(file, tmp_path) for name, file in files.items()}
    assert cls(checkpoint=str(tmp_path / "carried.ckpt"), **here).model.backbone.config.name == here["backbone"]
