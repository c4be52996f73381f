"""The stages of a real model: what its checkpoints hold, what stage 2 moves, and a run that is resumed in either."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from anomalib.callbacks import ModelCheckpoint
from lightning.pytorch import Callback
from torch import Tensor

from anomalib_zsad import BayesPFL
from anomalib_zsad.models.bayes_pfl.validation import IMAGE_FIGURE, PIXEL_FIGURE, StageFigures
from tests.models.tester import SIDE, engine, squares

CASES = {
    case["name"]: case
    for case in json.loads((Path(__file__).parents[2] / "golden" / "stages.json").read_text())["cases"]
    if case["name"]
    in {
        "early stall, stage 2 stalls too",
        "stage 2 begins in the last epoch",
        "the fourth worse epoch is the last one",
        "late stall: the epochs run out in the wait",
    }
}


class Epochs(Callback):
    """Keeps the stage that each epoch was trained in, and a fingerprint of the weights at its end."""

    def __init__(self) -> None:
        self.stages: list[int] = []
        self.weights: list[float] = []

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.stages.append(pl_module.model.stage)
        self.weights.append(fingerprint(dict(pl_module.model.named_parameters())))


def fingerprint(parameters: dict[str, Tensor]) -> float:
    return float(sum(value.detach().double().abs().sum() for _, value in sorted(parameters.items())))


@pytest.fixture
def build(small_backbone, monkeypatch):
    def build(pixel_ap: list[float], image_ap: list[float]) -> BayesPFL:
        """A model with validation figures that are given, and losses that cost nothing and move every parameter."""
        torch.manual_seed(0)
        options = {"evaluator": False, "post_processor": False, "visualizer": False, "learning_rate": 0.1}
        model = BayesPFL(**small_backbone, image_size=SIDE, num_prompts=1, num_flows=1, **options)

        def training_step(batch: Any, batch_idx: int) -> Tensor:
            resting = {id(value) for value in model._resting_parameters()}
            return sum((value**2).sum() for value in model.model.parameters() if id(value) not in resting)

        def compute(_figures: StageFigures) -> dict[str, float]:
            return {PIXEL_FIGURE: pixel_ap[model.current_epoch], IMAGE_FIGURE: image_ap[model.current_epoch]}

        monkeypatch.setattr(StageFigures, "compute", compute)
        model.training_step = training_step
        model.validation_step = lambda *_args, **_kwargs: None
        return model

    return build


def run(model: BayesPFL, folder: Path, epochs: int, **options: Any) -> tuple[Epochs, Any]:
    record = Epochs()
    keep = ModelCheckpoint(folder, filename="{epoch}", save_top_k=-1)
    trainer = engine(folder, epochs, callbacks=[record, keep], num_sanity_val_steps=0)
    trainer.fit(model, squares(2, [0, 1]), squares(2, [0, 1]), **options)
    return record, trainer.trainer


def state_of(path: Path) -> dict[str, Any]:
    content = torch.load(path, weights_only=True)["state_dict"]
    return {name.removeprefix("model."): value for name, value in content.items()}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_epoch_leaves_a_checkpoint_of_its_own_weights_and_stage(case, build, tmp_path) -> None:
    """Whether or not they were the best, and before the best ones come back, as the published files do."""
    model = build(case["pixel_ap"], case["image_ap"])
    record, trainer = run(model, tmp_path, case["epochs_at_most"])
    assert record.stages == case["stage_of_epoch"]
    assert trainer.should_stop == case["stopped_early"]
    held = fingerprint(dict(model.model.named_parameters()))
    assert held == pytest.approx(record.weights[case["in_memory_at_end"] - 1], rel=1e-9)
    assert len(list(tmp_path.glob("*.ckpt"))) == len(case["files"])
    for epoch, (name, weights) in enumerate(zip(case["files"], record.weights, strict=True)):
        state = state_of(tmp_path / f"epoch={epoch}.ckpt")
        assert fingerprint({key: state[key] for key, _ in model.model.named_parameters()}) == pytest.approx(weights)
        assert state["_extra_state"]["stage"] == int(name.removesuffix(".pth")[-1])


def test_stage_2_begins_from_the_best_weights_with_a_new_optimiser_for_the_image_head_alone(build, tmp_path) -> None:
    model = build([0.3, 0.5, 0.4, 0.4, 0.4, 0.4, 0, 0], [0.5] * 8)
    _, trainer = run(model, tmp_path, 8)
    second, seventh, eighth = (state_of(tmp_path / f"epoch={epoch}.ckpt") for epoch in (1, 6, 7))
    resting = {name for name, value in model.model.named_parameters() if any(value is r for r in resting_of(model))}
    for name, _ in model.model.named_parameters():
        if name in resting:
            assert torch.equal(second[name], eighth[name]), name
            continue
        # The first step of a new Adam is as large as the rate, whatever the gradient's size.
        moves = second[name].abs() > 1e-3
        step = (seventh[name] - second[name]).abs()[moves]
        assert not len(step) or float(step.mean()) == pytest.approx(0.01, rel=1e-3), name
    assert {name.partition(".")[0] for name in second if name in dict(model.model.named_parameters())} - {
        name.partition(".")[0] for name in resting
    } == {"class_mapping", "image_mapping", "fusion"}
    (rate,) = [group["lr"] for group in trainer.optimizers[0].param_groups if group["name"] == "head"]
    assert rate == pytest.approx(0.01)


def resting_of(model: BayesPFL) -> list[Tensor]:
    return model._resting_parameters()


@pytest.mark.parametrize("epoch", [1, 4, 5, 6, 7])
def test_a_run_resumed_in_the_middle_of_a_stage_ends_as_an_unbroken_one(build, tmp_path, epoch) -> None:
    figures = [0.3, 0.5, 0.4, 0.4, 0.4, 0.4, 0, 0, 0, 0, 0, 0], [0.0] * 6 + [0.6, 0.5, 0.5, 0.5, 0.5, 0.5]
    record, trainer = run(build(*figures), tmp_path / "whole", 12)
    assert record.stages == [1] * 6 + [2] * 5
    rest, resumed = run(build(*figures), tmp_path / "again", 12, ckpt_path=tmp_path / "whole" / f"epoch={epoch}.ckpt")
    assert rest.stages == record.stages[epoch + 1 :]
    assert rest.weights == pytest.approx(record.weights[epoch + 1 :], rel=1e-9)
    assert resumed.should_stop == trainer.should_stop is True
