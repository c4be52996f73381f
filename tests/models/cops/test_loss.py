"""The losses on patches are the published losses on pixels."""

import pytest
import torch
import torch.nn.functional as F

from anomalib_zsad.models.cops.loss import (
    abnormal_share,
    dice_loss,
    divergence,
    focal_loss,
    gather_loss,
    reconstruction_loss,
    scatter_loss,
)
from anomalib_zsad.models.cops.prototypes import distance_weights, distances

PATCH, GRID = 14, 5


@pytest.fixture
def maps():
    """Probabilities on the patch grid, and masks whose edges run through patches."""
    generator = torch.Generator().manual_seed(0)
    probability = torch.rand(3, GRID * GRID, generator=generator)
    masks = torch.zeros(3, PATCH * GRID, PATCH * GRID)
    masks[0, 3:40, 11:29] = 1
    masks[1, 69, 69] = 1
    return probability, masks


def upsampled(probability):
    return F.interpolate(probability.reshape(3, 1, GRID, GRID), scale_factor=PATCH, mode="nearest").squeeze(1)


def test_focal_loss_equals_that_of_every_pixel(maps) -> None:
    probability, masks = maps
    pixels = torch.stack((1 - upsampled(probability), upsampled(probability)), dim=1)
    target = F.one_hot(masks.long(), 2).permute(0, 3, 1, 2).clamp(1e-5, 1 - 1e-5)
    truth = (target * pixels).sum(dim=1) + 1e-5
    expected = -((1 - truth).square() * truth.log()).mean()
    torch.testing.assert_close(focal_loss(probability, abnormal_share(masks, PATCH)), expected)


def test_dice_loss_equals_that_of_every_pixel(maps) -> None:
    probability, masks = maps
    pixels = upsampled(probability).flatten(1)
    overlap = (pixels * masks.flatten(1)).sum(dim=1)
    expected = (1 - (2 * overlap + 1) / (pixels.sum(dim=1) + masks.flatten(1).sum(dim=1) + 1)).mean()
    torch.testing.assert_close(dice_loss(probability, abnormal_share(masks, PATCH), PATCH**2), expected)


def test_a_patch_with_one_abnormal_pixel_is_abnormal(maps) -> None:
    distance, masks = maps
    abnormal = F.max_pool2d(masks[:, None], PATCH).flatten(1).bool()
    share = abnormal_share(masks, PATCH)
    torch.testing.assert_close(gather_loss(distance, share), distance[~abnormal].mean())
    torch.testing.assert_close(scatter_loss(distance, share), distance[abnormal].mean())


def test_a_batch_without_abnormal_or_normal_patches_has_no_such_loss() -> None:
    distance = torch.rand(2, 4)
    assert float(scatter_loss(distance, torch.zeros(2, 4))) == 0
    assert float(gather_loss(distance, torch.ones(2, 4))) == 0


def test_divergence_is_that_of_gaussians() -> None:
    mean, log_variance = torch.randn(4, 6), torch.randn(4, 6)
    normal = torch.distributions.Normal(mean, (log_variance / 2).exp())
    expected = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0, 1)).sum(dim=1).mean()
    torch.testing.assert_close(divergence(mean, log_variance), expected)


def test_reconstruction_averages_over_all_pairs() -> None:
    features, decoded = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [3.0]])
    # Differences of the four pairs: 1, 3, 1 and 1.
    assert float(reconstruction_loss(features, decoded)) == 3.0


def test_distance_is_to_the_nearest_prototype() -> None:
    patches = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    prototypes = torch.tensor([[[[3.0, 0.0], [-1.0, 0.0]], [[0.0, -1.0], [0.0, -5.0]]]])
    torch.testing.assert_close(distances(patches, prototypes), torch.tensor([[[0.0, 1.0], [1.0, 2.0]]]))


def test_weights_are_high_far_from_normal_and_near_to_abnormal() -> None:
    distance = torch.tensor([[[0.1, 0.3, 0.2], [0.9, 0.5, 0.5]]])
    torch.testing.assert_close(distance_weights(distance, 0.25), torch.tensor([[0.0, 1.0, 0.875]]))


def test_equal_distances_give_finite_weights() -> None:
    torch.testing.assert_close(distance_weights(torch.full((1, 2, 9), 0.7), 0.26), torch.full((1, 9), 0.74))
