"""The order of training images and the seeds of their augmentations: functions of seed and epoch alone.

A run that was interrupted and resumed, or that uses other numbers of workers or devices, then sees the same images
with the same augmentations.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch.utils.data import Sampler

__all__ = ["DrawnIndex", "SeededSampler"]


class DrawnIndex(NamedTuple):
    """A position in a dataset with the seed of the random draws for that item."""

    position: int
    seed: int


class SeededSampler(Sampler[DrawnIndex]):
    """Shuffle a dataset's indices, each with a seed for its augmentation.

    Args:
        size: Number of items.
        seed: Seed of the whole run.
        epoch: What tells the current epoch; by default :meth:`set_epoch` does, which Lightning calls, and each
            iteration without it counts as one more.
        shuffle: Whether to shuffle, or keep the dataset's order.

    Example:
        >>> list(SeededSampler(3, seed=1)) == list(SeededSampler(3, seed=1))
        True
    """

    def __init__(self, size: int, seed: int, epoch: Callable[[], int] | None = None, shuffle: bool = True) -> None:
        self.size = size
        self.seed = seed
        self.epoch = epoch
        self.shuffle = shuffle
        self._next_epoch = 0

    def __len__(self) -> int:
        return self.size

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration that of an epoch, counted from 0."""
        self._next_epoch = epoch

    def __iter__(self) -> Iterator[DrawnIndex]:
        epoch = self._next_epoch if self.epoch is None else self.epoch()
        self._next_epoch = epoch + 1
        # The two numbers are mixed by drawing one generator's seed from another's.
        seeds = torch.Generator().manual_seed(self.seed)
        epoch_seed = torch.randint(2**62, (epoch + 1,), generator=seeds)[-1]
        generator = torch.Generator().manual_seed(int(epoch_seed))
        order = torch.randperm(self.size, generator=generator) if self.shuffle else torch.arange(self.size)
        item_seeds = torch.randint(2**62, (self.size,), generator=generator)
        for position in order.tolist():
            yield DrawnIndex(position, int(item_seeds[position]))
