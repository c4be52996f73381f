"""`Figure`: a number with its interval and its counts, or the reason why there is none."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        value: Mostly in [0, 1]; `None` where it is not defined, and `note` says why.
        low, high: 95 % interval; `None` where there is none, and `note` says why.
        count, of: The counts behind a share: `count` of `of`.
        threshold: Score from which something counts as flagged; `None` where the figure has no threshold.
        note: What a reader must know; why something is not defined.
        few: Why people are shown the counts alone: there are too few patients for a percentage; empty where not.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    count: int | None = None
    of: int | None = None
    threshold: float | None = None
    note: str = ""
    few: str = ""

    @property
    def remark(self) -> str:
        """All that a reader must know."""
        return "; ".join(part for part in (self.few, self.note) if part)

    def text(self) -> str:
        """The figure as a table shows it: in percent, with interval and counts; "not defined" where it is not."""
        if self.value is None:
            return "not defined"
        if self.few:
            return "too few patients" if self.of is None else f"{self.count} of {self.of}"
        parts = [f"{100 * self.value:.1f} %"]
        if self.low is not None and self.high is not None:
            parts.append(f"({100 * self.low:.1f} to {100 * self.high:.1f})")
        if self.of is not None:
            parts.append(f"[{self.count} of {self.of}]")
        return " ".join(parts)


def not_defined(reason: str) -> Figure:
    """A figure without a value."""
    return Figure(None, note=reason)


def counts_only(figure: Figure, reason: str) -> Figure:
    """The figure of which people see the counts alone, because there are too few patients: no interval.

    Args:
        figure: Any.
        reason: Why.
    """
    return figure if figure.value is None else replace(figure, low=None, high=None, few=reason)


def share(count: int, of: int, *, interval: bool = True, threshold: float | None = None, note: str = "") -> Figure:
    """A share of independent things, with the exact 95 % interval of Clopper & Pearson (Biometrika 1934).

    Args:
        count: How many.
        of: Of how many, at least 1.
        interval: Whether to give the interval, which is right where the things are independent only.
        threshold: Score from which something was counted.
        note: What a reader must know.
    """
    from scipy.stats import binomtest

    if not interval:
        return Figure(count / of, None, None, count, of, threshold, note)
    exact = binomtest(count, of).proportion_ci(0.95, method="exact")
    return Figure(count / of, float(exact.low), float(exact.high), count, of, threshold, note)
