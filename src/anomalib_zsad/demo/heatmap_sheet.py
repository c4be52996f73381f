"""A sheet of pictures: what a model makes of some images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from anomalib_zsad.models.components.examination import Examination


class Shown(NamedTuple):
    """One image of the sheet: its caption, what the model found, and the true mask (h, w), where there is one."""

    caption: str
    finding: Examination
    mask: np.ndarray | None


def draw_sheet(shown: Sequence[Shown], path: Path, title: str, columns: int = 8) -> None:
    """Write a sheet: each image with its true defect outlined, and below it the overlay with the score.

    All overlays have the same limits (the 90 % and 99.8 % quantiles of all maps), so that they can be compared.

    Args:
        shown: The images, row by row.
        path: PNG file to write.
        title: Heading.
        columns: Images in a row.
    """
    from matplotlib.figure import Figure

    rows = -(-len(shown) // columns)
    values = np.concatenate([item.finding.anomaly_map.ravel()[::7] for item in shown])
    limits = (float(np.quantile(values, 0.9)), float(np.quantile(values, 0.998)))
    figure = Figure(figsize=(2.1 * columns, 4.55 * rows + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=11)
    axes = figure.subplots(2 * rows, columns, squeeze=False)
    for cell in axes.flat:
        cell.set_axis_off()
    for index, item in enumerate(shown):
        row, column = divmod(index, columns)
        _draw_image(axes[2 * row, column], item)
        _draw_overlay(axes[2 * row + 1, column], item.finding, limits)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=75)


def _draw_image(axis: Any, item: Shown) -> None:
    axis.imshow(item.finding.image)
    if item.mask is not None and item.mask.any():
        axis.contour(item.mask, levels=[0.5], colors="cyan", linewidths=1.0)
    axis.set_title(item.caption, fontsize=8)


def _draw_overlay(axis: Any, finding: Examination, limits: tuple[float, float]) -> None:
    axis.imshow(finding.overlay(0.8, limits))
    axis.set_title(f"score {finding.score:.2f} ± {finding.score_std:.2f}", fontsize=8)


def read_mask(path: Path) -> np.ndarray:
    """A mask (h, w), true where abnormal."""
    return np.asarray(Image.open(path).convert("L")) > 127
