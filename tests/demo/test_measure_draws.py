"""Measuring what shared draws matter: who gets which, and figures counted by hand."""

import pytest
import torch
from torch import nn

from anomalib_zsad.data.prepared_images import PreparedBatch
from anomalib_zsad.demo.measure_draws import Comparison, Run, answers, compare, draws_of
from anomalib_zsad.models.bayes_pfl import BayesPFL
from anomalib_zsad.models.components.prediction import ZeroShotPrediction
from anomalib_zsad.models.cops import CoPS
from tests.models.small import write_backbone
from tests.models.tester import CLIP, SIDE, images


class Noisy(nn.Module):
    """Scores an image by its brightness and a little of its draw, like CoPS one draw an image."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("noise", torch.zeros(1, 1))

    def forward(self, images, class_names, noise) -> ZeroShotPrediction:
        maps = images.mean(dim=1, keepdim=True)
        score = maps.amax(dim=(1, 2, 3)) + 0.01 * noise.mean()
        return ZeroShotPrediction(score, None, maps, None, score, maps)


def batch(count: int = 4) -> PreparedBatch:
    """Images whose second half has a bright pixel."""
    pictures = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.5
    masks = torch.zeros(count, 4, 4, dtype=torch.bool)
    pictures[count // 2 :, :, 0, 0], masks[count // 2 :, 0, 0] = 1.0, True
    known, abnormal = torch.ones(count).bool(), masks.flatten(1).any(dim=1)
    return PreparedBatch(pictures, masks, known, abnormal, ["tile"] * count, torch.zeros(count).bool())


def test_fixed_draws_are_one_for_all_images_and_fresh_ones_each_images_own() -> None:
    model = Noisy()
    assert torch.equal(draws_of(model, 0)["noise"], model.noise)
    assert torch.equal(draws_of(model, 3)["noise"], draws_of(model, 3)["noise"])
    own = [float(draws_of(model, seed, image)["noise"]) for seed in range(3) for image in range(3)]
    assert len(set(own)) == 9


def test_both_ways_are_compared_over_the_seeds() -> None:
    found = compare(Noisy(), [[batch(), batch()], [batch(6)]], seeds=5)
    assert len(found.fixed) == len(found.fresh) == 5
    for run in (*found.fixed, *found.fresh):
        assert run.scores.shape == (14,)
        assert (run.image_auroc, run.pixel_auroc) == (1.0, 1.0)
    fixed = found.fixed[2].scores - found.fixed[0].scores
    assert float(fixed.std()) < 1e-6  # one draw for all
    assert float((found.fresh[2].scores - found.fixed[0].scores).std()) > 1e-3


def test_spread_and_difference_by_hand() -> None:
    fixed = [Run(torch.tensor([0.5, 0.2]), 1, 1), Run(torch.tensor([0.7, 0.2]), 1, 1)]
    fresh = [Run(torch.tensor([0.6, 0.3]), 1, 1), Run(torch.tensor([0.6, 0.1]), 1, 1)]
    found = Comparison(fixed, fresh)
    assert found.score_spread("fixed") == pytest.approx(0.2 / 2**0.5 / 2)
    assert found.score_spread("fresh") == pytest.approx(0.2 / 2**0.5 / 2)
    assert found.score_difference() == pytest.approx((0.05, 0.1))


@pytest.mark.parametrize("method", [BayesPFL, CoPS])
def test_the_methods_own_draws_give_their_own_answers(method, tmp_path) -> None:
    torch.manual_seed(0)
    model = method(**write_backbone(tmp_path, 20, CLIP), image_size=SIDE, visualizer=False).eval().model
    pictures = images(2)
    given = PreparedBatch(pictures, torch.zeros(2), torch.ones(2), torch.zeros(2), ["bolt", "gear"], torch.zeros(2))
    with torch.inference_mode():
        expected = model(pictures, ["bolt", "gear"])
    scores, maps = answers(model, given, [draws_of(model, 0)] * 2)
    torch.testing.assert_close(scores, expected.pred_score, atol=1e-5, rtol=0)
    torch.testing.assert_close(maps, expected.anomaly_map.squeeze(1), atol=1e-5, rtol=0)
    fresh, _ = answers(model, given, [draws_of(model, 0, image) for image in range(2)])
    assert not torch.allclose(fresh, scores, atol=1e-7)
    if method is BayesPFL:  # the states keep theirs for all images
        first, second = (draws_of(model, 1, image) for image in range(2))
        assert torch.equal(first["noise_normal"], second["noise_normal"])
        assert not torch.equal(first["noise_context"], second["noise_context"])
