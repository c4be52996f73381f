"""Regions that a map shows, and how much of each lesion they cover.

Dynamic regions are those of PI-CAI (Saha et al., Lancet Oncology 2024; Bosma et al., Radiology: Artificial Intelligence
2023): from the highest voxel down, all connected voxels of at least the peak's height over 2.5; the region is taken
away, and the next highest voxel begins another.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LIMIT = 200
"""Most regions kept of a volume above a threshold, the highest ones."""

_REGIONS = 5
_FACTOR = 2.5
_SMALLEST = 11  # PI-CAI leaves out regions of ten voxels and fewer
_LOWEST_SHARE = 0.01
_MOST_STEPS = 50
_FIRST_REACH = 12
_NEIGHBOURS = np.ones((3, 3, 3), bool)


@dataclass(frozen=True)
class Regions:
    """Regions of a map, n of them, that do not overlap each other, against m lesions.

    Attributes:
        scores: Highest value of the map in each, float32, shape (n,).
        voxels: Size of each, shape (n,).
        shared: Voxels that each shares with each lesion, shape (n, m).
        complete: Whether none was left out for there being more than the limit.
    """

    scores: NDArray[np.float32]
    voxels: NDArray[np.int64]
    shared: NDArray[np.int64]
    complete: bool = True


def floor_of(heat: NDArray[np.float32], axis: int, seen: NDArray[np.bool_]) -> float:
    """Where a map's heights are measured from: its median over the slices that the model saw; 0 where it saw none.

    PI-CAI's maps begin at 0. Those of zero-shot models stand on a plateau, often near one half.

    Args:
        heat: The map, shape (X, Y, Z).
        axis: Along which slices lie.
        seen: Which slices the model saw, shape of that axis.
    """
    return float(np.median(np.moveaxis(heat, axis, 0)[seen])) if seen.any() else 0.0


def dynamic_regions(heat: NDArray[np.float32], floor: float, lesions: NDArray[np.integer]) -> Regions:
    """The regions of a map as PI-CAI makes them: at most five, none of ten voxels or fewer, none beside another.

    Args:
        heat: The map, shape (X, Y, Z).
        floor: Where heights are measured from (`floor_of`); lower voxels are in no region.
        lesions: Number of the lesion that each voxel is in, 0 for none, same shape.
    """
    height = np.maximum(np.ascontiguousarray(heat.T) - np.float32(floor), 0)
    lowest = _LOWEST_SHARE * float(height.max())
    taken = _Taken(np.zeros(height.shape, np.int32), np.zeros(height.shape, bool))
    for _ in range(_MOST_STEPS):
        peak = int(height.argmax())
        highest = float(height.ravel()[peak])
        if taken.count == _REGIONS or highest <= lowest:
            break
        threshold = highest / _FACTOR
        part, region = _grown(height, peak, threshold)
        if np.count_nonzero(region) >= _SMALLEST:
            taken.add(part, region)
            height[part][region] = 0
            continue
        # A speck is on top: it decides the threshold until nothing larger is left that reaches it.
        for part, region in _large_regions(height, threshold):
            taken.add(part, region)
        height[height >= threshold] = 0
    return _measured(taken.numbers, taken.count, heat, lesions)


_Part = tuple[slice, ...]


@dataclass
class _Taken:
    """Regions that are taken already, by number, and what lies in or beside one."""

    numbers: NDArray[np.int32]
    beside: NDArray[np.bool_]
    count: int = 0

    def add(self, part: _Part, region: NDArray[np.bool_]) -> None:
        """Take a region, given in a part of the volume, unless there are enough or it lies beside another."""
        from scipy import ndimage

        if self.count == _REGIONS or (region & self.beside[part]).any():
            return
        self.count += 1
        self.numbers[part][region] = self.count
        around, inside = _widened(part, 1, region.shape, self.numbers.shape)
        wider = np.zeros(self.numbers[around].shape, bool)
        wider[inside] = region
        self.beside[around] |= ndimage.binary_dilation(wider, _NEIGHBOURS)


def _widened(part: _Part, by: int, extent: tuple[int, ...], shape: tuple[int, ...]) -> tuple[_Part, _Part]:
    """A part of a volume made wider on all sides as far as the volume goes, and where the old part is in it."""
    around = tuple(
        slice(max(0, one.start - by), min(size, one.stop + by)) for one, size in zip(part, shape, strict=True)
    )
    starts = (one.start - wide.start for one, wide in zip(part, around, strict=True))
    return around, tuple(slice(start, start + size) for start, size in zip(starts, extent, strict=True))


def _grown(height: NDArray[np.float32], peak: int, threshold: float) -> tuple[_Part, NDArray[np.bool_]]:
    """The connected region around a voxel that reaches a threshold, in a part of the volume that holds all of it."""
    from scipy import ndimage

    place = tuple(int(value) for value in np.unravel_index(peak, height.shape))
    reach = _FIRST_REACH
    while True:
        around = tuple(
            slice(max(0, at - reach), min(size, at + reach + 1)) for at, size in zip(place, height.shape, strict=True)
        )
        labels, _ = ndimage.label(height[around] >= threshold, _NEIGHBOURS)
        region = labels == labels[tuple(at - one.start for at, one in zip(place, around, strict=True))]
        if not _goes_on(region, around, height.shape):
            return around, region
        reach *= 4


def _goes_on(region: NDArray[np.bool_], part: _Part, shape: tuple[int, ...]) -> bool:
    """Whether a region reaches a side of its part beyond which the volume goes on."""
    for axis, (one, size) in enumerate(zip(part, shape, strict=True)):
        sides = np.moveaxis(region, axis, 0)
        if (one.start > 0 and sides[0].any()) or (one.stop < size and sides[-1].any()):
            return True
    return False


def _large_regions(height: NDArray[np.float32], threshold: float) -> Iterator[tuple[_Part, NDArray[np.bool_]]]:
    """The regions of more than ten voxels that reach a threshold, the highest first."""
    from scipy import ndimage

    labels, _ = ndimage.label(height >= threshold, _NEIGHBOURS)
    large = np.flatnonzero(np.bincount(labels.ravel()) >= _SMALLEST)
    large = large[large > 0]
    parts = ndimage.find_objects(labels)
    peaks = np.array([height[parts[label - 1]][labels[parts[label - 1]] == label].max() for label in large])
    for label in large[np.argsort(-peaks, kind="stable")]:
        yield parts[label - 1], labels[parts[label - 1]] == label


def regions_from(heat: NDArray[np.float32], threshold: float, lesions: NDArray[np.integer]) -> Regions:
    """The connected regions (26 neighbours) that reach a threshold; of more than 200 the highest.

    Args:
        heat: The map, shape (X, Y, Z).
        threshold: Compared as float32.
        lesions: Number of the lesion that each voxel is in, 0 for none, same shape.
    """
    from scipy import ndimage

    labels, count = ndimage.label(np.ascontiguousarray(heat.T) >= np.float32(threshold), _NEIGHBOURS)
    return _measured(labels, count, heat, lesions)


def _measured(
    labels: NDArray[np.integer], count: int, heat: NDArray[np.float32], lesions: NDArray[np.integer]
) -> Regions:
    """Heights, sizes and shared voxels of numbered regions, whose axes are reversed; the highest first."""
    inside = labels > 0
    owner = labels[inside].astype(np.int64) - 1
    scores = np.full(count, -np.inf, np.float32)
    np.maximum.at(scores, owner, heat.T[inside])
    width = int(lesions.max(initial=0)) + 1
    shared = np.bincount(owner * width + lesions.T[inside], minlength=count * width).reshape(count, width)
    order = np.argsort(-scores, kind="stable")[:LIMIT]
    sizes = shared.sum(axis=1)
    return Regions(
        scores[order],
        sizes[order].astype(np.int64),
        shared[order, 1:].astype(np.int64),
        complete=count <= LIMIT,
    )
