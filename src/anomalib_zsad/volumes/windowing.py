"""From voxel values to grey levels in [0, 1]: presets for CT, percentiles of the foreground for everything else."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalib_zsad.volumes.faults import Fault, Finding, warn
from anomalib_zsad.volumes.options import CT_PRESETS, check_window, custom_window
from anomalib_zsad.volumes.volume import Units, Volume

_BODY_PARTS = {"HEAD": "brain", "BRAIN": "brain", "SKULL": "brain", "LIVER": "liver", "CHEST": "mediastinum"}
_PERCENTILES = (0.5, 99.5)
# Percentiles of larger volumes are taken from an even sample of about this many voxels.
_SAMPLE = 8_000_000
_BACKGROUND_SHARE = 0.2


@dataclass(frozen=True)
class Window:
    """Grey levels: values at or below `lower` are black (0), at or above `upper` white (1).

    Attributes:
        lower, upper: In the volume's units.
        name: Preset, `percentile`, or `custom`.
        origin: How it was chosen, in words, for the report.
    """

    lower: float
    upper: float
    name: str
    origin: str

    @property
    def width(self) -> float:
        """Width in the volume's units."""
        return self.upper - self.lower

    @property
    def level(self) -> float:
        """Centre in the volume's units."""
        return (self.lower + self.upper) / 2

    def apply(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Grey levels in [0, 1], float32, of the same shape; NaN (no data) becomes 0.

        A window without width is a step at `lower`: no division by zero.
        """
        if self.width <= 0:
            return (values > self.lower).astype(np.float32)
        grey = (values - np.float32(self.lower)) * np.float32(1 / self.width)
        np.clip(grey, 0.0, 1.0, out=grey)
        return np.nan_to_num(grey, copy=False, nan=0.0)

    def as_dict(self) -> dict[str, Any]:
        """For the report: bounds, width, level, name and origin."""
        return {**asdict(self), "width": self.width, "level": self.level}


def choose_window(volume: Volume, window: str = "auto") -> tuple[Window, list[Finding]]:
    """The window for a whole volume.

    Args:
        volume: The volume.
        window: `auto` (CT in HU: by body part, else mediastinum; other volumes: percentile), `percentile` (0.5 to 99.5
            of the whole volume's foreground), a CT preset, or `WIDTH/LEVEL`.

    Returns:
        The window, and warnings where it had to be guessed or hardly fits.

    Raises:
        ValueError: If `window` names none.
    """
    check_window(window)
    if window == "percentile" or (window == "auto" and volume.units is not Units.HOUNSFIELD):
        findings = []
        if window == "auto" and not volume.modality:
            message = "modality unknown: percentiles of the foreground are used; give --modality or --window"
            findings.append(warn(Fault.WINDOW_GUESSED, message))
        return percentile_window(volume.voxels), findings
    custom = custom_window(window)
    if custom is not None:
        return _from_width_level(*custom, "custom", "given by the user"), []
    if window != "auto":
        findings = []
        if volume.units is not Units.HOUNSFIELD:
            message = f"the CT window {window} is applied to values that are not known to be Hounsfield units"
            findings.append(warn(Fault.WINDOW_GUESSED, message))
        return _from_width_level(*CT_PRESETS[window], window, "preset given by the user"), findings
    if volume.body_part in _BODY_PARTS:
        name = _BODY_PARTS[volume.body_part]
        return _from_width_level(*CT_PRESETS[name], name, "preset for the body part in the header"), []
    message = "CT of an unknown body part: the mediastinum window (350/50) is used; give --window"
    preset = _from_width_level(*CT_PRESETS["mediastinum"], "mediastinum", "preset for CT of an unknown body part")
    return preset, [warn(Fault.WINDOW_GUESSED, message)]


def percentile_window(voxels: NDArray[np.float32]) -> Window:
    """Window from the 0.5 to the 99.5 percentile of the foreground of a whole volume.

    The foreground is what differs from the most frequent value where that value fills a fifth of the volume
    (skull-stripped or masked images), else what lies above the triangle threshold (noise in air).

    Args:
        voxels: float32, any shape; NaN is left out.
    """
    sample = sample_voxels(voxels)
    origin = f"{_PERCENTILES[0]} to {_PERCENTILES[1]} percentile of the volume's foreground"
    if not len(sample):
        return Window(0.0, 0.0, "percentile", f"{origin}, which is empty")
    if sample.max() == sample.min():
        return Window(float(sample[0]), float(sample[0]), "percentile", f"{origin}: the volume is constant")
    foreground = sample[foreground_mask(sample)]
    lower, upper = np.percentile(foreground, _PERCENTILES)
    if not upper > lower:
        lower, upper = float(sample.min()), float(sample.max())
        origin = "the volume's range: its foreground is constant"
    return Window(float(lower), float(upper), "percentile", origin)


def sample_voxels(voxels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Finite voxels as a vector: all of a small volume, evenly spaced ones of a large one. Copies no large volume."""
    flat = voxels.reshape(-1, order="F")
    stride = max(1, math.ceil(flat.size / _SAMPLE))
    # An odd stride that shares no factor with usual image sizes does not sample columns.
    if stride > 1:
        stride += 1 - stride % 2
        while math.gcd(stride, voxels.shape[0]) > 1:
            stride += 2
    sample = flat[::stride]
    return sample[np.isfinite(sample)]


def foreground_mask(sample: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which values of a sample are foreground, as `percentile_window` defines it; never empty."""
    values, counts = np.unique(sample[:: max(1, sample.size // 1_000_000)], return_counts=True)
    commonest = values[counts.argmax()]
    if counts.max() > _BACKGROUND_SHARE * counts.sum():
        mask = sample != commonest
    else:
        from skimage.filters import threshold_triangle

        mask = sample > threshold_triangle(sample)
    return mask if mask.any() else np.ones(sample.shape, bool)


def background_threshold(volume: Volume) -> float:
    """A value that separates the body from what surrounds it: -500 HU for CT, else the foreground's lower bound."""
    if volume.units is Units.HOUNSFIELD:
        return -500.0
    sample = sample_voxels(volume.voxels)
    if not len(sample) or sample.max() == sample.min():
        return -math.inf
    background = sample[~foreground_mask(sample)]
    return float(background.max()) if len(background) else -math.inf


def _from_width_level(width: float, level: float, name: str, origin: str) -> Window:
    return Window(level - width / 2, level + width / 2, name, origin)
