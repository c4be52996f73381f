"""What a run tells as a whole, made of the records of its units: summary.json, summary.csv and index.html."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from anomalib_zsad.outputs.atomic import write_text
from anomalib_zsad.outputs.disk_errors import disk_errors
from anomalib_zsad.pages.run_index import write_index
from anomalib_zsad.records.run_summary import DONE, WARNED, RunEntry, RunSummary
from anomalib_zsad.screening.result_place import ResultPlace
from anomalib_zsad.units.claims import Claims
from anomalib_zsad.units.records import Records

LEFT_OUT = "left out"
"""The unit of all files that belong to no series."""

PLAN = "plan"
"""The record of what the input held: a `Plan`."""

_SUMMARY = "the summary"


@dataclass(frozen=True)
class Plan:
    """What an input held, and what the summary says of the run.

    Attributes:
        digest: Of the names of all series.
        series: How many there are.
        statement: What every output says of the scores.
        with_files: Whether names of files, which may hold patient data, are shown.
        pages: Whether there are pages.
    """

    digest: str
    series: int
    statement: str
    with_files: bool
    pages: bool

    def as_dict(self) -> dict[str, Any]:
        """For its record."""
        return asdict(self)


@dataclass
class RunOutputs:
    """The outputs of a run as a whole.

    Attributes:
        place: Where results lie.
        settings: What decides results.
        records: What became of the units.
        claims: By which processes write one after the other.
        chosen: Series and volumes that were asked for; empty for all.
        others: Entries that are of no unit: names that were asked for in vain.
    """

    place: ResultPlace
    settings: Mapping[str, Any]
    records: Records
    claims: Claims
    chosen: Sequence[str] = ()
    others: Sequence[RunEntry] = field(default_factory=list)

    def write(self, state: str, plan: Plan, place: Callable[[str], int | None]) -> None:
        """Write all of them, each whole, from what all processes have recorded.

        Args:
            state: `complete` if this process has nothing left to do; else as of `RunSummary`.
            plan: What the input holds.
            place: Where a unit comes in the order of the input; `None` where it is not in it.

        Raises:
            DiskError: If that fails.
        """
        with disk_errors(), self.claims.claim(_SUMMARY, seconds=-1):
            self.place.take_up()
            self.records.refresh(everything=True)
            entries = [*self._entries(place), *self.others]
            if state == "complete" and not self.chosen:
                state = self._completeness(plan, place)
            calibrated = self.settings["decisions"]["calibration"] is not None
            summary = RunSummary(plan.statement, state, calibrated, self.settings, entries, plan.with_files)
            folder = self.place.folder
            write_text(folder / "summary.json", summary.text())
            write_text(folder / "summary.csv", summary.table())
            if plan.pages:
                self.place.bring(entry.series for entry in entries if entry.status in (DONE, WARNED))
                write_index(folder, summary)
            self.place.publish()

    def _completeness(self, plan: Plan, place: Callable[[str], int | None]) -> str:
        """`complete`, or what others still have to do."""
        missing = plan.series - sum("/" not in unit and place(unit) is not None for unit in self.records)
        return f"incomplete: {missing} series of other parts have no result yet" if missing > 0 else "complete"

    def _entries(self, place: Callable[[str], int | None]) -> Iterator[RunEntry]:
        """Entries of what the input holds, in its order; what earlier runs found that is gone is not among them."""
        yield from self._of_unit(LEFT_OUT)
        planned = ((place(unit), unit) for unit in self.records)
        whole = ""
        for _, unit in sorted((where, unit) for where, unit in planned if where is not None):
            key, _, part = unit.partition("/")
            if part and key == whole:  # a volume of a series that was screened as a whole, too
                continue
            whole = "" if part else key
            yield from (entry for entry in self._of_unit(unit) if self._asked_for(entry, key))

    def _asked_for(self, entry: RunEntry, series: str) -> bool:
        return not self.chosen or entry.series in self.chosen or series in self.chosen

    def _of_unit(self, unit: str) -> list[RunEntry]:
        known = self.records.get(unit)
        return [] if known is None else [RunEntry.from_dict(entry) for entry in known.outcome]
