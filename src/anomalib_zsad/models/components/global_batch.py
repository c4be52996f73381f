"""The batch of a training step where several processes share it.

A loss that is no mean over images, such as one of sums over all pixels of a batch, is not the mean of the processes'
own losses. The functions here give sums and means over the images of all processes, so that every process has the loss
of the whole batch, and the mean of their gradients, which is what DDP takes, is the gradient that one process would
have. Without other processes they are plain sums and means.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed
from torch.autograd import Function
from torch.utils.data import DataLoader, DistributedSampler


class Share(NamedTuple):
    """Which images of a step's global batch a process has: those at `rank`, `rank + world`, `rank + 2 world`...

    Attributes:
        rank: The process.
        world: Number of processes.
        total: Images of the global batch.
    """

    rank: int
    world: int
    total: int

    @property
    def own(self) -> int:
        """Number of the process's images; 0 where the last batch of an epoch has fewer images than processes."""
        return len(range(self.rank, self.total, self.world))

    def rows(self, values: Tensor) -> Tensor:
        """The process's rows of values (total, ...); one that fills in where it has no image."""
        return values[self.rank :: self.world] if self.own else values[:1]


def share_of_step(trainer: Any, batch_index: int, images: int) -> Share:
    """The share of this process in a training step.

    Samplers for several processes give each the same number of images, and repeat some for it. Those repeated come
    last, so their number follows from the number of images in the epoch.

    Args:
        trainer: Lightning's trainer.
        batch_index: Index of the batch in the epoch.
        images: Images that the process was given.
    """
    processes = trainer.distributed_sampler_kwargs or {"num_replicas": 1, "rank": 0}
    world, rank = processes["num_replicas"], processes["rank"]
    loader = trainer.train_dataloader
    sampler = getattr(loader, "sampler", None)
    if world == 1 or not isinstance(sampler, DistributedSampler) or not isinstance(loader, DataLoader):
        return Share(rank, world, images * world)
    size = sampler.total_size if sampler.drop_last else len(sampler.dataset)  # type: ignore[arg-type]
    whole = (loader.batch_size or images) * world
    return Share(rank, world, min(whole, size - batch_index * whole))


def is_shared() -> bool:
    """Whether several processes train together."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


class _Sum(Function):
    """Sum over processes. Every process goes on with the sum, so each one's gradient counts: they are summed too."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        del ctx
        total = values.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        del ctx
        return _Sum.apply(gradients[0])


def global_sum(values: Tensor) -> Tensor:
    """Sum of a tensor over processes, of the same shape on each; differentiable."""
    return _Sum.apply(values) if is_shared() else values


def global_count(values: Tensor) -> Tensor:
    """Number of rows of values (n, ...) on all processes, a scalar of their type."""
    return global_sum(values.new_tensor(float(values.shape[0])))


def global_mean(values: Tensor) -> Tensor:
    """Mean over the rows of values (n, ...) on all processes; their numbers may differ, and may be 0 on some."""
    if not is_shared():
        return values.mean(dim=0)
    summed = values.sum(dim=0)
    total = global_sum(torch.cat((summed.flatten(), summed.new_tensor([float(values.shape[0])]))))
    return total[:-1].view(summed.shape) / total[-1]


def global_mean_where(values: Tensor, where: Tensor) -> Tensor:
    """Mean of the chosen values on all processes, 0 where none is chosen, without waiting for the device to count."""
    weights = where.to(values.dtype)
    summed, count = global_sum(torch.stack(((values * weights).sum(), weights.sum()))).unbind()
    return summed / count.clamp(min=1)
