"""What comes over DICOM associations is bounded while it arrives: pynetdicom holds whatever comes, whole, in memory."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
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


@dataclass
class Backlog:
    """Bytes that an association has sent and nobody has done with, counted message by message.

    A peer that does not wait for answers has its further messages read and kept while one is being handled; those of
    one leave the count when it is handled.

    Attributes:
        waiting: Bytes that are held for it in memory.
        arriving: Bytes of the message that is arriving.
        whole: Bytes of each message that is here and not handled, in their order.
    """

    waiting: int = 0
    arriving: int = 0
    whole: deque[int] = field(default_factory=deque)

    def came(self, size: int) -> None:
        """Bytes have come."""
        self.waiting += size
        self.arriving += size

    def complete(self) -> None:
        """The message that was arriving is whole."""
        self.whole.append(self.arriving)
        self.arriving = 0

    def drop(self) -> None:
        """The message that was arriving is whole, and needs no handling."""
        self.waiting -= self.arriving
        self.arriving = 0

    def handled(self) -> None:
        """The first message that was not handled is.

        Where the library drops a message that nobody asked for, the ones after it leave the count later than they leave
        the memory, and never earlier.
        """
        if self.whole:
            self.waiting -= self.whole.popleft()


class Inflow:
    """Counts what the associations of a retrieval have sent and nobody has taken yet, and ends one that sends too much.

    Args:
        room: How many bytes may wait, at this moment.
        overflowed: Told when there are more.
    """

    def __init__(self, room: Callable[[], int], overflowed: Callable[[], None]) -> None:
        self._room, self._overflowed = room, overflowed
        self._lock = threading.Lock()
        self._backlogs: dict[Any, Backlog] = {}

    @property
    def handlers(self) -> list[Any]:
        """Of the events of an association, or of a server that accepts some; `bound_pdus` goes with them."""
        return [
            (evt.EVT_CONN_OPEN, self._opened),
            (evt.EVT_DIMSE_RECV, self._whole),
            (evt.EVT_CONN_CLOSE, self._closed),
        ]

    def taken(self, association: Any) -> None:
        """The first instance of an association that waited is where it belongs, and its memory is free."""
        with self._lock:
            if association in self._backlogs:
                self._backlogs[association].handled()

    def _opened(self, event: Any) -> None:
        association, connection = event.assoc, event.assoc.dul.socket
        read = connection.recv
        with self._lock:
            self._backlogs[association] = Backlog()

        def counted(count: int) -> Any:
            with self._lock:
                if association in self._backlogs:
                    self._backlogs[association].came(count)
                full = sum(backlog.waiting for backlog in self._backlogs.values()) > self._room()
            if full:
                self._overflowed()
                raise OSError("more than there is room for")  # the library closes the connection
            return read(count)

        connection.recv = counted

    def _whole(self, event: Any) -> None:
        """A message has arrived. What is no instance is small, and taken at once."""
        with self._lock:
            backlog = self._backlogs.get(event.assoc)
            if backlog is None:
                return
            if isinstance(event.message, C_STORE_RQ):
                backlog.complete()
            else:
                backlog.drop()

    def _closed(self, event: Any) -> None:
        with self._lock:
            self._backlogs.pop(event.assoc, None)
