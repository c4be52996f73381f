"""Decode the pixels of DICOM frames to float32 modality values, and refuse what cannot be decoded truthfully."""

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, get_decoder, iter_pixels, pixel_array
from pydicom.uid import UID

from anomalib_zsad.volumes.faults import Fault, refuse
from anomalib_zsad.volumes.input_files import FileSource
from anomalib_zsad.volumes.reading.dicom_files import quiet_pydicom, read_dataset
from anomalib_zsad.volumes.reading.dicom_headers import Frame

# Which package reads a family of transfer syntaxes, by the start of its UID.
_PACKAGES = {
    "1.2.840.10008.1.2.4.5": "python-gdcm",
    "1.2.840.10008.1.2.4.7": "python-gdcm",
    "1.2.840.10008.1.2.4.8": "pyjpegls",
    "1.2.840.10008.1.2.4.9": "pillow",
    "1.2.840.10008.1.2.4.20": "pylibjpeg with pylibjpeg-openjpeg",
}
_REC_709 = np.array([0.2126, 0.7152, 0.0722], np.float32)


def check_transfer_syntax(uid: str) -> None:
    """Refuse pixels that no installed package decodes.

    Raises:
        SeriesRefusedError: Naming the transfer syntax and the package that would read it.
    """
    try:
        available = get_decoder(UID(uid)).is_available
    except NotImplementedError:
        available = False
    if not available:
        package = next((name for start, name in _PACKAGES.items() if uid.startswith(start)), "")
        advice = f"install {package}" if package else "convert the series to an uncompressed transfer syntax"
        refuse(Fault.TRANSFER_SYNTAX, f"no decoder for the transfer syntax {UID(uid).name} ({uid}): {advice}")


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
    uid = frames[0].sop_instance_uid
    try:
        with file.open() as stream:
            yield from _decode_stream(stream, frames)
    except (MemoryError, KeyboardInterrupt):
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


def _decode_stream(stream: BinaryIO, frames: list[Frame]) -> Iterator[NDArray[np.float32]]:
    """Decode frame by frame; warnings are silenced within each step only, never while the caller works."""
    single = frames[0].index is None
    # Compressed frames are read whole first: pydicom sees a missing end of the sequence only then.
    compressed = UID(frames[0].transfer_syntax).is_encapsulated
    dataset = read_dataset(stream, pixels=single or compressed)
    if dataset is None:
        raise ValueError("not a DICOM file")
    if single:
        with quiet_pydicom():
            plane = _modality_values(_checked(pixel_array(dataset), frames[0]), frames[0], dataset)
        yield plane
        return
    if not compressed:
        stream.seek(0)
    indices = [frame.index for frame in frames if frame.index is not None]
    planes = iter_pixels(dataset if compressed else stream, indices=indices)
    for frame in frames:
        with quiet_pydicom():
            plane = _modality_values(_checked(next(planes), frame), frame, dataset)
        yield plane


def _checked(stored: NDArray, frame: Frame) -> NDArray:
    if stored.shape[:2] != (frame.rows, frame.columns):
        raise ValueError(f"decoded to {stored.shape}, the header says {(frame.rows, frame.columns)}")
    return stored


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
