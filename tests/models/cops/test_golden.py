"""CoPS answers what the published implementation answers on the same weights."""

import pytest
import torch
from torch import Tensor

from anomalib_zsad.models.components.training_batch import TrainingBatch
from anomalib_zsad.models.cops.prototypes import distances
from anomalib_zsad.models.cops.published import published_name
from anomalib_zsad.models.cops.training import prompt_losses

from .golden import TEST_CONSTANTS, TRAINING_CONSTANTS, Golden

LOSSES = ("class", "focal", "dice", "gather", "scatter", "kl", "reconstruction")
WEIGHTS = {"focal": 4.0, "dice": 4.0}


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden()


@pytest.fixture(scope="module")
def backbone(golden, tmp_path_factory):
    return golden.backbone(tmp_path_factory.mktemp("backbone"))


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected.reshape(actual.shape), atol=1e-4, rtol=0)


@pytest.mark.parametrize("setting", TEST_CONSTANTS)
class TestAnswers:
    @pytest.fixture
    def model(self, golden, backbone, setting):
        return golden.model(backbone, TEST_CONSTANTS[setting])

    @torch.no_grad()
    def test_features_prototypes_and_text(self, golden, model, setting) -> None:
        prefix = f"test/{setting}/"
        features = model.encode(golden.images())
        close(features.image, golden[prefix + "image_feature"])
        close(features.patches, golden[prefix + "patch_features"])
        patches = model.local_average(features.patches, model.constants.neighbourhood)
        prototypes = model.prototypes(patches)
        close(prototypes[:, 0], golden[prefix + "prototypes_normal"])
        close(prototypes[:, 1], golden[prefix + "prototypes_abnormal"])
        distance = distances(patches, prototypes)
        close(distance[:, 0], golden[prefix + "distance_normal"])
        close(distance[:, 1], golden[prefix + "distance_abnormal"])
        text = model.encode_text(prototypes, model.vae.sample(golden[prefix + "noise"])[None])
        close(text, golden[prefix + "text_embeddings_each"])

    @torch.no_grad()
    def test_score_and_map(self, golden, backbone, model, setting) -> None:
        prefix = f"test/{setting}/"
        noise = golden[prefix + "noise"]
        answer = model(golden.images(), noise=noise)
        close(answer.pred_score, golden[prefix + "image_score"])
        close(answer.anomaly_map, golden[prefix + "anomaly_map"])
        raw = golden.model(backbone, TEST_CONSTANTS[setting], blur_sigma=0)(golden.images(), noise=noise)
        close(raw.anomaly_map, golden[prefix + "anomaly_map_unsmoothed"])
        close(model.evidence(golden.images(), noise=noise).unsmoothed_map, raw.anomaly_map)


@pytest.mark.parametrize("setting", TRAINING_CONSTANTS)
def test_losses_and_gradients(golden, backbone, setting) -> None:
    model = golden.model(backbone, TRAINING_CONSTANTS[setting]).train()
    prefix = f"train/{setting}/"
    batch = TrainingBatch(golden.images(7, 2), golden[prefix + "label"], golden[prefix + "mask"], ["object"] * 2)
    losses = prompt_losses(model, batch, golden[prefix + "noise"])
    assert set(losses) == set(LOSSES)
    for name in LOSSES:
        close(losses[name], WEIGHTS.get(name, 1.0) * golden[f"{prefix}loss_{name}"])

    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        theirs = published_name(name)
        norm = golden[f"{prefix}grad_norm/{theirs}"]
        torch.testing.assert_close(
            parameter.grad.norm(), norm, rtol=1e-3, atol=1e-6, msg=lambda text, n=name: f"{n}: {text}"
        )
        if f"{prefix}grad/{theirs}" in golden:
            whole = golden[f"{prefix}grad/{theirs}"].reshape(parameter.shape)
            assert (parameter.grad - whole).norm() <= 1e-3 * whole.norm()
