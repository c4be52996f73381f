"""Smoothing is SciPy's, which answers do not wait for."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from anomalib_zsad.models.components.smoothing import GaussianSmoothing, SmoothUpsampling, smoothed_columns


@pytest.mark.parametrize(("rows", "sigma"), [(518, 4.0), (240, 8.0), (10, 8.0), (1, 2.0), (37, 0.3)])
def test_columns_are_smoothed_as_scipy_does(rows: int, sigma: float) -> None:
    values = np.random.default_rng(rows).standard_normal((rows, 5))
    assert np.allclose(smoothed_columns(values, sigma), gaussian_filter1d(values, sigma, axis=0), rtol=0, atol=1e-14)


def test_maps_are_smoothed_as_scipy_does() -> None:
    maps = np.random.default_rng(1).random((2, 60, 60)).astype(np.float32)
    smoothed = GaussianSmoothing(60, 4.0)(torch.from_numpy(maps)).numpy()
    assert np.allclose(smoothed, [gaussian_filter(one, 4.0) for one in maps], atol=1e-5)
    coarse = maps[:, :6, :6]
    upsampled = SmoothUpsampling(6, 60, 4.0)(torch.from_numpy(coarse)).numpy()
    repeated = coarse.repeat(10, axis=1).repeat(10, axis=2)
    assert np.allclose(upsampled, [gaussian_filter(one, 4.0) for one in repeated], atol=1e-5)
