"""Screening a volume of 200 slices on the demo backbone: the share of the wall time that is spent inside the model.

python tests/benchmarks/bench_volume.py [--sides 256 512] [--slices 200] [--no-pages] [--profile]
"""

import argparse
import cProfile
import pstats
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from measuring import row

from anomalib_zsad.demo.phantoms import make_phantom
from anomalib_zsad.scoring.build import build_scorer
from anomalib_zsad.scoring.model_scorer import ModelScorer
from anomalib_zsad.scoring.scores import SliceScores
from anomalib_zsad.screening.options import ScreeningOptions, VolumeOptions
from anomalib_zsad.screening.screen import screen

# Pixels along the side of a slice for which the bound is that of large ones.
LARGE = 512


def write_volume(path: Path, side: int, slices: int) -> None:
    """A head CT phantom on a grid of its own, with the noise of a scanner, as NIfTI."""
    import nibabel
    from scipy.ndimage import zoom

    phantom = make_phantom("head_ct", 1, lesion=True)
    factors = np.array([side, side, slices]) / phantom.voxels.shape
    voxels = zoom(phantom.voxels.astype(np.float32), factors, order=1)
    voxels += np.random.default_rng(0).normal(0, 8, voxels.shape).astype(np.float32)
    affine = phantom.affine @ np.diag([*(1 / factors), 1.0])
    nibabel.save(nibabel.Nifti1Image(np.round(voxels).astype(np.int16), affine), path)


class TimedScorer:
    """A scorer that counts the time spent in it."""

    def __init__(self, scorer: ModelScorer) -> None:
        self.scorer, self.seconds, self.slices = scorer, 0.0, 0

    def __call__(self, images: torch.Tensor) -> SliceScores:
        """Score, and count."""
        start = time.perf_counter()
        answer = self.scorer(images)
        self.seconds += time.perf_counter() - start
        self.slices += len(images)
        return answer

    def describe(self) -> dict[str, object]:
        """What the scorer says."""
        return self.scorer.describe()


def main() -> None:
    """Print rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 512], help="of a slice, in pixels")
    parser.add_argument("--slices", type=int, default=200)
    parser.add_argument("--no-pages", action="store_true")
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    arguments = parser.parse_args()
    options = ScreeningOptions(volume=VolumeOptions(window="brain", pages=not arguments.no_pages), progress=False)
    for side in arguments.sides:
        measure(side, arguments, options)


def measure(side: int, arguments: argparse.Namespace, options: ScreeningOptions) -> None:
    """Rows for slices of one size."""
    with tempfile.TemporaryDirectory() as temporary:
        volume = Path(temporary) / "volume.nii.gz"
        write_volume(volume, side, arguments.slices)
        for method in ("BayesPFL", "CoPS"):
            scorer = TimedScorer(build_scorer(None, method, {"backbone": "demo"}, "cpu", "brain"))
            screen(volume, Path(temporary) / f"{method}_warm", scorer, options)
            scorer.seconds, scorer.slices = 0.0, 0
            profile = cProfile.Profile()
            start = time.perf_counter()
            if arguments.profile:
                profile.runcall(screen, volume, Path(temporary) / method, scorer, options)
            else:
                screen(volume, Path(temporary) / method, scorer, options)
            wall = time.perf_counter() - start
            what = f"{method}, demo backbone, {arguments.slices} slices of {side} px"
            details = {"wall_seconds": wall, "slices_scored": scorer.slices, "model_seconds": scorer.seconds}
            bounds = ("0.92", "0.95") if side == LARGE else ("0.90", "")
            row(what, scorer.seconds / wall, "of the wall time inside the model", *bounds, **details)
            if arguments.profile:
                pstats.Stats(profile).sort_stats("tottime").print_stats(18)


if __name__ == "__main__":
    main()
