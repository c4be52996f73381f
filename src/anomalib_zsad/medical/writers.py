"""NIfTI outputs on the exact grid of the input, streamed plane by plane."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from isal import igzip
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from numpy.typing import NDArray

from anomalib_zsad.medical.geometry import Floats, is_sheared
from anomalib_zsad.medical.mapfile import MapFile
from anomalib_zsad.medical.volume import Volume

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

Convert = Callable[[NDArray[np.float32]], NDArray]


def write_maps(folder: Path, name: str, volume: Volume, maps: MapFile, convert: Convert, dtype: type) -> list[Path]:
    """Write a map as `NAME.nii.gz`, or as `NAME_part01.nii.gz` and so on where slices are unevenly spaced.

    Args:
        folder: Where.
        name: Without suffix.
        volume: Whose grid and header geometry the output repeats. Its voxels are not touched.
        maps: Values on that grid.
        convert: From float32 planes to what is stored.
        dtype: Type of what is stored.

    Returns:
        The files written.
    """
    parts = volume.even_parts()
    written = []
    for number, (run, affine) in enumerate(parts, 1):
        shape = (*maps.shape[:2], run.stop - run.start) if len(parts) > 1 else maps.shape
        planes = maps.planes(run.start, run.stop) if len(parts) > 1 else maps.planes()
        path = folder / (f"{name}_part{number:02d}.nii.gz" if len(parts) > 1 else f"{name}.nii.gz")
        header = output_header(volume, affine, shape, dtype)
        _write_stream(path, header, (convert(plane) for plane in planes), dtype)
        written.append(path)
    return written


def as_map(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Anomaly scores as they are."""
    return plane


def as_mask(threshold: float) -> Convert:
    """1 where a map reaches the threshold, 0 elsewhere (uint8)."""
    return lambda plane: (plane >= threshold).astype(np.uint8)


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


def _write_stream(path: Path, header: Nifti1Header, planes: Iterable[NDArray], dtype: type) -> None:
    """Header, four bytes that say "no extensions", and voxels, gzipped without name or time."""
    header["vox_offset"] = header.sizeof_hdr + 4
    header["scl_slope"], header["scl_inter"] = 1, 0
    with path.open("xb") as raw, igzip.IGzipFile("", "wb", _COMPRESSION, raw, mtime=0) as stream:
        stream.write(header.binaryblock + bytes(4))
        for plane in planes:
            stream.write(np.asarray(plane, dtype).tobytes(order="F"))
