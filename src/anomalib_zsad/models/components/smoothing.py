"""Gaussian smoothing of maps on any device, equal to SciPy's."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anomalib_zsad.backbone import kernels


class GaussianSmoothing(nn.Module):
    """Smooth square maps as `scipy.ndimage.gaussian_filter` does (truncated at 4 sigma, reflected at the edge).

    The filter along one axis is linear, so it is a matrix, edges included, and two matrix products smooth a map.

    Args:
        side: Side of the maps in pixels.
        sigma: Standard deviation of the Gaussian in pixels; 0 leaves maps as they are.

    Raises:
        ValueError: `sigma` is negative.
    """

    matrix: Tensor | None

    def __init__(self, side: int, sigma: float) -> None:
        super().__init__()
        if sigma < 0:
            raise ValueError(f"blur_sigma is {sigma}; give the standard deviation in pixels, or 0 for no smoothing")
        matrix = None
        if sigma > 0:
            matrix = torch.from_numpy(smoothed_columns(np.eye(side), sigma).astype(np.float32))
        self.register_buffer("matrix", matrix, persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Smooth maps (..., side, side)."""
        if self.matrix is None:
            return maps
        return _both_sides(maps, self.matrix.to(maps.dtype))


class SmoothUpsampling(nn.Module):
    """Bring maps from the patch grid to the image's size by nearest neighbour, and smooth them there.

    Both steps are linear along each axis, so they are one matrix: two small matrix products take a map from the grid to
    the smoothed image, and equal upsampling followed by `scipy.ndimage.gaussian_filter`.

    Args:
        grid: Patches along one side.
        side: Side of the image in pixels, a multiple of `grid`.
        sigma: Standard deviation of the Gaussian in pixels; 0 for upsampling alone.

    Raises:
        ValueError: `sigma` is negative.
    """

    matrix: Tensor

    def __init__(self, grid: int, side: int, sigma: float) -> None:
        super().__init__()
        if sigma < 0:
            raise ValueError(f"blur_sigma is {sigma}; give the standard deviation in pixels, or 0 for no smoothing")
        matrix = np.eye(grid).repeat(side // grid, axis=0)
        if sigma > 0:
            matrix = smoothed_columns(matrix, sigma)
        self.register_buffer("matrix", torch.from_numpy(matrix.astype(np.float32)), persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Upsample and smooth maps (..., grid, grid) to (..., side, side)."""
        return _both_sides(maps, self.matrix.to(maps.dtype))


def smoothed_columns(values: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """`scipy.ndimage.gaussian_filter1d(values, sigma, axis=0)`, whose import takes longer than a small model's answer.

    Args:
        values: Shape (n, m).
        sigma: Standard deviation in rows, above 0. Weights end at 4 of them; edges are reflected, the last row twice.
    """
    reach = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    padded = np.pad(values, ((reach, reach), (0, 0)), mode="symmetric")
    made = np.zeros(values.shape)
    for place, weight in enumerate(weights):
        made += weight * padded[place : place + len(values)]
    return made


def _both_sides(maps: Tensor, matrix: Tensor) -> Tensor:
    """`matrix @ maps @ matrix.T` for maps (..., in, in)."""
    columns = kernels.linear(maps, matrix)
    return kernels.linear(columns.mT, matrix).mT
