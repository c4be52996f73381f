"""Where something lies in the body, in words."""

import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from anomalib_zsad.volumes.body import Body
from anomalib_zsad.volumes.place_words import BodyExtent, body_extent
from anomalib_zsad.volumes.volume import SliceSource, Units, Volume

EXTENT = BodyExtent((-80.0, -100.0, 0.0), (80.0, 100.0, 150.0), 1000)


@pytest.mark.parametrize(
    ("position", "words"),
    [
        ((-40, 60, 140), "left, front, upper third"),
        ((40, -60, 75), "right, back, middle third"),
        ((3, 0, 10), "midline, lower third"),
        ((-7, 20, 10), "midline, front, lower third"),
        ((9, 20, 10), "right, front, lower third"),
        ((-90, -120, -5), "left, back, lower third"),
        ((90, 0, 160), "right, upper third"),
    ],
)
def test_words(position: tuple[float, float, float], words: str) -> None:
    assert EXTENT.words(position) == words


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "ASL"])
def test_sides_are_the_patients_in_any_orientation(codes: str) -> None:
    """The same body in the world, however its voxels are stored."""
    shape = (20, 30, 40)
    affine = inv_ornt_aff(ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes)), shape)
    stored_shape = tuple(shape[int(axis)] for axis in axcodes2ornt(codes)[:, 0])
    sources = tuple(SliceSource("", None, None) for _ in range(stored_shape[2]))
    volume = Volume(np.zeros(stored_shape, np.float32), affine, "MR", Units.ARBITRARY, 2, sources)
    mask = np.ones(stored_shape, bool)
    extent = body_extent(Body(mask, (1, 1, 1), stored_shape), volume)
    assert extent is not None
    np.testing.assert_allclose(extent.low, (0, 0, 0), atol=1e-9)
    np.testing.assert_allclose(extent.high, np.subtract(shape, 1), atol=1e-9)
    back = np.linalg.inv(affine)
    voxel = (back @ [17, 25, 36, 1])[:3]
    position = volume.world(tuple(voxel))
    assert position is not None
    assert extent.words(position) == "right, front, upper third"


def test_nothing_is_said_where_nobody_knows() -> None:
    sources = tuple(SliceSource("", None, None) for _ in range(4))
    volume = Volume(np.zeros((4, 4, 4), np.float32), np.eye(4), "MR", Units.ARBITRARY, 2, sources, geometry_known=False)
    assert body_extent(Body(np.ones((4, 4, 4), bool), (1, 1, 1), (4, 4, 4)), volume) is None
    assert body_extent(None, volume) is None
