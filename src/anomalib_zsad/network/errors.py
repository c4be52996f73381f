"""What goes wrong with other machines, and whether it is worth another try."""

import logging

_INSTALL = 'pip install "anomalib-zsad[node]"'


class NetworkError(Exception):
    """Something that another machine did or did not do.

    Args:
        message: What, without patient data and without secrets, in one line.
        retry: Whether the same may work later: the other side was not there or had no room, as opposed to having
            refused what it was asked.
    """

    def __init__(self, message: str, retry: bool) -> None:
        super().__init__(message)
        self.message, self.retry = message, retry


class DeliveryError(NetworkError):
    """Files could not be sent, or not all of them. Sending all of them again makes no doubles."""


class RetrievalError(NetworkError):
    """A query was not answered, or a series could not be fetched whole."""


class MissingPackageError(ValueError):
    """A package of the extra `node` is not installed."""

    def __init__(self, package: str) -> None:
        super().__init__(f"{package} is not installed; {_INSTALL} installs what DICOM networking needs")


def keep_out_of_logs(*libraries: str) -> None:
    """Keep what libraries log below an error away: they write identifiers, addresses and queries into it.

    Args:
        libraries: Names of loggers.
    """
    for library in libraries:
        logging.getLogger(library).setLevel(logging.ERROR)
