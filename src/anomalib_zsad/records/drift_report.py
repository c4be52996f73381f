"""What is said of drift: in report.json, on the page, in the terminal, and of a station."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from anomalib_zsad.calibration.drift import DriftAlarm, DriftTest
from anomalib_zsad.calibration.figures import RECENT, Change, Figures

Order = Literal["name", "time", "arrival"]
_ORDERS = {
    "name": "in the order of names",
    "time": "in the order of the files' times of modification",
    "arrival": "in the order in which they came",
}


@dataclass(frozen=True)
class DriftReport:
    """Whether images are still like those that were calibrated on.

    Attributes:
        tested: Whether that could be tested.
        reason: Why not.
        alarm: The alarm; `None` as long as there is none.
        evidence: How many times a stake grew that bets on drift.
        needed: At which evidence the alarm is raised.
        chance: The chance, at most, of ever raising it while nothing changes.
        images: How many images were tested.
        compared: How many of them were compared with the calibration's scores: those that are not flagged.
        flagged: How many were flagged.
        expected_flagged: Up to which share of flagged images nothing is wrong.
        order: In which order images were taken.
        changes: How figures of the latest images differ from their reference.
    """

    tested: bool
    reason: str = ""
    alarm: DriftAlarm | None = None
    evidence: float | None = None
    needed: float | None = None
    chance: float | None = None
    images: int = 0
    compared: int = 0
    flagged: int = 0
    expected_flagged: float | None = None
    order: Order = "name"
    changes: tuple[Change, ...] = ()

    @classmethod
    def of(cls, test: DriftTest, figures: Figures, order: Order) -> "DriftReport":
        """What a test says by now."""
        latest = RECENT if test.alarm is None else min(RECENT, test.images - test.alarm.began)
        return cls(
            tested=True,
            alarm=test.alarm,
            evidence=test.evidence,
            needed=test.needed,
            chance=test.options.drift_chance,
            images=test.images,
            compared=test.compared,
            flagged=test.flagged,
            expected_flagged=test.share,
            order=order,
            changes=figures.changes(latest),
        )

    def as_dict(self) -> dict[str, Any]:
        """In JSON's types."""
        record = asdict(self)
        record["changes"] = [{**asdict(one), "deviations": one.deviations} for one in self.changes]
        return {**record, "statement": self.statement}

    @property
    def statement(self) -> str:
        """Whether it drifted, and what the answer is worth, in plain words."""
        if not self.tested:
            return f"Drift was not tested: {self.reason}."
        where = f"{self.images:,} images {_ORDERS[self.order]}"
        worth = f"the chance of ever raising it while nothing changes is at most {100 * (self.chance or 0):g} %"
        if self.alarm is None:
            evidence = f"evidence {_short(self.evidence)}, alarm at {_short(self.needed)}"
            return f"No drift was found in {where} ({evidence}; {worth})."
        what = (
            f"more than {100 * (self.expected_flagged or 0):g} % of images are flagged"
            if self.alarm.by == "flags"
            else "scores are no longer like those calibrated on"
        )
        return (
            f"Drift: {what}. The alarm was raised at image {self.alarm.image:,} of {where}, and the change began after "
            f"about {self.alarm.began:,} ({worth}). Find what changed, or calibrate anew; until then p-values and "
            "thresholds promise nothing."
        )

    @property
    def what_changed(self) -> tuple[str, ...]:
        """The figures, in plain words."""
        return tuple(_told(change) for change in self.changes)


def _told(change: Change) -> str:
    far = change.deviations
    by = "" if far is None else f", {far:+.1f} standard deviations"
    of = "the calibration's images" if change.reference_of == "calibration" else "the first images"
    return f"{_NAMES.get(change.figure, change.figure)}: {change.recent:.4g}, and {change.reference:.4g} of {of}{by}"


_NAMES: Mapping[str, str] = {"score": "mean score"}


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
