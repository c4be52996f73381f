"""Receiving: a DICOM storage SCP that acknowledges an instance only once it is durably in the queue."""

import ipaddress
import logging
import os
import shutil
import socket
import socketserver
import sqlite3
import ssl
import sys
import threading
import time
import uuid
from collections import Counter, deque
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydicom.uid import UID
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, evt
from pynetdicom.dsutils import encode_file_meta
from pynetdicom.sop_class import _STORAGE_CLASSES, _VERIFICATION_CLASSES
from pynetdicom.transport import ThreadedAssociationServer

from anomalib_zsad.network.inflow import LARGEST_PDU, bound_pdus
from anomalib_zsad.node.entries import Arrival
from anomalib_zsad.node.flow import Flow
from anomalib_zsad.node.options import ReceivingOptions, network_of
from anomalib_zsad.node.queue import Queue
from anomalib_zsad.outputs.quiet_pydicom import quiet_pydicom
from anomalib_zsad.volumes.faults import SeriesRefusedError
from anomalib_zsad.volumes.input_files import DiskFile
from anomalib_zsad.volumes.reading.dicom_files import open_dicom, read_dataset
from anomalib_zsad.volumes.reading.dicom_pixels import can_decode
from anomalib_zsad.volumes.reading.series_tags import SeriesTag, read_series_tag

SUCCESS, NO_ROOM, WRONG_OBJECT, NOT_UNDERSTOOD, CONFLICT = 0x0000, 0xA700, 0xA900, 0xC000, 0xC001
"""Status of C-STORE (PS3.4, B.2.3); 0xC001 says that another content was stored under the same UID before."""

PARTIAL = ".arriving-"

_LOG = logging.getLogger("anomalib_zsad.node")
_MIB = 1 << 20
_HANDSHAKE_SECONDS = 10
_AT_ONCE = getattr(socket, "TCP_QUICKACK", None)  # Linux
_IMAGE_CLASSES = [uid for keyword, uid in _STORAGE_CLASSES.items() if "ImageStorage" in keyword]


