"""Screen everything below an input path: series by series, resumable, by any number of processes."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from anomalib_zsad.outputs.disk_errors import DiskError, disk_errors
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.outputs.object_store import Place, StorePlace
from anomalib_zsad.outputs.output_folder import OutputInUseError
from anomalib_zsad.outputs.progress import Progress
from anomalib_zsad.outputs.terminal import visible
from anomalib_zsad.outputs.termination import exit_code_of_interrupt
from anomalib_zsad.records.run_summary import DONE, REFUSED, WARNED, RunEntry, counts
from anomalib_zsad.scoring.scores import SliceScorer
from anomalib_zsad.screening.options import ScreeningOptions, volume_fingerprint
from anomalib_zsad.screening.result_place import ResultPlace, result_place
from anomalib_zsad.screening.run_outputs import LEFT_OUT, PLAN, Plan, RunOutputs
from anomalib_zsad.screening.series_units import SeriesTask, SeriesUnits, unknown
from anomalib_zsad.screening.workers import CrewOfWorkers, ThisProcess, Workforce
from anomalib_zsad.units.crew import Crew, Driver, Ready, WorkersLostError
from anomalib_zsad.units.intervals import GrowingIntervals
from anomalib_zsad.units.records import Records
from anomalib_zsad.units.shared_folder import SharedRunFolder
from anomalib_zsad.units.worker_count import Share
from anomalib_zsad.volumes.reading.discovery import index_series
from anomalib_zsad.volumes.reading.series_index import SeriesIndex

After = Callable[[list[RunEntry]], None]
"""What is done after each series, with its entries."""

_LOG = logging.getLogger(__name__)


def screen(
    location: Place,
    output: Place,
    scorer: SliceScorer,
    options: ScreeningOptions | None = None,
    after: After = lambda _: None,
) -> tuple[ExitCode, list[RunEntry]]:
    """Screen every series below a location.

    Several processes may do so in one output folder, with equal settings: each series is screened by one of them.

    Args:
        location: A file, folder or zip archive, or a place in an object store. It is only read.
        output: A new or empty folder, or with `resume` the folder of an earlier run with equal settings, which others
            may be at work in; or such a place in an object store. Never inside the input.
        scorer: The model.
        options: How.
        after: Called with the entries of each series once it is done. A `KeyboardInterrupt` that it raises ends the
            run as one of the user's does.

    Returns:
        The exit code, and one entry for everything that was found, or in a part of a run for everything of this part.
        `summary.json` and `summary.csv` in `output` hold those of all parts; they are written at the end, and before
        it at intervals that grow.

    Raises:
        FileNotFoundError: If there is nothing at `location`.
        OutputInUseError: If `output` cannot be used; says what to do.
        DiskError: If `output` cannot be written from the start.
        CalibrationMismatchError: If the calibration was made with another model or other settings.
    """
    options = options or ScreeningOptions()

    def alone(run: "_Run", progress: Progress) -> Workforce:
        slices = progress.bar("slices")
        return ThisProcess(SeriesUnits(run.place, scorer, options, run.records, run.folder.claims, slices))

    return _screen(location, output, scorer.describe(), options, alone, after=after)


def screen_by_crew(
    location: Place,
    output: Place,
    crew: Crew,
    options: ScreeningOptions,
    share_out: Callable[[Ready], Share],
) -> tuple[ExitCode, list[RunEntry]]:
    """The same by workers, each with a model of its own.

    Args:
        location: As of `screen`.
        output: As of `screen`; workers must see it under the same path.
        crew: Workers that start as `StartSeriesWorker` says. They are ended when this returns.
        options: How.
        share_out: Decides how many workers there are, once the first is ready.

    Raises:
        WorkersLostError: If workers die before they have done anything.
        Exception: As `screen`, and what building the model in a worker raises.
    """
    try:
        driver = Driver(crew)
        shared = share_out(driver.first)
        crew.configure(shared.threads)
        driver.grow(shared.workers)

        def many(run: "_Run", progress: Progress) -> Workforce:
            del progress
            return CrewOfWorkers(driver, run.place, run.records, with_files=options.source_names)

        return _screen(location, output, driver.first.description, options, many, crew.close)
    finally:
        crew.close()


def _screen(
    location: Place,
    output: Place,
    description: dict[str, Any],
    options: ScreeningOptions,
    workforce: Callable[["_Run", Progress], Workforce],
    dismiss: Callable[[], None] = lambda: None,
    after: After = lambda _: None,
) -> tuple[ExitCode, list[RunEntry]]:
    """Screen, by this process or others, which are dismissed before the folder is left."""
    check_calibration(options, description)
    if not location.exists():
        raise FileNotFoundError(f"there is nothing at the input path: {location}")
    settings = run_settings(options, description)
    place = result_place(output)
    try:
        place.begin()
        with _run_folder(location, output, place, settings, options) as folder:
            with disk_errors():
                place.publish()  # a store that takes nothing is told before anything is screened
            run = _Run(place, options, settings, folder, after)
            return _screen_all(run, location, workforce, dismiss)
    finally:
        place.close()


def _run_folder(
    location: Place, output: Place, place: ResultPlace, settings: dict[str, Any], options: ScreeningOptions
) -> SharedRunFolder:
    """The folder of the run; its place is not inside the input.

    Raises:
        OutputInUseError: If it is.
    """
    if isinstance(location, StorePlace) and isinstance(output, StorePlace) and output.is_relative_to(location):
        raise OutputInUseError("the output lies inside the input; choose another place")
    return SharedRunFolder(
        place.folder,
        "screen",
        settings,
        source=location if isinstance(location, Path) and isinstance(output, Path) else None,
        resume=options.resume,
        part=options.part,
        shown=place.shown,
    )


def _screen_all(
    run: "_Run",
    location: Place,
    workforce: Callable[["_Run", Progress], Workforce],
    dismiss: Callable[[], None],
) -> tuple[ExitCode, list[RunEntry]]:
    """Screen, and leave a summary however it ends."""
    try:
        run.screen_all(location, workforce)
    except KeyboardInterrupt as interrupt:
        dismiss()
        run.try_write("interrupted")
        return exit_code_of_interrupt(interrupt), run.entries
    except DiskError as error:
        _LOG.error("stopped: %s", visible(str(error)))
        run.try_write(f"stopped: {error}")
        return ExitCode.DISK, run.entries
    except WorkersLostError as error:
        run.try_write(f"stopped: {error}")
        raise
    finally:
        dismiss()
        run.close()
    return exit_code(run.entries), run.entries


def check_calibration(options: ScreeningOptions, description: dict[str, Any]) -> None:
    """Refuse a calibration that was made with another model or other settings.

    Raises:
        CalibrationMismatchError: If it was.
    """
    if options.rule.calibration is not None:
        options.rule.calibration.check(volume_fingerprint(description, options.volume, options.reading.mode))


def exit_code(entries: list[RunEntry]) -> ExitCode:
    """The exit code of a run that came to its end."""
    number = counts(entries)
    if number[DONE] + number[WARNED] == 0:
        return ExitCode.ALL_REFUSED if number[REFUSED] else ExitCode.NOTHING_FOUND
    return ExitCode.SOME_REFUSED if number[REFUSED] else ExitCode.DONE


def run_settings(options: ScreeningOptions, description: dict[str, Any]) -> dict[str, Any]:
    """What decides results, in JSON's types: a run is resumed with equal settings only.

    Args:
        options: Of the screening.
        description: What the scorer says of itself.
    """
    model = {name: value for name, value in description.items() if name != "device"}
    volume = {name: value for name, value in asdict(options.volume).items() if name not in ("batch_size", "pages")}
    decisions = options.rule.settings()
    settings = {"reading": asdict(options.reading), "volume": volume, "decisions": decisions, "model": model}
    return json.loads(json.dumps(settings))


@dataclass
class _Run:
    """State of one run."""

    place: ResultPlace
    options: ScreeningOptions
    settings: dict[str, Any]
    folder: SharedRunFolder
    after: After = lambda _: None
    _outcomes: list[tuple[int, list[RunEntry]]] = field(default_factory=list)
    _index: SeriesIndex | None = None
    _seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        with disk_errors():
            self.records: Records = self.folder.records()
        self._outputs = RunOutputs(self.place, self.settings, self.records, self.folder.claims, self.options.series)
        self._plan = Plan("", 0, self.options.rule.statement, self.options.source_names, self.options.volume.pages)

    @property
    def entries(self) -> list[RunEntry]:
        """What became of everything so far, in the order of the input."""
        ordered = sorted(self._outcomes, key=lambda outcome: outcome[0])
        return [entry for _, entries in ordered for entry in entries]

    def screen_all(self, location: Place, workforce: Callable[["_Run", Progress], Workforce]) -> None:
        """Screen all series of this part."""
        if not self.folder.resumed:
            self._write("running")
        with Progress(enabled=self.options.progress) as progress:
            finding = progress.bar("files looked at", 0)
            self._index = index = index_series(location, self.options.reading.budget, finding.advance)
            finding.remove()
            self._take_up_plan(index)
            expected = planned = self._expected(index)
            series = progress.bar("series", expected)
            intervals = GrowingIntervals()
            for place, entries in self._each(index, workforce(self, progress)):
                self._outcomes.append((place, entries))
                self.after(entries)
                expected += len(entries) - 1  # how many volumes a series holds is seen when it is read
                series.expect(expected)
                series.advance(len(entries))
                if intervals.due() and len(self._outcomes) < planned:  # after the last one all is written anyway
                    intervals.begin()
                    self._write("running")
                    intervals.end()
        self._outputs.others = [unknown(key) for key in self.options.series if key not in self._seen]
        self._outcomes.append((len(index), list(self._outputs.others)))
        self._write("complete")

    def _expected(self, index: SeriesIndex) -> int:
        """How many series are to be screened, as far as can be known."""
        part = self.options.part
        return len(index) if part.whole else sum(part.holds(key) for key in index.names())

    def _each(self, index: SeriesIndex, workforce: Workforce) -> Iterator[tuple[int, list[RunEntry]]]:
        """Entries of each series; those that another process is at work on come last."""
        postponed: list[SeriesTask] = []
        for task, entries in workforce.work_off(self._tasks(index)):
            if entries is None:
                postponed.append(replace(task, patience=-1))
            else:
                yield task.place, entries
        for task, entries in workforce.work_off(iter(postponed)):
            yield task.place, entries or []

    def _tasks(self, index: SeriesIndex) -> Iterator[SeriesTask]:
        """The series to be screened."""
        for place, candidate in enumerate(index):
            volumes = self._asked(candidate.key)
            if volumes is not None and self.options.part.holds(candidate.key):
                yield SeriesTask(candidate, place, volumes)

    def _asked(self, key: str) -> tuple[str, ...] | None:
        """Which volumes of a series are asked for: `()` is all, `None` not one."""
        chosen = self.options.series
        if not chosen or key in chosen:
            self._seen.add(key)
            return ()
        volumes = tuple(sorted(name for name in chosen if name.startswith(f"{key}-")))
        self._seen.update(volumes)
        return volumes or None

    def _take_up_plan(self, index: SeriesIndex) -> None:
        """Record what the input holds; files that belong to no series are told by the first part."""
        digest = hashlib.sha256()
        for key in index.names():
            digest.update(key.encode())
        self._plan = replace(self._plan, digest=digest.hexdigest(), series=len(index))
        self._note(PLAN, self._plan.as_dict())
        for unit in [unit for unit in self.records if "/" not in unit and unit not in (PLAN, LEFT_OUT)]:
            if index.place(unit) is None:
                self._note(unit, [])
        if self.options.part.number == 0:
            told, names = self.options.reading.told, self.options.source_names
            entries = [RunEntry.left_out(told(finding)) for finding in index.findings]
            self._outcomes.append((-1, entries))
            self._note(LEFT_OUT, [entry.as_dict(with_files=names) for entry in entries])

    def _note(self, unit: str, outcome: Any) -> None:
        """Record what is no series of the input, if there is anything new."""
        known = self.records.get(unit)
        if known is None or known.outcome != outcome:
            with disk_errors():
                self.records.add(unit, -1, "", outcome)

    def _write(self, state: str) -> None:
        self._outputs.write(state, self._plan, self._place)

    def _place(self, unit: str) -> int | None:
        return None if self._index is None else self._index.place(unit.partition("/")[0])

    def try_write(self, state: str) -> None:
        """Write the summary on a disk that may be full: the last whole one stays where this fails."""
        try:
            self._write(state)
        except DiskError:
            return

    def close(self) -> None:
        """Close index and records."""
        self.records.close()
        if self._index is not None:
            self._index.close()
