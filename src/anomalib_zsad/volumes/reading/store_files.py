"""Series of an object store: its objects walked through, and those of a series brought here when it is read."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from anomalib_zsad.outputs.object_store import StorePlace
from anomalib_zsad.outputs.scratch_folder import ScratchFolder
from anomalib_zsad.volumes.faults import Fault, Finding, Outcome, refuse
from anomalib_zsad.volumes.input_files import DiskFile, FileSource, StoreFile
from anomalib_zsad.volumes.reading.header_scan import FIRST_BYTES
from anomalib_zsad.volumes.reading.series_index import Candidate
from anomalib_zsad.volumes.reading.walking import Told

# What stores say of an object's version, by the names that they have for it.
_VERSIONS = ("ETag", "etag", "generation", "LastModified", "updated", "mtime", "created", "ino")
# Endings by which readers know a format; nothing else of an object's name, which may hold a patient's, is kept here.
_ENDINGS = (".nii.gz", ".nii", ".mgz", ".mgh", ".nrrd", ".mha", ".hdr", ".img.gz", ".img")


def walk_store(root: StorePlace, tell: Told) -> Iterator[list[FileSource]]:
    """Objects below a place, folder by folder; one folder's are in memory at a time.

    Args:
        root: An object, or what begins the names of many.
        tell: Told of what is not read.

    Raises:
        StoreError: If the store does not answer.
    """
    with root.errors():
        alone = root.files.info(root.path) if root.files.isfile(root.path) else None
    if alone is not None:
        yield [_store_file(root, root.name, alone)]
        return
    folders = root.files.walk(root.path, detail=True, on_error="raise")
    while True:
        with root.errors():
            folder, _, facts = next(folders, (None, None, {}))
        if folder is None:
            return
        prefix = str(folder)[len(root.path) :].strip("/")
        files = []
        for name in sorted(facts):
            place = StorePlace(root.scheme, f"{str(folder).rstrip('/')}/{name}")
            file = _store_file(place, f"{prefix}/{name}" if prefix else name, facts[name])
            if name.lower().endswith(".zip"):
                message = "an archive in an object store is not read; unpack it there, or copy it to a disk"
                tell(Finding(Fault.OTHER_FILE, Outcome.REFUSE, message, (), (file.name,)))
            elif name:  # some programs make an object without a name to stand for a folder
                files.append(file)
        if files:
            heads = _FirstBytes(files)
            yield [replace(file, heads=heads) for file in files]


def _store_file(place: StorePlace, name: str, facts: dict[str, Any]) -> StoreFile:
    version = [str(facts[key]) for key in _VERSIONS if facts.get(key)]
    return StoreFile(place, name, int(facts.get("size") or 0), " ".join(version))


class _FirstBytes:
    """First bytes of the objects of a folder: a request for each takes long, many requests at a time do not.

    Args:
        files: The objects, in the order in which they will be looked at.
    """

    _TOGETHER = 128

    def __init__(self, files: Sequence[StoreFile]) -> None:
        self._files = files
        self._numbers = {file.place: number for number, file in enumerate(files)}
        self._fetched: dict[StorePlace, bytes | Exception] = {}

    def of(self, place: StorePlace, count: int) -> bytes:
        """The first bytes of one of them.

        Raises:
            StoreError: If the store does not answer.
        """
        number = self._numbers[place]
        if count > FIRST_BYTES:
            return self._files[number].head(count)
        if place not in self._fetched:
            self._fetch(number)
        found = self._fetched[place]
        with place.errors():
            if isinstance(found, Exception):
                raise found
        return found[:count]

    def _fetch(self, first: int) -> None:
        """Fetch those of an object and the next ones, in place of those fetched before."""
        chosen = self._files[first : first + self._TOGETHER]
        self._fetched = {file.place: b"" for file in chosen}
        filled = [file.place for file in chosen if file.size]  # a range of an empty object is an error
        ends = [min(FIRST_BYTES, file.size) for file in chosen if file.size]
        if filled:
            with filled[0].errors():
                paths = [place.path for place in filled]
                found = filled[0].files.cat_ranges(paths, [0] * len(paths), ends, on_error="return")
            self._fetched.update(zip(filled, found, strict=True))


@contextmanager
def at_hand(candidate: Candidate) -> Iterator[Candidate]:
    """A series with all its files on this machine: those of a store are copied, and gone when the block ends.

    Raises:
        SeriesRefusedError: If one cannot be fetched, has changed, or there is no room for it.
    """
    remote = [file for file in candidate.files if isinstance(file, StoreFile)]
    if not remote:
        yield candidate
        return
    with ScratchFolder() as scratch:
        needed, free = sum(file.size for file in remote), shutil.disk_usage(scratch.path).free
        if needed > free:
            message = f"{needed:,} bytes of a store and room for {free:,}: set TMPDIR to a larger disk"
            refuse(Fault.TOO_LARGE, message)
        copies: list[DiskFile] = []
        for number, file in enumerate(remote):
            ending = next((ending for ending in _ENDINGS if file.name.lower().endswith(ending)), "")
            copies.append(DiskFile(scratch.path / f"{number:06d}{ending}", file.name))
        _fetch(remote, [str(copy.path) for copy in copies])
        for file, copy in zip(remote, copies, strict=True):
            if copy.size != file.size:
                message = f"an object has {copy.size:,} bytes, and had {file.size:,} when it was found: screen it anew"
                refuse(Fault.DAMAGED_GZIP, message, (), (file.name,))
        yield replace(candidate, files=tuple(copies))


def _fetch(files: Sequence[StoreFile], targets: list[str]) -> None:
    """Copy objects here, many at a time.

    Raises:
        SeriesRefusedError: If that fails.
    """
    first = files[0].place
    try:
        with first.errors():
            first.files.get([file.place.path for file in files], targets)
    except OSError as error:
        refuse(Fault.DAMAGED_GZIP, f"a file of the series cannot be fetched: {error.strerror or type(error).__name__}")
