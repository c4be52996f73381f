"""Connected regions found plane by plane against scipy on whole volumes."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from anomalib_zsad.records.region_rows import region_rows, regions_csv
from anomalib_zsad.volumes.body import Body
from anomalib_zsad.volumes.map_file import MapFile
from anomalib_zsad.volumes.place_words import body_extent
from anomalib_zsad.volumes.regions import Region, Regions, RegionSearch, find_regions, voxel_volumes
from anomalib_zsad.volumes.volume import SliceSource, Units, Volume
from tests.volumes.volume_builders import affines


def make_volume(shape: tuple[int, int, int], affine: np.ndarray, **options: object) -> Volume:
    axis = int(options.pop("native_axis", 2))
    positions = options.pop("positions", None)
    sources = [
        SliceSource("", None, None if positions is None else tuple(positions[index])) for index in range(shape[axis])
    ]
    voxels = np.zeros(shape, np.float32)
    return Volume(voxels, affine, "CT", Units.ARBITRARY, axis, tuple(sources), **options)


def search(folder: Path, values: np.ndarray, volume: Volume, threshold: float = 0.5, **options: Any) -> Regions:
    maps = MapFile(folder / "map", values.shape)
    try:
        for index in range(values.shape[2]):
            maps.write(2, index, values[:, :, index])
        return find_regions(maps, threshold, volume, **options)
    finally:
        maps.close()


def expected(values: np.ndarray, threshold: float = 0.5, structure: np.ndarray | None = None) -> list[tuple]:
    """Voxels, peak, peak's voxel, corners of each region, from scipy on the whole volume."""
    labels, count = ndimage.label(values >= threshold, np.ones((3, 3, 3)) if structure is None else structure)
    found = []
    for number, box in enumerate(ndimage.find_objects(labels), 1):
        inside = np.where(labels == number, values, -1)
        peak = np.unravel_index(inside.T.argmax(), inside.T.shape)[::-1]
        first, last = tuple(part.start for part in box), tuple(part.stop - 1 for part in box)
        found.append((int((labels == number).sum()), float(inside.max()), tuple(int(i) for i in peak), first, last))
    assert count == len(found)
    return sorted(found)


def figures(regions: Regions) -> list[tuple]:
    return sorted((r.voxels, r.peak, r.peak_voxel, r.first, r.last) for r in regions.listed)


