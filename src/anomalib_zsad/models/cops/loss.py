"""What CoPS's prompts, prototypes and class tokens learn from.

A map is upsampled to the image by nearest neighbour before the focal and Dice losses, so its pixels are equal within a
patch, and every mean or sum over pixels is one over patches, weighted by the share of abnormal pixels in each. That is
what the functions here compute: the published losses exactly, without a tensor of the image's size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def abnormal_share(masks: Tensor, patch_size: int) -> Tensor:
    """Share of abnormal pixels in each patch, in [0, 1]: masks (n, side, side) to (n, N)."""
    abnormal = (masks > 0.5).to(torch.float32)
    return F.avg_pool2d(abnormal[:, None], patch_size).flatten(1)


def focal_loss(abnormal: Tensor, share: Tensor) -> Tensor:
    """Focal loss (gamma 2) averaged over all pixels of the upsampled map.

    Quirk kept for parity: one-hot targets are clamped to [1e-5, 1 - 1e-5] and 1e-5 is added to the truth's probability.

    Args:
        abnormal: Probability of the abnormal state for each patch, (n, N).
        share: Share of abnormal pixels in each patch, (n, N).
    """
    return (share * _focal_penalty(abnormal) + (1 - share) * _focal_penalty(1 - abnormal)).mean()


def _focal_penalty(truth: Tensor) -> Tensor:
    smoothing = 1e-5
    probability = (1 - smoothing) * truth + smoothing * (1 - truth) + smoothing
    return -(1 - probability).square() * probability.log()


def dice_loss(probability: Tensor, share: Tensor, pixels: int) -> Tensor:
    """Dice loss (smoothing 1) of each image's upsampled map, averaged over images.

    Args:
        probability: Probability of a state for each patch, (n, N).
        share: Share of that state's pixels in each patch, (n, N).
        pixels: Pixels in a patch.
    """
    overlap = pixels * (probability * share).sum(dim=1)
    total = pixels * (probability + share).sum(dim=1)
    return (1 - (2 * overlap + 1) / (total + 1)).mean()


def gather_loss(distance_normal: Tensor, share: Tensor) -> Tensor:
    """Mean distance of the batch's normal patches, those without an abnormal pixel, from the normal prototypes."""
    return _mean_where(distance_normal, share == 0)


def scatter_loss(distance_abnormal: Tensor, share: Tensor) -> Tensor:
    """Mean distance of the batch's patches with an abnormal pixel from the abnormal prototypes; 0 without such."""
    return _mean_where(distance_abnormal, share > 0)


def _mean_where(values: Tensor, where: Tensor) -> Tensor:
    """Mean of the chosen values, 0 where none is chosen, without waiting for the device to count them."""
    weights = where.to(values.dtype)
    return (values * weights).sum() / weights.sum().clamp(min=1)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of diagonal Gaussians (n, D) from the standard normal, averaged over images."""
    return -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(dim=-1).mean()


def reconstruction_loss(features: Tensor, decoded: Tensor) -> Tensor:
    """Squared error between image features (n, D) and decoded vectors (n, D).

    Quirk kept for parity: the published code's shapes broadcast, so the mean is over all n x n pairs of the batch, not
    over the n that belong together.
    """
    return (features[:, None] - decoded[None]).square().mean()
