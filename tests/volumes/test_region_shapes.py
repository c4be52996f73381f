"""Shapes of regions: a box and a ball of known size, in any orientation."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from anomalib_zsad.volumes.map_file import MapFile
from anomalib_zsad.volumes.region_shapes import RegionShape, shape_of
from anomalib_zsad.volumes.regions import find_regions
from tests.volumes.volume_builders import affines, make_affine, only, write_series

SHAPE = (40, 36, 20)


def shape_in(tmp_path: Path, values: np.ndarray, affine: np.ndarray) -> RegionShape:
    """The shape of the only region of a map on a series' grid."""
    volume = only(
        write_series(tmp_path / "s", np.zeros(SHAPE, np.int16) + np.arange(40, dtype=np.int16)[:, None, None], affine)
    )
    maps = MapFile(tmp_path / "map", SHAPE)
    for index in range(SHAPE[2]):
        maps.write(2, index, values[:, :, index])
    (region,) = find_regions(maps, 0.5, volume).listed
    shape = shape_of(region, maps, 0.5, volume)
    maps.close()
    return shape


@pytest.mark.parametrize("name", ["lps", "oblique", "sagittal"])
def test_a_box(tmp_path: Path, name: str) -> None:
    values = np.zeros(SHAPE, np.float32)
    values[10:14, 5:8, 3:8] = 0.9
    affine = affines()[name]
    shape = shape_in(tmp_path, values, affine)
    edges = np.linalg.norm(affine[:3, :3], axis=0) * [4, 3, 5]
    assert shape.longest_diameter == pytest.approx(float(np.linalg.norm(edges)))
    indices = (np.c_[shape.outline, np.ones(len(shape.outline))] @ np.linalg.inv(affine).T)[:, :3]
    assert np.ptp(indices[:, 2]) < 1e-6
    np.testing.assert_allclose(indices.min(axis=0)[:2], [9.5, 4.5], atol=0.01)
    np.testing.assert_allclose(indices.max(axis=0)[:2], [13.5, 7.5], atol=0.01)


def test_a_ball(tmp_path: Path) -> None:
    """A ball of 12 mm; voxels of 1 x 1 x 2 mm make it up to a voxel larger."""
    grid = np.indices(SHAPE) * np.reshape([1, 1, 2], (3, 1, 1, 1))
    distance = np.sqrt(((grid - np.reshape([20, 18, 20], (3, 1, 1, 1))) ** 2).sum(axis=0))
    values = (1 - distance / 24).clip(0).astype(np.float32)  # the peak is in the middle, 0.5 at the surface
    shape = shape_in(tmp_path, values, make_affine(np.diag([-1.0, -1.0, 2.0])))
    assert 24 <= shape.longest_diameter <= 27
    around = np.linalg.norm(np.diff(shape.outline, axis=0), axis=1).sum()
    assert around == pytest.approx(2 * np.pi * 12, rel=0.1)


@pytest.mark.parametrize("seed", range(6))
def test_a_ragged_region(tmp_path: Path, seed: int) -> None:
    """What is longest is so among all corners of all voxels."""
    random = np.random.default_rng(seed)
    inside = ndimage.binary_propagation(
        np.pad(np.ones((1, 1, 1), bool), [(4, 4), (4, 4), (3, 3)]), mask=random.random((9, 9, 7)) < 0.4
    )
    inside[4, 4, 3] = True
    values = np.zeros(SHAPE, np.float32)
    values[7:16, 5:14, 6:13][inside] = 0.9
    labels, _ = ndimage.label(values, np.ones((3, 3, 3)))
    values[labels != labels[11, 9, 9]] = 0
    affine = affines()["oblique"]
    steps = np.array(list(product((-0.5, 0.5), repeat=3)))
    corners = (np.argwhere(values)[:, None] + steps).reshape(-1, 3) @ affine[:3, :3].T
    expected = np.linalg.norm(corners[:, None] - corners[None], axis=-1).max()
    assert shape_in(tmp_path, values, affine).longest_diameter == pytest.approx(expected)
