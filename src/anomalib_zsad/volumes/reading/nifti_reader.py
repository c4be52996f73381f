"""Read NIfTI volumes with the checks that the usual readers leave out."""

import gzip
import io
from pathlib import Path
from typing import BinaryIO

import numpy as np
from isal import igzip
from isal.igzip_lib import IsalError
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from anomalib_zsad.volumes.faults import Fault, Finding, SeriesRefusedError, refuse, warn
from anomalib_zsad.volumes.geometry import Floats, is_sheared, is_usable, voxel_sizes
from anomalib_zsad.volumes.input_files import DiskFile, FileSource
from anomalib_zsad.volumes.options import AffineChoice, SizeBudget
from anomalib_zsad.volumes.reading.voxel_arrays import check_finite, slice_sources, thick_axis, three_axes
from anomalib_zsad.volumes.volume import Units, Volume

_BLOCK = 1 << 20
# Bytes after the voxels that are read (to check the checksum) before the file counts as a bomb.
_TRAILING = 64 << 20
_LARGEST_OFFSET = 16 << 20


def read_nifti(
    file: FileSource | str | Path,
    *,
    modality: str = "",
    affine_choice: AffineChoice | None = None,
    volume_index: int | None = None,
    budget: SizeBudget | None = None,
) -> Volume:
    """Read one NIfTI-1 or NIfTI-2 file, plain or gzipped, to its last byte.

    Args:
        file: The file.
        modality: CT or MR where the user knows it; NIfTI does not say.
        affine_choice: Which transform to trust where qform and sform disagree.
        volume_index: Which volume of a file with more than three axes to take (0 is the first).
        budget: Limits on what the header may claim.

    Raises:
        SeriesRefusedError: If the file cannot be read truthfully; the finding says why.
    """
    if isinstance(file, (str, Path)):
        file = DiskFile(Path(file), Path(file).name)
    budget = budget or SizeBudget()
    try:
        with file.open() as raw:
            header, stored = _read_stream(unpacked(raw), budget)
    except (EOFError, IsalError, gzip.BadGzipFile, OSError) as error:  # type: ignore[misc]  # ISA-L has no types
        message = f"the file is truncated or damaged ({type(error).__name__}); unpack it or copy it again"
        refuse(Fault.DAMAGED_GZIP, message, (), (file.name,))
    except SeriesRefusedError as error:
        raise error.about(file.name) from error
    return _assembled(header, stored, modality, affine_choice, volume_index)


def _assembled(
    header: Nifti1Header, stored: NDArray, modality: str, affine_choice: AffineChoice | None, volume_index: int | None
) -> Volume:
    """The volume of a header and its stored voxels."""
    findings = _note_intent(header)
    stored = three_axes(stored, volume_index, findings)
    voxels = _scaled(stored, header)
    affine, known = _affine(header, affine_choice, findings)
    check_finite(voxels, findings)
    native = _native_axis(header, affine)
    return Volume(
        voxels=voxels,
        affine=affine,
        modality=modality,
        units=Units.HOUNSFIELD if modality == "CT" else Units.ARBITRARY,
        native_axis=native,
        slices=slice_sources(voxels.shape, affine, native, known=known),
        findings=findings,
        geometry_known=known,
        nifti_header=header,
    )


def read_nifti_pair(
    header_file: FileSource,
    image_file: FileSource,
    *,
    modality: str = "",
    affine_choice: AffineChoice | None = None,
    volume_index: int | None = None,
    budget: SizeBudget | None = None,
) -> Volume:
    """Read a NIfTI-1 pair of files (.hdr and .img); arguments and errors are those of `read_nifti`.

    Raises:
        SeriesRefusedError: If the pair cannot be read truthfully, or is Analyze 7.5, which says no orientation.
    """
    names = header_file.name, image_file.name
    try:
        with header_file.open() as head, image_file.open() as raw:
            header = _read_header(head, budget or SizeBudget(), pair=True)
            stored = _read_voxels(unpacked(raw), header, _offset(header, 0))
    except (EOFError, IsalError, gzip.BadGzipFile, OSError) as error:  # type: ignore[misc]  # ISA-L has no types
        message = f"the file is truncated or damaged ({type(error).__name__}); unpack it or copy it again"
        refuse(Fault.DAMAGED_GZIP, message, (), names)
    except SeriesRefusedError as error:
        raise error.about(*names) from error
    return _assembled(header, stored, modality, affine_choice, volume_index)


