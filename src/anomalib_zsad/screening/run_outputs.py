"""What a run tells as a whole, made of the records of its units: summary.json, summary.csv and index.html."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anomalib_zsad.outputs.atomic import write_text
from anomalib_zsad.outputs.disk_errors import disk_errors
from anomalib_zsad.pages.run_index import write_index
from anomalib_zsad.records.run_summary import RunEntry, RunSummary
from anomalib_zsad.screening.options import ScreeningOptions
from anomalib_zsad.units.claims import Claims
from anomalib_zsad.units.records import Records
from anomalib_zsad.volumes.reading.series_index import SeriesIndex

LEFT_OUT = "left out"
"""The unit of all files that belong to no series."""

_SUMMARY = "the summary"


@dataclass
class RunOutputs:
    """The outputs of a run as a whole.

    Attributes:
        output: The run's folder.
        options: Of the screening.
        settings: What decides results.
        records: What became of the units.
        claims: By which processes write one after the other.
        others: Entries that are of no unit: names that were asked for in vain.
    """

    output: Path
    options: ScreeningOptions
    settings: Mapping[str, Any]
    records: Records
    claims: Claims
    others: Sequence[RunEntry] = field(default_factory=list)

    def write(self, state: str, index: SeriesIndex | None) -> None:
        """Write all of them, each whole, from what all processes have recorded.

        Args:
            state: `complete` if all is done; else as of `RunSummary`.
            index: What the input holds; `None` before it is known.

        Raises:
            DiskError: If that fails.
        """
        with disk_errors(), self.claims.claim(_SUMMARY, seconds=-1):
            self.records.refresh(everything=True)
            entries = [] if index is None else [*self._entries(index), *self.others]
            if state == "complete" and index is not None and not self.options.series:
                state = self._completeness(index)
            rule = self.options.rule
            calibrated, names = rule.calibration is not None, self.options.source_names
            summary = RunSummary(rule.statement, state, calibrated, self.settings, entries, names)
            write_text(self.output / "summary.json", summary.text())
            write_text(self.output / "summary.csv", summary.table())
            if self.options.volume.pages:
                write_index(self.output, summary)

    def _completeness(self, index: SeriesIndex) -> str:
        """`complete`, or what others still have to do."""
        done = sum("/" not in unit and index.place(unit) is not None for unit in self.records)
        missing = len(index) - done
        return "complete" if not missing else f"incomplete: {missing} series of other parts have no result yet"

    def _entries(self, index: SeriesIndex) -> Iterator[RunEntry]:
        """Entries of what the input holds, in its order; what earlier runs found that is gone is not among them."""
        chosen = self.options.series
        yield from self._of_unit(LEFT_OUT)
        planned = ((index.place(unit.partition("/")[0]), unit) for unit in self.records)
        whole = ""
        for _, unit in sorted((place, unit) for place, unit in planned if place is not None):
            key, _, part = unit.partition("/")
            if part and key == whole:  # a volume of a series that was screened as a whole, too
                continue
            whole = "" if part else key
            yield from (entry for entry in self._of_unit(unit) if not chosen or asked_for(entry.series, key, chosen))

    def _of_unit(self, unit: str) -> list[RunEntry]:
        known = self.records.get(unit)
        return [] if known is None else [RunEntry.from_dict(entry) for entry in known.outcome]


def asked_for(volume: str, series: str, chosen: Sequence[str]) -> bool:
    """Whether a volume was asked for, by its own name or by that of its series."""
    return volume in chosen or series in chosen
