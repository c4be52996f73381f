"""Open DICOM files, with or without preamble, within bounds."""

import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Literal, NoReturn

import pydicom
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset as read_elements

from anomalib_zsad.outputs.quiet_pydicom import quiet_pydicom
from anomalib_zsad.volumes.faults import Fault, refuse
from anomalib_zsad.volumes.input_files import FileSource, scratch_file
from anomalib_zsad.volumes.options import SizeBudget

DEFLATED = str(pydicom.uid.DeflatedExplicitVRLittleEndian)
# True headers stay far below: an enhanced series of 5,000 frames has about 75,000 sequence items.
LARGEST_ITEM_COUNT = 200_000

# Reads of a header's parser: one to three for each element. A true header takes less than a million.
LARGEST_READ_COUNT = 1_500_000

_BLOCK = 1 << 20
_ITEM_TAGS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")  # (FFFE,E000) in either byte order
_ITEM_BYTES = 8


@contextmanager
def open_dicom(file: FileSource, budget: SizeBudget | None = None) -> Iterator[BinaryIO]:
    """A DICOM file opened for reading; a deflated one is inflated first, within the budget.

    pydicom would inflate whatever it is given, without bound and in memory.

    Raises:
        SeriesRefusedError: If a deflated file is damaged, or grows beyond the budget.
    """
    with file.open() as stream:
        try:
            syntax, start = _transfer_syntax(stream)
        except MemoryError:
            raise
        except Exception as error:  # whatever the parser of untrusted bytes fails with
            refuse_header(error, file)
        stream.seek(0)
        if syntax != DEFLATED:
            yield stream
            return
        with _inflated(stream, start, file, budget or SizeBudget()) as plain:
            yield plain


def _transfer_syntax(stream: BinaryIO) -> tuple[str, int]:
    """Transfer syntax UID as the parsed file meta group says it, wherever in the file, and where the group ends."""
    start = 132 if stream.read(132)[128:] == b"DICM" else 0
    stream.seek(start)
    with quiet_pydicom():
        meta = read_elements(stream, False, True, stop_when=lambda tag, *_: tag >> 16 != 2)
        return str(meta.get("TransferSyntaxUID", "")), stream.tell()


@contextmanager
def _inflated(stream: BinaryIO, start: int, file: FileSource, budget: SizeBudget) -> Iterator[BinaryIO]:
    """The same file with its data set inflated, as explicit VR little endian."""
    limit = min(2 * budget.volume_bytes, max(10_000_000, budget.expansion * file.size))
    with scratch_file(min(limit, 4 * file.size)) as plain:
        meta = pydicom.dataset.FileMetaDataset()
        meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        plain.write(bytes(128) + b"DICM")
        pydicom.filewriter.write_file_meta_info(pydicom.filebase.DicomFileLike(plain), meta, enforce_standard=False)
        stream.seek(start)
        inflate, written = zlib.decompressobj(-zlib.MAX_WBITS), 0
        try:
            while not inflate.eof and (packed := inflate.unconsumed_tail or stream.read(_BLOCK)):
                block = inflate.decompress(packed, _BLOCK)
                written += len(block)
                if written > limit:
                    message = f"a deflated DICOM file of {file.size:,} bytes grows beyond {limit:,} bytes"
                    refuse(
                        Fault.TOO_LARGE, f"{message}; convert it to an uncompressed transfer syntax", (), (file.name,)
                    )
                plain.write(block)
        except zlib.error as error:
            message = f"the data of the deflated transfer syntax ({DEFLATED}) cannot be inflated ({error}): damaged"
            refuse(Fault.TRANSFER_SYNTAX, message, (), (file.name,))
        if not inflate.eof:
            message = f"the data of the deflated transfer syntax ({DEFLATED}) end too early: truncated"
            refuse(Fault.TRUNCATED_PIXELS, message, (), (file.name,))
        plain.seek(0)
        yield plain


