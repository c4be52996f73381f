"""Which further figures of lesions are made, and by what rule a region finds a lesion."""

from dataclasses import dataclass
from typing import Literal

LesionFigure = Literal["iou", "dice", "panoptic"]
RegionSource = Literal["dynamic", "calibrated"]

_ROUNDING = 1e-9


@dataclass(frozen=True)
class LesionRules:
    """Figures of lesions beside the FROC of places, which is always there.

    Attributes:
        lesion_figures: `iou` and `dice`: FROC and average precision of regions that overlap lesions, by intersection
            over union or by Dice, as PI-CAI has them; `panoptic`: panoptic quality (Kirillov et al. 2019).
        min_overlap: Overlap from which a region finds a lesion for `iou` and `dice`, above 0 and at most 1; 0.1 is
            PI-CAI's. Panoptic quality asks for more than one half, by definition.
        lesion_regions: What a region is: `dynamic`, as PI-CAI makes them of a map, with no threshold chosen;
            `calibrated`, what the map shows from the calibrated threshold on.

    Raises:
        ValueError: If the overlap makes no sense, or rules are given without a figure that they are for.
    """

    lesion_figures: tuple[LesionFigure, ...] = ()
    min_overlap: float = 0.1
    lesion_regions: RegionSource = "dynamic"

    def __post_init__(self) -> None:
        if not 0 < self.min_overlap <= 1:
            raise ValueError(f"the least overlap is above 0 and at most 1, not {self.min_overlap}")
        overlaps = {"iou", "dice"} & set(self.lesion_figures)
        if abs(self.min_overlap - 0.1) > _ROUNDING and not overlaps:
            raise ValueError("--min-overlap is for --lesion-figures iou or dice, and neither is asked for")
        if self.lesion_regions != "dynamic" and not self.lesion_figures:
            raise ValueError("--lesion-regions is for --lesion-figures, and none is asked for")
