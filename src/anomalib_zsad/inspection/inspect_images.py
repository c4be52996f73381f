"""Inspect images: read ahead, score in batches, encode pictures beside, and write everything once all is done."""

import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalib_zsad.inspection import journal as journals
from anomalib_zsad.inspection.drift_over_images import drift_over
from anomalib_zsad.inspection.find_images import FoundImages, find_images
from anomalib_zsad.inspection.ground_truth import ground_truth
from anomalib_zsad.inspection.image_answers import answer_batch, image_record, judge_images, shown_map
from anomalib_zsad.inspection.inspection_outputs import TABLES, Told, shown_of, write_outputs
from anomalib_zsad.inspection.journal import Journal, Known, file_state
from anomalib_zsad.inspection.options import InspectionOptions
from anomalib_zsad.inspection.parts import PartPlan
from anomalib_zsad.inspection.read_images import ImageReader, ReadImage
from anomalib_zsad.outputs.disk_errors import disk_errors
from anomalib_zsad.outputs.output_folder import RunFolder
from anomalib_zsad.outputs.progress import Progress
from anomalib_zsad.pages import gallery
from anomalib_zsad.pages.thumbnails import make_thumbnail
from anomalib_zsad.records.drift_report import DriftReport
from anomalib_zsad.records.image_records import ImageRecord, by_score
from anomalib_zsad.scoring.image_scorer import ImageScorer
from anomalib_zsad.scoring.scores import SliceScores

_READERS = 2


@dataclass(frozen=True)
class Inspection:
    """What came of an inspection.

    Attributes:
        records: One for each image, highest score first, and for each folder that could not be read.
        found: What lies at the location; of a part, what it is to do.
        drift: Whether images are still like those calibrated on.
        found_done: Whether an earlier run had done all of it, so that nothing was left to do.
        written: Whether there are outputs; not where there is no image.
    """

    records: list[ImageRecord]
    found: FoundImages
    drift: DriftReport
    found_done: bool = False
    written: bool = True


def inspect_images(
    location: Path, output: Path, scorer: ImageScorer, options: InspectionOptions | None = None
) -> Inspection:
    """Score every image below a folder, or one image, and write images.csv, report.json and report.html.

    An interrupt leaves a journal in `output`, with which `resume` goes on; the outputs appear at the end. Where
    there is no image, `output` is left alone. A part of a run (`options.part_id`) leaves the outputs of its images, and
    what `merge_parts` makes the whole of.

    Args:
        location: A folder or an image. It is only read.
        output: A new or empty folder, outside the input; or that of an earlier run, with `resume`.
        scorer: The model.
        options: How.

    Returns:
        What came of it. A folder or file that cannot be read has a record that says why.

    Raises:
        FileNotFoundError: If there is nothing at `location`.
        OutputInUseError: If `output` cannot be used; says what to do.
        CalibrationMismatchError: If the calibration was made with another model or other settings.
        DiskError: If `output` cannot be written.
    """
    options = options or InspectionOptions()
    if options.rule.calibration is not None:
        options.rule.calibration.check(scorer.fingerprint())
    location, output = Path(location), Path(output)
    everything, settings = find_images(location, options.reading), _settings(scorer, options)
    found = everything.of(options.part)
    if not everything.images and not everything.unreadable:
        return Inspection([], found, drift_over([], options, lambda _: None), written=False)
    with RunFolder(output, "inspect", settings, source=location, resume=options.resume):
        with disk_errors():
            journal = Journal(output / journals.NAME)
        try:
            told = Told(settings, scorer.describe().get("device"), found.skipped, location)
            plan = None if options.part.whole else PartPlan.of(everything, found, told, options)
            if _nothing_left(output, found, journal, options):
                _save(plan, output, options)
                records = by_score(known.record for known in journal.done.values())
                return Inspection(records, found, drift_over(records, options, journal.changed), found_done=True)
            with disk_errors():
                run = _Run(scorer, options, journal, everything)
                with Progress(enabled=options.progress) as progress:
                    records = run.score(found, progress.bar("images", len(found.images)).advance)
                drift = drift_over(records, options, journal.changed)
                write_outputs(output, records, journal, run.shown, options, told, drift)
                journal.finish(records, set() if options.part.whole else run.shown.names())
                _save(plan, output, options)
        finally:
            journal.close()
    return Inspection(records, found, drift)


def _save(plan: PartPlan | None, output: Path, options: InspectionOptions) -> None:
    """Leave what the whole is made of, once all of the part is done."""
    if plan is not None:
        with disk_errors():
            plan.save(output, options.rule.calibration)


def _nothing_left(output: Path, found: FoundImages, journal: Journal, options: InspectionOptions) -> bool:
    """Whether an earlier run read and scored just these images, as they are now, and all its outputs are there."""
    names = (*TABLES, *([gallery.NAME] if options.pages else []))
    if found.unreadable or not journal.finished or not all((output / name).is_file() for name in names):
        return False
    try:
        return {(name, file_state(path)) for name, path in found.images} == journal.done.keys()
    except OSError:  # a file cannot even be looked at; reading it will say why
        return False


