"""Lesions of a mask, with their sizes, and which of them a map points to."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anomalib_zsad.evaluation.volumes.candidates import Candidates
from anomalib_zsad.volumes.volume import Volume

DIAMETERS_MM = (3.0, 5.0, 10.0, 20.0)
"""Limits between the classes of size, by the diameter of a sphere of the same volume."""

_NEIGHBOURS = np.ones((3, 3, 3), bool)


@dataclass(frozen=True)
class Lesions:
    """Lesions of one volume, n of them: regions of the mask whose voxels share at least a corner.

    Attributes:
        voxels: Size of each, shape (n,).
        map_max: Highest value of the map in each, float32, shape (n,).
        scores: Highest score of the candidates in each, float32; NaN where there is none, shape (n,).
    """

    voxels: NDArray[np.int64]
    map_max: NDArray[np.float32]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.voxels)


def number_lesions(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """The number of the lesion that each voxel is in, from 1, 0 for none, of the mask's shape; and how many there are.

    Args:
        mask: Bool, shape (X, Y, Z).
    """
    from scipy import ndimage

    labels, count = ndimage.label(mask.T, _NEIGHBOURS)
    return labels.T, int(count)


def match_lesions(
    mask: NDArray[np.bool_], heat: NDArray[np.float32], candidates: Candidates
) -> tuple[Lesions, NDArray[np.int64]]:
    """The lesions of a mask, and the lesion in which each candidate lies.

    A candidate hits a lesion if the voxel it points to lies in it (CAMELYON16's rule).

    Args:
        mask: Bool, shape (X, Y, Z).
        heat: The map, same shape.
        candidates: Of the map, m of them.

    Returns:
        The lesions; and the number of the lesion that each candidate hits, counted from 1, or 0, shape (m,).
    """
    labels, count = number_lesions(mask)
    hit = labels[tuple(candidates.voxels.T)].astype(np.int64)
    scores = np.full(count + 1, -np.inf, np.float32)
    np.maximum.at(scores, hit, candidates.scores)
    scores[np.isinf(scores)] = np.nan
    inside = labels > 0
    owner = labels[inside]
    highest = np.zeros(count + 1, np.float32)
    np.maximum.at(highest, owner, heat[inside])
    sizes = np.bincount(owner, minlength=count + 1)
    return Lesions(sizes[1:].astype(np.int64), highest[1:], scores[1:]), hit


def voxel_volume(volume: Volume) -> float | None:
    """Volume of a voxel in mm3; `None` where the geometry is not known.

    Of unevenly spaced slices it is that of the best even fit.
    """
    if not volume.geometry_known:
        return None
    return float(abs(np.linalg.det(volume.affine[:3, :3])))


def sphere_diameter(volumes_mm3: ArrayLike) -> NDArray[np.float64]:
    """Diameter in mm of the sphere of a volume."""
    return np.cbrt(6 * np.asarray(volumes_mm3, np.float64) / np.pi)


def size_classes() -> list[str]:
    """Names of the classes of size, from small to large."""
    edges = [f"{edge:g}" for edge in DIAMETERS_MM]
    middle = [f"{low} to {high} mm" for low, high in pairwise(edges)]
    return [f"below {edges[0]} mm", *middle, f"{edges[-1]} mm and more"]


def size_class(diameters: NDArray[np.float64]) -> NDArray[np.int64]:
    """Place in `size_classes` of each diameter in mm; a limit belongs to the larger class."""
    return np.digitize(diameters, DIAMETERS_MM)
