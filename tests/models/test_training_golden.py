"""Both methods train as the published code does: parameters, losses, rates and gradients, step by step.

Through anomalib's Engine, with the published configs and the models' own optimisers, schedules and stages; only the
sizes of the backbone, the numbers of samples and epochs, the random draws and the validation figures are the golden
run's.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from safetensors import safe_open
from torch import Tensor
from torch.utils.data import DataLoader

from anomalib_zsad import BayesPFL, CoPS
from anomalib_zsad.data.items import ClassNamedBatch, ClassNamedItem
from anomalib_zsad.models.bayes_pfl import lightning_model as bayes_pfl
from anomalib_zsad.models.bayes_pfl import published as bayes_pfl_names
from anomalib_zsad.models.bayes_pfl.training import TrainingDraw
from anomalib_zsad.models.bayes_pfl.validation import IMAGE_FIGURE, PIXEL_FIGURE, StageFigures
from anomalib_zsad.models.cops import lightning_model as cops
from anomalib_zsad.models.cops import published as cops_names
from tests.golden import seeded_weights
from tests.models.configs import model_arguments
from tests.models.small import write_backbone
from tests.models.tester import engine

GOLDEN = Path(__file__).parents[1] / "golden"


class Golden:
    """A golden run: facts by name, tensors by name, and the batches that were trained on."""

    def __init__(self, name: str) -> None:
        self.facts: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text())
        with safe_open(GOLDEN / f"{name}.safetensors", "pt") as file:
            self.tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no dictionary

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def start(self) -> dict[str, Tensor]:
        """The published state at the start."""
        log_temperature = 2.659260036932778  # log(1 / 0.07)
        blank = {
            name: torch.full(shape, log_temperature if name.startswith("temperature") else 0.0)
            for name, shape in self.facts["state_shapes"].items()
        }
        return seeded_weights.fill(blank, self.facts["seed"], keep=("temperature",))

    def loader(self) -> DataLoader:
        """The three batches, in the order that every epoch has."""
        items, batches = [], []
        for number, size in enumerate(self.facts["batch_sizes"]):
            images = seeded_weights.image(self.facts["seed"] + 100 + number, size, self.facts["side"])
            names = self.facts.get("class_names", [["object"] * size] * 3)[number]
            batches.append(list(range(len(items), len(items) + size)))
            items += [
                ClassNamedItem(
                    image=images[place],
                    gt_mask=self[f"input/mask{number}"][place],
                    gt_label=self[f"input/label{number}"][place].long(),
                    class_name=names[place],
                    image_path=f"{number}_{place}.png",
                )
                for place in range(size)
            ]
        return DataLoader(items, batch_sampler=batches, collate_fn=ClassNamedBatch.collate)  # type: ignore[arg-type]


class Record(Callback):
    """State, losses, rates and gradients of each step, counted from 1."""

    def __init__(self, names: dict[str, str]) -> None:
        self.names = names
        self.states: dict[int, dict[str, Tensor]] = {}
        self.begun: dict[int, dict[str, Tensor]] = {}
        self.losses: dict[int, dict[str, float]] = {}
        self.rates: dict[int, dict[str, float]] = {}
        self.norms: dict[int, dict[str, float]] = {}

    @property
    def step(self) -> int:
        return len(self.states) + 1

    def _state(self, pl_module: Any) -> dict[str, Tensor]:
        return {self.names[name]: value.detach().clone() for name, value in pl_module.model.named_parameters()}

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.begun[self.step] = self._state(pl_module)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.rates[self.step] = {group.get("name", "all"): group["lr"] for group in optimizer.param_groups}
        gradients = {name: value.grad for name, value in pl_module.model.named_parameters() if value.grad is not None}
        self.norms[self.step] = {self.names[name]: float(value.norm()) for name, value in gradients.items()}

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.states[self.step] = self._state(pl_module)


def listen(model: Any, record: Record) -> None:
    """Note each step's losses."""
    log_losses = model.log_losses

    def log(losses: dict[str, Tensor], images: int) -> Tensor:
        record.losses[record.step] = {name: float(value) for name, value in losses.items()}
        return log_losses(losses, images)

    model.log_losses = log


