"""What became of everything that a screening run found: an entry for each, as JSON and CSV."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from anomalib_zsad.outputs.csv_tables import table_text
from anomalib_zsad.outputs.versions import versions
from anomalib_zsad.volumes.faults import Finding

DONE, WARNED, REFUSED, SKIPPED = "done", "done with warnings", "refused", "skipped"
_COLUMNS = (
    "series",
    "study",
    "modality",
    "status",
    "slices",
    "flagged_slices",
    "uncertain_slices",
    "volume_score",
    "volume_score_std",
    "volume_p_value",
    "volume_decision",
    "reason",
)


@dataclass(frozen=True)
class RunEntry:
    """One line of the summary.

    Attributes:
        series: Pseudonym of the volume or series; empty for files that belong to none.
        status: `done`, `done with warnings`, `refused` or `skipped`.
        study: Pseudonym of the study.
        reason: Why it was refused or skipped; the warnings, in short, where it was done with warnings.
        findings: In full, as they go into the JSON file.
        source: Name of the first file, relative to the input; may hold patient data, so it is written on request only.
        found_done: Whether an earlier run had screened it; not written.
    """

    series: str
    status: str
    study: str = ""
    reason: str = ""
    modality: str = ""
    slices: int | None = None
    flagged_slices: int | None = None
    uncertain_slices: int | None = None
    volume_score: float | None = None
    volume_score_std: float | None = None
    volume_p_value: float | None = None
    volume_decision: str | None = None
    findings: tuple[Finding, ...] = ()
    source: str = ""
    found_done: bool = False

    @classmethod
    def screened(cls, report: Mapping[str, Any], source: str) -> "RunEntry":
        """A volume that was screened, in this run or an earlier one.

        Args:
            report: The content of its report.json.
            source: Name of its first file.

        Raises:
            KeyError, TypeError, ValueError: If that is no whole report.
        """
        result, findings = report["result"], tuple(Finding.from_dict(record) for record in report["warnings"])
        return cls(
            series=report["series"],
            status=WARNED if findings else DONE,
            study=report["study"] or "",
            reason="; ".join(finding.fault.code for finding in findings),
            modality=report["modality"] or "",
            slices=result["slices"],
            flagged_slices=result["flagged_slices"],
            uncertain_slices=result["uncertain_slices"],
            volume_score=result["volume_score"],
            volume_score_std=result["volume_score_std"],
            volume_p_value=result["volume_p_value"],
            volume_decision=result["volume_decision"],
            findings=findings,
            source=source,
        )

    @classmethod
    def left_out(
        cls, finding: Finding, series: str = "", study: str = "", modality: str = "", source: str = ""
    ) -> "RunEntry":
        """Something that was refused or skipped."""
        source = source or (finding.files[0] if finding.files else "")
        return cls(series, finding.outcome.value, study, finding.message, modality, findings=(finding,), source=source)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], *, found_done: bool = False) -> "RunEntry":
        """An entry from what `as_dict` made of it.

        Args:
            record: The entry.
            found_done: Whether an earlier run had screened it.

        Raises:
            KeyError, TypeError: If that is no entry.
        """
        findings = tuple(Finding.from_dict(finding) for finding in record["findings"])
        return cls(**{**record, "findings": findings, "found_done": found_done})

    def as_dict(self, *, with_files: bool) -> dict[str, Any]:
        """For summary.json."""
        record: dict[str, Any] = {name: getattr(self, name) for name in _COLUMNS}
        record["findings"] = [finding.as_dict(with_files=with_files) for finding in self.findings]
        if with_files:
            record["source"] = self.source
        return record


@dataclass(frozen=True)
class RunSummary:
    """A screening run, at its end or on its way.

    Attributes:
        statement: What every output says of the scores.
        state: `running`, `complete`, `interrupted`, or `stopped: ` and why.
        calibrated: Whether a calibration is in use.
        settings: What decides results: `reading`, `volume`, `decisions` and `model`, by name.
        entries: What became of what was found.
        with_files: Whether names of files, which may hold patient data, are shown.
    """

    statement: str
    state: str
    calibrated: bool
    settings: Mapping[str, Mapping[str, Any]]
    entries: Sequence[RunEntry]
    with_files: bool = False
    versions: Mapping[str, str] = field(default_factory=versions)

    @property
    def counts(self) -> dict[str, int]:
        """How many entries have each status."""
        return counts(self.entries)

    def text(self) -> str:
        """The content of summary.json."""
        record = {
            "format": 1,
            "statement": self.statement,
            "state": self.state,
            "settings": self.settings,
            "versions": self.versions,
            "counts": self.counts,
            "series": [entry.as_dict(with_files=self.with_files) for entry in self.entries],
        }
        return json.dumps(record, indent=2, allow_nan=False) + "\n"

    def table(self) -> str:
        """The content of summary.csv, a row for each entry."""
        columns = (*_COLUMNS, "source") if self.with_files else _COLUMNS
        return table_text(columns, ([getattr(entry, name) for name in columns] for entry in self.entries))


def nothing_was_left(entries: Sequence[RunEntry]) -> bool:
    """Whether an earlier run had screened all that can be; what was refused is tried again by each."""
    done = [entry.found_done for entry in entries if entry.status != SKIPPED]
    return bool(done) and all(done)


def counts(entries: Sequence[RunEntry]) -> dict[str, int]:
    """How many entries have each status."""
    found = Counter(entry.status for entry in entries)
    return {status: found.get(status, 0) for status in (DONE, WARNED, REFUSED, SKIPPED)}
