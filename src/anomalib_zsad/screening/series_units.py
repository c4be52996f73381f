"""A series as a unit of work: planned, read, screened and recorded, once, by whichever process claims it."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

from anomalib_zsad.outputs.disk_errors import NOTHING_CAN_BE_WRITTEN, DiskError, disk_errors
from anomalib_zsad.outputs.object_store import StoreError
from anomalib_zsad.outputs.progress import Bar
from anomalib_zsad.records.run_summary import DONE, REFUSED, WARNED, RunEntry
from anomalib_zsad.records.series_report import SeriesIdentity
from anomalib_zsad.scoring.scores import SliceScorer
from anomalib_zsad.screening.options import ScreeningOptions
from anomalib_zsad.screening.result_place import ResultPlace
from anomalib_zsad.screening.screen_volume import screen_volume
from anomalib_zsad.units.claims import Claims
from anomalib_zsad.units.crew import MOST_ATTEMPTS
from anomalib_zsad.units.records import Records
from anomalib_zsad.volumes.faults import Fault, Finding, Outcome, refuse, skip, warn
from anomalib_zsad.volumes.guard import guarded
from anomalib_zsad.volumes.input_files import state_of
from anomalib_zsad.volumes.reading.discovery import Candidate
from anomalib_zsad.volumes.reading.loading import MASK_REASON, Job, is_mask, plan_jobs
from anomalib_zsad.volumes.reading.store_files import at_hand

_CHANGED = "the input has changed since an earlier run screened it: done again, and the earlier result is replaced"
_CALIBRATED_ON = "this volume is one of those calibrated on: its p-values are no evidence"


@dataclass(frozen=True)
class SeriesTask:
    """A series to be screened.

    Attributes:
        candidate: The series.
        place: Where it comes in the order of the input.
        volumes: Pseudonyms of those of its volumes that were asked for; empty for all.
        patience: Seconds to wait for another process that is at work on it; below zero for as long as it takes.
    """

    candidate: Candidate
    place: int
    volumes: tuple[str, ...] = ()
    patience: float = 0.0

    @property
    def unit(self) -> str:
        """Name of the unit."""
        return "/".join((self.candidate.key, *self.volumes))


class SeriesUnits:
    """Screens series.

    Args:
        place: Where results go.
        scorer: The model.
        options: How.
        records: What was screened.
        claims: What is being screened.
        slices: Shows how far a series is.
    """

    def __init__(
        self,
        place: ResultPlace,
        scorer: SliceScorer,
        options: ScreeningOptions,
        records: Records,
        claims: Claims,
        slices: Bar | None = None,
    ) -> None:
        self._place, self._scorer, self._options = place, scorer, options
        self._records, self._claims, self._slices = records, claims, slices

    def do(self, task: SeriesTask) -> list[RunEntry] | None:
        """Screen a series, unless it is done.

        Returns:
            What became of it; `None` if another process is at work on it.

        Raises:
            DiskError: If the output cannot be written.
        """
        done = recorded(task, self._records, self._place)
        if done is not None:
            return done
        with disk_errors(), self._claims.claim(task.unit, task.patience) as mine:
            if not mine:
                return None
            self._records.refresh()
            done = recorded(task, self._records, self._place)
            if done is not None:
                return done
            state = state_of(task.candidate.files)
            entries = list(self._entries(task))
            record(task, state, entries, self._records, self._place, with_files=self._options.source_names)
        return entries

    def _entries(self, task: SeriesTask) -> Iterator[RunEntry]:
        """What becomes of what was asked for of a series."""
        with ExitStack() as stack:
            candidate = guarded(lambda: stack.enter_context(at_hand(task.candidate)))
            if isinstance(candidate, Finding):
                yield _left_out(self._options.reading.told(candidate), task.candidate.key, task.candidate)
                return
            yield from self._entries_of(candidate, task)

    def _entries_of(self, candidate: Candidate, task: SeriesTask) -> Iterator[RunEntry]:
        """The same of a series whose files are at hand."""
        told = self._options.reading.told
        planned = guarded(lambda: plan_jobs(candidate, self._options.reading))
        jobs, left_out = ([], [planned]) if isinstance(planned, Finding) else planned
        if not task.volumes:
            yield from (_left_out(told(finding), candidate.key, candidate) for finding in left_out)
        for job in jobs:
            if not task.volumes or job.key in task.volumes:
                entry = guarded(partial(self._screen_job, job))
                yield _left_out(told(entry), job.key, candidate) if isinstance(entry, Finding) else entry
        for name in sorted(set(task.volumes) - {job.key for job in jobs}):
            yield unknown(name)

    def _screen_job(self, job: Job) -> RunEntry:
        changed: list[Finding] = []
        report = _report(self._place, job.key)
        if report is not None:
            found = _found_done(job, report)
            if found is not None:
                return found
            changed.append(warn(Fault.CHANGED_INPUT, _CHANGED))
        candidate, rule = job.candidate, self._options.rule
        started = time.perf_counter()
        volume = job.read(self._options.reading)
        if is_mask(volume):
            return _left_out(skip(Fault.NOT_AN_IMAGE, MASK_REASON), job.key, candidate)
        identity = SeriesIdentity(job.key, candidate.study or None, job.images, candidate.kind)
        reading = time.perf_counter() - started
        if self._slices is not None:
            self._slices.restart(job.key, len(volume.slices))
        volume.findings.extend(changed)
        whole = self._place.whole(job.key, again=bool(changed))
        with disk_errors(*NOTHING_CAN_BE_WRITTEN), whole as folder:
            if rule.calibration is not None and job.images in rule.calibration.cases:
                volume.findings.append(warn(Fault.CALIBRATION, _CALIBRATED_ON))
            screened = screen_volume(
                volume,
                self._scorer,
                self._options.volume,
                folder,
                rule=rule,
                identity=identity,
                reading_seconds=reading,
                hash_uids=self._options.reading.hash_uids,
                advance=self._advance,
            )
        return RunEntry.screened(screened.as_dict(), candidate.files[0].name)

    def _advance(self, slices: int) -> None:
        if self._slices is not None:
            self._slices.advance(slices)


def recorded(task: SeriesTask, records: Records, place: ResultPlace) -> list[RunEntry] | None:
    """What became of a series, if that stands: its files are as they were, and the results are there.

    What an earlier run refused does not stand: it is tried again.
    """
    known = records.get(task.unit)
    if known is None or known.state != state_of(task.candidate.files) or not known.state:
        return None
    entries = [RunEntry.from_dict(entry) for entry in known.outcome]
    done = [entry for entry in entries if entry.status in (DONE, WARNED)]
    if not all(place.holds(entry.series) for entry in done):
        return None
    if any(entry.status == REFUSED for entry in entries) and records.is_earlier(task.unit):
        return None
    return [replace(entry, found_done=True) if entry in done else entry for entry in entries]


def record(
    task: SeriesTask, state: str, entries: list[RunEntry], records: Records, place: ResultPlace, *, with_files: bool
) -> None:
    """Record what became of a series.

    Args:
        task: The series.
        state: Of its files, when they were read.
        entries: What became of it.
        records: Where.
        place: Where its results are.
        with_files: Whether names of files, which may hold patient data, are written.

    Raises:
        DiskError: If it cannot be written.
    """
    with disk_errors():
        records.add(task.unit, task.place, state, [entry.as_dict(with_files=with_files) for entry in entries])
    for entry in entries:
        if entry.status in (DONE, WARNED) and not entry.found_done:
            place.forget(entry.series)


def unknown(name: str) -> RunEntry:
    """The entry of a name that was asked for and that nothing has."""
    message = "no series of this name in the input; `anomalib-zsad info` lists the names"
    return RunEntry.left_out(Finding(Fault.OTHER_FILE, Outcome.REFUSE, message), name)


def worker_refused(candidate: Candidate) -> RunEntry:
    """The entry of a series that ended its worker too often."""
    message = (
        f"screening it ended its worker {MOST_ATTEMPTS} times: it was killed, or out of memory; screen it alone "
        "(--series), with more memory or a smaller --batch-size"
    )
    return _left_out(Finding(Fault.FAILED, Outcome.REFUSE, message), candidate.key, candidate)


def _left_out(finding: Finding, key: str, candidate: Candidate) -> RunEntry:
    """The entry of a series, or a volume of it, that was refused or skipped."""
    return RunEntry.left_out(finding, key, candidate.study, candidate.modality, candidate.files[0].name)


_NO_RESULT = "the output holds a folder of this name that is no whole result; move it away and resume"


def _report(place: ResultPlace, series: str) -> bytes | None:
    """The report of a result that is there.

    Raises:
        SeriesRefusedError: If there is something else of its name.
        DiskError: If a store does not answer.
    """
    try:
        return place.report(series)
    except StoreError as error:
        raise DiskError(error.strerror) from error
    except OSError:
        refuse(Fault.INTERRUPTED, _NO_RESULT)


def _found_done(job: Job, report: bytes) -> RunEntry | None:
    """The entry of a volume that an earlier run screened; `None` if its input has changed since.

    Raises:
        SeriesRefusedError: If the report is none.
    """
    try:
        told = json.loads(report)
        entry = replace(RunEntry.screened(told, job.candidate.files[0].name), found_done=True)
        images = told["images"]
    except (ValueError, KeyError, TypeError):
        refuse(Fault.INTERRUPTED, _NO_RESULT)
    return entry if images == job.images else None
