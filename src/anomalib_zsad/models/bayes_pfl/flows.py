"""Distributions of prompt offsets: a Gaussian from an encoder, then planar maps (Rezende and Mohamed, 2015)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from anomalib_zsad.models.components.global_batch import global_mean


class FlowSample(NamedTuple):
    """Draws of one flow.

    Attributes:
        value: z_K, the transformed draws, (rows, samples, width).
        start: z_0, the draws before the planar maps, same shape.
        log_determinant: Sum of the planar maps' log-determinants, (rows, samples).
        mean: Mean of z_0, (rows, 1, width).
        variance: Variance of z_0, (rows, 1, width).
    """

    value: Tensor
    start: Tensor
    log_determinant: Tensor
    mean: Tensor
    variance: Tensor


class PlanarWeights(NamedTuple):
    """Weights of K planar maps: directions u and normals w (rows, K, width), offsets b (rows, K)."""

    direction: Tensor
    normal: Tensor
    offset: Tensor


class BaseDistribution(nn.Module):
    """Two separate MLPs give mean and variance of a diagonal Gaussian.

    Args:
        in_width: Width of the input.
        hidden_width: Width of both hidden layers.
        out_width: Width of the Gaussian.
    """

    def __init__(self, in_width: int, hidden_width: int, out_width: int) -> None:
        super().__init__()
        self.mean = _mlp(in_width, hidden_width, out_width)
        self.spread = _mlp(in_width, hidden_width, out_width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance, each (rows, out_width), for inputs (rows, in_width).

        Quirk kept for parity: the second MLP gives the logarithm of the squared variance, so the variance is
        `exp(s / 2)`, which elsewhere would be the standard deviation.
        """
        return self.mean(x), torch.exp(self.spread(x) / 2)


def _mlp(in_width: int, hidden_width: int, out_width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(in_width, hidden_width),
        nn.Softplus(),
        nn.Linear(hidden_width, hidden_width),
        nn.Softplus(),
        nn.Linear(hidden_width, out_width),
    )


class ImageSpecificFlow(nn.Module):
    """A flow whose planar maps are linear functions of the image feature.

    Args:
        base: Encoder of the base distribution.
        in_width: Width of the image feature.
        width: Width of the draws.
        num_flows: Number of planar maps (K in the paper).
    """

    def __init__(self, base: BaseDistribution, in_width: int, width: int, num_flows: int) -> None:
        super().__init__()
        self.base = base
        self.num_flows = num_flows
        self.direction = nn.Linear(in_width, num_flows * width)
        self.normal = nn.Linear(in_width, num_flows * width)
        self.offset = nn.Linear(in_width, num_flows)

    def forward(self, features: Tensor, noise: Tensor) -> FlowSample:
        """Draws for image features (n, in_width) and noise (samples, width), or (n, samples, width) of its own."""
        weights = PlanarWeights(
            self.direction(features).unflatten(-1, (self.num_flows, -1)),
            self.normal(features).unflatten(-1, (self.num_flows, -1)),
            self.offset(features),
        )
        mean, variance = self.base(features)
        return _draw(mean, variance, weights, noise)


class ImageAgnosticFlow(nn.Module):
    """A flow whose input and planar maps are learned and depend on no image.

    Args:
        base: Encoder of the base distribution, shared by the flows of both states.
        in_width: Width of the encoder's input.
        width: Width of the draws.
        num_flows: Number of planar maps (K in the paper).
    """

    def __init__(self, base: BaseDistribution, in_width: int, width: int, num_flows: int) -> None:
        super().__init__()
        self.base = base
        # Quirk kept for parity: standard normal, where everything else starts fifty times smaller.
        self.state = nn.Parameter(torch.randn(1, in_width))
        self.direction = nn.Parameter(torch.randn(1, num_flows, width))
        self.normal = nn.Parameter(torch.randn(1, num_flows, width))
        self.offset = nn.Parameter(torch.randn(1, num_flows))

    def forward(self, noise: Tensor) -> FlowSample:
        """Draws (1, samples, width) for noise (samples, width)."""
        weights = PlanarWeights(self.direction, self.normal, self.offset)
        mean, variance = self.base(self.state)
        return _draw(mean, variance, weights, noise)


def _draw(mean: Tensor, variance: Tensor, weights: PlanarWeights, noise: Tensor) -> FlowSample:
    """z_0 = mean + sqrt(variance) * noise, then z <- z + u * tanh(w.z + b) for each planar map.

    Quirk kept for parity: nothing constrains the maps to be invertible.
    """
    mean, variance = mean[:, None], variance[:, None]
    start = mean + variance.sqrt() * noise
    value = start
    log_determinant = start.new_zeros(start.shape[:-1])
    for index in range(weights.direction.shape[1]):
        direction, normal = weights.direction[:, index, None], weights.normal[:, index, None]
        bend = torch.tanh((value * normal).sum(-1, keepdim=True) + weights.offset[:, index, None, None])
        value = value + direction * bend
        slope = (1 - bend.square()) * (normal * direction).sum(-1, keepdim=True)
        log_determinant = log_determinant + torch.log((1 + slope).abs() + 1e-5).squeeze(-1)
    return FlowSample(value, start, log_determinant, mean, variance)


def divergence(sample: FlowSample) -> Tensor:
    """Kullback-Leibler divergence of an image-specific flow from the standard normal, averaged over images.

    It is estimated from one draw a row and leaves out 2 pi.
    """
    return global_mean((_log_ratio(sample) - sample.log_determinant).sum(dim=-1))


def agnostic_divergence(sample: FlowSample, images: Tensor | int) -> Tensor:
    """As `divergence`, for an image-agnostic flow, which has one row, and a batch of `images` images.

    Quirk kept for parity: only the log-determinant is divided by the size of the batch.
    """
    return _log_ratio(sample).sum() - sample.log_determinant.sum() / images


def _log_ratio(sample: FlowSample) -> Tensor:
    """Log-density of z_0 minus that of z_K under the standard normal, without 2 pi: (rows, samples)."""
    log_start = -0.5 * (sample.variance.log() + (sample.start - sample.mean).square() / sample.variance).sum(-1)
    return log_start + 0.5 * sample.value.square().sum(-1)
