"""Find the series in a file, a folder tree or a zip archive, without trusting any of them."""

import hashlib
import os
import stat
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath

from anomalib_zsad.outputs.file_hash import stream_sha256
from anomalib_zsad.volumes.faults import Fault, Finding, Outcome, SeriesRefusedError, refuse, skip
from anomalib_zsad.volumes.guard import guarded
from anomalib_zsad.volumes.input_files import DiskFile, FileSource, ZipMember
from anomalib_zsad.volumes.options import SizeBudget
from anomalib_zsad.volumes.reading.dicom_directory import files_of_directory
from anomalib_zsad.volumes.reading.series_tags import SeriesTag, read_series_tag

NIFTI_SUFFIXES = (".nii", ".nii.gz")
# Kinds of volume files by the end of their names, and those whose voxels lie in a second file that the header names.
_KINDS = {
    **dict.fromkeys(NIFTI_SUFFIXES, "nifti"),
    **dict.fromkeys((".mgz", ".mgh"), "mgh"),
    ".nrrd": "nrrd",
    ".mha": "metaimage",
}
_DETACHED = {".nhdr": "NRRD", ".mhd": "MetaImage"}
_PAIR_IMAGES = (".img", ".img.gz")
_PAIR_SIZES = (b"\x5c\x01\x00\x00", b"\x00\x00\x01\x5c")  # the header's length, 348, in either byte order


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


@dataclass
class Discovery:
    """What was found: series to read, and findings about what will not be read."""

    candidates: list[Candidate] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def pseudonym(prefix: str, *parts: str) -> str:
    """A short name that tells nothing: `prefix-` and ten digits of the SHA-256 of `parts` (UIDs or content hashes)."""
    return f"{prefix}-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:10]}"


def discover(location: str | Path, budget: SizeBudget | None = None) -> Discovery:
    """Find every series below a location.

    Args:
        location: A DICOM or NIfTI file, a folder (searched to any depth; zips inside it too), or a zip archive.
        budget: Limits for archives.

    Returns:
        The series, ordered by their files' names, and the findings about everything else.

    Raises:
        FileNotFoundError: If there is nothing at `location`.
    """
    root = Path(location)
    if not root.exists():
        raise FileNotFoundError(f"there is nothing at the input path: {root}")
    found = Discovery()
    budget = budget or SizeBudget()
    files = list(_walk(root.resolve(), budget, found))
    if root.is_file():
        files += [*_followed(files, found), *_partner(root.resolve())]
    sorting = _Sorting(found, budget, _pairs(files))
    for file in files:
        entry = guarded(partial(sorting.take, file))
        if isinstance(entry, Finding):
            found.findings.append(entry if entry.files else replace(entry, files=(file.name,)))
    if sorting.others:
        found.findings.append(skip(Fault.OTHER_FILE, f"{sorting.others} file(s) are neither DICOM nor NIfTI"))
    for members in sorting.series.values():
        found.candidates.append(_dicom_candidate(members, sorting.taken))
    found.candidates.sort(key=lambda candidate: candidate.files[0].name)
    return found


