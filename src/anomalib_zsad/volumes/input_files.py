"""Files of an input: on disk, inside a zip that is read in place, or in an object store.

Archive members are unpacked into memory, or, where they are large, into a temporary file without a name: no name inside
an archive can reach a path outside it, and nothing is left behind, even by a process that is killed.
"""

import errno
import hashlib
import io
import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO, BinaryIO, NoReturn, Protocol, cast

from anomalib_zsad.outputs.object_store import StorePlace
from anomalib_zsad.volumes.faults import Fault, refuse

_BLOCK = 1 << 20
_IN_MEMORY = 16 << 20


def scratch_file(size: int) -> BinaryIO:
    """A place for unpacked bytes, gone once it is closed: in memory up to 16 MiB, else a nameless temporary file."""
    return io.BytesIO() if size <= _IN_MEMORY else cast("BinaryIO", tempfile.TemporaryFile())


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
    def size(self) -> int:
        """Its length in bytes."""
        return self.path.stat().st_size

    @property
    def folder(self) -> str:
        """The folder it lies in: files without a series UID are grouped by it."""
        return str(self.path.parent)


_UNPACKING = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError)


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
        """The member's bytes, unpacked within its limit.

        Raises:
            SeriesRefusedError: If it is damaged, too large, or longer than the archive's directory claims.
        """
        if self.size > self.limit:
            message = f"an archive member of {self.size:,} bytes is larger than the budget of {self.limit:,} bytes"
            refuse(Fault.TOO_LARGE, message, (), (self.name,))
        unpacked = scratch_file(self.size)
        try:
            self._unpack(unpacked)
        except BaseException:
            unpacked.close()
            raise
        unpacked.seek(0)
        return unpacked

    def _unpack(self, target: BinaryIO) -> None:
        """Write the member's bytes, block by block."""
        written = 0
        try:
            with self._packed() as stream:
                while block := stream.read(_BLOCK):
                    written += len(block)
                    if written > self.size:
                        message = f"an archive member is longer than the {self.size} bytes it claims"
                        refuse(Fault.TOO_LARGE, message, (), (self.name,))
                    target.write(block)
        except _UNPACKING as error:
            self._refuse(error)

    def head(self, count: int) -> bytes:
        """Its first bytes, without unpacking the rest.

        Raises:
            SeriesRefusedError: If it is damaged.
        """
        try:
            with self._packed() as stream:
                return stream.read(count)
        except _UNPACKING as error:
            self._refuse(error)

    def _packed(self) -> IO[bytes]:
        facts = self.archive.stat()
        return _opened(self.archive, facts.st_mtime_ns, facts.st_size).open(self.member)

    def _refuse(self, error: Exception) -> NoReturn:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            message = f"no space to unpack an archive member of {self.size:,} bytes: set TMPDIR to a larger disk"
            refuse(Fault.TOO_LARGE, message, (), (self.name,))
        refuse(Fault.DAMAGED_GZIP, f"an archive member cannot be unpacked ({type(error).__name__})", (), (self.name,))

    @property
    def folder(self) -> str:
        """The folder inside the archive: files without a series UID are grouped by it."""
        return f"{self.archive}!{self.member.rpartition('/')[0]}"


@lru_cache(maxsize=1)
def _opened(archive: Path, _modified: int, _size: int) -> zipfile.ZipFile:
    """An archive, kept open: its directory is read once, not once for each slice."""
    return zipfile.ZipFile(archive)


class Heads(Protocol):
    """First bytes of many files of a store, fetched together."""

    def of(self, place: StorePlace, count: int) -> bytes:
        """The first bytes of one of them."""
        ...


@dataclass(frozen=True)
class StoreFile:
    """An object of a store.

    Attributes:
        place: Where it is.
        name: Its name relative to the input (may hold patient data: never shown by default).
        size: Its length in bytes.
        state: What the store says of its version, which changes when its content does.
        heads: Where its first bytes are, if they are fetched with those of others.
    """

    place: StorePlace
    name: str
    size: int
    state: str
    heads: Heads | None = field(default=None, compare=False, repr=False)

    def open(self) -> BinaryIO:
        """The object, opened for reading at any position; what is read is fetched.

        Raises:
            OSError: If the store does not answer.
        """
        with self.place.errors():
            return cast("BinaryIO", self.place.files.open(self.place.path, "rb"))

    def head(self, count: int) -> bytes:
        """Its first bytes.

        Raises:
            OSError: If the store does not answer.
        """
        if self.heads is not None:
            return self.heads.of(self.place, count)
        if not self.size:
            return b""
        with self.place.errors():
            return bytes(self.place.files.cat_file(self.place.path, start=0, end=min(count, self.size)))

    @property
    def folder(self) -> str:
        """The place it lies in: files without a series UID are grouped by it."""
        return str(self.place).rpartition("/")[0]


FileSource = DiskFile | ZipMember | StoreFile


def state_of(files: Iterable[FileSource]) -> str:
    """A hash of sizes and times of files, which changes when one of them does; empty where one cannot be looked at."""
    digest = hashlib.sha256()
    for file in files:
        if isinstance(file, StoreFile):
            digest.update(repr((file.name, file.size, file.state)).encode("utf-8", "backslashreplace"))
            continue
        path, member = (file.archive, file.member) if isinstance(file, ZipMember) else (file.path, "")
        try:
            facts = path.stat()
        except OSError:  # reading it will say why
            return ""
        known = (file.name, member, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino)
        digest.update(repr(known).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()
