"""Files of an input: on disk, or inside a zip that is read in place.

Archive members are never written to disk, so no name inside an archive can reach a path outside it, and no patient data
is left in a temporary folder.
"""

import io
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from anomalib_zsad.volumes.faults import Fault, refuse


@dataclass(frozen=True)
class DiskFile:
    """A regular file.

    Attributes:
        path: Where it is.
        name: Its name relative to the input (may hold patient data: never shown by default).
    """

    path: Path
    name: str

    def open(self) -> BinaryIO:
        """The file, opened for reading."""
        return self.path.open("rb")

    def head(self, count: int) -> bytes:
        """Its first bytes."""
        with self.path.open("rb") as stream:
            return stream.read(count)

    @property
    def folder(self) -> str:
        """The folder it lies in: files without a series UID are grouped by it."""
        return str(self.path.parent)


@dataclass(frozen=True)
class ZipMember:
    """A member of a zip archive.

    Attributes:
        archive: The archive's path.
        member: The member's name inside it.
        name: Both, relative to the input (may hold patient data: never shown by default).
        size: Unpacked length in bytes, as the archive's directory claims; `open` reads no more than that.
        limit: Largest member that is unpacked, in bytes.
    """

    archive: Path
    member: str
    name: str
    size: int
    limit: int = 8 << 30

    def open(self) -> BinaryIO:
        """The member's bytes, unpacked in memory.

        Raises:
            SeriesRefusedError: If it is damaged, too large, or longer than the archive's directory claims.
        """
        if self.size > self.limit:
            message = f"an archive member of {self.size:,} bytes is larger than the budget of {self.limit:,} bytes"
            refuse(Fault.TOO_LARGE, message, (), (self.name,))
        content = self.head(self.size + 1)
        if len(content) > self.size:
            refuse(
                Fault.TOO_LARGE, f"an archive member is longer than the {self.size} bytes it claims", (), (self.name,)
            )
        return io.BytesIO(content)

    def head(self, count: int) -> bytes:
        """Its first bytes, without unpacking the rest.

        Raises:
            SeriesRefusedError: If it is damaged.
        """
        facts = self.archive.stat()
        try:
            with _opened(self.archive, facts.st_mtime_ns, facts.st_size).open(self.member) as stream:
                return stream.read(count)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
            refuse(
                Fault.DAMAGED_GZIP, f"an archive member cannot be unpacked ({type(error).__name__})", (), (self.name,)
            )

    @property
    def folder(self) -> str:
        """The folder inside the archive: files without a series UID are grouped by it."""
        return f"{self.archive}!{self.member.rpartition('/')[0]}"


@lru_cache(maxsize=1)
def _opened(archive: Path, _modified: int, _size: int) -> zipfile.ZipFile:
    """An archive, kept open: its directory is read once, not once for each slice."""
    return zipfile.ZipFile(archive)


FileSource = DiskFile | ZipMember
