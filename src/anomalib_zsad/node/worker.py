"""Screening of complete studies: series by series as the rules say, safe against being killed at any point."""

import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
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
    """

    queue: Queue
    received: Path
    results: Path
    rules: tuple[Rule, ...]
    targets: tuple[str, ...]
    options: WorkingOptions
    build: Build = build_model
    busy: Callable[[], Sequence[str]] = tuple
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
        for series in self.queue.series_of(study):
            if series.digest == series.done:
                continue
            rule = self._choose(series)
            if isinstance(rule, SeriesOutcome):
                self._finish(study, rule)
            else:
                chosen.setdefault(rule.name, (rule, []))[1].append(series)
        for rule, members in chosen.values():
            for outcome in self._screen_group(study, rule, members):
                self._finish(study, outcome)
        failed = self.queue.rows("SELECT name FROM series WHERE study = ? AND state = 'failed'", study)
        return f"{len(failed)} series failed" if failed else ""

    def _finish(self, study: str, outcome: SeriesOutcome) -> None:
        self.queue.finish_series(study, outcome, self.targets)
        name = shown_name("series", outcome.uid)
        _LOG.info("%s: %s%s", name, outcome.state, f" ({outcome.reason})" if outcome.reason else "")

    def _choose(self, series: ReceivedSeries) -> Rule | SeriesOutcome:
        """The rule that takes a series, or what becomes of it without one."""
        left_out = SeriesOutcome(series.uid, "not screened", digest=series.digest)
        if series.own:
            return replace(left_out, reason=_OWN)
        if series.deleted:
            return replace(left_out, state="failed", reason=_DELETED)
        facts = series_facts(self.received, series.files)
        if isinstance(facts, Finding):
            skipped = facts.outcome is Outcome.SKIP
            return replace(left_out, state="not screened" if skipped else "failed", reason=hash_uids_of(facts).message)
        rule = choose(self.rules, facts)
        if rule is None:
            return replace(left_out, reason=_NO_RULE)
        return replace(left_out, rule=rule.name, reason=rule.skip) if rule.model is None else rule

    def _screen_group(self, study: str, rule: Rule, members: Sequence[ReceivedSeries]) -> Iterator[SeriesOutcome]:
        """Screen the series of a study that one rule takes, in one run; a run of the same settings is gone on with.

        Raises:
            DiskError: If results cannot be written.
        """
        try:
            scorer = self._scorer(rule)
        except (ValueError, OSError) as error:
            yield from (_failed(series, rule, f"the model cannot be had: {error}") for series in members)
            return
        folder = Path(hidden_name("study", study)) / rule.folder(scorer.describe())
        keys = {series.uid: pseudonym("series", series.uid) for series in members}
        options = replace(rule.screening, series=tuple(keys.values()))
        started = time.perf_counter()
        try:
            # Folders above that of the run are made by it too.
            code, entries = screen(self.received / hidden_name("study", study), self.results / folder, scorer, options)
        except (ValueError, OutputInUseError) as error:
            yield from (_failed(series, rule, str(error)) for series in members)
            return
        if code in (ExitCode.DISK, ExitCode.INTERRUPTED):
            raise DiskError("results cannot be written: the disk is full, or not writable")
        _LOG.info("%s: %d series in %.1f s", shown_name("study", study), len(members), time.perf_counter() - started)
        for series in members:
            yield self._outcome(series, rule, folder, [entry for entry in entries if _is_of(entry, keys[series.uid])])

    def _scorer(self, rule: Rule) -> SliceScorer:
        """The rule's model: the one that is loaded, or a new one in its place."""
        settings = rule.model or ModelSettings(allow_untrained=True)
        if self._model is None or self._model[0] != settings.key:
            self._model = None  # one at a time: the earlier one's memory is free before the next is loaded
            self._model = settings.key, self.build(settings)
        return self._model[1]

    def _outcome(self, series: ReceivedSeries, rule: Rule, folder: Path, entries: list[RunEntry]) -> SeriesOutcome:
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
