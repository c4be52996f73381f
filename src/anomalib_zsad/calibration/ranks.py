"""Sequential p-values: each new score ranked among all scores before it, in bounded memory."""

import struct
from bisect import bisect_left
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from typing_extensions import Self

# Bits of a float32 that are put aside: 12 of the 23 of its fraction are left, so that between two powers of two are
# 4,096 values, and all scores that ever come take a few hundred kilobytes.
_ASIDE = 11
_FLOAT, _BITS = struct.Struct("<f"), struct.Struct("<I")


class Ranks:
    """All scores so far, as counts of their rounded values, and the smoothed p-value of the next one.

    p = (number of earlier scores above + u (number of equal ones + 1)) / (number of earlier scores + 1), with u uniform
    in [0, 1]. Where the scores, those given first included, can be exchanged with each other, these p-values are
    independent and uniform, whatever the distribution of scores: Vovk, Gammerman & Shafer, "Algorithmic Learning in a
    Random World", 2005, theorem 8.2. Rounding is the same for all, so it changes nothing of this.

    u follows from the number of scores alone, so that the same scores in the same order give the same p-values.

    Args:
        first: The scores to begin with, shape (n,).
    """

    def __init__(self, first: ArrayLike = ()) -> None:
        values, counts = np.unique([_rounded(score) for score in np.asarray(first, np.float32)], return_counts=True)
        self._values: list[float] = values.tolist()
        self._counts = counts.astype(np.int64)
        self.count = int(self._counts.sum())

    def add(self, score: float) -> float:
        """The p-value of a score, which then counts for those to come."""
        value = _rounded(score)
        place = bisect_left(self._values, value)
        known = place < len(self._values) and self._values[place] == value
        equal = int(self._counts[place]) if known else 0
        above = int(self._counts[place + known :].sum())
        p_value = (above + _uniform(self.count) * (equal + 1)) / (self.count + 1)
        if known:
            self._counts[place] += 1
        else:
            self._values.insert(place, value)
            self._counts = np.concatenate([self._counts[:place], (1,), self._counts[place:]])
        self.count += 1
        return p_value

    def state(self) -> dict[str, Any]:
        """Everything, in JSON's types; `from_state` goes on with it."""
        return {"values": self._values, "counts": self._counts.tolist()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """What `state` told."""
        made = cls()
        made._values = [float(value) for value in state["values"]]
        made._counts = np.array(state["counts"], np.int64)
        made.count = int(made._counts.sum())
        return made


def _rounded(score: float) -> float:
    """A score as float32, cut to 12 bits of its fraction, towards zero."""
    (bits,) = _BITS.unpack(_FLOAT.pack(score + 0.0))  # minus zero becomes zero
    return float(_FLOAT.unpack(_BITS.pack(bits >> _ASIDE << _ASIDE))[0])


def _uniform(number: int) -> float:
    """A number in [0, 1) that follows from another one, and looks as if it did not."""
    return int.from_bytes(blake2b(number.to_bytes(8, "big"), digest_size=7).digest(), "big") / 2**56
