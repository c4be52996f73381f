"""Screen everything below an input path: one series after the other, resumable, and no series stops the others."""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from anomalib_zsad.outputs.atomic import whole_folder, write_text
from anomalib_zsad.outputs.disk_errors import NOTHING_CAN_BE_WRITTEN, DiskError, disk_errors
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.outputs.output_folder import RunFolder
from anomalib_zsad.outputs.progress import Bar, Progress
from anomalib_zsad.outputs.termination import exit_code_of_interrupt
from anomalib_zsad.pages.run_index import write_index
from anomalib_zsad.records.run_summary import DONE, REFUSED, WARNED, RunEntry, RunSummary, counts
from anomalib_zsad.records.series_report import SeriesIdentity
from anomalib_zsad.scoring.scores import SliceScorer
from anomalib_zsad.screening.options import ScreeningOptions, volume_fingerprint
from anomalib_zsad.screening.screen_volume import screen_volume
from anomalib_zsad.volumes.faults import Fault, Finding, Outcome, refuse, skip, warn
from anomalib_zsad.volumes.guard import guarded
from anomalib_zsad.volumes.reading.discovery import Candidate, discover
from anomalib_zsad.volumes.reading.loading import MASK_REASON, Job, is_mask, plan_jobs

_CHANGED = "the input has changed since an earlier run screened it: done again, and the earlier result is replaced"
_CALIBRATED_ON = "this volume is one of those calibrated on: its p-values are no evidence"


def screen(
    location: Path, output: Path, scorer: SliceScorer, options: ScreeningOptions | None = None
) -> tuple[ExitCode, list[RunEntry]]:
    """Screen every series below a location.

    Args:
        location: A file, folder or zip archive. It is only read.
        output: A new or empty folder, or with `resume` the folder of an earlier run with equal settings. Never inside
            the input.
        scorer: The model.
        options: How.

    Returns:
        The exit code, and one entry for everything that was found. `summary.json` and `summary.csv` in `output` hold
        the same; they are rewritten after each series.

    Raises:
        FileNotFoundError: If there is nothing at `location`.
        OutputInUseError: If `output` cannot be used; says what to do.
        DiskError: If `output` cannot be written from the start.
        CalibrationMismatchError: If the calibration was made with another model or other settings.
    """
    options = options or ScreeningOptions()
    location, output = Path(location), Path(output)
    if options.rule.calibration is not None:
        options.rule.calibration.check(volume_fingerprint(scorer.describe(), options.volume, options.reading.mode))
    if not location.exists():
        raise FileNotFoundError(f"there is nothing at the input path: {location}")
    run = _Run(output, scorer, options, _settings(options, scorer))
    with RunFolder(output, "screen", run.settings, source=location, resume=options.resume):
        try:
            run.write_summary("running")
            run.screen_all(location)
        except KeyboardInterrupt as interrupt:
            run.write_summary("interrupted")
            return exit_code_of_interrupt(interrupt), run.entries
        except DiskError as error:
            run.try_write_summary(f"stopped: {error}")
            return ExitCode.DISK, run.entries
    return exit_code(run.entries), run.entries


def exit_code(entries: list[RunEntry]) -> ExitCode:
    """The exit code of a run that came to its end."""
    number = counts(entries)
    if number[DONE] + number[WARNED] == 0:
        return ExitCode.ALL_REFUSED if number[REFUSED] else ExitCode.NOTHING_FOUND
    return ExitCode.SOME_REFUSED if number[REFUSED] else ExitCode.DONE


class _Bars:
    """How far a run is: series, and slices of the one at hand. How many volumes a series holds is seen when it is read.

    Args:
        progress: Where they are shown.
        candidates: How many series were found.
    """

    def __init__(self, progress: Progress, candidates: int) -> None:
        self.series, self.slices = progress.bar("series", candidates), progress.bar("slices")
        self._expected = candidates

    def turned_out(self, volumes: int) -> None:
        """A series is so many volumes, those that are asked for."""
        self._expected += volumes - 1
        self.series.expect(self._expected)


