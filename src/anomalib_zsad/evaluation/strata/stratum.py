"""One stratum: its counts, and its figures with their intervals."""

from collections.abc import Mapping
from dataclasses import dataclass

from anomalib_zsad.evaluation.figure import Figure
from anomalib_zsad.evaluation.results import Run


@dataclass(frozen=True)
class Stratum:
    """What belongs to one value of one column, in one category and run.

    Attributes:
        target, category: Of what.
        run: Which model, protocol and seed.
        column, value: Such as "scanner" and "A"; "(not told)" holds what the table says nothing of.
        counts: How many of what there are.
        figures: By name; where a class has fewer than five patients, people see counts alone.
    """

    target: str
    category: str
    run: Run
    column: str
    value: str
    counts: Mapping[str, int]
    figures: Mapping[str, Figure]
