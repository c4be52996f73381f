"""Standard normal draws that are the same on every machine."""

import zlib

import numpy as np
import torch
from torch import Tensor


def seeded_normal(name: str, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Standard normal float32 draws that depend on name, shape and seed alone.

    NumPy's legacy generator is used because its stream is frozen (NEP 19); torch's may change between versions.
    """
    state = np.random.RandomState((zlib.crc32(name.encode()) ^ seed) & 0xFFFFFFFF)
    return torch.from_numpy(state.standard_normal(shape).astype(np.float32))
