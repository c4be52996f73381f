"""Bets against a hypothesis, one observation after the other: a capital that cannot be expected to grow where it holds.

A bet multiplies the capital by a factor whose expectation under the hypothesis is at most 1. By Ville's inequality the
chance that the capital ever reaches 1 / alpha is then at most alpha, however long one plays. A weighted mean of such
capitals is one itself: here over several kinds of bets, and over all times at which one may begin to bet.

Ville, "Etude critique de la notion de collectif", 1939; Shafer & Vovk, "Game-Theoretic Foundations for Probability and
Finance", 2019 (averages of strategies); Vovk, Petej, Nouretdinov, Ahlberg, Carlsson & Gammerman, "Retrain or not
retrain: conformal test martingales for change-point detection", 2021 (bets on p-values; CUSUM for when a change began).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from typing_extensions import Self

_LARGEST = 1e200  # beyond it nothing is learned, and numbers end


class Bets:
    """A capital of 1, spread over kinds of bets and over the times at which they begin.

    Before each observation a part of what was held back goes to all kinds alike. What is held back after n observations
    is ln 2 / ln(n + 2): it ends so slowly that a change after 100,000 observations is still bet on with 1e-7 of the
    capital at each time, which costs a few dozen observations more than a change in the beginning does.

    Args:
        kinds: How many kinds there are.

    Attributes:
        capital: What each kind has.
        steps: How many observations there were.
    """

    def __init__(self, kinds: int) -> None:
        self.capital = [0.0] * kinds
        self.steps = 0
        # CUSUM of each kind, and after which observation it was last zero: where a change probably began.
        self._sums = [0.0] * kinds
        self._starts = [0] * kinds

    @property
    def total(self) -> float:
        """The whole capital: how many times what one began with."""
        return sum(self.capital) + _held_back(self.steps)

    @property
    def began(self) -> int:
        """After how many observations a change began, by the kind of bet with the largest CUSUM; a rough figure."""
        return self._starts[self._sums.index(max(self._sums))]

    def play(self, factors: Sequence[float]) -> None:
        """One observation.

        Args:
            factors: What it multiplies the capital of each kind by, above 0.
        """
        given = (_held_back(self.steps) - _held_back(self.steps + 1)) / len(self.capital)
        self.steps += 1
        for kind, factor in enumerate(factors):
            self.capital[kind] = min((self.capital[kind] + given) * factor, _LARGEST)
            self._sums[kind] += math.log(factor)
            if self._sums[kind] <= 0:
                self._sums[kind], self._starts[kind] = 0.0, self.steps

    def state(self) -> dict[str, Any]:
        """Everything, in JSON's types; `from_state` goes on with it."""
        return {"steps": self.steps, "capital": self.capital, "sums": self._sums, "starts": self._starts}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """What `state` told."""
        made = cls(len(state["capital"]))
        made.steps = int(state["steps"])
        made.capital, made._sums, made._starts = (list(state[name]) for name in ("capital", "sums", "starts"))
        return made


def _held_back(steps: int) -> float:
    return math.log(2) / math.log(steps + 2)


_LEANINGS = (-0.9, -0.4, 0.4, 0.9)
_SPREADS = (-0.8, 0.6, 1.2)


def p_value_factors(p_value: float) -> list[float]:
    """Bets against p-values being uniform: that they are low (scores are high), high, at both ends, or in the middle.

    Each factor is a density on [0, 1]: 1 + b (1 - 2 p), and 1 + b (6 p^2 - 6 p + 1).

    Args:
        p_value: In [0, 1].
    """
    first, second = 1 - 2 * p_value, 6 * p_value * (p_value - 1) + 1
    return [*(1 + bet * first for bet in _LEANINGS), *(1 + bet * second for bet in _SPREADS)]


P_VALUE_KINDS = len(_LEANINGS) + len(_SPREADS)
_STEPS = (0.1, 0.3, 0.6)
SHARE_KINDS = len(_STEPS)


def share_factors(*, happened: bool, share: float) -> list[float]:
    """Bets against an event having a chance of at most `share` each time, whatever came before.

    Likelihood ratios of chances that lie a tenth, three tenths and six tenths of the way from the share to 1.

    Args:
        happened: Whether the event happened.
        share: In (0, 1).
    """
    others = [share + step * (1 - share) for step in _STEPS]
    return [other / share if happened else (1 - other) / (1 - share) for other in others]
