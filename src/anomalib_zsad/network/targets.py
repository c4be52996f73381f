"""Where results are sent: DICOM applications, DICOMweb servers and folders, each given as one word."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from anomalib_zsad.network.addresses import FORMS, ConnectionOptions, Entity, parse_address
from anomalib_zsad.network.errors import DeliveryError
from anomalib_zsad.outputs.file_hash import file_sha256
from anomalib_zsad.outputs.quiet_pydicom import quiet_pydicom

__all__ = ["DeliveryError", "FolderTarget", "Target", "parse_target"]


class Target(Protocol):
    """A place that files are sent to, by one thread at a time."""

    @property
    def name(self) -> str:
        """What it is called in messages and records; holds no secret."""

    def send(self, files: Sequence[Path]) -> None:
        """Send files. Sending them again makes no doubles.

        Raises:
            DeliveryError: If not all of them have arrived; says whether to try again.
            OSError: If a file cannot be read.
        """


def parse_target(text: str, options: ConnectionOptions | None = None) -> Target:
    """The target that a word names. Nothing is connected to yet.

    Args:
        text: `AETITLE@host:port` for C-STORE, `http(s)://host/dicom-web` for STOW-RS, or a folder: a path with a slash
            in it, or one that exists.
        options: How other machines are connected to.

    Raises:
        ValueError: If it is none of them, if a token that the options name is missing, or if the package that is needed
            is not installed.
    """
    options = options or ConnectionOptions()
    address = parse_address(text)
    if isinstance(address, Entity):
        from anomalib_zsad.network.storage import StorageTarget

        return StorageTarget(address, options)
    if address is not None:
        from anomalib_zsad.network.dicomweb import StowTarget

        return StowTarget(address, options)
    if "/" in text or os.sep in text or (text and Path(text).is_dir()):
        return FolderTarget(Path(text))
    raise ValueError(f"{text!r} is no target; the forms are {FORMS}, or a folder (with a slash, such as ./results)")


@dataclass(frozen=True)
class FolderTarget:
    """A folder, which is made when something is sent to it.

    DICOM files are named by their SOP Instance UID, because results of several series have equal names.

    Attributes:
        folder: Its path.
    """

    folder: Path

    @property
    def name(self) -> str:
        """The path."""
        return str(self.folder)

    @quiet_pydicom()
    def send(self, files: Sequence[Path]) -> None:
        """Copy files; each appears whole or not at all, and survives a loss of power once this returns.

        Raises:
            DeliveryError: If the folder cannot be written, or holds another file under the name of one.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in files:
                self._place(path)
            _flush(self.folder)
        except OSError as error:
            raise DeliveryError(f"{self.name} cannot be written: {error.strerror}", retry=True) from error

    def _place(self, path: Path) -> None:
        uid = _instance_uid(path)
        place = self.folder / (f"{uid}.dcm" if uid else path.name)
        if place.is_file() and file_sha256(place) == file_sha256(path):
            return
        if place.exists() and not uid:
            message = f"{self.name} holds another file with the name {place.name}; move it away"
            raise DeliveryError(message, retry=False)
        temporary = place.with_name(f".partial-{os.getpid()}-{place.name}")
        try:
            with path.open("rb") as source, temporary.open("wb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
                copy.flush()
                os.fsync(copy.fileno())
            temporary.replace(place)
        finally:
            temporary.unlink(missing_ok=True)


def _instance_uid(path: Path) -> str:
    """The SOP Instance UID of a DICOM file where it can be a file's name; empty for other files."""
    try:
        uid = str(dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID"]).get("SOPInstanceUID", ""))
    except InvalidDicomError:
        return ""
    return uid if set(uid) <= set("0123456789.") and uid.strip(".") else ""


def _flush(folder: Path) -> None:
    """Make the names in a folder durable, where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
