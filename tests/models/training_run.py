"""Train models on a drawn auxiliary set, on one process or on several, and write down what happened.

A script: `python -m tests.models.training_run FOLDER DEVICES`; Lightning starts it again for each further process.
"""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, seed_everything
from PIL import Image
from torch import Tensor

from anomalib_zsad import BayesPFL, CoPS
from anomalib_zsad.data import AuxiliaryDataModule
from anomalib_zsad.data.augmentation import BayesPFLAugmentation
from anomalib_zsad.models.bayes_pfl.validation import IMAGE_FIGURE, PIXEL_FIGURE, StageFigures
from tests.models.tester import SIDE, engine

# What validation says of an epoch, where the stages of a run go by the published rule.
FIGURES = {"BayesPFL by the rule": [0.5, 0.4, 0.3, 0.2]}
METHODS = {
    "BayesPFL": (BayesPFL, {"stage_1_epochs": 2}, 3),  # two epochs of stage 1, one of stage 2
    # Three epochs of stage 1, of which the first is the best, and one of stage 2.
    "BayesPFL by the rule": (BayesPFL, {"patience": 1}, 4),
    "CoPS": (CoPS, {"reconstruction": True}, 2),
}
GLOBAL_BATCH = 4
# Normal and abnormal images: 9 to train on, so that the last batch of an epoch is one image; an odd number to validate.
CATEGORIES = {"bolt": (3, 2), "cable": (2, 2), "gear": (3, 2)}
HELD_OUT = ["gear"]


def draw_set(root: Path) -> None:
    """Draw the categories as a folder tree in MVTec AD's layout: noise, abnormal images with a dark square."""
    generator = np.random.default_rng(0)
    for name, (normal, abnormal) in CATEGORIES.items():
        for index in range(normal + abnormal):
            kind = "good" if index < normal else "cut"
            pixels = generator.integers(90, 200, (SIDE, SIDE, 3), dtype=np.uint8)
            mask = np.zeros((SIDE, SIDE), np.uint8)
            if kind == "cut":
                top, left = generator.integers(0, 30, 2)
                pixels[top : top + 20, left : left + 20] //= 3
                mask[top : top + 20, left : left + 20] = 255
                save(mask, root / name / "ground_truth" / kind / f"{index:03}_mask.png")
            save(pixels, root / name / "test" / kind / f"{index:03}.png")


def save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


class Record(Callback):
    """Keeps each step's loss and stage, the metrics of each epoch, and the gradients of each stage's first step."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.stages: list[int] = []
        self.epochs: list[dict[str, float]] = []
        self.gradients: dict[int, dict[str, Tensor]] = {}
        self.starts: list[dict[str, Tensor]] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        # Adam makes full steps of gradients that are rounding errors, and these differ.
        for group in trainer.optimizers[0].param_groups:
            group["eps"] = 1e-2

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.losses.append(float(outputs["loss"]))
        self.stages.append(getattr(pl_module.model, "stage", 1))

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        stage = getattr(pl_module.model, "stage", 1)
        if stage not in self.gradients:
            named = pl_module.model.named_parameters()
            self.gradients[stage] = {name: value.grad.clone() for name, value in named if value.grad is not None}

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._keep(trainer)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self.starts.append({name: value.detach().clone() for name, value in pl_module.model.named_parameters()})

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._keep(trainer)

    def _keep(self, trainer: Any) -> None:
        self.epochs.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def train(method: str, folder: Path, backbone: dict[str, str], devices: int) -> dict[str, Any]:
    """Train a model, with a global batch of GLOBAL_BATCH images, and return the record and the parameters."""
    seed_everything(3, verbose=False)
    model_class, arguments, epochs = METHODS[method]
    model = model_class(**backbone, image_size=SIDE, visualizer=False, learning_rate=1e-3, **arguments)
    data = AuxiliaryDataModule(
        "FolderTree",
        folder / "set",
        validation_categories=HELD_OUT,
        train_batch_size=GLOBAL_BATCH // devices,
        eval_batch_size=2,
        train_augmentations=BayesPFLAugmentation(),
        mosaic_probability=0.3,
    )
    _tame(model)
    initial = {name: value.detach().clone() for name, value in model.model.named_parameters()}
    record = Record()
    strategy = "ddp" if devices > 1 else "auto"
    # anomalib's engine makes a folder in every process; two that make the same one at the same time fail.
    folder = folder / f"{method}_{os.environ.get('LOCAL_RANK', '0')}"
    run = engine(folder, epochs, callbacks=[record], devices=devices, strategy=strategy)
    with pytest.MonkeyPatch.context() as patch:
        if method in FIGURES:
            figures = FIGURES[method]
            patch.setattr(
                StageFigures,
                "compute",
                lambda _self: dict.fromkeys((PIXEL_FIGURE, IMAGE_FIGURE), figures[model.current_epoch]),
            )
        run.fit(model, datamodule=data)
    rank = run.trainer.global_rank
    parameters = {name: value.detach().clone() for name, value in model.model.named_parameters()}
    kept = {name: getattr(record, name) for name in ("losses", "stages", "epochs", "gradients", "starts")}
    return {**kept, "initial": initial, "parameters": parameters, "rank": rank}


def _tame(model: Any) -> None:
    """Shrink the flows that begin with standard normal parameters.

    The logarithm of a Jacobian near zero, of which they have some, makes a difference in the last digit a large one in
    a few steps, also on one process whose sums run in another order.
    """
    with torch.no_grad():
        for name, value in model.model.named_parameters():
            if name.startswith(("normal_flow.", "abnormal_flow.")):
                value.mul_(0.02)


def main(folder: Path, devices: int) -> None:
    """Train every method, and write each process's record into `folder`."""
    backbone = {"backbone": str(folder / "clip.json"), "pretrained": str(folder / "clip.safetensors")}
    for method in METHODS:
        result = train(method, folder, backbone, devices)
        torch.save(result, folder / f"{method}_{result['rank']}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
