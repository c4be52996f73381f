"""From scores to decisions: by a threshold that was chosen, or by a calibration with its false-alarm rate."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalib_zsad.calibration.calibration import Calibration
from anomalib_zsad.calibration.conformal import TooFewNormalsError, benjamini_hochberg, check_rate
from anomalib_zsad.calibration.uncertainty import is_uncertain
from anomalib_zsad.records.slice_rows import Decision, SliceRow
from anomalib_zsad.volumes.faults import Fault, refuse
from anomalib_zsad.volumes.slice_stack import SliceStack
from anomalib_zsad.volumes.volume import Volume

_NOT_FOR_DIAGNOSIS = "For research use only: not a medical device, not for diagnosis."


def population_of(volume: Volume, stack: SliceStack) -> dict[str, str]:
    """What a volume must have in common with those calibrated on: modality, kind of window, plane of its slices."""
    return {"modality": volume.modality, "window": stack.window.name, "plane": stack.plane}


@dataclass(frozen=True)
class Thresholds:
    """From which score on something is flagged.

    Attributes:
        slice: Of slice scores; `None` where no score at all would be flagged (Benjamini-Hochberg, few normal units).
        mask: Of map pixels.
        volume: Of the volume's score; `None` without a calibration.
    """

    slice: float | None
    mask: float
    volume: float | None = None


@dataclass(frozen=True, eq=False)
class DecisionRule:
    """How scores become decisions.

    Attributes:
        calibration: Scores of normal patients; `None` for the threshold that was chosen.
        false_alarm_rate: With a calibration, the share of normal cases that may be flagged.
        benjamini_hochberg: Flag slices of a volume by that procedure on their p-values, instead of each by itself.
        uncertainty: A score is uncertain where a change by this many of its standard deviations would change the
            decision; 0 for none.

    Raises:
        ValueError: If a number makes no sense, or the calibration is not one of volumes.
        TooFewNormalsError: If the calibration has too few patients for the rate.
    """

    calibration: Calibration | None = None
    false_alarm_rate: float = 0.05
    benjamini_hochberg: bool = False
    uncertainty: float = 1.0

    def __post_init__(self) -> None:
        check_rate(self.false_alarm_rate)
        if not 0 <= self.uncertainty < math.inf:
            raise ValueError(f"the uncertainty is a number of standard deviations, at least 0, not {self.uncertainty}")
        if self.calibration is None:
            if self.benjamini_hochberg:
                raise ValueError("Benjamini-Hochberg needs p-values, which only a calibration gives")
            return
        if self.calibration.kind != "volumes":
            raise ValueError(
                f"the calibration is one of {self.calibration.kind}; volumes need one that `anomalib-zsad calibrate` "
                "made of volumes"
            )
        self.calibration.threshold("volume", self.false_alarm_rate)

    def check(self, volume: Volume, stack: SliceStack) -> None:
        """Refuse a volume that is unlike those calibrated on: p-values would mean nothing.

        Raises:
            SeriesRefusedError: If it is; says how.
        """
        if self.calibration is None:
            return
        reason = self.calibration.unlike(**population_of(volume, stack))
        if reason:
            refuse(
                Fault.CALIBRATION,
                f"unlike the volumes calibrated on: {reason}; calibrate on such volumes, or screen without calibration",
            )

    def thresholds(self, chosen: float) -> Thresholds:
        """Before slices are compared with each other.

        Args:
            chosen: The threshold where there is no calibration.
        """
        if self.calibration is None:
            return Thresholds(chosen, chosen)
        volume, each, mask = (self.calibration.threshold(level, self.false_alarm_rate) for level in _LEVELS)
        return Thresholds(each, mask, volume)

    def judge_slices(self, rows: Sequence[SliceRow], thresholds: Thresholds) -> tuple[list[SliceRow], Thresholds]:
        """The rows with p-values, flags and decisions, and the thresholds that were in use."""
        p_values: Sequence[float | None] = [None] * len(rows)
        if self.calibration is not None:
            values = self.calibration.p_values("slice", [row.score for row in rows])
            p_values = values.tolist()
            if self.benjamini_hochberg:
                scored = values[[not row.blank for row in rows]]
                thresholds = replace(thresholds, slice=self._joint_threshold(self.calibration, scored))
        judged = [
            row if row.blank else self._decide(row, p_value, thresholds.slice)
            for row, p_value in zip(rows, p_values, strict=True)
        ]
        return judged, thresholds

    def _joint_threshold(self, calibration: Calibration, p_values: NDArray[np.float64]) -> float | None:
        """The slice threshold that the procedure comes to; `None` if no score would have been flagged by itself."""
        flagged = p_values[benjamini_hochberg(p_values, self.false_alarm_rate)]
        rate = float(flagged.max()) if len(flagged) else self.false_alarm_rate / max(1, len(p_values))
        try:
            return calibration.threshold("slice", rate)
        except TooFewNormalsError:
            return None

    def _decide(self, row: SliceRow, p_value: float | None, threshold: float | None) -> SliceRow:
        flagged = threshold is not None and row.score >= threshold
        decision = self._decision(row.score, row.score_std, threshold)
        return replace(row, p_value=p_value, flagged=flagged, decision=decision)

    def _decision(self, score: float, deviation: float | None, threshold: float | None) -> Decision:
        if threshold is None:
            return "normal"
        if is_uncertain(score, deviation or 0.0, threshold, self.uncertainty):
            return "uncertain"
        return "abnormal" if score >= threshold else "normal"

    def judge_volume(
        self, score: float, deviation: float | None, thresholds: Thresholds, *, blank: bool
    ) -> tuple[float | None, Decision | None]:
        """p-value and decision of a volume; none without a calibration, no p-value where all its slices are blank."""
        if self.calibration is None or thresholds.volume is None:
            return None, None
        if blank:
            return None, "blank"
        p_value = float(self.calibration.p_values("volume", [score])[0])
        return p_value, self._decision(score, deviation, thresholds.volume)

    @property
    def statement(self) -> str:
        """What every output says of the scores."""
        if self.calibration is None:
            return f"{_NOT_FOR_DIAGNOSIS} Scores are uncalibrated: 0.5 has no clinical meaning."
        promise = self.calibration.statement("volume", self.false_alarm_rate)
        return f"{_NOT_FOR_DIAGNOSIS} Scores are calibrated on normal patients. {promise}"

    def settings(self) -> dict[str, Any]:
        """What decides results, in JSON's types."""
        return {
            "calibration": None if self.calibration is None else self.calibration.sha256,
            "false_alarm_rate": None if self.calibration is None else self.false_alarm_rate,
            "benjamini_hochberg": self.benjamini_hochberg,
            "uncertainty": self.uncertainty,
        }

    def report(self, thresholds: Thresholds) -> dict[str, Any] | None:
        """The calibration for a report, with thresholds and what they promise; `None` without one."""
        if self.calibration is None:
            return None
        statements = {level: self.calibration.statement(level, self.false_alarm_rate) for level in _LEVELS}
        if self.benjamini_hochberg:
            statements["slice"] = _JOINT_STATEMENT.format(percent=f"{100 * self.false_alarm_rate:g} %")
        return {
            "sha256": self.calibration.sha256,
            "units": self.calibration.units,
            "false_alarm_rate": self.false_alarm_rate,
            "benjamini_hochberg": self.benjamini_hochberg,
            "thresholds": {"volume": thresholds.volume, "slice": thresholds.slice, "mask": thresholds.mask},
            "statements": statements,
        }


_LEVELS = ("volume", "slice", "mask")
_JOINT_STATEMENT = (
    "Slices of a volume were flagged together by the procedure of Benjamini and Hochberg at {percent}. Were their "
    "p-values independent or positively dependent, at most {percent} of the flagged slices would be expected to be "
    "normal; slices of one volume depend on each other in ways not known to be of this kind, so this is no guarantee."
)