@pytest.fixture(scope="module")
def bayes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Golden, Record]:
    golden = Golden("training_bayes_pfl")
    facts, config = golden.facts, golden.facts["config"]
    folder = tmp_path_factory.mktemp("bayes")
    sizes = {
        **write_backbone(folder, facts["seed"], facts["clip"]),
        "image_size": config["image_size"],
        "layers": tuple(config["features_list"]),
        "num_samples": 2,
        "schedule_epochs": facts["epochs"],
        "pre_processor": False,
    }
    model = BayesPFL(**{**model_arguments("bayes_pfl_visa"), **sizes})
    ours = dict(model.model.named_parameters(remove_duplicate=False))
    model.model.load_state_dict(bayes_pfl_names.from_published(golden.start(), ours), strict=False)
    record = Record({name: bayes_pfl_names.published_name(name) for name in ours})
    listen(model, record)

    def draw(*_: Any) -> TrainingDraw:
        step = record.step
        context, normal, abnormal = (golden[f"noise/{kind}/step{step}"] for kind in ("context", "normal", "abnormal"))
        return TrainingDraw((context[:, None], normal, abnormal), facts["steps"][step - 1]["entry"])

    def figures(_: StageFigures) -> dict[str, float]:
        value = facts["validation_values"].get(str(model.current_epoch + 1), 0.0)
        return {PIXEL_FIGURE: value, IMAGE_FIGURE: value}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bayes_pfl, "draw_training_noise", draw)
        patch.setattr(StageFigures, "compute", figures)
        run = engine(folder, epochs=facts["epochs"], callbacks=[record], max_steps=len(facts["steps"]))
        run.fit(model, golden.loader(), golden.loader())
    return golden, record


@pytest.fixture(scope="module", params=["mvtec", "visa"])
def cops_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Golden, Record, str]:
    golden, setting = Golden("training_cops"), request.param
    facts, folder = golden.facts, tmp_path_factory.mktemp("cops")
    sizes = {
        **write_backbone(folder, facts["seed"], facts["clip"]),
        "image_size": facts["side"],
        "num_samples": 2,
        "pre_processor": False,
    }
    arguments = model_arguments(f"cops_{setting}")
    assert {name: arguments[name] for name in facts["settings"][setting]} == facts["settings"][setting]
    model = CoPS(**{**arguments, **sizes})
    ours = dict(model.model.named_parameters())
    model.model.load_state_dict(cops_names.from_published(golden.start(), ours), strict=False)
    record = Record({name: cops_names.published_name(name) for name in ours})
    listen(model, record)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cops, "draw_training_noise", lambda *_: golden[f"noise/step{record.step}"])
        engine(folder, epochs=facts["epochs"], callbacks=[record]).fit(model, golden.loader(), golden.loader())
    return golden, record, setting


def check_state(golden: Golden, prefix: str, state: dict[str, Tensor], start: dict[str, Tensor], most: float) -> int:
    """Compare a state with the golden entries and moments; returns how many parameters were compared."""
    checked, off, total = 0, 0, 0
    for name, value in state.items():
        if f"{prefix}/entries/{name}" not in golden.tensors:
            continue
        checked += 1
        free = golden.facts["free_entries"].get(name)
        flat, begun = value.flatten(), start[name].flatten()
        count = len(flat)
        places = torch.arange(count) if count <= 64 else torch.arange(64) * count // 64
        wanted = golden[f"{prefix}/entries/{name}"].flatten()
        kept = torch.ones(len(places), dtype=torch.bool)
        if free is not None:
            kept = ~((places >= free[0]) & (places < free[1]))
        difference = (flat[places] - wanted)[kept].abs()
        assert float(difference.max()) <= most if len(difference) else True, name
        off += int((difference > 1e-4).sum())
        total += len(difference)
        if free is None:
            change = float((flat - begun).norm())
            norm = float(golden[f"{prefix}/moments/{name}"].flatten()[3])
            assert change == pytest.approx(norm, rel=0.01, abs=1e-6), name
    assert off <= 0.001 * total + 0.5, f"{off} of {total} entries"
    return checked


def check_losses(record: Record, facts: list[dict[str, Any]], tolerance: float) -> None:
    for fact in facts:
        own, step = record.losses[fact["step"]], fact["step"]
        total = max(1.0, abs(fact["loss"]["total"]))
        assert sum(own.values()) == pytest.approx(fact["loss"]["total"], abs=1e-4 * wider(fact) * total), step
        for name in set(own) & {"class", "distribution", "orthogonal", "gather", "scatter", "kl", "reconstruction"}:
            allowed = tolerance * wider(fact)
            assert own[name] == pytest.approx(fact["loss"][name], abs=allowed, rel=allowed), (step, name)


