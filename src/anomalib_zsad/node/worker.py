"""Screening of complete studies: series by series as the rules say, safe against being killed at any point."""

import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from anomalib_zsad.node.entries import ReceivedSeries, SeriesOutcome, hidden_name, shown_name
from anomalib_zsad.node.options import WorkingOptions
from anomalib_zsad.node.queue import MOST_ATTEMPTS, Queue, flush
from anomalib_zsad.node.rules import ModelSettings, Rule, choose
from anomalib_zsad.node.series_facts import series_facts
from anomalib_zsad.outputs.disk_errors import NOTHING_CAN_BE_WRITTEN, DiskError, disk_errors
from anomalib_zsad.outputs.exit_codes import ExitCode
from anomalib_zsad.outputs.file_hash import file_sha256
from anomalib_zsad.outputs.output_folder import OutputInUseError
from anomalib_zsad.outputs.termination import Terminated
from anomalib_zsad.records.run_summary import DONE, REFUSED, SKIPPED, WARNED, RunEntry
from anomalib_zsad.scoring.scores import SliceScorer
from anomalib_zsad.screening.screen import screen
from anomalib_zsad.volumes.faults import Finding, Outcome
from anomalib_zsad.volumes.reading.discovery import pseudonym
from anomalib_zsad.volumes.uid_pseudonyms import hash_uids_of

Build = Callable[[ModelSettings], SliceScorer]

_LOG = logging.getLogger("anomalib_zsad.node")
_NO_RULE = "no rule takes it"
_OWN = "a result of this node that came back"
_DELETED = "some of its instances were removed after an earlier success: send the whole series again with new UIDs"


class _OutOfMemoryError(Exception):
    """Series that memory did not do for; says how many."""


class _StoppedError(Exception):
    """The node is told to end."""


def build_model(settings: ModelSettings) -> SliceScorer:
    """The model that settings name, ready to score.

    Raises:
        ValueError: As `build_scorer`, or if it is no method of this package's kind.
        FileNotFoundError: As `build_scorer`.
    """
    from anomalib_zsad.scoring.build import build_scorer

    method = settings.model or (None if settings.checkpoint else "BayesPFL")
    if method is not None and _is_anomalibs(method):
        raise ValueError(
            f"a node screens with zero-shot methods such as BayesPFL, whose scores DICOM objects hold; {method} is none"
        )
    engine = settings.engine_options
    which = settings.checkpoint, method, settings.arguments
    return build_scorer(*which, settings.device, settings.class_name, engine, only_scores=True)


def _is_anomalibs(method: str) -> bool:
    """Whether a name means one of anomalib's own models, which are imported to find out."""
    from anomalib_zsad.scoring.anomalib_classes import anomalib_class

    return anomalib_class(method) is not None


