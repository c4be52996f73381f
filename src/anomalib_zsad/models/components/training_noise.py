"""Random draws of training steps that a resumed run repeats, and that processes which train together share."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded_start(seed: int | None) -> Iterator[None]:
    """Seed what is drawn on the CPU for a while, such as a new model's weights; draws before and after do not notice.

    Args:
        seed: The seed; `None` for leaving torch's generator as it is.
    """
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def step_generator(seed: int, epoch: int, batch_index: int) -> torch.Generator:
    """A generator on the CPU whose draws depend on the run's seed, the epoch and the batch alone.

    Nothing else that draws numbers, such as the start of a data loader's workers, shifts these draws, so a run that was
    interrupted and resumed goes on as an unbroken one would. All processes that train together have the same draws,
    those of the whole batch.

    Args:
        seed: The run's seed.
        epoch: The epoch.
        batch_index: Index of the batch in the epoch.
    """
    words = (seed & 0xFFFFFFFFFFFFFFFF, epoch, batch_index)
    state = int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0])
    # torch takes seeds of 64 bits, the last one for the sign.
    return torch.Generator().manual_seed(state >> 1)
