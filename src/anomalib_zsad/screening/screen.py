"""Screen everything below an input path: one series after the other, resumable, and no series stops the others."""

import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from anomalib_zsad.outputs.atomic import is_partial_file, remove_partial, whole_folder, write_text
from anomalib_zsad.outputs.disk_errors import NOTHING_CAN_BE_WRITTEN, DiskError, disk_errors
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.outputs.output_folder import OutputInUseError
from anomalib_zsad.outputs.versions import versions
from anomalib_zsad.pages.run_index import write_index
from anomalib_zsad.scoring.scores import SliceScorer
from anomalib_zsad.screening.decisions import DecisionRule
from anomalib_zsad.screening.options import VolumeOptions, volume_fingerprint
from anomalib_zsad.screening.progress import Progress
from anomalib_zsad.screening.screen_volume import screen_volume
from anomalib_zsad.screening.summary import DONE, REFUSED, WARNED, Entry, counts, summary_csv
from anomalib_zsad.volumes.faults import Fault, Finding, Outcome, skip, warn
from anomalib_zsad.volumes.guard import guarded
from anomalib_zsad.volumes.reading.discovery import Candidate, discover
from anomalib_zsad.volumes.reading.loading import MASK_REASON, Job, ReadingOptions, is_mask, plan_jobs

_CALIBRATED_ON = "this volume is one of those calibrated on: its p-values are no evidence"


@dataclass(frozen=True)
class ScreeningOptions:
    """A screening run.

    Attributes:
        reading: How inputs are read.
        volume: How volumes are screened.
        rule: How scores become decisions.
        series: Pseudonyms of the series or volumes to screen; empty for all.
        resume: Go on with an interrupted run in the same output folder.
        source_names: Put file names (which may hold patient data) into the summary.
        progress: Show progress bars where standard error is a terminal.
    """

    reading: ReadingOptions = field(default_factory=ReadingOptions)
    volume: VolumeOptions = field(default_factory=VolumeOptions)
    rule: DecisionRule = field(default_factory=DecisionRule)
    series: tuple[str, ...] = ()
    resume: bool = False
    source_names: bool = False
    progress: bool = True


def screen(
    location: Path, output: Path, scorer: SliceScorer, options: ScreeningOptions | None = None
) -> tuple[ExitCode, list[Entry]]:
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
    if options.rule.calibration is not None:
        options.rule.calibration.check(volume_fingerprint(scorer.describe(), options.volume, options.reading.mode))
    run = _Run(Path(output), scorer, options, _settings(options, scorer))
    if not Path(location).exists():
        raise FileNotFoundError(f"there is nothing at the input path: {location}")
    _prepare_output(Path(location), run)
    run.write_summary("running")
    try:
        run.screen_all(Path(location))
    except KeyboardInterrupt:
        run.write_summary("interrupted")
        return ExitCode.INTERRUPTED, run.entries
    except DiskError as error:
        run.try_write_summary(f"stopped: {error}")
        return ExitCode.DISK, run.entries
    return exit_code(run.entries), run.entries


def exit_code(entries: list[Entry]) -> ExitCode:
    """The exit code of a run that came to its end."""
    number = counts(entries)
    if number[DONE] + number[WARNED] == 0:
        return ExitCode.ALL_REFUSED if number[REFUSED] else ExitCode.NOTHING_FOUND
    return ExitCode.SOME_REFUSED if number[REFUSED] else ExitCode.DONE


