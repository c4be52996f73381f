"""Models for workers of tests: what is bright is abnormal, and some series end their worker."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import torch

from anomalib_zsad.scoring.scores import SliceScores
from tests.screening.bright_spot import BrightSpotScorer


class Deadly(BrightSpotScorer):
    """Ends its process when it sees slices as bright as these, as often as there are files that it can remove."""

    def __init__(self, fuses: Path) -> None:
        super().__init__()
        self._fuses = fuses

    def __call__(self, images: torch.Tensor) -> SliceScores:
        for fuse in sorted(self._fuses.glob(f"{images.shape[-1]}-*")):
            fuse.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(images)


@dataclass(frozen=True)
class BuildDeadly:
    """Builds it."""

    fuses: Path

    def __call__(self, device: str) -> Deadly:
        if device == "none":
            raise ValueError("there is no device 'none'")
        return Deadly(self.fuses)
