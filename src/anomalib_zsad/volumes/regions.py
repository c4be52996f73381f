"""Connected regions of a lesion map, found while its planes stream past: never a volume of labels in memory.

Two planes and the regions that touch the newer one are held. A region that the next plane does not continue is complete
and leaves the working set. Voxels that share a face, an edge or a corner belong together (26 neighbours; 8 within a
plane), which is `scipy.ndimage.label` with a structure of ones.
"""

import heapq
from dataclasses import dataclass, field, fields, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from anomalib_zsad.volumes.body import Body
from anomalib_zsad.volumes.map_file import MapFile
from anomalib_zsad.volumes.volume import Volume

# More regions than anyone looks at; a noisy map at a low threshold has millions.
MOST_LISTED = 1000
_PLANE_NEIGHBOURS = np.ones((3, 3), bool)


@dataclass(frozen=True)
class Region:
    """A connected region of a map, on the grid of its volume.

    Attributes:
        voxels: How many.
        volume_mm3: `None` where the geometry is not known.
        peak: Largest value of the map in it, at voxel `peak_voxel`; of equal values that of the lowest index, with the
            last axis as the most significant one.
        peak_position: World position of the peak (RAS, mm); `None` where unknown.
        first, last: Corners of its bounding box (inclusive).
        body_voxels: How many of its voxels lie in the patient's body; `None` where nobody knows where that is.
    """

    voxels: int
    volume_mm3: float | None
    peak: float
    peak_voxel: tuple[int, int, int]
    peak_position: tuple[float, float, float] | None
    first: tuple[int, int, int]
    last: tuple[int, int, int]
    body_voxels: int | None = None

    @property
    def outside_body(self) -> bool:
        """Whether most of it is known to lie outside the body."""
        return self.body_voxels is not None and 2 * self.body_voxels < self.voxels

    def slices(self, axis: int) -> tuple[int, int]:
        """First and last slice along a voxel axis."""
        return self.first[axis], self.last[axis]


@dataclass(frozen=True)
class Regions:
    """All regions of a map.

    Attributes:
        listed: The regions with the highest peaks, highest first (of equal peaks the larger region), at most
            `MOST_LISTED`; those outside the body after all others.
        count: How many there are.
        voxels: Of all of them together.
        volume_mm3: Of all of them together; `None` where the geometry is not known.
        outside: How many of them lie outside the body.
    """

    listed: list[Region]
    count: int
    voxels: int
    volume_mm3: float | None
    outside: int = 0


def find_regions(
    maps: MapFile, threshold: float, volume: Volume, *, body: Body | None = None, most: int = MOST_LISTED
) -> Regions:
    """Connected regions of what reaches the threshold.

    Args:
        maps: Values on the volume's grid.
        threshold: From it on a voxel belongs to a region (as in `lesions.nii.gz`).
        volume: Whose geometry places the regions. Where its slices are no neighbours in space (2D mode) no region
            crosses them. Its voxels are not touched.
        body: Where the patient's body is; `None` where unknown.
        most: How many regions to list.
    """
    search = RegionSearch(volume, threshold, body=body, most=most)
    for index, plane in enumerate(maps.planes()):
        search.add(index, plane)
    return search.result()


class RegionSearch:
    """The same, told of planes as they come: for maps whose planes along the last axis are made one after the other.

    Args:
        volume, threshold, body, most: Of `find_regions`.
    """

    def __init__(self, volume: Volume, threshold: float, *, body: Body | None = None, most: int = MOST_LISTED) -> None:
        self._volume, self._threshold, self._body, self._next = volume, threshold, body, 0
        self._by_row = not volume.has_spatial_stack and volume.native_axis != 2
        self._search = _Search(voxel_volumes(volume), volume.native_axis, joined=volume.has_spatial_stack, most=most)

    def add(self, index: int, plane: NDArray[np.float32]) -> None:
        """Go on with plane `index` along the last axis, values (X, Y); planes left out hold nothing.

        Raises:
            ValueError: If a later plane was added before.
        """
        if index < self._next:
            raise ValueError(f"plane {index} comes after plane {self._next - 1}; add planes in ascending order")
        if index > self._next:
            self._search.add(index - 1, plane, np.zeros(plane.shape, bool))
        inside = None if self._body is None else self._body.plane(index)
        self._search.add(index, plane, plane >= self._threshold, inside=inside, by_row=self._by_row)
        self._next = index + 1

    def result(self) -> Regions:
        """Everything, once all planes were added."""
        return self._search.result(self._volume, body_known=self._body is not None)


