"""Places that a map points to: the connected regions that appear as the threshold falls."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LIMIT = 200
"""Most candidates kept of a volume, the highest ones."""

# At each step the threshold falls so far that half as many voxels again are above it, down to a tenth of the volume.
_STEP = 1.5
_LARGEST_SHARE = 0.1
# Regions of fewer voxels than this are found without walking through the whole volume.
_FEW = 50_000
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
    # Labelling goes along the last axis in memory; maps are in Fortran order.
    grid = np.ascontiguousarray(heat.T)
    values = grid.ravel()
    scores: list[float] = []
    places: list[int] = []
    for threshold, highest in _levels(values):
        points, labels = _regions(grid, threshold, highest)
        taken = np.zeros(int(labels.max()) + 1, bool)
        taken[labels[np.searchsorted(points, np.array(places, np.int64))]] = True
        if not taken.all():
            peaks = _peaks(values, grid.shape, points, labels, ~taken)
            places += peaks
            scores += [float(values[peak]) for peak in peaks]
        if len(places) > limit:
            break
    order = np.argsort(-np.array(scores, np.float32), kind="stable")[:limit]
    voxels = np.stack(np.unravel_index(np.array(places, np.int64)[order], grid.shape), axis=1)
    return Candidates(np.array(scores, np.float32)[order], voxels[:, ::-1], complete=len(places) <= limit)


def _levels(values: NDArray[np.float32]) -> Iterator[tuple[float, NDArray[np.int64] | None]]:
    """Falling thresholds above 0, each with the places of what reaches it; `None` where that is to be looked for."""
    largest = max(1, int(_LARGEST_SHARE * values.size))
    chosen = np.argpartition(values, values.size - largest)[values.size - largest :]
    chosen = chosen[np.argsort(-values[chosen], kind="stable")]
    chosen = chosen[values[chosen] > 0]
    if not len(chosen):
        return
    steps = int(np.log(len(chosen)) / np.log(_STEP)) + 1
    ranks = np.unique(np.minimum(np.rint(_STEP ** np.arange(steps + 1)).astype(np.int64), len(chosen))) - 1
    ascending, lowest = values[chosen][::-1], float(values[chosen[-1]])
    for threshold in dict.fromkeys(values[chosen[ranks]].tolist()):
        count = len(chosen) - int(np.searchsorted(ascending, threshold, "left"))
        # Of voxels that tie with the lowest value some were not chosen.
        yield threshold, chosen[:count] if count <= _FEW and threshold > lowest else None


def _regions(
    grid: NDArray[np.float32], threshold: float, highest: NDArray[np.int64] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places at or above a threshold in ascending order, shape (n,), and the number of each one's region from 0."""
    if highest is not None:
        return _regions_of_few(np.sort(highest), grid.shape)
    from scipy import ndimage

    labels, _ = ndimage.label(grid >= threshold, _NEIGHBOURS)
    points = np.flatnonzero(labels)
    return points, labels.ravel()[points].astype(np.int64) - 1


def _regions_of_few(points: NDArray[np.int64], shape: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The same for a list of places: as a graph of neighbours, without walking through the whole volume."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    index = np.stack(np.unravel_index(points, shape), axis=1)
    padded = np.array(shape) + 2  # no neighbour beyond one side of the volume is one at the other side
    strides = np.array([padded[1] * padded[2], padded[2], 1])
    places = (index + 1) @ strides
    links = []
    for offset in np.argwhere(_NEIGHBOURS)[14:] - 1:  # half of the 26: those after the middle
        wanted = places + offset @ strides
        found = np.minimum(np.searchsorted(places, wanted), len(places) - 1)
        first = np.flatnonzero(places[found] == wanted)
        links.append(np.stack([first, found[first]]))
    first, second = np.concatenate(links, axis=1)
    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(len(points), len(points)))
    return points, connected_components(graph, directed=False)[1].astype(np.int64)


def _peaks(
    values: NDArray[np.float32],
    shape: tuple[int, ...],
    points: NDArray[np.int64],
    labels: NDArray[np.int64],
    chosen: NDArray[np.bool_],
) -> list[int]:
    """The highest place of each chosen region; of several equal ones the one nearest to their middle."""
    inside = chosen[labels]
    points, labels = points[inside], labels[inside]
    heights = values[points]
    order = np.lexsort((points, -heights, labels))
    points, labels, heights = points[order], labels[order], heights[order]
    starts = np.flatnonzero(np.append(True, labels[1:] != labels[:-1]))
    peaks = []
    for start, stop in zip(starts, np.append(starts[1:], len(points)), strict=True):
        ties = points[start : start + int((heights[start:stop] == heights[start]).sum())]
        index = np.stack(np.unravel_index(ties, shape), axis=1)
        peaks.append(int(ties[((index - index.mean(axis=0)) ** 2).sum(axis=1).argmin()]))
    return peaks
