"""Find the series in a file, a folder tree or a zip archive, without trusting any of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from anomalib_zsad.outputs.object_store import Place, StorePlace, place_of
from anomalib_zsad.volumes.faults import Fault, Finding, refuse, skip
from anomalib_zsad.volumes.guard import guarded
from anomalib_zsad.volumes.input_files import DiskFile, FileSource
from anomalib_zsad.volumes.options import SizeBudget
from anomalib_zsad.volumes.reading.dicom_directory import files_of_directory
from anomalib_zsad.volumes.reading.series_index import Candidate, SeriesIndex, content_hash, pseudonym
from anomalib_zsad.volumes.reading.series_tags import read_series_tag
from anomalib_zsad.volumes.reading.store_files import walk_store
from anomalib_zsad.volumes.reading.walking import Told, as_finding, walk

__all__ = [
    "NIFTI_SUFFIXES",
    "Candidate",
    "Discovery",
    "candidate_of_file",
    "content_hash",
    "discover",
    "index_series",
    "pseudonym",
]

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


@dataclass
class Discovery:
    """What was found: series to read, and findings about what will not be read."""

    candidates: list[Candidate] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def discover(location: str | Place, budget: SizeBudget | None = None) -> Discovery:
    """Find every series below a location; all of them in memory, for inputs of a few thousand series.

    Args:
        location: A DICOM or NIfTI file, a folder (searched to any depth; zips inside it too), a zip archive, or a place
            in an object store.
        budget: Limits for archives.

    Returns:
        The series, ordered by their files' names, and the findings about everything else.

    Raises:
        FileNotFoundError: If there is nothing at `location`.
    """
    with index_series(location, budget) as index:
        return Discovery(list(index), list(index.findings))


def index_series(
    location: str | Place, budget: SizeBudget | None = None, advance: Callable[[int], None] = lambda _: None
) -> SeriesIndex:
    """Find every series below a location, in memory that does not grow with their number.

    Args:
        location: A DICOM or NIfTI file, a folder (searched to any depth; zips inside it too), a zip archive, or a place
            in an object store.
        budget: Limits for archives.
        advance: Told how many files more were looked at.

    Returns:
        The series and findings, to be closed.

    Raises:
        FileNotFoundError: If there is nothing at `location`.
        DiskError: If the temporary disk is full.
        StoreError: If an object store does not answer.
    """
    root = place_of(location) if isinstance(location, str) else location
    if not root.exists():
        raise FileNotFoundError(f"there is nothing at the input path: {root}")
    sorting = _Sorting(SeriesIndex(), budget or SizeBudget())
    try:
        for files in _folders(root, sorting):
            sorting.take_all(files)
            advance(len(files))
        if sorting.others:
            message = f"{sorting.others} file(s) are neither DICOM nor NIfTI"
            sorting.index.add_finding(skip(Fault.OTHER_FILE, message))
    except BaseException:
        sorting.index.close()
        raise
    return sorting.index


def _folders(root: Place, sorting: "_Sorting") -> Iterator[list[FileSource]]:
    """The files of one folder after the other."""
    tell = sorting.index.add_finding
    if isinstance(root, StorePlace):
        yield from walk_store(root, tell)
        return
    for files in walk(root.resolve(), sorting.budget, tell):
        yield [*files, *_followed(files, tell), *_partner(root.resolve())] if root.is_file() else files


@dataclass
class _Sorting:
    """What files are, folder by folder.

    Attributes:
        index: Where series and findings go.
        budget: Limits.
        others: Number of files of no known kind.
    """

    index: SeriesIndex
    budget: SizeBudget
    others: int = 0

    def take_all(self, files: Sequence[FileSource]) -> None:
        """Sort the files of a folder in."""
        pairs = _pairs(files)
        for file in files:
            entry = guarded(partial(self._take, file, pairs))
            if isinstance(entry, Finding):
                self.index.add_finding(entry if entry.files else replace(entry, files=(file.name,)))

    def _take(self, file: FileSource, pairs: dict[str, FileSource]) -> None:
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
            if file.name in pairs:
                if pairs[file.name] is not file:
                    self.index.add_volume("nifti-pair", file, pairs[file.name])
            elif kind:
                self.index.add_volume(kind, file)
            else:
                self._take_dicom(file)
        except OSError as error:
            self.index.add_finding(as_finding(error, file))

    def _take_dicom(self, file: FileSource) -> None:
        tag = read_series_tag(file, self.budget)
        if tag is None:
            self.others += 1
        elif tag.skip_reason:
            fault = Fault.OTHER_FILE if tag.is_directory else Fault.NOT_AN_IMAGE
            self.index.add_finding(skip(fault, tag.skip_reason, _uids(tag.sop_instance_uid), (file.name,)))
        else:
            self.index.add_instance(file, tag)


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


def _followed(files: Sequence[FileSource], tell: Told) -> list[FileSource]:
    """Files that a DICOMDIR names, where it is all that was given."""
    if len(files) != 1 or not isinstance(files[0], DiskFile):
        return []
    alone = files[0]

    def follow() -> list[FileSource]:
        tag = read_series_tag(alone)
        if tag is None or not tag.is_directory:
            return []
        listed, findings = files_of_directory(alone)
        for finding in findings:
            tell(finding)
        return list(listed)

    listed = guarded(follow)
    return [] if isinstance(listed, Finding) else listed  # what is wrong with the file is told when it is sorted in


def _uids(uid: str) -> tuple[str, ...]:
    return (uid,) if uid else ()
