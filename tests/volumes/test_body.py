"""Where the body is in a volume."""

import numpy as np
import pytest

from anomalib_zsad.volumes.body import find_body
from anomalib_zsad.volumes.volume import SliceSource, Units, Volume

SHAPE = (200, 240, 20)


def volume_of(voxels: np.ndarray, units: Units = Units.ARBITRARY, *, stacked: bool = True) -> Volume:
    sources = tuple(SliceSource("", None, None) for _ in range(voxels.shape[2]))
    values = np.asfortranarray(voxels, np.float32)
    return Volume(values, np.eye(4), "MR", units, 2, sources, has_spatial_stack=stacked)


def ball(shape: tuple[int, int, int] = SHAPE, radius: float = 0.8) -> np.ndarray:
    axes = [np.linspace(-1, 1, length) for length in shape]
    return np.sqrt(sum(grid**2 for grid in np.meshgrid(*axes, indexing="ij"))) < radius


@pytest.fixture
def head() -> np.ndarray:
    """A head of MR in noisy air, with air inside it, markers beside it and a hair of a tube."""
    random = np.random.default_rng(0)
    voxels = np.abs(random.normal(0, 15, SHAPE))
    voxels[ball()] = 600 + random.normal(0, 40, int(ball().sum()))
    voxels[80:110, 100:130, 5:15] = 5  # a sinus
    voxels[3:9, 3:9, 10] = 800  # a marker
    voxels[190, :, :] = 700  # a tube
    return voxels


def test_the_body_is_the_head_with_what_is_inside_it(head: np.ndarray) -> None:
    body = find_body(volume_of(head))
    assert body is not None
    mask = np.stack([body.plane(index) for index in range(SHAPE[2])], axis=2)
    assert mask.shape == SHAPE
    assert (mask == ball()).mean() > 0.97
    assert mask[85:105, 105:125, 6:14].all()
    assert not mask[3:9, 3:9].any()
    assert not mask[190].any()
    assert body.voxels == pytest.approx(ball().sum(), rel=0.05)


def test_areas_are_those_of_the_slices(head: np.ndarray) -> None:
    body = find_body(volume_of(head))
    assert body is not None
    for axis, length in enumerate(SHAPE):
        areas = body.areas(axis)
        assert areas.shape == (length,)
        expected = ball().sum(axis=tuple(other for other in range(3) if other != axis))
        assert np.abs(areas - expected).max() < 0.08 * expected.max()


def test_ct_is_told_from_air_by_its_units() -> None:
    voxels = np.where(ball(), 30, -1000) + np.random.default_rng(0).normal(0, 20, SHAPE)
    body = find_body(volume_of(voxels, Units.HOUNSFIELD))
    assert body is not None
    assert body.voxels == pytest.approx(ball().sum(), rel=0.05)


def test_two_legs_are_both_body() -> None:
    voxels = np.zeros(SHAPE)
    voxels[20:80, 60:180] = voxels[120:180, 60:180] = 500
    body = find_body(volume_of(voxels + np.random.default_rng(0).normal(0, 5, SHAPE)))
    assert body is not None
    assert body.plane(4)[40, 100]
    assert body.plane(4)[150, 100]
    assert not body.plane(4)[100, 100]


@pytest.mark.parametrize("value", [np.nan, 0.0, 700.0])
def test_nothing_is_told_apart_where_there_is_nothing_to(value: float) -> None:
    assert find_body(volume_of(np.full(SHAPE, value))) is None


def test_slices_that_are_no_neighbours_are_each_for_themselves() -> None:
    voxels = np.full(SHAPE, -1000.0)
    voxels[60:100, 60:100, ::5] = 40  # no two of them touch
    body = find_body(volume_of(voxels, Units.HOUNSFIELD, stacked=False))
    assert body is not None
    assert np.count_nonzero(body.areas(2)) == 4
