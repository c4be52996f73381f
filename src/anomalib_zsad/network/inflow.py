"""What comes over DICOM associations is bounded while it arrives: pynetdicom holds whatever comes, whole, in memory."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from pynetdicom import evt
from pynetdicom.dimse_messages import C_STORE_RQ

LARGEST_PDU = 1 << 20
"""More than any true one: we tell everyone to send far smaller ones."""


def bound_pdus(event: Any) -> None:
    """Bound what one PDU may claim, as a handler of opened connections: the library reads whatever a header says."""
    connection = event.assoc.dul.socket
    whole = connection.recv

    def bounded(count: int) -> Any:
        if count > LARGEST_PDU:
            raise OSError("a PDU larger than any true one")
        return whole(count)

    connection.recv = bounded


class Inflow:
    """Counts what the associations of a retrieval have sent and nobody has taken yet, and ends one that sends too much.

    Args:
        room: How many bytes may wait, at this moment.
        overflowed: Told when there are more.
    """

    def __init__(self, room: Callable[[], int], overflowed: Callable[[], None]) -> None:
        self._room, self._overflowed = room, overflowed
        self._lock = threading.Lock()
        # Of each association the bytes of its instances that wait, and last those of the message that is arriving.
        self._waiting: dict[Any, deque[int]] = {}

    @property
    def handlers(self) -> list[Any]:
        """Of the events of an association, or of a server that accepts some."""
        return [
            (evt.EVT_CONN_OPEN, bound_pdus),
            (evt.EVT_CONN_OPEN, self._opened),
            (evt.EVT_DIMSE_RECV, self._whole),
            (evt.EVT_CONN_CLOSE, self._closed),
        ]

    def taken(self, association: Any) -> None:
        """The first instance of an association that waited is where it belongs, and its memory is free."""
        with self._lock:
            waiting = self._waiting.get(association, deque())
            if len(waiting) > 1:
                waiting.popleft()

    def _opened(self, event: Any) -> None:
        association, connection = event.assoc, event.assoc.dul.socket
        read = connection.recv
        with self._lock:
            self._waiting[association] = deque([0])

        def counted(count: int) -> Any:
            with self._lock:
                if association in self._waiting:
                    self._waiting[association][-1] += count
                full = sum(map(sum, self._waiting.values())) > self._room()
            if full:
                self._overflowed()
                raise OSError("more than there is room for")  # the library closes the connection
            return read(count)

        connection.recv = counted

    def _whole(self, event: Any) -> None:
        """A message has arrived. What is no instance is small, and taken at once."""
        with self._lock:
            waiting = self._waiting.get(event.assoc)
            if waiting is None:
                return
            if isinstance(event.message, C_STORE_RQ):
                waiting.append(0)
            else:
                waiting[-1] = 0

    def _closed(self, event: Any) -> None:
        with self._lock:
            self._waiting.pop(event.assoc, None)
