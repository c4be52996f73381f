"""An array on a volume's grid that lives in a file, so that maps take no memory beside the volume."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


class MapFile:
    """float32 values of a grid in a raw file, in Fortran order (as NIfTI stores them), 0 until written.

    Args:
        path: A new file; the caller removes it.
        shape: The grid, (X, Y, Z).
    """

    def __init__(self, path: Path, shape: tuple[int, int, int]) -> None:
        self.path = path
        self.shape = shape
        self._plane_bytes = shape[0] * shape[1] * 4
        with path.open("xb") as stream:
            stream.truncate(self._plane_bytes * shape[2])
        self._stream = path.open("r+b")

    def write(self, axis: int, index: int, plane: NDArray) -> None:
        """Store one plane, shape of the grid without `axis`.

        Planes along the last axis are written where they lie, without mapping the file into memory.
        """
        values = np.asarray(plane, np.float32)
        expected = tuple(length for number, length in enumerate(self.shape) if number != axis)
        if values.shape != expected:
            raise ValueError(f"a plane of shape {values.shape} does not fit the grid {self.shape} along axis {axis}")
        if axis == 2:
            self._stream.seek(index * self._plane_bytes)
            self._stream.write(values.tobytes(order="F"))
            return
        self._stream.flush()
        grid = np.memmap(self.path, np.float32, "r+", shape=self.shape, order="F")
        np.moveaxis(grid, axis, 0)[index] = values
        grid.flush()

    def planes(self, start: int = 0, stop: int | None = None) -> Iterator[NDArray[np.float32]]:
        """Planes along the last axis, shape (X, Y) each, one in memory at a time."""
        self._stream.flush()
        with self.path.open("rb") as stream:
            stream.seek(start * self._plane_bytes)
            for _ in range(start, self.shape[2] if stop is None else stop):
                content = stream.read(self._plane_bytes)
                yield np.frombuffer(content, np.float32).reshape(self.shape[:2], order="F")

    def close(self) -> None:
        """Close the file and remove it."""
        self._stream.close()
        self.path.unlink(missing_ok=True)
