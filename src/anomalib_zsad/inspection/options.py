"""How images are found, read and inspected."""

from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.calibration.drift import DriftOptions
from anomalib_zsad.units.parts import Part


@dataclass(frozen=True)
class ImageReading:
    """Which images of a folder are read, and how large they may be.

    A pattern is that of a shell (`*`, `?`, `[...]`). One with a slash is compared with an image's whole name below the
    folder, with forward slashes; one without, with its last part. Case matters.

    Attributes:
        include: Patterns of the images that are read; empty for all.
        exclude: Patterns of images that are left out all the same, such as `*_mask.png`.
        max_pixels: Most pixels of an image, by its header; a larger one counts as unreadable, and is not decoded.

    Raises:
        ValueError: If a pattern is empty, or the number of pixels below 1.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    max_pixels: int = 100_000_000

    def __post_init__(self) -> None:
        if "" in (*self.include, *self.exclude):
            raise ValueError("a pattern of images is empty; give one such as *_mask.png, or leave it out")
        if self.max_pixels < 1:
            raise ValueError(f"the number of pixels of an image is at least 1, not {self.max_pixels}")

    def asks_for(self, name: str) -> bool:
        """Whether an image is to be read, by its name below the folder."""
        included = not self.include or any(_fits(name, pattern) for pattern in self.include)
        return included and not any(_fits(name, pattern) for pattern in self.exclude)

    def settings(self) -> dict[str, Any]:
        """By name, in JSON's types."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def _fits(name: str, pattern: str) -> bool:
    return fnmatchcase(name if "/" in pattern else name.rpartition("/")[2], pattern)


@dataclass(frozen=True)
class InspectionOptions:
    """An inspection.

    Attributes:
        rule: How scores become decisions.
        batch_size: Images scored at a time.
        pages: Write report.html.
        pictures: How many images get large pictures there: the highest scores, the nearest to a calibrated threshold,
            and a random sample of the rest. All others have thumbnails.
        resume: Go on with an earlier run in the same output folder.
        progress: Show a progress bar where standard error is a terminal.
        reading: Which images are read.
        drift: When drift is told, where there is a calibration.
        drift_order: In which order images were taken: that of their names, numbers in them by their value, or of their
            files' times of modification.
        num_parts: How many parts the images are divided into, by their names alone.
        part_id: Which of the parts to inspect, from 0.
    """

    rule: DecisionRule = field(default_factory=lambda: DecisionRule("images"))
    batch_size: int = 8
    pages: bool = True
    pictures: int = 400
    resume: bool = False
    progress: bool = True
    reading: ImageReading = field(default_factory=ImageReading)
    drift: DriftOptions = field(default_factory=DriftOptions)
    drift_order: Literal["name", "time"] = "name"
    num_parts: int = 1
    part_id: int = 0

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.pictures < 1:
            raise ValueError("batch size and number of pictures are at least 1")
        if self.rule.calibration is not None:
            self.drift.share(self.rule.false_alarm_rate)
        if self.rule.kind != "images":
            raise ValueError(f"images need a decision rule of images, not one of {self.rule.kind}")
        _ = self.part  # which refuses what makes no sense

    @property
    def part(self) -> Part:
        """The part to inspect."""
        return Part(self.part_id, self.num_parts)
