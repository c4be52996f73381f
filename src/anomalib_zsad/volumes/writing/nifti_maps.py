"""NIfTI outputs on the exact grid of the input, streamed plane by plane."""

from contextlib import closing
from pathlib import Path

import numpy as np
from isal import igzip
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from numpy.typing import NDArray

from anomalib_zsad.volumes.geometry import Floats, is_sheared
from anomalib_zsad.volumes.map_file import MapFile
from anomalib_zsad.volumes.volume import Volume
from anomalib_zsad.volumes.writing.stored_values import StoredValues

_GEOMETRY_FIELDS = (
    "qform_code",
    "sform_code",
    "quatern_b",
    "quatern_c",
    "quatern_d",
    "qoffset_x",
    "qoffset_y",
    "qoffset_z",
    "srow_x",
    "srow_y",
    "srow_z",
    "dim_info",
)
# Of ISA-L: maps of float32 hardly get smaller at higher levels, and zlib takes ten times as long at any.
_COMPRESSION = 1
_UNITS_MM = 2


def write_maps(folder: Path, name: str, volume: Volume, maps: MapFile, stored: StoredValues) -> list[Path]:
    """Write a map as `NAME.nii.gz`, or as `NAME_part01.nii.gz` and so on where slices are unevenly spaced.

    Args:
        folder: Where.
        name: Without suffix.
        volume: Whose grid and header geometry the output repeats. Its voxels are not touched.
        maps: Values on that grid.
        stored: What of them is written.

    Returns:
        The files written.
    """
    parts = volume.even_parts()
    written = []
    for number, (run, affine) in enumerate(parts, 1):
        shape = (*maps.shape[:2], run.stop - run.start) if len(parts) > 1 else maps.shape
        planes = maps.planes(run.start, run.stop) if len(parts) > 1 else maps.planes()
        path = folder / (f"{name}_part{number:02d}.nii.gz" if len(parts) > 1 else f"{name}.nii.gz")
        with closing(MapStream(path, output_header(volume, affine, shape, stored.dtype), stored)) as stream:
            for index, plane in enumerate(planes):
                stream.add(index, plane)
        written.append(path)
    return written


def output_header(volume: Volume, affine: Floats, shape: tuple[int, ...], dtype: type) -> Nifti1Header:
    """A header for an output on a volume's grid, without any text of the input.

    For NIfTI inputs the geometry fields are the input's own, so that every reader places input and output alike, even
    where these fields are odd. For DICOM the affine goes into the sform, and into the qform unless it is sheared (a
    qform cannot hold shear).
    """
    source = volume.nifti_header
    header: Nifti1Header = Nifti2Header() if isinstance(source, Nifti2Header) else Nifti1Header()
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    if source is not None:
        header["pixdim"][:4] = source["pixdim"][:4]
        for name in _GEOMETRY_FIELDS:
            header[name] = source[name]
        header["xyzt_units"] = int(source["xyzt_units"]) & 7
        return header
    if not volume.geometry_known:
        return header
    header["xyzt_units"] = _UNITS_MM
    if not is_sheared(affine, 1e-6):
        header.set_qform(affine, code=1)
    else:
        header["pixdim"][1:4] = np.linalg.norm(affine[:3, :3], axis=0)
    header.set_sform(affine, code=1)
    return header


class MapStream:
    """A gzipped NIfTI file whose planes along the last axis come one after the other.

    Args:
        path: A new file.
        header: Of the whole.
        stored: What of the planes is written.
    """

    def __init__(self, path: Path, header: Nifti1Header, stored: StoredValues) -> None:
        self.path, self._stored, self._next = path, stored, 0
        self._shape: tuple[int, int, int] = header.get_data_shape()
        header["vox_offset"] = header.sizeof_hdr + 4
        header["scl_slope"], header["scl_inter"] = stored.slope, 0
        self._raw = path.open("xb")
        self._stream = igzip.IGzipFile("", "wb", _COMPRESSION, self._raw, mtime=0)  # no name and no time
        self._stream.write(header.binaryblock + bytes(4))  # four bytes that say "no extensions"

    def add(self, index: int, plane: NDArray[np.float32]) -> None:
        """Go on with plane `index`, values (X, Y); planes left out are 0.

        Raises:
            ValueError: If a later plane was added before.
        """
        if index < self._next:
            raise ValueError(f"plane {index} comes after plane {self._next - 1}; add planes in ascending order")
        self._leave_out(index)
        self._stream.write(self._stored.convert(plane).tobytes(order="F"))
        self._next = index + 1

    def close(self) -> None:
        """Bring the file to its end, and close it."""
        try:
            self._leave_out(self._shape[2])
            self._stream.close()
        finally:
            self._raw.close()

    def abandon(self) -> None:
        """Close the file as it is; nothing happens where it is closed."""
        self._raw.close()

    def _leave_out(self, index: int) -> None:
        empty = bytes(self._shape[0] * self._shape[1] * np.dtype(self._stored.dtype).itemsize)
        for _ in range(self._next, index):
            self._stream.write(empty)
        self._next = index


def stream_map(folder: Path, name: str, volume: Volume, stored: StoredValues) -> MapStream | None:
    """Where a map goes whose planes come in order; `None` where uneven slices need several files (`write_maps`)."""
    parts = volume.even_parts()
    if len(parts) > 1:
        return None
    return MapStream(folder / f"{name}.nii.gz", output_header(volume, parts[0][1], volume.shape, stored.dtype), stored)
