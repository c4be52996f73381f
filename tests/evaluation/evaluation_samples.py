"""Small image sets and torch models whose answers can be computed by hand."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from anomalib_zsad.models.components.prediction import Evidence, ZeroShotPrediction

SIDE = 32


def write_image(path: Path, brightness: int, spot: int | None = None, side: int = SIDE) -> Path:
    """A gray image, with a brighter square at the top left if asked."""
    pixels = np.full((side, side, 3), brightness, dtype=np.uint8)
    if spot is not None:
        pixels[:8, :8] = spot
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def write_mask(path: Path, side: int = SIDE) -> Path:
    """The mask of the square that `write_image` draws."""
    pixels = np.zeros((side, side), dtype=np.uint8)
    pixels[:8, :8] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def write_tree(root: Path, categories: Sequence[str], masks: bool = True, normal: int = 3, abnormal: int = 3) -> Path:
    """A tree as MVTec AD's; brightness rises with the index, abnormal images have a bright square."""
    for category in categories:
        for index in range(normal):
            write_image(root / category / "test" / "good" / f"{index:03}.png", 40 + 10 * index)
        for index in range(abnormal):
            write_image(root / category / "test" / "spot" / f"{index:03}.png", 40 + 10 * index, 200 + 10 * index)
            if masks:
                write_mask(root / category / "ground_truth" / "spot" / f"{index:03}_mask.png")
    return root


def write_meta(root: Path, categories: Sequence[str], mask_style: str = "file", name: str = "meta.json") -> Path:
    """A tree with its `meta.json`; `mask_style` is "file", "empty", "directory" or "absent file"."""
    write_tree(root, categories, masks=mask_style == "file")
    content: dict = {"train": {}, "test": {}}
    for category in categories:
        entries = []
        for image in sorted((root / category / "test").glob("*/*.png")):
            abnormal = image.parent.name != "good"
            mask = f"{category}/ground_truth/spot/{image.stem}_mask.png" if abnormal else ""
            mask = {"file": mask, "absent file": mask, "empty": "", "directory": category}[mask_style]
            entries.append(
                {
                    "img_path": str(image.relative_to(root)),
                    "mask_path": mask,
                    "cls_name": category,
                    "specie_name": image.parent.name,
                    "anomaly": int(abnormal),
                }
            )
        content["test"][category] = entries
        # As Bayes-PFL's prepared files fill it.
        content["train"][category] = [{"img_path": "", "mask_path": "", "cls_name": category, "anomaly": 0}]
    (root / name).write_text(json.dumps(content))
    return root / name


@dataclass(frozen=True)
class FakeConstants:
    """As CoPS's."""

    neighbourhood: int = 1
    alpha: float = 0.5
    beta: float = 0.5


class FakeModel(nn.Module):
    """Answers with the images themselves: the map is the red channel, the image probability its mean."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.register_buffer("noise", torch.zeros(4), persistent=False)
        self.constants = FakeConstants()
        self.seen: list[tuple[int, tuple[str, ...]]] = []

    def evidence(self, images: Tensor, class_names: Sequence[str] | None = None, noise: object = None) -> Evidence:
        maps = self.weight * images[:, :1] + 1e-3 * self.noise.mean()
        probability = maps.mean((1, 2, 3))
        return Evidence(probability, maps, probability[:, None], maps)

    def forward(
        self, images: Tensor, class_names: Sequence[str] | None = None, noise: object = None
    ) -> ZeroShotPrediction:
        self.seen.append((len(images), tuple(class_names or ())))
        found = self.evidence(images)
        score = found.image_probability + 0.1 * images[:, 0, 0, 0]
        return ZeroShotPrediction(score, None, found.unsmoothed_map, None, score, found.unsmoothed_map)
