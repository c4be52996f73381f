"""Conformal p-values of scores against the scores of normal units, and decisions made of them.

A *unit* is what can be exchanged with a new case: a patient, or an image. A unit has *members*, whose scores are
compared: a patient's volumes, or slices.

Lee, Barber & Willett, "Distribution-free inference with hierarchical data", 2023 (the p-value form of hierarchical
conformal prediction); Vovk, Gammerman & Shafer, "Algorithmic Learning in a Random World", 2005 (one member each).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

import numpy as np
from numpy.typing import ArrayLike, NDArray


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
    """Fewest normal units K with which anything can be flagged at a false-alarm rate: 1 / (K + 1) <= rate."""
    units = max(1, math.floor(1 / check_rate(rate)) - 2)
    while 1 / (units + 1) > rate:
        units += 1
    return units


def lowest_rate(units: int) -> float:
    """The lowest false-alarm rate of four decimals that this many normal units allow."""
    return math.ceil(Fraction(10_000, units + 1)) / 10_000


@dataclass(frozen=True, eq=False)
class NormalScores:
    """Scores of the members of normal units.

    Attributes:
        units: Number of units, K.
        values: All members' scores in ascending order, float32, shape (m,).
        p_at: For each place in `values`, and one past the last, the p-value of a score that belongs there, the double
            nearest to the exact fraction, shape (m + 1,).
    """

    units: int
    values: NDArray[np.float32]
    p_at: NDArray[np.float64]

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
        order = np.argsort(values, kind="stable")
        sizes = np.repeat([len(unit) for unit in members], [len(unit) for unit in members])[order]
        # Whole numbers of a common share, so that a p-value is exact: rounded sums would miss a rate that it equals.
        share = math.lcm(*map(len, members))
        reached = list(accumulate((share // int(size) for size in sizes[::-1]), initial=share))[::-1]
        return cls(len(members), values[order], np.array([part / (share * (len(members) + 1)) for part in reached]))

    def p_values(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Conformal p-values, of the shape of `scores`.

        p(s) = (1 + sum over the K units of the share of the unit's members with a score of at least s) / (K + 1)

        For a random member of a new normal unit that can be exchanged with these, P(p <= rate) <= rate for every rate,
        whatever the distribution of scores, ties included. Scores are compared as float32, as models give them.

        Raises:
            ValueError: If a score is not a number: it would pass for the highest of all.
        """
        values = np.asarray(scores, np.float32)
        if np.isnan(values).any():
            raise ValueError(
                f"{int(np.isnan(values).sum())} of {values.size} scores are not a number: no p-value is known"
            )
        return self.p_at[np.searchsorted(self.values, values, side="left")]

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
                f"{self.units}: with these the lowest rate is {lowest_rate(self.units):.4f}"
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
    # The rate that was typed, not the double nearest to it: with 0.3 the first of ten is compared with 3/100.
    exact = Fraction(repr(float(rate)))
    passed = np.flatnonzero(ranked <= [float(exact * place / len(values)) for place in range(1, len(values) + 1)])
    return values <= ranked[passed[-1]] if len(passed) else np.zeros(len(values), bool)
