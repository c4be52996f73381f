"""Series sorted by SQLite in a nameless temporary file, so that an archive of any size takes bounded memory."""

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from anomalib_zsad.outputs.disk_errors import DiskError
from anomalib_zsad.outputs.file_hash import stream_sha256
from anomalib_zsad.outputs.object_store import StorePlace
from anomalib_zsad.volumes.faults import Finding
from anomalib_zsad.volumes.input_files import DiskFile, FileSource, StoreFile, ZipMember
from anomalib_zsad.volumes.reading.series_tags import SeriesTag

_TABLES = """
CREATE TABLE series (
    id INTEGER PRIMARY KEY, files_of TEXT UNIQUE, kind TEXT NOT NULL, base TEXT NOT NULL, first BLOB NOT NULL,
    study TEXT NOT NULL, modality TEXT NOT NULL
);
CREATE TABLE files (
    series INTEGER NOT NULL, place INTEGER NOT NULL, name BLOB NOT NULL, path BLOB NOT NULL, member BLOB,
    size INTEGER, most INTEGER, instance TEXT NOT NULL, state TEXT
);
CREATE TABLE findings (told TEXT NOT NULL);
"""
_PLAN = """
CREATE TABLE planned AS
SELECT id, iif(copy = 1, base, base || '-copy' || copy) AS key, row_number() OVER (ORDER BY first, id) - 1 AS place
FROM (SELECT id, base, first, row_number() OVER (PARTITION BY base ORDER BY first, id) AS copy FROM series);
CREATE UNIQUE INDEX planned_keys ON planned (key);
CREATE UNIQUE INDEX planned_places ON planned (place);
"""
_KIBIBYTES_OF_CACHE = 32_768


@dataclass(frozen=True)
class Candidate:
    """One series of DICOM files, or one volume file of another format (two files, for a pair of header and image).

    Attributes:
        key: A pseudonym made from UIDs or content, the same in every run: `series-` and ten hexadecimal digits.
        kind: `dicom`, `nifti`, `nifti-pair`, `mgh`, `nrrd` or `metaimage`.
        files: Its files, in the order of their names.
        study: The pseudonym of its study; empty for other formats.
        modality: DICOM's modality code, `""` where unknown.
    """

    key: str
    kind: str
    files: tuple[FileSource, ...]
    study: str = ""
    modality: str = ""


def pseudonym(prefix: str, *parts: str) -> str:
    """A short name that tells nothing: `prefix-` and ten digits of the SHA-256 of `parts` (UIDs or content hashes)."""
    return f"{prefix}-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:10]}"


def content_hash(file: FileSource) -> str:
    """SHA-256 of a file, hexadecimal."""
    with file.open() as stream:
        return stream_sha256(stream)


