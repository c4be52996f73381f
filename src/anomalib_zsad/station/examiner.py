"""Pictures that arrived: read, scored and painted; of one that changed or whose folder is away nothing is said."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType

import torch
from typing_extensions import Self

from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.inspection.image_answers import answer_batch, image_record, judge_images
from anomalib_zsad.inspection.options import ImageReading
from anomalib_zsad.inspection.read_images import ImageReader, ReadImage
from anomalib_zsad.outputs.memory_errors import is_out_of_memory
from anomalib_zsad.records.image_records import ImageRecord
from anomalib_zsad.scoring.image_scorer import ImageScorer
from anomalib_zsad.station.arrivals import Arrival, Arrivals, Seen
from anomalib_zsad.station.overlays import Overlays

_READERS = 2
_GREY_SIDE = 64


@dataclass
class Done:
    """A picture with what is said of it.

    Attributes:
        arrival: The picture.
        record: What is said.
        overlay: Its overlay as JPEG; `None` for none.
    """

    arrival: Arrival
    record: ImageRecord
    overlay: bytes | None = None


@dataclass
class Examined:
    """What became of pictures.

    Attributes:
        done: Those of which something is said.
        changed: Those that were written anew meanwhile.
        away: Those that could not be read because their folder is away.
    """

    done: list[Done] = field(default_factory=list)
    changed: list[Arrival] = field(default_factory=list)
    away: list[Arrival] = field(default_factory=list)


class Examiner:
    """Reads and scores pictures, as a context.

    Args:
        scorer: The model.
        rule: How scores become decisions.
        reading: How large pictures may be.
        arrivals: Where they were seen.
        overlays: Which paints them.

    Attributes:
        model_works: Whether the model has answered something, be it by an error that is the picture's.
    """

    def __init__(
        self, scorer: ImageScorer, rule: DecisionRule, reading: ImageReading, arrivals: Arrivals, overlays: Overlays
    ) -> None:
        self._scorer, self._rule, self._arrivals, self._overlays = scorer, rule, arrivals, overlays
        self._reader = ImageReader(scorer, reading, overlays.side)
        self.model_works = False
        self._threads = ThreadPoolExecutor(_READERS, thread_name_prefix="images")

    def __enter__(self) -> Self:
        """Start the threads that read."""
        self._threads.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.__exit__(kind, error, trace)

    def examine(self, arrivals: Sequence[Arrival]) -> Examined:
        """Read and score pictures.

        Raises:
            RuntimeError: If the model itself is broken.
        """
        examined = Examined()
        whole: list[tuple[Arrival, ReadImage]] = []
        for arrival, (item, seen) in zip(arrivals, self._threads.map(self._read, arrivals), strict=True):
            if seen == "another":
                examined.changed.append(arrival)
            elif item.prepared is not None:
                whole.append((arrival, item))
            elif seen == "away":
                examined.away.append(arrival)
            else:
                examined.done.append(Done(arrival, ImageRecord(arrival.name, reason=item.reason)))
        examined.done += self._score(whole)
        return examined

    def check_model(self) -> None:
        """Ask the model of a plain grey picture, where it has answered nothing so far.

        Raises:
            RuntimeError: If the model itself is broken.
        """
        if self.model_works:
            return
        grey = torch.as_tensor(self._scorer.prepare(torch.full((3, _GREY_SIDE, _GREY_SIDE), 0.5)))
        try:
            answer_batch(self._scorer, [ReadImage("", prepared=grey)])
        except (ValueError, RuntimeError, MemoryError) as error:
            if _is_broken(error):
                raise
        self.model_works = True

    def _read(self, arrival: Arrival) -> tuple[ReadImage, Seen]:
        """A picture, and whether it was still there: asked at once, before a share that was away can be back."""
        item = self._reader.read(arrival.name, arrival.path)
        return item, self._arrivals.look_again(arrival, was_read=item.prepared is not None)

    def _score(self, whole: Sequence[tuple[Arrival, ReadImage]]) -> Iterator[Done]:
        """What the model says of pictures; where it fails on several, it is asked of each by itself."""
        try:
            answer = answer_batch(self._scorer, [item for _, item in whole])
        except (ValueError, RuntimeError, MemoryError) as error:
            if _is_broken(error):
                raise  # the next picture would fare no better
            self.model_works = True
            if len(whole) > 1:
                for pair in whole:
                    yield from self._score([pair])
            else:
                for arrival, _ in whole:
                    yield Done(arrival, ImageRecord(arrival.name, reason=f"the model cannot score it: {error}"))
            return
        if answer is None:
            return
        self.model_works = True
        for place, ((arrival, item), judged) in enumerate(zip(whole, judge_images(self._rule, answer), strict=True)):
            record = image_record(item, answer, place, judged, self._rule.mask_threshold)
            yield Done(arrival, record, self._overlays.paint(item, record, answer, place))


def _is_broken(error: BaseException) -> bool:
    """Whether an error of the model is none that a picture explains."""
    return isinstance(error, RuntimeError) and not is_out_of_memory(error)
