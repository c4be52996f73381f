"""The few elements that decide a file's series, from the first bytes of a plain DICOM header.

pydicom makes an object of every element, which takes longer than all else that finding a series does. Here elements are
stepped over (PS3.5, 7.1), and only what is wanted is looked at. Nothing is guessed: of a header that is in any way
unusual nothing is said, and it is left to pydicom.
"""

import re
from collections.abc import Mapping
from struct import Struct
from struct import error as StructError

from anomalib_zsad.volumes.input_files import FileSource

FIRST_BYTES = 1 << 14
"""So much of a file is read at first: true headers have what is wanted in the first few thousand bytes."""

_MOST_BYTES = 1 << 20
_DEEPEST = 16

MEDIA_STORAGE_SOP_CLASS, TRANSFER_SYNTAX = 0x0002_0002, 0x0002_0010
SOP_CLASS, SOP_INSTANCE, MODALITY = 0x0008_0016, 0x0008_0018, 0x0008_0060
STUDY, SERIES, FRAME_OF_REFERENCE = 0x0020_000D, 0x0020_000E, 0x0020_0052
ROWS, COLUMNS = 0x0028_0010, 0x0028_0011

_UID, _CODE = (b"UI", re.compile(rb"(?:[0-9.]{1,64}\0?)?")), (b"CS", re.compile(rb"[A-Z0-9_ ]{0,16}"))
_TEXTS = {
    **dict.fromkeys((MEDIA_STORAGE_SOP_CLASS, TRANSFER_SYNTAX, SOP_CLASS, SOP_INSTANCE), _UID),
    **dict.fromkeys((STUDY, SERIES, FRAME_OF_REFERENCE), _UID),
    MODALITY: _CODE,
}
_NEEDED = (SOP_CLASS, SOP_INSTANCE, MODALITY, STUDY, SERIES, ROWS, COLUMNS)
_META, _DATA_SET = range(0x0002_0000, 0x0003_0000), range(0x0004_0000, COLUMNS + 1)
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFE_E000, 0xFFFE_E00D, 0xFFFE_E0DD
_UNDEFINED = 0xFFFF_FFFF

_IMPLICIT = "1.2.840.10008.1.2"
# Explicit VR little endian: plain, or with compressed frames. Others are deflated, big endian, or somebody's own.
_EXPLICIT = re.compile(r"1\.2\.840\.10008\.1\.2\.(1|5|4\.\d+)")

_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_TAG, _LETTERS, _LENGTH, _NUMBER = Struct("<HH"), Struct("<2sH"), Struct("<I"), Struct("<H")


class _UnusualError(Exception):
    """A header that is left to pydicom."""


def scan_header(file: FileSource, head: bytes) -> Mapping[int, str | int] | None:
    """Values of the elements that decide a file's series, by their tags.

    Args:
        file: A file.
        head: Its first `FIRST_BYTES`, or all of it.

    Returns:
        UIDs, the modality and numbers of rows and columns; `None` of an unusual header, such as one that lacks any.

    Raises:
        OSError, SeriesRefusedError: If the file cannot be read.
    """
    if head[128:132] != b"DICM":
        return None
    try:
        try:
            return _scan(head)
        except StructError:  # there is more before what is wanted than was read
            return _scan(file.head(_MOST_BYTES)) if len(head) == FIRST_BYTES else None
    except (_UnusualError, StructError):
        return None


def _scan(head: bytes) -> dict[int, str | int]:
    """What is wanted of a header.

    Args:
        head: The first bytes of a file.

    Raises:
        _UnusualError: If it is unusual.
        StructError: If it ends too early.
    """
    found: dict[int, str | int] = {}
    start = _collect(head, 132, _META, True, found)
    syntax = str(found.get(TRANSFER_SYNTAX, ""))
    if syntax != _IMPLICIT and not _EXPLICIT.fullmatch(syntax):
        raise _UnusualError
    _collect(head, start, _DATA_SET, syntax != _IMPLICIT, found)
    if not all(map(found.get, _NEEDED)):  # if an element is there, it stands in the wrong place
        raise _UnusualError
    return found


def _collect(head: bytes, at: int, tags: range, explicit: bool, found: dict[int, str | int]) -> int:
    """Collect what is wanted of elements of a range of tags, which must rise; returns where they end."""
    before = tags.start - 1
    while (tag := _tag(head, at)) < tags.stop:
        if tag <= before:
            raise _UnusualError
        vr, length, start = _element(head, at, explicit)
        if length == _UNDEFINED:
            at = _after_sequence(head, start, vr, explicit, 0)
        else:
            at = start + length
            if tag in _TEXTS:
                found[tag] = _text(head, tag, vr, start, at)
            elif tag in (ROWS, COLUMNS):
                found[tag] = _number(head, vr, start, at)
        before = tag
    return at


def _tag(head: bytes, at: int) -> int:
    group, number = _TAG.unpack_from(head, at)
    return group << 16 | number


def _element(head: bytes, at: int, explicit: bool) -> tuple[bytes, int, int]:
    """Value representation (empty where it is implicit) and length of an element, and where its value starts."""
    letters, short = _LETTERS.unpack_from(head, at + 4)
    if not explicit:
        if letters.isalpha() and letters.isupper():  # explicit after all, as it seems
            raise _UnusualError
        return b"", _LENGTH.unpack_from(head, at + 4)[0], at + 8
    if letters in _SHORT_VRS:
        return letters, short, at + 8
    if letters in _LONG_VRS:
        return letters, _LENGTH.unpack_from(head, at + 8)[0], at + 12
    raise _UnusualError


def _text(head: bytes, tag: int, vr: bytes, start: int, end: int) -> str:
    """The value of a UID or a code."""
    if end > len(head):
        raise StructError
    wanted, form = _TEXTS[tag]
    value = head[start:end]
    if vr not in (wanted, b"") or not form.fullmatch(value):
        raise _UnusualError
    return value.decode("ascii").strip("\0 ")


def _number(head: bytes, vr: bytes, start: int, end: int) -> int:
    """The value of an unsigned number of two bytes."""
    if vr not in (b"US", b"") or end != start + _NUMBER.size:
        raise _UnusualError
    return int(_NUMBER.unpack_from(head, start)[0])


def _after_sequence(head: bytes, at: int, vr: bytes, explicit: bool, depth: int) -> int:
    """Where a sequence of undefined length ends, which starts here."""
    if vr not in (b"SQ", b"") or depth > _DEEPEST:
        raise _UnusualError
    while True:
        tag, (length,), start = _tag(head, at), _LENGTH.unpack_from(head, at + 4), at + 8
        if tag == _SEQUENCE_END:
            return start
        if tag != _ITEM:
            raise _UnusualError
        at = _after_item(head, start, explicit, depth) if length == _UNDEFINED else start + length


def _after_item(head: bytes, at: int, explicit: bool, depth: int) -> int:
    """Where an item of undefined length ends, which starts here."""
    while _tag(head, at) != _ITEM_END:
        vr, length, start = _element(head, at, explicit)
        at = _after_sequence(head, start, vr, explicit, depth + 1) if length == _UNDEFINED else start + length
    return at + 8
