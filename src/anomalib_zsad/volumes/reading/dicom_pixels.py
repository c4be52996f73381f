"""Decode the pixels of DICOM frames to float32 modality values, and refuse what cannot be decoded truthfully."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, get_decoder, iter_pixels, pixel_array
from pydicom.uid import UID

from anomalib_zsad.outputs.quiet_pydicom import quiet_pydicom
from anomalib_zsad.volumes.faults import Fault, SeriesRefusedError, refuse
from anomalib_zsad.volumes.input_files import FileSource
from anomalib_zsad.volumes.reading import twelve_bit_jpeg
from anomalib_zsad.volumes.reading.dicom_files import DEFLATED, open_dicom, read_dataset
from anomalib_zsad.volumes.reading.dicom_headers import Frame

# Which packages read a transfer syntax (PS3.6, table A-1); of those that are not here, none is known.
_PACKAGES = {
    **dict.fromkeys(("50", "57", "70"), "python-gdcm"),
    "51": "imagecodecs",
    **dict.fromkeys(("80", "81"), "pyjpegls"),
    **dict.fromkeys(("90", "91"), "pillow"),
    **dict.fromkeys(("201", "202", "203"), "pylibjpeg pylibjpeg-openjpeg"),
}
_ENCAPSULATED = "1.2.840.10008.1.2.4."
twelve_bit_jpeg.register()
_REC_709 = np.array([0.2126, 0.7152, 0.0722], np.float32)


def check_transfer_syntax(uid: str) -> None:
    """Refuse pixels that no installed package decodes.

    Raises:
        SeriesRefusedError: Naming the transfer syntax and the package that would read it.
    """
    if can_decode(uid):
        return
    package = _PACKAGES.get(uid.removeprefix(_ENCAPSULATED), "")
    advice = f"install it with: pip install {package}"
    if not package:
        advice = "no package that could be recommended reads it; convert the series to an uncompressed transfer syntax"
    refuse(Fault.TRANSFER_SYNTAX, f"no decoder for the transfer syntax {UID(uid).name} ({uid}): {advice}")


def can_decode(uid: str) -> bool:
    """Whether an installed package decodes a transfer syntax; a deflated one is inflated by this package."""
    if uid == DEFLATED:
        return True
    try:
        return get_decoder(UID(uid)).is_available
    except NotImplementedError:
        return False


def decode(file: FileSource, frames: list[Frame]) -> Iterator[NDArray[np.float32]]:
    """Pixels of some frames of one file, one frame after the other.

    Args:
        file: The file.
        frames: Frames of that file, in any order; planes come in the same order.

    Yields:
        Modality values, float32, shape (rows, columns); NaN where the header says that there is no data. Colour is
        turned into luminance.

    Raises:
        SeriesRefusedError: If pixel data are truncated or damaged.
    """
    with _decoding(file, frames[0]) as stream:
        for stored, dataset, frame in _stored_planes(stream, frames):
            with quiet_pydicom():
                plane = _modality_values(stored, frame, dataset)
            yield plane


def stored_pixels(file: FileSource, frame: Frame) -> NDArray:
    """Pixels of one frame as they are stored, shape (rows, columns), or (rows, columns, 3) of colour.

    Raises:
        SeriesRefusedError: If pixel data are truncated or damaged, or no decoder reads them.
    """
    check_transfer_syntax(frame.transfer_syntax)
    with _decoding(file, frame) as stream:
        return next(_stored_planes(stream, [frame]))[0]


@contextmanager
def _decoding(file: FileSource, frame: Frame) -> Iterator[BinaryIO]:
    """The file opened; whatever goes wrong with its pixels becomes a refusal that names the instance."""
    uid = frame.sop_instance_uid
    try:
        with open_dicom(file) as stream:
            yield stream
    except (MemoryError, SeriesRefusedError):
        raise
    # Decoders raise whatever their codec raises; each of them means that these pixels cannot be had.
    except Exception as error:
        where = f"instance {uid}" if uid else "an instance without UID"
        refuse(
            Fault.TRUNCATED_PIXELS,
            f"the pixel data of {where} cannot be decoded ({type(error).__name__}): truncated or damaged",
            (uid,) if uid else (),
            (file.name,),
        )


def _stored_planes(stream: BinaryIO, frames: list[Frame]) -> Iterator[tuple[NDArray, Dataset, Frame]]:
    """Decode frame by frame; warnings are silenced within each step only, never while the caller works."""
    single = frames[0].index is None
    # Compressed frames are read whole first: pydicom sees a missing end of the sequence only then.
    compressed = UID(frames[0].transfer_syntax).is_encapsulated
    dataset = read_dataset(stream, pixels=single or compressed)
    if dataset is None:
        raise ValueError("not a DICOM file")
    if single:
        with quiet_pydicom():
            image = pixel_array(dataset)
        for frame in frames:
            yield _cut(image, frame), dataset, frame
        return
    if not compressed:
        stream.seek(0)
    indices = [frame.index for frame in frames if frame.index is not None]
    planes = iter_pixels(dataset if compressed else stream, indices=indices)
    for frame in frames:
        with quiet_pydicom():
            plane = _cut(next(planes), frame)
        yield plane, dataset, frame


def _cut(stored: NDArray, frame: Frame) -> NDArray:
    """The frame's own pixels of a decoded image, whose shape is checked."""
    expected = (frame.rows, frame.columns) if frame.tile is None else frame.tile.image_shape
    if stored.shape[:2] != expected:
        raise ValueError(f"decoded to {stored.shape}, the header says {expected}")
    if frame.tile is None:
        return stored
    top, left = frame.tile.row, frame.tile.column
    return stored[top : top + frame.rows, left : left + frame.columns]


def _modality_values(stored: NDArray, frame: Frame, dataset: Dataset) -> NDArray[np.float32]:
    """Stored values to modality values (PS3.3, C.11.1), padding to NaN (C.7.5.1.1.2), low-is-white inverted."""
    if frame.photometric == "PALETTE COLOR":
        stored = apply_color_lut(stored, dataset)
        scale = np.float32(255 / np.iinfo(stored.dtype).max)
        return np.asarray(stored, np.float32) @ (_REC_709 * scale)
    if stored.ndim == 3:
        return stored.astype(np.float32) @ _REC_709
    padding = None
    if frame.padding is not None:
        padding = (stored >= frame.padding[0]) & (stored <= frame.padding[1])
    if frame.has_lookup_table:
        values = apply_modality_lut(stored, dataset).astype(np.float32)
    else:
        values = stored.astype(np.float32)
        if is_inverted(frame):
            np.subtract(np.float32(-1 if frame.signed else 2**frame.bits_stored - 1), values, out=values)
        if frame.slope != 1:
            values *= np.float32(frame.slope)
        if frame.intercept != 0:
            values += np.float32(frame.intercept)
    if padding is not None and padding.any():
        values[padding] = np.nan
    return values


def is_inverted(frame: Frame) -> bool:
    """Whether values must be turned round so that high is bright.

    MONOCHROME1 says that low values are shown white. Hounsfield units keep their meaning whatever the display, so CT
    values are left alone.
    """
    return frame.photometric == "MONOCHROME1" and not is_hounsfield(frame)


def is_hounsfield(frame: Frame) -> bool:
    """Whether modality values are Hounsfield units: CT whose rescale type is HU or not given (PS3.3, C.8.2.1)."""
    return frame.modality == "CT" and frame.rescale_type in ("", "HU") and "LOCALIZER" not in frame.image_type
