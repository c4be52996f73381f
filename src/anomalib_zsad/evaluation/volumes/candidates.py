"""Places that a map points to: the connected regions that appear as the threshold falls."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LIMIT = 200
"""Most candidates kept of a volume, the highest ones."""

# At each step the threshold falls so far that half as many voxels again are above it, down to a tenth of the volume.
_STEP = 1.5
_LARGEST_SHARE = 0.1
_NEIGHBOURS = np.ones((3, 3, 3), bool)  # voxels that share a corner belong together


@dataclass(frozen=True)
class Candidates:
    """Candidates of one volume, highest first.

    Attributes:
        scores: Highest value of the map in each, float32, shape (n,).
        voxels: The voxel with that value, shape (n, 3).
        complete: Whether none was left out for there being more than the limit.
    """

    scores: NDArray[np.float32]
    voxels: NDArray[np.int64]
    complete: bool


def find_candidates(heat: NDArray[np.float32], limit: int = LIMIT) -> Candidates:
    """The candidates of a map.

    As the threshold falls, connected regions appear, grow and merge. Every region that appears is a candidate: its
    place is its voxel with the highest value, its score that value. It stays one after it has merged with another; else
    a map that floods the volume at a low threshold would make no false marks. The threshold falls in steps by the
    number of voxels above it, so that candidates do not depend on the scale of the map: a region that appears and
    merges within one step (while the volume above it grows by half) counts as part of the other.

    Args:
        heat: The map of a volume, 0 where there is none, shape (X, Y, Z).
        limit: Most candidates to keep.
    """
    from scipy import ndimage

    # Labelling goes along the last axis in memory; maps are in Fortran order.
    grid = heat.T
    scores: list[float] = []
    places: list[tuple[int, int, int]] = []
    seeds = np.zeros((0, 3), np.int64)
    for threshold in _levels(grid):
        labels, count = ndimage.label(grid >= threshold, _NEIGHBOURS)
        taken = np.zeros(count + 1, bool)
        taken[labels[tuple(seeds.T)]] = True
        new = np.flatnonzero(~taken[1:]) + 1
        if len(new):
            peaks = _peaks(grid, labels, new)
            places += peaks
            scores += [float(grid[peak]) for peak in peaks]
            seeds = np.array(places, np.int64).reshape(-1, 3)
        if len(places) > limit:
            break
    order = np.argsort(-np.array(scores, np.float32), kind="stable")[:limit]
    voxels = np.array(places, np.int64).reshape(-1, 3)[order][:, ::-1]
    return Candidates(np.array(scores, np.float32)[order], voxels, complete=len(places) <= limit)


def _levels(grid: NDArray[np.float32]) -> list[float]:
    """Falling thresholds, all above 0."""
    largest = max(1, int(_LARGEST_SHARE * grid.size))
    values = np.ravel(grid, order="K")
    top = np.sort(np.partition(values, values.size - largest)[values.size - largest :])[::-1]
    top = top[top > 0]
    if not len(top):
        return []
    steps = int(np.log(len(top)) / np.log(_STEP)) + 1
    ranks = np.unique(np.minimum(np.rint(_STEP ** np.arange(steps + 1)).astype(np.int64), len(top))) - 1
    return [float(value) for value in dict.fromkeys(top[ranks].tolist())]


def _peaks(grid: NDArray[np.float32], labels: NDArray, new: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """The highest voxel of each region; of several equal ones the one nearest to their middle."""
    from scipy import ndimage

    peaks = []
    boxes = ndimage.find_objects(labels)
    for label in new:
        box = boxes[label - 1]
        inside = labels[box] == label
        values = np.where(inside, grid[box], -np.inf)
        ties = np.argwhere(values == values.max())
        nearest = ties[((ties - ties.mean(axis=0)) ** 2).sum(axis=1).argmin()]
        start = [part.start for part in box]
        peaks.append((int(start[0] + nearest[0]), int(start[1] + nearest[1]), int(start[2] + nearest[2])))
    return peaks
