"""Bayes-PFL trained through the engine, by the published config, ends each step where the published code ends it."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from anomalib_zsad import BayesPFL
from anomalib_zsad.models.bayes_pfl import lightning_model
from anomalib_zsad.models.bayes_pfl.published import from_published, published_name
from anomalib_zsad.models.bayes_pfl.schedule import multiplier
from anomalib_zsad.models.bayes_pfl.training import TrainingDraw
from anomalib_zsad.models.bayes_pfl.validation import IMAGE_AP, PIXEL_AP
from tests.models.golden_training import GoldenTraining, Steps, check_parameters, parse_config, train
from tests.models.small import write_backbone

EPOCHS = 10


@pytest.fixture(scope="module")
def golden() -> GoldenTraining:
    return GoldenTraining("training_bayes_pfl")


def build(golden: GoldenTraining, folder: Any, config: str, **changes: Any) -> BayesPFL:
    """The config's model over the golden backbone, with the golden start, and golden figures of validation."""
    arguments = dict(parse_config(config).model.init_args)
    arguments |= write_backbone(folder, golden.seed, golden.facts["clip"])
    arguments |= {"image_size": golden.side, "layers": tuple(golden.facts["config"]["features_list"])}
    # The golden images are normalised already.
    arguments |= {"pre_processor": False, "post_processor": False, "evaluator": False, "visualizer": False, **changes}
    model = BayesPFL(**arguments)
    every = dict(model.model.named_parameters(remove_duplicate=False))
    start = from_published(golden.state(keep=("temperature",)), every)
    model.model.load_state_dict({**start, "_extra_state": {"stage": 1}})
    figures = {int(epoch): value for epoch, value in golden.facts["validation_values"].items()}
    model._validation.compute = lambda: dict.fromkeys((PIXEL_AP, IMAGE_AP), figures.get(model.current_epoch + 1, 0.0))
    return model


def golden_draws(golden: GoldenTraining) -> Any:
    """Stands for the draws of a step."""
    counter = iter(range(1, 10**6))

    def draw(model: Any, images: int, generator: Any = None) -> TrainingDraw:
        step = next(counter)
        context, normal, abnormal = (golden.tensors[f"noise/{kind}/step{step}"] for kind in KINDS)
        assert len(context) == images
        return TrainingDraw((context[:, None], normal, abnormal), golden.facts["steps"][step - 1]["entry"])

    return draw


KINDS = ("context", "normal", "abnormal")


@pytest.fixture(scope="module", params=["bayes_pfl_visa", "bayes_pfl_mvtec"])
def run(request, golden, tmp_path_factory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("run")
    model = build(golden, folder, request.param)
    start = {published_name(name): value.detach().clone() for name, value in model.model.named_parameters()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lightning_model, "draw_training_noise", golden_draws(golden))
        steps = train(model, golden, folder, EPOCHS, last_epoch=7, validate=True)
    return SimpleNamespace(steps=steps, start=start)


def by_published_name(parameters: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {published_name(name): value for name, value in parameters.items()}


def test_losses(golden, run) -> None:
    assert len(run.steps.losses) == len(golden.facts["steps"]) == 21
    for ours, expected in zip(run.steps.losses, golden.facts["steps"], strict=True):
        terms = expected["loss"]
        assert ours["total"] == pytest.approx(terms["total"], abs=1e-4 * max(1, abs(terms["total"])))
        assert set(ours) == (set(terms) if expected["stage"] == 1 else {"class", "total"})
        for name, value in ours.items():
            if name != "total":
                assert value == pytest.approx(terms[name], abs=2e-4), (expected["step"], name)


def test_rates(golden, run) -> None:
    order, group_of = golden.facts["group_order"], golden.facts["groups"]
    for ours, expected in zip(run.steps.rates, golden.facts["steps"], strict=True):
        for name, rate in ours.items():
            published = published_name(name)
            if expected["stage"] == 1:
                wanted = expected["rates"][order.index(group_of[published])]
                full = {"temperature": 1e-2, "rest": 1e-4}.get(group_of[published], 1e-3)
                assert rate == pytest.approx(wanted, abs=1e-6 * full), (expected["step"], name)
            elif published in golden.facts["stage2_trains"]:
                assert rate == pytest.approx(expected["rates"][0], rel=1e-6)


def test_gradients(golden, run) -> None:
    """Each parameter's norm, and which have none: Adam passes these over, moments and all."""
    for ours, expected in zip(run.steps.norms, golden.facts["steps"], strict=True):
        norms = {published_name(name): value for name, value in ours.items()}
        assert set(norms) == set(expected["gradient_norm"]), expected["step"]
        for name, value in expected["gradient_norm"].items():
            if name not in golden.facts["free_entries"]:
                assert norms[name] == pytest.approx(value, rel=0.01), (expected["step"], name)


def test_parameters(golden, run) -> None:
    steps: Steps = run.steps
    tensors = 0
    for step in (1, 2, 3, 6, 12, 18, 19, 20, 21):
        prefix = "before_restore" if step == 18 else f"step{step}"
        ours = by_published_name(steps.parameters[step - 1])
        tensors += check_parameters(golden, prefix, ours, run.start)
    assert tensors == 9 * len(set(run.start))
    for name, value in by_published_name(steps.parameters[0]).items():
        assert torch.equal(value, run.start[name]), name  # the first step has rate 0


@pytest.mark.parametrize("index", range(5))
def test_schedules(golden, index) -> None:
    schedule = golden.facts["schedules"][index]
    total = schedule["steps_per_epoch"] * schedule["epochs"]
    assert int(total / 10) == schedule["warm_up_steps"]
    for step, expected in enumerate(schedule["multiplier"][:total]):
        assert multiplier(step, total) == pytest.approx(expected, abs=1e-6)
    assert multiplier(total, total) == schedule["after_the_last_step"] == 0