@dataclass
class _Sorting:
    """What files are, one after the other.

    Attributes:
        found: Where volumes and findings go.
        budget: Limits.
        pairs: Image file of each pair's header, by the names of both.
        series: Files of DICOM series so far.
        taken: Pseudonyms in use.
        others: Number of files of no known kind.
    """

    found: Discovery
    budget: SizeBudget
    pairs: dict[str, FileSource]
    series: dict[tuple[str, ...], list[tuple[FileSource, SeriesTag]]] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    others: int = 0

    def take(self, file: FileSource) -> None:
        """Sort one file in.

        Raises:
            SeriesRefusedError: If it cannot be read.
        """
        name = file.name.lower()
        kind = _kind_of(name)
        detached = _DETACHED.get(name[name.rfind(".") :])
        if detached:
            message = f"a {detached} header whose voxels lie in another file is not read; convert it to one file"
            refuse(Fault.OTHER_FORMAT, message, (), (file.name,))
        try:
            if file.name in self.pairs:
                if self.pairs[file.name] is not file:
                    self._add("nifti-pair", file, self.pairs[file.name])
            elif kind:
                self._add(kind, file)
            else:
                self._take_dicom(file)
        except OSError as error:
            self.found.findings.append(_as_finding(error, file))

    def _add(self, kind: str, *files: FileSource) -> None:
        key = _unused(pseudonym("series", *map(content_hash, files)), self.taken)
        self.found.candidates.append(Candidate(key, kind, files))

    def _take_dicom(self, file: FileSource) -> None:
        tag = read_series_tag(file, self.budget)
        if tag is None:
            self.others += 1
        elif tag.skip_reason:
            fault = Fault.OTHER_FILE if tag.is_directory else Fault.NOT_AN_IMAGE
            self.found.findings.append(skip(fault, tag.skip_reason, _uids(tag.sop_instance_uid), (file.name,)))
        else:
            self.series.setdefault(tag.group, []).append((file, tag))


def _kind_of(name: str) -> str:
    """The kind of a single volume file by its name in small letters; empty for all others."""
    return next((kind for suffix, kind in _KINDS.items() if name.endswith(suffix)), "")


def candidate_of_file(path: Path) -> Candidate | None:
    """A file, by its name, as a volume without a pseudonym; `None` for DICOM and whatever else there is."""
    file = DiskFile(path, path.name)
    kind = _kind_of(path.name.lower())
    if kind:
        return Candidate("", kind, (file,))
    both = {member.name: member for member in (file, *_partner(path))}
    header = next((member for member in both.values() if member.name.lower().endswith(".hdr")), None)
    if len(both) < 2 or header is None:
        return None
    return Candidate("", "nifti-pair", (header, next(member for member in both.values() if member is not header)))


def _pairs(files: Sequence[FileSource]) -> dict[str, FileSource]:
    """Headers and images of pairs by their names: a header's value is its image, an image's value itself."""
    by_name = {file.name.lower(): file for file in files}
    pairs: dict[str, FileSource] = {}
    for name, file in by_name.items():
        image = next((by_name[name[:-4] + end] for end in _PAIR_IMAGES if name[:-4] + end in by_name), None)
        if name.endswith(".hdr") and image is not None and guarded(partial(file.head, 4)) in _PAIR_SIZES:
            pairs[file.name], pairs[image.name] = image, image
    return pairs


def _partner(path: Path) -> list[FileSource]:
    """The other file of a pair of which one was given."""
    name = path.name.lower()
    end = next((end for end in (".hdr", *_PAIR_IMAGES) if name.endswith(end)), None)
    if end is None:
        return []
    stem, wanted = name.removesuffix(end), _PAIR_IMAGES if end == ".hdr" else (".hdr",)
    names = {other.name.lower(): other for other in path.parent.iterdir() if other.is_file() and not other.is_symlink()}
    partner = next((names[stem + end] for end in wanted if stem + end in names), None)
    return [] if partner is None else [DiskFile(partner, partner.name)]


def _followed(files: Sequence[FileSource], found: Discovery) -> list[FileSource]:
    """Files that a DICOMDIR names, where it is all that was given."""
    if len(files) != 1 or not isinstance(files[0], DiskFile):
        return []
    alone = files[0]

    def follow() -> list[FileSource]:
        tag = read_series_tag(alone)
        if tag is None or not tag.is_directory:
            return []
        listed, findings = files_of_directory(alone)
        found.findings += findings
        return list(listed)

    listed = guarded(follow)
    return [] if isinstance(listed, Finding) else listed  # what is wrong with the file is told when it is sorted in


def _uids(uid: str) -> tuple[str, ...]:
    return (uid,) if uid else ()


