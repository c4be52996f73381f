"""The published stage rule, case by case from the golden file, through a real trainer."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from anomalib.callbacks import ModelCheckpoint
from lightning.pytorch import Callback
from torch import Tensor

from anomalib_zsad import BayesPFL
from anomalib_zsad.models.bayes_pfl.schedule import is_at_rest
from anomalib_zsad.models.bayes_pfl.validation import IMAGE_AP, PIXEL_AP
from tests.models.tester import SIDE, engine, squares

CASES = json.loads((Path(__file__).parents[2] / "golden" / "stages.json").read_text())["cases"]


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


def scripted(model: BayesPFL, pixel_ap: list[Any], image_ap: list[Any]) -> BayesPFL:
    """The model with validation figures that are given, and losses that cost nothing and move every parameter."""

    def training_step(batch: Any, batch_idx: int) -> Tensor:
        named = model.model.named_parameters()
        return sum((value**2).sum() for name, value in named if not is_at_rest(name, model.model.stage))

    model.training_step = training_step
    model.validation_step = lambda *_args, **_kwargs: None
    model._validation.compute = lambda: {
        PIXEL_AP: float(pixel_ap[model.current_epoch]),
        IMAGE_AP: float(image_ap[model.current_epoch]),
    }
    return model


@pytest.fixture
def build(small_backbone):
    def build(**changes: Any) -> BayesPFL:
        torch.manual_seed(0)
        options = {"evaluator": False, "post_processor": False, "visualizer": False, "learning_rate": 0.1}
        return BayesPFL(**small_backbone, image_size=SIDE, num_prompts=1, num_flows=1, **options, **changes)

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


def of_file(path: Path, model: BayesPFL) -> float:
    state = state_of(path)
    return fingerprint({name: state[name] for name, _ in model.model.named_parameters()})


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_the_stage_rule_is_the_published_one(case, build, tmp_path) -> None:
    model = scripted(build(), case["pixel_ap"], case["image_ap"])
    epochs = case["epochs_at_most"]
    if case["error"]:
        with pytest.raises(ValueError, match=f"stage 1 ends after epoch {case['last_epoch']}, and none of its validat"):
            run(model, tmp_path, epochs)
        assert len(list(tmp_path.glob("*.ckpt"))) == len(case["files"])
        return
    record, trainer = run(model, tmp_path, epochs)
    assert record.stages == case["stage_of_epoch"]
    assert trainer.should_stop == case["stopped_early"]
    (rule,) = [callback for callback in trainer.callbacks if type(callback).__name__ == "TwoStageTraining"]
    assert fingerprint(rule.best_weights) == pytest.approx(record.weights[case["kept_epoch"] - 1], rel=1e-9)
    held = fingerprint(dict(model.model.named_parameters()))
    assert held == pytest.approx(record.weights[case["in_memory_at_end"] - 1], rel=1e-9)
    # One file an epoch, of that epoch's weights and stage, whether or not they were the best.
    files = sorted(tmp_path.glob("*.ckpt"), key=lambda path: int(path.stem.partition("=")[2]))
    assert len(files) == len(case["files"])
    for path, name, weights in zip(files, case["files"], record.weights, strict=True):
        assert of_file(path, model) == pytest.approx(weights, rel=1e-9)
        assert state_of(path)["_extra_state"]["stage"] == int(name[-5])


def test_the_weights_of_the_best_epoch_come_back_for_stage_2(build, tmp_path) -> None:
    """And stage 2 moves nothing but the image head, at a constant rate from an optimiser that knows nothing."""
    model = scripted(build(), [0.3, 0.5, 0.4, 0.4, 0.4, 0.4, 0, 0], [0.5] * 8)
    _, trainer = run(model, tmp_path, 8)
    second, seventh, eighth = (state_of(tmp_path / f"epoch={epoch}.ckpt") for epoch in (1, 6, 7))
    moved = set()
    for name, _ in model.model.named_parameters():
        if is_at_rest(name, 2):
            assert torch.equal(second[name], eighth[name]), name
        else:
            # Adam's first step is the rate, whatever the gradient's size.
            step = (seventh[name] - second[name]).abs()
            moved.add(name.partition(".")[0])
            assert float(step[second[name].abs() > 1e-3].mean()) == pytest.approx(0.01, rel=1e-3) or step.max() < 1e-6
    assert moved == {"class_mapping", "image_mapping", "fusion"}
    (rate,) = [group["lr"] for group in trainer.optimizers[0].param_groups if group["name"] == "head"]
    assert rate == pytest.approx(0.01)


@pytest.mark.parametrize("epoch", [1, 4, 5, 6, 7])
def test_a_run_resumed_in_the_middle_of_a_stage_ends_as_an_unbroken_one(build, tmp_path, epoch) -> None:
    pixel_ap, image_ap = [0.3, 0.5, 0.4, 0.4, 0.4, 0.4, 0, 0, 0, 0, 0, 0], [0.0] * 6 + [0.6, 0.5, 0.5, 0.5, 0.5, 0.5]
    whole = scripted(build(), pixel_ap, image_ap)
    record, trainer = run(whole, tmp_path / "whole", 12)
    assert record.stages == [1] * 6 + [2] * 5
    again = scripted(build(), pixel_ap, image_ap)
    rest, resumed = run(again, tmp_path / "again", 12, ckpt_path=tmp_path / "whole" / f"epoch={epoch}.ckpt")
    assert rest.stages == record.stages[epoch + 1 :]
    assert rest.weights == pytest.approx(record.weights[epoch + 1 :], rel=1e-9)
    assert resumed.should_stop == trainer.should_stop is True


def test_options_that_nobody_published(build, tmp_path) -> None:
    """An end of stage 1 by epochs, and the best weights at the end of the run, in memory and in the last checkpoint."""
    model = scripted(build(stage_1_epochs=2, restore_best=True), [0.5, 0.4, 0, 0], [0, 0, 0.5, 0.4])
    record = Epochs()
    trainer = engine(tmp_path, 4, callbacks=[record], num_sanity_val_steps=0)
    trainer.fit(model, squares(2, [0, 1]), squares(2, [0, 1]))
    assert record.stages == [1, 1, 2, 2]
    held = fingerprint(dict(model.model.named_parameters()))
    assert held == pytest.approx(record.weights[2], rel=1e-9)
    assert held != pytest.approx(record.weights[3], rel=1e-9)
    path = Path(trainer.trainer.checkpoint_callback.best_model_path)
    assert of_file(path, model) == pytest.approx(held, rel=1e-9)


def test_a_run_that_is_too_short_says_what_it_does(build, tmp_path, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        run(scripted(build(), [0.1] * 5, [0.1] * 5), tmp_path / "short", 5)
        assert "max_epochs is 5, and with patience 3 stage 2 begins after epoch 5 at the earliest" in caplog.text
        caplog.clear()
        run(scripted(build(), [0.1] * 6, [0.1] * 6), tmp_path / "long", 6)
        run(scripted(build(stage_1_epochs=1), [0.1] * 2, [0.1] * 2), tmp_path / "cut", 2)
        assert "stage 2 begins" not in caplog.text
        engine(tmp_path / "none", 1, limit_val_batches=0).fit(scripted(build(), [0], [0]), squares(2, [0, 1]))
        assert "There are no validation data, by which stage 1 would end" in caplog.text


@pytest.mark.parametrize(("name", "value"), [("patience", 0), ("stage_1_epochs", 0)])
def test_a_rule_out_of_range_is_an_error_at_once(name, value) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value}; give"):
        BayesPFL(**{name: value})
