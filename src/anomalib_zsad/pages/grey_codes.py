"""Voxel values as 8-bit codes that keep more than the model's window, so that a page can widen it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from anomalib_zsad.volumes.volume import Units, Volume
from anomalib_zsad.volumes.windowing import Window, sample_voxels

_CODES = 256
# Share of the codes that the model's window gets where values reach far beyond it.
_INNER_SHARE = 0.5
_PERCENTILES = (0.05, 99.95)
_HOUNSFIELD_RANGE = (-1024.0, 3071.0)
_WIDEST = 200  # widths of the window on either side
_STEPS = 65536


@dataclass(frozen=True)
class GreyCodes:
    """A companded scale: even steps inside the window, steps that grow with the root of the distance outside it.

    Attributes:
        values: Value of each code, rising, in the volume's units, shape (256,).
    """

    values: NDArray[np.float64]

    @classmethod
    def of_volume(cls, volume: Volume, window: Window) -> "GreyCodes":
        """The scale for a volume: from its 0.05 to its 99.95 percentile, and the whole window in any case."""
        sample = sample_voxels(volume.voxels)
        lower, upper = window.lower, window.upper if window.width > 0 else window.lower + 1
        low, high = (float(value) for value in np.percentile(sample, _PERCENTILES)) if len(sample) else (lower, upper)
        if volume.units is Units.HOUNSFIELD:
            low, high = max(low, _HOUNSFIELD_RANGE[0]), min(high, _HOUNSFIELD_RANGE[1])
        return cls.of_range(lower, upper, low, high)

    @classmethod
    def of_range(cls, lower: float, upper: float, low: float, high: float) -> "GreyCodes":
        """The scale for a window (`lower` to `upper`) in a range of values (`low` to `high`)."""
        half = (upper - lower) / 2
        below = min(max(0.0, (lower - low) / half), _WIDEST)
        above = min(max(0.0, (high - upper) / half), _WIDEST)
        bend = _bend(below, above)
        # Codes on an even scale, in units of the steps inside the window, and back to distances.
        ends = _compress(below, bend), _compress(above, bend)
        scale = np.linspace(-1 - ends[0], 1 + ends[1], _CODES)
        outside = np.abs(scale) - 1
        distance = np.where(outside > 0, _expand(np.maximum(outside, 0), bend), 0)
        inside = np.clip(scale, -1, 1)
        return cls(lower + half * (1 + inside + np.sign(scale) * distance))

    def encode(self, values: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The nearest code of each value; values outside the range get its ends, NaN (no data) gets 0."""
        low, high = np.float32(self.values[0]), np.float32(self.values[-1])
        places = (values - low) * np.float32((_STEPS - 1) / (high - low))
        np.nan_to_num(places, copy=False, nan=0.0, posinf=_STEPS, neginf=0.0)
        return self._table[np.clip(places, 0, _STEPS - 1).astype(np.uint16)]

    @cached_property
    def _table(self) -> NDArray[np.uint8]:
        """Code of each of 65536 even steps of the range."""
        middles = (self.values[1:] + self.values[:-1]) / 2
        steps = np.linspace(self.values[0], self.values[-1], _STEPS)
        return np.searchsorted(middles, steps).astype(np.uint8)


def _bend(below: float, above: float) -> float | None:
    """How soon steps grow outside the window, so that it keeps its share of the codes; `None` for even steps.

    Solves `_compress(below) + _compress(above) = 2 / share - 2` (the window itself is 2 long); the left side rises.
    """
    room = 2 / _INNER_SHARE - 2
    if below + above <= room:
        return None
    low, high = 1e-9, 1e6
    for _ in range(80):
        middle = float(np.sqrt(low * high))
        if _compress(below, middle) + _compress(above, middle) > room:
            high = middle
        else:
            low = middle
    return low


def _compress(distance: float, bend: float | None) -> float:
    """Distance from the window in even steps, from the distance in half widths."""
    return distance if bend is None else 2 * bend * (float(np.sqrt(1 + distance / bend)) - 1)


def _expand(steps: NDArray[np.float64], bend: float | None) -> NDArray[np.float64]:
    """The reverse of `_compress`."""
    return steps if bend is None else bend * ((1 + steps / (2 * bend)) ** 2 - 1)
