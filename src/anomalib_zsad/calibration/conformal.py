"""Conformal p-values of scores against the scores of normal units, and decisions made of them.

A *unit* is what can be exchanged with a new case: a patient, or an image. A unit has *members*, whose scores are
compared: a patient's volumes, or slices.

Lee, Barber & Willett, "Distribution-free inference with hierarchical data", 2023 (the p-value form of hierarchical
conformal prediction); Vovk, Gammerman & Shafer, "Algorithmic Learning in a Random World", 2005 (one member each).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Shares of members are sums of fractions in floating point; rounded to this many decimals they compare as they should.
_DECIMALS = 12


class TooFewNormalsError(ValueError):
    """There are fewer normal units than a calibration, or a false-alarm rate, needs."""


def check_rate(rate: float) -> float:
    """The rate itself.

    Raises:
        ValueError: If it is not between 0 and 1.
    """
    if not 0 < rate < 1:
        raise ValueError(f"the false-alarm rate lies between 0 and 1, not {rate}; give 0.05 for one in twenty")
    return rate


def normals_needed(rate: float) -> int:
    """Fewest normal units with which anything can be flagged at a false-alarm rate: ceil(1 / rate) - 1."""
    return max(1, math.ceil(round(1 / check_rate(rate), 9)) - 1)


@dataclass(frozen=True, eq=False)
class NormalScores:
    """Scores of the members of normal units.

    Attributes:
        units: Number of units, K.
        values: All members' scores in ascending order, float32, shape (m,).
        reached: For each place in `values`, and one past the last, the sum over units of the share of the unit's
            members from that place on, shape (m + 1,).
    """

    units: int
    values: NDArray[np.float32]
    reached: NDArray[np.float64]

    @classmethod
    def of(cls, members: Sequence[Sequence[float]]) -> "NormalScores":
        """Arrange scores.

        Args:
            members: For each unit the scores of its members.

        Raises:
            ValueError: If there is no unit, a unit has no members, or a score is no number.
        """
        if not members or any(len(unit) == 0 for unit in members):
            raise ValueError("a calibration needs at least one unit, and every unit at least one member")
        values = np.concatenate([np.asarray(unit, np.float32) for unit in members])
        if not np.isfinite(values).all():
            raise ValueError("a score to calibrate on is not a finite number")
        weights = np.concatenate([np.full(len(unit), 1 / len(unit)) for unit in members])
        order = np.argsort(values, kind="stable")
        reached = np.append(np.cumsum(weights[order][::-1])[::-1], 0.0)
        return cls(len(members), values[order], reached)

    def p_values(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Conformal p-values, of the shape of `scores`.

        p(s) = (1 + sum over the K units of the share of the unit's members with a score of at least s) / (K + 1)

        For a random member of a new normal unit that can be exchanged with these, P(p <= rate) <= rate for every rate,
        whatever the distribution of scores, ties included. Scores are compared as float32, as models give them.
        """
        places = np.searchsorted(self.values, np.asarray(scores, np.float32), side="left")
        return np.round((1 + self.reached[places]) / (self.units + 1), _DECIMALS)

    def threshold(self, rate: float) -> float:
        """The lowest float32 number that is flagged: score >= threshold exactly where p <= rate.

        Raises:
            ValueError: If the rate is not between 0 and 1.
            TooFewNormalsError: If no score at all could be flagged at this rate.
        """
        needed = normals_needed(rate)
        if self.units < needed:
            raise TooFewNormalsError(
                f"a false-alarm rate of {rate:g} needs at least {needed} normal units, and the calibration has "
                f"{self.units}: with these the lowest rate is {1 / (self.units + 1):.4f}"
            )
        # The lowest score has p = 1, so there is a highest one that is not flagged.
        highest = self.values[np.flatnonzero(self.p_values(self.values) > rate)[-1]]
        return float(np.nextafter(highest, np.float32(np.inf), dtype=np.float32))


def benjamini_hochberg(p_values: ArrayLike, rate: float) -> NDArray[np.bool_]:
    """Which of several tests are flagged under the procedure of Benjamini & Hochberg (1995).

    The expected share of false flags among the flags is at most `rate` where the p-values are independent or positively
    dependent. Slices of one volume depend on each other in ways that nobody has proven to be of this kind.

    Args:
        p_values: Of the tests, shape (n,).
        rate: The false discovery rate.

    Returns:
        Shape (n,).
    """
    values = np.asarray(p_values, np.float64)
    check_rate(rate)
    ranked = np.sort(values)
    passed = np.flatnonzero(ranked <= np.round(np.arange(1, len(values) + 1) * rate / max(1, len(values)), _DECIMALS))
    return values <= ranked[passed[-1]] if len(passed) else np.zeros(len(values), bool)
