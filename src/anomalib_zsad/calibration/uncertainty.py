"""Which decisions are uncertain, and whether saying so carries information."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


def is_uncertain(scores: ArrayLike, deviations: ArrayLike, threshold: float, factor: float = 1.0) -> NDArray[np.bool_]:
    """Whether a change of a score by `factor` standard deviations would change the decision, of the shape of `scores`.

    Args:
        scores: Scores.
        deviations: Their standard deviations over the sampled prompts, of the same shape.
        threshold: From it on a score is flagged.
        factor: How many standard deviations; 0 for none.
    """
    middle, spread = np.asarray(scores, np.float64), factor * np.asarray(deviations, np.float64)
    return (middle - spread >= threshold) != (middle + spread >= threshold)


@dataclass(frozen=True)
class Certainty:
    """Wrong decisions among the certain and among the uncertain cases.

    Attributes:
        certain, certain_errors: Number of certain cases, and how many of them are decided wrongly.
        uncertain, uncertain_errors: The same of the uncertain ones.
        nearest_errors: Wrong decisions among as many cases as are uncertain, those nearest to the threshold: what one
            would know without any standard deviation.
    """

    certain: int
    certain_errors: int
    uncertain: int
    uncertain_errors: int
    nearest_errors: int

    def __add__(self, other: "Certainty") -> "Certainty":
        """Both together."""
        return Certainty(*(own + its for own, its in zip(_numbers(self), _numbers(other), strict=True)))

    @property
    def certain_rate(self) -> float | None:
        """Share of wrong decisions among the certain cases; `None` if there are none."""
        return self.certain_errors / self.certain if self.certain else None

    @property
    def uncertain_rate(self) -> float | None:
        """Share of wrong decisions among the uncertain cases; `None` if there are none."""
        return self.uncertain_errors / self.uncertain if self.uncertain else None

    @property
    def nearest_rate(self) -> float | None:
        """Share of wrong decisions among the cases nearest to the threshold; `None` if none is uncertain."""
        return self.nearest_errors / self.uncertain if self.uncertain else None


def _numbers(certainty: Certainty) -> tuple[int, ...]:
    return (
        certainty.certain,
        certainty.certain_errors,
        certainty.uncertain,
        certainty.uncertain_errors,
        certainty.nearest_errors,
    )


def certainty(
    scores: ArrayLike, deviations: ArrayLike, abnormal: ArrayLike, threshold: float, factor: float = 1.0
) -> Certainty:
    """Count wrong decisions by whether they were called uncertain.

    Args:
        scores: Of n cases.
        deviations: Their standard deviations over the sampled prompts.
        abnormal: Whether they are abnormal.
        threshold: From it on a score is flagged.
        factor: See `is_uncertain`.
    """
    values, truth = np.asarray(scores, np.float64), np.asarray(abnormal, bool)
    wrong = (values >= threshold) != truth
    doubtful = is_uncertain(values, deviations, threshold, factor)
    nearest = np.argsort(np.abs(values - threshold), kind="stable")[: int(doubtful.sum())]
    return Certainty(
        certain=int((~doubtful).sum()),
        certain_errors=int(wrong[~doubtful].sum()),
        uncertain=int(doubtful.sum()),
        uncertain_errors=int(wrong[doubtful].sum()),
        nearest_errors=int(wrong[nearest].sum()),
    )
