"""Batches of twins for pretraining: windows or whole pictures, half of them damaged, varied in tone."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from torch import Tensor

from anomalib_zsad.demo import captions
from anomalib_zsad.demo.pretraining_pool import Pool


@dataclass(frozen=True)
class Batch:
    """Pictures (n, 3, s, s) normalised, their share of abnormal pixels by patch (n, N), captions, and grid corner."""

    images: Tensor
    cover: Tensor
    names: list[str]
    kinds: list[str | None]
    tints: list[str]
    corner: tuple[int, int]


def jitter(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Vary pictures (n, 3, s, s) in [0, 1]: channel order, gain, gamma, saturation, noise."""
    count = len(pixels)

    def draw(low: float, high: float, channels: int = 1) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, (count, channels, 1, 1)).astype(np.float32))

    pixels = pixels[:, torch.from_numpy(rng.permutation(3))]
    grey = pixels.mean(1, keepdim=True)
    saturation = torch.where(draw(0, 1) < 0.15, torch.zeros(()), draw(0.6, 1.2))
    pixels = (grey + (pixels - grey) * saturation) * draw(0.85, 1.15) * draw(0.93, 1.07, 3) + draw(-0.06, 0.06)
    pixels = pixels.clamp(1e-3, 1) ** draw(0.75, 1.33)
    return pixels + torch.randn(pixels.shape) * draw(0, 0.02)


class Sampler:
    """Draws batches from a pool: half damaged pictures, half flawless, half of these the twins of the damaged."""

    def __init__(self, pool: Pool, batch_size: int, seed: int, patch: int, grid: int) -> None:
        self.pool, self.batch_size, self.patch, self.grid = pool, batch_size, patch, grid
        self.rng = np.random.default_rng(seed)
        self.mean = torch.tensor(OPENAI_DATASET_MEAN)[:, None, None]
        self.deviation = torch.tensor(OPENAI_DATASET_STD)[:, None, None]

    def batch(self, window: int) -> Batch:
        """A batch of pictures of `window` patches a side."""
        rng, half, side = self.rng, self.batch_size // 2, window * self.patch
        chosen = rng.choice(len(self.pool), half + half // 2, replace=False)
        damaged, flawless = chosen[:half], np.concatenate([chosen[half:], chosen[: half - half // 2]])
        corners = {int(i): self._corner(int(i), side) for i in chosen}
        pixels = np.stack(
            [self._window(self.pool.abnormal, i, corners, side) for i in damaged]
            + [self._window(self.pool.normal, i, corners, side) for i in flawless]
        )
        masks = np.zeros((2 * half, side, side), dtype=bool)
        masks[:half] = [self._window(self.pool.masks, i, corners, side) for i in damaged]
        images, cover = self._turn(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255, torch.from_numpy(masks))
        images = jitter(images, rng)
        visible = cover.flatten(1).mean(1) > 0.0008
        kinds = [self.pool.kinds[i] if seen else None for i, seen in zip(damaged, visible[:half].tolist(), strict=True)]
        share = F.avg_pool2d(cover[:, None], self.patch).flatten(1)
        tints = [captions.colour_name(rgb) for rgb in images.mean((2, 3)).numpy()]
        names = [self.pool.names[i] for i in (*damaged, *flawless)]
        row, column = rng.integers(0, self.grid - window + 1, 2)
        normalised = (images - self.mean) / self.deviation
        return Batch(normalised, share, names, kinds + [None] * half, tints, (int(row), int(column)))

    def _corner(self, number: int, side: int) -> tuple[int, int]:
        """Corner of a window that holds a pixel of the twin's defect."""
        rows, columns = np.nonzero(self.pool.masks[number])
        pick, room = self.rng.integers(len(rows)), self.pool.masks.shape[1] - side
        shift = self.rng.integers(0, side, 2)
        return int(np.clip(rows[pick] - shift[0], 0, room)), int(np.clip(columns[pick] - shift[1], 0, room))

    @staticmethod
    def _window(
        pictures: NDArray[np.generic], number: int, corners: dict[int, tuple[int, int]], side: int
    ) -> NDArray[np.generic]:
        top, left = corners[int(number)]
        return pictures[number, top : top + side, left : left + side]

    def _turn(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """The same right-angle turn and mirroring for all."""
        turns, mirrored, masks = int(self.rng.integers(4)), self.rng.random() < 0.5, masks.float()
        images, masks = images.rot90(turns, (2, 3)), masks.rot90(turns, (1, 2))
        return (images.flip(3), masks.flip(2)) if mirrored else (images, masks)
