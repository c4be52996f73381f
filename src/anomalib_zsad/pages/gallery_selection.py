"""Which images of a gallery have large pictures: the top, the borderline, and a random sample of the rest."""

import hashlib
import heapq
from dataclasses import dataclass, field


@dataclass
class _Highest:
    """So many members of the highest value; equal ones by name.

    Attributes:
        most: How many at most.
    """

    most: int
    _kept: list[tuple[float, str, int]] = field(default_factory=list)

    def wants(self, value: float, name: str) -> bool:
        return len(self._kept) < self.most or (bool(self._kept) and (value, name) > self._kept[0][:2])

    def add(self, value: float, name: str, place: int) -> None:
        if self.wants(value, name):
            push = heapq.heappush if len(self._kept) < self.most else heapq.heapreplace
            push(self._kept, (value, name, place))

    def places(self) -> dict[str, int]:
        return {name: place for _, name, place in sorted(self._kept, reverse=True)}


class Shown:
    """The images with large pictures, chosen while images stream past: in bounded memory, whatever their order.

    Half are those with the highest scores. With a threshold that means something, a quarter are those that come nearest
    to it. The others are a random sample, which the names alone decide, so that a resumed run draws the same.

    Args:
        most: How many at most.
        threshold: Of image scores; `None` where nothing is decided.
    """

    def __init__(self, most: int, threshold: float | None) -> None:
        self.most, self.threshold = most, threshold
        top, borderline = most - most // 2, 0 if threshold is None else most // 4
        self._top, self._borderline = _Highest(top), _Highest(borderline)
        # As many as all together: those that are there for another reason leave enough of the others.
        self._sample = _Highest(most)

    def wants(self, image: str, score: float) -> bool:
        """Whether an image would be shown, as far as is known by now.

        Args:
            image: Its name.
            score: Its score.
        """
        return any(part.wants(value, image) for part, value in self._values(image, score))

    def add(self, image: str, score: float, place: int) -> None:
        """Take an image in; others may fall out.

        Args:
            image: Its name.
            score: Its score.
            place: Where its pictures are.
        """
        for part, value in self._values(image, score):
            part.add(value, image, place)

    def places(self) -> dict[str, int]:
        """Where the pictures of each shown image are."""
        return {name: place for part in self._parts().values() for name, place in part.items()}

    def names(self) -> set[str]:
        """Images that may be shown once others join: those of several of these are among all of theirs."""
        return {name for part in (self._top, self._borderline, self._sample) for name in part.places()}

    def parts(self) -> dict[str, int]:
        """How many images are shown for which reason, the first that holds."""
        return {reason: len(part) for reason, part in self._parts().items()}

    def _parts(self) -> dict[str, dict[str, int]]:
        found = {"highest scores": self._top.places(), "nearest to the threshold": {}, "random": {}}
        nearest, taken = self._borderline.places(), set(found["highest scores"])
        found["nearest to the threshold"] = {name: place for name, place in nearest.items() if name not in taken}
        taken |= nearest.keys()
        rest = [(name, place) for name, place in self._sample.places().items() if name not in taken]
        found["random"] = dict(rest[: self.most - len(taken)])
        return found

    def _values(self, image: str, score: float) -> list[tuple[_Highest, float]]:
        drawn = int.from_bytes(hashlib.sha256(image.encode("utf-8", "surrogateescape")).digest()[:6], "big") / 2**48
        distance = 0.0 if self.threshold is None else abs(score - self.threshold)
        return [(self._top, score), (self._borderline, -distance), (self._sample, drawn)]
