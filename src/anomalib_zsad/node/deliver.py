"""Sending results to targets: each by itself, with growing delays after failures, and never twice what arrived."""

import logging
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from anomalib_zsad.network.targets import DeliveryError, Target
from anomalib_zsad.node.entries import shown_name
from anomalib_zsad.node.options import WorkingOptions
from anomalib_zsad.node.queue import Queue

_LOG = logging.getLogger("anomalib_zsad.node")
_GONE = "a file is gone: its series is being screened again, or it was removed"
_MOST_IN_A_ROW = 3
"""After so many objects in a row that may go later, the target itself is taken to be away."""


@dataclass
class Courier:
    """Sends what is due to one target, study by study.

    A send whose outcome a kill left unknown is done again: the same SOP Instance UID is the same object.

    Attributes:
        queue: The queue.
        results: Folder of results.
        target: Where to.
        options: Delays.
    """

    queue: Queue
    results: Path
    target: Target
    options: WorkingOptions

    def step(self) -> bool:
        """Send what is due of one study; returns whether anything was."""
        due = self._due()
        there = [row for row in due if (self.results / row["file"]).is_file()]
        gone = [row for row in due if row not in there]
        if gone:
            self._record(gone, DeliveryError(f"{self.target.name}: {_GONE}", retry=True))
        if there:
            error = self._try(there)
            if error is None or len(there) == 1:
                self._record(there, error)
            else:
                self._send_singly(there, error)
        return bool(due)

    def _send_singly(self, rows: Sequence[sqlite3.Row], error: DeliveryError) -> None:
        """Send objects that could not be sent together: what is not taken must not keep the others back.

        A target that is away is asked a few times, not once for each object. What is left then is recorded first, so
        that it comes first the next time.
        """
        singly: list[tuple[sqlite3.Row, DeliveryError | None]] = []
        in_a_row = 0
        for row in rows:
            failure = self._try([row])
            singly.append((row, failure))
            in_a_row = in_a_row + 1 if failure is not None and failure.retry else 0
            if in_a_row == _MOST_IN_A_ROW:
                break
        left = rows[len(singly) :]
        if left:
            self._record(left, error)
        for row, failure in singly:
            self._record([row], failure)

    def _due(self) -> list[sqlite3.Row]:
        condition = "target = ? AND state = 'pending' AND next_attempt <= ?"
        return self.queue.rows(
            f"SELECT * FROM deliveries WHERE {condition} AND study = "  # noqa: S608
            f"(SELECT study FROM deliveries WHERE {condition} ORDER BY next_attempt, changed LIMIT 1) "
            "ORDER BY changed, rowid",
            *(self.target.name, time.time()) * 2,
        )

    def _try(self, rows: Sequence[sqlite3.Row]) -> DeliveryError | None:
        """Send objects; what went wrong, if anything."""
        try:
            self.target.send([self.results / row["file"] for row in rows])
        except DeliveryError as failure:
            return failure
        except FileNotFoundError:
            return DeliveryError(f"{self.target.name}: {_GONE}", retry=True)
        except Exception as failure:
            # A target must not end the node whatever it meets; texts of unknown errors may quote patient data.
            return DeliveryError(f"{self.target.name}: unexpected {type(failure).__name__}", retry=True)
        return None

    def _record(self, rows: Sequence[sqlite3.Row], error: DeliveryError | None) -> None:
        now, study = time.time(), shown_name("study", rows[0]["study"])
        with self.queue.writing() as connection:
            for number, row in enumerate(rows):
                attempts = row["attempts"] + 1
                changed = now + number * 1e-6  # the next try takes them in this order
                state = "delivered" if error is None else "pending" if error.retry else "failed"
                later = now + self.options.delay(attempts)
                # A new screening may have put another object in this one's place meanwhile.
                connection.execute(
                    "UPDATE deliveries SET state = ?, attempts = ?, next_attempt = ?, last_error = ?, changed = ? "
                    "WHERE sop_uid = ? AND target = ? AND digest = ?",
                    (state, attempts, later, str(error or ""), changed, row["sop_uid"], row["target"], row["digest"]),
                )
        if error is None:
            _LOG.info("%s: %d object(s) sent to %s", study, len(rows), self.target.name)
        else:
            _LOG.warning("%s: not sent: %s%s", study, error, "; tried again later" if error.retry else "")
