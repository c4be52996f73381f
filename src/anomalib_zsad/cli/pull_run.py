"""A pulling run: series by series fetched, screened and sent; a file in the output folder tells what is done."""

import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from anomalib_zsad.network.errors import NetworkError, RetrievalError
from anomalib_zsad.network.series import FoundSeries
from anomalib_zsad.network.sources import Source
from anomalib_zsad.network.targets import Target
from anomalib_zsad.outputs.atomic import whole_folder, write_text
from anomalib_zsad.outputs.disk_errors import NOTHING_CAN_BE_WRITTEN, DiskError, disk_errors
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.outputs.output_folder import OutputInUseError, RunFolder
from anomalib_zsad.outputs.progress import Progress
from anomalib_zsad.outputs.terminal import counted
from anomalib_zsad.outputs.termination import Terminated
from anomalib_zsad.pages.run_index import write_index
from anomalib_zsad.records.run_summary import REFUSED, RunEntry, RunSummary
from anomalib_zsad.scoring.scores import SliceScorer
from anomalib_zsad.screening.options import ScreeningOptions, volume_fingerprint
from anomalib_zsad.screening.screen import exit_code, screen
from anomalib_zsad.volumes.reading.discovery import pseudonym

STATE = "pull.json"
IMAGES, _WORK = "images", "work"
SENT = "sent"


@dataclass
class SeriesState:
    """How far a series is.

    Attributes:
        study: Pseudonym of its study.
        modality: Its code.
        images: How many images were fetched.
        screened: Whether it was screened, or refused for what it is. What found no memory is screened another time.
        entries: What became of it, as rows of the summary.
        results: Folders of its results in the output folder.
        targets: For each target `sent`, or why not.
    """

    study: str = ""
    modality: str = ""
    images: int = 0
    screened: bool = False
    entries: list[dict[str, Any]] = field(default_factory=list)
    results: list[str] = field(default_factory=list)
    targets: dict[str, str] = field(default_factory=dict)


