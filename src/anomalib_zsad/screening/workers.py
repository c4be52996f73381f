"""What screens series: this process, or workers of a crew, each with a model of its own."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from anomalib_zsad.outputs.object_store import Place
from anomalib_zsad.records.run_summary import RunEntry
from anomalib_zsad.scoring.scores import SliceScorer
from anomalib_zsad.screening.options import ScreeningOptions
from anomalib_zsad.screening.result_place import ResultPlace, result_place
from anomalib_zsad.screening.series_units import SeriesTask, SeriesUnits, record, recorded, worker_refused
from anomalib_zsad.units.crew import Driver, GivenUp
from anomalib_zsad.units.records import Records
from anomalib_zsad.units.shared_folder import claims_in, presence_in, records_in
from anomalib_zsad.volumes.input_files import state_of

Done = tuple[SeriesTask, list[RunEntry] | None]
"""A series and what became of it; `None` where another process is at work on it."""


class Workforce(Protocol):
    """What screens series."""

    def work_off(self, tasks: Iterator[SeriesTask]) -> Iterator[Done]:
        """Screen series, in any order."""
        ...


class ThisProcess:
    """Screens one series after the other.

    Args:
        units: Does it.
    """

    def __init__(self, units: SeriesUnits) -> None:
        self._units = units

    def work_off(self, tasks: Iterator[SeriesTask]) -> Iterator[Done]:
        """Screen series, in their order."""
        return ((task, self._units.do(task)) for task in tasks)


class CrewOfWorkers:
    """Has series screened by workers; what is done already is not handed out.

    Args:
        driver: Of the workers.
        place: Where results go. Where workers do not share records with this process, it makes them.
        records: What was screened.
        with_files: Whether names of files are written.
    """

    def __init__(self, driver: Driver, place: ResultPlace, records: Records, *, with_files: bool) -> None:
        self._driver, self._place, self._records, self._with_files = driver, place, records, with_files

    def work_off(self, tasks: Iterator[SeriesTask]) -> Iterator[Done]:
        """Screen series, in the order in which workers are done with them."""
        found: list[Done] = []
        for task, result in self._driver.run(self._left(tasks, found)):
            while found:
                yield found.pop()
            if not self._place.shared and isinstance(result, list):
                self._record(task, result)
            yield task, self._given_up(task) if isinstance(result, GivenUp) else result
        yield from found

    def _left(self, tasks: Iterator[SeriesTask], found: list[Done]) -> Iterator[SeriesTask]:
        """Those that are to be handed out; the others are put aside."""
        for task in tasks:
            done = recorded(task, self._records, self._place)
            if done is None:
                yield task
            else:
                found.append((task, done))

    def _given_up(self, task: SeriesTask) -> list[RunEntry]:
        """Refuse a series that ended its worker too often."""
        entries = [worker_refused(task.candidate)]
        self._record(task, entries)
        return entries

    def _record(self, task: SeriesTask, entries: list[RunEntry]) -> None:
        state = state_of(task.candidate.files)
        record(task, state, entries, self._records, self._place, with_files=self._with_files)


@dataclass(frozen=True)
class StartSeriesWorker:
    """Makes what a worker screens with, in the worker.

    Attributes:
        build: Builds the model, on a device of a name.
        devices: Names of devices; workers take turns.
        output: The run's folder, as workers see it, or its place in an object store.
        options: How to screen.
        threads: CPU threads; more may be told once the number of workers is known.
    """

    build: Callable[[str], SliceScorer]
    devices: tuple[str, ...]
    output: Place
    options: ScreeningOptions
    threads: int = 1

    def __call__(self, number: int) -> "SeriesWorker":
        """The hands of worker `number`."""
        torch.set_num_threads(self.threads)
        return SeriesWorker(self.build(self.devices[number % len(self.devices)]), self.output, self.options)


class SeriesWorker:
    """Screens series that are handed to it.

    Args:
        scorer: The model.
        output: The run's folder, where the driver has joined the run, or its place in an object store.
        options: How.
    """

    def __init__(self, scorer: SliceScorer, output: Place, options: ScreeningOptions) -> None:
        self._scorer, self._output, self._options = scorer, output, options
        self._units: SeriesUnits | None = None

    def describe(self) -> dict[str, Any]:
        """What the model says of itself."""
        return self._scorer.describe()

    def configure(self, value: int) -> None:
        """Take so many CPU threads."""
        torch.set_num_threads(value)

    def __call__(self, task: SeriesTask) -> list[RunEntry] | None:
        """What became of a series; `None` where another process is at work on it.

        Raises:
            DiskError: If the output cannot be written.
        """
        if self._units is None:
            place = result_place(self._output)
            self._presence = presence_in(place.folder)  # which outlives a driver that is killed
            records, claims = records_in(place.folder, self._options.part), claims_in(place.folder)
            self._units = SeriesUnits(place, self._scorer, self._options, records, claims)
        return self._units.do(task)
