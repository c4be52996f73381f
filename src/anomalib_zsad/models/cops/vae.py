"""Implicit class tokens: a variational autoencoder of the image feature (Kingma and Welling, 2014)."""

from typing import NamedTuple

from torch import Tensor, nn


class ClassDraw(NamedTuple):
    """Draws of a training batch.

    Attributes:
        mean: Mean of the code, (n, D).
        log_variance: Logarithm of its variance, (n, D).
        decoded: Decoded draw, (n, D).
    """

    mean: Tensor
    log_variance: Tensor
    decoded: Tensor


class ClassVAE(nn.Module):
    """Encodes image features while training; at test time only its decoder answers.

    Args:
        width: Width of image feature, hidden layers and code (D).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(width, width), nn.ReLU())
        self.mean = nn.Linear(width, width)
        self.log_variance = nn.Linear(width, width)
        self.decoder = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, features: Tensor, noise: Tensor) -> ClassDraw:
        """One draw for each image feature (n, D), with standard normal noise (n, D)."""
        hidden = self.hidden(features)
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        return ClassDraw(mean, log_variance, self.decoder(mean + (log_variance / 2).exp() * noise))

    def sample(self, noise: Tensor) -> Tensor:
        """Decode draws (samples, D) from the standard normal distribution.

        Quirk kept for parity: at test time codes come from the prior, not from the encoder, so class tokens do not
        depend on the image.
        """
        return self.decoder(noise)