@pytest.mark.parametrize("share", [0.01, 0.06, 0.15, 0.3, 0.9])
@pytest.mark.parametrize("seed", range(4))
def test_random_masks_give_the_regions_that_scipy_finds(tmp_path: Path, share: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    values = random.random((13, 9, 11)).astype(np.float32)
    threshold = 1 - share
    found = search(tmp_path, values, make_volume(values.shape, affines()["oblique"]), threshold)
    assert figures(found) == expected(values, threshold)
    assert found.count == len(found.listed)
    assert found.voxels == int((values >= np.float32(threshold)).sum())
    assert found.volume_mm3 == pytest.approx(found.voxels * 1.5 * 1.25 * 4)
    assert [r.peak for r in found.listed] == sorted((r.peak for r in found.listed), reverse=True)


def test_a_region_that_parts_and_meets_again_is_one(tmp_path: Path) -> None:
    values = np.zeros((7, 7, 7), np.float32)
    values[1, 3, 0:7] = values[5, 3, 0:7] = 0.6  # two posts
    values[1:6, 3, 0] = values[1:6, 3, 6] = 0.6  # joined at both ends
    values[5, 3, 2] = 0.9
    (region,) = search(tmp_path, values, make_volume(values.shape, np.eye(4))).listed
    assert (region.voxels, region.peak_voxel) == (20, (5, 3, 2))
    assert (region.first, region.last) == ((1, 3, 0), (5, 3, 6))
    assert region.slices(0) == (1, 5)


def test_equal_values_peak_at_the_lowest_index_and_order_by_size(tmp_path: Path) -> None:
    values = np.zeros((6, 6, 6), np.float32)
    values[1:3, 1:3, 1:3] = 0.75
    values[5, 5, 5] = 0.75
    found = search(tmp_path, values, make_volume(values.shape, np.eye(4))).listed
    assert [region.voxels for region in found] == [8, 1]
    assert found[0].peak_voxel == (1, 1, 1)


def test_nothing_and_everything(tmp_path: Path) -> None:
    values = np.full((4, 5, 6), 0.5, np.float32)
    volume = make_volume(values.shape, affines()["las"])
    everything = search(tmp_path, values, volume)
    assert (everything.count, everything.voxels) == (1, 120)
    nothing = search(tmp_path, values - 1, volume)
    assert (nothing.count, nothing.voxels, nothing.volume_mm3, nothing.listed) == (0, 0, 0.0, [])


def test_the_list_is_bounded_and_the_rest_is_counted(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    values = np.zeros((21, 21, 21), np.float32)
    values[::2, ::2, ::2] = random.uniform(0.5, 1, (11, 11, 11))
    volume = make_volume(values.shape, np.eye(4))
    whole, some = search(tmp_path, values, volume, most=2000), search(tmp_path, values, volume, most=20)
    assert some.listed == whole.listed[:20]
    assert (some.count, some.voxels) == (whole.count, whole.voxels) == (1331, 1331)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_that_are_no_neighbours_are_not_joined(tmp_path: Path, axis: int) -> None:
    values = np.random.default_rng(3).random((8, 9, 10)).astype(np.float32)
    structure = np.zeros((3, 3, 3))
    np.moveaxis(structure, axis, 0)[1] = 1
    volume = make_volume(values.shape, np.eye(4), native_axis=axis, has_spatial_stack=False, geometry_known=False)
    found = search(tmp_path, values, volume, 0.8)
    assert figures(found) == expected(values, 0.8, structure)
    assert found.volume_mm3 is None
    assert all(region.volume_mm3 is None and region.peak_position is None for region in found.listed)


def test_an_empty_slot_parts_regions(tmp_path: Path) -> None:
    values = np.ones((3, 3, 5), np.float32)
    values[:, :, 2] = 0
    assert search(tmp_path, values, make_volume(values.shape, np.eye(4))).count == 2


@pytest.mark.parametrize("name", list(affines()))
def test_millimetres_come_from_the_affine(tmp_path: Path, name: str) -> None:
    values = np.zeros((6, 5, 4), np.float32)
    values[4, 1, 2] = 0.9
    values[4, 1, 3] = 0.7
    affine = affines()[name]
    (region,) = search(tmp_path, values, make_volume(values.shape, affine)).listed
    assert region.volume_mm3 == pytest.approx(2 * abs(np.linalg.det(affine[:3, :3])))
    assert region.peak_position == pytest.approx(tuple((affine @ [4, 1, 2, 1])[:3]))


def test_uneven_slices_reach_half_way_to_their_neighbours(tmp_path: Path) -> None:
    heights = [0.0, 2.0, 6.0, 7.0]
    affine = np.diag([0.5, 0.5, 2.3, 1.0])
    volume = make_volume((4, 4, 4), affine, positions=[(0.0, 0.0, z) for z in heights], regular=False)
    np.testing.assert_allclose(voxel_volumes(volume), [0.5, 0.75, 0.625, 0.25])
    values = np.zeros((4, 4, 4), np.float32)
    values[2, 1, 1:3] = 0.8, 0.9
    (region,) = search(tmp_path, values, volume).listed
    assert region.volume_mm3 == pytest.approx(1.375)
    assert region.peak_position == pytest.approx((1.0, 0.5, 6.0))


def test_the_table_has_a_row_for_each_region() -> None:
    known = Region(12, 34.5, 0.875, (3, 2, 1), (-7.25, 0.0, 9.0), (1, 2, 0), (3, 4, 1))
    unknown = Region(1, None, 0.5, (0, 0, 0), None, (0, 0, 0), (0, 0, 0))
    first, second = csv.DictReader(io.StringIO(regions_csv(region_rows([known, unknown], axis=0))))
    assert first["region"] == "1"
    assert (first["volume_mm3"], first["peak"], first["voxels"]) == ("34.5", "0.875", "12")
    assert (first["peak_slice"], first["first_slice"], first["last_slice"]) == ("3", "1", "3")
    assert (first["peak_x_mm"], first["peak_y_mm"], first["peak_z_mm"]) == ("-7.25", "0", "9")
    assert second["region"] == "2"
    assert second["volume_mm3"] == second["peak_x_mm"] == ""


def test_regions_outside_the_body_come_last(tmp_path: Path) -> None:
    """Whatever their peaks, in the list that is cut too; most of a region decides where it lies."""
    volume = make_volume((40, 40, 12), np.eye(4))
    mask = np.zeros(volume.shape, bool)
    mask[10:30, 10:30, :] = True
    body = Body(mask[::2, ::2], (2, 2, 1), volume.shape)
    values = np.zeros(volume.shape, np.float32)
    values[2:5, 2:5, 2:4] = 0.95  # in the air
    values[12:14, 12:14, 5] = 0.7
    values[27:32, 20, 8] = 0.8  # three of five voxels inside
    values[28:34, 14, 10] = 0.9  # two of six
    found = search(tmp_path, values, volume, body=body)
    assert [(round(region.peak, 2), region.body_voxels, region.outside_body) for region in found.listed] == [
        (0.8, 3, False),
        (0.7, 4, False),
        (0.95, 0, True),
        (0.9, 2, True),
    ]
    assert (found.count, found.outside) == (4, 2)
    assert [round(region.peak, 2) for region in search(tmp_path, values, volume, body=body, most=2).listed] == [
        0.8,
        0.7,
    ]
    unknown = search(tmp_path, values, volume)
    assert [round(region.peak, 2) for region in unknown.listed] == [0.95, 0.9, 0.8, 0.7]
    assert {region.body_voxels for region in unknown.listed} == {None}
    assert not any(region.outside_body for region in unknown.listed)
    rows = region_rows(found.listed, 2, diameters=[5.5], extent=body_extent(body, volume))
    assert [row.outside_body for row in rows] == [False, False, True, True]
    assert [bool(row.place) for row in rows] == [True, True, False, False]
    assert [row.longest_diameter_mm for row in rows] == [5.5, None, None, None]
    assert rows[0].share_of_body == pytest.approx(3 / mask.sum())
    assert not rows[0].large


@pytest.mark.parametrize("axis", [0, 1])
def test_regions_outside_the_body_in_slices_that_run_across_the_planes(tmp_path: Path, axis: int) -> None:
    volume = make_volume((20, 20, 20), np.eye(4), native_axis=axis, has_spatial_stack=False)
    mask = np.zeros(volume.shape, bool)
    mask[:, :, :10] = True
    strides = (1, 2, 2) if axis == 0 else (2, 1, 2)
    body = Body(mask[:: strides[0], :: strides[1], :: strides[2]], strides, volume.shape)
    values = np.zeros(volume.shape, np.float32)
    values[5, 5, 2:6] = 0.6
    values[5, 5, 14:17] = 0.9
    found = search(tmp_path, values, volume, body=body)
    assert [(region.voxels, region.outside_body) for region in found.listed] == [(4, False), (3, True)]


def test_a_search_takes_planes_in_order_and_may_leave_some_out() -> None:
    grid = np.zeros((6, 5, 7), np.float32)
    grid[1:3, 1:3, 1:3] = 0.9
    grid[2, 2, 5] = 0.8
    planes = RegionSearch(make_volume(grid.shape, np.eye(4)), 0.5)
    for index in (1, 2, 5):
        planes.add(index, grid[..., index])
    found = planes.result()
    assert [(region.voxels, region.slices(2)) for region in found.listed] == [(8, (1, 2)), (1, (5, 5))]
    with pytest.raises(ValueError, match="plane 3 comes after plane 5; add planes in ascending order"):
        planes.add(3, grid[..., 3])
