"""Bayes-PFL answers what the published implementation answers on the same weights."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from anomalib_zsad.models.bayes_pfl import BayesPFL
from anomalib_zsad.models.bayes_pfl.published import published_name
from anomalib_zsad.models.bayes_pfl.training import TrainingDraw, image_head_losses, prompt_losses
from anomalib_zsad.models.components.training_batch import TrainingBatch
from tests.golden import seeded_weights
from tests.models.small import write_backbone

FILE = Path(__file__).parents[2] / "golden" / "bayes_pfl.safetensors"


class Golden:
    """The golden file: tensors by name, and what they were made with."""

    def __init__(self) -> None:
        with safe_open(FILE, "pt") as file:
            self.tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dictionary
            metadata = file.metadata()
        self.seed = int(metadata["seed"])
        self.config, self.clip = json.loads(metadata["config"]), json.loads(metadata["clip"])
        self.class_names = json.loads(metadata["class_names"])
        shapes = json.loads(metadata["state_shapes"])
        blank = {name: torch.full(shape, 2.659260036932778) for name, shape in shapes.items()}  # log(1 / 0.07)
        self.state = seeded_weights.fill(blank, self.seed, keep=("temperature",))

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def noise(self, prefix: str) -> tuple[Tensor, Tensor, Tensor]:
        first = f"{prefix.rsplit('/', 1)[0]}/image0/"  # the published code keeps the first image's agnostic draws
        return self[f"{prefix}/noise_context"], self[f"{first}noise_normal"], self[f"{first}noise_abnormal"]


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden()


@pytest.fixture(scope="module")
def build(golden, tmp_path_factory):
    """The model, loaded from a published file that stands for the stage by its name."""
    folder = tmp_path_factory.mktemp("golden")
    backbone = write_backbone(folder, golden.seed, golden.clip)

    def build(stage: int) -> BayesPFL:
        torch.save({"MyModel": golden.state}, folder / f"epoch_post_9_{stage}.pth")
        return BayesPFL(
            **backbone,
            image_size=golden.config["image_size"],
            layers=tuple(golden.config["features_list"]),
            num_samples=golden.config["sample_num"],
            checkpoint=str(folder / f"epoch_post_9_{stage}.pth"),
            blur_sigma=0.0,
            map_weight=0.0,
        ).eval()

    return build


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected.reshape(actual.shape), atol=1e-4, rtol=0)


@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize("index", [0, 1])
@torch.no_grad()
def test_answers(golden, build, stage, index) -> None:
    model, prefix = build(stage).model, f"test/stage{stage}/image{index}"
    assert model.stage == stage
    image = seeded_weights.image(golden.seed + index, 1, 70)
    name, noise = golden.class_names[index], golden.noise(prefix)
    tokens = model.backbone.encode_image(image, model.layers)
    for layer, patches in zip(model.layers, tokens.patches, strict=True):
        if stage == 1:
            close(patches, golden[f"{prefix}/patch_tokens_{layer}"])
    close(model.backbone.global_feature(tokens), golden[f"{prefix}/image_feature"])
    text = model.sample_prompts(tokens, [name], noise).text
    close(text.permute(0, 3, 1, 2, 4).flatten(1, 3), golden[f"{prefix}/text_embeddings"])
    answer = model(image, [name], noise)
    close(answer.pred_score, golden[f"{prefix}/image_score"])
    close(answer.anomaly_map, golden[f"{prefix}/anomaly_map"])


def training_inputs(golden: Golden) -> tuple[TrainingBatch, TrainingDraw]:
    images = seeded_weights.image(golden.seed + 7, 2, 70)
    batch = TrainingBatch(images, golden["train/label"], golden["train/mask"], golden.class_names)
    noise = (golden["train/noise_context"][:, None], golden["train/noise_normal"], golden["train/noise_abnormal"])
    return batch, TrainingDraw(noise, int(golden["train/prompt_index"]))


def check_gradients(golden: Golden, model: torch.nn.Module, prefix: str) -> None:
    """Every recorded gradient, its norm or the whole of it, within 1e-3 (norms of 1e-8 are rounding)."""
    gradients = {}
    for name, parameter in model.named_parameters():
        gradients[published_name(name)] = parameter.grad
    recorded = [name for name in golden.tensors if name.startswith(f"{prefix}grad_norm/")]
    assert recorded
    for name in recorded:
        norm = gradients[name.removeprefix(f"{prefix}grad_norm/")].norm()
        torch.testing.assert_close(norm, golden[name], rtol=1e-3, atol=1e-7, msg=name)
    for name in golden.tensors:
        if name.startswith(f"{prefix}grad/"):
            gradient = gradients[name.removeprefix(f"{prefix}grad/")]
            scale = float(golden[name].abs().max())
            torch.testing.assert_close(gradient, golden[name].reshape(gradient.shape), rtol=1e-3, atol=1e-3 * scale)


def test_training_of_stage_1(golden, build) -> None:
    model = build(1).model
    losses = prompt_losses(model, *training_inputs(golden))
    for name, value in losses.items():
        close(value.detach(), golden[f"train/loss_{name}"])
    sum(losses.values()).backward()
    check_gradients(golden, model, "train/")


def test_training_of_stage_2(golden, build) -> None:
    model = build(2).model
    losses = image_head_losses(model, *training_inputs(golden))
    assert set(losses) == {"class"}
    close(losses["class"].detach(), golden["train/stage2/loss_class"])
    losses["class"].backward()
    check_gradients(golden, model, "train/stage2/")


def test_any_other_file_name_means_stage_2(golden, build, tmp_path) -> None:
    model = build(1)
    torch.save({"MyModel": golden.state}, tmp_path / "best.pth")
    arguments = {name: model.hparams[name] for name in ("backbone", "pretrained", "image_size", "layers")}
    assert BayesPFL(**arguments, checkpoint=str(tmp_path / "best.pth")).model.stage == 2


def test_hyper_parameters_are_read_from_the_shapes(golden, build) -> None:
    model = build(2).model
    assert tuple(model.prompts.context.shape) == (3, 5, 64)
    assert model.context_flow.num_flows == golden.config["num_flows"]


def test_a_published_file_that_does_not_fit_is_refused_by_name(golden, build, tmp_path) -> None:
    from anomalib_zsad.models.components.checkpoint import CheckpointError

    model = build(2)
    state = {name: value for name, value in golden.state.items() if name != "class_mapping.bias"}
    torch.save({"MyModel": state}, tmp_path / "short.pth")
    arguments = {name: model.hparams[name] for name in ("backbone", "pretrained", "image_size", "layers")}
    with pytest.raises(CheckpointError, match=r"short.pth' lacks 'class_mapping.bias'"):
        BayesPFL(**arguments, checkpoint=str(tmp_path / "short.pth"))
    torch.save({"MyModel": {**golden.state, "class_mapping.bias": torch.zeros(5)}}, tmp_path / "wide.pth")
    with pytest.raises(CheckpointError, match=r"'class_mapping.bias' of shape \(5,\).*has \(64,\)"):
        BayesPFL(**arguments, checkpoint=str(tmp_path / "wide.pth"))
