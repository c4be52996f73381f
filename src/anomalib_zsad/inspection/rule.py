"""From scores of images to decisions: by a threshold that was chosen, or by a calibration."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalib_zsad.calibration import Calibration
from anomalib_zsad.calibration.conformal import check_rate
from anomalib_zsad.records.image_records import Verdict


@dataclass(frozen=True, eq=False)
class ImageRule:
    """How scores of images become decisions.

    Attributes:
        threshold: In [0, 1], of scores and map pixels, where there is no calibration.
        calibration: Scores of normal images; `None` for the threshold.
        false_alarm_rate: With a calibration, the share of normal images that may be flagged.
        uncertainty: A score is uncertain where a change by this many of its standard deviations would change the
            decision; 0 for none.

    Raises:
        ValueError: If a number makes no sense, or the calibration is not one of images.
        TooFewNormalsError: If the calibration has too few images for the rate.
    """

    threshold: float = 0.5
    calibration: Calibration | None = None
    false_alarm_rate: float = 0.05
    uncertainty: float = 1.0

    def __post_init__(self) -> None:
        check_rate(self.false_alarm_rate)
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"the threshold is in [0, 1] like the scores, not {self.threshold}")
        if not 0 <= self.uncertainty < math.inf:
            raise ValueError(f"the uncertainty is a number of standard deviations, at least 0, not {self.uncertainty}")
        if self.calibration is not None and self.calibration.kind != "images":
            raise ValueError(
                f"the calibration is one of {self.calibration.kind}; images need one that `anomalib-zsad calibrate` "
                "made of images"
            )
        _ = self.thresholds

    @cached_property
    def thresholds(self) -> dict[str, float]:
        """Lowest flagged score of an image, and lowest value of a marked map pixel."""
        if self.calibration is None:
            return {"image": self.threshold, "mask": self.threshold}
        return {level: self.calibration.threshold(level, self.false_alarm_rate) for level in ("image", "mask")}

    def p_values(self, scores: NDArray[np.float32]) -> list[float | None]:
        """Of each score, shape (n,); `None` without a calibration."""
        if self.calibration is None:
            return [None] * len(scores)
        return [float(value) for value in self.calibration.p_values("image", scores)]

    def decide(self, score: float, deviation: float | None) -> tuple[bool, Verdict]:
        """Whether a score is flagged, and what is said of the image."""
        threshold = self.thresholds["image"]
        spread = self.uncertainty * (deviation or 0.0)
        flagged = score >= threshold
        if (score - spread >= threshold) != (score + spread >= threshold):
            return flagged, "uncertain"
        return flagged, "abnormal" if flagged else "normal"

    @property
    def statement(self) -> str:
        """What every output says of the scores."""
        if self.calibration is None:
            return f"No false-alarm rate is known: the threshold of {self.threshold:g} was chosen, not calibrated."
        return self.calibration.statement("image", self.false_alarm_rate)

    def settings(self) -> dict[str, Any]:
        """What decides results, in JSON's types."""
        calibrated = self.calibration is not None
        return {
            "threshold": None if calibrated else self.threshold,
            "calibration": self.calibration.sha256 if self.calibration is not None else None,
            "calibrated_on": self.calibration.units if self.calibration is not None else None,
            "false_alarm_rate": self.false_alarm_rate if calibrated else None,
            "uncertainty": self.uncertainty,
        }
