"""Random draws of training steps that a resumed run repeats."""

import numpy as np
import torch


def step_generator(epoch: int, batch_index: int, rank: int = 0) -> torch.Generator:
    """A generator on the CPU whose draws depend on the run's seed, the epoch, the batch and the process alone.

    The run's seed is that of torch (``seed_everything``, ``torch.manual_seed``). Nothing else that draws numbers, such
    as the start of a data loader's workers, shifts these draws, so a run that was interrupted and resumed goes on as
    an unbroken one would.

    Args:
        epoch: The epoch.
        batch_index: Index of the batch in the epoch.
        rank: The process, where several train together.
    """
    words = (torch.initial_seed() & 0xFFFFFFFFFFFFFFFF, epoch, batch_index, rank)
    state = int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0])
    # torch takes seeds of 64 bits, the last one for the sign.
    return torch.Generator().manual_seed(state >> 1)
