"""A node in a process of its own, to be killed. Run by a fork server, so that a new one starts at once."""

import signal
import time
from pathlib import Path
from typing import Any

import torch

from anomalib_zsad.network.targets import parse_target
from anomalib_zsad.scoring.scores import SliceScores
from tests.node.node_builders import make_node
from tests.screening.bright_spot import BrightSpotScorer


class SlowScorer(BrightSpotScorer):
    """Takes its time, so that it is killed at work."""

    def __call__(self, images: torch.Tensor) -> SliceScores:
        time.sleep(0.3)
        return super().__call__(images)


def serve(folder: str, targets: list[str], pipe: Any) -> None:
    """Tell the port, and work until killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    with make_node(Path(folder), [parse_target(word) for word in targets], scorer=SlowScorer()) as node:
        pipe.send(node.receiver.port)
        node.wait()