def check_items(stream: BinaryIO, file: FileSource) -> None:
    """Refuse a file with more sequence items than any true header has: parsing them would take minutes.

    Raises:
        SeriesRefusedError: If there are more than `LARGEST_ITEM_COUNT`.
    """
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    if size < LARGEST_ITEM_COUNT * _ITEM_BYTES:
        return
    items = 0
    while block := stream.read(_BLOCK):
        items += max(block.count(tag) for tag in _ITEM_TAGS)
        if items > LARGEST_ITEM_COUNT:
            message = f"a DICOM file with more than {LARGEST_ITEM_COUNT:,} sequence items is not read"
            refuse(Fault.TOO_COMPLEX, message, (), (file.name,))
    stream.seek(0)


class TooManyElementsError(Exception):
    """A header of more elements than any true one has."""


class BoundedHeader:
    """A stream for pydicom's parser, which reads an element at a time: it ends what would take minutes and gigabytes.

    Args:
        stream: What is read; its position moves along.

    Raises:
        TooManyElementsError: While it is read.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._left = LARGEST_READ_COUNT
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, count: int = -1) -> bytes:
        """The next bytes."""
        self._left -= 1
        if self._left < 0:
            raise TooManyElementsError
        return self._stream.read(count)


def refuse_header(error: Exception, file: FileSource) -> NoReturn:
    """Refuse a file because of what its header's parser raised.

    Raises:
        SeriesRefusedError: Always.
    """
    if isinstance(error, RecursionError):
        refuse(Fault.TOO_COMPLEX, "a DICOM header with sequences nested too deeply is not read", (), (file.name,))
    if isinstance(error, TooManyElementsError):
        message = "a DICOM header of more elements than any true one is not read: damaged, or made to harm"
        refuse(Fault.TOO_COMPLEX, message, (), (file.name,))
    refuse(Fault.TRUNCATED_PIXELS, f"a DICOM header is damaged ({type(error).__name__})", (), (file.name,))


def read_dataset(stream: BinaryIO, *, pixels: bool) -> Dataset | None:
    """A DICOM dataset from an open file, or `None` if it is no DICOM file.

    Files with any preamble are accepted, and files without preamble that begin with a group 2 or group 8 tag. Without
    `pixels`, the stream stands before the pixel data afterwards: see `pixel_bytes`.
    """
    head = stream.read(132)
    stream.seek(0)
    if head[128:132] != b"DICM" and not is_bare(head):
        return None
    with quiet_pydicom():
        source = stream if pixels else BoundedHeader(stream)
        dataset = pydicom.dcmread(source, stop_before_pixels=not pixels, force=True)  # type: ignore[arg-type]
    if "TransferSyntaxUID" not in dataset.file_meta:
        original = dataset.original_encoding
        implicit = pydicom.uid.ImplicitVRLittleEndian if original[0] else pydicom.uid.ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = implicit
    return dataset


def pixel_bytes(stream: BinaryIO, dataset: Dataset) -> int | None:
    """Length of the pixel data that the stream stands before, in bytes, as the header says it.

    Returns:
        0 where there are no pixel data, `None` where the length is not given (compressed).
    """
    implicit, little = dataset.original_encoding
    order: Literal["little", "big"] = "little" if little else "big"
    head = stream.read(12)
    tag = int.from_bytes(head[:2], order), int.from_bytes(head[2:4], order)
    if len(head) < 12 or tag not in ((0x7FE0, 0x0010), (0x7FE0, 0x0008), (0x7FE0, 0x0009)):
        return 0
    length = int.from_bytes(head[4:8] if implicit else head[8:12], order)
    return None if length == 0xFFFFFFFF else length


def is_bare(head: bytes) -> bool:
    """Whether bytes look like the beginning of a DICOM file without preamble: a tag of group 2 or 8."""
    if head[:4] in (b"\x02\x00\x00\x00", b"\x08\x00\x00\x00", b"\x08\x00\x01\x00", b"\x08\x00\x05\x00"):
        return True
    return head[:2] in (b"\x02\x00", b"\x08\x00") and head[4:6].isalpha() and head[4:6].isupper()


def has_foreign_preamble(file: FileSource) -> bool:
    """Whether the 128 bytes before `DICM` are not the zeros that a plain DICOM file has (PS3.10, 7.1)."""
    head = file.head(132)
    return head[128:132] == b"DICM" and any(head[:128])
