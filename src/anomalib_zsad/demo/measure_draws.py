"""`python -m anomalib_zsad.demo.measure_draws`: what it matters that all images share the seeded draws.

The published tests draw anew for every image: Bayes-PFL the context, while the states keep the draws of the first
image, CoPS the class tokens. Here the draws are fixed and equal for every image, so that an answer does not depend on
what was looked at before. Both ways are measured over a number of seeds.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from anomalib.data import AnomalibDataset
from rich.console import Console
from rich.table import Table
from torch import Tensor

from anomalib_zsad.data.prepared_images import PreparedBatch, PreparedImages, make_loader
from anomalib_zsad.data.sample_set import UNSEEN_CATEGORIES, sample_data_folder
from anomalib_zsad.evaluation.protocols import Deployable
from anomalib_zsad.evaluation.targets import Target, parse_target
from anomalib_zsad.metrics import ImageMetrics, PixelMetrics
from anomalib_zsad.models.components.noise import seeded_normal
from anomalib_zsad.scoring.build import build_model

_BATCH = 8


@dataclass(frozen=True)
class Run:
    """One seed, one way to draw, all images of a set.

    Attributes:
        scores: Score of each image, (n,).
        image_auroc: Mean over the categories, in [0, 1].
        pixel_auroc: Likewise.
    """

    scores: Tensor
    image_auroc: float
    pixel_auroc: float


@dataclass(frozen=True)
class Comparison:
    """Both ways to draw, over several seeds.

    Attributes:
        fixed: Runs with draws that all images share; the first is the model's own.
        fresh: Runs with draws of each image's own.
    """

    fixed: list[Run]
    fresh: list[Run]

    def score_spread(self, way: str) -> float:
        """Standard deviation over the seeds of an image's score, averaged over the images, for `fixed` or `fresh`."""
        scores = torch.stack([run.scores for run in getattr(self, way)])
        return float(scores.std(dim=0).mean())

    def score_difference(self) -> tuple[float, float]:
        """Distance of the model's own score from the mean over the fresh ones: mean and largest over the images."""
        distance = (self.fixed[0].scores - torch.stack([run.scores for run in self.fresh]).mean(dim=0)).abs()
        return float(distance.mean()), float(distance.max())


def draws_of(model: Any, seed: int, image: int | None = None) -> dict[str, Tensor]:
    """Standard normal draws of a seed in the place of a torch model's own.

    Args:
        model: The torch model, whose draws are buffers that begin with `noise`.
        seed: The seed.
        image: Number of the image whose own the draws are; `None` for those that all images share, of which seed 0 has
            the model's own. Draws of Bayes-PFL's states are shared in any case.
    """
    own = {name: value for name, value in model.named_buffers() if name.startswith("noise")}
    draws = {}
    for name, value in own.items():
        shared = image is None or name in {"noise_normal", "noise_abnormal"}
        word = f"draws.{name}" if shared else f"draws.{name}.{image}"
        draws[name] = value if seed == 0 and image is None else seeded_normal(word, tuple(value.shape), seed)
    return draws


@torch.inference_mode()
def answers(model: Any, batch: PreparedBatch, draws: Sequence[dict[str, Tensor]]) -> tuple[Tensor, Tensor]:
    """Scores (n,) and maps (n, side, side) of a batch of n images, each with draws of its own."""
    if "noise_context" in draws[0]:
        context = torch.stack([own["noise_context"] for own in draws])
        noise = (context, draws[0]["noise_normal"], draws[0]["noise_abnormal"])
        found = model(batch.images, batch.class_names, noise=noise)
        return found.pred_score.float(), found.anomaly_map.squeeze(1).float()
    each = [
        model(image[None], [name], noise=own["noise"])
        for image, name, own in zip(batch.images, batch.class_names, draws, strict=True)
    ]
    scores, maps = zip(*((one.pred_score, one.anomaly_map.squeeze(1)) for one in each), strict=True)
    return torch.cat(scores).float(), torch.cat(maps).float()


