"""Object stores (S3, Google Cloud Storage) by fsspec: places in them, and their errors told as a file system's."""

import errno
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from typing_extensions import Self

from anomalib_zsad.outputs.extras import require

# Schemes of addresses, with the extra and the package that each needs. `file` is any file system, without its locks.
_PACKAGES = {"s3": ("s3", "s3fs"), "gs": ("gs", "gcsfs"), "memory": ("", ""), "file": ("", "")}
_MARK = "://"


class StoreError(OSError):
    """An object store does not do what was asked of it; says which store and why, and names no object."""


@dataclass(frozen=True)
class StorePlace:
    """A place in an object store: an object, or all whose names begin with it and a slash, as in a folder.

    Attributes:
        scheme: `s3`, `gs`, `file` or `memory`.
        path: Bucket and name, as fsspec has it.
    """

    scheme: str
    path: str

    @classmethod
    def of(cls, address: str) -> Self:
        """From an address such as `s3://bucket/studies`.

        Raises:
            ValueError: If it is of no store that is known, names no bucket, or the package for it is missing.
        """
        scheme, _, rest = address.partition(_MARK)
        if scheme not in _PACKAGES:
            known = ", ".join(f"{name}{_MARK}" for name in _PACKAGES if name != "memory")
            raise ValueError(f"{address}: no object store that is known by this name; there are {known}")
        if not rest.strip("/"):
            raise ValueError(f"{address}: no bucket is named")
        extra, package = _PACKAGES[scheme]
        if package:
            require(extra, f"an address of {scheme}{_MARK}", package)
        import fsspec

        _, path = fsspec.core.url_to_fs(address)
        return cls(scheme, str(path).rstrip("/"))

    def __str__(self) -> str:
        return f"{self.scheme}{_MARK}{self.path}"

    def __truediv__(self, name: str) -> Self:
        return type(self)(self.scheme, f"{self.path}/{name}")

    @property
    def name(self) -> str:
        """The last part of its name."""
        return self.path.rpartition("/")[2]

    @property
    def files(self) -> Any:
        """The file system of fsspec, in which `path` is a path."""
        return _files(self.scheme)

    def absolute(self) -> Self:
        """Itself, as it is for every process."""
        return self

    def is_relative_to(self, other: "StorePlace") -> bool:
        """Whether it is the other place, or lies in it."""
        return self.scheme == other.scheme and PurePosixPath(self.path).is_relative_to(other.path)

    def exists(self) -> bool:
        """Whether there is an object of this name, or any in it.

        Raises:
            StoreError: If the store does not answer.
        """
        with self.errors():
            return bool(self.files.exists(self.path))

    def is_file(self) -> bool:
        """Whether there is an object of this name.

        Raises:
            StoreError: If the store does not answer.
        """
        with self.errors():
            return bool(self.files.isfile(self.path))

    def names(self) -> list[str]:
        """The names of what lies directly in it; none where there is nothing.

        Raises:
            StoreError: If the store does not answer.
        """
        with self.errors():
            try:
                found = self.files.ls(self.path, detail=False)
            except (FileNotFoundError, NotADirectoryError):
                return []
        below = (
            str(path).rstrip("/").rpartition("/")[2] for path in found if str(path).strip("/") != self.path.strip("/")
        )
        return sorted(name for name in below if name)

    def read_bytes(self) -> bytes:
        """The content of an object.

        Raises:
            FileNotFoundError: If there is none.
            StoreError: If the store does not answer.
        """
        with self.errors():
            return bytes(self.files.cat_file(self.path))

    def fetch(self, target: Path) -> None:
        """Copy an object to a file.

        Raises:
            FileNotFoundError: If there is none.
            StoreError: If the store does not answer.
            OSError: If the file cannot be written.
        """
        with self.errors():
            self.files.get_file(self.path, str(target))

    def put(self, source: Path) -> None:
        """Copy a file to an object, which appears whole.

        Raises:
            StoreError: If the store does not take it, such as where there is no such bucket.
        """
        with self.errors(may_be_missing=False):
            if self.scheme != "file":  # a store shows an object once all of it has arrived
                self.files.put_file(str(source), self.path)
                return
            folder, _, name = self.path.rpartition("/")
            partial = f"{folder}/.partial-{name}"
            self.files.put_file(str(source), partial)
            Path(partial).replace(self.path)

    def remove(self) -> None:
        """Remove an object, or all that lie in the place; what is not there is gone already.

        Raises:
            StoreError: If the store refuses.
        """
        with self.errors():
            try:
                self.files.rm(self.path, recursive=True)
            except FileNotFoundError:
                return

    @contextmanager
    def errors(self, *, may_be_missing: bool = True) -> Iterator[None]:
        """Tell errors of the store as one kind; they come as whatever its library raises, and quote names of objects.

        Args:
            may_be_missing: Whether that an object is not there is told as such.

        Raises:
            FileNotFoundError: As it comes.
            StoreError: For all others.
        """
        try:
            yield
        except StoreError:
            raise
        except Exception as error:  # of the many libraries beneath
            if may_be_missing and isinstance(error, FileNotFoundError):
                raise
            bucket = self.path.lstrip("/").partition("/")[0]
            message = (
                f"the store {self.scheme}{_MARK}{bucket} does not answer as asked ({type(error).__name__}): check its "
                "name, the credentials and the endpoint"
            )
            raise StoreError(errno.EIO, message) from error


Place = Path | StorePlace
"""A path on this machine, or a place in an object store."""


def place_of(text: str) -> Place:
    """A path, or a place in an object store, of what was typed.

    Raises:
        ValueError: If it is an address that is not known.
    """
    return StorePlace.of(text) if _MARK in text else Path(text)


@functools.cache
def _files(scheme: str) -> Any:
    """The file system of fsspec; credentials and endpoint are those of its own settings and of the environment."""
    import fsspec

    if scheme == "file":
        return fsspec.filesystem("file", auto_mkdir=True)
    # What other machines write in the meantime is seen.
    return fsspec.filesystem(scheme, use_listings_cache=False)
