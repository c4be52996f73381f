"""Servers on loopback that answer wrongly, each in one way."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.events import Event

from anomalib_zsad.network.addresses import ConnectionOptions
from tests.network.orthanc import free_port

# A busy machine's server may take seconds to answer: only where none ever comes is the wait short.
PATIENT = ConnectionOptions(connect_seconds=30, answer_seconds=30)
QUICK = ConnectionOptions(connect_seconds=3, answer_seconds=3)
CT = "1.2.840.10008.5.1.4.1.1.2"
FIND, MOVE, GET = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 2, 3))


@contextmanager
def web_server(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[tuple[str, list[str]]]:
    """The URL of a server that lets `answer` answer everything, and the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def handle_one_request(self) -> None:
            super().handle_one_request()
            self.close_connection = True

        def do_GET(self) -> None:
            asked.append(self.path)
            answer(self)

        def do_POST(self) -> None:
            asked.append(self.path)
            self.body = _read_body(self)
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/dicom-web", asked
    finally:
        server.shutdown()
        server.server_close()


def _read_body(handler: BaseHTTPRequestHandler) -> bytes:
    if "Content-Length" in handler.headers:
        return handler.rfile.read(int(handler.headers["Content-Length"]))
    body = b""
    while size := int(handler.rfile.readline() or b"0", 16):
        body += handler.rfile.read(size + 2)[:-2]
    return body


def answers(status: int, body: bytes = b"", kind: str = "application/dicom+json") -> Callable:
    """An answer of a status and a body."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


@contextmanager
def dicom_server(
    title: str = "FAULTY",
    classes: Sequence[str] | None = None,
    store: Callable[[Event], int] | None = None,
    **handlers: Callable,
) -> Iterator[str]:
    """`AETITLE@host:port` of a DICOM application.

    Args:
        title: Its AE title.
        classes: SOP classes that it takes; all of storage unless given.
        store: What answers a C-STORE.
        handlers: What answers other events, by the names of pynetdicom, such as `EVT_C_GET`.
    """
    entity = AE(title)
    entity.require_called_aet = True
    wanted = [context.abstract_syntax for context in AllStoragePresentationContexts] if classes is None else classes
    for sop_class in wanted:
        entity.add_supported_context(sop_class, scu_role=True, scp_role=True)
    port = free_port()
    bound = [(getattr(evt, name), handler) for name, handler in handlers.items()]
    bound += [(evt.EVT_C_STORE, store)] if store else []
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=bound)
    try:
        yield f"{title}@127.0.0.1:{port}"
    finally:
        server.shutdown()
