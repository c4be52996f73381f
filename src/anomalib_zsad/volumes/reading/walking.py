"""Walk through a file, a folder tree or zip archives, without trusting any of them."""

import os
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from anomalib_zsad.volumes.faults import Fault, Finding, Outcome, SeriesRefusedError, refuse, skip
from anomalib_zsad.volumes.input_files import DiskFile, FileSource, ZipMember
from anomalib_zsad.volumes.options import SizeBudget

Told = Callable[[Finding], None]
"""Told of what is unsafe or unreadable."""


def as_finding(error: Exception, file: FileSource) -> Finding:
    """What an error with a file is told as."""
    if isinstance(error, SeriesRefusedError):
        return error.finding
    reason = f"a file cannot be read ({type(error).__name__})"
    return Finding(Fault.DAMAGED_GZIP, Outcome.REFUSE, reason, (), (file.name,))


def walk(root: Path, budget: SizeBudget, tell: Told) -> Iterator[list[FileSource]]:
    """Regular files below `root`, folder by folder, members of zips included; one folder's are in memory at a time.

    Args:
        root: A file or a folder, without links in its path.
        budget: Limits for archives.
        tell: Told of what is unsafe or unreadable.
    """
    if not root.is_dir():
        yield from _file_or_archive(root, root.name, budget, tell)
        return
    for folder, names, files in os.walk(root, onerror=lambda error: _report_unreadable(error, root, tell)):
        names.sort()
        place = Path(folder)
        prefix = "" if place == root else f"{place.relative_to(root).as_posix()}/"
        for name in names:
            if (place / name).is_symlink():
                _report_link(place / name, root, tell)
        together: list[FileSource] = []
        for name in sorted(files):
            path = place / name
            if path.is_symlink():
                _report_link(path, root, tell)
                continue
            for group in _file_or_archive(path, prefix + name, budget, tell):
                if isinstance(group[0], DiskFile):
                    together += group
                else:
                    yield group
        if together:
            yield together


def _report_unreadable(error: OSError, root: Path, tell: Told) -> None:
    """A folder that cannot be listed is told, not passed over."""
    name = Path(error.filename).relative_to(root).as_posix()
    message = f"a folder cannot be read ({error.strerror})"
    tell(Finding(Fault.UNSAFE_PATH, Outcome.REFUSE, message, (), (name,)))


def _report_link(path: Path, root: Path, tell: Told) -> None:
    """A link inside the tree leads to what is found on its own; a link out of it is refused."""
    name = path.relative_to(root).as_posix()
    if Path(os.path.realpath(path)).is_relative_to(root):  # `Path.resolve` fails where a link leads to itself
        tell(skip(Fault.UNSAFE_PATH, "a link to another place of the input is not followed", (), (name,)))
        return
    message = "a link leads out of the input folder and is not followed; give its target as the input instead"
    tell(Finding(Fault.UNSAFE_PATH, Outcome.REFUSE, message, (), (name,)))


def _file_or_archive(path: Path, name: str, budget: SizeBudget, tell: Told) -> Iterator[list[FileSource]]:
    """A file, or the members of an archive, together; nothing where there are none."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        tell(as_finding(error, DiskFile(path, name)))
        return
    if not stat.S_ISREG(mode):
        message = "a device, pipe or socket is not read"
        tell(Finding(Fault.UNSAFE_PATH, Outcome.REFUSE, message, (), (name,)))
    elif name.lower().endswith(".zip"):
        try:
            members: list[FileSource] = list(_archive_members(path, name, budget))
        except SeriesRefusedError as error:
            tell(error.finding)
            return
        if members:
            yield members
    else:
        yield [DiskFile(path, name)]


def _archive_members(path: Path, name: str, budget: SizeBudget) -> Iterator[ZipMember]:
    """Members of an archive.

    Raises:
        SeriesRefusedError: If the archive is damaged, encrypted or too large, or holds a link or a name that leaves it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        refuse(Fault.DAMAGED_GZIP, f"a zip archive cannot be opened ({type(error).__name__})", (), (name,))
    total = sum(entry.file_size for entry in entries)
    if len(entries) > budget.archive_members or total > budget.archive_bytes:
        refuse(
            Fault.TOO_LARGE,
            f"a zip archive claims {len(entries):,} members of {total / 2**30:.1f} GiB; the budget is "
            f"{budget.archive_members:,} members and {budget.archive_bytes / 2**30:.1f} GiB",
            (),
            (name,),
        )
    for entry in sorted(entries, key=lambda entry: entry.filename):
        _check_member(entry, name, budget)
        if not entry.is_dir():
            yield ZipMember(path, entry.filename, f"{name}/{entry.filename}", entry.file_size, 2 * budget.volume_bytes)


def _check_member(entry: zipfile.ZipInfo, archive_name: str, budget: SizeBudget) -> None:
    parts = PurePosixPath(entry.filename.replace("\\", "/"))
    names = (f"{archive_name}/{entry.filename}",)
    if parts.is_absolute() or ".." in parts.parts or ":" in "".join(parts.parts[:1]):
        refuse(Fault.UNSAFE_PATH, "a zip archive holds a name that leads out of it; the archive is refused", (), names)
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        refuse(Fault.UNSAFE_PATH, "a zip archive holds a link or device; the archive is refused", (), names)
    if entry.flag_bits & 1:
        refuse(Fault.DAMAGED_GZIP, "a zip archive is encrypted; unpack it first", (), names)
    if entry.file_size > 10_000_000 and entry.file_size > budget.expansion * max(1, entry.compress_size):
        refuse(
            Fault.TOO_LARGE,
            f"a zip member grows from {entry.compress_size:,} to {entry.file_size:,} bytes; the limit is "
            f"{budget.expansion} times",
            (),
            names,
        )
