"""Drift over images that come one after the other: the test, and what changed."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from typing_extensions import Self

from anomalib_zsad.calibration.calibration import Calibration
from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.calibration.drift import DriftAlarm, DriftOptions, DriftTest
from anomalib_zsad.calibration.figures import Figures, Spread
from anomalib_zsad.records.drift_report import DriftReport, Order
from anomalib_zsad.records.image_records import ImageRecord

UNCALIBRATED = "it compares images with those calibrated on, and there is no calibration"


class DriftMonitor:
    """Tests images for drift in the order in which they are given, in bounded memory.

    Args:
        rule: How images are judged; without a calibration nothing is tested, which the report says.
        options: When drift is told.
        order: In which order images come, for the report.

    Raises:
        ValueError: If the expected share of flagged images does not fit the false-alarm rate.
    """

    def __init__(self, rule: DecisionRule, options: DriftOptions, order: Order) -> None:
        self._order: Order = order
        self._test: DriftTest | None = None
        self._reason = UNCALIBRATED
        self._figures = Figures({})
        if rule.calibration is None:
            return
        options.share(rule.false_alarm_rate)
        self._figures = Figures(known_figures(rule.calibration))
        try:
            self._test = DriftTest(rule.calibration, rule.false_alarm_rate, options)
        except ValueError as error:
            self._reason = str(error)

    @property
    def tests(self) -> bool:
        """Whether drift is tested at all."""
        return self._test is not None

    @property
    def evidence(self) -> float | None:
        """See `DriftTest.evidence`; `None` where nothing is tested."""
        return None if self._test is None else self._test.evidence

    @property
    def alarm(self) -> DriftAlarm | None:
        """The alarm; `None` as long as there is none."""
        return None if self._test is None else self._test.alarm

    def add(self, record: ImageRecord) -> bool:
        """One more image; what cannot be read says nothing.

        Returns:
            Whether the alarm was raised by this one.
        """
        if record.score is None or self._test is None:
            return False
        figures = {"score": record.score, "brightness": record.brightness, "sharpness": record.sharpness}
        self._figures.add({name: value for name, value in figures.items() if value is not None})
        return self._test.add(record.score)

    def report(self) -> DriftReport:
        """What is known by now."""
        if self._test is None:
            return DriftReport(tested=False, reason=self._reason, order=self._order)
        return DriftReport.of(self._test, self._figures, self._order)

    def state(self) -> dict[str, Any]:
        """Everything that images changed, in JSON's types; `restore` goes on with it."""
        test = None if self._test is None else self._test.state()
        return {"test": test, "figures": self._figures.state()}

    def restore(self, state: Mapping[str, Any]) -> Self:
        """Go on where `state` was told, with the same rule and options."""
        if self._test is not None and state["test"] is not None:
            self._test.restore(state["test"])
            self._figures.restore(state["figures"])
        return self


def known_figures(calibration: Calibration) -> dict[str, Spread]:
    """What the calibration knows of its images: their scores, and how they looked where it was made to know."""
    scores = np.concatenate([np.asarray(unit, np.float64) for unit in calibration.scores["image"]])
    return {
        "score": Spread.of(scores.tolist()),
        **{name: Spread(mean, deviation) for name, (mean, deviation) in calibration.figures.items()},
    }
