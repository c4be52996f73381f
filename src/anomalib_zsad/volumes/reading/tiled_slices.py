"""Many slices in one image: Siemens mosaics are taken apart by their private header, other grids refused by name."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from pydicom.dataset import Dataset

from anomalib_zsad.volumes.faults import Fault, refuse
from anomalib_zsad.volumes.geometry import Floats, plane_normal
from anomalib_zsad.volumes.reading.tag_values import integer, number, numbers

_CONVERT = "convert the series with dcm2niix and screen its NIfTI files"
_NUMBER_IN_MOSAIC = (0x0019, 0x100A)
_NUMBER_IN_GRID = (0x0065, 0x1050)  # United Imaging
_LARGEST_SIDE = 64


@dataclass(frozen=True)
class Tile:
    """Where a slice lies in the image that holds it.

    Attributes:
        number: Which slice, from 0.
        row, column: Of its first pixel.
        image_shape: Rows and columns of the whole image.
        position: Of its first pixel in the world (LPS, mm).
    """

    number: int
    row: int
    column: int
    image_shape: tuple[int, int]
    position: tuple[float, float, float]


@dataclass(frozen=True)
class Mosaic:
    """A Siemens mosaic: square tiles row by row from the upper left, the last ones of the square empty.

    Attributes:
        count: Number of slices.
        rows, columns: Of a tile.
        normal: From a slice to the next (LPS), length 1.
        spacing: Between slices in mm.
    """

    count: int
    rows: int
    columns: int
    normal: Floats
    spacing: float

    @property
    def side(self) -> int:
        """Number of tiles along each side of the square."""
        return math.isqrt(self.count - 1) + 1

    def tiles(self, dataset: Dataset) -> Iterator[Tile]:
        """Its slices in space; nibabel's description of the mosaic's geometry is followed.

        The header's position is that of the corner of an image as large as the mosaic around the first slice's middle,
        so it is moved by half the difference of the sizes.
        """
        corner = np.array(numbers(dataset.ImagePositionPatient, 3))
        cosines = np.array(numbers(dataset.ImageOrientationPatient, 6))
        between_rows, between_columns = numbers(dataset.PixelSpacing, 2) or (0.0, 0.0)
        shape = int(dataset.Rows), int(dataset.Columns)
        first = corner + cosines[:3] * between_columns * (shape[1] - self.columns) / 2
        first = first + cosines[3:] * between_rows * (shape[0] - self.rows) / 2
        for index in range(self.count):
            x, y, z = first + index * self.spacing * self.normal
            row, column = index // self.side * self.rows, index % self.side * self.columns
            yield Tile(index, row, column, shape, (float(x), float(y), float(z)))


def find_mosaic(dataset: Dataset, image_type: tuple[str, ...]) -> Mosaic | None:
    """What the header of a Siemens mosaic says; `None` for any other image.

    Raises:
        SeriesRefusedError: If the image holds many slices and they cannot be told apart truthfully.
    """
    _refuse_grid(dataset)
    said = integer(dataset[_NUMBER_IN_MOSAIC].value) if _NUMBER_IN_MOSAIC in dataset else None
    if "MOSAIC" not in image_type and (said or 0) < 2:
        return None
    if integer(dataset.get("NumberOfFrames") or 1) != 1:
        _refuse_mosaic("it has several frames")
    count, normal = _csa_facts(dataset)
    side = math.isqrt(max(count, 1) - 1) + 1
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if not count >= 1 or side > _LARGEST_SIDE or rows % side or columns % side:
        _refuse_mosaic(f"{count} slices do not fit its {columns} x {rows} pixels")
    spacing = number(dataset.get("SpacingBetweenSlices"))
    if count > 1 and not spacing:
        _refuse_mosaic("its header does not say the spacing between slices")
    cosines = numbers(dataset.get("ImageOrientationPatient"), 6)
    placed = numbers(dataset.get("ImagePositionPatient"), 3) and numbers(dataset.get("PixelSpacing"), 2)
    if cosines is None or placed is None:
        _refuse_mosaic("its header has no position, orientation or pixel spacing")
    if normal is None or abs(float(normal @ plane_normal(cosines))) < 0.99:
        _refuse_mosaic("its private header does not say in which direction the slices follow each other")
    return Mosaic(count, rows // side, columns // side, normal / np.linalg.norm(normal), abs(spacing or 1.0))


def _csa_facts(dataset: Dataset) -> tuple[int, Floats | None]:
    """Number of slices and slice normal from the CSA header.

    Raises:
        SeriesRefusedError: If there is none that can be read.
    """
    from nibabel.nicom import csareader

    try:
        header = csareader.get_csa_header(dataset, "image")
        count = None if header is None else csareader.get_n_mosaic(header)
        normal = None if header is None else csareader.get_slice_normal(header)
    # A parser of untrusted bytes fails in many ways; each of them means that this header cannot be read.
    except Exception as error:
        _refuse_mosaic(f"its private (CSA) header is damaged ({type(error).__name__})")
    if not count:
        _refuse_mosaic("its private (CSA) header, which says how many slices it holds, is missing")
    return int(count), None if normal is None else np.asarray(normal, np.float64)


def _refuse_mosaic(reason: str) -> NoReturn:
    """Refuse a mosaic, naming the converter that reads it."""
    refuse(
        Fault.TILED_SLICES,
        f"a Siemens mosaic (many slices in one image) that cannot be taken apart: {reason}; {_CONVERT}",
    )


def _refuse_grid(dataset: Dataset) -> None:
    count = integer(dataset[_NUMBER_IN_GRID].value) if _NUMBER_IN_GRID in dataset else None
    if (count or 0) > 1:
        refuse(Fault.TILED_SLICES, f"a United Imaging grid ({count} slices in one image) is not read; {_CONVERT}")
