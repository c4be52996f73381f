"""Shapes of regions in the patient: the outline on one slice, and the longest diameter."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from contourpy import contour_generator
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from anomalib_zsad.volumes.geometry import Floats
from anomalib_zsad.volumes.map_file import MapFile
from anomalib_zsad.volumes.regions import Region
from anomalib_zsad.volumes.volume import Volume

_ALL_NEIGHBOURS = np.ones((3, 3, 3), bool)


@dataclass(frozen=True)
class RegionShape:
    """A region's shape in the world.

    Attributes:
        outline: Closed outline around its pixels on the native slice of its peak, RAS in mm, (n, 3), first = last.
        longest_diameter: Largest distance between two corners of its voxels, in mm.
    """

    outline: Floats
    longest_diameter: float


def shape_of(region: Region, maps: MapFile, threshold: float, volume: Volume) -> RegionShape:
    """The shape of a region.

    Args:
        region: Of `find_regions` at this threshold.
        maps: Values on the volume's grid; the part around the region is in memory meanwhile.
        threshold: From it on a voxel belongs to a region.
        volume: Whose geometry is known and whose slices are neighbours in space. Its voxels are not touched.
    """
    inside = _voxels(region, maps, threshold)
    first = np.asarray(region.first)
    axis = volume.native_axis
    place = region.peak_voxel[axis] - region.first[axis]
    others = [other for other in range(3) if other != axis]
    peak = [region.peak_voxel[other] - region.first[other] for other in others]
    flat = _outline(np.moveaxis(inside, axis, 0)[place], (peak[0], peak[1]))
    outline = np.empty((len(flat), 3))
    outline[:, others] = flat
    outline[:, axis] = place
    return RegionShape(_to_world(volume, outline + first), _longest(volume, _outermost(inside) + first))


def longest_diameters(regions: Sequence[Region], maps: MapFile, threshold: float, volume: Volume) -> list[float | None]:
    """Longest diameter of each region in mm; `None` where the geometry is not known or slices are no neighbours.

    Args:
        regions: Of `find_regions` at this threshold.
        maps: Values on the volume's grid; the part around one region is in memory meanwhile.
        threshold: From it on a voxel belongs to a region.
        volume: Its voxels are not touched.
    """
    if not (volume.geometry_known and volume.has_spatial_stack):
        return [None] * len(regions)
    return [
        _longest(volume, _outermost(_voxels(region, maps, threshold)) + np.asarray(region.first)) for region in regions
    ]


def _voxels(region: Region, maps: MapFile, threshold: float) -> NDArray[np.bool_]:
    """Which voxels of its bounding box belong to the region."""
    (x0, y0, z0), (x1, y1, z1) = region.first, region.last
    box = np.stack([plane[x0 : x1 + 1, y0 : y1 + 1] for plane in maps.planes(z0, z1 + 1)], axis=2)
    labels, _ = ndimage.label(box >= threshold, _ALL_NEIGHBOURS)
    own: NDArray[np.bool_] = labels == labels[tuple(np.subtract(region.peak_voxel, region.first))]
    return own


def _outline(mask: NDArray[np.bool_], peak: tuple[int, int]) -> Floats:
    """Outer outline of the part of a mask that holds the peak, along the middle between pixels, closed, (n, 2)."""
    parts, _ = ndimage.label(mask, np.ones((3, 3), bool))
    own = np.pad(ndimage.binary_fill_holes(parts == parts[peak]), 1)
    lines = contour_generator(z=own.T.astype(np.float64), corner_mask=False).lines(0.5)
    longest = max(lines, key=lambda line: float(np.ptp(line, axis=0).sum()))
    return np.asarray(longest, np.float64) - 1  # of the padding


def _outermost(inside: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Voxels that can be corners of the hull, (n, 3): those at an end of their line along every axis."""
    found = inside.copy()
    for axis, length in enumerate(inside.shape):
        ends = np.zeros_like(inside)
        first, last = inside.argmax(axis), length - 1 - np.flip(inside, axis).argmax(axis)
        for place in (first, last):
            np.put_along_axis(ends, np.expand_dims(place, axis), True, axis)
        found &= ends
    return np.argwhere(found)


def _longest(volume: Volume, voxels: NDArray[np.int64]) -> float:
    """Largest distance between corners of voxels (n, 3) in mm."""
    corners = np.concatenate([voxels + np.asarray(step) for step in product((-0.5, 0.5), repeat=3)])
    world = _to_world(volume, corners)
    return float(pdist(world[ConvexHull(world).vertices]).max())


def _to_world(volume: Volume, points: Floats) -> Floats:
    """World positions (RAS, mm) of voxel indices (n, 3), also of slices that are unevenly spaced."""
    if volume.regular:
        return points @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    axis = volume.native_axis
    places = np.clip(points[:, axis], 0, len(volume.slices) - 1)
    nearest = np.rint(places).astype(int)
    starts = np.array([volume.slices[int(index)].position for index in nearest])  # type: ignore[union-attr]
    within = points.copy()
    within[:, axis] = points[:, axis] - nearest  # half a slice at most, of the mean distance
    return within @ volume.affine[:3, :3].T + starts
