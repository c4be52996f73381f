"""anomalib's own models, small and with random weights: trained by its engine on a few drawn tiles."""

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from anomalib.data import Folder
from anomalib.engine import Engine
from anomalib.models import Padim, Patchcore
from anomalib.models.image.winclip import torch_model as winclip
from anomalib.pre_processing import PreProcessor
from PIL import Image
from torchvision.transforms.v2 import Resize

SIDE = 64


def write_tiles(root: Path, normal: int = 6, abnormal: int = 4) -> Path:
    """Noise of one kind; abnormal tiles have a bright square, and a mask of it."""
    random = np.random.default_rng(0)
    for kind, count in (("good", normal), ("spot", abnormal)):
        for number in range(count):
            pixels = random.integers(80, 120, (SIDE, SIDE, 3), dtype=np.uint8)
            mask = np.zeros((SIDE, SIDE), np.uint8)
            if kind == "spot":
                pixels[16:40, 16:40], mask[16:40, 16:40] = 250, 255
                path = root / "tile" / "ground_truth" / kind / f"{number:03}_mask.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(path)
            path = root / "tile" / "test" / kind / f"{number:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return root


@pytest.fixture(scope="session")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of one category, `tile`: six normal images and four with a spot."""
    return write_tiles(tmp_path_factory.mktemp("tiles") / "tiles")


@pytest.fixture(scope="session")
def checkpoints(tiles: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints of Patchcore and Padim over a ResNet of random weights, as anomalib's engine writes them."""
    folder = tmp_path_factory.mktemp("anomalib_checkpoints")
    made = {}
    for cls, more in ((Patchcore, {"coreset_sampling_ratio": 0.1}), (Padim, {"n_features": 20})):
        torch.manual_seed(0)
        module = cls(
            backbone="resnet18",
            layers=["layer1", "layer2"],
            pre_trained=False,
            pre_processor=PreProcessor(Resize((SIDE, SIDE))),
            evaluator=False,
            visualizer=False,
            **more,
        )
        data = Folder(
            name="tiles", root=tiles / "tile", normal_dir="test/good", abnormal_dir="test/spot", num_workers=0
        )
        engine = Engine(default_root_dir=folder, accelerator="cpu", devices=1, logger=False, enable_progress_bar=False)
        engine.fit(module, datamodule=data)
        made[cls.__name__] = folder / f"{cls.__name__}.ckpt"
        engine.trainer.save_checkpoint(made[cls.__name__])
    return made


@pytest.fixture
def small_winclip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """anomalib's WinClip over a small CLIP of random weights; nothing is downloaded."""
    tower = {"width": 64, "layers": 2}
    config = {
        "embed_dim": 32,
        "vision_cfg": {**tower, "image_size": 240, "patch_size": 16, "head_width": 32},
        "text_cfg": {**tower, "heads": 2, "context_length": 77, "vocab_size": 49408},
    }
    (tmp_path / "small-240.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "small-240.json")
    monkeypatch.setattr(winclip, "BACKBONE", "small-240")
    monkeypatch.setattr(winclip, "PRETRAINED", None)
