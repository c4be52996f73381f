"""A plugin of pydicom that decodes lossy JPEG of 12 bits (1.2.840.10008.1.2.4.51) with imagecodecs.

GDCM is not asked for it by pydicom, and Pillow knows 8 bits only. pydicom's documentation of decoder plugins says what
a plugin must have.
"""

import importlib.util
from typing import TYPE_CHECKING

from pydicom.pixels.decoders import JPEGExtended12BitDecoder
from pydicom.uid import JPEGExtended12Bit

if TYPE_CHECKING:
    from pydicom.pixels.decoders.base import DecodeRunner

DECODER_DEPENDENCIES = {JPEGExtended12Bit: ("imagecodecs",)}

_LABEL = "anomalib-zsad"


def is_available(uid: str) -> bool:
    """Whether this plugin decodes a transfer syntax."""
    return uid in DECODER_DEPENDENCIES and importlib.util.find_spec("imagecodecs") is not None


def decode_frame(src: bytes, runner: "DecodeRunner") -> bytes:
    """Decode one frame of one sample a pixel, to 16 bits where it has more than 8.

    Raises:
        ValueError: If the frame has another shape than the header says.
    """
    import imagecodecs

    pixels = imagecodecs.jpeg_decode(src)
    if pixels.shape != (runner.rows, runner.columns):
        raise ValueError(f"decoded to {pixels.shape}, the header says {(runner.rows, runner.columns)}")
    runner.set_option("bits_allocated", 8 * pixels.itemsize)
    return pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()


def register() -> None:
    """Make the plugin known to pydicom; nothing happens where it is."""
    known = (*JPEGExtended12BitDecoder.available_plugins, *JPEGExtended12BitDecoder.missing_dependencies)
    if not any(_LABEL in entry for entry in known):
        JPEGExtended12BitDecoder.add_plugin(_LABEL, (__name__, decode_frame.__name__))
