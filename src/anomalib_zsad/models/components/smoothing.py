"""Gaussian smoothing of maps on any device, equal to SciPy's."""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor, nn


class GaussianSmoothing(nn.Module):
    """Smooth square maps as ``scipy.ndimage.gaussian_filter`` does (truncated at 4 sigma, reflected at the edge).

    The filter along one axis is linear, so it is a matrix, edges included; SciPy itself gives that matrix, and two matrix
    products smooth a map.

    Args:
        side: Side of the maps in pixels.
        sigma: Standard deviation of the Gaussian in pixels; 0 leaves maps as they are.

    Raises:
        ValueError: ``sigma`` is negative.
    """

    matrix: Tensor | None

    def __init__(self, side: int, sigma: float) -> None:
        super().__init__()
        if sigma < 0:
            msg = f"blur_sigma is {sigma}; give the standard deviation in pixels, or 0 for no smoothing."
            raise ValueError(msg)
        matrix = None
        if sigma > 0:
            matrix = torch.from_numpy(gaussian_filter1d(np.eye(side), sigma, axis=0).astype(np.float32))
        self.register_buffer("matrix", matrix, persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Smooth maps (..., side, side)."""
        if self.matrix is None:
            return maps
        matrix = self.matrix.to(maps.dtype)
        return matrix @ maps @ matrix.T
