"""Where results are sent: DICOM applications and folders, each given as one word."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from anomalib_zsad.outputs.atomic import write_bytes


class DeliveryError(Exception):
    """Files could not be sent, or not all of them. Sending all of them again makes no doubles.

    Args:
        message: What, without patient data and without secrets, in one line.
        retry: Whether the same may work later.
    """

    def __init__(self, message: str, retry: bool) -> None:
        super().__init__(message)
        self.message, self.retry = message, retry


class Target(Protocol):
    """A place that files are sent to."""

    @property
    def name(self) -> str:
        """What it is called in messages and records; holds no secret."""

    def send(self, files: Sequence[Path]) -> None:
        """Send files. Sending them again makes no doubles.

        Raises:
            DeliveryError: If not all of them have arrived; says whether to try again.
        """


def parse_target(text: str) -> Target:
    """The target that a word names.

    Args:
        text: `AETITLE@host:port`, or a folder with a slash in it.

    Raises:
        ValueError: If it is neither.
    """
    match = re.fullmatch(r"([^@/\\]{1,16})@([^:/]+):(\d{1,5})", text)
    if match is not None:
        return StorageTarget(match[1], match[2], int(match[3]))
    if "/" in text and "://" not in text:
        return FolderTarget(Path(text))
    raise ValueError(f"{text!r} is no target; the forms are AETITLE@host:port, and a folder (with a slash)")


@dataclass(frozen=True)
class FolderTarget:
    """A folder; files are named by their SOP Instance UID.

    Attributes:
        folder: Its path.
    """

    folder: Path

    @property
    def name(self) -> str:
        """The path."""
        return str(self.folder)

    def send(self, files: Sequence[Path]) -> None:
        """Copy files.

        Raises:
            DeliveryError: If the folder cannot be written.
        """
        from pydicom import dcmread

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in files:
                uid = dcmread(path, stop_before_pixels=True).SOPInstanceUID
                write_bytes(self.folder / f"{uid}.dcm", path.read_bytes())
        except OSError as error:
            raise DeliveryError(f"{self.name} cannot be written: {error.strerror}", retry=True) from error


@dataclass(frozen=True)
class StorageTarget:
    """A DICOM application that stores what it is sent.

    Attributes:
        title: Its AE title.
        host: Its address.
        port: Its port.
    """

    title: str
    host: str
    port: int

    @property
    def name(self) -> str:
        """`AETITLE@host:port`."""
        return f"{self.title}@{self.host}:{self.port}"

    def send(self, files: Sequence[Path]) -> None:
        """Send files in one association.

        Raises:
            DeliveryError: If not all of them are stored there.
        """
        from pydicom import dcmread
        from pynetdicom import AE

        application = AE(ae_title="ANOMALIB")
        headers = [dcmread(path, stop_before_pixels=True) for path in files]
        for kind, syntax in {(header.SOPClassUID, header.file_meta.TransferSyntaxUID) for header in headers}:
            application.add_requested_context(kind, syntax)
        association = application.associate(self.host, self.port, ae_title=self.title)
        if not association.is_established:
            raise DeliveryError(f"{self.name} does not answer, or rejects the association", retry=True)
        try:
            for path in files:
                status = association.send_c_store(path).get("Status")
                if status not in (0x0000, 0xB000, 0xB006, 0xB007, 0x0111):
                    text = "no answer" if status is None else f"status {status:04X}"
                    raise DeliveryError(f"{self.name}: {text}", retry=status is None or status >> 8 == 0xA7)
        except (ValueError, RuntimeError) as error:
            raise DeliveryError(f"{self.name} takes no such object", retry=False) from error
        finally:
            if association.is_established:
                association.release()
