"""What changed: figures of the latest images beside those of images that were known to be right."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from typing_extensions import Self

RECENT = 50
"""How many of the latest images are looked at, and of the first ones where nothing else is known."""


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of a figure."""

    mean: float
    deviation: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Those of some values, at least one."""
        return cls(float(np.mean(values)), float(np.std(values)))


@dataclass(frozen=True)
class Change:
    """How a figure differs from its reference.

    Attributes:
        figure: Its name, such as `brightness`.
        reference: Its mean in the reference.
        deviation: Its standard deviation there.
        recent: Its mean over the latest images.
        reference_of: What the reference is: `calibration`, or `first images`.
    """

    figure: str
    reference: float
    deviation: float
    recent: float
    reference_of: str

    @property
    def deviations(self) -> float | None:
        """By how many of the reference's standard deviations it differs; `None` where these are zero."""
        return (self.recent - self.reference) / self.deviation if self.deviation > 0 else None


class Figures:
    """Figures of images as they come, in bounded memory.

    Args:
        known: Figures of the calibration's images; of others, the first images are the reference.
    """

    def __init__(self, known: Mapping[str, Spread]) -> None:
        self._known = dict(known)
        self._first: dict[str, list[float]] = {}
        self._recent: deque[dict[str, float]] = deque(maxlen=RECENT)

    def add(self, figures: Mapping[str, float]) -> None:
        """The figures of one image."""
        self._recent.append(dict(figures))
        for name, value in figures.items():
            first = self._first.setdefault(name, [])
            if name not in self._known and len(first) < RECENT:
                first.append(value)

    def changes(self, latest: int = RECENT) -> tuple[Change, ...]:
        """How each figure differs now.

        Args:
            latest: How many of the latest images are looked at, at most `RECENT`.
        """
        looked_at = list(self._recent)[-max(1, latest) :]
        found = []
        for name, first in self._first.items():
            values = [figures[name] for figures in looked_at if name in figures]
            if values:
                known = self._known.get(name)
                reference = known or Spread.of(first)
                of = "calibration" if known else "first images"
                found.append(Change(name, reference.mean, reference.deviation, float(np.mean(values)), of))
        return tuple(found)

    def state(self) -> dict[str, Any]:
        """Everything but what is known, in JSON's types; `restore` goes on with it."""
        return {"first": self._first, "recent": list(self._recent)}

    def restore(self, state: Mapping[str, Any]) -> Self:
        """Go on where `state` was told."""
        self._first = {name: list(values) for name, values in state["first"].items()}
        self._recent = deque(state["recent"], maxlen=RECENT)
        return self
