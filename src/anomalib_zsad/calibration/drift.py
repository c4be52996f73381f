"""Drift: whether what is scored now is still like what was calibrated on, asked after every image.

Two tests run side by side, each a capital that bets against "nothing changed" (`anomalib_zsad.calibration.betting`):

- *Scores.* Images that are not flagged are ranked among those of the calibration and all earlier ones
  (`anomalib_zsad.calibration.ranks`): a conformal test martingale. Flagged images are left out on both sides, so
  defects that are found do not pass for drift.
- *Flags.* A bet that the share of flagged images is more than what is expected: a rising number of defects, or of false
  alarms, is a change too, and one after which hardly an image is left for the other test.

The alarm is raised where the mean of both capitals reaches 1 / alpha.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from typing_extensions import Self

from anomalib_zsad.calibration.betting import P_VALUE_KINDS, SHARE_KINDS, Bets, p_value_factors, share_factors
from anomalib_zsad.calibration.calibration import Calibration
from anomalib_zsad.calibration.ranks import Ranks

FEWEST_REFERENCES = 10
"""Fewest scores of a calibration below the threshold with which scores are compared."""


@dataclass(frozen=True)
class DriftOptions:
    """When drift is told.

    Attributes:
        drift_chance: The chance, at most, of ever raising the alarm while nothing changes: alpha.
        expected_flagged: Share of flagged images, false alarms and defects together, at which nothing is wrong yet;
            `None` for a tenth plus twice the false-alarm rate.

    Raises:
        ValueError: If one is not between 0 and 1.
    """

    drift_chance: float = 0.01
    expected_flagged: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.drift_chance < 1:
            raise ValueError(f"the chance of a false drift alarm lies between 0 and 1, not {self.drift_chance}")
        if self.expected_flagged is not None and not 0 < self.expected_flagged < 1:
            raise ValueError(f"the expected share of flagged images is between 0 and 1, not {self.expected_flagged}")

    def share(self, rate: float) -> float:
        """The expected share of flagged images at a false-alarm rate.

        Raises:
            ValueError: If it is below that rate: normal images alone would reach it.
        """
        if self.expected_flagged is None:
            return min(0.1 + 2 * rate, (1 + rate) / 2)
        if self.expected_flagged <= rate:
            raise ValueError(
                f"of normal images {rate:g} may be flagged, so the expected share of flagged images is more than that, "
                f"not {self.expected_flagged:g}"
            )
        return self.expected_flagged


@dataclass(frozen=True)
class DriftAlarm:
    """That drift was told.

    Attributes:
        image: At which image, counted from 1.
        began: After about how many images it began.
        by: What told it: `scores` (of images that are not flagged) or `flags` (their share).
    """

    image: int
    began: int
    by: Literal["scores", "flags"]


class DriftTest:
    """The test itself, in bounded memory, however many images there are.

    The bound is exact where scores below the threshold are independent and of one distribution, the calibration's
    included, each of its units has one member, and every image is flagged with a chance of at most the expected share:
    then P(ever an alarm) <= alpha. The threshold is made of one of the calibration's scores, h; given h, the
    calibration's scores below h and the new ones below h are independent and of one distribution, so that the new ones'
    ranks are independent and uniform. Defects that score below h count as normal. Of a unit with several members the
    middle one counts, which is an approximation.

    Args:
        calibration: Scores of normal images.
        rate: The false-alarm rate that decides which images are flagged.
        options: When drift is told.

    Attributes:
        images: Number of images so far.
        compared: How many of them were compared with the calibration's scores.
        flagged: How many were flagged.
        alarm: The alarm; `None` as long as there is none. Once raised, it stays.

    Raises:
        ValueError: If the calibration is none of images, or too small to compare anything with.
    """

    def __init__(self, calibration: Calibration, rate: float, options: DriftOptions | None = None) -> None:
        if calibration.kind != "images":
            raise ValueError(f"drift is told of images, and the calibration is one of {calibration.kind}")
        self.options = options or DriftOptions()
        self.share = self.options.share(rate)
        self._threshold = np.float32(calibration.threshold("image", rate))
        # The highest score of the calibration that is not flagged; it made the threshold, and is no sample any more.
        self._limit = np.nextafter(self._threshold, np.float32(-np.inf), dtype=np.float32)
        members = np.array([np.sort(unit)[len(unit) // 2] for unit in calibration.scores["image"]], np.float32)
        below = members[members < self._limit]
        if len(below) < FEWEST_REFERENCES:
            raise ValueError(
                f"{len(below)} scores of the calibration lie below its highest one that is not flagged, and drift "
                f"needs {FEWEST_REFERENCES}: calibrate on images whose scores differ"
            )
        self._ranks = Ranks(below)
        self._scores, self._flags = Bets(P_VALUE_KINDS), Bets(SHARE_KINDS)
        self.images = self.compared = self.flagged = 0
        self.alarm: DriftAlarm | None = None

    @property
    def evidence(self) -> float:
        """How many times a stake would have grown that bets on drift: the mean of both capitals."""
        return (self._scores.total + self._flags.total) / 2

    @property
    def needed(self) -> float:
        """The evidence at which the alarm is raised: 1 / alpha."""
        return 1 / self.options.drift_chance

    def add(self, score: float) -> bool:
        """One more image.

        Args:
            score: Its score.

        Returns:
            Whether the alarm was raised by this one.

        Raises:
            ValueError: If the score is not a number.
        """
        value = np.float32(score)
        if not math.isfinite(value):
            raise ValueError(f"a score of {score} says nothing about drift")
        self.images += 1
        flagged = bool(value >= self._threshold)
        self.flagged += flagged
        self._flags.play(share_factors(happened=flagged, share=self.share))
        if value < self._limit:
            self.compared += 1
            self._scores.play(p_value_factors(self._ranks.add(float(value))))
        if self.alarm is None and self.evidence >= self.needed:
            self.alarm = self._raise()
            return True
        return False

    def _raise(self) -> DriftAlarm:
        if self._flags.total > self._scores.total:
            return DriftAlarm(self.images, self._flags.began, "flags")
        # Images that were not compared lie evenly among the others, as far as is known.
        return DriftAlarm(self.images, round(self._scores.began * self.images / max(1, self.compared)), "scores")

    def state(self) -> dict[str, Any]:
        """Everything but calibration and options, in JSON's types; `restore` goes on with it."""
        alarm = None if self.alarm is None else [self.alarm.image, self.alarm.began, self.alarm.by]
        return {
            "images": self.images,
            "compared": self.compared,
            "flagged": self.flagged,
            "alarm": alarm,
            "ranks": self._ranks.state(),
            "scores": self._scores.state(),
            "flags": self._flags.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> Self:
        """Go on where `state` was told, with the same calibration and options."""
        self.images, self.compared, self.flagged = (int(state[name]) for name in ("images", "compared", "flagged"))
        self.alarm = None if state["alarm"] is None else DriftAlarm(*state["alarm"])
        self._ranks = Ranks.from_state(state["ranks"])
        self._scores, self._flags = Bets.from_state(state["scores"]), Bets.from_state(state["flags"])
        return self
