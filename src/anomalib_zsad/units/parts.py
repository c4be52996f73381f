"""One of so many parts of a plan: which part a unit is of depends on its name alone."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A part.

    Attributes:
        number: Its number, from 0.
        count: How many parts there are.
    """

    number: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"the number of parts is at least 1, not {self.count}")
        if not 0 <= self.number < self.count:
            raise ValueError(
                f"of {self.count} parts the first is 0 and the last {self.count - 1}; there is no {self.number}"
            )

    @property
    def whole(self) -> bool:
        """Whether it is all of the plan."""
        return self.count == 1

    @property
    def name(self) -> str:
        """For folders and messages."""
        return "all" if self.whole else f"part-{self.number}-of-{self.count}"

    def holds(self, unit: str) -> bool:
        """Whether a unit of this name is of this part."""
        digest = hashlib.sha256(unit.encode()).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number