@dataclass
class _Run:
    """State of one run."""

    output: Path
    scorer: SliceScorer
    options: ScreeningOptions
    settings: dict[str, Any]
    entries: list[Entry] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def screen_all(self, location: Path) -> None:
        """Screen all series, writing the summary after each."""
        found = discover(location, self.options.reading.budget)
        self.entries = [Entry.left_out(finding) for finding in found.findings]
        with Progress(len(found.candidates), enabled=self.options.progress) as progress:
            for candidate in found.candidates:
                self._screen_candidate(candidate, progress)
                progress.series_done()
                self.write_summary("running")
        for key in self.options.series:
            if key not in self.seen:
                message = "no series of this name in the input; `anomalib-zsad info` lists the names"
                self.entries.append(Entry.left_out(Finding(Fault.OTHER_FILE, Outcome.REFUSE, message), key))
        self.write_summary("complete")

    def _screen_candidate(self, candidate: Candidate, progress: Progress) -> None:
        self.seen.add(candidate.key)
        facts = {"study": candidate.study, "modality": candidate.modality, "source": candidate.files[0].name}
        planned: list[tuple[list[Job], list[Finding]]] = []
        failure = guarded(lambda: planned.append(plan_jobs(candidate, self.options.reading)))
        if failure is not None:
            if self._chosen(candidate.key):
                self.entries.append(Entry.left_out(failure, candidate.key, **facts))
            return
        jobs, left_out = planned[0]
        self.seen.update(job.key for job in jobs)
        if self._chosen(candidate.key):
            self.entries += [Entry.left_out(finding, candidate.key, **facts) for finding in left_out]
        for job in jobs:
            if self._chosen(job.key) or self._chosen(candidate.key):
                self._screen_job(job, progress, facts)

    def _chosen(self, key: str) -> bool:
        return not self.options.series or key in self.options.series

    def _screen_job(self, job: Job, progress: Progress, facts: dict[str, str]) -> None:
        failure = guarded(lambda: self._read_and_screen(job, self.output / job.key, progress, facts))
        if failure is not None:
            self.entries.append(Entry.left_out(failure, job.key, **facts))

    def _read_and_screen(self, job: Job, target: Path, progress: Progress, facts: dict[str, str]) -> None:
        if target.exists():
            self.entries.append(Entry.from_report(job, target))
            return
        started = time.perf_counter()
        volume = job.read(self.options.reading)
        if is_mask(volume):
            finding = skip(Fault.NOT_AN_IMAGE, MASK_REASON)
            self.entries.append(Entry.left_out(finding, job.key, **facts))
            return
        known = {
            "series": job.key,
            "study": job.candidate.study or None,
            "images": job.images,
            "source_kind": job.candidate.kind,
            "seconds": {"reading": time.perf_counter() - started},
        }
        progress.start_slices(job.key, len(volume.slices))
        with disk_errors(*NOTHING_CAN_BE_WRITTEN), whole_folder(target) as folder:
            rule = self.options.rule
            if rule.calibration is not None and job.images in rule.calibration.cases:
                volume.findings.append(warn(Fault.CALIBRATION, _CALIBRATED_ON))
            options = self.options.volume
            result = screen_volume(volume, self.scorer, options, folder, rule=rule, facts=known, advance=progress)
        self.entries.append(Entry.done(job, volume, result))

    def write_summary(self, state: str) -> None:
        """Write summary.json and summary.csv, each whole.

        Raises:
            DiskError: If that fails.
        """
        names = self.options.source_names
        summary = {
            "format": 1,
            "statement": self.options.rule.statement,
            "state": state,
            "settings": self.settings,
            "versions": versions(),
            "counts": counts(self.entries),
            "series": [entry.as_dict(with_files=names) for entry in self.entries],
        }
        with disk_errors():
            write_text(self.output / "summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
            write_text(self.output / "summary.csv", summary_csv(self.entries, with_files=names))
            if self.options.volume.pages:
                calibrated = self.options.rule.calibration is not None
                write_index(self.output, summary, self.entries, calibrated=calibrated, with_files=names)

    def try_write_summary(self, state: str) -> None:
        """The same on a disk that may be full: the last whole summary stays where this fails."""
        try:
            self.write_summary(state)
        except DiskError:
            return


def _settings(options: ScreeningOptions, scorer: SliceScorer) -> dict[str, Any]:
    """What decides results, in JSON's types: a run is resumed with equal settings only."""
    model = {name: value for name, value in scorer.describe().items() if name != "device"}
    volume = {name: value for name, value in asdict(options.volume).items() if name not in ("batch_size", "pages")}
    decisions = options.rule.settings()
    settings = {"reading": asdict(options.reading), "volume": volume, "decisions": decisions, "model": model}
    return json.loads(json.dumps(settings))


def _prepare_output(location: Path, run: _Run) -> None:
    """Make the output folder, or take up an earlier run's.

    Raises:
        OutputInUseError: If it holds something else, or lies inside the input.
    """
    output = run.output
    if location.is_dir() and Path(os.path.realpath(output)).is_relative_to(location.resolve()):
        raise OutputInUseError("the output folder lies inside the input folder; choose another place")
    with disk_errors():
        output.mkdir(parents=True, exist_ok=True)
        if all(is_partial_file(path) for path in output.iterdir()):  # empty, or killed before its first summary
            remove_partial(output)
            return
    summary = output / "summary.json"
    if not summary.is_file():
        raise OutputInUseError(f"{output} is not empty and holds no earlier run; choose a new folder")
    if not run.options.resume:
        raise OutputInUseError(f"{output} holds an earlier run; give --resume to go on with it, or choose a new folder")
    earlier = _settings_in(summary)
    if earlier != run.settings:
        changed = [part for part in run.settings if earlier.get(part) != run.settings[part]]
        raise OutputInUseError(
            f"{output} holds a run with other settings ({', '.join(changed)}); choose a new folder, or repeat them"
        )
    with disk_errors():
        remove_partial(output)


def _settings_in(summary: Path) -> dict[str, Any]:
    """The settings of an earlier run.

    Raises:
        OutputInUseError: If the file is no summary of a run.
    """
    try:
        settings = json.loads(summary.read_text(encoding="utf-8"))["settings"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputInUseError(f"{summary} cannot be read as an earlier run's; choose a new folder") from error
    if not isinstance(settings, dict):
        raise OutputInUseError(f"{summary} is no earlier run's; choose a new folder")
    return settings
