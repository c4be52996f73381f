"""Open DICOM files, with or without preamble, and keep pydicom quiet about what is in them."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import pydicom
from pydicom.dataset import Dataset

from anomalib_zsad.volumes.input_files import FileSource


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Silence pydicom's warnings and log: they quote the values of tags, which may be patient data."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def read_dataset(stream: BinaryIO, *, pixels: bool) -> Dataset | None:
    """A DICOM dataset from an open file, or `None` if it is no DICOM file.

    Files with any preamble are accepted, and files without preamble that begin with a group 2 or group 8 tag.
    """
    head = stream.read(132)
    stream.seek(0)
    if head[128:132] != b"DICM" and not is_bare(head):
        return None
    with quiet_pydicom():
        dataset = pydicom.dcmread(stream, stop_before_pixels=not pixels, force=True)
    if "TransferSyntaxUID" not in dataset.file_meta:
        original = dataset.original_encoding
        implicit = pydicom.uid.ImplicitVRLittleEndian if original[0] else pydicom.uid.ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = implicit
    return dataset


def is_bare(head: bytes) -> bool:
    """Whether bytes look like the beginning of a DICOM file without preamble: a tag of group 2 or 8."""
    if head[:4] in (b"\x02\x00\x00\x00", b"\x08\x00\x00\x00", b"\x08\x00\x01\x00", b"\x08\x00\x05\x00"):
        return True
    return head[:2] in (b"\x02\x00", b"\x08\x00") and head[4:6].isalpha() and head[4:6].isupper()


def has_foreign_preamble(file: FileSource) -> bool:
    """Whether the 128 bytes before `DICM` are not the zeros that a plain DICOM file has (PS3.10, 7.1)."""
    head = file.head(132)
    return head[128:132] == b"DICM" and any(head[:128])
