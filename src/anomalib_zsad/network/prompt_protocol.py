"""HTTP/1.1 for visitors of whom nothing is known: no connection stays open for one who does nothing."""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

SECONDS = 10.0
"""How long a visitor may take for a header, for what is left of a body, and for a part of an answer."""
# Bytes of an answer that a visitor takes in that time, at least.
_LEAST_TAKEN = 256 << 10


class PromptProtocol(H11Protocol):
    """HTTP/1.1 that ends a connection whose other end does nothing.

    It ends where the next request's header is not whole in some seconds; where a request was answered before its body
    was there, and the rest does not come in that time (any byte of it stops uvicorn's own timer); and where too little
    of an answer is taken: a connection that is closed waits for that, and for good if nothing is.
    """

    _timer: asyncio.TimerHandle | None = None
    _look_timer: asyncio.TimerHandle | None = None
    _left = 0
    _left_of: object = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to count."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(SECONDS, transport.close)
        self._look_timer = self.loop.call_later(SECONDS, self._look)

    def data_received(self, data: bytes) -> None:
        """Count while something is to come that nothing else waits for, and no longer once it is there."""
        super().data_received(data)
        answered = self.conn.our_state is h11.DONE and self.conn.their_state is h11.SEND_BODY
        if not answered and self.conn.their_state is not h11.IDLE:
            self._stop_counting()
        elif self._timer is None:
            self._timer = self.loop.call_later(SECONDS, self.transport.close)

    def resume_writing(self) -> None:
        """Most of what was written is taken."""
        self._left = 0
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count no more."""
        self._stop_counting()
        if self._look_timer is not None:
            self._look_timer.cancel()
            self._look_timer = None
        super().connection_lost(exc)

    def _look(self) -> None:
        """End the connection if too little was taken of what was left of an answer when this last looked."""
        left = self.transport.get_write_buffer_size()
        if left and self._left and self._left_of is self.cycle and left > self._left - _LEAST_TAKEN:
            self.transport.abort()
            return
        self._left, self._left_of = left, self.cycle
        self._look_timer = self.loop.call_later(SECONDS, self._look)

    def _stop_counting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
