"""`python -m anomalib_zsad.demo.measure_resize`: what Pillow's resize of 8-bit levels and the fast one differ by.

The `paper` protocol and training resize as published, with Pillow; the deployable path resizes tensors. The same model
scores the same images both ways, with its own scores and maps; masks are those of the published resize in both.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from anomalib.data import AnomalibDataset
from rich.console import Console
from rich.table import Table
from torch import Tensor

from anomalib_zsad.data.prepared_images import PreparedBatch, PreparedImages, make_loader
from anomalib_zsad.data.sample_set import UNSEEN_CATEGORIES, sample_data_folder
from anomalib_zsad.evaluation.protocols import PAPER, Protocol, make_protocol
from anomalib_zsad.evaluation.targets import parse_target
from anomalib_zsad.metrics import ImageMetrics, PixelMetrics
from anomalib_zsad.models.components.pre_processor import CLIP_STD
from anomalib_zsad.scoring.build import build_model

_BATCH = 8


class Difference(NamedTuple):
    """What the two ways to resize differ by, over the images of a set.

    Attributes:
        images: Number of images.
        levels: Mean distance of a pixel, and the largest, in 8-bit levels.
        scores: Mean distance of a score, and the largest.
        pillow: Image AUROC and pixel AUROC with Pillow's resize, means over the categories, in [0, 1].
        fast: The same with the fast one.
    """

    images: int
    levels: tuple[float, float]
    scores: tuple[float, float]
    pillow: tuple[float, float]
    fast: tuple[float, float]


@torch.inference_mode()
def scored(model: Any, batches: Sequence[PreparedBatch], masks: Sequence[Tensor]) -> tuple[Tensor, float, float]:
    """Scores of all images of a category, image AUROC and pixel AUROC."""
    images, pixels, scores = ImageMetrics(), PixelMetrics(), []
    for batch, mask in zip(batches, masks, strict=True):
        answer = model(batch.images, batch.class_names)
        images.update(answer.pred_score, batch.abnormal)
        pixels.update(answer.anomaly_map, mask)
        scores.append(answer.pred_score.float())
    return torch.cat(scores), images.compute()["image_AUROC"], pixels.compute()["pixel_AUROC"]


def compare(module: Any, datasets: Sequence[tuple[AnomalibDataset, str]], protocol: Protocol) -> Difference:
    """Score the images of a set both ways.

    Args:
        module: The model.
        datasets: Test images of each category, and its class name.
        protocol: One that resizes as published.
    """
    levels, scores, pillow, fast = [], [], [], []
    deviation = torch.tensor(CLIP_STD)[:, None, None] * 255
    for dataset, name in datasets:
        ways = []
        for given in (protocol.prepare(dataset, module.pre_processor.transform), dataset):
            images = PreparedImages(given, module.pre_processor.transform, protocol.resize_mask, name)
            ways.append(list(make_loader(images, _BATCH, 0)))
        masks = [batch.masks for batch in ways[0]]
        levels += [((first.images - second.images) * deviation).abs() for first, second in zip(*ways, strict=True)]
        (one, *published), (other, *own) = (scored(module.model, way, masks) for way in ways)
        scores.append((one - other).abs())
        pillow.append(published)
        fast.append(own)
    every, distances = torch.cat(levels), torch.cat(scores)
    return Difference(
        len(distances),
        (float(every.mean()), float(every.max())),
        (float(distances.mean()), float(distances.max())),
        _means(pillow),
        _means(fast),
    )


def _means(pairs: Sequence[Sequence[float]]) -> tuple[float, float]:
    first, second = torch.tensor(pairs, dtype=torch.float64).mean(dim=0).tolist()
    return first, second


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure checkpoints on the sample set's unseen categories and on further sets, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m anomalib_zsad.demo.measure_resize", description=__doc__)
    parser.add_argument("checkpoints", nargs="+", type=Path, help="as `make demo` trains them")
    parser.add_argument("--target", nargs="*", default=[], help="further sets, as `anomalib-zsad evaluate` takes them")
    options = parser.parse_args(arguments)
    sample = parse_target(f"sample set={sample_data_folder() / 'industrial'}").restricted_to(UNSEEN_CATEGORIES)
    table = Table("method", "set", "levels, mean / most", "score, mean / most", "Pillow: image, pixel AUROC", "fast")
    for checkpoint in options.checkpoints:
        built = build_model(checkpoint, device="cpu")
        for target in (sample, *map(parse_target, options.target)):
            datasets = [(category.load(), category.class_name or category.name) for category in target.categories]
            found = compare(built.module, datasets, make_protocol(PAPER, built.method, target.name))
            table.add_row(
                built.method,
                f"{target.name} ({found.images})",
                "{:.2f} / {:.1f}".format(*found.levels),
                "{:.4f} / {:.4f}".format(*found.scores),
                *("{:.2f}, {:.2f}".format(*(100 * value for value in way)) for way in (found.pillow, found.fast)),
            )
    Console(width=200).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
