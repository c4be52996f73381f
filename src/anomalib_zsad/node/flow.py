"""What the node knows of an association that is open."""

from dataclasses import dataclass

from anomalib_zsad.network.inflow import Backlog


@dataclass
class Flow(Backlog):
    """What an association has sent.

    Attributes:
        waiting, arriving, whole: As in `Backlog`.
        latest: When bytes came last.
        study: The study that it sent last.
        ended: Whether it is being aborted.
        admitted: Whether it counts among those that are allowed at a time.
    """

    latest: float = 0.0
    study: str = ""
    ended: bool = False
    admitted: bool = False
