"""Volumes on a coarser grid: the same place in the world, means of grey levels, the highest values of maps."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest

from anomalib_zsad.volumes.coarse_volume import CoarseVolume, coarse_volume
from anomalib_zsad.volumes.map_file import MapFile
from anomalib_zsad.volumes.volume import SliceSource, Units, Volume
from anomalib_zsad.volumes.windowing import Window

WINDOW = Window(0.0, 100.0, "custom", "")


def make_volume(voxels: np.ndarray, affine: np.ndarray, **options: object) -> Volume:
    sources = tuple(SliceSource("", None, None) for _ in range(voxels.shape[2]))
    return Volume(np.asfortranarray(voxels, np.float32), affine, "CT", Units.HOUNSFIELD, 2, sources, **options)


def loaded(content: bytes) -> nibabel.Nifti1Image:
    return nibabel.Nifti1Image.from_bytes(gzip.decompress(content))


def test_a_small_volume_keeps_its_grid() -> None:
    voxels = np.random.default_rng(0).uniform(-50, 150, (7, 5, 4))
    affine = np.array([[0, -2, 0, 5], [1.5, 0, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1.0]])
    coarse = coarse_volume(make_volume(voxels, affine), WINDOW)
    assert isinstance(coarse, CoarseVolume)
    assert coarse.steps == (1, 1, 1)
    image = loaded(coarse.image())
    np.testing.assert_allclose(image.affine, affine)
    np.testing.assert_array_equal(np.asarray(image.dataobj), np.rint(np.clip(voxels / 100, 0, 1) * 255))
    assert coarse.image() == coarse.image()


def test_blocks_are_means_and_keep_their_place(tmp_path: Path) -> None:
    """In voxels of 1 x 1 x 4 mm blocks grow within the slices; the last blocks are smaller than the others."""
    voxels = np.random.default_rng(1).uniform(0, 100, (21, 17, 6))
    affine = np.diag([-1.0, 1.0, 4.0, 1.0])
    affine[:3, 3] = 10, 20, 30
    volume = make_volume(voxels, affine)
    coarse = coarse_volume(volume, WINDOW, most=400)
    assert isinstance(coarse, CoarseVolume)
    first, second, third = coarse.steps
    assert first > 1
    assert third == 1
    assert coarse.grey.size <= 400
    last = voxels[first:, second:, 2][:first, :second].mean()
    assert coarse.grey[1, 1, 2] == pytest.approx(last * 2.55, abs=0.51)
    edge = voxels[(coarse.grey.shape[0] - 1) * first :, :second, 0].mean()
    assert coarse.grey[-1, 0, 0] == pytest.approx(edge * 2.55, abs=0.51)
    middle = coarse.affine @ [1, 1, 2, 1]
    expected = affine @ [first + (first - 1) / 2, second + (second - 1) / 2, 2, 1]
    np.testing.assert_allclose(middle, expected)
    maps = MapFile(tmp_path / "map", volume.shape)
    heat = np.zeros(volume.shape, np.float32)
    heat[first, second, 2] = 0.8
    for index in range(volume.shape[2]):
        maps.write(2, index, heat[:, :, index])
    found = np.asarray(loaded(coarse.map(maps)).dataobj)
    maps.close()
    assert found[1, 1, 2] == 204
    assert np.count_nonzero(found) == 1


def test_what_is_no_number_is_black() -> None:
    voxels = np.full((4, 4, 4), 100.0)
    voxels[1, 1, 1] = np.nan
    coarse = coarse_volume(make_volume(voxels, np.eye(4)), WINDOW)
    assert isinstance(coarse, CoarseVolume)
    assert coarse.grey[1, 1, 1] == 0
    assert (coarse.grey == 255).sum() == 63


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"geometry_known": False}, "where these images lie in the patient is not known"),
        ({"has_spatial_stack": False}, "these images are no neighbours in space"),
        ({"regular": False}, "these slices are unevenly spaced"),
    ],
)
def test_there_is_none_of_what_is_no_grid(options: dict[str, bool], why: str) -> None:
    assert coarse_volume(make_volume(np.zeros((4, 4, 4)), np.eye(4), **options), WINDOW) == why
