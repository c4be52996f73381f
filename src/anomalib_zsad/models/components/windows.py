"""Where windows lie along an axis, and what each counts there."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def window_starts(length: int, window: int, overlap: float) -> list[int]:
    """First pixels of windows that cover an axis, at equal distances, the first and the last at its ends.

    Args:
        length: Pixels of the axis.
        window: Pixels of a window; an axis that is shorter has one window, of its own length.
        overlap: Share of a window that it has in common with the next, at least.
    """
    if length <= window:
        return [0]
    stride = max(1, math.floor(window * (1 - overlap)))
    count = math.ceil((length - window) / stride) + 1
    return [round(index * (length - window) / (count - 1)) for index in range(count)]


def window_weights(length: int, window: int, starts: Sequence[int]) -> list[Tensor]:
    """What each window counts at its own pixels: at every pixel of the axis, the sum over all windows is 1.

    A window counts most in its middle and next to nothing at its ends, by the square of a sine, so that no seam shows
    where one begins; at an end of the axis, where there is but one, it counts 1.

    Args:
        length: Pixels of the axis.
        window: Pixels of a window.
        starts: What `window_starts` answered.

    Returns:
        For each window float32 (window,), or (length,) on a shorter axis.
    """
    window = min(window, length)
    shape = torch.sin(torch.pi * (torch.arange(window, dtype=torch.float64) + 0.5) / window).square()
    total = torch.zeros(length, dtype=torch.float64)
    for start in starts:
        total[start : start + window] += shape
    return [(shape / total[start : start + window]).float() for start in starts]
