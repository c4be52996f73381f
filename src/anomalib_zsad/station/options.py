"""How a station works: options alone, light to import."""

from dataclasses import dataclass, field
from typing import Any, Literal

from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.calibration.drift import DriftOptions
from anomalib_zsad.inspection.options import ImageReading


@dataclass(frozen=True)
class WatchOptions:
    """How a folder is watched.

    Attributes:
        rule: How scores become decisions.
        drift: When drift is told, where there is a calibration.
        reading: Which files are pictures that are asked for, and how large they may be.
        poll_seconds: Time between two looks at the folder.
        stable_polls: A file is whole once so many looks in a row, after the first, found it of the same size and time.
        batch_size: Most pictures scored at a time; fewer where fewer wait.
        overlays: Which pictures get one with the map over it: `all`, `flagged` (and uncertain or undecided) or `none`.
        keep_days: Overlays older than so many days are removed; 0 keeps all.
        skip_existing: Leave out what lies in the folder when it is watched for the first time.
        restart_drift: Forget what was found of drift, and begin a new test.

    Raises:
        ValueError: If a number makes no sense.
    """

    rule: DecisionRule = field(default_factory=lambda: DecisionRule("images"))
    drift: DriftOptions = field(default_factory=DriftOptions)
    reading: ImageReading = field(default_factory=ImageReading)
    poll_seconds: float = 0.5
    stable_polls: int = 2
    batch_size: int = 8
    overlays: Literal["all", "flagged", "none"] = "all"
    keep_days: int = 0
    skip_existing: bool = False
    restart_drift: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.poll_seconds <= 3600:
            raise ValueError(f"--poll-seconds is above 0 and at most 3600, not {self.poll_seconds}")
        if self.stable_polls < 1 or self.batch_size < 1:
            raise ValueError("--stable-polls and --batch-size are at least 1")
        if self.keep_days < 0:
            raise ValueError(f"--keep-days is at least 0, not {self.keep_days}")
        if self.rule.calibration is not None:
            self.drift.share(self.rule.false_alarm_rate)

    def settings(self) -> dict[str, Any]:
        """What decides answers, by part, in JSON's types."""
        drift = {"chance": self.drift.drift_chance, "expected_flagged": self.drift.expected_flagged}
        return {"decisions": self.rule.settings(), "reading": self.reading.settings(), "drift": drift}
