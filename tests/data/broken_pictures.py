"""Files that say they are pictures and are none, each for a mistake that one was made of."""

import io
import struct
import zlib

from PIL import Image


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file, its checksum right."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_whose_profile_is_cut_off() -> bytes:
    """A PNG with a colour profile behind its pixels that ends where its kind of compression is due.

    Pillow reads it while it decodes, and looks at a byte that is not there (IndexError).
    """
    stream = io.BytesIO()
    Image.new("L", (8, 8), 90).save(stream, "PNG")
    whole = stream.getvalue()
    end = whole.rindex(b"IEND") - 4
    return whole[:end] + png_chunk(b"iCCP", b"abc\0") + whole[end:]


def eps() -> bytes:
    """An EPS file, for which Pillow would start Ghostscript."""
    stream = io.BytesIO()
    Image.new("L", (4, 4)).save(stream, "EPS")
    return stream.getvalue()
