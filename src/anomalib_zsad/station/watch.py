"""Watching a folder: every picture that arrives is answered once, also across kills, until the station is stopped."""

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from typing_extensions import Self

from anomalib_zsad.inspection.drift_monitor import DriftMonitor
from anomalib_zsad.outputs.atomic import remove_partial, write_text
from anomalib_zsad.outputs.disk_errors import DiskError, disk_errors
from anomalib_zsad.outputs.output_folder import OutputInUseError, RunFolder
from anomalib_zsad.records.image_records import ImageRecord
from anomalib_zsad.scoring.image_scorer import ImageScorer
from anomalib_zsad.station.arrivals import Arrival, Arrivals
from anomalib_zsad.station.examiner import Done, Examiner
from anomalib_zsad.station.journal import PUBLISHED, Entry, Journal, NewEntry
from anomalib_zsad.station.options import WatchOptions
from anomalib_zsad.station.overlays import Overlays
from anomalib_zsad.station.results import Results, as_record

JOURNAL, STATUS = "journal.sqlite3", "status.json"
"""What a station's folder holds, beside results and overlays."""

_STARTED = "started"  # a mark in the journal: the first start is over
_LOG = logging.getLogger("anomalib_zsad.station")
_WRITTEN, _DRIFT = "written", "drift"  # marks in the journal: how far files and the test for drift have got
# A picture at which the program ended more often is answered by that.
_MOST_ENDS = 5
_SNAPSHOT = 500
_STATUS_SECONDS = 2.0
_CLEAN_SECONDS = 3600.0


class _StationFolder(RunFolder):
    """The output folder of a station: taken up where it is one's own, and never searched to any depth."""

    def _clean(self) -> None:
        with disk_errors():
            remove_partial(self.path, deep=False)


