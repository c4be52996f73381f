"""What a zero-shot model answers."""

from typing import NamedTuple

import torch
from torch import Tensor


class ZeroShotPrediction(NamedTuple):
    """Answer for a batch of n images; the first four fields are those of anomalib's `InferenceBatch`.

    Attributes:
        pred_score: Image scores (n,) in [0, 1].
        pred_label: `None`: a threshold is the post-processor's affair.
        anomaly_map: Smoothed maps (n, 1, side, side) in [0, 1].
        pred_mask: `None`, as `pred_label`.
        score_std: Standard deviation of the score over the sampled prompts, (n,).
        map_std: Standard deviation of the smoothed map over the sampled prompts, (n, 1, side, side).
    """

    pred_score: Tensor
    pred_label: None
    anomaly_map: Tensor
    pred_mask: None
    score_std: Tensor
    map_std: Tensor


class Evidence(NamedTuple):
    """What scores and maps are made of, before smoothing and weighting; protocols of evaluation combine it otherwise.

    Attributes:
        image_probability: Probability of the abnormal state from the image feature, (n,) in [0, 1].
        unsmoothed_map: Probability of the abnormal state for each pixel, (n, 1, side, side) in [0, 1].
        sample_probabilities: `image_probability` of each sampled prompt, (n, samples).
        sample_maps: `unsmoothed_map` of each sampled prompt, (n, samples, side, side).
    """

    image_probability: Tensor
    unsmoothed_map: Tensor
    sample_probabilities: Tensor
    sample_maps: Tensor


def top_mean(maps: Tensor, count: int) -> Tensor:
    """Mean of the `count` highest pixels (of all, where there are fewer) of each map: (..., h, w) to (...)."""
    pixels = maps.flatten(-2)
    return torch.topk(pixels, min(count, pixels.shape[-1]), dim=-1).values.mean(dim=-1)


def spread(values: Tensor, dim: int) -> Tensor:
    """Population standard deviation over samples; 0 for a single sample."""
    # On the CPU, torch's own over any but the last dimension takes tens of times as long.
    return (values - values.mean(dim=dim, keepdim=True)).square_().mean(dim=dim).sqrt_()
