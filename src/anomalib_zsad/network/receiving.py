"""Taking in the images of one series: whole files, under names that tell nothing, within a budget."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from anomalib_zsad.network.errors import RetrievalError
from anomalib_zsad.outputs.atomic import write_bytes


@dataclass
class Receiver:
    """Where the instances of a series are put.

    Attributes:
        folder: An existing folder.
        series_uid: Series Instance UID; instances of other series are not kept.
        budget: Most bytes to keep.
        received: Number of instances kept.
        size: How many bytes they take.
        full: Whether one was refused because of the budget.
    """

    folder: Path
    series_uid: str
    budget: int
    size: int = 0
    full: bool = False
    _names: set[str] = field(default_factory=set)

    @property
    def received(self) -> int:
        """Number of instances kept."""
        return len(self._names)

    def room(self) -> int:
        """How many bytes may still arrive: what is left of the budget, and what messages hold beside images."""
        left = max(0, self.budget - self.size)
        return left + left // 8 + (1 << 20)

    def keep(self, content: bytes, series_uid: str, instance_uid: str) -> None:
        """Keep an instance; one that came before replaces itself.

        Args:
            content: The whole file.
            series_uid: Its series.
            instance_uid: Its own UID.

        Raises:
            RetrievalError: If it is of another series, or over the budget.
            OSError: If it cannot be written.
        """
        if series_uid != self.series_uid:
            raise RetrievalError("an image of another series was sent", retry=False)
        name = f"image-{hashlib.sha256(instance_uid.encode()).hexdigest()[:20]}.dcm"
        self.size += len(content) * (name not in self._names)
        if self.size > self.budget:
            self.full = True
            raise self.too_large()
        write_bytes(self.folder / name, content)
        self._names.add(name)

    def too_large(self) -> RetrievalError:
        """The error that says that the budget is spent."""
        gib = self.budget / 2**30
        return RetrievalError(f"the series is larger than {gib:.3g} GiB; --max-series-gib allows more", retry=False)

    def check_complete(self, announced: int | None) -> None:
        """Refuse a series of which not all has come.

        Args:
            announced: How many instances the server said it has; `None` where it did not say.

        Raises:
            RetrievalError: If there are fewer, or none.
        """
        if self.received == 0 or (announced is not None and self.received < announced):
            raise RetrievalError(f"only {self.received} of {announced or 'its'} images were sent", retry=True)
