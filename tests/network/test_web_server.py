"""Visitors who do nothing: connections that say no more, or take nothing of their answer, make room for others."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from anomalib_zsad.network import prompt_protocol
from anomalib_zsad.network.web_server import Guard, WebServer

MOST = 4
LARGE = 64 << 20
"""More than the operating system keeps of what was sent and not taken."""


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answers without reading bodies: a word, or a lot at /large."""
    await PlainTextResponse(bytes(LARGE) if scope["path"] == "/large" else b"well")(scope, receive, send)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_protocol, "SECONDS", 0.5)


@contextmanager
def serving(**others: Any) -> Iterator[WebServer]:
    server = WebServer(application, "127.0.0.1", 0, **others)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def connect(server: WebServer, text: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    connection.sendall(text)
    return connection


def request(path: str = "/", *lines: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *lines, "", ""]).encode()


def told(connection: socket.socket) -> bytes:
    """A whole answer of those that are a word."""
    answer = b""
    while not answer.endswith(b"well"):
        answer += connection.recv(1)
    return answer


def ends(connection: socket.socket) -> bool:
    """Whether the server ends a connection by and by, whatever it says before."""
    try:
        while connection.recv(1 << 20):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


def is_answered(server: WebServer) -> bool:
    """Whether a new visitor is answered by and by."""
    end = time.monotonic() + 15
    while time.monotonic() < end:
        with connect(server, request("/", "Connection: close")) as connection:
            if b"200 OK" in connection.recv(1000):
                return True
        time.sleep(0.1)
    return False


def test_who_never_ends_a_body_that_nobody_read_blocks_nobody() -> None:
    with serving(most_connections=MOST) as server:
        held = [connect(server, request("/", "Content-Length: 100")) for _ in range(MOST - 1)]
        for connection in held:
            assert b"200 OK" in told(connection)
            connection.sendall(b"x")
        assert is_answered(server)
        held[0].settimeout(10)
        assert all(ends(connection) for connection in held)


def test_a_body_that_comes_late_is_no_fault() -> None:
    with serving() as server, connect(server, request("/", "Content-Length: 3")) as connection:
        assert b"200 OK" in told(connection)
        for part in (b"a", b"b", b"c"):
            connection.sendall(part)
            time.sleep(0.02)
        connection.sendall(request())
        assert b"200 OK" in told(connection)


def test_drips_of_a_body_that_nobody_reads_hold_nothing_open() -> None:
    with serving() as server, connect(server, request("/", "Content-Length: 1000")) as connection:
        assert b"200 OK" in told(connection)
        ended = False
        for _ in range(100):
            try:
                connection.sendall(b"x")
            except OSError:  # a broken pipe, or a reset
                ended = True
                break
            time.sleep(0.1)
        assert ended


@pytest.mark.parametrize("header", [(), ("Connection: close",)])
def test_who_takes_nothing_of_an_answer_blocks_nobody(header: tuple[str, ...]) -> None:
    with serving(most_connections=MOST) as server:
        held = [connect(server, request("/large", *header)) for _ in range(MOST - 1)]
        assert [connection.recv(15) for connection in held] == [b"HTTP/1.1 200 OK"] * len(held)
        assert is_answered(server)
        for connection in held:
            connection.close()


def test_who_takes_an_answer_slowly_has_all_of_it() -> None:
    with serving() as server, connect(server, request("/large", "Connection: close")) as connection:
        count = 0
        while part := connection.recv(1 << 20):
            count += len(part)
            time.sleep(0.03)
        assert count > LARGE


def test_a_path_in_the_host_header_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    # What earlier versions of Starlette made of this header.
    old = property(lambda self: type("Address", (), {"path": "/healthz"}))
    monkeypatch.setattr(Request, "url", old)
    guard = Guard("a secret", (), ("/healthz",))
    asked = Request({"type": "http", "path": "/metrics", "headers": [(b"host", b"x/healthz?")], "query_string": b""})
    assert guard.turned_away(asked).status_code == 401
    assert guard.turned_away(Request({**asked.scope, "path": "/healthz"})) is None
