"""How a station works: options alone, light to import."""

from dataclasses import dataclass, field
from pathlib import Path
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


@dataclass(frozen=True)
class ServeOptions:
    """How pictures are taken and answered over HTTP.

    Attributes:
        rule: How scores become decisions.
        drift: When drift is told, where there is a calibration.
        max_pixels: Most pixels of a picture, by its header; a larger one is not decoded.
        max_mib: Largest request, in MiB.
        max_waiting: Most requests at work at a time; further ones are told to come again.
        max_waiting_mib: Most MiB of requests at work at a time, and of decoded pictures that wait for the model.
        timeout_seconds: How long a request may take, from its first byte until its answer is made.
        batch_size: Most pictures scored at a time; fewer where fewer wait.
        http_host: Address to listen on.
        http_port: Port to listen on; 0 for any that is free.
        certificate: PEM file of the certificate, for TLS.
        key: PEM file of its key.

    Raises:
        ValueError: If a number makes no sense.
    """

    rule: DecisionRule = field(default_factory=lambda: DecisionRule("images"))
    drift: DriftOptions = field(default_factory=DriftOptions)
    max_pixels: int = ImageReading().max_pixels
    max_mib: int = 64
    max_waiting: int = 128
    max_waiting_mib: int = 1024
    timeout_seconds: float = 30.0
    batch_size: int = 8
    http_host: str = "127.0.0.1"
    http_port: int = 8000
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.http_port < 65536:
            raise ValueError(f"--http-port is a number from 0 to 65535, not {self.http_port}")
        if min(self.max_mib, self.max_waiting, self.batch_size, self.max_pixels) < 1:
            raise ValueError("--max-mib, --max-waiting, --batch-size and --max-pixels are at least 1")
        if self.max_waiting_mib < self.max_mib:
            raise ValueError(
                f"--max-waiting-mib is at least --max-mib, not {self.max_waiting_mib}: else the largest request would "
                "never be taken"
            )
        if not 0 < self.timeout_seconds <= 3600:
            raise ValueError(f"--timeout-seconds is above 0 and at most 3600, not {self.timeout_seconds}")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("--certificate and --key are given together: TLS needs both")
        if self.rule.calibration is not None:
            self.drift.share(self.rule.false_alarm_rate)
