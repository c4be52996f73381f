"""Volumes of other formats: FreeSurfer's MGH by nibabel, NRRD and MetaImage by SimpleITK, with NIfTI's checks."""

import gzip
import io
import re
from typing import Any, BinaryIO, cast

import numpy as np
from isal.igzip_lib import IsalError
from numpy.typing import NDArray

from anomalib_zsad.volumes.faults import Fault, Finding, SeriesRefusedError, refuse, warn
from anomalib_zsad.volumes.geometry import LPS_TO_RAS, Floats, is_sheared, is_usable
from anomalib_zsad.volumes.input_files import DiskFile, FileSource, scratch_file
from anomalib_zsad.volumes.options import ReadingOptions, SizeBudget
from anomalib_zsad.volumes.reading.nifti_reader import unpacked
from anomalib_zsad.volumes.reading.voxel_arrays import check_finite, slice_sources, thick_axis, three_axes
from anomalib_zsad.volumes.volume import Units, Volume

_BLOCK = 1 << 20
_HEADER = 1 << 16
_MGH_START = 284
_MGH_TRAILER = 1 << 20
_MGH_BYTES = {0: 1, 1: 4, 3: 4, 4: 2}  # uint8, int32, float32, int16
_NO_ORIENTATION = "orientation unknown: the header has no directions. No millimetre figures are given"


def read_other_format(kind: str, file: FileSource, options: ReadingOptions) -> Volume:
    """Read one file of another format.

    Args:
        kind: `mgh`, `nrrd` or `metaimage`.
        file: The file.
        options: How to read.

    Raises:
        SeriesRefusedError: If it cannot be read truthfully, or the package that reads it is not installed.
    """
    try:
        if kind == "mgh":
            stored, affine = _read_mgh(file, options.budget)
        else:
            stored, affine = _read_with_simpleitk(kind, file, options.budget)
    except SeriesRefusedError as error:
        raise error.about(file.name) from error
    findings: list[Finding] = []
    voxels = three_axes(stored, options.volume_index, findings).astype(np.float32, order="F", copy=False)
    known = affine is not None
    if affine is None:
        findings.append(warn(Fault.UNKNOWN_ORIENTATION, _NO_ORIENTATION))
        affine = np.eye(4)
    elif is_sheared(affine):
        findings.append(warn(Fault.SHEARED_AFFINE, "the axes are not perpendicular: native slices, the affine is kept"))
    check_finite(voxels, findings)
    native = thick_axis(affine)
    modality = "" if options.modality == "auto" else options.modality
    return Volume(
        voxels=voxels,
        affine=affine,
        modality=modality,
        units=Units.HOUNSFIELD if modality == "CT" else Units.ARBITRARY,
        native_axis=native,
        slices=slice_sources(voxels.shape, affine, native, known=known),
        findings=findings,
        geometry_known=known,
    )


def _read_mgh(file: FileSource, budget: SizeBudget) -> tuple[NDArray, Floats | None]:
    """Voxels and affine (RAS) of an .mgh or .mgz file, read to its end."""
    from nibabel.fileholders import FileHolder
    from nibabel.freesurfer import MGHImage

    try:
        with file.open() as raw:
            stream = unpacked(raw)
            head = stream.read(_MGH_START)
            version, *shape, kind = (int(value) for value in np.frombuffer(head[:24], ">i4"))
            if version != 1 or len(head) < _MGH_START or min(shape) < 1 or kind not in _MGH_BYTES:
                refuse(Fault.DAMAGED_GZIP, "the file has no MGH header that is known")
            voxels = shape[0] * shape[1] * shape[2] * shape[3]
            budget.check_volume(voxels, f"the header (shape {tuple(shape)})")
            size = _MGH_START + voxels * _MGH_BYTES[kind]
            with scratch_file(size) as plain:
                plain.write(head)
                _copy(stream, plain, size)
                image = MGHImage.from_file_map({"image": FileHolder(fileobj=cast("io.IOBase", plain))}, mmap=False)
                affine = np.asarray(image.affine, np.float64)
                return np.asanyarray(image.dataobj), _usable(affine) if head[28:30] == b"\x00\x01" else None
    except (EOFError, IsalError, gzip.BadGzipFile, OSError, ValueError, KeyError) as error:  # type: ignore[misc]
        refuse(Fault.DAMAGED_GZIP, f"the file is truncated or damaged ({type(error).__name__})")


