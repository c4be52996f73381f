"""Pictures over HTTP: what is sent is bounded and decoded, scored in batches of what waits, and answered."""

import asyncio
import base64
import io
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, Literal, TypeVar

import numpy as np
from fastapi import Request
from numpy.typing import NDArray
from PIL import Image
from starlette.requests import ClientDisconnect
from typing_extensions import Self

from anomalib_zsad.inspection.drift_monitor import DriftMonitor
from anomalib_zsad.inspection.options import ImageReading
from anomalib_zsad.inspection.read_images import ImageReader, ReadImage
from anomalib_zsad.outputs.versions import versions
from anomalib_zsad.records.drift_report import DriftReport
from anomalib_zsad.scoring.image_scorer import ImageScorer
from anomalib_zsad.station.batcher import Answer, Batcher, CannotScoreError
from anomalib_zsad.station.options import ServeOptions
from anomalib_zsad.station.request_body import BodyError, picture_in
from anomalib_zsad.station.room import FullError, Place, Room
from anomalib_zsad.station.service_metrics import ServiceMetrics

MapFormat = Literal["png", "npy"]
MAP_TYPES: dict[MapFormat, str] = {"png": "image/png", "npy": "application/octet-stream"}
"""Media types of maps."""

_LOG = logging.getLogger("anomalib_zsad.station")
_DECODERS = 2
# A batch that takes longer than so many times a request's time is stuck.
_STUCK = 4
_LEFT_OUT = ("image", "truth", "reason")
Result = TypeVar("Result")


class Refusal(Exception):  # noqa: N818 - an answer like others
    """A request that gets no score.

    Attributes:
        status: The HTTP status.
        outcome: What became of it, for metrics.
        message: Why, and what to do.
    """

    def __init__(self, status: int, outcome: str, message: str) -> None:
        super().__init__(message)
        self.status, self.outcome, self.message = status, outcome, message


