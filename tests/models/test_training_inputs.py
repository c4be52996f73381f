"""What a model sees in training and validation was resized by Pillow, masks included; testing keeps the fast resize."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from anomalib.pre_processing import PreProcessor
from lightning.pytorch import Callback
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import Compose, InterpolationMode, Normalize, Resize
from torchvision.transforms.v2.functional import resize

from anomalib_zsad import CoPS
from anomalib_zsad.data import AuxiliaryDataModule
from anomalib_zsad.data.augmentation import BayesPFLAugmentation
from anomalib_zsad.models.components.pre_processor import CLIP_MEAN, CLIP_STD
from tests.models.small import write_backbone
from tests.models.tester import CLIP, SIDE, engine

SIZE = (90, 70)  # width and height


class Seen(Callback):
    """Keeps every image and mask by its path, as the model got them."""

    def __init__(self) -> None:
        self.training: dict[str, tuple[Tensor, Tensor]] = {}
        self.validation: dict[str, tuple[Tensor, Tensor]] = {}
        self.test: dict[str, tuple[Tensor, Tensor]] = {}

    def _keep(self, into: dict[str, tuple[Tensor, Tensor]], batch: Any) -> None:
        for row, path in enumerate(batch.image_path):
            into[path] = (batch.image[row].clone(), batch.gt_mask[row].clone())

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._keep(self.training, batch)

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        self._keep(self.validation, batch)

    def on_test_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        self._keep(self.test, batch)


def draw_tree(root: Path) -> None:
    generator = np.random.default_rng(0)
    for category in ("bolt", "gear"):
        for index, kind in enumerate(("good", "cut", "cut", "good")):
            pixels = generator.integers(0, 255, (*SIZE[::-1], 4), dtype=np.uint8)
            picture = Image.fromarray(pixels, "RGBA") if index < 2 else Image.fromarray(pixels[..., :3].copy())
            path = root / category / "test" / kind / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
            if kind == "cut":
                mask = np.zeros(SIZE[::-1], np.uint8)
                mask[10:13, 20:60] = mask[30:50, 33] = 255
                path = root / category / "ground_truth" / kind / f"{index}_mask.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(path)


def published(path: Path) -> tuple[Tensor, Tensor]:
    """Image and mask by Pillow alone."""
    resized = Image.open(path).resize((SIDE, SIDE), Image.Resampling.BICUBIC).convert("RGB")
    pixels = torch.from_numpy(np.asarray(resized).copy()).permute(2, 0, 1) / 255
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    mask_path = path.parents[2] / "ground_truth" / path.parent.name / f"{path.stem}_mask.png"
    mask = Image.open(mask_path) if mask_path.exists() else Image.new("L", SIZE)
    levels = np.asarray(mask.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    return (pixels - mean) / std, torch.from_numpy(levels / 255 > 0.5)


def make_data(root: Path, **options: Any) -> AuxiliaryDataModule:
    return AuxiliaryDataModule("FolderTree", root, validation_categories=["gear"], train_batch_size=2, **options)


def test_training_and_validation_see_what_pillow_resized(tmp_path: Path) -> None:
    draw_tree(tmp_path / "set")
    backbone = write_backbone(tmp_path, 20, CLIP)
    model, seen = CoPS(**backbone, layers=(4,), image_size=SIDE, num_samples=1, extractor_heads=4), Seen()
    run, data = engine(tmp_path, 1, callbacks=[seen]), make_data(tmp_path / "set")
    run.fit(model, datamodule=data)
    assert (len(seen.training), len(seen.validation)) == (4, 4)
    for path, (image, mask) in [*seen.training.items(), *seen.validation.items()]:
        expected_image, expected_mask = published(Path(path))
        torch.testing.assert_close(image.as_subclass(torch.Tensor), expected_image, rtol=0, atol=1e-5)
        assert torch.equal(mask.bool().as_subclass(torch.Tensor), expected_mask)
    run.test(model, datamodule=data)
    differences = [float((image - published(Path(path))[0]).abs().max()) for path, (image, _) in seen.test.items()]
    assert min(differences) > 1e-3


@pytest.mark.parametrize("augmentation", [BayesPFLAugmentation(0.0), None])
def test_an_augmentation_comes_before_the_resize(tmp_path: Path, augmentation: Any) -> None:
    draw_tree(tmp_path / "set")
    model = CoPS(**write_backbone(tmp_path, 20, CLIP), layers=(4,), image_size=SIDE, num_samples=1, extractor_heads=4)
    run, data = engine(tmp_path, 1), make_data(tmp_path / "set", train_augmentations=augmentation)
    run.fit(model, datamodule=data)
    item = next(item for item in data.train_data if item.gt_label and item.image_path.endswith("2.png"))
    expected_image, expected_mask = published(Path(item.image_path))
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    torch.testing.assert_close(torch.as_tensor(item.image), expected_image * std + mean, rtol=0, atol=1e-5)
    assert torch.equal(torch.as_tensor(item.gt_mask).bool(), expected_mask)


def test_a_pre_processor_of_the_users_own_is_left_as_it_is(tmp_path: Path) -> None:
    """Resized by nearest neighbour and halved: no Pillow, in training, validation or test."""
    draw_tree(tmp_path / "set")
    own = PreProcessor(Compose([Resize((SIDE, SIDE), InterpolationMode.NEAREST), Normalize([0.0] * 3, [2.0] * 3)]))
    backbone = write_backbone(tmp_path, 20, CLIP)
    model = CoPS(**backbone, layers=(4,), image_size=SIDE, num_samples=1, extractor_heads=4, pre_processor=own)
    seen, data = Seen(), make_data(tmp_path / "set")
    run = engine(tmp_path, 1, callbacks=[seen])
    run.fit(model, datamodule=data)
    run.test(model, datamodule=data)
    assert (len(seen.training), len(seen.validation)) == (4, 4)
    for path, (image, _) in [*seen.training.items(), *seen.validation.items(), *seen.test.items()]:
        pixels = torch.from_numpy(np.asarray(Image.open(path).convert("RGB")).copy()).permute(2, 0, 1) / 255
        expected = resize(pixels, [SIDE, SIDE], InterpolationMode.NEAREST) / 2
        torch.testing.assert_close(image.as_subclass(torch.Tensor), expected, rtol=0, atol=1e-6)


def test_a_run_that_holds_nothing_out_trains_and_has_nothing_to_validate_or_test(tmp_path: Path) -> None:
    draw_tree(tmp_path / "set")
    model = CoPS(**write_backbone(tmp_path, 20, CLIP), layers=(4,), image_size=SIDE, num_samples=1, extractor_heads=4)
    seen = Seen()
    data = AuxiliaryDataModule("FolderTree", tmp_path / "set", validation_categories=[], train_batch_size=2)
    engine(tmp_path, 1, callbacks=[seen]).train(model, datamodule=data)
    assert (len(seen.training), len(seen.validation), len(seen.test)) == (8, 0, 0)
