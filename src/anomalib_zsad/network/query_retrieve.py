"""Finding series at a DICOM application (C-FIND) and fetching them (C-GET, or C-MOVE to a receiver of our own)."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydicom.dataset import Dataset
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from anomalib_zsad.network.addresses import ConnectionOptions, Entity
from anomalib_zsad.network.associations import (
    MAXIMUM_CONTEXTS,
    Association,
    application,
    association,
    build_context,
    build_role,
    evt,
    storage_classes,
)
from anomalib_zsad.network.errors import RetrievalError
from anomalib_zsad.network.inflow import Inflow, bound_pdus
from anomalib_zsad.network.receiving import Receiver
from anomalib_zsad.network.series import FoundSeries, SeriesQuery
from anomalib_zsad.outputs.quiet_pydicom import quiet_pydicom

RetrieveBy = Literal["get", "move"]
_Ask = Callable[[], Iterator[Any]]
TRANSFER_SYNTAXES = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
    JPEGLossless,
    JPEG2000Lossless,
    JPEG2000,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    DeflatedExplicitVRLittleEndian,
]
"""What images may come in; all of it can be read."""

_FIND = UID("1.2.840.10008.5.1.4.1.2.2.1")
_MOVE = UID("1.2.840.10008.5.1.4.1.2.2.2")
_GET = UID("1.2.840.10008.5.1.4.1.2.2.3")
_CANCEL_SECONDS = 0.5
_SUCCESS, _WARNING, _UNKNOWN_DESTINATION, _NO_ROOM, _FAILED = 0x0000, 0xB000, 0xA801, 0xA700, 0xC000
_PENDING = (0xFF00, 0xFF01)
_IMAGE_CLASSES = ("CT", "MR", "Enhanced CT", "Enhanced MR", "Positron Emission", "Computed Radiography", "Secondary")


@dataclass(frozen=True)
class QueryRetrieveSource:
    """A DICOM application that series are found and fetched at.

    Attributes:
        entity: Which.
        options: How it is connected to.
        retrieve_by: `get` fetches over the same association; `move` lets the application send to our receiver, whose
            AE title and address it must know.
        receive_at: Host and port of the receiver; this machine alone by default.

    Raises:
        ValueError: If images are to come over TLS to a receiver without a certificate, or one that cannot be used.
    """

    entity: Entity
    options: ConnectionOptions
    retrieve_by: RetrieveBy = "get"
    receive_at: tuple[str, int] = ("127.0.0.1", 11112)

    def __post_init__(self) -> None:
        if self.retrieve_by == "move" and self.options.tls is not None:
            self.options.tls.server_context()  # told before anything is asked

    @property
    def name(self) -> str:
        """`AETITLE@host:port`."""
        return self.entity.name

    @quiet_pydicom()
    def query(self, query: SeriesQuery) -> list[FoundSeries]:
        """The series that meet the criteria, in the application's order.

        Raises:
            RetrievalError: If it does not answer as it should.
        """
        found: list[FoundSeries] = []
        with self._association([build_context(_FIND)]) as established:
            for study in list(self._studies(established, query)):
                for item in self._find(established, _series_keys(query, str(study.StudyInstanceUID))):
                    series = _found(study, item)
                    if query.takes(series):
                        found.append(series)
                    if len(found) == query.limit:
                        return found
        return found

    def _studies(self, established: Association, query: SeriesQuery) -> Iterator[Dataset]:
        keys = _keys("STUDY", PatientID=query.patient_id, StudyDate=query.study_date, StudyInstanceUID=query.study_uid)
        keys.ModalitiesInStudy = query.only_modality
        if query.series_uid and not query.names_studies:
            # The study is asked for first, without its own key: most applications allow that ("relational").
            for item in self._find(established, _series_keys(query, "")):
                keys.StudyInstanceUID = str(item.get("StudyInstanceUID") or "")
            if not keys.StudyInstanceUID:
                return
        for study in self._find(established, keys):
            if study.get("StudyInstanceUID"):
                yield study

    def _find(self, established: Association, keys: Dataset) -> list[Dataset]:
        found = []
        for status, item in self._answers(established, lambda: established.send_c_find(keys, _FIND), _FIND):
            if status.Status in _PENDING and item is not None:
                found.append(item)
            elif status.Status != _SUCCESS:
                raise self._refused("the query", status)
        return found

    @quiet_pydicom()
    def retrieve(self, series: FoundSeries, folder: Path, budget: int) -> int:
        """Fetch a series as it is stored there, in any transfer syntax.

        Args:
            series: Which.
            folder: An existing folder, where its images are put.
            budget: Most bytes to take.

        Returns:
            The number of images.

        Raises:
            RetrievalError: If it does not come whole, or is larger than the budget.
            OSError: If an image cannot be written.
        """
        receiver = Receiver(folder, series.series_uid, budget)
        keys = _keys("SERIES", StudyInstanceUID=series.study_uid, SeriesInstanceUID=series.series_uid)
        store = _Store(receiver)
        if self.retrieve_by == "get":
            self._get(series, keys, store)
        else:
            self._move(keys, store)
        receiver.check_complete(series.images)
        return receiver.received

    def _get(self, series: FoundSeries, keys: Dataset, store: "_Store") -> None:
        classes = self._sop_classes(series)
        room = (MAXIMUM_CONTEXTS - 1) // len(TRANSFER_SYNTAXES)
        contexts = [build_context(_GET)]
        # A context for each syntax lets the other side choose the one an image is stored in: nothing is recompressed.
        contexts += [build_context(sop, [syntax]) for sop in classes[:room] for syntax in TRANSFER_SYNTAXES]
        roles = [build_role(sop, scp_role=True) for sop in classes[:room]]
        with self._association(contexts, roles=roles, handlers=store.handlers) as established:
            self._await_end(established, lambda: established.send_c_get(keys, _GET), _GET, store)

    def _sop_classes(self, series: FoundSeries) -> list[str]:
        """What a series consists of, as far as the application tells; the usual images where it does not."""
        keys = _keys("IMAGE", StudyInstanceUID=series.study_uid, SeriesInstanceUID=series.series_uid)
        keys.SOPInstanceUID = keys.SOPClassUID = ""
        told: set[str] = set()
        # Many applications do not answer for single images; whatever it is, the retrieval itself will tell of it.
        with self._association([build_context(_FIND)]) as established, suppress(RetrievalError):
            told = {str(item.get("SOPClassUID") or "") for item in self._find(established, keys)}
        return sorted(told - {""}) or storage_classes(_IMAGE_CLASSES)

    def _move(self, keys: Dataset, store: "_Store") -> None:
        with self._listening(store), self._association([build_context(_MOVE)]) as established:
            title = self.options.calling_title
            self._await_end(established, lambda: established.send_c_move(keys, title, _MOVE), _MOVE, store)

    @contextmanager
    def _listening(self, store: "_Store") -> Iterator[None]:
        """A receiver for this series while a block lasts; callers must give the title of the application asked."""
        receiver = application(self.options)
        receiver.require_called_aet = True
        receiver.require_calling_aet = [self.entity.title]
        for sop_class in storage_classes():
            receiver.add_supported_context(sop_class, TRANSFER_SYNTAXES)
        try:
            secure = None if self.options.tls is None else self.options.tls.server_context()
            handlers = [(evt.EVT_CONN_OPEN, bound_pdus), *store.handlers]
            server: Any = receiver.start_server(self.receive_at, block=False, ssl_context=secure, evt_handlers=handlers)
        except OSError as error:
            host, port = self.receive_at
            message = f"cannot listen at {host}:{port} ({error.strerror}); --receive-at names another place"
            raise RetrievalError(message, retry=False) from error
        try:
            yield
        finally:
            server.shutdown()

    def _await_end(self, established: Association, ask: _Ask, model: UID, store: "_Store") -> None:
        """Wait until a retrieval has ended, and cancel it when the receiver has had enough.

        Raises:
            RetrievalError: If it did not end well.
            OSError: If an image could not be written.
        """
        try:
            for status, _ in self._answers(established, ask, model):
                if store.error is not None:
                    _cancel(established, model)
                    break
                self._check(status)
        except RetrievalError:
            if store.error is None:
                raise
        if store.error is not None:  # also the reason why an association that was too much was ended
            raise store.error

    def _check(self, status: Dataset) -> None:
        """Refuse an answer that says that a retrieval failed.

        Raises:
            RetrievalError: If it does.
        """
        if status.Status == _UNKNOWN_DESTINATION:
            host, port = self.receive_at
            message = f"{self.name} does not know {self.options.calling_title}; enter it there, at {host}:{port}"
            raise RetrievalError(message, retry=False)
        if status.Status not in (_SUCCESS, *_PENDING):
            raise self._refused("the retrieval", status)

    def _answers(self, established: Association, ask: _Ask, model: UID) -> Iterator[Any]:
        """Ask, and give answers one by one; Ctrl-C cancels what was asked for.

        Raises:
            RetrievalError: If there is none in time, or the association is lost.
        """
        try:
            for status, item in ask():
                if "Status" not in status:
                    title = self.options.calling_title
                    message = f"{self.name} aborted, or did not answer in time; does it know our AE title {title}?"
                    raise RetrievalError(message, retry=True)
                yield status, item
        except KeyboardInterrupt:
            _cancel(established, model)
            raise
        except RuntimeError:
            raise RetrievalError(f"{self.name}: the association was lost", retry=True) from None
        except ValueError:  # it took the association, and not this of it
            raise RetrievalError(f"{self.name} cannot do this ({model.name})", retry=False) from None

    def _refused(self, what: str, status: Dataset) -> RetrievalError:
        failed = status.get("NumberOfFailedSuboperations")
        count = f", {failed} images failed" if failed else ""
        code = int(status.Status)
        retry = code in range(0xA700, 0xA800) or code == _WARNING
        return RetrievalError(f"{self.name} refused {what} (status {code:04X}{count})", retry=retry)

    def _association(self, contexts: list[Any], **details: Any) -> Any:
        return association(self.entity, self.options, contexts, RetrievalError, **details)


class _Store:
    """Takes the images that come, and keeps what went wrong for whoever waits.

    Args:
        receiver: Where they are put.
    """

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._inflow = Inflow(receiver.room, self._overflowed)
        self.error: Exception | None = None

    @property
    def handlers(self) -> list[Any]:
        """Of the events of the associations that images come by."""
        return [(evt.EVT_C_STORE, self), *self._inflow.handlers]

    def _overflowed(self) -> None:
        self._receiver.full = True
        self.error = self.error or self._receiver.too_large()

    def __call__(self, event: Any) -> int:
        """Take an image; whatever comes of it, it waits no longer."""
        try:
            return self._take(event)
        finally:
            self._inflow.taken(event.assoc)

    def _take(self, event: Any) -> int:
        if self.error is not None:
            return _NO_ROOM
        try:
            header = event.dataset
            series, instance = str(header.get("SeriesInstanceUID", "")), str(event.request.AffectedSOPInstanceUID)
            self._receiver.keep(event.encoded_dataset(), series, instance)
        except (OSError, RetrievalError) as error:  # told by whoever waits, in the thread that can end the retrieval
            self.error = error
            return _NO_ROOM if isinstance(error, OSError) or self._receiver.full else _FAILED
        except Exception as error:  # what comes from a network may hold anything
            self.error = RetrievalError(f"an image cannot be read ({type(error).__name__})", retry=False)
            return _FAILED
        return _SUCCESS


def _cancel(established: Association, model: UID) -> None:
    """Ask the other side to stop. The association is aborted next; until then it has time to read the request."""
    with suppress(RuntimeError, ValueError):
        established.send_c_cancel(1, query_model=model)
        time.sleep(_CANCEL_SECONDS)


def _keys(level: str, **values: str) -> Dataset:
    keys = Dataset()
    keys.QueryRetrieveLevel = level
    if not all(value.isascii() for value in values.values()):
        keys.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in values.items():
        setattr(keys, keyword, value)
    return keys


def _series_keys(query: SeriesQuery, study: str) -> Dataset:
    """The description is compared by us, because applications differ in what case means."""
    keys = _keys("SERIES", StudyInstanceUID=study, SeriesInstanceUID=query.series_uid)
    keys.Modality = query.only_modality
    keys.SeriesDescription = keys.NumberOfSeriesRelatedInstances = ""
    return keys


def _found(study: Dataset, item: Dataset) -> FoundSeries:
    def text(source: Dataset, keyword: str) -> str:
        return str(source.get(keyword) or "")

    images = text(item, "NumberOfSeriesRelatedInstances")
    return FoundSeries(
        str(study.StudyInstanceUID),
        text(item, "SeriesInstanceUID"),
        text(item, "Modality"),
        int(images) if images.isdigit() else None,
        text(study, "PatientID"),
        text(study, "StudyDate"),
        text(item, "SeriesDescription"),
    )
