"""Frozen features that are kept between epochs make training faster and change nothing else."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from anomalib_zsad import BayesPFL, CoPS
from anomalib_zsad.data import AuxiliaryDataModule
from anomalib_zsad.data.augmentation import BayesPFLAugmentation
from tests.models.tester import SIDE, engine
from tests.models.training_run import CATEGORIES, HELD_OUT, draw_set

EPOCHS = 4
TRAINING_IMAGES = sum(sum(counts) for name, counts in CATEGORIES.items() if name not in HELD_OUT)
METHODS = {"BayesPFL": (BayesPFL, {"stage_1_epochs": 2}), "CoPS": (CoPS, {})}


class Recorder(Callback):
    """Keeps the losses of all steps, and counts training images that go through the vision tower."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.encoded = 0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        def count(module: Any, args: Any) -> None:
            self.encoded += len(args[0])

        pl_module.model.backbone.vision.register_forward_pre_hook(count)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.losses.append(float(outputs["loss"]))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    draw_set(folder / "set")
    return folder / "set"


@pytest.fixture
def train(root, small_backbone, tmp_path):
    def train(method: str, data: dict[str, Any], **arguments: Any) -> Recorder:
        torch.manual_seed(0)
        model_class, given = METHODS[method]
        options = {"image_size": SIDE, "visualizer": False, "evaluator": False, "learning_rate": 1e-3}
        model = model_class(**small_backbone, **options, **given, **arguments)
        datamodule = AuxiliaryDataModule("FolderTree", root, validation_categories=HELD_OUT, train_batch_size=4, **data)
        record = Recorder()
        run = engine(tmp_path, EPOCHS, callbacks=[record], limit_val_batches=0, num_sanity_val_steps=0)
        run.fit(model, datamodule=datamodule)
        assert model._kept is None
        return record

    return train


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("storage", ["memory", "disk"])
def test_without_augmentation_an_image_is_encoded_once(train, method, storage) -> None:
    plain, kept = train(method, {}), train(method, {}, keep_features=storage)
    assert kept.losses == pytest.approx(plain.losses, rel=1e-5)
    assert (kept.encoded, plain.encoded) == (TRAINING_IMAGES, EPOCHS * TRAINING_IMAGES)


@pytest.mark.parametrize("method", METHODS)
def test_of_augmented_images_each_view_is_encoded_once(train, method) -> None:
    data = {"train_augmentations": BayesPFLAugmentation(), "mosaic_probability": 0.4, "augmented_views": 2}
    plain, kept = train(method, data), train(method, data, keep_features="memory")
    assert kept.losses == pytest.approx(plain.losses, rel=1e-5)
    assert (kept.encoded, plain.encoded) == (2 * TRAINING_IMAGES, EPOCHS * TRAINING_IMAGES)


def test_new_augmentation_in_each_epoch_is_refused(train) -> None:
    with pytest.raises(ValueError, match=r"augmented \(.+\).*augmented_views"):
        train("BayesPFL", {"train_augmentations": BayesPFLAugmentation()}, keep_features="memory")


def test_a_budget_that_would_be_exceeded_is_refused_before_anything_is_learned(train) -> None:
    """Class token and 16 patches of four layers, 128 wide, in float32: 33 kB an image, 0.297 MB for nine."""
    row = (1 + 4 * 16) * 128 * 4
    with pytest.raises(ValueError, match=r"features of 9 images .* need 0.0003 GB in memory \(0.0333 MB each\)"):
        train("BayesPFL", {}, keep_features="memory", keep_features_limit=8.9 * row / 1e9)
    views = {"train_augmentations": BayesPFLAugmentation(), "augmented_views": 3}
    with pytest.raises(ValueError, match="features of 27 images"):
        train("BayesPFL", views, keep_features="memory", keep_features_limit=26 * row / 1e9)
    train("BayesPFL", {}, keep_features="memory", keep_features_limit=9 * row / 1e9)


@pytest.mark.parametrize("method", METHODS)
def test_a_bad_option_is_an_error_at_once(method) -> None:
    with pytest.raises(ValueError, match="keep_features_limit is -1; give gigabytes"):
        METHODS[method][0](keep_features="memory", keep_features_limit=-1)


def test_views_come_again_in_an_order_that_does_not(root) -> None:
    data = AuxiliaryDataModule(
        "FolderTree",
        root,
        validation_categories=HELD_OUT,
        train_augmentations=BayesPFLAugmentation(),
        augmented_views=2,
    )
    data.setup()
    epochs = []
    for epoch in range(4):
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)
        epochs.append({item.image_path: item.image for batch in loader for item in batch})
    for path, image in epochs[0].items():
        assert torch.equal(image, epochs[2][path])
        assert torch.equal(epochs[1][path], epochs[3][path])
    assert any(not torch.equal(image, epochs[1][path]) for path, image in epochs[0].items())
    assert list(epochs[0]) != list(epochs[2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"augmented_views": 0, "mosaic_probability": 0.4}, "augmented_views is 0; give the number of views"),
        ({"augmented_views": 3}, "augmented_views is 3, and the training images are not augmented"),
    ],
)
def test_views_that_cannot_be_are_errors(root, arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        AuxiliaryDataModule("FolderTree", root, **arguments)
