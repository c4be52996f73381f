"""The order of training images and the seeds of their augmentations: functions of seed and epoch alone.

A run that was interrupted and resumed, or that uses other numbers of workers or devices, then sees the same images
with the same augmentations.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch.utils.data import DistributedSampler

__all__ = ["DrawnIndex", "SeededSampler"]


class DrawnIndex(NamedTuple):
    """A position in a dataset with the seed of the random draws for that item."""

    position: int
    seed: int


class SeededSampler(DistributedSampler[DrawnIndex]):
    """Shuffle a dataset's indices, each with a seed for its augmentation.

    Where several processes train together, each gets every `num_replicas`-th index, so that their batches together
    are those that one process with a batch as large would have. All get the same number: some of the first indices come
    twice if need be, at the end.

    Args:
        size: Number of items.
        seed: Seed of the whole run.
        epoch: What tells the current epoch; by default `set_epoch` does, which Lightning calls, and each
            iteration without it counts as one more.
        shuffle: Whether to shuffle, or keep the dataset's order.
        views: Number of epochs after which the items' seeds, and with them the augmented views of the data, come again;
            the order is new in every epoch all the same. None for new seeds in every epoch.
        num_replicas: Number of processes.
        rank: This process.

    Example:
        >>> list(SeededSampler(3, seed=1)) == list(SeededSampler(3, seed=1))
        True
    """

    def __init__(
        self,
        size: int,
        seed: int,
        epoch: Callable[[], int] | None = None,
        shuffle: bool = True,
        views: int | None = None,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        # Lightning would wrap a sampler of any other kind in one of its own, which shuffles anew.
        super().__init__(range(size), num_replicas, rank, shuffle, seed)  # type: ignore[arg-type]
        self.size = size
        self.current_epoch = epoch
        self.views = views

    def __iter__(self) -> Iterator[DrawnIndex]:
        epoch = self.epoch if self.current_epoch is None else self.current_epoch()
        self.epoch = epoch + 1
        order, item_seeds = self._draws(epoch)
        if self.views is not None:
            item_seeds = self._draws(epoch % self.views)[1]
        for index in range(self.rank, self.total_size, self.num_replicas):
            position = int(order[index % self.size])
            yield DrawnIndex(position, int(item_seeds[position]))

    def _draws(self, epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Order and seeds of the items in an epoch."""
        # The two numbers are mixed by drawing one generator's seed from another's.
        seeds = torch.Generator().manual_seed(self.seed)
        epoch_seed = torch.randint(2**62, (epoch + 1,), generator=seeds)[-1]
        generator = torch.Generator().manual_seed(int(epoch_seed))
        order = torch.randperm(self.size, generator=generator) if self.shuffle else torch.arange(self.size)
        return order, torch.randint(2**62, (self.size,), generator=generator)
