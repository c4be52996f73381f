"""What CoPS's prompts, prototypes and class tokens learn from: losses of a batch, over all processes that share it.

A map is upsampled to the image by nearest neighbour before the focal and Dice losses, so its pixels are equal within a
patch, and every mean or sum over pixels is one over patches, weighted by the share of abnormal pixels in each. That is
what the functions here compute: the published losses exactly, without a tensor of the image's size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from anomalib_zsad.models.components.global_batch import global_mean, global_mean_where


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
    penalty = share * _focal_penalty(abnormal) + (1 - share) * _focal_penalty(1 - abnormal)
    return global_mean(penalty.mean(dim=1))


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
    return global_mean(1 - (2 * overlap + 1) / (total + 1))


def gather_loss(distance_normal: Tensor, share: Tensor) -> Tensor:
    """Mean distance of the batch's normal patches, those without an abnormal pixel, from the normal prototypes."""
    return global_mean_where(distance_normal, share == 0)


def scatter_loss(distance_abnormal: Tensor, share: Tensor) -> Tensor:
    """Mean distance of the batch's patches with an abnormal pixel from the abnormal prototypes; 0 without such."""
    return global_mean_where(distance_abnormal, share > 0)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of diagonal Gaussians (n, D) from the standard normal, averaged over images."""
    return -0.5 * global_mean((1 + log_variance - mean.square() - log_variance.exp()).sum(dim=-1))


def reconstruction_loss(features: Tensor, decoded: Tensor) -> Tensor:
    """Squared error between image features (n, D) and decoded vectors (n, D).

    Quirk kept for parity: the published code's shapes broadcast, so the mean is over all n x n pairs of the batch, not
    over the n that belong together. That mean is the squared distance of both means plus both variances, which needs
    no tensor of pairs, and of other processes nothing but sums.
    """
    center, decoded_center = global_mean(features), global_mean(decoded)
    variances = global_mean((features - center).square() + (decoded - decoded_center).square())
    return ((center - decoded_center).square() + variances).mean()
