"""Follow a DICOMDIR to the files that it names, and to no others."""

import os
from pathlib import Path

import pydicom

from anomalib_zsad.outputs.quiet_pydicom import quiet_pydicom
from anomalib_zsad.volumes.faults import Fault, Finding, Outcome
from anomalib_zsad.volumes.input_files import DiskFile
from anomalib_zsad.volumes.reading.dicom_files import check_items, open_dicom, refuse_header


def files_of_directory(directory: DiskFile) -> tuple[list[DiskFile], list[Finding]]:
    """The files that a DICOMDIR names (PS3.3, F.3), and findings about those that are missing or lie elsewhere.

    Names are followed below the DICOMDIR's own folder only, in the case they are written in, or in small letters, as
    copies of media have them.

    Raises:
        SeriesRefusedError: If it cannot be read.
    """
    root = directory.path.parent
    files: dict[str, DiskFile] = {}
    missing = unsafe = 0
    for parts in _references(directory):
        path = next(
            (path for path in (root.joinpath(*parts), root.joinpath(*map(str.lower, parts))) if path.is_file()), None
        )
        if any(part in ("", ".", "..") or "/" in part or "\\" in part for part in parts):
            unsafe += 1
        elif path is None:
            missing += 1
        elif not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
            unsafe += 1
        else:
            name = path.relative_to(root).as_posix()
            files[name] = DiskFile(path, name)
    findings = []
    if missing:
        message = f"{missing} file(s) that the DICOMDIR names are missing: copy the whole medium"
        findings.append(Finding(Fault.OTHER_FILE, Outcome.REFUSE, message, (), (directory.name,)))
    if unsafe:
        message = f"{unsafe} file(s) that the DICOMDIR names lie outside its folder and are not read"
        findings.append(Finding(Fault.UNSAFE_PATH, Outcome.REFUSE, message, (), (directory.name,)))
    return list(files.values()), findings


def _references(directory: DiskFile) -> list[list[str]]:
    """Parts of the path of every file that is named."""
    with open_dicom(directory) as stream:
        check_items(stream, directory)
        try:
            with quiet_pydicom():
                records = pydicom.dcmread(stream, force=True).get("DirectoryRecordSequence") or []
                values = [record.get("ReferencedFileID") for record in records]
        except MemoryError:
            raise
        # A parser of untrusted bytes fails in many ways; each of them means that this file cannot be read.
        except Exception as error:
            refuse_header(error, directory)
    return [[value] if isinstance(value, str) else [str(part) for part in value] for value in values if value]
