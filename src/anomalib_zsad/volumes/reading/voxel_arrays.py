"""Arrays of voxels from any kind of file: three axes, finite values, the slice axis, places of slices."""

import warnings

import numpy as np
from numpy.typing import NDArray

from anomalib_zsad.volumes.faults import Fault, Finding, refuse, warn
from anomalib_zsad.volumes.geometry import Floats, voxel_sizes
from anomalib_zsad.volumes.volume import SliceSource


def three_axes(stored: NDArray, volume_index: int | None, findings: list[Finding]) -> NDArray:
    """Drop singleton axes after the third; take one volume of several where the user chose it.

    Raises:
        SeriesRefusedError: If there are several and none was chosen, or no such one.
    """
    shape = stored.shape
    if stored.ndim < 3:
        return stored.reshape(shape + (1,) * (3 - stored.ndim), order="F")
    extra = int(np.prod(shape[3:], dtype=np.int64))
    if extra > 1 and volume_index is None:
        message = f"the file holds {extra} volumes (shape {shape}): choose one with --volume-index 0 to {extra - 1}"
        refuse(Fault.TOO_MANY_AXES, message)
    index = volume_index or 0
    if not 0 <= index < extra:
        refuse(Fault.TOO_MANY_AXES, f"volume index {index} of {extra} volumes (shape {shape})")
    if extra > 1:
        findings.append(warn(Fault.TOO_MANY_AXES, f"volume {index} of {extra} is read (shape {shape})"))
    return stored.reshape((*shape[:3], extra), order="F")[..., index]


def check_finite(voxels: NDArray[np.float32], findings: list[Finding]) -> None:
    """Turn infinite values into NaN, and refuse a volume that is mostly not finite.

    Raises:
        SeriesRefusedError: If more than half of the voxels are not finite.
    """
    bad = sum(int(np.count_nonzero(~np.isfinite(voxels[:, :, k]))) for k in range(voxels.shape[2]))
    if not bad:
        return
    if bad > 0.5 * voxels.size:
        refuse(Fault.NOT_FINITE, f"{bad / voxels.size:.0%} of the voxels are NaN or infinite")
    for k in range(voxels.shape[2]):
        plane = voxels[:, :, k]
        plane[~np.isfinite(plane)] = np.nan
    findings.append(warn(Fault.NOT_FINITE, f"{bad:,} voxels are NaN or infinite: masked"))


def thick_axis(affine: Floats) -> int:
    """The axis with clearly the largest voxel edge, else the third."""
    sizes = voxel_sizes(affine)
    largest = int(np.argmax(sizes))
    others = np.delete(sizes, largest)
    return largest if sizes[largest] > 1.5 * others.max() else 2


def slice_sources(shape: tuple[int, ...], affine: Floats, axis: int, *, known: bool) -> tuple[SliceSource, ...]:
    """Positions of the slices along an axis; `None` where the geometry is not known."""
    sources = []
    for index in range(shape[axis]):
        x, y, z = affine[:3, axis] * index + affine[:3, 3]
        sources.append(SliceSource("", None, (float(x), float(y), float(z)) if known else None))
    return tuple(sources)


def has_two_values(voxels: NDArray[np.float32]) -> bool:
    """Whether voxels hold exactly two values, beside NaN: those of a mask."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # where all are NaN
        lowest, highest = np.nanmin(voxels), np.nanmax(voxels)
    if not lowest < highest:
        return False
    planes = np.moveaxis(voxels, 2, 0)
    return all(bool(((plane == lowest) | (plane == highest) | np.isnan(plane)).all()) for plane in planes)