def _copy(stream: BinaryIO, plain: BinaryIO, size: int) -> None:
    """The rest of a file of `size` bytes and a short trailer.

    Raises:
        SeriesRefusedError: If it is shorter, or much longer.
    """
    copied = plain.tell()
    while block := stream.read(_BLOCK):
        copied += len(block)
        if copied > size + _MGH_TRAILER:
            refuse(Fault.TOO_LARGE, f"the file goes on for more than {_MGH_TRAILER:,} bytes after its voxels")
        plain.write(block)
    if copied < size:
        refuse(Fault.DAMAGED_GZIP, f"the file ends after {copied:,} of {size:,} bytes")
    plain.seek(0)


def _read_with_simpleitk(kind: str, file: FileSource, budget: SizeBudget) -> tuple[NDArray, Floats | None]:
    """Voxels and affine (RAS) of a NRRD or MetaImage file with its voxels inside."""
    name = {"nrrd": "NRRD", "metaimage": "MetaImage"}[kind]
    if not isinstance(file, DiskFile):
        refuse(Fault.OTHER_FORMAT, f"a {name} file inside an archive is not read; unpack the archive")
    directed = _check_text(kind, file)
    try:
        import SimpleITK
    except ImportError:
        message = f"a {name} volume; it is read once SimpleITK is installed: pip install SimpleITK"
        refuse(Fault.OTHER_FORMAT, message)
    reader = SimpleITK.ImageFileReader()
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)  # they would quote the file's name
    try:
        reader.SetFileName(str(file.path))
        reader.ReadImageInformation()
        size = tuple(int(length) for length in reader.GetSize())
        if reader.GetNumberOfComponents() != 1 or "complex" in str(reader.GetPixelIDValue()):
            refuse(Fault.VOXEL_TYPE, f"voxels hold {reader.GetNumberOfComponents()} numbers each: one real is needed")
        budget.check_volume(int(np.prod(size, dtype=object)), f"the header (shape {size})")
        image = reader.Execute()
    except RuntimeError as error:
        refuse(Fault.DAMAGED_GZIP, f"the {name} file is truncated or damaged ({type(error).__name__})")
    stored = SimpleITK.GetArrayFromImage(image).T
    return stored, _usable(_affine(image)) if directed and len(size) >= 3 else None


def _check_text(kind: str, file: DiskFile) -> bool:
    """Whether the file's text header says how its axes are directed.

    Raises:
        SeriesRefusedError: If it names another file as the place of its voxels: that may be any file of the machine.
    """
    head = file.head(_HEADER)
    if kind == "nrrd":
        text = re.split(rb"\r?\n\r?\n", head, maxsplit=1)[0].decode("ascii", "replace").lower()
        if not text.startswith("nrrd"):
            refuse(Fault.DAMAGED_GZIP, "the file has no NRRD header")
        detached = re.search(r"^data ?file:", text, re.MULTILINE)
        directed = re.search(r"^space directions:", text, re.MULTILINE) and re.search(r"^space:", text, re.MULTILINE)
    else:
        text = head.decode("ascii", "replace")
        data = re.search(r"^ElementDataFile\s*=\s*(\S+)", text, re.MULTILINE)
        if data is None:
            refuse(Fault.DAMAGED_GZIP, "the file has no MetaImage header")
        detached = None if data[1] == "LOCAL" else data
        directed = re.search(r"^(TransformMatrix|Orientation|Rotation)\s*=", text[: data.start()], re.MULTILINE)
    if detached:
        refuse(Fault.OTHER_FORMAT, "a header whose voxels lie in another file is not read; convert it to one file")
    return directed is not None


def _affine(image: Any) -> Floats:
    """Voxel to world (RAS, mm) of a SimpleITK image, whose world is LPS."""
    dimension = image.GetDimension()
    direction = np.array(image.GetDirection(), np.float64).reshape(dimension, dimension)[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = direction * np.array(image.GetSpacing()[:3])
    affine[:3, 3] = image.GetOrigin()[:3]
    return LPS_TO_RAS @ affine


def _usable(affine: Floats) -> Floats | None:
    return affine if is_usable(affine) else None
