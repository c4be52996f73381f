"""Both protocols against examples computed by hand."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from anomalib_zsad.evaluation.protocols import (
    BayesPFLConstants,
    BayesPFLPublished,
    CoPSPublished,
    Deployable,
    make_protocol,
    scale_to_unit,
)
from anomalib_zsad.models.components.prediction import Evidence
from tests.evaluation.evaluation_samples import FakeModel


def test_deployable_takes_what_the_model_answers(fake_model: FakeModel) -> None:
    images = torch.rand(3, 3, 8, 8)
    answer = Deployable().answer(fake_model, images, ["a", "b", "c"])
    assert torch.equal(answer.maps, images[:, 0])
    assert torch.equal(Deployable().scores(answer.parts, has_masks=True), fake_model(images).pred_score)
    assert fake_model.seen[0] == (3, ("a", "b", "c"))


def test_deployable_score_of_an_image_does_not_depend_on_the_others(fake_model: FakeModel) -> None:
    images = torch.rand(4, 3, 8, 8)
    together = Deployable().answer(fake_model, images, ["a"] * 4).parts["score"]
    alone = [Deployable().answer(fake_model, image[None], ["a"]).parts["score"] for image in images]
    assert torch.allclose(together, torch.cat(alone))


def test_bayes_pfl_scores_of_a_category_by_hand() -> None:
    """p = .2 .4 .3 scales to 0 1 .5; m = .5 .6 .9 scales to 0 .25 1; each counts half."""
    parts = {"image_probability": torch.tensor([0.2, 0.4, 0.3]), "top_mean": torch.tensor([0.5, 0.6, 0.9])}
    protocol = BayesPFLPublished()
    assert protocol.scores(parts, has_masks=True).tolist() == pytest.approx([0, 0.625, 0.75], abs=1e-6)
    assert protocol.scores(parts, has_masks=False).tolist() == pytest.approx([0, 1, 0.5], abs=1e-6)


def test_equal_values_scale_to_zeros_as_published() -> None:
    assert scale_to_unit(torch.full((3,), 0.7)).tolist() == [0, 0, 0]


class _FixedEvidence:
    """A model whose maps are given."""

    def __init__(self, maps: Tensor) -> None:
        self.maps = maps

    def evidence(self, images: Tensor, class_names: list[str]) -> Evidence:
        probability = torch.full((len(images),), 0.5)
        return Evidence(probability, self.maps[:, None], probability[:, None], self.maps[:, None])


def test_bayes_pfl_takes_fewer_pixels_for_the_listed_categories() -> None:
    """Thirty pixels of 1 among zeros: the mean of the top 20 is 1, that of the top 2000 is 30 / 2000."""
    maps = torch.zeros(2, 60, 60)
    maps.view(2, -1)[:, :30] = 1
    answer = BayesPFLPublished().answer(_FixedEvidence(maps), torch.zeros(2, 3, 60, 60), ["screw", "bottle"])
    assert answer.parts["top_mean"].tolist() == pytest.approx([1, 0.015])


@pytest.mark.parametrize("name", ["capsules", "macaroni1", "macaroni2", "pipe_fryum", "screw", "cashew", "chewinggum"])
def test_bayes_pfl_small_categories_are_the_published_ones(name: str) -> None:
    assert BayesPFLPublished().top_k(name) == 20
    assert len(BayesPFLConstants().small_categories) == 7


def test_bayes_pfl_smooths_maps_as_published() -> None:
    maps = torch.rand(1, 64, 64, generator=torch.Generator().manual_seed(0))
    answer = BayesPFLPublished().answer(_FixedEvidence(maps), torch.zeros(1, 3, 64, 64), ["bottle"])
    assert np.allclose(answer.maps[0], gaussian_filter(maps[0].numpy(), sigma=8), atol=1e-5)


@pytest.mark.parametrize(("target", "beta", "alpha"), [("MVTecAD", 0.9, 0.26), ("visa", 1.0, 0.35)])
def test_cops_chooses_constants_by_the_set_tested_on(
    target: str, beta: float, alpha: float, fake_model: FakeModel
) -> None:
    """The score is beta * mean + (1 - beta) * maximum of the map, which the fake model makes of the image."""
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    protocol = CoPSPublished(target)
    seen = []
    original = fake_model.evidence
    fake_model.evidence = lambda *a, **k: (seen.append(fake_model.constants), original(*a, **k))[1]
    answer = protocol.answer(fake_model, images, ["x", "x"])
    red = images[:, 0]
    expected = beta * red.mean((1, 2)) + (1 - beta) * red.amax((1, 2))
    assert torch.allclose(protocol.scores(answer.parts, has_masks=True), expected, atol=1e-6)
    assert np.allclose(answer.maps[0].detach(), gaussian_filter(red[0].numpy(), sigma=4), atol=1e-5)
    assert (seen[0].alpha, seen[0].neighbourhood) == (alpha, 3 if target == "visa" else 5)
    assert fake_model.constants.alpha == 0.5  # the model's own again


def test_masks_are_resized_nearest_or_as_published() -> None:
    """Of four pixels nearest takes one, whatever the others are; a bilinear cut at one half needs most of them."""
    three_of_four = torch.tensor([[0, 1], [1, 1]], dtype=torch.bool).repeat(2, 2)
    one_of_four = ~three_of_four
    nearest, published = Deployable().resize_mask, BayesPFLPublished().resize_mask
    assert nearest(one_of_four, (2, 2)).all() != nearest(three_of_four, (2, 2)).all()
    assert published(three_of_four, (2, 2)).all()
    assert not published(one_of_four, (2, 2)).any()


def test_unknown_protocol_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no protocol 'papre'; give deployable or paper"):
        make_protocol("papre", "BayesPFL", "MVTecAD")


def test_paper_protocol_of_another_method_is_refused() -> None:
    with pytest.raises(ValueError, match="defined for BayesPFL and CoPS, not for WinClip"):
        make_protocol("paper", "WinClip", "MVTecAD")
