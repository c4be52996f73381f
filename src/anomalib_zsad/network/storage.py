"""Sending DICOM files to an application (C-STORE)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, ImplicitVRLittleEndian

from anomalib_zsad.network.addresses import ConnectionOptions, Entity
from anomalib_zsad.network.associations import (
    MAXIMUM_CONTEXTS,
    Association,
    PresentationContext,
    association,
    build_context,
    sop_class_name,
)
from anomalib_zsad.network.errors import DeliveryError
from anomalib_zsad.outputs.quiet_pydicom import quiet_pydicom

_STORED = {0x0000, 0xB000, 0xB006, 0xB007, 0x0111}  # success, with changes or a warning, and: it was there before
_NO_ROOM = range(0xA700, 0xA800)
_PASSING = {0x0110, 0x0210}  # processing failure, message ID in use


@dataclass(frozen=True)
class _File:
    path: Path
    sop_class: UID
    syntax: UID


@dataclass(frozen=True)
class StorageTarget:
    """A DICOM application that stores what it is sent.

    Attributes:
        entity: Which.
        options: How it is connected to.
    """

    entity: Entity
    options: ConnectionOptions

    @property
    def name(self) -> str:
        """`AETITLE@host:port`."""
        return self.entity.name

    @quiet_pydicom()
    def send(self, files: Sequence[Path]) -> None:
        """Send files in one association (several where they are of more than 128 kinds).

        A file that is refused does not keep the others back. What is stored there already counts as sent.

        Raises:
            DeliveryError: If not all of them are stored there.
            OSError: If a file cannot be read.
        """
        refused: list[str] = []
        for batch in _batches([_described(path) for path in files]):
            with association(self.entity, self.options, _contexts(batch), DeliveryError) as established:
                for number, file in enumerate(batch, 1):
                    reason = self._send_one(established, file, number)
                    refused += [f"{file.path.name}: {reason}"] if reason else []
        if refused:
            more = f" and {len(refused) - 3} more" if len(refused) > 3 else ""
            raise DeliveryError(f"{self.name} refused {'; '.join(refused[:3])}{more}", retry=False)

    def _send_one(self, established: Association, file: _File, number: int) -> str:
        """Why a file was refused; empty if it is stored.

        Raises:
            DeliveryError: If it may be stored later.
        """
        if not established.is_established:
            raise DeliveryError(f"{self.name}: the association was aborted while files were sent", retry=True)
        try:
            answer = established.send_c_store(file.path, msg_id=number % 65535 or 1)
        except ValueError:  # no context of this kind was accepted
            return f"{sop_class_name(file.sop_class)} as {file.syntax.name} is not taken there"
        except RuntimeError:
            raise DeliveryError(f"{self.name}: the association ended while files were sent", retry=True) from None
        status = answer.get("Status")
        if status is None:
            raise DeliveryError(f"{self.name} aborted, or did not answer in time", retry=True)
        if status in _NO_ROOM or status in _PASSING:
            raise DeliveryError(f"{self.name} cannot store now (status {status:04X})", retry=True)
        return "" if status in _STORED else f"status {status:04X}"


def _described(path: Path) -> _File:
    """What must be known of a file before it is sent.

    Raises:
        DeliveryError: If it is no DICOM file.
    """
    try:
        header = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID", "SOPInstanceUID"])
        file = _File(path, UID(header.SOPClassUID), UID(header.file_meta.TransferSyntaxUID))
        if file.sop_class and file.syntax and header.SOPInstanceUID:
            return file
    except (InvalidDicomError, AttributeError, TypeError):
        pass
    raise DeliveryError(f"{path.name} is no DICOM file with its UIDs and cannot be sent", retry=False)


def _batches(files: Sequence[_File]) -> list[list[_File]]:
    """Files in groups that one association can propose contexts for, two for each kind."""
    batches: list[list[_File]] = []
    kinds: set[tuple[UID, UID]] = set()
    for file in files:
        kinds.add((file.sop_class, file.syntax))
        if not batches or 2 * len(kinds) > MAXIMUM_CONTEXTS:
            batches.append([])
            kinds = {(file.sop_class, file.syntax)}
        batches[-1].append(file)
    return batches


def _contexts(files: Sequence[_File]) -> list[PresentationContext]:
    """A context for each kind of file; what is not compressed may also go as implicit little endian, which all take."""
    kinds = {(file.sop_class, file.syntax) for file in files}
    kinds |= {(sop_class, ImplicitVRLittleEndian) for sop_class, syntax in kinds if _convertible(syntax)}
    return [build_context(sop_class, [syntax]) for sop_class, syntax in sorted(kinds)]


def _convertible(syntax: UID) -> bool:
    return not syntax.is_private and not syntax.is_compressed and syntax.is_little_endian
