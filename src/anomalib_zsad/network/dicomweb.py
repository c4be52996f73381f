"""DICOMweb by dicomweb-client: QIDO finds series, WADO fetches them, STOW stores results."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import responses
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from anomalib_zsad.network.addresses import ConnectionOptions
from anomalib_zsad.network.errors import (
    DeliveryError,
    MissingPackageError,
    NetworkError,
    RetrievalError,
    keep_out_of_logs,
)
from anomalib_zsad.network.receiving import Receiver
from anomalib_zsad.network.response_guard import ResponseGuard, ResponseTooLargeError, TruncatedResponseError
from anomalib_zsad.network.series import FoundSeries, SeriesQuery
from anomalib_zsad.outputs.quiet_pydicom import quiet_pydicom

try:
    import requests
    from dicomweb_client.api import DICOMwebClient
except ImportError as error:
    raise MissingPackageError("dicomweb-client") from error

keep_out_of_logs("dicomweb_client", "retrying", "urllib3")

_PAGE = 100  # results a request; servers have limits of their own
_QUERY_BYTES = 64 << 20  # more than any page of results
_STOW_BYTES = 64 << 20  # files are sent in messages of about this size, which are put together in memory
_AS_STORED = (("application/dicom", "*"),)
# What was raised, what it means, and whether another try may help; the first that fits is told.
_CAUSES: list[tuple[type[Exception], str, bool]] = [
    (ResponseTooLargeError, "its answer is larger than any true one; is this its DICOMweb address?", False),
    (TruncatedResponseError, "it stopped in the middle of an answer", True),
    (requests.exceptions.ChunkedEncodingError, "it stopped in the middle of an answer", True),
    (requests.exceptions.SSLError, "no encrypted connection; its certificate is not trusted", False),
    (requests.ConnectTimeout, "no connection in time", True),
    (requests.Timeout, "no answer in time", True),
    (requests.ConnectionError, "no connection, or it was lost", True),
    (requests.exceptions.JSONDecodeError, "the answer is no DICOM JSON; is this its DICOMweb address?", False),
    (requests.RequestException, "the address leads nowhere; is this its DICOMweb address?", False),
    (OSError, "no connection, or it was lost", True),
    # Whatever else reading an answer raises: it comes from a network and may hold anything.
    (Exception, "the answer is not DICOMweb; is this its DICOMweb address?", False),
]
_RETRY = {408, 425, 429}  # the server asks for another try
_NO_ROOM = range(0xA700, 0xA800)
_PASSING = {0x0110, 0x0210}
_STORED_BEFORE = 0x0111
_TELLING = {"application/dicom+json", "application/json", "application/dicom+xml", "application/xml"}


class _Prepare(requests.auth.AuthBase):
    """The last touch to every request; given as what authenticates a session, so that no .netrc takes its place.

    Args:
        token: The value of `Authorization`, if there is one.
    """

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        # The client names the host without its port; left alone, the whole address is told.
        request.headers.pop("Host", None)
        if self._token:
            request.headers["Authorization"] = self._token
        # Either way is right in a query; Orthanc 1.10 takes the escaped ones for what the value itself holds.
        request.url = (request.url or "").replace("%2A", "*").replace("%3F", "?")
        return request


class _Server:
    """A DICOMweb server."""

    def __init__(self, url: str, options: ConnectionOptions) -> None:
        session = requests.Session()
        session.auth = _Prepare(options.authorization(url))
        if options.tls is not None:
            session.verify = str(options.tls.authority) if options.tls.authority else True
            if options.tls.certificate is not None:
                pair = (str(options.tls.certificate), str(options.tls.key or options.tls.certificate))
                session.cert = pair
        self.name = url
        self.guard = ResponseGuard()
        wait = (options.connect_seconds, options.answer_seconds)
        self.client = DICOMwebClient(url, session=session, timeout=wait, callback=self._watch)
        # Whoever sends decides when to try again; a client that waits by itself would hold everything else up.
        self.client.set_http_retry_params(retry=False)

    def _watch(self, response: requests.Response, *_: Any, **__: Any) -> requests.Response:
        watched: requests.Response = self.guard.watch(response)
        return _readable(watched) if response.request.method == "POST" else watched

    @contextmanager
    def errors(self, failure: Callable[[str, bool], NetworkError]) -> Iterator[None]:
        """Turn what requests raises into an error without the address that was asked for: it may hold a patient ID.

        Args:
            failure: Makes the error, of a message and whether to try again.

        Raises:
            NetworkError: What `failure` makes.
        """
        try:
            yield
        except requests.HTTPError as error:
            raise failure(*self._refusal(error)) from None
        except NetworkError:
            raise
        except Exception as error:
            told, retry = next((told, retry) for kind, told, retry in _CAUSES if isinstance(error, kind))
            raise failure(f"{self.name}: {told}", retry) from None

    def _refusal(self, error: requests.HTTPError) -> tuple[str, bool]:
        code = 0 if error.response is None else error.response.status_code
        phrase = responses.get(code, "")
        hint = {
            401: "; it wants a token, or another one",
            403: "; the token does not allow it",
            404: "; is this its DICOMweb address?",
        }.get(code, "")
        return f"{self.name} answered HTTP {code} {phrase}".rstrip() + hint, code >= 500 or code in _RETRY


def _readable(answer: requests.Response) -> requests.Response:
    """Let the client read what STOW says of each file, also where none was stored (409; PS3.18, 10.5.3).

    The client reads no answer of an error, and none whose media type has parameters, such as a character set.
    """
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in _TELLING and answer.headers.get("Content-Length") != "0":
        answer.headers["Content-Type"] = kind
        if answer.status_code == HTTPStatus.CONFLICT:
            answer.status_code = HTTPStatus.ACCEPTED
    return answer


class StowTarget:
    """A DICOMweb server that stores what it is sent.

    Args:
        url: Without a slash at its end.
        options: How it is connected to.

    Raises:
        ValueError: If a token that the options name is missing.
    """

    def __init__(self, url: str, options: ConnectionOptions) -> None:
        self._server = _Server(url, options)

    @property
    def name(self) -> str:
        """Its URL."""
        return self._server.name

    @quiet_pydicom()
    def send(self, files: Sequence[Path]) -> None:
        """Send files in messages of about 64 MiB. What is stored there already counts as sent.

        Raises:
            DeliveryError: If not all of them are stored there.
            OSError: If a file cannot be read.
        """
        refused: list[str] = []
        for batch in _batches(files):
            datasets = [_read(path) for path in batch]
            names = {str(dataset.SOPInstanceUID): path.name for dataset, path in zip(datasets, batch, strict=True)}
            self._server.guard.limit(_QUERY_BYTES)
            with self._server.errors(DeliveryError):
                answer = self._server.client.store_instances(datasets)
                told = [*(answer.get("ReferencedSOPSequence") or []), *(answer.get("FailedSOPSequence") or [])]
                refused += self._refused(answer, names)
            # Whatever listens at an address may answer 200: a file counts as sent where the server says so.
            hint = "" if told else " (is this its DICOMweb address?)"
            silent = set(names) - {_reference(item) for item in told}
            refused += [f"{names[uid]}: not confirmed{hint}" for uid in sorted(silent)]
        if refused:
            more = f" and {len(refused) - 3} more" if len(refused) > 3 else ""
            raise DeliveryError(f"{self.name} refused {'; '.join(refused[:3])}{more}", retry=False)

    def _refused(self, answer: Dataset, names: dict[str, str]) -> list[str]:
        """Which files were refused for good.

        Raises:
            DeliveryError: If one may be stored later.
        """
        refused = []
        for item in answer.get("FailedSOPSequence") or []:
            reason = int(item.get("FailureReason", 0))
            name = names.get(_reference(item), "a file")
            if reason in _NO_ROOM or reason in _PASSING:
                raise DeliveryError(f"{self.name} cannot store now (status {reason:04X})", retry=True)
            if reason != _STORED_BEFORE:
                refused.append(f"{name}: status {reason:04X}")
        return refused


def _reference(item: Dataset) -> str:
    return str(item.get("ReferencedSOPInstanceUID") or "")


def _read(path: Path) -> Dataset:
    try:
        dataset = dcmread(path)
        if dataset.get("SOPInstanceUID") and dataset.get("SOPClassUID"):
            return dataset
    except InvalidDicomError:
        pass
    raise DeliveryError(f"{path.name} is no DICOM file with its UIDs and cannot be sent", retry=False)


def _batches(files: Sequence[Path]) -> Iterator[list[Path]]:
    batch: list[Path] = []
    size = 0
    for path in files:
        length = path.stat().st_size
        if batch and size + length > _STOW_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(path)
        size += length
    if batch:
        yield batch


@dataclass
class DicomWebSource:
    """A DICOMweb server that series are found and fetched at.

    Attributes:
        url: Without a slash at its end.
        options: How it is connected to.
    """

    url: str
    options: ConnectionOptions

    def __post_init__(self) -> None:
        self._server = _Server(self.url, self.options)

    @property
    def name(self) -> str:
        """Its URL."""
        return self.url

    @quiet_pydicom()
    def query(self, query: SeriesQuery) -> list[FoundSeries]:
        """The series that meet the criteria, in the server's order.

        Raises:
            RetrievalError: If the server does not answer as it should.
        """
        found: list[FoundSeries] = []
        with self._server.errors(RetrievalError):
            for study in self._studies(query):
                for item in self._pages(study["StudyInstanceUID"], _series_filters(query)):
                    series = _found(study, item)
                    if query.takes(series):
                        found.append(series)
                    if len(found) == query.limit:
                        return found
        return found

    def _studies(self, query: SeriesQuery) -> Iterator[dict[str, str]]:
        # What would be escaped is asked for as a wildcard, and compared here: some servers compare what is escaped.
        patient = re.sub(r"[^A-Za-z0-9._*?-]", "*", query.patient_id)
        keys = {"PatientID": patient, "StudyDate": query.study_date, "StudyInstanceUID": query.study_uid}
        keys["ModalitiesInStudy"] = query.only_modality
        filters = {key: value for key, value in keys.items() if value}
        if query.series_uid and not query.names_studies:
            series = self._pages(None, {"SeriesInstanceUID": query.series_uid})
            filters = {"StudyInstanceUID": next((_values(item)["StudyInstanceUID"] for item in series), "")}
            if not filters["StudyInstanceUID"]:
                return
        for item in self._pages("", filters):
            yield _values(item)

    def _pages(self, study: str | None, filters: dict[str, str]) -> Iterator[Dataset]:
        """Results page by page: studies where `study` is empty, else its series (`None`: those of all studies)."""
        client, seen = self._server.client, set[str]()
        while True:
            self._server.guard.limit(_QUERY_BYTES)
            options: dict[str, Any] = {"limit": _PAGE, "offset": len(seen), "search_filters": filters}
            if study == "":
                page = client.search_for_studies(fields=["StudyDate", "PatientID"], **options)
            else:
                page = client.search_for_series(study_instance_uid=study, fields=["SeriesDescription"], **options)
            results = [Dataset.from_json(item) for item in page]
            fresh = [item for item in results if _identity(item) not in seen]
            seen.update(map(_identity, fresh))
            yield from fresh
            if not fresh:  # the end, or a server that does not know pages
                return

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
        # Beside images a message holds boundaries and headers, of some hundred bytes each.
        self._server.guard.limit(budget + budget // 8 + (1 << 20))
        instances = self._instances(series)
        while True:
            with self._server.errors(RetrievalError):
                try:
                    dataset = next(instances, None)
                except ResponseTooLargeError:
                    raise receiver.too_large() from None
                content = b"" if dataset is None else _encoded(dataset)
            if dataset is None:
                break
            receiver.keep(content, str(dataset.get("SeriesInstanceUID", "")), str(dataset.get("SOPInstanceUID", "")))
        receiver.check_complete(series.images)
        return receiver.received

    def _instances(self, series: FoundSeries) -> Iterator[Dataset]:
        yield from self._server.client.iter_series(series.study_uid, series.series_uid, media_types=_AS_STORED)


def _series_filters(query: SeriesQuery) -> dict[str, str]:
    """What a server can leave out; the description is compared here, because servers differ in what case means."""
    keys = {"Modality": query.only_modality, "SeriesInstanceUID": query.series_uid}
    return {key: value for key, value in keys.items() if value}


def _identity(item: Dataset) -> str:
    return str(item.get("SeriesInstanceUID") or item.get("StudyInstanceUID") or "")


def _values(item: Dataset) -> dict[str, str]:
    return {key: str(item.get(key) or "") for key in ("StudyInstanceUID", "PatientID", "StudyDate")}


def _found(study: dict[str, str], item: Dataset) -> FoundSeries:
    images = item.get("NumberOfSeriesRelatedInstances")
    return FoundSeries(
        study["StudyInstanceUID"],
        str(item.SeriesInstanceUID),
        str(item.get("Modality") or ""),
        None if images in (None, "") else int(images),
        study["PatientID"],
        study["StudyDate"],
        str(item.get("SeriesDescription") or ""),
    )


def _encoded(dataset: Dataset) -> bytes:
    with BytesIO() as stream:
        dataset.save_as(stream, enforce_file_format=True)
        return stream.getvalue()