def voxel_volumes(volume: Volume) -> NDArray[np.float64] | None:
    """Volume in mm3 of a voxel of each slice along the native axis; `None` where the geometry is not known.

    In an unevenly spaced stack a slice reaches half-way to its neighbours; the outermost ones reach as far out as in.
    """
    if not volume.geometry_known:
        return None
    count = volume.shape[volume.native_axis]
    if volume.regular:
        return np.full(count, abs(float(np.linalg.det(volume.affine[:3, :3]))))
    first, second = (volume.affine[:3, axis] for axis in range(3) if axis != volume.native_axis)
    positions = [source.position for source in volume.slices if source is not None and source.position is not None]
    if len(positions) != count or count < 2:
        return None
    distances = np.abs(np.diff(np.asarray(positions) @ np.cross(first, second)))
    before, after = np.append(distances[:1], distances), np.append(distances, distances[-1:])
    return (before + after) / 2


@dataclass
class _Parts:
    """Figures of n regions, one entry of each array for each region.

    The peak's voxel is in `peak_voxel`, (n, 3); how many voxels are body in `inside`.
    """

    voxels: NDArray[np.int64]
    volume: NDArray[np.float64]
    peak: NDArray[np.float32]
    peak_voxel: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    inside: NDArray[np.int64]

    @classmethod
    def none(cls) -> "_Parts":
        """No regions."""
        corners = np.empty((0, 3), np.int64)
        none = np.empty(0, np.int64)
        return cls(none, np.empty(0), np.empty(0, np.float32), corners, corners, corners, none)

    def take(self, chosen: NDArray) -> "_Parts":
        """Some of them."""
        return _Parts(*(getattr(self, name.name)[chosen] for name in fields(self)))

    def joined(self, other: "_Parts") -> "_Parts":
        """These, then those."""
        return _Parts(*(np.concatenate([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self)))

    def merged(self, group: NDArray[np.int32], count: int) -> "_Parts":
        """Regions of one group as one; each of `count` groups has a member."""
        i, j, k = self.peak_voxel.T
        order = np.lexsort((i, j, k, -self.peak, group))
        starts = np.searchsorted(group[order], np.arange(count))
        best = order[starts]
        return _Parts(
            np.add.reduceat(self.voxels[order], starts),
            np.add.reduceat(self.volume[order], starts),
            self.peak[best],
            self.peak_voxel[best],
            np.minimum.reduceat(self.first[order], starts),
            np.maximum.reduceat(self.last[order], starts),
            np.add.reduceat(self.inside[order], starts),
        )


@dataclass
class _Search:
    """The regions met so far.

    Args:
        sizes: Volume of a voxel of each slice along `axis`, or `None`.
        axis: The volume's native axis.
        joined: Whether regions cross from plane to plane.
        most: How many complete regions to keep.
    """

    sizes: NDArray[np.float64] | None
    axis: int
    joined: bool
    most: int
    _labels: NDArray[np.int32] | None = None
    _open: _Parts = field(default_factory=_Parts.none)
    _kept: list[tuple[bool, float, int, tuple[int, ...], Region]] = field(default_factory=list)
    _count: int = 0
    _outside: int = 0
    _voxels: int = 0
    _volume: float = 0.0

    def add(
        self,
        index: int,
        plane: NDArray[np.float32],
        mask: NDArray[np.bool_],
        *,
        inside: NDArray[np.bool_] | None = None,
        by_row: bool = False,
    ) -> None:
        """Go on with the next plane along the last axis.

        Args:
            index: Which one.
            plane: Values, (X, Y).
            mask: What belongs to regions, (X, Y).
            inside: What belongs to the body, (X, Y); all of it where that is not known.
            by_row: Slices run across the planes and are no neighbours: see `_label_rows`.
        """
        if not mask.any():
            self._close(self._open)
            self._labels, self._open = None, _Parts.none()
            return
        labels, count = self._label_rows(mask) if by_row else ndimage.label(mask, _PLANE_NEIGHBOURS)
        new = self._measure(index, plane, labels, count, inside)
        old = len(self._open.voxels)
        pairs = self._touching(labels, count, by_row=by_row)
        graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1] + old)), shape=(old + count,) * 2)
        groups, group = connected_components(graph, directed=False)
        merged = self._open.joined(new).merged(group, groups)
        going_on = np.zeros(groups, bool)
        going_on[group[old:]] = True
        self._close(merged.take(~going_on))
        self._open = merged.take(going_on)
        number = np.cumsum(going_on)  # groups that go on, counted from 1
        self._labels = np.concatenate([[0], number[group[old:]]]).astype(np.int32)[labels]

    def result(self, volume: Volume, *, body_known: bool) -> Regions:
        """Everything, once all planes were added; world positions come from the volume."""
        self._close(self._open)
        self._open = _Parts.none()
        listed = [entry[-1] for entry in sorted(self._kept, key=lambda entry: entry[:4], reverse=True)]
        placed = [
            replace(
                region,
                peak_position=volume.world(region.peak_voxel),
                body_voxels=region.body_voxels if body_known else None,
            )
            for region in listed
        ]
        volume_mm3 = None if self.sizes is None else self._volume
        return Regions(placed, self._count, self._voxels, volume_mm3, self._outside)

    def _label_rows(self, mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
        """Label a plane that cuts across slices which are no neighbours: runs along the other axis only."""
        structure = np.zeros((3, 3), bool)
        structure[1] = True
        return ndimage.label(mask, structure if self.axis == 0 else structure.T)

    def _touching(self, labels: NDArray[np.int32], count: int, *, by_row: bool) -> NDArray[np.intp]:
        """Pairs (open region, part of the new plane) that touch, counted from 0, shape (n, 2)."""
        if self._labels is None or not (self.joined or by_row):
            return np.empty((0, 2), np.intp)
        found = []
        wide, high = labels.shape
        for dx in (-1, 0, 1) if not (by_row and self.axis == 0) else (0,):
            for dy in (-1, 0, 1) if not (by_row and self.axis == 1) else (0,):
                new = labels[max(0, dx) : wide + min(0, dx), max(0, dy) : high + min(0, dy)]
                old = self._labels[max(0, -dx) : wide + min(0, -dx), max(0, -dy) : high + min(0, -dy)]
                both = (new > 0) & (old > 0)
                pairs = (old[both] - 1).astype(np.int64) * count + (new[both] - 1)
                # Neighbouring pixels mostly belong to the same pair: only where it changes is there anything to sort.
                found.append(pairs[np.insert(np.diff(pairs) != 0, 0, True)] if len(pairs) else pairs)
        return np.stack(np.divmod(np.unique(np.concatenate(found)), count), axis=1)

    def _measure(
        self,
        index: int,
        plane: NDArray[np.float32],
        labels: NDArray[np.int32],
        count: int,
        body: NDArray[np.bool_] | None,
    ) -> _Parts:
        """Figures of the parts of one plane."""
        i, j = np.nonzero(labels)
        group, values = labels[i, j] - 1, plane[i, j]
        voxels = np.bincount(group, minlength=count)
        inside = voxels if body is None else np.bincount(group, body[i, j], count).astype(np.int64)
        size = np.ones(1) if self.sizes is None else self.sizes[np.asarray((i, j, index)[self.axis])]
        volume = np.bincount(group, np.broadcast_to(size, group.shape), count).astype(np.float64)
        peak = np.full(count, -np.inf, values.dtype)
        np.maximum.at(peak, group, values)
        highest = np.flatnonzero(values == peak[group])  # of equal peaks the first by column, then by row
        highest = highest[np.lexsort((i[highest], j[highest], group[highest]))]
        best = highest[np.searchsorted(group[highest], np.arange(count))]
        peak_voxel = np.stack([i[best], j[best], np.full(count, index)], axis=1)
        boxes = [(x.start, y.start, x.stop - 1, y.stop - 1) for x, y in ndimage.find_objects(labels, count)]
        box = np.asarray(boxes, np.int64).reshape(-1, 4)
        first, last = (np.insert(corner, 2, index, axis=1) for corner in (box[:, :2], box[:, 2:]))
        return _Parts(voxels, volume, peak, peak_voxel, first, last, inside)

    def _close(self, parts: _Parts) -> None:
        """Complete regions: count them, keep those with the highest peaks."""
        self._count += len(parts.voxels)
        self._voxels += int(parts.voxels.sum())
        self._volume += float(parts.volume.sum())
        within = 2 * parts.inside >= parts.voxels  # as `Region.outside_body`
        self._outside += int(np.count_nonzero(~within))
        best = np.lexsort((parts.voxels, parts.peak, within))[::-1][: self.most]
        for number in best:
            region = Region(
                voxels=int(parts.voxels[number]),
                volume_mm3=None if self.sizes is None else float(parts.volume[number]),
                peak=float(parts.peak[number]),
                peak_voxel=_triple(parts.peak_voxel[number]),
                peak_position=None,
                first=_triple(parts.first[number]),
                last=_triple(parts.last[number]),
                body_voxels=int(parts.inside[number]),
            )
            # The place makes the order of equals certain.
            place = tuple(-index for index in reversed(region.peak_voxel))
            entry = (bool(within[number]), region.peak, region.voxels, place, region)
            if len(self._kept) < self.most:
                heapq.heappush(self._kept, entry)
            elif entry[:4] > self._kept[0][:4]:
                heapq.heapreplace(self._kept, entry)


def _triple(values: NDArray[np.int64]) -> tuple[int, int, int]:
    return int(values[0]), int(values[1]), int(values[2])
