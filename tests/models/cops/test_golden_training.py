"""CoPS trained through the engine, by the published configs, ends each step where the published code ends it."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from anomalib_zsad import CoPS
from anomalib_zsad.models.cops import lightning_model
from anomalib_zsad.models.cops.published import from_published, published_name
from tests.models.golden_training import GoldenTraining, check_parameters, parse_config, train
from tests.models.small import write_backbone

CONFIGS = {"mvtec": "cops_mvtec", "visa": "cops_visa"}


@pytest.fixture(scope="module")
def golden() -> GoldenTraining:
    return GoldenTraining("training_cops")


@pytest.fixture(scope="module", params=CONFIGS)
def run(request, golden, tmp_path_factory) -> SimpleNamespace:
    """A run by a setting's config, with the golden start and draws."""
    folder = tmp_path_factory.mktemp("run")
    arguments = dict(parse_config(CONFIGS[request.param]).model.init_args)
    arguments |= write_backbone(folder, golden.seed, golden.facts["clip"]) | {"image_size": golden.side}
    # The golden images are normalised already.
    arguments |= {"pre_processor": False, "post_processor": False, "evaluator": False, "visualizer": False}
    model = CoPS(**arguments)
    start = from_published(golden.state(), dict(model.model.named_parameters()))
    model.model.load_state_dict({**start, "_extra_state": model.model.get_extra_state()})
    start = {published_name(name): value.detach().clone() for name, value in model.model.named_parameters()}
    counter = iter(range(1, 10**6))

    def draw(torch_model: Any, images: int, generator: Any = None) -> torch.Tensor:
        noise = golden.tensors[f"noise/step{next(counter)}"]
        assert len(noise) == images
        return noise

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lightning_model, "draw_training_noise", draw)
        steps = train(model, golden, folder, epochs=3, last_epoch=3, validate=False)
    return SimpleNamespace(
        steps=steps, start=start, setting=request.param, expected=golden.facts["steps"][request.param]
    )


def test_losses(run) -> None:
    assert len(run.steps.losses) == len(run.expected) == 9
    for ours, expected in zip(run.steps.losses, run.expected, strict=True):
        terms = expected["loss"]
        assert ours["total"] == pytest.approx(terms["total"], abs=1e-4 * max(1, abs(terms["total"])))
        for name in ("class", "gather", "scatter", "kl", "reconstruction"):
            assert ours[name] == pytest.approx(terms[name], abs=5e-4, rel=1e-5), (expected["step"], name)
        for name in ("focal", "dice"):
            assert ours[name] == pytest.approx(4 * terms[name], abs=4 * 5e-4), (expected["step"], name)


def test_gradients(golden, run) -> None:
    """Each parameter's norm; that of the abnormal queries is missing in steps 3, 6 and 9, all normal images."""
    without = set()
    for ours, rates, expected in zip(run.steps.norms, run.steps.rates, run.expected, strict=True):
        norms = {published_name(name): value for name, value in ours.items()}
        assert set(norms) == set(expected["gradient_norm"]), expected["step"]
        assert set(rates.values()) == set(expected["rates"]) == {1e-3}
        if "t_a" not in norms:
            without.add(expected["step"])
        for name, value in expected["gradient_norm"].items():
            assert norms[name] == pytest.approx(value, rel=0.01), (expected["step"], name)
    assert without == {3, 6, 9}


def test_parameters(golden, run) -> None:
    tensors = 0
    for step in (1, 2, 3, 6, 9):
        ours = {published_name(name): value for name, value in run.steps.parameters[step - 1].items()}
        tensors += check_parameters(golden, f"{run.setting}/step{step}", ours, run.start)
    assert tensors == 5 * len(run.start)


def test_the_last_epoch_is_what_is_kept(golden) -> None:
    """The published run has no validation and tests its last epoch: 10 on VisA, 5 on MVTec AD."""
    for name, epochs in (("cops_visa", 10), ("cops_mvtec", 5)):
        config = parse_config(name)
        assert config.trainer.max_epochs == epochs
        assert config.data.init_args.validation == "none"
