"""What is told of a node's queue: numbers, studies, deliveries, the latest errors. Pseudonyms only."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomalib_zsad.node.entries import shown_name
from anomalib_zsad.node.queue import Queue

_HOUR = 3600.0


@dataclass(frozen=True)
class SeriesLine:
    """A series as the page shows it.

    Attributes:
        name: Its pseudonym.
        state: What became of it.
        reason: Why.
        rule: Name of its rule.
        pages: Address of the index of its run, relative to that of results; empty for none.
    """

    name: str
    state: str
    reason: str
    rule: str
    pages: str


@dataclass(frozen=True)
class StudyLine:
    """A study as the page shows it.

    Attributes:
        uid: Study Instance UID: for look-ups, never shown.
        name: Its pseudonym.
        state: Its state.
        reason: Why.
        instances: How many instances it has.
        arrival: When the last one came, seconds since the epoch.
        series: Its series, once they are screened.
        deliveries: How many of its deliveries are in each state.
    """

    uid: str
    name: str
    state: str
    reason: str
    instances: int
    arrival: float
    series: tuple[SeriesLine, ...]
    deliveries: dict[str, int]


def numbers(queue: Queue) -> dict[str, Any]:
    """Counts of everything in the queue, and throughput."""

    def counts(table: str) -> dict[str, int]:
        found = queue.rows(f"SELECT state, COUNT(*) AS number FROM {table} GROUP BY state")  # noqa: S608
        return {row["state"]: row["number"] for row in found}

    now = time.time()
    (sizes,) = queue.rows(
        "SELECT COUNT(*) AS number, COALESCE(SUM(size), 0) AS size, "
        "COALESCE(SUM(arrival > ?), 0) AS lately FROM instances",
        now - _HOUR,
    )
    (screened,) = queue.rows(
        "SELECT COUNT(*) AS number, COALESCE(SUM(slices), 0) AS slices, COALESCE(SUM(finished > ?), 0) AS lately "
        "FROM series WHERE state = 'screened'",
        now - _HOUR,
    )
    return {
        "studies": counts("studies"),
        "series": counts("series"),
        "deliveries": counts("deliveries"),
        "instances": sizes["number"],
        "bytes": sizes["size"],
        "instances_last_hour": sizes["lately"],
        "slices": screened["slices"],
        "series_last_hour": screened["lately"],
    }


def studies(queue: Queue, results: Path, most: int = 200) -> list[StudyLine]:
    """The studies of which something came last.

    Args:
        queue: The queue.
        results: Folder of results.
        most: How many.
    """
    found = []
    for row in queue.rows("SELECT * FROM studies ORDER BY last_arrival DESC LIMIT ?", most):
        uid = row["uid"]
        (count,) = queue.rows("SELECT COUNT(*) AS number FROM instances WHERE study = ?", uid)
        states = queue.rows("SELECT state FROM deliveries WHERE study = ?", uid)
        series = tuple(
            SeriesLine(line["name"], line["state"], line["reason"], line["rule"], _pages(results, line["folder"]))
            for line in queue.rows("SELECT * FROM series WHERE study = ? ORDER BY name", uid)
        )
        deliveries = dict(Counter(state["state"] for state in states))
        found.append(
            StudyLine(
                uid, row["name"], row["state"], row["reason"], count["number"], row["last_arrival"], series, deliveries
            )
        )
    return found


def _pages(results: Path, folder: str) -> str:
    return f"{folder}/index.html" if folder and (results / folder / "index.html").is_file() else ""


def deliveries(queue: Queue, targets: Sequence[str], most: int = 50) -> list[dict[str, Any]]:
    """What is still to be sent, or was refused: the ones with most attempts first."""
    rows = queue.rows(
        "SELECT * FROM deliveries WHERE state IN ('pending', 'failed') ORDER BY attempts DESC, next_attempt LIMIT ?",
        most,
    )
    return [
        {
            "study": shown_name("study", row["study"]),
            "target": row["target"],
            "state": row["state"] if row["target"] in targets else "waiting: its target is not configured",
            "attempts": row["attempts"],
            "next_attempt": row["next_attempt"],
            "last_error": row["last_error"],
        }
        for row in rows
    ]
