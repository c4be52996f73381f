"""The patient's body in a volume: where it is, on a coarse grid, so that what lies in the air around it can be told."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from anomalib_zsad.volumes.volume import Volume
from anomalib_zsad.volumes.windowing import background_threshold

# Samples of the coarse grid along an edge of a slice, and in all.
_SIDE = 160
_MOST = 16_000_000
# Parts that are smaller than this share of the largest one are no body: markers, tubes, noise.
_SMALLEST_PART = 0.05


@dataclass(frozen=True)
class Body:
    """What is body and what is not.

    Attributes:
        mask: Whether a sample of the coarse grid is body, bool, shape (X', Y', Z').
        strides: Voxels from sample to sample along each axis; 1 along the volume's native axis.
        shape: Of the volume, (X, Y, Z).
    """

    mask: NDArray[np.bool_]
    strides: tuple[int, int, int]
    shape: tuple[int, int, int]

    @property
    def voxels(self) -> int:
        """How many voxels are body, to the accuracy of the coarse grid."""
        return int(np.count_nonzero(self.mask)) * math.prod(self.strides)

    def plane(self, index: int) -> NDArray[np.bool_]:
        """Plane `index` of the volume along its last axis, shape (X, Y)."""
        coarse = self.mask[:, :, index // self.strides[2]]
        rows, columns = (np.arange(self.shape[axis]) // self.strides[axis] for axis in (0, 1))
        return coarse[rows[:, None], columns[None]]

    def areas(self, axis: int) -> NDArray[np.int64]:
        """Voxels of body in each slice along a voxel axis, shape (n,)."""
        others = tuple(other for other in range(3) if other != axis)
        size = math.prod(self.strides[other] for other in others)
        coarse = np.count_nonzero(self.mask, axis=others) * size
        return coarse[np.arange(self.shape[axis]) // self.strides[axis]].astype(np.int64)


def find_body(volume: Volume) -> Body | None:
    """The body in a volume; `None` where nothing sets it apart from what is around it.

    What is brighter than the background (-500 HU in CT, else the lower bound of the foreground) without thin
    structures, with its holes filled slice by slice (lungs and sinuses are body), in all parts that are no mere specks.

    Args:
        volume: Whose voxels are still there.
    """
    threshold = background_threshold(volume)
    if not math.isfinite(threshold):
        return None
    strides = _strides(volume)
    samples = volume.voxels[:: strides[0], :: strides[1], :: strides[2]]
    bright = np.asarray(samples > threshold)  # NaN, which is no data, is not
    slices = np.moveaxis(bright, volume.native_axis, 0)
    filled = np.stack([_filled(plane) for plane in slices]) if len(slices) else slices
    if volume.has_spatial_stack:
        filled = _large_parts(filled)
    mask = np.moveaxis(filled, 0, volume.native_axis)
    if not mask.any() or mask.all():
        return None
    return Body(mask, strides, volume.shape)


def _strides(volume: Volume) -> tuple[int, int, int]:
    across = [length for axis, length in enumerate(volume.shape) if axis != volume.native_axis]
    stride = math.ceil(max(across) / _SIDE)
    while math.prod(volume.shape) / stride**2 > _MOST:
        stride += 1
    first, second, third = (1 if axis == volume.native_axis else stride for axis in range(3))
    return first, second, third


def _filled(plane: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A slice without thin structures, where it has thicker ones, and without holes."""
    opened = ndimage.binary_opening(plane, np.ones((3, 3), bool))
    return ndimage.binary_fill_holes(opened if opened.any() else plane)


def _large_parts(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return (sizes >= _SMALLEST_PART * sizes.max())[labels]
