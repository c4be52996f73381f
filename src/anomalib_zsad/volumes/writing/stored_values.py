"""How values of a map are stored in a NIfTI file: as they are, as steps of a fixed size, or as a mask."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalib_zsad.volumes.options import MapType


@dataclass(frozen=True)
class StoredValues:
    """What of a float32 plane is written.

    Attributes:
        dtype: Type of what is written.
        convert: From values in [0, 1] to that type; the writer's caller sees to the order of axes.
        slope: What a reader multiplies stored numbers by (NIfTI's `scl_slope`).
    """

    dtype: type[np.number[Any]]
    convert: Callable[[NDArray[np.float32]], NDArray[np.number[Any]]]
    slope: float = 1.0

    @property
    def largest_error(self) -> float:
        """By how much a value that is read may differ from the one that was written; 0 if it does not."""
        return 0.0 if self.slope == 1.0 else self.slope / 2


def map_values(map_type: MapType) -> StoredValues:
    """Scores in [0, 1] in a type of the user's choice; of whole numbers, the largest one stands for 1."""
    if map_type == "float32":
        return StoredValues(np.float32, lambda plane: plane)
    dtype: type[np.integer[Any]] = np.uint8 if map_type == "uint8" else np.int16
    most = float(np.iinfo(dtype).max)
    return StoredValues(dtype, lambda plane: np.rint(np.clip(plane, 0, 1) * most).astype(dtype), 1 / most)


def mask_values(threshold: float) -> StoredValues:
    """1 where a map reaches the threshold, 0 elsewhere; the map is compared before it is rounded."""
    return StoredValues(np.uint8, lambda plane: (plane >= threshold).astype(np.uint8))