@dataclass
class PullRun:
    """A run.

    Attributes:
        output: Its folder.
        source: Where series are fetched.
        targets: Where results are sent.
        scorer: The model.
        options: How series are screened.
        budget: Most bytes of one series.
        keep_images: Whether fetched images stay in the folder `images`.
        states: How far each series is, by pseudonym.
    """

    output: Path
    source: Source
    targets: Sequence[Target]
    scorer: SliceScorer
    options: ScreeningOptions
    budget: int
    keep_images: bool = False
    states: dict[str, SeriesState] = field(default_factory=dict)
    _taken_up: set[str] = field(default_factory=set)

    def run(self, found: Sequence[FoundSeries]) -> tuple[ExitCode, list[RunEntry]]:
        """Fetch, screen and send every series that is not done; one that fails does not stop the others.

        Returns:
            The exit code, and an entry for each series of this run and of those that it goes on with.

        Raises:
            OutputInUseError: If the output folder cannot be used; says what to do.
            DiskError: If the output cannot be written.
            CalibrationMismatchError: If the calibration was made with another model or other settings.
            KeyboardInterrupt: What is done by then is kept.
        """
        calibration = self.options.rule.calibration
        if calibration is not None:
            fingerprint = volume_fingerprint(self.scorer.describe(), self.options.volume, self.options.reading.mode)
            calibration.check(fingerprint)
        with RunFolder(self.output, "pull", self._settings(), source=None, resume=self.options.resume) as folder:
            if folder.resumed:
                self.states = _load(self.output / STATE)
                self._taken_up = set(self.states)
                self._forget_other_targets()
            shutil.rmtree(self.output / _WORK, ignore_errors=True)
            try:
                self._all(found)
            except KeyboardInterrupt:
                self._write("interrupted")
                raise
            self._remove_images_of_unfinished()
            self._write("complete")
        return self._exit_code(), self.entries

    def _remove_images_of_unfinished(self) -> None:
        """An interrupted run may have fetched a series that this one was not asked for."""
        for key, state in self.states.items():
            if not state.screened:
                shutil.rmtree(self.output / IMAGES / key, ignore_errors=True)

    @property
    def entries(self) -> list[RunEntry]:
        """What became of every series."""
        return [
            RunEntry.from_dict(record, found_done=key in self._taken_up)
            for key, state in self.states.items()
            for record in state.entries
        ]

    @property
    def unsent(self) -> list[str]:
        """Pseudonyms of the series whose results not every target has."""
        return [key for key, state in self.states.items() if set(state.targets.values()) - {SENT}]

    def _forget_other_targets(self) -> None:
        """What could not be sent to a target that is no longer asked for is no fault any more."""
        asked = {target.name for target in self.targets}
        for state in self.states.values():
            state.targets = {name: told for name, told in state.targets.items() if told == SENT or name in asked}

    def _exit_code(self) -> ExitCode:
        code = exit_code(self.entries)
        return ExitCode.SOME_REFUSED if code is ExitCode.DONE and self.unsent else code

    def _all(self, found: Sequence[FoundSeries]) -> None:
        with Progress(enabled=self.options.progress, reports=True) as progress:
            bar = progress.bar("series", len(found))
            for series in found:
                key = pseudonym("series", series.series_uid)
                self._one(key, series)
                progress.line(f"{key}: {_told(self.states[key])}")
                bar.advance()
            here = {pseudonym("series", series.series_uid) for series in found}
            for key, state in self.states.items():
                if key not in here and self._send(state):
                    progress.line(f"{key}: {_told(state)}")
            self._write("running")

    def _one(self, key: str, series: FoundSeries) -> None:
        state = self.states.get(key)
        if state is None or not state.screened or series.images not in (None, state.images):
            study = pseudonym("study", series.study_uid)
            self._taken_up.discard(key)
            earlier = state or SeriesState()
            # What was found in fewer images stays until there is something in its place.
            state = SeriesState(study, series.modality, results=earlier.results, targets=earlier.targets)
            self.states[key] = state
            try:
                state.images = self._fetch(key, series)
            except (RetrievalError, OSError) as error:
                reason = str(error) if isinstance(error, RetrievalError) else f"not readable: {error.strerror}"
                entry = RunEntry(key, REFUSED, study, f"not fetched: {reason}", series.modality)
                state.entries = [entry.as_dict(with_files=False)]
            else:
                self._screen(key, state)
            self._write("running")
        if self._send(state):
            self._taken_up.discard(key)
            self._write("running")

    def _fetch(self, key: str, series: FoundSeries) -> int:
        """Fetch the images, unless an interrupted run has; returns how many there are."""
        folder = self.output / IMAGES / key
        if folder.is_dir():
            held = len(list(folder.iterdir()))
            if series.images in (None, held):
                return held
            shutil.rmtree(folder)
        with disk_errors(*NOTHING_CAN_BE_WRITTEN), whole_folder(folder) as partial:
            return self.source.retrieve(series, partial, self.budget)

    def _screen(self, key: str, state: SeriesState) -> None:
        images, work = self.output / IMAGES / key, self.output / _WORK / key
        code, entries = screen(images, work, self.scorer, replace(self.options, resume=False, progress=False))
        if code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
            raise Terminated if code is ExitCode.TERMINATED else KeyboardInterrupt
        if code is ExitCode.DISK:
            raise DiskError("there is no room, or it is read-only")
        fresh = [path for path in sorted(work.iterdir()) if (path / "report.json").is_file()]
        with disk_errors():
            for name in {*state.results, *(path.name for path in fresh)}:
                shutil.rmtree(self.output / name, ignore_errors=True)
            for path in fresh:
                path.replace(self.output / path.name)
            shutil.rmtree(work)
        state.results, state.targets = [path.name for path in fresh], {}
        state.entries = [entry.as_dict(with_files=False) for entry in entries]
        state.screened = not any(finding.fault.passes for entry in entries for finding in entry.findings)
        self._write("running")
        if not self.keep_images:
            shutil.rmtree(images)

    def _send(self, state: SeriesState) -> bool:
        """Send results to every target that has not got them; returns whether there was anything to send."""
        files = [path for name in state.results for path in sorted((self.output / name).rglob("*.dcm"))]
        missing = [target for target in self.targets if state.targets.get(target.name) != SENT] if files else []
        state.targets.update({target.name: _sent(target, files) for target in missing})
        return bool(missing)

    def _write(self, progress: str) -> None:
        """Write how far everything is, the summary and the index, each whole.

        Raises:
            DiskError: If that fails.
        """
        rule = self.options.rule
        summary = RunSummary(rule.statement, progress, rule.calibration is not None, self._settings(), self.entries)
        states = {key: asdict(state) for key, state in self.states.items()}
        with disk_errors():
            write_text(self.output / STATE, json.dumps({"format": 1, "series": states}, indent=1) + "\n")
            write_text(self.output / "summary.json", summary.text())
            write_text(self.output / "summary.csv", summary.table())
            if self.options.volume.pages:
                write_index(self.output, summary)
            for name in (IMAGES, _WORK):
                with suppress(OSError):  # not there, or not empty
                    (self.output / name).rmdir()

    def _settings(self) -> dict[str, Any]:
        """What decides results, in JSON's types. Neither the query nor places: the folder can take up more series."""
        model = {name: value for name, value in self.scorer.describe().items() if name != "device"}
        volume = {
            name: value for name, value in asdict(self.options.volume).items() if name not in ("batch_size", "pages")
        }
        reading, decisions = asdict(self.options.reading), self.options.rule.settings()
        settings = {"reading": reading, "volume": volume, "decisions": decisions, "model": model}
        return json.loads(json.dumps(settings))


def _load(path: Path) -> dict[str, SeriesState]:
    """How far an earlier run came.

    Raises:
        OutputInUseError: If the file is not readable as one that this program wrote.
    """
    if not path.exists():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        states = {key: SeriesState(**state) for key, state in record["series"].items()}
        for state in states.values():
            [RunEntry.from_dict(entry) for entry in state.entries]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputInUseError(f"{path} cannot be read; choose a new folder") from error
    return states


def _sent(target: Target, files: Sequence[Path]) -> str:
    """`sent`, or why not."""
    try:
        target.send(files)
    except NetworkError as error:
        return str(error)
    except OSError as error:
        return f"a result cannot be read: {error.strerror}"
    return SENT


def _told(state: SeriesState) -> str:
    """What became of a series, in a line."""
    statuses = ", ".join(entry["status"] for entry in state.entries) or "nothing to screen"
    reasons = "" if state.screened else f" ({'; '.join(entry['reason'] for entry in state.entries)})"
    sent = "".join(
        f"; sent to {name}" if told == SENT else f"; not sent: {told}" for name, told in state.targets.items()
    )
    return f"{counted(state.images, 'image')}, {statuses}{reasons}{sent}"