def check_gradients(record: Record, facts: list[dict[str, Any]]) -> None:
    for fact in facts:
        own = record.norms[fact["step"]]
        assert set(own) == set(fact["gradient_norm"]) & set(record.names.values()), fact["step"]
        for name, norm in own.items():
            allowed = 0.01 * wider(fact)
            assert norm == pytest.approx(fact["gradient_norm"][name], rel=allowed, abs=1e-5), (fact["step"], name)


def wider(fact: dict[str, Any]) -> float:
    """How often the tolerance is allowed in a step.

    The golden run was shown to be stable over its first 12 steps. After them a flow's Jacobian comes near zero, which
    makes a thousandfold of a difference in the last digit: on a processor with AVX-512 everything stays within the
    tolerance, on one without it the losses of step 18 are off by 2.4e-4 and a gradient by 1.1 %, and after 12 steps
    all losses are within 3e-5. Stage 2 begins at step 19.
    """
    return 4.0 if fact.get("stage") == 1 and fact["step"] > 12 else 1.0


class TestBayesPFL:
    def test_losses(self, bayes: tuple[Golden, Record]) -> None:
        check_losses(bayes[1], bayes[0].facts["steps"], 2e-4)

    def test_rates(self, bayes: tuple[Golden, Record]) -> None:
        golden, record = bayes
        for fact in golden.facts["steps"]:
            own = record.rates[fact["step"]]
            if fact["stage"] == 2:
                assert own["head"] == pytest.approx(1e-4, abs=1e-10)
                continue
            wanted = dict(zip(golden.facts["group_order"], fact["rates"], strict=True))
            for name, published in {"prompt": "prompt", "temperature": "temperature", "flow": "flow"}.items():
                assert own[name] == pytest.approx(wanted[published], rel=1e-6, abs=1e-12), fact["step"]
            assert own["other"] == own["head"] == pytest.approx(wanted["rest"], rel=1e-6, abs=1e-12)

    def test_gradients(self, bayes: tuple[Golden, Record]) -> None:
        check_gradients(bayes[1], bayes[0].facts["steps"])

    @pytest.mark.parametrize("step", [1, 2, 3, 6, 12, 19, 20, 21])
    def test_parameters_after_a_step(self, bayes: tuple[Golden, Record], step: int) -> None:
        golden, record = bayes
        assert check_state(golden, f"step{step}", record.states[step], record.begun[1], 2e-3) > 50

    def test_the_first_step_moves_nothing(self, bayes: tuple[Golden, Record]) -> None:
        _, record = bayes
        assert all(torch.equal(record.states[1][name], value) for name, value in record.begun[1].items())

    def test_the_switch_brings_the_weights_of_the_second_epoch_back(self, bayes: tuple[Golden, Record]) -> None:
        golden, record = bayes
        switch = golden.facts["switch_after_step"]
        check_state(golden, "before_restore", record.states[switch], record.begun[1], 2e-3)
        back = record.states[golden.facts["restored"]["weights_of_step"]]
        assert all(torch.equal(record.begun[switch + 1][name], value) for name, value in back.items())

    def test_schedules(self) -> None:
        for fact in json.loads((GOLDEN / "training_bayes_pfl.json").read_text())["schedules"]:
            total = fact["steps_per_epoch"] * fact["epochs"]
            rates = [bayes_pfl.schedule(step, total) for step in range(total)]
            assert rates == pytest.approx(fact["multiplier"], abs=1e-8)


class TestCoPS:
    def test_losses(self, cops_run: tuple[Golden, Record, str]) -> None:
        golden, record, setting = cops_run
        check_losses(record, golden.facts["steps"][setting], 5e-4)

    def test_rates(self, cops_run: tuple[Golden, Record, str]) -> None:
        assert {rate for rates in cops_run[1].rates.values() for rate in rates.values()} == {1e-3}

    def test_gradients_and_who_has_none(self, cops_run: tuple[Golden, Record, str]) -> None:
        golden, record, setting = cops_run
        check_gradients(record, golden.facts["steps"][setting])
        assert all("t_a" not in record.norms[step] for step in (3, 6, 9))

    @pytest.mark.parametrize("step", [1, 2, 3, 6, 9])
    def test_parameters_after_a_step(self, cops_run: tuple[Golden, Record, str], step: int) -> None:
        golden, record, setting = cops_run
        assert check_state(golden, f"{setting}/step{step}", record.states[step], record.begun[1], 2e-3) > 20
