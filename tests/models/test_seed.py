"""A model's seed decides its first weights and the draws of its training steps, whatever torch's generator does."""

from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from anomalib_zsad import BayesPFL, CoPS
from tests.models.tester import SIDE, engine, squares


class Losses(Callback):
    """Keeps the losses of all steps."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.values.append(float(outputs["loss"]))


@pytest.mark.parametrize("method", [BayesPFL, CoPS])
def test_a_seed_decides_first_weights_and_draws(method, small_backbone, tmp_path) -> None:
    def trained(seed: int | None, torch_seed: int) -> tuple[list[float], float]:
        torch.manual_seed(torch_seed)
        model = method(**small_backbone, image_size=SIDE, visualizer=False, evaluator=False, seed=seed)
        following, losses = float(torch.rand(())), Losses()
        run = engine(tmp_path, 1, callbacks=[losses], limit_val_batches=0, num_sanity_val_steps=0)
        run.fit(model, squares(), squares())
        return losses.values, following

    first, following = trained(333, 0)
    assert trained(333, 1)[0] == first
    assert trained(334, 0)[0] != first
    torch.manual_seed(0)
    assert following == float(torch.rand(()))  # no other draw notices
    assert trained(None, 0)[0] == trained(None, 0)[0] != trained(None, 1)[0]