def _as_finding(error: Exception, file: FileSource) -> Finding:
    if isinstance(error, SeriesRefusedError):
        return error.finding
    reason = f"a file cannot be read ({type(error).__name__})"
    return Finding(Fault.DAMAGED_GZIP, Outcome.REFUSE, reason, (), (file.name,))


def _unused(key: str, taken: set[str]) -> str:
    """The key, or the key with a number where an identical series came before it."""
    name, number = key, 1
    while name in taken:
        number += 1
        name = f"{key}-copy{number}"
    taken.add(name)
    return name


def _dicom_candidate(members: list[tuple[FileSource, SeriesTag]], taken: set[str]) -> Candidate:
    tags = [tag for _, tag in members]
    if tags[0].series_instance_uid:
        identity = [tags[0].series_instance_uid]
    elif all(tag.sop_instance_uid for tag in tags):
        identity = sorted(tag.sop_instance_uid for tag in tags)
    else:
        identity = sorted(content_hash(file) for file, _ in members)
    study = pseudonym("study", tags[0].study_instance_uid) if tags[0].study_instance_uid else ""
    files = tuple(sorted((file for file, _ in members), key=lambda file: file.name))
    return Candidate(_unused(pseudonym("series", *identity), taken), "dicom", files, study, tags[0].modality)


def content_hash(file: FileSource) -> str:
    """SHA-256 of a file, hexadecimal."""
    with file.open() as stream:
        return stream_sha256(stream)


def _walk(root: Path, budget: SizeBudget, found: Discovery) -> Iterator[FileSource]:
    """Regular files below `root`, members of zips included; what is unsafe becomes a finding."""
    if not root.is_dir():
        yield from _file_or_archive(root, root.name, budget, found)
        return
    for folder, names, files in os.walk(root, onerror=lambda error: _report_unreadable(error, root, found)):
        names.sort()
        for name in sorted(names):
            if (Path(folder) / name).is_symlink():
                _report_link(Path(folder) / name, root, found)
        for name in sorted(files):
            path = Path(folder) / name
            if path.is_symlink():
                _report_link(path, root, found)
            else:
                yield from _file_or_archive(path, path.relative_to(root).as_posix(), budget, found)


def _report_unreadable(error: OSError, root: Path, found: Discovery) -> None:
    """A folder that cannot be listed is told, not passed over."""
    name = Path(error.filename).relative_to(root).as_posix()
    message = f"a folder cannot be read ({error.strerror})"
    found.findings.append(Finding(Fault.UNSAFE_PATH, Outcome.REFUSE, message, (), (name,)))


def _report_link(path: Path, root: Path, found: Discovery) -> None:
    """A link inside the tree leads to what is found on its own; a link out of it is refused."""
    name = path.relative_to(root).as_posix()
    if Path(os.path.realpath(path)).is_relative_to(root):  # `Path.resolve` fails where a link leads to itself
        found.findings.append(
            skip(Fault.UNSAFE_PATH, "a link to another place of the input is not followed", (), (name,))
        )
        return
    message = "a link leads out of the input folder and is not followed; give its target as the input instead"
    found.findings.append(Finding(Fault.UNSAFE_PATH, Outcome.REFUSE, message, (), (name,)))


def _file_or_archive(path: Path, name: str, budget: SizeBudget, found: Discovery) -> Iterator[FileSource]:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        found.findings.append(_as_finding(error, DiskFile(path, name)))
        return
    if not stat.S_ISREG(mode):
        message = "a device, pipe or socket is not read"
        found.findings.append(Finding(Fault.UNSAFE_PATH, Outcome.REFUSE, message, (), (name,)))
    elif name.lower().endswith(".zip"):
        try:
            members = list(_archive_members(path, name, budget))
        except SeriesRefusedError as error:
            found.findings.append(error.finding)
            return
        yield from members
    else:
        yield DiskFile(path, name)


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