class _Server(ThreadedAssociationServer):
    """Waits for connections; strangers are turned away before a byte of theirs is read."""

    request_queue_size = 256
    allowed: tuple[Any, ...] = ()
    turned_away: Any = None

    def get_request(self) -> Any:
        """The connection as it is: TLS is begun in the connection's own thread, where it holds nobody up."""
        return self.socket.accept()  # type: ignore[union-attr]

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002
        """Whether the address is one of those that are allowed."""
        address = ipaddress.ip_address(client_address[0].partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        allowed = not self.allowed or any(address in network for network in self.allowed)
        if not allowed and self.turned_away is not None:
            self.turned_away("an address that is not allowed")
        return allowed

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Begin TLS, where it is on, within some seconds."""
        if self.ssl_context is not None:
            try:
                request.settimeout(_HANDSHAKE_SECONDS)
                request = self.ssl_context.wrap_socket(request, server_side=True)
            except (OSError, ValueError):
                self.turned_away("a connection without valid TLS")
                self.shutdown_request(request)
                return
        request.settimeout(self.ae.network_timeout)  # a peer that stops within a PDU holds its thread no longer
        super().process_request_thread(request, client_address)


@dataclass
class Receiver:
    """The node's ear.

    Attributes:
        queue: Where instances go.
        received: Folder of received files.
        options: What is taken, and from whom.
        quiet_seconds: How long a study is still arriving after the last byte of an open association.
        refusals: How often something was refused, by reason.
        errors: The latest refusals: when, and why.
    """

    queue: Queue
    received: Path
    options: ReceivingOptions
    quiet_seconds: float = 60.0
    refusals: Counter[str] = field(default_factory=Counter)
    errors: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=50))
    _flows: dict[Any, Flow] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _tokens: float = 0.0
    _filled: float = field(default_factory=time.monotonic)
    _server: Any = field(default=None, repr=False)

    def start(self) -> None:
        """Listen.

        Raises:
            OSError: If the port cannot be had.
            ValueError: If certificate and key do not fit.
        """
        # What this library logs are addresses and the values of elements.
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
        self.received.mkdir(parents=True, exist_ok=True)
        for path in self.received.glob(f"{PARTIAL}*"):
            path.unlink()  # never acknowledged
        entity = AE(ae_title=self.options.title)
        syntaxes = [uid for uid in ALL_TRANSFER_SYNTAXES if can_decode(uid)]
        entity.add_supported_context(_VERIFICATION_CLASSES["Verification"])
        for uid in _IMAGE_CLASSES:
            entity.add_supported_context(uid, syntaxes)
        entity.require_called_aet = True
        entity.require_calling_aet = list(self.options.callers)
        # The library counts those that it is about to reject too, so that a flood would leave fewer than allowed:
        # `_requested` counts instead.
        entity.maximum_associations = sys.maxsize
        entity.maximum_pdu_size = 1 << 17
        entity.network_timeout = entity.dimse_timeout = self.options.network_timeout
        entity.acse_timeout = min(30, self.options.network_timeout)
        handlers = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_ECHO, self._echo),
            (evt.EVT_CONN_OPEN, self._opened),
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_CONN_CLOSE, self._closed),
            (evt.EVT_DATA_RECV, self._flowed),
            (evt.EVT_DIMSE_RECV, self._arrived),
            (evt.EVT_REJECTED, lambda _: self._refuse("an association: wrong AE title")),
        ]
        self._server = entity.make_server(
            (self.options.host, self.options.port),
            ssl_context=_tls(self.options),
            evt_handlers=handlers,  # type: ignore[arg-type]
            server_class=_Server,
        )
        self._server.allowed = tuple(map(network_of, self.options.networks))
        self._server.turned_away = self._refuse
        threading.Thread(target=self._server.serve_forever, name="receiver", daemon=True).start()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.socket.getsockname()[1])

    def stop(self) -> None:
        """Take no more; open associations are aborted, and what they had not got acknowledged is not kept."""
        if self._server is not None:
            socketserver.BaseServer.shutdown(self._server)  # the library's own also forgets it where it did not make it
            for association in self._server.active_associations:
                association.abort()
            self._server.server_close()

    def busy(self) -> list[str]:
        """Studies of open associations that have sent something within the quiet time."""
        since = time.monotonic() - self.quiet_seconds
        with self._lock:
            return [flow.study for flow in self._flows.values() if flow.study and flow.waiting and flow.latest > since]

    def _refuse(self, reason: str) -> None:
        """Count and tell a refusal."""
        with self._lock:
            self.refusals[reason] += 1
            self.errors.append((time.time(), f"refused: {reason}"))
        _LOG.warning("refused: %s", reason)

    def _opened(self, event: Any) -> None:
        """Bound what one PDU may claim, and acknowledge each at once.

        Most clients send an instance in pieces, and the next only once the one before is acknowledged, which the system
        puts off for 40 ms unless it is told not to, again and again.
        """
        bound_pdus(event)
        connection = event.assoc.dul.socket
        bounded = connection.recv

        def acknowledged(count: int) -> Any:
            if _AT_ONCE is not None:
                connection.socket.setsockopt(socket.IPPROTO_TCP, _AT_ONCE, 1)
            return bounded(count)

        connection.recv = acknowledged
        with self._lock:
            for ended in [other for other in self._flows if other.ident is not None and not other.is_alive()]:
                del self._flows[ended]
            self._flows[event.assoc] = Flow()

    def _requested(self, event: Any) -> None:
        """Reject an association where as many as are allowed are open (local limit exceeded, PS3.8, 9.3.4)."""
        with self._lock:
            flow = self._flows.setdefault(event.assoc, Flow())
            flow.admitted = sum(other.admitted for other in self._flows.values()) < self.options.max_associations
        if not flow.admitted:
            event.assoc.acse.send_reject(0x02, 0x03, 0x02)
            event.assoc.kill()
            self._refuse("an association: too many of them")

    def _closed(self, event: Any) -> None:
        with self._lock:
            self._flows.pop(event.assoc, None)

    def _flowed(self, event: Any) -> None:
        """Hold back an association that is too fast, and end one that sends too much at once."""
        size, limit = len(event.data), self.options.max_instance_mib * _MIB
        with self._lock:
            flow = self._flows.get(event.assoc)
            if flow is None or flow.ended:
                return
            flow.came(size)
            flow.latest = time.monotonic()
            waiting = sum(other.waiting for other in self._flows.values())
            pause = self._pause(size)
            alone = flow.arriving > limit + LARGEST_PDU
            flow.ended = flow.waiting > limit + LARGEST_PDU or waiting > 2 * limit
        if flow.ended:
            reason = f"an instance above {self.options.max_instance_mib} MiB" if alone else "more than fits the memory"
            self._refuse(f"{reason}: the association was aborted")
            # This thread is the one that the abort waits for.
            threading.Thread(target=event.assoc.abort, name="abort", daemon=True).start()
        elif pause > 0:
            time.sleep(min(pause, 1.0))

    def _pause(self, size: int) -> float:
        """Seconds to wait so that the rate is kept: a bucket that holds one second's worth."""
        rate = self.options.max_rate_mib * _MIB
        if not rate:
            return 0.0
        now = time.monotonic()
        self._tokens = min(rate, self._tokens + (now - self._filled) * rate) - size
        self._filled = now
        return max(0.0, -self._tokens / rate)

    def _arrived(self, event: Any) -> None:
        """A message is whole; it is handled once those before it are."""
        with self._lock:
            self._flows.setdefault(event.assoc, Flow()).complete()

    def _echo(self, event: Any) -> int:
        with self._lock:
            self._flows.setdefault(event.assoc, Flow()).handled()
        return SUCCESS

    def _store(self, event: Any) -> int:
        """Answer a C-STORE; whatever happens, an instance without the status 0x0000 is not kept."""
        with self._lock:
            flow = self._flows.setdefault(event.assoc, Flow())
        try:
            status, reason, study = self._take(event)
        except (OSError, sqlite3.Error) as error:
            status, reason, study = NO_ROOM, f"an instance could not be written: {type(error).__name__}", ""
        except Exception as error:
            # Bytes of others fail in many ways; the text of an error may quote them.
            status, reason, study = NOT_UNDERSTOOD, f"unexpected {type(error).__name__}", ""
        finally:
            with self._lock:
                flow.handled()
        flow.study = study or flow.study
        if status != SUCCESS:
            self._refuse(f"{reason} (status {status:04X})")
        return status

    def _is_resend(self, arrival: Arrival, temporary: Path) -> bool:
        """Whether an instance whose bytes differ from those stored under its UID is the same, encoded otherwise."""
        (row,) = self.queue.rows("SELECT file, state FROM instances WHERE sop_uid = ?", arrival.sop_uid)
        if row["state"] != "stored" or row["file"] != arrival.place:
            return False
        with quiet_pydicom():
            return _same_content(self.received / row["file"], temporary)

    def _no_room(self, size: int) -> tuple[int, str]:
        """Status and reason for an instance of some bytes, by its size alone."""
        if size > self.options.max_instance_mib * _MIB:
            return NO_ROOM, f"an instance above {self.options.max_instance_mib} MiB"
        if shutil.disk_usage(self.received).free - size < self.options.reserve_mib * _MIB:
            return NO_ROOM, "the disk is almost full"
        return SUCCESS, ""

    def _take(self, event: Any) -> tuple[int, str, str]:
        """Status, reason of a refusal, and Study Instance UID."""
        request = event.request
        content = request.DataSet.getbuffer()
        digest = sha256(content).hexdigest()
        known = self.queue.rows(
            "SELECT study FROM instances WHERE sop_uid = ? AND digest = ?", str(request.AffectedSOPInstanceUID), digest
        )
        if known:  # a resend needs no room
            return SUCCESS, "", known[0]["study"]
        status, reason = self._no_room(len(content))
        if UID(request.AffectedSOPClassUID) not in _IMAGE_CLASSES:
            status, reason = 0x0122, "an object that is no image"
        if status != SUCCESS:
            return status, reason, ""
        temporary = self.received / f"{PARTIAL}{uuid.uuid4().hex}"
        try:
            with temporary.open("xb") as stream:
                stream.write(b"\0" * 128 + b"DICM" + encode_file_meta(event.file_meta))
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            tag = _read_tag(temporary)
            reason = _fault(tag, request)
            if reason or tag is None:
                return (WRONG_OBJECT if tag else NOT_UNDERSTOOD), reason, ""
            arrival = Arrival(
                tag.sop_instance_uid,
                tag.study_instance_uid,
                tag.series_instance_uid,
                digest,
                temporary.stat().st_size,
            )
            stored = self.queue.store(arrival, temporary, self.received)
            if stored == "conflict" and not self._is_resend(arrival, temporary):
                return CONFLICT, "another content under the UID of an instance that was stored before", arrival.study
            return SUCCESS, "", arrival.study
        finally:
            temporary.unlink(missing_ok=True)


def _same_content(first: Path, second: Path) -> bool:
    """Whether two files hold equal data sets, in whatever encoding; compressed pixels are compared as they are."""
    datasets = []
    for path in (first, second):
        with open_dicom(DiskFile(path, path.name)) as stream:
            dataset = read_dataset(stream, pixels=True)
        if dataset is None:
            return False
        datasets.append({element.tag: element for element in dataset if element.tag.element})  # no group lengths
    return datasets[0] == datasets[1]


def _read_tag(path: Path) -> SeriesTag | None:
    """What a received file is; `None` if it cannot be read."""
    try:
        return read_series_tag(DiskFile(path, path.name))
    except SeriesRefusedError:
        return None


def _fault(tag: SeriesTag | None, request: Any) -> str:
    """Why a received instance is not taken; empty if it is."""
    if tag is None:
        return "a data set that cannot be read"
    uids = (tag.sop_instance_uid, tag.study_instance_uid, tag.series_instance_uid)
    if any(not uid or len(uid) > 64 for uid in uids):
        return "an instance without UIDs of instance, series and study"
    if tag.sop_instance_uid != str(request.AffectedSOPInstanceUID):
        return "a data set whose UID is not the one of the request"
    return ""


def _tls(options: ReceivingOptions) -> ssl.SSLContext | None:
    """TLS as the options say; `None` for none.

    Raises:
        ValueError: If certificate and key do not fit.
    """
    if options.certificate is None or options.key is None:
        return None
    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(options.certificate, options.key)
        if options.client_ca is not None:
            context.load_verify_locations(options.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"certificate, key or client CA cannot be used for TLS: {error}") from error
    return context
