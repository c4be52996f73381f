"""What an association has sent and the node has not done with: the measure by which its memory is bounded."""

from collections import deque
from dataclasses import dataclass, field


@dataclass
class Flow:
    """What an association has sent.

    A peer that does not wait for answers has its further messages read and kept while one is being handled, so bytes
    are counted message by message, and those of one leave the count when it is handled.

    Attributes:
        waiting: Bytes that are held for it in memory.
        arriving: Bytes of the message that is arriving.
        whole: Bytes of each message that is here and not handled, in their order.
        latest: When bytes came last.
        study: The study that it sent last.
        ended: Whether it is being aborted.
        admitted: Whether it counts among those that are allowed at a time.
    """

    waiting: int = 0
    arriving: int = 0
    whole: deque[int] = field(default_factory=deque)
    latest: float = 0.0
    study: str = ""
    ended: bool = False
    admitted: bool = False

    def came(self, size: int) -> None:
        """Bytes have come."""
        self.waiting += size
        self.arriving += size

    def complete(self) -> None:
        """The message that was arriving is whole."""
        self.whole.append(self.arriving)
        self.arriving = 0

    def handled(self) -> None:
        """The first message that was not handled is.

        Where the library drops a message that nobody asked for, the ones after it leave the count later than they leave
        the memory, and never earlier.
        """
        if self.whole:
            self.waiting -= self.whole.popleft()