class _Run:
    """State of one run."""

    def __init__(
        self, scorer: ImageScorer, options: InspectionOptions, journal: Journal, everything: FoundImages
    ) -> None:
        self.scorer, self.options, self.journal = scorer, options, journal
        self.rule = options.rule
        self.shown = shown_of(options)
        # Of the run as a whole, so that pictures of its parts are those of one run.
        images = everything.images
        self.encoder = gallery.Encoder.for_images(len(images), options.pictures, self.rule.mask_threshold)
        self.truth = ground_truth(images)
        # Maps of tiles are as large as pictures: there is one at a time.
        self.waiting = 0 if scorer.one_by_one else 2
        self.records: list[ImageRecord] = []
        self.reader = ImageReader(scorer, options.reading, gallery.LADDER[0].side if options.pages else None)

    def score(self, found: FoundImages, advance: Callable[[int], None]) -> list[ImageRecord]:
        """Score all images; those that an earlier run had done are taken from the journal."""
        self.records = [ImageRecord(name, reason=reason) for name, reason in found.unreadable.items()]
        left = self._left(found.images)
        advance(len(found.images) - len(left))
        with ThreadPoolExecutor(1, thread_name_prefix="pages") as thread:
            pending: deque[Future[None]] = deque()
            for batch in self._batches(left):
                pending.append(thread.submit(self._keep, batch, answer_batch(self.scorer, batch)))
                while len(pending) > self.waiting or (pending and pending[0].done()):
                    pending.popleft().result()
                advance(len(batch))
            for future in pending:
                future.result()
        self.journal.flush()
        return by_score(replace(record, truth=self.truth.get(record.image)) for record in self.records)

    def _left(self, images: Sequence[tuple[str, Path]]) -> list[tuple[str, Path]]:
        """What is left to do; what an earlier run found is taken over, unless it lacks pictures that are wanted."""
        known = [(pair, self._find(*pair)) for pair in images]
        for _, found in known:
            if found is not None and found.has_pictures and found.record.score is not None:
                self.shown.add(found.record.image, found.record.score, found.place)
        left = []
        for pair, found in known:
            if found is None or self._lacks_pictures(found):
                left.append(pair)
            else:
                self.records.append(found.record)
        return left

    def _find(self, name: str, path: Path) -> Known | None:
        try:
            return self.journal.find(name, file_state(path))
        except OSError:  # it cannot even be looked at; reading it will say why
            return None

    def _lacks_pictures(self, found: Known) -> bool:
        score = found.record.score
        if score is None or not self.options.pages:
            return False
        return not found.has_thumbnail or (not found.has_pictures and self.shown.wants(found.record.image, score))

    def _batches(self, images: Sequence[tuple[str, Path]]) -> Iterator[list[ReadImage]]:
        """Images in batches, read ahead by threads; at most three batches are in memory."""
        size = 1 if self.scorer.one_by_one else self.options.batch_size
        with ThreadPoolExecutor(_READERS, thread_name_prefix="images") as threads:
            ahead: deque[Future[ReadImage]] = deque()
            batch: list[ReadImage] = []
            for pair in images:
                ahead.append(threads.submit(self.reader.read, *pair))
                if len(ahead) >= 2 * size:
                    batch.append(ahead.popleft().result())
                if len(batch) == size:
                    yield batch
                    batch = []
            batch += [future.result() for future in ahead]
        for start in range(0, len(batch), size):
            yield batch[start : start + size]

    def _keep(self, batch: Sequence[ReadImage], answer: SliceScores | None) -> None:
        """Note the images of a batch, with pictures where they will be shown."""
        judged = iter(judge_images(self.rule, answer))
        place = 0
        for item in batch:
            if item.prepared is None or answer is None:
                record = ImageRecord(item.name, reason=item.reason)
                self.journal.add(record, item.state)
            else:
                record = image_record(item, answer, place, next(judged), self.rule.mask_threshold)
                heat = shown_map(answer.anomaly_map[place])
                pictures = self._pictures(record, item.picture, heat, answer, place)
                shown = self.rule.shown_range
                thumbnail = None if item.picture is None else make_thumbnail(item.picture, heat, shown)
                entry = self.journal.add(record, item.state, pictures, thumbnail)
                if pictures is not None:
                    self.shown.add(record.image, record.score or 0.0, entry)
                place += 1
            self.records.append(record)

    def _pictures(
        self,
        record: ImageRecord,
        picture: NDArray[np.uint8] | None,
        heat: NDArray[np.float32],
        answer: SliceScores,
        place: int,
    ) -> dict[str, Any] | None:
        if picture is None or record.score is None or not self.shown.wants(record.image, record.score):
            return None
        deviation = None if answer.map_std is None else shown_map(answer.map_std[place])
        return self.encoder(picture, heat, deviation)


def _settings(scorer: ImageScorer, options: InspectionOptions) -> dict[str, Any]:
    """What decides results, in JSON's types: a run is resumed with equal settings only."""
    model = {name: value for name, value in scorer.describe().items() if name != "device"}
    pages = {"pages": options.pages, "pictures": options.pictures}
    reading = options.reading.settings()
    drift = {"drift": {**asdict(options.drift), "order": options.drift_order}}
    decisions = options.rule.settings()
    part = {} if options.part.whole else {"part": options.part.name}
    settings = {"model": model, "decisions": decisions, "reading": reading, **pages, **drift, **part}
    return json.loads(json.dumps(settings))