def _note_intent(header: Nifti1Header) -> list[Finding]:
    """A warning where the header's intent code says that the voxels are no picture (NIfTI-1, nifti1.h)."""
    intent = int(header["intent_code"])
    what = "a statistical map" if 2 <= intent <= 24 else {1001: "an estimate", 1002: "labels"}.get(intent, "")
    if not what:
        return []
    return [warn(Fault.DERIVED, f"the header's intent code {intent} says that the voxels are {what}, not a picture")]


def unpacked(raw: BinaryIO) -> BinaryIO:
    """The stream, unpacked on the way where it is gzip; reading it to its end checks gzip's checksum."""
    magic = raw.read(2)
    raw.seek(0)
    return igzip.IGzipFile(fileobj=raw) if magic == b"\x1f\x8b" else raw  # type: ignore[return-value]


def _read_stream(stream: BinaryIO, budget: SizeBudget) -> tuple[Nifti1Header, NDArray]:
    """Header and stored voxels; the stream is read to its end, so that gzip checks its checksum."""
    header = _read_header(stream, budget)
    return header, _read_voxels(stream, header, _offset(header, header.sizeof_hdr))


def _offset(header: Nifti1Header, start: int) -> int:
    """How many bytes after `start` the voxels begin.

    Raises:
        SeriesRefusedError: If the header's number makes no sense.
    """
    offset = float(header["vox_offset"])
    if not start <= offset <= start + _LARGEST_OFFSET:
        message = f"the header puts the voxels at byte {offset:g}; {start} to {start + _LARGEST_OFFSET:,} is read"
        refuse(Fault.TOO_LARGE, message)
    return int(offset) - start


def _read_voxels(stream: BinaryIO, header: Nifti1Header, offset: int) -> NDArray:
    """Stored voxels, from `offset` bytes on, of the header's shape and type; the stream is read to its end.

    Raises:
        SeriesRefusedError: If it ends too early, or goes on for too long.
    """
    shape, dtype = header.get_data_shape(), header.get_data_dtype()
    if len(stream.read(offset)) < offset:
        refuse(Fault.DAMAGED_GZIP, "the file ends before its voxels")
    content = np.empty(int(np.prod(shape, dtype=np.int64)) * dtype.itemsize, np.uint8)
    view, filled = memoryview(content.data), 0
    while filled < len(content):
        count = stream.readinto(view[filled : filled + _BLOCK])  # type: ignore[attr-defined]
        if not count:
            refuse(Fault.DAMAGED_GZIP, f"the file ends after {filled:,} of {len(content):,} bytes of voxels")
        filled += count
    trailing = 0
    while block := stream.read(_BLOCK):
        trailing += len(block)
        if trailing > _TRAILING:
            refuse(Fault.TOO_LARGE, f"the file goes on for more than {_TRAILING >> 20} MiB after its voxels")
    return content.view(dtype).reshape(shape, order="F")