class SeriesIndex:
    """Series and findings, first filled, then told as often as wanted; gone once it is closed.

    Memory does not grow with what is in it: what does not fit 32 MiB lies in SQLite's temporary file (`TMPDIR`).
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript(
            f"PRAGMA journal_mode = OFF; PRAGMA cache_size = -{_KIBIBYTES_OF_CACHE}; {_TABLES} BEGIN;"
        )
        self._sealed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give everything up."""
        self._database.close()

    def add_volume(self, kind: str, *files: FileSource) -> None:
        """A volume of another format than DICOM.

        Raises:
            OSError, SeriesRefusedError: If a file cannot be read.
            DiskError: If there is no room for the index.
        """
        base = pseudonym("series", *map(content_hash, files))
        with _room():
            number = self._add_series(None, kind, base, files[0].name, SeriesTag(()))
            for place, file in enumerate(files):
                self._add_file(number, place, file, "")

    def add_instance(self, file: FileSource, tag: SeriesTag) -> None:
        """A file of a DICOM series.

        Raises:
            DiskError: If there is no room for the index.
        """
        with _room():
            group = json.dumps(tag.group)
            found = self._database.execute("SELECT id, first FROM series WHERE files_of = ?", (group,)).fetchone()
            if found is None:
                base = pseudonym("series", tag.series_instance_uid) if tag.series_instance_uid else ""
                number = self._add_series(group, "dicom", base, file.name, tag)
            else:
                number = found[0]
                if _bytes(file.name) < found[1]:
                    update = "UPDATE series SET first = ? WHERE id = ?"
                    self._database.execute(update, (_bytes(file.name), number))
            self._add_file(number, 0, file, tag.sop_instance_uid)

    def add_finding(self, finding: Finding) -> None:
        """Something that will not be read.

        Raises:
            DiskError: If there is no room for the index.
        """
        with _room():
            told = json.dumps(finding.as_dict(with_files=True))
            self._database.execute("INSERT INTO findings VALUES (?)", (told,))

    def _add_series(self, group: str | None, kind: str, base: str, first: str, tag: SeriesTag) -> int:
        study = pseudonym("study", tag.study_instance_uid) if tag.study_instance_uid else ""
        row = (group, kind, base, _bytes(first), study, tag.modality)
        columns = "files_of, kind, base, first, study, modality"
        answer = self._database.execute(f"INSERT INTO series ({columns}) VALUES (?, ?, ?, ?, ?, ?)", row)  # noqa: S608
        return int(answer.lastrowid or 0)

    def _add_file(self, series: int, place: int, file: FileSource, instance: str) -> None:
        name = _bytes(file.name)
        where: tuple[object, ...]
        if isinstance(file, DiskFile):
            where = (_bytes(str(file.path)), None, None, None, instance, None)
        elif isinstance(file, ZipMember):
            where = (_bytes(str(file.archive)), _bytes(file.member), file.size, file.limit, instance, None)
        else:
            whole = (_bytes(file.place.scheme), _bytes(file.place.path))
            where = (*whole, file.size, None, instance, file.state)
        self._database.execute("INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (series, place, name, *where))

    def _seal(self) -> None:
        """Everything was added: names of series without a UID are made of their instances, or of their content."""
        if self._sealed:
            return
        self._sealed = True
        with _room():
            self._database.execute("CREATE INDEX files_of_series ON files (series, place, name)")
        for (number,) in self._database.execute("SELECT id FROM series WHERE base = ''").fetchall():
            instances = [
                row[0] for row in self._database.execute("SELECT instance FROM files WHERE series = ?", (number,))
            ]
            identity = instances if all(instances) else [content_hash(file) for file in self._files(number)]
            base = pseudonym("series", *sorted(identity))
            self._database.execute("UPDATE series SET base = ? WHERE id = ?", (base, number))
        with _room():
            self._database.executescript(_PLAN)

    def _files(self, series: int) -> tuple[FileSource, ...]:
        query = "SELECT name, path, member, size, most, state FROM files WHERE series = ? ORDER BY place, name"
        return tuple(_file(*row) for row in self._database.execute(query, (series,)))

    def __len__(self) -> int:
        return int(self._database.execute("SELECT count(*) FROM series").fetchone()[0])

    def __iter__(self) -> Iterator[Candidate]:
        """The series in the order of their first files' names.

        Of series of one name (copies of a file, or one series in two places) all but the first have a number behind it.

        Raises:
            OSError, SeriesRefusedError: If a file without UIDs cannot be read.
            DiskError: If there is no room for the index.
        """
        self._seal()
        query = "SELECT id, key, kind, study, modality FROM planned JOIN series USING (id) ORDER BY place"
        for number, key, kind, study, modality in self._database.execute(query):
            yield Candidate(key, kind, self._files(number), study, modality)

    def names(self) -> Iterator[str]:
        """Names of the series, in their order."""
        self._seal()
        return (key for (key,) in self._database.execute("SELECT key FROM planned ORDER BY place"))

    def place(self, key: str) -> int | None:
        """Where a series comes in the order, from 0; `None` where there is none of this name."""
        self._seal()
        found = self._database.execute("SELECT place FROM planned WHERE key = ?", (key,)).fetchone()
        return None if found is None else int(found[0])

    @property
    def findings(self) -> Iterator[Finding]:
        """What will not be read, in the order in which it was met."""
        for (told,) in self._database.execute("SELECT told FROM findings ORDER BY rowid"):
            yield Finding.from_dict(json.loads(told))


def _file(name: bytes, path: bytes, member: bytes | None, size: int, most: int, state: str | None) -> FileSource:
    place, shown = Path(_text(path)), _text(name)
    if state is not None:  # of a store: its scheme stands for the path, and the object for the member
        return StoreFile(StorePlace(_text(path), _text(member or b"")), shown, size, state)
    return DiskFile(place, shown) if member is None else ZipMember(place, _text(member), shown, size, most)


def _bytes(name: str) -> bytes:
    """A name for SQLite, which takes no text with bytes of file names that are none."""
    return name.encode("utf-8", "surrogatepass")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogatepass")


@contextmanager
def _room() -> Iterator[None]:
    """A temporary disk that is full is told as such.

    Raises:
        DiskError: If it is.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        raise DiskError(f"no room for the list of files ({error}); set TMPDIR to a larger disk") from error