def run_seed(model: Any, categories: Sequence[Sequence[PreparedBatch]], seed: int, fresh: bool) -> Run:
    """Score all images of a set with the draws of one seed.

    Args:
        model: The torch model.
        categories: The batches of each category.
        seed: The seed.
        fresh: Whether each image has draws of its own.
    """
    scores, image_aurocs, pixel_aurocs, number = [], [], [], 0
    shared = draws_of(model, seed)
    for batches in categories:
        images, pixels = ImageMetrics(), PixelMetrics()
        for batch in batches:
            numbers = range(number, number + len(batch.images))
            number += len(batch.images)
            found, maps = answers(model, batch, [draws_of(model, seed, i) if fresh else shared for i in numbers])
            images.update(found, batch.abnormal)
            pixels.update(maps, batch.masks)
            scores.append(found)
        image_aurocs.append(images.compute()["image_AUROC"])
        pixel_aurocs.append(pixels.compute()["pixel_AUROC"])
    return Run(torch.cat(scores), _mean(image_aurocs), _mean(pixel_aurocs))


def compare(model: Any, categories: Sequence[Sequence[PreparedBatch]], seeds: int) -> Comparison:
    """Both ways to draw, over `seeds` seeds."""
    return Comparison(
        [run_seed(model, categories, seed, fresh=False) for seed in range(seeds)],
        [run_seed(model, categories, seed, fresh=True) for seed in range(seeds)],
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _prepared(dataset: AnomalibDataset, module: Any, class_name: str) -> list[PreparedBatch]:
    images = PreparedImages(dataset, module.pre_processor.transform, Deployable().resize_mask, class_name)
    return list(make_loader(images, _BATCH, 0))


def _row(method: str, target: Target, found: Comparison) -> list[str]:
    def aurocs(way: str, name: str) -> str:
        values = torch.tensor([getattr(run, name) for run in getattr(found, way)], dtype=torch.float64) * 100
        return f"{values.mean():.2f} ± {values.std():.2f} ({values.min():.2f} to {values.max():.2f})"

    mean, most = found.score_difference()
    return [
        method,
        f"{target.name} ({len(found.fixed[0].scores)})",
        f"{found.score_spread('fixed'):.4f} / {found.score_spread('fresh'):.4f}",
        f"{mean:.4f} / {most:.4f}",
        *(f"{100 * getattr(found.fixed[0], name):.2f}" for name in ("image_auroc", "pixel_auroc")),
        *(aurocs(way, name) for name in ("image_auroc", "pixel_auroc") for way in ("fixed", "fresh")),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure checkpoints on the sample set's unseen categories and on further sets, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m anomalib_zsad.demo.measure_draws", description=__doc__)
    parser.add_argument("checkpoints", nargs="+", type=Path, help="as `make demo` trains them")
    parser.add_argument("--target", nargs="*", default=[], help="further sets, as `anomalib-zsad evaluate` takes them")
    parser.add_argument("--seeds", type=int, default=20, help="seeds of either way to draw, at least 2")
    options = parser.parse_args(arguments)
    if options.seeds < 2:
        parser.error(f"--seeds is {options.seeds}; give at least 2, for a deviation")
    sample = parse_target(f"sample set={sample_data_folder() / 'industrial'}").restricted_to(UNSEEN_CATEGORIES)
    table = Table(
        "method",
        "set (images)",
        "sd of a score, fixed / fresh",
        "own score from the mean of the fresh, mean / largest",
        "image AUROC, own",
        "pixel AUROC, own",
        "image AUROC, fixed",
        "image AUROC, fresh",
        "pixel AUROC, fixed",
        "pixel AUROC, fresh",
    )
    for checkpoint in options.checkpoints:
        built = build_model(checkpoint, device="cpu")
        for target in (sample, *map(parse_target, options.target)):
            categories = [
                _prepared(category.load(), built.module, category.class_name or category.name)
                for category in target.categories
            ]
            table.add_row(*_row(built.method, target, compare(built.module.model, categories, options.seeds)))
    Console(width=240).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
