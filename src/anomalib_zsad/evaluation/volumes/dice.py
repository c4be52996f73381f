"""Dice coefficient over all thresholds, from a bounded summary of each volume.

Dice, "Measures of the amount of ecologic association between species", Ecology 1945: twice the overlap of lesion and
segmentation, divided by the sum of their sizes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

POINTS = 2048
"""Thresholds kept of the lesions' voxels, and as many of the others."""

_THRESHOLDS_OF_A_SET = 4096


@dataclass(frozen=True)
class DiceCurve:
    """Voxels at or above thresholds.

    Attributes:
        thresholds: Ascending, float32, shape (n,).
        hits: Lesion voxels at or above, shape (n,).
        others: Other voxels at or above, shape (n,).
        lesion: Number of lesion voxels.
    """

    thresholds: NDArray[np.float32]
    hits: NDArray[np.int64]
    others: NDArray[np.int64]
    lesion: int

    def at(self, thresholds: NDArray) -> NDArray[np.float64]:
        """Dice at thresholds; between those that are kept, the counts are those of the next one above."""
        places = np.searchsorted(self.thresholds.astype(np.float64), thresholds, "left")
        hits, others = (np.append(counts, 0)[places] for counts in (self.hits, self.others))
        return 2 * hits / (self.lesion + hits + others)


def dice_curve(heat: NDArray[np.float32], mask: NDArray[np.bool_]) -> DiceCurve | None:
    """Summary of a map against its mask; `None` where the mask is empty, for which Dice is not defined.

    The thresholds are values of the map: evenly spaced ranks of the lesions' voxels, and ranks of the others that grow
    by a constant factor from the top, where it is decided how much is marked wrongly.

    Args:
        heat: The map, shape (X, Y, Z).
        mask: Bool, same shape.
    """
    inside = heat[mask]
    if not len(inside):
        return None
    outside = heat[~mask]
    inside.sort()
    outside.sort()
    chosen = [inside[_even_ranks(len(inside))], outside[len(outside) - _growing_ranks(len(outside))]]
    thresholds = np.unique(np.concatenate(chosen))
    hits, others = (len(part) - np.searchsorted(part, thresholds, "left") for part in (inside, outside))
    return DiceCurve(thresholds, hits, others, len(inside))


def _even_ranks(count: int) -> NDArray[np.int64]:
    """Places 0 to `count` - 1, thinned out evenly."""
    return np.unique(np.rint(np.linspace(0, count - 1, min(count, POINTS))).astype(np.int64))


def _growing_ranks(count: int) -> NDArray[np.int64]:
    """Ranks 1 (the highest) to `count`, ever further apart."""
    return (
        np.unique(np.rint(np.geomspace(1, count, min(count, POINTS))).astype(np.int64)) if count else np.zeros(0, int)
    )


def mean_dice(curves: Sequence[DiceCurve]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean over volumes of the Dice coefficient, at thresholds that all share.

    Args:
        curves: Of the volumes with lesions, at least one.

    Returns:
        Thresholds in ascending order, and the mean Dice at each.
    """
    thresholds = np.unique(np.concatenate([curve.thresholds for curve in curves])).astype(np.float64)
    if len(thresholds) > _THRESHOLDS_OF_A_SET:
        places = np.rint(np.linspace(0, len(thresholds) - 1, _THRESHOLDS_OF_A_SET)).astype(np.int64)
        thresholds = thresholds[places]
    return thresholds, np.mean([curve.at(thresholds) for curve in curves], axis=0)


def dice(hits: int, marked: int, lesion: int) -> float | None:
    """Dice of counts; `None` without a lesion."""
    return 2 * hits / (lesion + marked) if lesion else None
