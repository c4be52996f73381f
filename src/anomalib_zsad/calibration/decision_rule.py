"""From scores to decisions, by a threshold that was chosen or by a calibration: one rule for every kind of score."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anomalib_zsad.calibration.calibration import LEVELS, Calibration, Kind
from anomalib_zsad.calibration.conformal import TooFewNormalsError, benjamini_hochberg, check_rate
from anomalib_zsad.calibration.uncertainty import is_uncertain

Decision = Literal["abnormal", "normal", "uncertain"]

DecidedBy = Literal["calibration", "threshold", "nothing"]
CALIBRATED = "calibrated"
"""What a threshold is worth that a calibration stands behind."""
ARBITRARY_THRESHOLD = 0.5
"""Where maps are outlined as long as nothing else was said."""

RESEARCH_ONLY = "For research use only: not a medical device, not for diagnosis."
_JOINT_STATEMENT = (
    "Slices of a volume were flagged together by the procedure of Benjamini and Hochberg at {percent}. Were their "
    "p-values independent or positively dependent, at most {percent} of the flagged slices would be expected to be "
    "normal; slices of one volume depend on each other in ways not known to be of this kind, so this is no guarantee."
)


def decision_in_words(decision: str) -> str:
    """A decision as people read it: what is above a threshold need not be abnormal, what is below it not normal."""
    return {"abnormal": "above threshold", "normal": "below threshold"}.get(decision, decision)


class Judgement(NamedTuple):
    """What is said of one score.

    Attributes:
        p_value: Conformal p-value; `None` without a calibration.
        flagged: Whether the score reaches the threshold; with a calibration, what its false-alarm rate is about.
        decision: As `flagged` says, or `uncertain` where the threshold lies within the score's spread.

    Both are `None` where the rule decides by nothing.
    """

    p_value: float | None
    flagged: bool | None
    decision: Decision | None


@dataclass(frozen=True, eq=False)
class DecisionRule:
    """How scores of images, or of slices and volumes, become decisions.

    Attributes:
        kind: `volumes` or `images`: the levels that scores are judged at.
        calibration: Scores of normal cases of that kind; `None` for the threshold that was chosen.
        false_alarm_rate: With a calibration, the share of normal cases that may be flagged.
        threshold: Of scores and map pixels, chosen where there is no calibration; in [0, 1] like the scores. `None`
            decides nothing: what was scored is ranked, and maps are outlined at 0.5.
        uncertainty: A score is uncertain where a change by this many of its standard deviations would change the
            decision; 0 for none.
        benjamini_hochberg: Judge the slices of a volume by that procedure on their p-values, instead of each by itself.
        own_scale: Scores are on a scale of the model's own, so that any finite number can be a threshold.

    Raises:
        ValueError: If a number makes no sense, or the calibration is one of another kind.
        TooFewNormalsError: If the calibration has too few patients or images for the rate.
    """

    kind: Kind
    calibration: Calibration | None = None
    false_alarm_rate: float = 0.05
    threshold: float | None = None
    uncertainty: float = 1.0
    benjamini_hochberg: bool = False
    own_scale: bool = False

    def __post_init__(self) -> None:
        check_rate(self.false_alarm_rate)
        if self.threshold is not None and not math.isfinite(self.threshold):
            raise ValueError(f"the threshold is a finite number, not {self.threshold}")
        if not (self.own_scale or self.threshold is None or 0 <= self.threshold <= 1):
            raise ValueError(f"the threshold is in [0, 1] like the scores, not {self.threshold}")
        if not 0 <= self.uncertainty < math.inf:
            raise ValueError(f"the uncertainty is a number of standard deviations, at least 0, not {self.uncertainty}")
        if self.calibration is None and self.benjamini_hochberg:
            raise ValueError("Benjamini-Hochberg needs p-values, which only a calibration gives")
        if self.calibration is not None and self.calibration.kind != self.kind:
            raise ValueError(
                f"the calibration is one of {self.calibration.kind}; {self.kind} need one that `anomalib-zsad "
                f"calibrate` made of {self.kind}"
            )
        _ = self.thresholds

    @cached_property
    def thresholds(self) -> dict[str, float | None]:
        """From which score on something is flagged at each level; `None` where nothing is judged.

        Without a calibration the chosen threshold is that of slices, images and map pixels; a volume's own score, a
        mean of its highest slices, is not judged by it.
        """
        if self.calibration is None:
            return {level: None if level == "volume" else self.threshold for level in LEVELS[self.kind]}
        rate = self.false_alarm_rate
        known = self.calibration.levels
        return {
            level: self.calibration.threshold(level, rate) if level in known else None for level in LEVELS[self.kind]
        }

    @property
    def mask_threshold(self) -> float:
        """From which value on a pixel of a map is marked; 0.5, which is arbitrary, where nothing was chosen."""
        threshold = self.thresholds["mask"]
        if threshold is not None:
            return threshold
        return ARBITRARY_THRESHOLD if self.threshold is None else self.threshold

    @property
    def decided_by(self) -> DecidedBy:
        """A calibration, a threshold that the user chose, or nothing: then slices and images are ranked."""
        if self.calibration is not None:
            return "calibration"
        return "nothing" if self.threshold is None else "threshold"

    @property
    def standing(self) -> str:
        """What the threshold of map pixels is worth, in few words: they stand in objects that travel alone."""
        return {
            "calibration": CALIBRATED,
            "threshold": "chosen, not calibrated",
            "nothing": "arbitrary, not calibrated",
        }[self.decided_by]

    @property
    def shown_range(self) -> tuple[float, float]:
        """Values of a map that pictures show as the lowest and the highest colour.

        [0, 1] where that is the scale of scores, else a range with the threshold of pixels in its middle.
        """
        if not self.own_scale:
            return 0.0, 1.0
        middle = self.mask_threshold
        return (min(0.0, 2 * middle), max(0.0, 2 * middle)) if middle else (-1.0, 1.0)

    def judge(self, level: str, scores: ArrayLike, deviations: ArrayLike | None = None) -> list[Judgement]:
        """Judge scores, each by itself.

        Args:
            level: One of the kind's levels.
            scores: Shape (n,).
            deviations: Their standard deviations over the sampled prompts, shape (n,), NaN for none; `None` for none.
        """
        return self._judge(scores, deviations, self._p_values(level, scores), self.thresholds[level])

    def judge_together(
        self, level: str, scores: ArrayLike, deviations: ArrayLike | None = None
    ) -> tuple[list[Judgement], float | None]:
        """Judge the scores of one case, by Benjamini and Hochberg's procedure where the rule says so.

        Returns:
            A judgement for each, and the threshold that was in use; `None` if no score at all would have been flagged.
        """
        p_values, threshold = self._p_values(level, scores), self.thresholds[level]
        if self.benjamini_hochberg and self.calibration is not None and p_values is not None:
            threshold = self._joint_threshold(self.calibration, level, p_values)
        return self._judge(scores, deviations, p_values, threshold), threshold

    def _p_values(self, level: str, scores: ArrayLike) -> NDArray[np.float64] | None:
        return None if self.calibration is None else self.calibration.p_values(level, scores)

    def _joint_threshold(self, calibration: Calibration, level: str, p_values: NDArray[np.float64]) -> float | None:
        """The threshold that the procedure comes to; `None` if no score would have been flagged by itself."""
        flagged = p_values[benjamini_hochberg(p_values, self.false_alarm_rate)]
        rate = float(flagged.max()) if len(flagged) else self.false_alarm_rate / max(1, len(p_values))
        try:
            return calibration.threshold(level, rate)
        except TooFewNormalsError:
            return None

    def _judge(
        self,
        scores: ArrayLike,
        deviations: ArrayLike | None,
        p_values: NDArray[np.float64] | None,
        threshold: float | None,
    ) -> list[Judgement]:
        values = np.asarray(scores, np.float64)
        spreads = np.zeros(values.shape) if deviations is None else np.nan_to_num(np.asarray(deviations, np.float64))
        flagged = reaches(values, threshold)
        doubtful = np.zeros(values.shape, bool)
        if threshold is not None:
            doubtful = is_uncertain(values, spreads, threshold, self.uncertainty)
        known = [None] * len(values) if p_values is None else p_values.tolist()
        if self.decided_by == "nothing":
            return [Judgement(None, None, None)] * len(values)
        return [
            Judgement(p_value, bool(flag), "uncertain" if doubt else "abnormal" if flag else "normal")
            for p_value, flag, doubt in zip(known, flagged, doubtful, strict=True)
        ]

    @property
    def statement(self) -> str:
        """What every output says of the scores."""
        if self.kind == "images":
            if self.calibration is None and self.threshold is None:
                return "Nothing is decided without a threshold or a calibration: images are ranked."
            if self.calibration is None:
                return f"No false-alarm rate is known: the threshold of {self.threshold:g} was chosen, not calibrated."
            return self.calibration.statement("image", self.false_alarm_rate)
        if self.calibration is None:
            if self.threshold is None:
                told = "nothing is decided, slices are ranked; 0.5, where maps are outlined, has no clinical meaning"
            else:
                told = f"the threshold of {self.threshold:g} was chosen by the user, its false-alarm rate is not known"
            return f"{RESEARCH_ONLY} Scores are uncalibrated: {told}."
        promise = self.calibration.statement("volume", self.false_alarm_rate)
        return f"{RESEARCH_ONLY} Scores are calibrated on normal patients. {promise}"

    def settings(self) -> dict[str, Any]:
        """What decides results, in JSON's types."""
        calibration = self.calibration
        return {
            "threshold": None if calibration is not None else self.threshold,
            "calibration": None if calibration is None else calibration.sha256,
            "calibrated_on": None if calibration is None else calibration.units,
            "false_alarm_rate": None if calibration is None else self.false_alarm_rate,
            "uncertainty": self.uncertainty,
            **({"benjamini_hochberg": self.benjamini_hochberg} if self.kind == "volumes" else {}),
        }

    def report(self, **in_use: float | None) -> dict[str, Any] | None:
        """The calibration for a report, with thresholds and what they promise; `None` without one.

        Args:
            in_use: Thresholds of levels that differ from the rule's own, such as those of slices judged together.
        """
        if self.calibration is None:
            return None
        levels = self.calibration.levels
        statements = {level: self.calibration.statement(level, self.false_alarm_rate) for level in levels}
        if self.benjamini_hochberg:
            statements["slice"] = _JOINT_STATEMENT.format(percent=f"{100 * self.false_alarm_rate:g} %")
        return {
            "sha256": self.calibration.sha256,
            "units": self.calibration.units,
            "false_alarm_rate": self.false_alarm_rate,
            "benjamini_hochberg": self.benjamini_hochberg,
            "thresholds": {**self.thresholds, **in_use},
            "statements": statements,
        }


def reaches(scores: ArrayLike, threshold: float | None) -> NDArray[np.bool_]:
    """Which scores are flagged at a threshold, of the shape of `scores`: compared as float32, like p-values.

    Args:
        scores: Scores, of any shape.
        threshold: `None` flags nothing.
    """
    values = np.asarray(scores, np.float32)
    return np.zeros(values.shape, bool) if threshold is None else values >= np.float32(threshold)
