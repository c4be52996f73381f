"""Where in the body something lies, in words: from the sides of what was imaged of it."""

from dataclasses import dataclass
from itertools import product

import numpy as np

from anomalib_zsad.volumes.body import Body
from anomalib_zsad.volumes.volume import Volume

# Of the body's breadth, around its middle: nearer than that is no side.
_MIDDLE = 0.1
_THIRDS = ("lower third", "middle third", "upper third")


@dataclass(frozen=True)
class BodyExtent:
    """The box around the imaged body in the world.

    Attributes:
        low, high: Its corners (RAS, mm).
        voxels: Of the body.
    """

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    voxels: int

    def words(self, position: tuple[float, float, float]) -> str:
        """The patient's side, front or back, and the third from the feet up, such as `left, back, upper third`.

        The middle tenth from side to side is `midline`, that from back to front has no word.

        Args:
            position: In the world (RAS, mm).
        """
        box = zip(position, self.low, self.high, strict=True)
        right, front, up = ((value - low) / (high - low) if high > low else 0.5 for value, low, high in box)
        words = ["midline" if abs(right - 0.5) < _MIDDLE / 2 else "right" if right > 0.5 else "left"]
        if abs(front - 0.5) >= _MIDDLE / 2:
            words.append("front" if front > 0.5 else "back")
        words.append(_THIRDS[min(2, max(0, int(up * 3)))])
        return ", ".join(words)


def body_extent(body: Body | None, volume: Volume) -> BodyExtent | None:
    """The extent of a body; `None` where there is none, or nobody knows where the volume lies.

    Args:
        body: Of the volume.
        volume: Its voxels are not touched.
    """
    if body is None or not volume.geometry_known:
        return None
    ends = []
    for axis, stride in enumerate(body.strides):
        others = tuple(other for other in range(3) if other != axis)
        used = np.flatnonzero(body.mask.any(axis=others))
        ends.append((int(used[0]) * stride, min(int(used[-1] + 1) * stride, volume.shape[axis]) - 1))
    positions = [volume.world((i, j, k)) for i, j, k in product(*ends)]
    corners = np.asarray([position for position in positions if position is not None])
    low, high = (tuple(float(value) for value in end) for end in (corners.min(axis=0), corners.max(axis=0)))
    return BodyExtent((low[0], low[1], low[2]), (high[0], high[1], high[2]), body.voxels)
