"""What `anomalib-zsad serve` stands: many clients at once on this machine, with the demo backbone.

python tests/benchmarks/bench_station.py [--clients 50] [--seconds 60]

The server is a process of its own. Each client sends one picture of the sample set after the other and checks that the
answer is that picture's, whose score the same model gave it beforehand, one at a time. An answer that is missing is
lost; one with another picture's score is mixed up.
"""

import argparse
import http.client
import json
import re
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from measuring import memory, row

ROOT = Path(__file__).resolve().parents[2]
PICTURES = 24
PROGRAM = "import sys; from anomalib_zsad.cli import main; sys.exit(main(sys.argv[1:]))"
MODEL = ["--allow-untrained", "--model.backbone", "demo", "--class-name", "washer"]
WARM_SECONDS = 5.0
SAME = 1e-4


@dataclass
class Tally:
    """What clients saw.

    Attributes:
        seconds: Of each answer.
        others: How often something else came, by what it was.
        mixed: Answers with another picture's score.
    """

    seconds: list[float] = field(default_factory=list)
    others: dict[str, int] = field(default_factory=dict)
    mixed: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answered(self, seconds: float, *, right: bool) -> None:
        """Count an answer."""
        with self.lock:
            self.seconds.append(seconds)
            self.mixed += not right

    def failed(self, what: str) -> None:
        """Count what was no answer."""
        with self.lock:
            self.others[what] = self.others.get(what, 0) + 1


def score(connection: http.client.HTTPConnection, picture: bytes) -> float | str:
    """The score of a picture, or what came in its place."""
    connection.request("POST", "/score", picture)
    response = connection.getresponse()
    content = response.read()
    return float(json.loads(content)["score"]) if response.status == 200 else f"status {response.status}"


def client(port: int, start: int, pictures: list[bytes], known: list[float], end: float, tally: Tally) -> None:
    """Send pictures until the end, beginning with one of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    place = start
    while time.monotonic() < end:
        place = (place + 1) % len(pictures)
        began = time.perf_counter()
        try:
            found = score(connection, pictures[place])
        except (OSError, http.client.HTTPException, ValueError) as error:
            tally.failed(type(error).__name__)
            connection.close()
            continue
        if isinstance(found, str):
            tally.failed(found)
        else:
            tally.answered(time.perf_counter() - began, right=abs(found - known[place]) <= SAME)
    connection.close()


def serve() -> tuple[subprocess.Popen[str], int]:
    """The server, and its port."""
    command = [sys.executable, "-c", PROGRAM, "serve", "--http-port", "0", *MODEL]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    if process.stderr is None:
        raise SystemExit("the server says nothing")
    for line in process.stderr:
        if found := re.search(r"http://127\.0\.0\.1:(\d+);", line):
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return process, int(found[1])
    raise SystemExit("the server did not start")


def distinct(pictures: list[bytes], known: list[float]) -> tuple[list[bytes], list[float]]:
    """Pictures whose scores tell them apart."""
    kept: list[int] = []
    for place, value in enumerate(known):
        if all(abs(value - known[other]) > 4 * SAME for other in kept):
            kept.append(place)
    return [pictures[place] for place in kept], [known[place] for place in kept]


def main() -> None:
    """Print a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    files = sorted((ROOT / "sample_data" / "industrial").glob("*/test/*/*.jpg"))
    pictures = [path.read_bytes() for path in files[:: max(1, len(files) // PICTURES)][:PICTURES]]
    process, port = serve()
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        alone = [score(connection, picture) for picture in pictures]
        connection.close()
        pictures, known = distinct(pictures, [float(value) for value in alone])
        tally = Tally()
        began = time.monotonic()
        end = began + arguments.seconds
        threads = [
            threading.Thread(target=client, args=(port, number, pictures, known, end, tally))
            for number in range(arguments.clients)
        ]
        for thread in threads:
            thread.start()
        time.sleep(min(WARM_SECONDS, arguments.seconds / 2))
        early = memory("VmRSS", process.pid)
        time.sleep(max(0.0, end - time.monotonic() - 1))
        late = memory("VmRSS", process.pid)
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - began
    finally:
        process.terminate()
        process.wait(60)
    ordered = sorted(tally.seconds)
    if not ordered:
        raise SystemExit(f"nothing was answered: {tally.others}")
    row(
        f"serve, {arguments.clients} clients for {arguments.seconds:g} s, demo backbone",
        ordered[int(0.99 * (len(ordered) - 1))],
        "s, 99th percentile",
        lost=sum(tally.others.values()),
        mixed=tally.mixed,
        answers=len(ordered),
        pictures=len(pictures),
        pictures_a_second=len(ordered) / seconds,
        median=statistics.median(ordered),
        longest=ordered[-1],
        memory_early_mib=early,
        memory_late_mib=late,
    )
    for what, count in tally.others.items():
        sys.stderr.write(f"{count} x {what}\n")
    if tally.others or tally.mixed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
