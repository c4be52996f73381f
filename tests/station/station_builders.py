"""Pictures, a calibration and stations for tests; a station in a process of its own, to be killed."""

import csv
import json
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from anomalib_zsad.calibration import Calibration
from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.scoring.scores import SliceScores
from anomalib_zsad.station.options import WatchOptions
from anomalib_zsad.station.watch import Station
from tests.inspection.bright_image import BrightImageScorer

NORMAL = np.linspace(80, 120, 100)
"""Grey values of normal pictures."""


def calibrated(**figures: tuple[float, float]) -> Calibration:
    """A calibration of plain pictures of these grey values."""
    scores = tuple((float(value),) for value in NORMAL / 255)
    return Calibration("images", {"image": scores, "mask": scores}, {"model.model": "BrightImage"}, figures=figures)


def save(folder: Path, name: str, value: float = 100.0, side: int = 12) -> Path:
    """A plain grey picture, which appears whole."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{Path(name).name}"
    Image.fromarray(np.full((side, side), round(value), np.uint8)).save(partial, "PNG")
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    return partial.rename(folder / name)


def options(**others: Any) -> WatchOptions:
    """Quick to look."""
    given = {"rule": DecisionRule("images", calibrated()), "poll_seconds": 0.01, "stable_polls": 1, **others}
    return WatchOptions(**given)


def work(folder: Path, output: Path, expected: int, scorer: Any = None, **others: Any) -> dict[str, int]:
    """Let a station answer so many pictures, or ten seconds long; returns its counts."""
    end = time.monotonic() + 10
    with Station(folder, output, scorer or BrightImageScorer(), options(**others)) as station:
        station.run(lambda: station.counts["answered"] >= expected or time.monotonic() > end)
        return dict(station.counts)


def lines(output: Path) -> list[dict[str, Any]]:
    """All lines of JSON, in the order of days."""
    texts = [path.read_text() for path in sorted((output / "results").glob("*.jsonl"))]
    return [json.loads(line) for text in texts for line in text.splitlines()]


def pictures(output: Path) -> list[dict[str, Any]]:
    """Those of pictures."""
    return [line for line in lines(output) if line["kind"] == "picture"]


def rows(output: Path) -> list[dict[str, str]]:
    """All rows of CSV."""
    found = []
    for path in sorted((output / "results").glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as stream:
            found += list(csv.DictReader(stream))
    return found


class SlowScorer(BrightImageScorer):
    """Takes its time, so that it is killed at work."""

    def __call__(self, batch: torch.Tensor) -> SliceScores:
        time.sleep(0.02)
        return super().__call__(batch)


def watch(folder: str, output: str, pipe: Any) -> None:
    """Say that it begins, and work until killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    with Station(Path(folder), Path(output), SlowScorer(), options(batch_size=3)) as station:
        pipe.send("ready")
        station.run()
