"""The published training, step by step, and a run of the engine to be held against it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from anomalib.cli import AnomalibCLI
from lightning.pytorch import Callback
from safetensors import safe_open
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from anomalib_zsad.data.items import ClassNamedBatch, ClassNamedItem
from tests.golden import seeded_weights
from tests.models.tester import engine

GOLDEN = Path(__file__).parents[1] / "golden"
CONFIGS = Path(__file__).parents[2] / "configs"


class GoldenTraining(Dataset):
    """A golden training file; as a dataset, the images of its batches in their order.

    Args:
        name: Name of the two files, without their ends.
    """

    def __init__(self, name: str) -> None:
        self.facts = json.loads((GOLDEN / f"{name}.json").read_text())
        with safe_open(GOLDEN / f"{name}.safetensors", "pt") as file:
            self.tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no dictionary
        self.seed, self.side = self.facts["seed"], self.facts["side"]
        self.sizes = self.facts["batch_sizes"]

    def __len__(self) -> int:
        return sum(self.sizes)

    def __getitem__(self, index: int) -> ClassNamedItem:
        batch = 0
        position = index
        while position >= self.sizes[batch]:
            position, batch = position - self.sizes[batch], batch + 1
        names = self.facts.get("class_names")
        return ClassNamedItem(
            image=seeded_weights.image(self.seed + 100 + batch, self.sizes[batch], self.side)[position],
            gt_mask=self.tensors[f"input/mask{batch}"][position],
            gt_label=self.tensors[f"input/label{batch}"][position].long(),
            image_path=f"{index}.png",
            class_name=names[batch][position] if names else "object",
        )

    def loader(self) -> DataLoader:
        """The published batches, in the published order, in every epoch."""
        starts = [sum(self.sizes[:batch]) for batch in range(len(self.sizes))]
        batches = [list(range(start, start + size)) for start, size in zip(starts, self.sizes, strict=True)]
        return DataLoader(self, batch_sampler=batches, collate_fn=ClassNamedBatch.collate)

    def state(self, keep: tuple[str, ...] = ()) -> dict[str, Tensor]:
        """What the published run starts from, by published names."""
        value = 2.659260036932778  # log(1 / 0.07), for the temperatures
        blank = {name: torch.full(shape, value) for name, shape in self.facts["state_shapes"].items()}
        return seeded_weights.fill(blank, self.seed, keep)

    def rows_that_count(self, name: str, numel: int) -> Iterator[int]:
        """Of the entries kept of a tensor, those whose gradient is more than round-off."""
        low, high = self.facts["free_entries"].get(name, (0, 0))
        count = min(numel, 64)
        for place in range(count):
            index = place if numel <= 64 else place * numel // 64
            if not low <= index < high:
                yield place


def parse_config(name: str) -> Any:
    """What `anomalib train --config configs/NAME.yaml` builds from, nothing built."""
    cli, kept = AnomalibCLI, {}
    for method in ("before_instantiate_classes", "instantiate_classes"):
        kept[method] = getattr(cli, method)
        setattr(cli, method, lambda _self: None)
    try:
        return cli(["train", "--config", str(CONFIGS / f"{name}.yaml")], run=False).config["train"]
    finally:
        for method, original in kept.items():
            setattr(cli, method, original)


class Steps(Callback):
    """Keeps losses, rates, gradient norms and parameters of every step, and stops after an epoch."""

    def __init__(self, last_epoch: int) -> None:
        self.last_epoch = last_epoch
        self.losses: list[dict[str, float]] = []
        self.rates: list[dict[str, float]] = []
        self.norms: list[dict[str, float]] = []
        self.parameters: list[dict[str, Tensor]] = []
        self.at_epoch_start: list[dict[str, Tensor]] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        original = pl_module.log_losses

        def log_losses(losses: dict[str, Tensor], images: int) -> Tensor:
            total = original(losses, images)
            self.losses.append({**{name: float(value) for name, value in losses.items()}, "total": float(total)})
            return total

        pl_module.log_losses = log_losses

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        named = {id(value): name for name, value in pl_module.model.named_parameters()}
        self.rates.append(
            {named[id(value)]: group["lr"] for group in optimizer.param_groups for value in group["params"]}
        )
        self.norms.append(
            {
                name: float(value.grad.norm())
                for name, value in pl_module.model.named_parameters()
                if value.grad is not None
            }
        )

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.parameters.append(copied(pl_module))

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch + 1 == self.last_epoch:
            trainer.should_stop = True


def copied(module: Any) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.model.named_parameters()}


def train(module: Any, golden: GoldenTraining, folder: Path, epochs: int, last_epoch: int, validate: bool) -> Steps:
    """Train through anomalib's engine, on the published batches."""
    steps = Steps(last_epoch)
    batches = None if validate else 0
    run = engine(folder, epochs, callbacks=[steps], num_sanity_val_steps=0, limit_val_batches=batches)
    run.fit(module, golden.loader(), golden.loader())
    return steps


def check_parameters(
    golden: GoldenTraining, prefix: str, ours: dict[str, Tensor], start: dict[str, Tensor], rate_bound: float = 2e-3
) -> int:
    """Hold parameters (by published names) against a kept state; returns the number of tensors compared."""
    distances, compared = [], 0
    for name, value in ours.items():
        key = f"{prefix}/entries/{name}"
        if key not in golden.tensors:
            continue
        compared += 1
        flat, expected = value.flatten(), golden.tensors[key].flatten()
        for place in golden.rows_that_count(name, flat.numel()):
            index = place if flat.numel() <= 64 else place * flat.numel() // 64
            distances.append(float((flat[index] - expected[place]).abs()))
        moved = (value - start[name].reshape(value.shape)).norm()
        norm_of_change = float(golden.tensors[f"{prefix}/moments/{name}"].flatten()[3])
        if name not in golden.facts["free_entries"]:
            assert abs(float(moved) - norm_of_change) <= 0.01 * norm_of_change + 1e-6, (prefix, name)
    found = torch.tensor(distances)
    assert (found <= 1e-4).float().mean() >= 0.999, (prefix, float(found.quantile(0.999)))
    assert found.max() <= rate_bound, (prefix, float(found.max()))
    return compared
