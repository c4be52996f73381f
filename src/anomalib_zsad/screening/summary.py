"""What became of everything that a screening run found: one entry for each, as JSON and CSV."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anomalib_zsad.outputs.csv_tables import table_text
from anomalib_zsad.screening.screen_volume import VolumeResult
from anomalib_zsad.volumes.faults import Fault, Finding, refuse
from anomalib_zsad.volumes.reading.loading import Job
from anomalib_zsad.volumes.volume import Volume

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


@dataclass
class Entry:
    """One line of the summary.

    Attributes:
        series: Pseudonym of the volume or series; empty for files that belong to none.
        status: `done`, `done with warnings`, `refused` or `skipped`.
        study: Pseudonym of the study.
        reason: Why it was refused or skipped; the warnings, in short, where it was done with warnings.
        findings: In full, as they go into the JSON file.
        source: Name of the first file, relative to the input; may hold patient data, so it is written on request only.
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
    findings: list[Finding | dict[str, Any]] = field(default_factory=list)
    source: str = ""

    @classmethod
    def done(cls, job: Job, volume: Volume, result: VolumeResult) -> "Entry":
        """A volume that was screened."""
        return cls(
            series=job.key,
            status=WARNED if volume.findings else DONE,
            study=job.candidate.study,
            reason="; ".join(finding.fault.code for finding in volume.findings),
            modality=volume.modality,
            slices=len(result.rows),
            flagged_slices=result.flagged,
            uncertain_slices=result.uncertain,
            volume_score=result.score,
            volume_score_std=result.score_std,
            volume_p_value=result.p_value,
            volume_decision=result.decision,
            findings=list(volume.findings),
            source=job.candidate.files[0].name,
        )

    @classmethod
    def from_report(cls, job: Job, folder: Path) -> "Entry":
        """A volume that an earlier run screened.

        Raises:
            SeriesRefusedError: If the folder holds no whole result, or that of other images.
        """
        try:
            report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
            entry = cls._from_result(job, report, report["result"])
            images = report["images"]
        except (OSError, ValueError, KeyError, TypeError):
            message = "the output holds a folder of this name that is no whole result; move it away and resume"
            refuse(Fault.INTERRUPTED, message)
        if images != job.images:
            message = "the series has other images now than when it was screened; move its folder away and resume"
            refuse(Fault.INTERRUPTED, message)
        return entry

    @classmethod
    def _from_result(cls, job: Job, report: dict[str, Any], result: dict[str, Any]) -> "Entry":
        return cls(
            series=job.key,
            status=WARNED if report["warnings"] else DONE,
            study=job.candidate.study,
            reason="; ".join(warning["code"] for warning in report["warnings"]),
            modality=report["modality"] or "",
            slices=result["slices"],
            flagged_slices=result["flagged_slices"],
            uncertain_slices=result["uncertain_slices"],
            volume_score=result["volume_score"],
            volume_score_std=result["volume_score_std"],
            volume_p_value=result["volume_p_value"],
            volume_decision=result["volume_decision"],
            findings=list(report["warnings"]),
            source=job.candidate.files[0].name,
        )

    @classmethod
    def left_out(
        cls, finding: Finding, series: str = "", study: str = "", modality: str = "", source: str = ""
    ) -> "Entry":
        """Something that was refused or skipped."""
        source = source or (finding.files[0] if finding.files else "")
        return cls(series, finding.outcome.value, study, finding.message, modality, findings=[finding], source=source)

    def as_dict(self, *, with_files: bool) -> dict[str, Any]:
        """For summary.json."""
        record: dict[str, Any] = {name: getattr(self, name) for name in _COLUMNS}
        record["findings"] = [
            finding.as_dict(with_files=with_files) if isinstance(finding, Finding) else finding
            for finding in self.findings
        ]
        if with_files:
            record["source"] = self.source
        return record


def counts(entries: list[Entry]) -> dict[str, int]:
    """How many entries have each status."""
    found = Counter(entry.status for entry in entries)
    return {status: found.get(status, 0) for status in (DONE, WARNED, REFUSED, SKIPPED)}


def summary_csv(entries: list[Entry], *, with_files: bool) -> str:
    """One row for each entry."""
    columns = (*_COLUMNS, "source") if with_files else _COLUMNS
    return table_text(columns, ([getattr(entry, name) for name in columns] for entry in entries))