class Station:
    """A station, as a context: locked and ready while the context lasts; `run` works until it is told to stop.

    Args:
        folder: The folder to watch. It is only read.
        output: A new or empty folder, outside the input, or that of this station, with which it goes on.
        scorer: The model.
        options: How.
    """

    def __init__(self, folder: Path, output: Path, scorer: ImageScorer, options: WatchOptions | None = None) -> None:
        self.options = options or WatchOptions()
        self._input, self._output, self._scorer = folder, output, scorer
        if self.options.rule.calibration is not None:
            self.options.rule.calibration.check(scorer.fingerprint())
        self._stop = threading.Event()
        self.on_entries: Callable[[], None] = lambda: None
        """Called when there is something new in the journal."""
        self._cannot_look = ""
        self._next_status = self._next_clean = 0.0
        self._forgotten: int | None = None  # up to where old answers were looked through; `None` until the next time

    def __enter__(self) -> Self:
        """Lock the output folder, and complete what a kill left half done.

        Raises:
            OutputInUseError: If the output holds something else, lies inside the input, or another process is at work
                in it.
            DiskError: If it cannot be written.
        """
        model = {name: value for name, value in self._scorer.describe().items() if name != "device"}
        settings = {"model": model, **self.options.settings()}
        self._folder = _StationFolder(self._output, "watch", settings, source=self._input, resume=True)
        self._folder.__enter__()
        try:
            self._take_up()
        except BaseException as error:
            self._folder.__exit__(type(error), error, None)
            raise
        return self

    def _take_up(self) -> None:
        try:
            with _writing_errors():
                self.journal = Journal(self._output / JOURNAL)
        except (sqlite3.Error, ValueError) as error:
            raise OutputInUseError(
                f"{self._output / JOURNAL} cannot be used as a station's journal: {error}"
            ) from error
        with _writing_errors():
            self._results = Results(self._output)
            self._overlays = Overlays(self._output, self.options)
            self._complete_files()
        self._arrivals = Arrivals(
            self._input, self.options.reading, self.options.stable_polls, self.journal.is_answered
        )
        self._examiner = Examiner(self._scorer, self.options.rule, self.options.reading, self._arrivals, self._overlays)
        self._before = self.journal.count()
        self.counts = {"answered": 0, "flagged": 0, "unreadable": 0}
        # An entry tells a first start too: of journals of before there was the mark.
        if not self.journal.is_marked(_STARTED) and not self.journal.last_number():
            self._start_first()
        with _writing_errors():
            self._take_up_drift()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.journal.close()
        self._folder.__exit__(kind, error, trace)

    def stop(self) -> None:
        """Let `run` end once the batch under way is answered. May be called by a signal's handler."""
        self._stop.set()

    def publish_no_more(self) -> None:
        """No answer waits for a broker any more; one that is given later gets those from then on.

        Raises:
            DiskError: If the journal cannot be written.
        """
        with _writing_errors():
            self.journal.unmark(PUBLISHED)

    # What a kill left

    def _start_first(self) -> None:
        """Leave out what lies in the folder, if that was asked for; no later start does."""
        now = time.time()
        existing = self._arrivals.existing() if self.options.skip_existing else []
        with _writing_errors():
            self.journal.note([NewEntry("skipped", {}, arrival, now) for arrival in existing], {_STARTED: (0, None)})
        if self.options.skip_existing:
            _LOG.info("%d picture(s) that lie in the folder are left out", len(existing))

    def _complete_files(self) -> None:
        number, _ = self.journal.marked(_WRITTEN)
        missing = self._results.complete(self.journal.all_after(number))
        if missing:
            _LOG.info("%d line(s) that an earlier run did not come to write are added", missing)
        self.journal.mark(_WRITTEN, self.journal.last_number())

    def _take_up_drift(self) -> None:
        """Go on with the test for drift: from the last snapshot on, over the answers since."""
        self.drift = DriftMonitor(self.options.rule, self.options.drift, "arrival")
        if self.options.restart_drift:
            told = NewEntry("drift_restart", {"statement": "a new test for drift begins"}, None, time.time())
            self._keep([told], {_DRIFT: (self.journal.next_number(), self.drift.state())})
            return
        number, state = self.journal.marked(_DRIFT)
        if state is not None:
            self.drift.restore(state)
        for entry in self.journal.all_after(number):
            if entry.kind == "picture":
                self.drift.add(_record_of(entry))

    # Work

    def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Answer what arrives until `stop` is called.

        Args:
            until: Asked after each look at the folder; ends the work where it says so.

        Raises:
            DiskError: If answers cannot be written; what was not answered is at the next start.
        """
        with self._examiner:
            while not self._stop.is_set():
                with _writing_errors():
                    self._work_once()
                if until():
                    break
                self._stop.wait(self.options.poll_seconds)
        with _writing_errors():
            self._write_status(state="stopped", at_once=True)

    def _work_once(self) -> None:
        """Look at the folder, and answer what is whole."""
        whole = self._look()
        size = 1 if self._scorer.one_by_one else self.options.batch_size
        for start in range(0, len(whole), size):
            if self._stop.is_set() or self._cannot_look:
                break
            self._answer(whole[start : start + size])
        self._write_status()
        self._clean()

    def _look(self) -> list[Arrival]:
        """What is whole; nothing while the folder cannot be looked at, which is said once."""
        try:
            whole = self._arrivals.poll()
        except OSError as error:
            self._say_away(error.strerror or type(error).__name__)
            return []
        if self._cannot_look:
            _LOG.warning("the folder can be looked at again")
            self._cannot_look = ""
        return whole

    def _say_away(self, reason: str) -> None:
        if not self._cannot_look:
            _LOG.warning("the folder cannot be looked at (%s); it is tried again", reason)
        self._cannot_look = reason

    def _answer(self, arrivals: Sequence[Arrival]) -> None:
        """Read, score and note pictures; one at which the work ended before is taken by itself."""
        ended = {arrival: self.journal.times_begun(arrival) for arrival in arrivals}
        together = [arrival for arrival, times in ended.items() if times is None]
        if together:
            self._work_on(together)
        for arrival, times in ended.items():
            if times is None or self._cannot_look:
                continue
            if times > _MOST_ENDS:
                reason = f"the program ended {times} times while it was at work on it"
                self._note([Done(arrival, ImageRecord(arrival.name, reason=reason))])
            else:
                self._examiner.check_model()  # before it is begun: a broken model is no picture's fault
                self._work_on([arrival])

    def _work_on(self, group: Sequence[Arrival]) -> None:
        """Read, score and note pictures; those that changed, and those that are away, wait."""
        self.journal.begin(group)
        try:
            examined = self._examiner.examine(group)
            self._note(examined.done)
        except BaseException as error:
            self._take_back(group, error)
            raise
        for arrival in examined.changed:
            self._arrivals.changed(arrival)
        self.journal.give_up(examined.changed)
        if examined.away:
            self.journal.take_back(examined.away)
            self._say_away("files that were there cannot be found")

    def _take_back(self, group: Sequence[Arrival], error: BaseException) -> None:
        """Let an end count against pictures only where it may be their fault: the program's sudden death counts always.

        What the model, or our own code, raises may be: it counts where the model answered something since the start.
        Else it is not known whether the model answers at all, which is found out before each of them is taken again.
        """
        theirs = isinstance(error, Exception) and not isinstance(error, DiskError | OSError | sqlite3.Error)
        if not (theirs and self._examiner.model_works):
            with suppress(sqlite3.Error):  # the error that ends the station is the one to be told
                self.journal.take_back(group, doubtful=theirs)

    # What is kept

    def _note(self, done: Sequence[Done]) -> None:
        """Keep answers: overlays first, then the journal, then the files that follow from it."""
        if not done:
            return
        now, number = time.time(), self.journal.next_number()
        entries: list[NewEntry] = []
        for one in done:
            raised = self.drift.add(one.record)
            content = {**_content(one.record), "seconds": round(max(0.0, now - one.arrival.changed / 1e9), 3)}
            content["overlay"] = self._overlays.write(one.overlay, number + len(entries), now)
            content["drift"] = None if self.drift.evidence is None else self.drift.alarm is not None
            content["drift_evidence"] = None if self.drift.evidence is None else float(f"{self.drift.evidence:.4g}")
            entries.append(NewEntry("picture", content, one.arrival, now))
            if raised:
                entries.append(NewEntry("drift", self.drift.report().as_dict(), None, now))
                _LOG.warning("%s", self.drift.report().statement)
        noted = self._keep(entries, self._snapshot(number + len(entries) - 1), done)
        self.on_entries()
        self._write_status(at_once=any(entry.kind == "drift" for entry in noted))

    def _keep(
        self, entries: Sequence[NewEntry], marks: Mapping[str, tuple[int, Any]], done: Sequence[Done] = ()
    ) -> list[Entry]:
        """Note entries, count what they say of pictures, and add them to the files."""
        noted = self.journal.note(entries, marks)
        for one in done:
            self._arrivals.answered(one.arrival)
            self.counts["answered"] += 1
            self.counts["flagged"] += bool(one.record.flagged)
            self.counts["unreadable"] += one.record.decision == "unreadable"
        self._results.append(noted)
        self.journal.mark(_WRITTEN, noted[-1].number)
        return noted

    def _snapshot(self, number: int) -> dict[str, tuple[int, Any]]:
        """The state of the test for drift, now and then, so that a start need not go over all answers."""
        before, _ = self.journal.marked(_DRIFT)
        return {_DRIFT: (number, self.drift.state())} if number - before >= _SNAPSHOT else {}

    def _write_status(self, *, state: str = "watching", at_once: bool = False) -> None:
        """Say now and then how the station is, for whoever looks."""
        if not at_once and time.monotonic() < self._next_status:
            return
        self._next_status = time.monotonic() + _STATUS_SECONDS
        status = {
            "state": "the folder cannot be looked at" if self._cannot_look else state,
            "statement": self.options.rule.statement,
            "answered": self._before + self.counts["answered"],
            "since_start": self.counts,
            "waiting": self._arrivals.waiting,
            "last_number": self.journal.last_number(),
            "published": self.journal.marked(PUBLISHED)[0],
            "drift": self.drift.report().as_dict(),
        }
        write_text(self._output / STATUS, json.dumps(status, indent=1, allow_nan=False) + "\n")

    def _clean(self) -> None:
        """Remove overlays that are too old, and answers of files that are long gone, now and then."""
        if time.monotonic() >= self._next_clean:
            self._next_clean = time.monotonic() + _CLEAN_SECONDS
            self._overlays.remove_old()
            self._forgotten = 0
        if self._forgotten is None or self._cannot_look:  # nothing is known of what is there while a share is away
            return
        marks = [self.journal.marked(name)[0] for name in (_WRITTEN, _DRIFT)]
        if self.journal.is_marked(PUBLISHED):
            marks.append(self.journal.marked(PUBLISHED)[0])
        self._forgotten = self.journal.forget(self._forgotten, min(marks), self._arrivals.has_answered)


@contextmanager
def _writing_errors() -> Iterator[None]:
    """Turn errors of the disk, those that SQLite tells included, into one that ends the run."""
    try:
        with disk_errors():
            yield
    except sqlite3.OperationalError as error:
        raise DiskError(f"the journal: {error}") from error


def _content(record: ImageRecord) -> dict[str, Any]:
    content = asdict(record)
    del content["truth"]  # a station knows none
    return content


def _record_of(entry: Entry) -> ImageRecord:
    """The part of an answer that tells of drift."""
    known = as_record(entry)
    return ImageRecord(
        known["image"], score=known["score"], brightness=known["brightness"], sharpness=known["sharpness"]
    )
