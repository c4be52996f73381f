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
        if not due:
            return False
        error = self._send(due)
        if error is not None and len(due) > 1 and not error.retry:
            # What is refused must not keep the others back.
            for row in due:
                self._send([row])
        return True

    def _due(self) -> list[sqlite3.Row]:
        condition = "target = ? AND state = 'pending' AND next_attempt <= ?"
        return self.queue.rows(
            f"SELECT * FROM deliveries WHERE {condition} AND study = "  # noqa: S608
            f"(SELECT study FROM deliveries WHERE {condition} ORDER BY next_attempt, changed LIMIT 1)",
            *(self.target.name, time.time()) * 2,
        )

    def _send(self, rows: Sequence[sqlite3.Row]) -> DeliveryError | None:
        """Send objects and record how it went."""
        error: DeliveryError | None = None
        try:
            self.target.send([self.results / row["file"] for row in rows])
        except DeliveryError as failure:
            error = failure
        except FileNotFoundError:
            text = "a file is gone: its series is being screened again, or it was removed"
            error = DeliveryError(f"{self.target.name}: {text}", retry=True)
        except Exception as failure:
            # A target must not end the node whatever it meets; texts of unknown errors may quote patient data.
            error = DeliveryError(f"{self.target.name}: unexpected {type(failure).__name__}", retry=True)
        self._record(rows, error)
        return error

    def _record(self, rows: Sequence[sqlite3.Row], error: DeliveryError | None) -> None:
        now, study = time.time(), shown_name("study", rows[0]["study"])
        with self.queue.writing() as connection:
            for row in rows:
                attempts = row["attempts"] + 1
                state = "delivered" if error is None else "pending" if error.retry else "failed"
                later = now + self.options.delay(attempts)
                # A new screening may have put another object in this one's place meanwhile.
                connection.execute(
                    "UPDATE deliveries SET state = ?, attempts = ?, next_attempt = ?, last_error = ?, changed = ? "
                    "WHERE sop_uid = ? AND target = ? AND digest = ?",
                    (state, attempts, later, str(error or ""), now, row["sop_uid"], row["target"], row["digest"]),
                )
        if error is None:
            _LOG.info("%s: %d object(s) sent to %s", study, len(rows), self.target.name)
        else:
            _LOG.warning("%s: not sent: %s%s", study, error, "; tried again later" if error.retry else "")
