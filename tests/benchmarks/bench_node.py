"""Series an hour through a node against `screen` on the same folder, with the demo backbone.

python tests/benchmarks/bench_node.py [--series 20] [--repeats 3]

Each series is a study of its own. DCMTK's `storescu` sends all of them in one association; the node screens them and
delivers to a folder. Its time goes from the start of the client to the last delivery, and so holds a study's quiet time
once. Both have the same model, which is loaded before either begins, and write the same results.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from measuring import row

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from anomalib_zsad.demo.phantom_dicom import write_dicom_series
from anomalib_zsad.demo.phantoms import make_phantom
from anomalib_zsad.network.targets import parse_target
from anomalib_zsad.node.node import Node
from anomalib_zsad.node.options import ReceivingOptions, WorkingOptions
from anomalib_zsad.node.queue import Queue
from anomalib_zsad.node.rules import Rule, load_rules
from anomalib_zsad.scoring.build import build_scorer
from anomalib_zsad.scoring.scores import SliceScorer
from anomalib_zsad.screening.screen import screen
from tests.node.node_builders import find_dcmtk

QUIET_SECONDS = 1.0
RULES = """
rules:
  - name: head-ct
    match: {modality: CT}
    screen: {allow_untrained: true, arguments: {backbone: demo}, class_name: brain, window: brain, threshold: 0.5}
"""


class Cost(NamedTuple):
    """Seconds of a run, and CPU seconds of this process in it."""

    seconds: float
    cpu: float


def write_series(folder: Path, count: int) -> None:
    """Head CTs of 14 slices of 128 x 128 pixels, each another one."""
    for number in range(count):
        phantom = make_phantom("head_ct", number % 8, lesion=bool(number % 2))
        voxels = np.roll(phantom.voxels, number // 8, axis=0)
        write_dicom_series(folder / f"{number:04d}", voxels, phantom.affine, seed=f"{number}")


def by_screen(source: Path, output: Path, rule: Rule, scorer: SliceScorer) -> Cost:
    """What screening a folder costs."""
    start, cpu = time.perf_counter(), time.process_time()
    screen(source, output, scorer, rule.screening)
    return Cost(time.perf_counter() - start, time.process_time() - cpu)


def by_node(source: Path, folder: Path, rules: tuple[Rule, ...], scorer: SliceScorer, count: int) -> Cost:
    """What it costs from the start of the client to the last delivery."""
    delivered = folder / "delivered"
    delivered.mkdir(parents=True)
    receiving = ReceivingOptions(port=0, reserve_mib=1)
    working = WorkingOptions(quiet_seconds=QUIET_SECONDS)

    def is_done(queue: Queue) -> bool:
        return len(queue.rows("SELECT DISTINCT study FROM deliveries WHERE state = 'delivered'")) == count

    targets = [parse_target(f"{delivered}/")]
    with Node(folder / "node", rules, targets, receiving, working, build=lambda _: scorer) as node:
        start, cpu = time.perf_counter(), time.process_time()
        command = [dcmtk("storescu"), "-aec", receiving.title, "+sd", "+r", "127.0.0.1", str(node.receiver.port)]
        client = subprocess.Popen([*command, str(source)])
        done = node.wait_until(is_done, 600)
        cost = Cost(time.perf_counter() - start, time.process_time() - cpu)
        if client.wait() or not done:
            raise SystemExit("the node did not come to its end")
    return cost


def dcmtk(name: str) -> str:
    """DCMTK's program."""
    found = find_dcmtk(name)
    if found is None:
        raise SystemExit(f"{name} (Debian's package dcmtk) is not installed")
    return found


def main() -> None:
    """Print a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        (root / "rules.yaml").write_text(RULES)
        rules = load_rules(root / "rules.yaml")
        scorer = build_scorer(None, "BayesPFL", {"backbone": "demo"}, "cpu", "brain")
        write_series(root / "warm", 1)
        by_screen(root / "warm", root / "warm_out", rules[0], scorer)
        write_series(root / "in", arguments.series)
        plain, node = [], []
        for repeat in range(arguments.repeats):
            plain.append(by_screen(root / "in", root / f"screen_{repeat}", rules[0], scorer))
            node.append(by_node(root / "in", root / f"node_{repeat}", rules, scorer, arguments.series))
        ratios = [one.seconds / other.seconds for one, other in zip(plain, node, strict=True)]
        row(
            f"node, {arguments.series} series of 14 slices, demo backbone",
            statistics.median(ratios),
            "of screen's series an hour",
            "0.90",
            least=min(ratios),
            most=max(ratios),
            series_an_hour=3600 * arguments.series / statistics.median(cost.seconds for cost in node),
            screen_series_an_hour=3600 * arguments.series / statistics.median(cost.seconds for cost in plain),
            cpu_seconds_a_series=statistics.median(cost.cpu for cost in node) / arguments.series,
            screen_cpu_seconds_a_series=statistics.median(cost.cpu for cost in plain) / arguments.series,
            quiet_seconds=QUIET_SECONDS,
        )


if __name__ == "__main__":
    main()
