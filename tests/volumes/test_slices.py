"""Slices of a volume as upright images, and the exact way back."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pydicom.dataset import Dataset

from anomalib_zsad.demo.phantoms import make_phantom
from anomalib_zsad.volumes.slice_stack import SliceStack
from anomalib_zsad.volumes.volume import SliceSource, Units, Volume
from anomalib_zsad.volumes.windowing import Window
from tests.volumes.volume_builders import MARK, SHAPE, affines, marked_voxels, only, write_nifti, write_series

WINDOW = Window(0, 900, "custom", "test")
PLANES = ("native", "axial", "coronal", "sagittal")


def without_position(dataset: Dataset, index: int) -> None:
    del dataset.ImagePositionPatient


@pytest.fixture(params=list(affines()))
def volume(request: pytest.FixtureRequest, tmp_path: Path) -> Volume:
    name = request.param
    if np.linalg.det(affines()[name]) > 0 and name != "ras":
        return only(write_series(tmp_path / "s", affine=affines()[name]))
    return only(write_nifti(tmp_path / "v.nii", marked_voxels(), affines()[name]))


@pytest.mark.parametrize("crop", [False, True])
@pytest.mark.parametrize("plane", PLANES)
def test_maps_return_to_the_voxels_they_came_from(volume: Volume, plane: str, crop: bool) -> None:
    stack = SliceStack(volume, WINDOW, plane, crop=crop)
    batch = stack.batch(stack.indices)
    assert batch.shape == (len(stack), 3, *stack.shape)
    restored = stack.restore(batch[:, 1].numpy(), stack.indices)
    assert restored.shape == volume.shape
    if not crop:
        np.testing.assert_allclose(restored, WINDOW.apply(volume.voxels), atol=1e-6)
    assert tuple(int(i) for i in np.unravel_index(restored.argmax(), SHAPE)) == MARK


@pytest.mark.parametrize("plane", PLANES)
def test_a_pixel_knows_its_voxel(volume: Volume, plane: str) -> None:
    stack = SliceStack(volume, WINDOW, plane)
    images = stack.batch(stack.indices)[:, 0]
    place, row, column = (int(i) for i in np.unravel_index(int(images.argmax()), images.shape))
    assert stack.voxel_index(stack.indices[place], row, column) == MARK


@pytest.mark.parametrize(
    ("plane", "down", "right", "through"),
    [("axial", 1, 0, 2), ("coronal", 2, 0, 1), ("sagittal", 2, 1, 0)],
)
def test_images_are_upright(volume: Volume, plane: str, down: int, right: int, through: int) -> None:
    """Down is to the back or the feet, right is to the patient's left (or back): RAS coordinates fall."""
    stack = SliceStack(volume, WINDOW, plane)
    height, width = stack.full_shape
    index = stack.indices[len(stack) // 2]
    start = np.array(volume.world(stack.voxel_index(index, 0, 0)))
    bottom = np.array(volume.world(stack.voxel_index(index, height - 1, 0)))
    side = np.array(volume.world(stack.voxel_index(index, 0, width - 1)))
    assert (bottom - start)[down] < 0
    assert (side - start)[right] < 0
    assert np.abs(bottom - start).argmax() == down
    assert np.abs(side - start).argmax() == right
    assert stack.plane == plane
    after = np.array(volume.world(stack.voxel_index(index + 1, 0, 0)))
    assert np.abs(after - start).argmax() == through


def test_pixel_spacing_and_area_follow_the_plane(tmp_path: Path) -> None:
    volume = only(write_nifti(tmp_path / "v.nii", marked_voxels(), affines()["las"]))
    assert SliceStack(volume, WINDOW, "axial").pixel_spacing == pytest.approx((1.25, 1.5))
    assert SliceStack(volume, WINDOW, "coronal").pixel_spacing == pytest.approx((4.0, 1.5))
    assert SliceStack(volume, WINDOW, "sagittal").pixel_area == pytest.approx(5.0)


def test_neighbours_are_the_other_channels(tmp_path: Path) -> None:
    volume = only(write_series(tmp_path / "s"))
    stack = SliceStack(volume, WINDOW, "native", "neighbours")
    batch = stack.batch([0, 3, 5])
    plain = SliceStack(volume, WINDOW).batch(range(6))[:, 0]
    torch.testing.assert_close(batch[1], plain[[2, 3, 4]])
    torch.testing.assert_close(batch[0], plain[[0, 0, 1]])
    torch.testing.assert_close(batch[2], plain[[4, 5, 5]])


def test_an_empty_slot_is_no_slice_and_no_neighbour(tmp_path: Path) -> None:
    volume = only(write_series(tmp_path / "s", edit=lambda dataset, index: index != 2))
    stack = SliceStack(volume, WINDOW, "native", "neighbours")
    assert stack.indices == (0, 1, 3, 4, 5)
    batch = stack.batch([1])
    torch.testing.assert_close(batch[0, 2], batch[0, 1])
    assert len(SliceStack(volume, WINDOW, "coronal")) == SHAPE[1]


def test_planes_that_cannot_be_cut_are_refused(tmp_path: Path) -> None:
    def move(dataset, index):
        dataset.ImagePositionPatient[2] = index**1.7

    uneven = only(write_series(tmp_path / "s", edit=move))
    assert len(SliceStack(uneven, WINDOW, "axial")) == 6
    with pytest.raises(ValueError, match="coronal slices need evenly spaced slices"):
        SliceStack(uneven, WINDOW, "coronal")
    flat = only(write_series(tmp_path / "flat", edit=without_position), mode="2d")
    with pytest.raises(ValueError, match="use the native plane"):
        SliceStack(flat, WINDOW, "axial")
    assert SliceStack(flat, WINDOW).image(0).shape == (10, 12)
    with pytest.raises(ValueError, match="unknown plane 'top'"):
        SliceStack(uneven, WINDOW, "top")
    with pytest.raises(ValueError, match="unknown channels 'rgb'"):
        SliceStack(uneven, WINDOW, channels="rgb")


def test_2d_images_are_shown_as_stored(tmp_path: Path) -> None:
    volume = only(write_series(tmp_path / "s", affine=affines()["sagittal"], edit=without_position), mode="2d")
    np.testing.assert_allclose(SliceStack(volume, WINDOW).values(4), marked_voxels()[:, :, 4].T)


def test_crop_holds_the_body_and_leaves_out_air() -> None:
    phantom = make_phantom("head_ct", 3, lesion=True)
    voxels = np.asfortranarray(np.pad(phantom.voxels, ((30, 10), (5, 25), (0, 0)), constant_values=-1000), np.float32)
    sources = tuple(SliceSource("", None, None) for _ in range(voxels.shape[2]))
    volume = Volume(voxels, phantom.affine, "CT", Units.HOUNSFIELD, 2, sources)
    stack = SliceStack(volume, WINDOW, crop=True)
    body = np.stack([SliceStack(volume, WINDOW).values(index) > -500 for index in stack.indices])
    inside = body[:, stack.box.rows, stack.box.columns]
    assert inside.sum() == body.sum()
    assert stack.shape[0] < stack.full_shape[0] - 15
    assert stack.shape[1] < stack.full_shape[1] - 15


def test_30_constant_slices_are_blank_and_divide_by_nothing(tmp_path: Path) -> None:
    voxels = marked_voxels()
    voxels[:, :, 1] = 33
    volume = only(write_series(tmp_path / "s", voxels))
    stack = SliceStack(volume, WINDOW)
    assert [index for index in stack.indices if stack.is_blank(stack.image(index))] == [1]
    assert torch.isfinite(stack.batch([1])).all()


@pytest.mark.parametrize("crop", [False, True])
@pytest.mark.parametrize("plane", ["native", "coronal", "sagittal"])
def test_a_voxel_is_found_in_its_image(tmp_path: Path, plane: str, crop: bool) -> None:
    stack = SliceStack(only(write_series(tmp_path / "s")), Window(0, 900, "custom", ""), plane, crop=crop)
    index = MARK[stack.axis]
    place = stack.pixel(MARK)
    assert place is not None
    assert stack.voxel_index(index, *place) == MARK
    assert stack.image(index)[place] == 1


def test_a_voxel_outside_the_crop_has_no_pixel(tmp_path: Path) -> None:
    voxels = np.full((40, 40, 3), -1000, np.int16)
    voxels[16:24, 16:24] = 50
    stack = SliceStack(only(write_series(tmp_path / "s", voxels)), Window(0, 900, "custom", ""), crop=True)
    assert stack.pixel((0, 0, 0)) is None
    assert stack.pixel((20, 20, 0)) is not None


@pytest.mark.parametrize(("plane", "left", "top"), [("axial", "R", "A"), ("coronal", "R", "S"), ("sagittal", "A", "S")])
@pytest.mark.parametrize("name", list(affines()))
def test_edges_are_named_as_radiologists_look_at_them(
    tmp_path: Path, name: str, plane: str, left: str, top: str
) -> None:
    volume = only(write_nifti(tmp_path / "v.nii.gz", marked_voxels(), affines()[name]))
    edges = SliceStack(volume, Window(0, 900, "custom", ""), plane).edges()
    opposite = dict(zip("RLAPSI", "LRPAIS", strict=True))
    assert edges == {"left": left, "right": opposite[left], "top": top, "bottom": opposite[top]}


@pytest.mark.parametrize("crop", [False, True])
@pytest.mark.parametrize("plane", ["coronal", "sagittal"])
def test_slices_across_the_acquired_ones_keep_their_proportions(tmp_path: Path, plane: str, crop: bool) -> None:
    volume = only(write_series(tmp_path / "s"))  # 1.5 x 1.25 x 4 mm
    stack = SliceStack(volume, WINDOW, plane, crop=crop)
    height, width = (length * step for length, step in zip(stack.padded_shape, stack.pixel_spacing, strict=True))
    assert abs(height - width) <= max(stack.pixel_spacing)
    images = stack.batch(stack.indices)
    padded = stack.padded(images)
    assert padded.shape == (*images.shape[:2], *stack.padded_shape)
    torch.testing.assert_close(padded.sum(), images.sum())
    torch.testing.assert_close(stack.unpadded(padded), images)
    restored = stack.restore(stack.unpadded(padded)[:, 1].numpy(), stack.indices)
    assert restored.shape == volume.shape
    assert tuple(int(i) for i in np.unravel_index(restored.argmax(), SHAPE)) == MARK


def test_the_acquired_plane_and_isotropic_cubes_are_not_padded(tmp_path: Path) -> None:
    native = SliceStack(only(write_series(tmp_path / "s")), WINDOW)
    assert native.padded_shape == native.shape
    images = native.batch([0])
    assert native.padded(images) is images
    cube = only(write_nifti(tmp_path / "v.nii", np.zeros((9, 9, 9), np.int16), np.eye(4)))
    assert SliceStack(cube, WINDOW, "sagittal").padded_shape == (9, 9)


def test_voxels_too_long_for_a_square_are_refused_for_that_plane(tmp_path: Path) -> None:
    affine = np.diag([0.0001, 0.0001, 400.0, 1.0])
    volume = only(write_nifti(tmp_path / "v.nii", marked_voxels(), affine))
    with pytest.raises(ValueError, match="to keep their proportions; use the native plane"):
        SliceStack(volume, WINDOW, "coronal")
