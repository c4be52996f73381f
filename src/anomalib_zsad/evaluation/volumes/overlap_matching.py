"""Which region finds which lesion: one to one by overlap as in PI-CAI, and panoptic quality."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from anomalib_zsad.evaluation.volumes.regions import Regions

# Overlaps are quotients of counts; two that should be equal may differ by rounding.
_ROUNDING = 1e-9
_HALF = 0.5


@dataclass(frozen=True)
class Matches:
    """What became of the lesions and the regions of one volume.

    Attributes:
        lesion_scores: For each lesion the score of its region, float32, NaN where none finds it, shape (m,).
        lesion_overlaps: And how much the two overlap, 0 where none does, shape (m,).
        false_scores: Scores of the regions that overlap no lesion enough, float32.
    """

    lesion_scores: NDArray[np.float32]
    lesion_overlaps: NDArray[np.float64]
    false_scores: NDArray[np.float32]


def overlaps(regions: Regions, lesion_voxels: NDArray[np.int64], kind: Literal["iou", "dice"]) -> NDArray[np.float64]:
    """Overlap of each region with each lesion, shape (n, m).

    Args:
        regions: Of a volume, n of them.
        lesion_voxels: Sizes of its lesions, shape (m,).
        kind: Intersection over union, or Dice.
    """
    sizes = regions.voxels[:, None] + lesion_voxels[None, :]
    return regions.shared / (sizes - regions.shared) if kind == "iou" else 2 * regions.shared / sizes


def match(
    regions: Regions, lesion_voxels: NDArray[np.int64], kind: Literal["iou", "dice"], min_overlap: float
) -> Matches:
    """Pair regions and lesions, as many as can be, and of all such pairings that with the largest sum of overlaps.

    A region that overlaps a lesion enough, and which another one found, is neither right nor wrong.

    Args:
        regions: Of a volume, n of them.
        lesion_voxels: Sizes of its lesions, shape (m,).
        kind: See `overlaps`.
        min_overlap: Overlap from which the two may be paired.
    """
    from scipy.optimize import linear_sum_assignment

    known = overlaps(regions, lesion_voxels, kind)
    enough = (known >= min_overlap - _ROUNDING) & (regions.shared > 0)
    # Each pair counts more than all that overlaps could add.
    rows, columns = linear_sum_assignment(np.where(enough, 1 + known, 0), maximize=True)
    paired = enough[rows, columns]
    scores = np.full(len(lesion_voxels), np.nan, np.float32)
    of_lesion = np.zeros(len(lesion_voxels))
    scores[columns[paired]] = regions.scores[rows[paired]]
    of_lesion[columns[paired]] = known[rows[paired], columns[paired]]
    return Matches(scores, of_lesion, regions.scores[~enough.any(axis=1)])


@dataclass(frozen=True)
class PanopticCounts:
    """What panoptic quality is made of; counts of several volumes are added.

    Attributes:
        overlap: Sum of the intersections over union of all pairs.
        pairs: Regions and lesions whose intersection over union is more than one half.
        false: Regions in no pair.
        missed: Lesions in no pair.
    """

    overlap: float = 0.0
    pairs: int = 0
    false: int = 0
    missed: int = 0

    def __add__(self, other: "PanopticCounts") -> "PanopticCounts":
        return PanopticCounts(
            self.overlap + other.overlap,
            self.pairs + other.pairs,
            self.false + other.false,
            self.missed + other.missed,
        )

    @property
    def segmentation_quality(self) -> float | None:
        """Mean intersection over union of the pairs; `None` without any."""
        return self.overlap / self.pairs if self.pairs else None

    @property
    def recognition_quality(self) -> float | None:
        """F1 of the pairs; `None` where there is neither a region nor a lesion."""
        total = self.pairs + (self.false + self.missed) / 2
        return self.pairs / total if total else None

    @property
    def quality(self) -> float | None:
        """Panoptic quality: the product of the two, 0 without a pair; `None` as for `recognition_quality`."""
        total = self.pairs + (self.false + self.missed) / 2
        return self.overlap / total if total else None


def panoptic_counts(regions: Regions, lesion_voxels: NDArray[np.int64]) -> PanopticCounts:
    """Pairs of a volume. More than one half is shared with one region at most, so nothing is to be chosen.

    Args:
        regions: Of the volume.
        lesion_voxels: Sizes of its lesions, shape (m,).
    """
    known = overlaps(regions, lesion_voxels, "iou")
    paired = known > _HALF
    pairs = int(paired.sum())
    return PanopticCounts(float(known[paired].sum()), pairs, len(regions.voxels) - pairs, len(lesion_voxels) - pairs)