@dataclass
class _Run:
    """State of one run."""

    output: Path
    scorer: SliceScorer
    options: ScreeningOptions
    settings: dict[str, Any]
    entries: list[RunEntry] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def screen_all(self, location: Path) -> None:
        """Screen all series, writing the summary after each."""
        found = discover(location, self.options.reading.budget)
        self.entries = [RunEntry.left_out(self.options.reading.told(finding)) for finding in found.findings]
        with Progress(enabled=self.options.progress) as progress:
            bars = _Bars(progress, len(found.candidates))
            for candidate in found.candidates:
                for entry in self._screen_candidate(candidate, bars):
                    self.entries.append(entry)
                    bars.series.advance()
                self.write_summary("running")
        for key in self.options.series:
            if key not in self.seen:
                message = "no series of this name in the input; `anomalib-zsad info` lists the names"
                self.entries.append(RunEntry.left_out(Finding(Fault.OTHER_FILE, Outcome.REFUSE, message), key))
        self.write_summary("complete")

    def _screen_candidate(self, candidate: Candidate, bars: _Bars) -> Iterator[RunEntry]:
        """Entries of what was asked for of a candidate."""
        self.seen.add(candidate.key)
        planned = guarded(lambda: plan_jobs(candidate, self.options.reading))
        jobs, left_out = ([], [planned]) if isinstance(planned, Finding) else planned
        self.seen.update(job.key for job in jobs)
        chosen = [job for job in jobs if self._chosen(job.key) or self._chosen(candidate.key)]
        left_out = left_out if self._chosen(candidate.key) else []
        bars.turned_out(len(chosen) + len(left_out))
        yield from (_left_out(self.options.reading.told(finding), candidate.key, candidate) for finding in left_out)
        for job in chosen:
            entry = guarded(partial(self._screen_job, job, self.output / job.key, bars.slices))
            if isinstance(entry, Finding):
                entry = _left_out(self.options.reading.told(entry), job.key, candidate)
            yield entry

    def _chosen(self, key: str) -> bool:
        return not self.options.series or key in self.options.series

    def _screen_job(self, job: Job, target: Path, slices: Bar) -> RunEntry:
        changed: list[Finding] = []
        if target.exists():
            found = _found_done(job, target)
            if found is not None:
                return found
            changed.append(warn(Fault.CHANGED_INPUT, _CHANGED))
        candidate, rule = job.candidate, self.options.rule
        started = time.perf_counter()
        volume = job.read(self.options.reading)
        if is_mask(volume):
            return _left_out(skip(Fault.NOT_AN_IMAGE, MASK_REASON), job.key, candidate)
        identity = SeriesIdentity(job.key, candidate.study or None, job.images, candidate.kind)
        reading = time.perf_counter() - started
        slices.restart(job.key, len(volume.slices))
        volume.findings.extend(changed)
        if changed:
            with disk_errors():
                shutil.rmtree(target)
        with disk_errors(*NOTHING_CAN_BE_WRITTEN), whole_folder(target) as folder:
            if rule.calibration is not None and job.images in rule.calibration.cases:
                volume.findings.append(warn(Fault.CALIBRATION, _CALIBRATED_ON))
            report = screen_volume(
                volume,
                self.scorer,
                self.options.volume,
                folder,
                rule=rule,
                identity=identity,
                reading_seconds=reading,
                hash_uids=self.options.reading.hash_uids,
                advance=slices.advance,
            )
        return RunEntry.screened(report.as_dict(), candidate.files[0].name)

    def write_summary(self, state: str) -> None:
        """Write summary.json, summary.csv and the index, each whole.

        Raises:
            DiskError: If that fails.
        """
        rule, names = self.options.rule, self.options.source_names
        calibrated = rule.calibration is not None
        summary = RunSummary(rule.statement, state, calibrated, self.settings, self.entries, names)
        with disk_errors():
            write_text(self.output / "summary.json", summary.text())
            write_text(self.output / "summary.csv", summary.table())
            if self.options.volume.pages:
                write_index(self.output, summary)

    def try_write_summary(self, state: str) -> None:
        """The same on a disk that may be full: the last whole summary stays where this fails."""
        try:
            self.write_summary(state)
        except DiskError:
            return


def _left_out(finding: Finding, key: str, candidate: Candidate) -> RunEntry:
    """The entry of a series, or a volume of it, that was refused or skipped."""
    return RunEntry.left_out(finding, key, candidate.study, candidate.modality, candidate.files[0].name)


def _found_done(job: Job, folder: Path) -> RunEntry | None:
    """The entry of a volume that an earlier run screened; `None` if its input has changed since.

    Raises:
        SeriesRefusedError: If the folder holds no whole result.
    """
    try:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        entry = replace(RunEntry.screened(report, job.candidate.files[0].name), found_done=True)
        images = report["images"]
    except (OSError, ValueError, KeyError, TypeError):
        message = "the output holds a folder of this name that is no whole result; move it away and resume"
        refuse(Fault.INTERRUPTED, message)
    return entry if images == job.images else None


def _settings(options: ScreeningOptions, scorer: SliceScorer) -> dict[str, Any]:
    """What decides results, in JSON's types: a run is resumed with equal settings only."""
    model = {name: value for name, value in scorer.describe().items() if name != "device"}
    volume = {name: value for name, value in asdict(options.volume).items() if name not in ("batch_size", "pages")}
    decisions = options.rule.settings()
    settings = {"reading": asdict(options.reading), "volume": volume, "decisions": decisions, "model": model}
    return json.loads(json.dumps(settings))
