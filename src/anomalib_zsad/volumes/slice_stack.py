"""A volume as 2D images for a detector, and the way back onto the volume's grid.

Slices are cut along voxel axes: nothing is resampled. They are turned to how radiologists look at them (axial: front
up, the patient's right on the left; coronal and sagittal: head up), by flips and a transposition, undone exactly.

A detector squeezes an image into a square. Slices across the acquired ones have pixels as long as the slices are apart,
so they are padded to what is a square in millimetres before they are shown to it: proportions are kept.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from anomalib_zsad.volumes.geometry import Floats, anatomical_axes
from anomalib_zsad.volumes.options import Channels, Plane
from anomalib_zsad.volumes.volume import Volume
from anomalib_zsad.volumes.windowing import Window, background_threshold

# For each normal (0 sagittal, 1 coronal, 2 axial): the world axes that run along image rows (down) and columns (to the
# right). Both run against the RAS axis: down is to the back or to the feet, right is to the patient's left or back.
_DISPLAY_AXES = {2: (1, 0), 1: (2, 0), 0: (2, 1)}
_BLANK_RANGE = 1e-6
_TOWARDS = ("RL", "AP", "SI")  # letters for a rising and a falling world coordinate
_CROP_STRIDE = 4
_LARGEST_PADDED = 64_000_000  # pixels


@dataclass(frozen=True)
class Turn:
    """How a voxel plane (two voxel axes in ascending order) becomes an upright image, and back."""

    transpose: bool
    flip_rows: bool
    flip_columns: bool

    def to_image(self, plane: NDArray) -> NDArray:
        """Voxel plane (A, B) to image (H, W); a view."""
        image = plane.T if self.transpose else plane
        image = image[::-1] if self.flip_rows else image
        return image[:, ::-1] if self.flip_columns else image

    def to_plane(self, image: NDArray) -> NDArray:
        """Image (H, W) to voxel plane (A, B); a view."""
        image = image[:, ::-1] if self.flip_columns else image
        image = image[::-1] if self.flip_rows else image
        return image.T if self.transpose else image

    def index(self, row: int, column: int, shape: tuple[int, int]) -> tuple[int, int]:
        """Index into the voxel plane (A, B) of a pixel of the image of shape (H, W)."""
        row = shape[0] - 1 - row if self.flip_rows else row
        column = shape[1] - 1 - column if self.flip_columns else column
        return (column, row) if self.transpose else (row, column)

    def pixel(self, first: int, second: int, shape: tuple[int, int]) -> tuple[int, int]:
        """Row and column, in the image of shape (H, W), of an index into the voxel plane (A, B)."""
        row, column = (second, first) if self.transpose else (first, second)
        row = shape[0] - 1 - row if self.flip_rows else row
        return row, shape[1] - 1 - column if self.flip_columns else column


@dataclass(frozen=True)
class Box:
    """Rows and columns of an image that are shown to the detector."""

    rows: slice
    columns: slice


@dataclass(frozen=True)
class Steps:
    """Steps in the world (RAS, mm), shape (3,) each: to the next row down, the next column right, the next slice."""

    row: Floats
    column: Floats
    slice: Floats


class SliceStack:
    """Slices of a volume as images, and maps on these images back on the volume's grid.

    Args:
        volume: The volume.
        window: Grey levels.
        plane: Which slices; `native` follows the acquisition.
        channels: `repeat` shows one slice three times; `neighbours` shows it between the slices before and after it
            (2.5D), the slice itself where there is none.
        crop: Show only the box around the body (the same for all slices).

    Raises:
        ValueError: If the plane cannot be cut from this volume.
    """

    def __init__(
        self,
        volume: Volume,
        window: Window,
        plane: Plane = "native",
        channels: Channels = "repeat",
        *,
        crop: bool = False,
    ) -> None:
        if channels not in ("repeat", "neighbours"):
            raise ValueError(f"unknown channels {channels!r}; choose repeat or neighbours")
        self.volume = volume
        self.window = window
        self.axis = volume.plane_axis(plane)
        self.channels = channels
        self.turn, self.plane = _turn(volume, self.axis)
        filled = volume.filled if self.axis == volume.native_axis else np.ones(volume.shape[self.axis], bool)
        self.indices: tuple[int, ...] = tuple(int(index) for index in np.flatnonzero(filled))
        self._filled = filled
        full = self.turn.to_image(np.empty(_plane_shape(volume.shape, self.axis), bool)).shape
        self.full_shape: tuple[int, int] = (full[0], full[1])
        self.box = self._body_box() if crop else Box(slice(0, full[0]), slice(0, full[1]))
        self.padded_shape: tuple[int, int] = self._padded_shape()

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the images shown to the detector."""
        rows, columns = self.box.rows, self.box.columns
        return rows.stop - rows.start, columns.stop - columns.start

    def _padded_shape(self) -> tuple[int, int]:
        """Height and width of a square in millimetres around the images; their own in the acquired plane.

        Raises:
            ValueError: If the voxels are too long for that.
        """
        height, width = self.shape
        if self.axis == self.volume.native_axis or self.pixel_spacing is None:
            return height, width
        between_rows, between_columns = self.pixel_spacing
        side = max(height * between_rows, width * between_columns)
        padded = max(height, round(side / between_rows)), max(width, round(side / between_columns))
        if padded[0] * padded[1] > _LARGEST_PADDED:
            raise ValueError(
                f"{self.plane} slices of {height} x {width} pixels of {between_rows:g} x {between_columns:g} mm would "
                f"need {padded[0]} x {padded[1]} pixels to keep their proportions; use the native plane"
            )
        return padded

    def padded(self, images: torch.Tensor) -> torch.Tensor:
        """Images (..., H, W) in the middle of black ones of `padded_shape`; the same where nothing is padded."""
        if self.padded_shape == self.shape:
            return images
        rows, columns = self._inner()
        whole = images.new_zeros((*images.shape[:-2], *self.padded_shape))
        whole[..., rows, columns] = images
        return whole

    def unpadded(self, maps: torch.Tensor) -> torch.Tensor:
        """Maps of `padded_shape` without their padding, shape (..., H, W); a view."""
        rows, columns = self._inner()
        return maps[..., rows, columns]

    def _inner(self) -> tuple[slice, slice]:
        """Where the image lies in the padded one."""
        top, left = ((padded - own) // 2 for padded, own in zip(self.padded_shape, self.shape, strict=True))
        return slice(top, top + self.shape[0]), slice(left, left + self.shape[1])

    @property
    def pixel_spacing(self) -> tuple[float, float] | None:
        """Distance between image rows and between image columns in mm; `None` where the geometry is not known."""
        if self.volume.spacing is None:
            return None
        first, second = (size for axis, size in enumerate(self.volume.spacing) if axis != self.axis)
        return (second, first) if self.turn.transpose else (first, second)

    @property
    def pixel_area(self) -> float | None:
        """Area of a pixel in mm2 (of the parallelogram, where the plane is sheared); `None` if unknown."""
        if not self.volume.geometry_known:
            return None
        first, second = (self.volume.affine[:3, axis] for axis in range(3) if axis != self.axis)
        return float(np.linalg.norm(np.cross(first, second)))

    def values(self, index: int) -> NDArray[np.float32]:
        """Voxel values of one slice, upright and cropped, shape (H, W)."""
        plane = self.turn.to_image(_cut(self.volume.voxels, self.axis, index))
        return plane[self.box.rows, self.box.columns]

    def image(self, index: int) -> NDArray[np.float32]:
        """Grey levels in [0, 1] of one slice, upright and cropped, shape (H, W)."""
        return self.window.apply(self.values(index))

    def is_blank(self, image: NDArray[np.float32]) -> bool:
        """Whether an image (grey levels) is constant: there is nothing to see, and nothing to score."""
        return bool(image.max() - image.min() <= _BLANK_RANGE)

    def batch(self, indices: Sequence[int]) -> torch.Tensor:
        """Images for a detector, float32 in [0, 1], shape (n, 3, H, W).

        Args:
            indices: Slices of the volume (members of `self.indices`).
        """
        return self._assemble(indices, [self.image(index) for index in indices])

    def _assemble(self, indices: Sequence[int], images: Sequence[NDArray[np.float32]]) -> torch.Tensor:
        """Three channels for each slice whose image is at hand."""
        out = np.empty((len(indices), 3, *self.shape), np.float32)
        for place, (index, image) in enumerate(zip(indices, images, strict=True)):
            out[place, 1] = image
            out[place, 0] = image if self.channels == "repeat" else self._neighbour(index, -1, image)
            out[place, 2] = image if self.channels == "repeat" else self._neighbour(index, 1, image)
        return torch.from_numpy(out)

    def batches(self, size: int, *, skip_blank: bool = True) -> Iterator[tuple[list[int], torch.Tensor, list[int]]]:
        """All slices in batches, each windowed as late as possible.

        Args:
            size: Largest number of images in a batch.
            skip_blank: Leave blank slices out of the batches.

        Yields:
            Slices in the batch, their images (n, 3, H, W), and the blank slices met on the way. The last batch may be
            empty.
        """
        indices: list[int] = []
        images: list[NDArray[np.float32]] = []
        blank: list[int] = []
        for index in self.indices:
            image = self.image(index)
            if skip_blank and self.is_blank(image):
                blank.append(index)
                continue
            indices.append(index)
            images.append(image)
            if len(indices) == size:
                yield indices, self._assemble(indices, images), blank
                indices, images, blank = [], [], []
        if indices or blank:
            yield indices, self._assemble(indices, images), blank

    def _neighbour(self, index: int, step: int, image: NDArray[np.float32]) -> NDArray[np.float32]:
        other = index + step
        if not self.volume.has_spatial_stack or not 0 <= other < len(self._filled) or not self._filled[other]:
            return image
        return self.image(other)

    def to_plane(self, image_map: NDArray) -> NDArray:
        """A map on one image, shape (H, W), as a voxel plane of the volume (A, B); 0 outside the crop."""
        if self.shape == self.full_shape:
            return self.turn.to_plane(image_map)
        full = np.zeros(self.full_shape, image_map.dtype)
        full[self.box.rows, self.box.columns] = image_map
        return self.turn.to_plane(full)

    def restore(self, maps: NDArray, indices: Sequence[int]) -> NDArray:
        """Maps on images as one array on the volume's exact grid; 0 where there is no map.

        Args:
            maps: Shape (n, H, W).
            indices: The slice of each map, n of them.

        Returns:
            Array of the volume's shape (X, Y, Z), in Fortran order, of the maps' type.
        """
        grid = np.zeros(self.volume.shape, maps.dtype, order="F")
        moved = np.moveaxis(grid, self.axis, 0)
        for image_map, index in zip(maps, indices, strict=True):
            moved[index] = self.to_plane(image_map)
        return grid

    def grid_image(self, grid: NDArray, index: int) -> NDArray:
        """One slice of an array on the volume's grid (a mask, say), upright, cropped and padded as detectors see it."""
        image = self.turn.to_image(_cut(grid, self.axis, index))[self.box.rows, self.box.columns]
        if self.padded_shape == self.shape:
            return image
        return self.padded(torch.from_numpy(np.ascontiguousarray(image))).numpy()

    def voxel_index(self, index: int, row: int, column: int) -> tuple[int, int, int]:
        """Voxel index of a pixel of the (cropped) image of a slice."""
        full_row, full_column = row + self.box.rows.start, column + self.box.columns.start
        first, second = self.turn.index(full_row, full_column, self.full_shape)
        voxel = [first, second]
        voxel.insert(self.axis, index)
        return voxel[0], voxel[1], voxel[2]

    def pixel(self, voxel: tuple[int, int, int]) -> tuple[int, int] | None:
        """Row and column of a voxel in the (cropped) image of its slice; `None` outside the crop."""
        first, second = (place for axis, place in enumerate(voxel) if axis != self.axis)
        row, column = self.turn.pixel(first, second, self.full_shape)
        inside = (
            self.box.rows.start <= row < self.box.rows.stop and self.box.columns.start <= column < self.box.columns.stop
        )
        return (row - self.box.rows.start, column - self.box.columns.start) if inside else None

    def steps(self) -> Steps | None:
        """From pixel to pixel and from slice to slice in the world; `None` where the orientation is not known."""
        if not self.volume.geometry_known or not self.volume.has_spatial_stack:
            return None
        row = np.subtract(self.turn.index(1, 0, self.full_shape), self.turn.index(0, 0, self.full_shape))
        column = np.subtract(self.turn.index(0, 1, self.full_shape), self.turn.index(0, 0, self.full_shape))
        slices = np.eye(3)[self.axis]
        vectors = (np.insert(row, self.axis, 0), np.insert(column, self.axis, 0), slices)
        return Steps(*(self.volume.affine[:3, :3] @ vector for vector in vectors))

    def edges(self) -> dict[str, str] | None:
        """What lies beyond the edges of the images: `left`, `right`, `top` and `bottom`, as one of R, L, A, P, S, I.

        The nearest direction where the planes are oblique; `None` where the orientation is not known.
        """
        steps = self.steps()
        if steps is None:
            return None
        directions = {"right": steps.column, "left": -steps.column, "bottom": steps.row, "top": -steps.row}
        nearest = {name: int(np.abs(step).argmax()) for name, step in directions.items()}
        return {name: _TOWARDS[nearest[name]][int(step[nearest[name]] < 0)] for name, step in directions.items()}

    def center(self, index: int) -> tuple[float, float, float] | None:
        """World position (RAS, mm) of the middle of a slice; `None` where unknown."""
        middle = [(length - 1) / 2 for length in self.volume.shape]
        middle[self.axis] = index
        return self.volume.world((middle[0], middle[1], middle[2]))

    def _body_box(self) -> Box:
        """The box around the largest connected body, over all slices, on every fourth row and column."""
        from scipy import ndimage

        threshold = background_threshold(self.volume)
        step = _CROP_STRIDE
        coarse = [self.turn.to_image(_cut(self.volume.voxels, self.axis, i))[::step, ::step] for i in self.indices]
        labels, count = ndimage.label(np.stack(coarse) > threshold)
        if not count:
            return Box(slice(0, self.full_shape[0]), slice(0, self.full_shape[1]))
        body = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
        rows = _extent(body.any(axis=(0, 2)), step, self.full_shape[0])
        return Box(rows, _extent(body.any(axis=(0, 1)), step, self.full_shape[1]))


def _cut(grid: NDArray, axis: int, index: int) -> NDArray:
    """A plane of an array; a view."""
    return np.moveaxis(grid, axis, 0)[index]


def _extent(present: NDArray[np.bool_], step: int, length: int) -> slice:
    """First to last true entry of a coarse axis, with one step of margin, on the fine axis."""
    places = np.flatnonzero(present)
    return slice(max(0, int(places[0] - 1) * step), min(length, int(places[-1] + 2) * step))


def _plane_shape(shape: tuple[int, int, int], axis: int) -> tuple[int, int]:
    first, second = (length for number, length in enumerate(shape) if number != axis)
    return first, second


def _turn(volume: Volume, axis: int) -> tuple[Turn, str]:
    """How slices along a voxel axis become upright images, and the name of the nearest anatomical plane."""
    if not volume.has_spatial_stack:
        return Turn(transpose=True, flip_rows=False, flip_columns=False), "image"
    voxel_of_world = anatomical_axes(volume.affine)
    normal = voxel_of_world.index(axis)
    row_world, column_world = _DISPLAY_AXES[normal]
    row_axis, column_axis = voxel_of_world[row_world], voxel_of_world[column_world]
    turn = Turn(
        transpose=row_axis > column_axis,
        flip_rows=bool(volume.affine[row_world, row_axis] > 0),
        flip_columns=bool(volume.affine[column_world, column_axis] > 0),
    )
    return turn, ("sagittal", "coronal", "axial")[normal]
