"""Where series come from: DICOM applications and DICOMweb servers, each given as one word."""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from anomalib_zsad.network.addresses import FORMS, ConnectionOptions, Entity, parse_address, parse_listener
from anomalib_zsad.network.series import FoundSeries, SeriesQuery

if TYPE_CHECKING:
    from anomalib_zsad.network.query_retrieve import RetrieveBy

RECEIVE_AT = "127.0.0.1:11112"
"""Where images that an application sends are received, unless another place is named."""


class Source(Protocol):
    """A place that series are found and fetched at, by one thread at a time."""

    @property
    def name(self) -> str:
        """What it is called in messages and records; holds no secret."""

    def query(self, query: SeriesQuery) -> list[FoundSeries]:
        """The series that meet the criteria.

        Raises:
            RetrievalError: If it does not answer as it should.
        """

    def retrieve(self, series: FoundSeries, folder: Path, budget: int) -> int:
        """Fetch a series into an existing folder, of at most `budget` bytes; returns the number of images.

        Raises:
            RetrievalError: If it does not come whole, or is larger.
            OSError: If an image cannot be written.
        """


def parse_source(
    text: str,
    options: ConnectionOptions | None = None,
    *,
    retrieve_by: "RetrieveBy" = "get",
    receive_at: str = RECEIVE_AT,
) -> Source:
    """The source that a word names. Nothing is connected to yet.

    Args:
        text: `AETITLE@host:port` for C-FIND with C-GET or C-MOVE, `http(s)://host/dicom-web` for QIDO and WADO.
        options: How it is connected to.
        retrieve_by: For an application, `get` or `move`.
        receive_at: For `move`, the `host:port` where our receiver listens.

    Raises:
        ValueError: If it is neither, if a token that the options name is missing, if images are to come over TLS to a
            receiver without a certificate, or if the package that is needed is not installed.
    """
    options = options or ConnectionOptions()
    address = parse_address(text)
    if isinstance(address, Entity):
        from anomalib_zsad.network.query_retrieve import QueryRetrieveSource

        return QueryRetrieveSource(address, options, retrieve_by, parse_listener(receive_at))
    if address is not None:
        from anomalib_zsad.network.dicomweb import DicomWebSource

        return DicomWebSource(address, options)
    raise ValueError(f"{text!r} is no source; the forms are {FORMS}")
