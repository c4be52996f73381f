"""A volume for a quick look: 8-bit grey levels and the map on a coarser grid, small enough for a page."""

import gzip
import math
from dataclasses import dataclass

import nibabel
import numpy as np
from numpy.typing import NDArray

from anomalib_zsad.volumes.map_file import MapFile
from anomalib_zsad.volumes.volume import Volume
from anomalib_zsad.volumes.windowing import Window

MOST_VOXELS = 12_000_000


@dataclass(frozen=True)
class CoarseVolume:
    """Grey levels of a volume on a grid of blocks of its voxels.

    Attributes:
        grey: Levels 0 to 255 over the window, mean of each block, uint8, shape (X', Y', Z').
        steps: Voxels in a block along each axis.
        affine: Block index to world (RAS, mm), shape (4, 4).
    """

    grey: NDArray[np.uint8]
    steps: tuple[int, int, int]
    affine: NDArray[np.float64]

    def image(self) -> bytes:
        """The grey levels as a gzipped NIfTI file, the same bytes for the same volume."""
        return _nifti(self.grey, self.affine)

    def map(self, maps: MapFile) -> bytes:
        """The highest value of the map in each block, 0 to 255 for 0 to 1, as a gzipped NIfTI file.

        Args:
            maps: Values in [0, 1] on the volume's grid.
        """
        highest = np.zeros(self.grey.shape, np.uint8)
        for index, plane in enumerate(maps.planes()):
            levels = np.rint(np.clip(plane, 0, 1) * 255).astype(np.uint8)
            place = index // self.steps[2]
            highest[:, :, place] = np.maximum(highest[:, :, place], _blocks(levels, self.steps, np.maximum))
        return _nifti(highest, self.affine)


def coarse_volume(volume: Volume, window: Window, most: int = MOST_VOXELS) -> CoarseVolume | str:
    """A volume on a coarser grid, or in words why it has none.

    Args:
        volume: Whose voxels are still there. Values that are no numbers are black.
        window: What becomes black and white.
        most: Voxels at most; blocks are as small as that allows, and nearly as long along each axis in mm.
    """
    if not volume.geometry_known:
        return "where these images lie in the patient is not known"
    if not volume.has_spatial_stack:
        return "these images are no neighbours in space"
    if not volume.regular:
        return "these slices are unevenly spaced"
    steps = _steps(volume, most)
    shape = [math.ceil(length / step) for length, step in zip(volume.shape, steps, strict=True)]
    grey = np.zeros(shape, np.uint8)
    for place in range(shape[2]):
        slab = np.asarray(volume.voxels[:, :, place * steps[2] : (place + 1) * steps[2]], np.float32)
        levels = np.nan_to_num(np.clip((slab - window.lower) / (window.upper - window.lower), 0, 1))
        mean = levels.mean(axis=2)
        counted = _blocks(np.ones_like(mean), steps, np.add)
        grey[:, :, place] = np.rint(_blocks(mean, steps, np.add) / counted * 255)
    affine = np.array(volume.affine, np.float64)
    # The middle of the first block: half a block less half a voxel from the middle of the first voxel.
    affine[:3, 3] += affine[:3, :3] @ ((np.asarray(steps) - 1) / 2)
    affine[:3, :3] *= steps
    return CoarseVolume(grey, steps, affine)


def _steps(volume: Volume, most: int) -> tuple[int, int, int]:
    """Voxels in a block along each axis: the finest axis is the next to be made coarser."""
    sizes = np.linalg.norm(volume.affine[:3, :3], axis=0)
    steps = [1, 1, 1]
    while math.prod(math.ceil(length / step) for length, step in zip(volume.shape, steps, strict=True)) > most:
        edges = [sizes[axis] * steps[axis] if volume.shape[axis] > steps[axis] else math.inf for axis in range(3)]
        steps[int(np.argmin(edges))] += 1
    return steps[0], steps[1], steps[2]


def _blocks(plane: NDArray, steps: tuple[int, int, int], join: np.ufunc) -> NDArray:
    """Blocks of a plane joined; the last ones may be smaller."""
    rows, columns = (np.arange(0, length, step) for length, step in zip(plane.shape, steps, strict=False))
    joined: NDArray = join.reduceat(join.reduceat(plane, rows, axis=0), columns, axis=1)
    return joined


def _nifti(values: NDArray[np.uint8], affine: NDArray[np.float64]) -> bytes:
    image = nibabel.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    return gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)
