"""DICOM associations by pynetdicom, and what it means when there is none."""

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydicom.uid import UID

from anomalib_zsad.network.addresses import ConnectionOptions, Entity
from anomalib_zsad.network.errors import MissingPackageError, NetworkError, keep_out_of_logs

try:
    from pynetdicom import AE, AllStoragePresentationContexts, build_role, evt
    from pynetdicom.association import Association
    from pynetdicom.presentation import PresentationContext, build_context

    from anomalib_zsad.network.inflow import bound_pdus
except ImportError as error:
    raise MissingPackageError("pynetdicom") from error

keep_out_of_logs("pynetdicom")

__all__ = [
    "MAXIMUM_CONTEXTS",
    "Association",
    "PresentationContext",
    "application",
    "association",
    "build_context",
    "build_role",
    "evt",
    "sop_class_name",
    "storage_classes",
]

MAXIMUM_CONTEXTS = 128
"""What one association can propose (PS3.8: odd numbers of one byte)."""

Failure = Callable[[str, bool], NetworkError]


def application(options: ConnectionOptions) -> AE:
    """Our application, with the times to wait that were asked for."""
    entity = AE(options.calling_title)
    entity.connection_timeout = options.connect_seconds
    entity.acse_timeout = options.connect_seconds
    entity.dimse_timeout = options.answer_seconds
    entity.network_timeout = options.answer_seconds
    return entity


@contextmanager
def association(
    peer: Entity,
    options: ConnectionOptions,
    contexts: Sequence[PresentationContext],
    failure: Failure,
    *,
    roles: Sequence[Any] = (),
    handlers: Sequence[Any] = (),
) -> Iterator[Association]:
    """An association while a block lasts; released at its end, aborted where the block raises.

    Args:
        peer: With whom.
        options: How.
        contexts: What to propose, at most 128.
        failure: Makes the error to raise, of a message and whether to try again.
        roles: Role selections, for C-GET.
        handlers: Of pynetdicom's events.

    Raises:
        NetworkError: What `failure` makes, if there is no association.
    """
    opened: list[bool] = []

    def begin(event: Any) -> None:
        opened.append(True)
        bound_pdus(event)
        # An instance goes in pieces: none waits until the peer's system has acknowledged the one before.
        event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    secure = None if options.tls is None else (options.tls.context(), peer.host)
    made = application(options).associate(
        peer.host,
        peer.port,
        contexts=list(contexts),
        ae_title=peer.title,
        ext_neg=list(roles),
        evt_handlers=[(evt.EVT_CONN_OPEN, begin), *handlers],
        tls_args=secure,
    )
    if not made.is_established:
        message, retry = _why_none(made, options, connected=bool(opened))
        raise failure(f"{peer.name}: {message}", retry)
    try:
        yield made
    except BaseException:
        made.abort()
        raise
    made.release()


def _why_none(made: Association, options: ConnectionOptions, *, connected: bool) -> tuple[str, bool]:
    """Why there is no association, and whether another try may help."""
    if made.is_rejected:
        return _why_rejected(made, options)
    if not connected:
        secure = "" if options.tls is None else ", or its certificate is not trusted"
        return f"no connection: nobody listens there, or no route leads there{secure}", True
    if made.rejected_contexts:
        names = sorted({sop_class_name(str(context.abstract_syntax)) for context in made.rejected_contexts})
        return f"takes none of what was offered ({', '.join(names)})", False
    return "the association was aborted or not answered", True


def _why_rejected(made: Association, options: ConnectionOptions) -> tuple[str, bool]:
    # PS3.8, table 9-21: who rejects (1 the user, 2 and 3 the provider) and why; result 1 is for good, 2 for now.
    answer = made.acceptor.primitive
    if answer is None:
        return "the association was rejected", True
    if (answer.result_source, answer.diagnostic) == (1, 7):
        return "there is no such AE title; ask for the right one", False
    if (answer.result_source, answer.diagnostic) == (1, 3):
        return f"our AE title {options.calling_title} is not known there; it must be entered there", False
    return f"the association was rejected ({answer.reason_str})", answer.result == 2 or answer.result_source == 3


def sop_class_name(uid: str) -> str:
    """The name of a SOP class, or its UID where DICOM has no name for it."""
    return str(UID(uid).name)


def storage_classes(names: Sequence[str] = ()) -> list[str]:
    """SOP classes of stored objects, all or those whose names begin with one of some."""
    known = [str(context.abstract_syntax) for context in AllStoragePresentationContexts]
    return [uid for uid in known if not names or sop_class_name(uid).startswith(tuple(names))]
