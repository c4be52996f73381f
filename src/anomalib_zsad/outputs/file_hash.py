"""The hash by which a file is known."""

import hashlib
from pathlib import Path
from typing import BinaryIO

_BLOCK = 1 << 20


def stream_sha256(stream: BinaryIO) -> str:
    """SHA-256 of what is left in a stream, hexadecimal; a block at a time is in memory."""
    digest = hashlib.sha256()
    while block := stream.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as stream:
        return stream_sha256(stream)