def _read_header(stream: BinaryIO, budget: SizeBudget, *, pair: bool = False) -> Nifti1Header:
    head = stream.read(348)
    size = int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")
    try:
        if 540 in size:
            header: Nifti1Header = Nifti2Header.from_fileobj(io.BytesIO(head + stream.read(192)), check=False)
        elif 348 in size:
            header = Nifti1Header.from_fileobj(io.BytesIO(head), check=False)
        else:
            refuse(Fault.DAMAGED_GZIP, "the file has no NIfTI header")
        magic = bytes(header["magic"].item())[:3]
        _check_magic(magic, pair=pair)
        shape, dtype = header.get_data_shape(), header.get_data_dtype()
    except (HeaderDataError, WrapStructError, ValueError, KeyError, IndexError) as error:
        refuse(Fault.DAMAGED_GZIP, f"the NIfTI header is damaged ({type(error).__name__})")
    if not shape or min(shape) < 1:
        refuse(Fault.DAMAGED_GZIP, f"the header says that the shape is {shape}")
    if dtype.kind not in "iuf" or not dtype.itemsize:
        what = "colour" if dtype.fields else f"of the type {dtype.name} ({int(header['datatype'])})"
        refuse(Fault.VOXEL_TYPE, f"voxels are {what}: one real number each is needed")
    voxels = 1
    for length in shape:
        voxels *= int(length)
    budget.check_volume(max(voxels, voxels * dtype.itemsize // 4), f"the header (shape {tuple(map(int, shape))})")
    return header


def _check_magic(magic: bytes, *, pair: bool) -> None:
    if pair and magic not in (b"ni1", b"ni2"):
        message = "an Analyze 7.5 pair (.hdr and .img), which does not say its orientation; convert it to one .nii file"
        refuse(Fault.OTHER_FORMAT, message)
    if not pair and magic not in (b"n+1", b"n+2"):
        refuse(Fault.DAMAGED_GZIP, "the header is of a .hdr/.img pair, or damaged; convert it to one .nii file")


def _scaled(stored: NDArray, header: Nifti1Header) -> NDArray[np.float32]:
    """Stored voxels times scl_slope plus scl_inter; a slope of 0 or NaN means no scaling (the NIfTI-1 standard).

    What leaves float32 becomes infinite, which is refused later.
    """
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    voxels = stored.astype(np.float32, order="F", copy=False)
    if slope != 0 and np.isfinite(slope):
        with np.errstate(over="ignore", invalid="ignore"):
            if slope != 1:
                voxels *= np.float32(slope)
            if np.isfinite(intercept) and intercept != 0:
                voxels += np.float32(intercept)
    return voxels


def _affine(header: Nifti1Header, choice: AffineChoice | None, findings: list[Finding]) -> tuple[Floats, bool]:
    """The world transform (RAS, mm) and whether it is known.

    Raises:
        SeriesRefusedError: If qform and sform are both set, disagree, and none was chosen.
    """
    sizes = np.asarray(header["pixdim"][1:4], np.float64)
    sizes_good = bool(np.isfinite(sizes).all() and (np.abs(sizes) > 0).all())
    sform = _usable(np.asarray(header.get_sform(), np.float64)) if int(header["sform_code"]) > 0 else None
    qform = _qform(header) if int(header["qform_code"]) > 0 and sizes_good else None
    if sform is not None and qform is not None:
        distance = _largest_distance(sform, qform, header.get_data_shape())
        if distance > 0.1 * float(voxel_sizes(sform).min()):
            if choice is None:
                message = (
                    f"qform and sform place voxels up to {distance:.1f} mm apart: choose --nifti-affine qform or sform"
                )
                refuse(Fault.QFORM_AGAINST_SFORM, message)
            findings.append(warn(Fault.QFORM_AGAINST_SFORM, f"qform and sform disagree; {choice} is used, as chosen"))
    chosen = qform if choice == "qform" and qform is not None else sform if sform is not None else qform
    if chosen is None:
        message = "orientation unknown: no usable qform or sform" + ("" if sizes_good else f", and voxel sizes {sizes}")
        findings.append(warn(Fault.UNKNOWN_ORIENTATION, f"{message}. No millimetre figures are given"))
        return np.eye(4), False
    if not sizes_good or not np.allclose(voxel_sizes(chosen), np.abs(sizes), rtol=0.01):
        given = ", ".join(f"{size:g}" for size in sizes)
        message = f"the header's voxel sizes ({given}) do not fit its transform, which is used"
        findings.append(warn(Fault.UNKNOWN_ORIENTATION, message))
    if is_sheared(chosen):
        findings.append(warn(Fault.SHEARED_AFFINE, "the axes are not perpendicular: native slices, the affine is kept"))
    return chosen, True


def _usable(affine: Floats) -> Floats | None:
    return affine if is_usable(affine) else None


def _qform(header: Nifti1Header) -> Floats | None:
    """The qform; negative voxel sizes (which the standard forbids) are taken without their sign, as nibabel does."""
    try:
        return _usable(np.asarray(_with_positive_sizes(header).get_qform(), np.float64))
    except (HeaderDataError, ValueError):
        return None


def _with_positive_sizes(header: Nifti1Header) -> Nifti1Header:
    copy = header.copy()
    copy["pixdim"][1:4] = np.abs(copy["pixdim"][1:4])
    return copy


def _largest_distance(one: Floats, other: Floats, shape: tuple[int, ...]) -> float:
    """Largest distance in mm between where two affines put the corners of a grid."""
    lengths = [*shape, 1, 1, 1][:3]
    corners = np.stack(np.meshgrid(*[(0, length - 1) for length in lengths], indexing="ij"), -1).reshape(-1, 3)
    homogeneous = np.c_[corners, np.ones(len(corners))]
    return float(np.linalg.norm(homogeneous @ (one - other).T, axis=1).max())


def _native_axis(header: Nifti1Header, affine: Floats) -> int:
    """The slice axis: what dim_info says, else the thick one."""
    slice_axis = header.get_dim_info()[2]
    return thick_axis(affine) if slice_axis is None else int(slice_axis)