@dataclass
class Worker:
    """Screens one study after the other.

    Attributes:
        queue: The queue.
        received: Folder of received files.
        results: Folder of results; a study's lie in its own folder there.
        rules: Which series are screened, and how.
        targets: Names of the targets that results go to.
        options: When.
        build: How a model is built.
        busy: Studies that are arriving at this moment.
        stopping: Whether the node is told to end: the series under way is the last one then.
    """

    queue: Queue
    received: Path
    results: Path
    rules: tuple[Rule, ...]
    targets: tuple[str, ...]
    options: WorkingOptions
    build: Build = build_model
    busy: Callable[[], Sequence[str]] = tuple
    stopping: Callable[[], bool] = bool
    _model: tuple[str, SliceScorer] | None = field(default=None, repr=False)
    _unwritten: Counter[str] = field(default_factory=Counter, repr=False)
    """How often in a row the results of a study could not be written."""

    def step(self) -> bool:
        """Screen one study, if one is complete; returns whether there was one."""
        self.queue.complete_quiet(self.options.quiet_seconds, self.busy())
        study = self.queue.take_study()
        if study is None:
            self._delete_done()
            return False
        try:
            with disk_errors(*NOTHING_CAN_BE_WRITTEN):
                reason = self._screen_study(study)
        except (DiskError, sqlite3.OperationalError) as error:
            # No fault of the study's, which is never given up for it.
            text = str(error) if isinstance(error, DiskError) else "the queue cannot be written"
            self._unwritten[study] += 1
            self._try_again(study, text, self._unwritten[study], counted=False)
        except _StoppedError:
            self.queue.try_again(study, 0.0, "", counted=False)
            _LOG.info("%s: put back, since the node is told to end", shown_name("study", study))
        except _OutOfMemoryError as error:
            self._failed(study, str(error))
        except Exception as error:
            # Whatever it is, it must not end the node; its text may quote patient data.
            self._failed(study, f"unexpected {type(error).__name__}")
        else:
            self._unwritten.pop(study, None)
            self.queue.finish_study(study, "failed" if reason else "screened", reason)
            _LOG.info("%s: %s", shown_name("study", study), reason or "screened")
        return True

    def _failed(self, study: str, reason: str) -> None:
        """Try a study again that failed, or give it up."""
        self._unwritten.pop(study, None)
        attempts = self.queue.attempts(study)
        if attempts < MOST_ATTEMPTS:
            self._try_again(study, reason, attempts)
            return
        self.queue.finish_study(study, "failed", f"given up after {attempts} attempts: {reason}")
        _LOG.error("%s: given up after %d attempts: %s", shown_name("study", study), attempts, reason)

    def _try_again(self, study: str, reason: str, failures: int, *, counted: bool = True) -> None:
        """Put a study back after a number of failures in a row."""
        delay = self.options.delay(failures)
        self.queue.try_again(study, delay, reason, counted=counted)
        _LOG.warning("%s: %s; next attempt in %.0f s", shown_name("study", study), reason, delay)

    def _screen_study(self, study: str) -> str:
        """Screen what of a study is not done yet; returns what failed, in a few words."""
        if self.queue.attempts(study) > MOST_ATTEMPTS:
            return f"given up: it failed or ended the program {MOST_ATTEMPTS} times"
        chosen: dict[str, tuple[Rule, list[ReceivedSeries]]] = {}
        again = 0
        for series in self.queue.series_of(study):
            if series.digest == series.done:
                continue
            rule = self._choose(study, series)
            if rule is None:
                again += 1
            elif isinstance(rule, SeriesOutcome):
                self.finish(study, rule)
            else:
                chosen.setdefault(rule.name, (rule, []))[1].append(series)
        for rule, members in chosen.values():
            again += self._screen_group(study, rule, members)
        if again:
            raise _OutOfMemoryError(f"not enough memory for {again} series")
        failed = self.queue.rows("SELECT name FROM series WHERE study = ? AND state = 'failed'", study)
        return f"{len(failed)} series failed" if failed else ""

    def is_tried_again(self, study: str, findings: Iterable[Finding]) -> bool:
        """Whether a series failed for want of memory, and has attempts left."""
        return any(finding.fault.passes for finding in findings) and self.queue.attempts(study) < MOST_ATTEMPTS

    def finish(self, study: str, outcome: SeriesOutcome) -> None:
        """Record what became of a series."""
        self.queue.finish_series(study, outcome, self.targets)
        name = shown_name("series", outcome.uid)
        _LOG.info("%s: %s%s", name, outcome.state, f" ({outcome.reason})" if outcome.reason else "")

    def _choose(self, study: str, series: ReceivedSeries) -> Rule | SeriesOutcome | None:
        """The rule that takes a series, or what becomes of it without one; `None` if it is to be tried again."""
        left_out = SeriesOutcome(series.uid, "not screened", digest=series.digest)
        if series.own:
            return replace(left_out, reason=_OWN)
        if series.deleted:
            return replace(left_out, state="failed", reason=_DELETED)
        facts = series_facts(self.received, series.files)
        if isinstance(facts, Finding):
            if self.is_tried_again(study, [facts]):
                return None
            skipped = facts.outcome is Outcome.SKIP
            return replace(left_out, state="not screened" if skipped else "failed", reason=hash_uids_of(facts).message)
        rule = choose(self.rules, facts)
        if rule is None:
            return replace(left_out, reason=_NO_RULE)
        return replace(left_out, rule=rule.name, reason=rule.skip) if rule.model is None else rule

    def _screen_group(self, study: str, rule: Rule, members: Sequence[ReceivedSeries]) -> int:
        """Screen the series of a study that one rule takes, in one run; a run of the same settings is gone on with.

        What becomes of each is recorded as soon as it is done.

        Returns:
            How many are to be tried again.

        Raises:
            DiskError: If results cannot be written.
            _StoppedError: If the node was told to end before all were done.
        """
        if self.stopping():
            raise _StoppedError
        try:
            scorer = self._scorer(rule)
        except (ValueError, OSError) as error:
            for series in members:
                self.finish(study, _failed(series, rule, f"the model cannot be had: {error}"))
            return 0
        folder = Path(hidden_name("study", study)) / rule.folder(scorer.describe())
        group = _Group(self, study, rule, folder, {pseudonym("series", series.uid): series for series in members})
        options = replace(rule.screening, series=(*group.left, *self._there_before(study, folder)))
        source, target = self.received / hidden_name("study", study), self.results / folder
        started = time.perf_counter()
        try:
            code, entries = screen(source, target, scorer, options, group.after)  # makes folders above the run's, too
        except (ValueError, OutputInUseError) as error:
            for series in group.left.values():
                self.finish(study, _failed(series, rule, str(error)))
            return group.again
        if code is ExitCode.TERMINATED:
            raise _StoppedError
        if code in (ExitCode.DISK, ExitCode.INTERRUPTED):
            raise DiskError("results cannot be written: the disk is full, or not writable")
        group.record(entries, list(group.left))  # those of which nothing was found
        _LOG.info("%s: %d series in %.1f s", shown_name("study", study), len(members), time.perf_counter() - started)
        return group.again

    def _there_before(self, study: str, folder: Path) -> list[str]:
        """Pseudonyms of series that were screened into the same folder before: the index of its run names them, too."""
        statement = "SELECT uid FROM series WHERE study = ? AND folder = ? AND state = 'screened'"
        uids = [str(row["uid"]) for row in self.queue.rows(statement, study, folder.as_posix())]
        source = self.received / hidden_name("study", study)
        return [pseudonym("series", uid) for uid in uids if (source / hidden_name("series", uid)).is_dir()]

    def _scorer(self, rule: Rule) -> SliceScorer:
        """The rule's model: the one that is loaded, or a new one in its place."""
        settings = rule.model or ModelSettings(allow_untrained=True)
        if self._model is None or self._model[0] != settings.key:
            self._model = None  # one at a time: the earlier one's memory is free before the next is loaded
            self._model = settings.key, self.build(settings)
        return self._model[1]

    def outcome(self, series: ReceivedSeries, rule: Rule, folder: Path, entries: list[RunEntry]) -> SeriesOutcome:
        """What became of a series, from the entries of its volumes."""
        done = [entry for entry in entries if entry.status in (DONE, WARNED)]
        reasons = [_reason(entry) for entry in entries if _reason(entry)]
        objects = [found for entry in done for found in self._objects(folder / entry.series)]
        state = (
            "screened" if done else "failed" if any(entry.status == REFUSED for entry in entries) else "not screened"
        )
        return SeriesOutcome(
            series.uid,
            state,  # type: ignore[arg-type]
            "; ".join(dict.fromkeys(reasons)) or ("" if done else "nothing in it to screen"),
            rule.name,
            series.digest,
            folder.as_posix(),
            sum(entry.slices or 0 for entry in done),
            tuple(objects),
        )

    def _objects(self, folder: Path) -> Iterator[tuple[str, str, str]]:
        """DICOM objects in the folder of a volume's results."""
        for path in sorted((self.results / folder).rglob("*.dcm")):
            flush(path)
            with suppress(InvalidDicomError):
                uid = str(dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
                yield uid, path.relative_to(self.results).as_posix(), file_sha256(path)

    def _delete_done(self) -> None:
        """Remove received files of studies that are done with, where that was asked for."""
        if not self.options.delete_after_success:
            return
        for study in self.queue.deletable():
            removed = self.queue.delete_instances(study, self.received)
            _LOG.info("%s: %d received instances removed", shown_name("study", study), removed)


@dataclass
class _Group:
    """Series of a study that one rule takes, while they are screened.

    Attributes:
        worker: Who screens them.
        study: Study Instance UID.
        rule: The rule.
        folder: Of their run, relative to that of results.
        left: Those that are not done, by their pseudonyms.
        again: How many are to be tried again.
    """

    worker: Worker
    study: str
    rule: Rule
    folder: Path
    left: dict[str, ReceivedSeries]
    again: int = 0

    def after(self, entries: Sequence[RunEntry]) -> None:
        """Record a series that is done, and end the run where the node is told to end.

        Raises:
            Terminated: If it is, and series are left.
        """
        try:
            self.record(entries, [key for key in self.left if any(_is_of(entry, key) for entry in entries)])
        except ValueError as error:
            # One of `screen` is told as it is; the text of this one may quote patient data.
            raise RuntimeError(type(error).__name__) from error
        if self.left and self.worker.stopping():
            raise Terminated

    def record(self, entries: Sequence[RunEntry], keys: Iterable[str]) -> None:
        """Record what became of series, from the entries of their volumes."""
        for key in keys:
            series, of_it = self.left[key], [entry for entry in entries if _is_of(entry, key)]
            if self.worker.is_tried_again(self.study, (finding for entry in of_it for finding in entry.findings)):
                self.again += 1
            else:
                self.worker.finish(self.study, self.worker.outcome(series, self.rule, self.folder, of_it))
            del self.left[key]


def _failed(series: ReceivedSeries, rule: Rule, reason: str) -> SeriesOutcome:
    return SeriesOutcome(series.uid, "failed", reason, rule.name, series.digest)


def _is_of(entry: RunEntry, key: str) -> bool:
    """Whether an entry is of a series or a volume of it, whose names begin with that of the series."""
    return entry.series == key or entry.series.startswith(f"{key}-")


def _reason(entry: RunEntry) -> str:
    """Why something was refused or skipped, or the codes of its warnings, without UIDs."""
    if entry.status in (REFUSED, SKIPPED) and entry.findings:
        return "; ".join(hash_uids_of(finding).message for finding in entry.findings)
    return entry.reason