class Service:
    """Answers requests, as a context.

    Args:
        scorer: The model.
        options: How.

    Raises:
        CalibrationMismatchError: If the calibration was made with another model or other settings.
    """

    def __init__(self, scorer: ImageScorer, options: ServeOptions) -> None:
        self.options, self._scorer = options, scorer
        if options.rule.calibration is not None:
            options.rule.calibration.check(scorer.fingerprint())
        self._reader = ImageReader(scorer, ImageReading(max_pixels=options.max_pixels), None)
        self._room = Room(options.max_waiting, options.max_waiting_mib << 20)
        self.metrics = ServiceMetrics(lambda: self._room.count, self.drift)
        self._batcher = Batcher(
            scorer,
            options.rule,
            self._new_monitor(),
            options.batch_size,
            options.max_waiting_mib << 20,
            self.metrics.batch_sizes.observe,
        )
        self._threads = ThreadPoolExecutor(_DECODERS, thread_name_prefix="pictures")

    def _new_monitor(self) -> DriftMonitor:
        return DriftMonitor(self.options.rule, self.options.drift, "arrival")

    def __enter__(self) -> Self:
        """Start."""
        self._batcher.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Answer what is under way, and end."""
        self._threads.shutdown()
        self._batcher.__exit__()

    # What is known without a picture

    @property
    def is_well(self) -> bool:
        """Whether the model is at work."""
        return self._batcher.is_well(_STUCK * self.options.timeout_seconds)

    def drift(self) -> DriftReport:
        """What is known of drift by now."""
        return self._batcher.drift()

    def restart_drift(self) -> None:
        """Begin a new test for drift."""
        self._batcher.restart_drift(self._new_monitor())

    def described(self) -> dict[str, Any]:
        """What answers: model, decisions, limits, versions."""
        rule, options = self.options.rule, self.options
        names = ("max_pixels", "max_mib", "max_waiting", "timeout_seconds", "batch_size")
        return {
            "statement": rule.statement,
            "decided_by": rule.decided_by,
            "thresholds": rule.thresholds,
            "model": self._scorer.describe(),
            "decisions": rule.settings(),
            "limits": {name: getattr(options, name) for name in names},
            "versions": versions(),
        }

    # Pictures

    async def answer(self, request: Request, kind: MapFormat | None = None) -> tuple[Answer, bytes | None]:
        """The answer to a request with a picture, and its map as a file where one is asked for.

        Raises:
            Refusal: If it gets none.
        """
        started, outcome = time.monotonic(), "failed"
        try:
            answer, content = await self._answer(request, kind, started + self.options.timeout_seconds)
        except Refusal as refusal:
            outcome = refusal.outcome
            raise
        except ClientDisconnect:
            outcome = "gone"
            raise Refusal(400, outcome, "the connection ended before the picture was there") from None
        except Exception as error:
            # Its text is for the log, and not for whoever asks.
            _LOG.exception("a request failed")
            raise Refusal(500, outcome, f"the model failed ({type(error).__name__})") from error
        else:
            outcome = "answered"
            self.metrics.flagged.inc(bool(answer.record.flagged))
            return answer, content
        finally:
            self.metrics.requests.labels(outcome).inc()
            self.metrics.seconds.observe(time.monotonic() - started)

    async def _answer(self, request: Request, kind: MapFormat | None, end: float) -> tuple[Answer, bytes | None]:
        try:
            place = self._room.enter()
        except FullError:
            raise _busy() from None
        try:
            read = await self._picture(request, place, end)
            if read.prepared is None:
                raise Refusal(422, "unreadable", read.reason.replace("the file", "the picture"))
            scoring = asyncio.wrap_future(self._batcher.submit(read))
            del read  # a prepared picture may be large: it is the batcher's alone
            answer = await self._within(scoring, end, "too many pictures wait; this one's time is over", 504)
            if kind is None:
                return answer, None
            if answer.heat is None:
                raise Refusal(422, "no map", "this model has no maps")
            heats, make = [answer.heat], _MAP_FILES[kind]
            making = self._in_thread(place, heats, lambda: make(heats.pop(), self.options.rule.shown_range))
            return answer._replace(heat=None), await self._within(making, end, "making the map took too long", 504)
        except FullError:
            raise _busy() from None
        except CannotScoreError as error:
            raise Refusal(422, "unreadable", str(error)) from None
        finally:
            place.let_go()

    async def _picture(self, request: Request, place: Place, end: float) -> ReadImage:
        """The picture of a request, read in a thread: of forms, too, some take their time.

        Raises:
            Refusal: If there is none, or it is not there in time.
            FullError: If there is too much at work.
        """
        sent = [await self._within(self._body(request, place), end, "the picture took too long to come", 408)]
        kind = request.headers.get("content-type", "")
        try:
            reading = self._in_thread(place, sent, lambda: self._read(sent, kind))
            return await self._within(reading, end, "reading the picture took too long", 504)
        except BodyError as error:
            raise Refusal(400, "wrong", str(error)) from None

    def _in_thread(self, place: Place, given: list[Any], work: Callable[[], Result]) -> "asyncio.Future[Result]":
        """Have something done in a thread, and hold the place until then.

        Args:
            place: Of the request.
            given: What the work takes, which may be large, and what it empties once it begins.
            work: What is done.
        """
        future = self._threads.submit(work)
        place.hold()

        def done(_: object) -> None:
            # Work that was given up before its turn stays in the queue of the threads; what it was given must not.
            given.clear()
            # What is at work cannot be stopped, and takes its place until it is done.
            place.let_go()

        future.add_done_callback(done)
        return asyncio.wrap_future(future)

    def _read(self, sent: list[bytearray], content_type: str) -> ReadImage:
        """Take what was sent and read it.

        Raises:
            BodyError: If it holds no picture, or several.
        """
        return self._reader.read("picture", io.BytesIO(picture_in(sent.pop(), content_type)))

    async def _within(self, what: Any, end: float, message: str, status: int) -> Any:
        """Something that has to be there by a time.

        Raises:
            Refusal: If it is not.
        """
        try:
            return await asyncio.wait_for(what, max(0.0, end - time.monotonic()))
        except asyncio.TimeoutError:
            limit = f"a request may take {self.options.timeout_seconds:g} s"
            raise Refusal(status, "too late", f"{message}: {limit}") from None

    async def _body(self, request: Request, place: Place) -> bytearray:
        """The body of a request, within its bounds.

        Raises:
            Refusal: If it is too large.
            FullError: If there is too much at work.
        """
        most = self.options.max_mib << 20
        declared = request.headers.get("content-length", "")
        if declared.isdigit():
            self._check_size(int(declared), most)
            place.grow(int(declared))
        body = bytearray()
        async for chunk in request.stream():
            self._check_size(len(body) + len(chunk), most)
            place.grow(len(body) + len(chunk))
            body += chunk
        return body

    def _check_size(self, count: int, most: int) -> None:
        if count > most:
            raise Refusal(413, "too large", f"a request has at most {self.options.max_mib} MiB (--max-mib)")

    def told(self, answer: Answer, kind: MapFormat | None, content: bytes | None) -> dict[str, Any]:
        """An answer in JSON's types, with its map in base 64 where one was asked for."""
        record = {name: value for name, value in asdict(answer.record).items() if name not in _LEFT_OUT}
        tested = answer.evidence is not None
        drift = {"alarm": answer.alarm is not None, "evidence": answer.evidence} if tested else None
        told: dict[str, Any] = {"number": answer.number, **record, "drift": drift}
        if content is not None:
            low, high = self.options.rule.shown_range
            told["map"] = {"format": kind, "low": low, "high": high, "data": base64.b64encode(content).decode("ascii")}
        return told


def map_format(kind: str) -> MapFormat:
    """A format of maps by its name.

    Raises:
        Refusal: If there is none of this name.
    """
    for known in MAP_TYPES:
        if kind == known:
            return known
    raise Refusal(400, "wrong", "a map comes as png or npy")


def _busy() -> Refusal:
    return Refusal(503, "busy", "as many requests are at work as there may be: come again in a second")


def _as_png(heat: NDArray[np.float32], shown: tuple[float, float]) -> bytes:
    """A map as PNG of 16-bit grey levels, of which 0 and 65,535 are the lowest and the highest value shown."""
    low, high = shown
    levels = np.rint(np.clip((heat - low) / (high - low), 0, 1) * 65_535).astype(np.uint16)
    stream = io.BytesIO()
    Image.fromarray(levels).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def _as_npy(heat: NDArray[np.float32], _: tuple[float, float]) -> bytes:
    """A map as a file of numpy, float32, (h, w)."""
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(heat, np.float32), allow_pickle=False)
    return stream.getvalue()


_MAP_FILES: dict[MapFormat, Callable[[NDArray[np.float32], tuple[float, float]], bytes]] = {
    "png": _as_png,
    "npy": _as_npy,
}
