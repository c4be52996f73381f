"""A web application on its port, in a thread of its own: loopback by default, a token beyond, no time for idlers."""

import hmac
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from anomalib_zsad.network.addresses import is_loopback
from anomalib_zsad.network.prompt_protocol import PromptProtocol

HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
"""What every answer carries."""
TOKEN = "ANOMALIB_ZSAD_TOKEN"  # noqa: S105
"""Environment variable with the token of a web application."""

_START_SECONDS = 15.0
_LARGEST_HEADER = 32 << 10


@dataclass(frozen=True)
class Guard:
    """Who may ask.

    Attributes:
        token: What visitors must know; empty for none, on loopback alone.
        hosts: Host names that are answered to; empty for all. Where there is no token, this keeps pages of other sites
            from asking through a name that they let point here.
        open_paths: Paths that need no token.
    """

    token: str
    hosts: tuple[str, ...]
    open_paths: tuple[str, ...] = ()

    @classmethod
    def for_host(cls, host: str, token: str, option: str, *open_paths: str) -> "Guard":
        """The guard of an application that listens at a host.

        Args:
            host: Where it listens.
            token: What visitors must know.
            option: Which option names the host, for the message.
            open_paths: Paths that need no token.

        Raises:
            ValueError: If it would be open to other machines without a token.
        """
        local = is_loopback(host)
        if not local and not token:
            raise ValueError(
                f"{option} {host} can be reached from other machines: give a token in {TOKEN}, or stay on 127.0.0.1"
            )
        return cls(token, ("127.0.0.1", "localhost", "::1", host) if local else (), open_paths)

    def is_of_another_address(self, request: Request) -> bool:
        """Whether a request asks for another host, or comes from another site's page."""
        if not self.hosts:
            return False
        origin = request.headers.get("origin", "")
        asked = [request.headers.get("host", ""), *([origin.partition("://")[2]] if origin else [])]
        return any(_without_port(name) not in self.hosts for name in asked)

    def is_open(self, request: Request) -> bool:
        """Whether a request is for a path that needs no token.

        It is the path that decides who answers, and not that of `request.url`: this is put together with the Host
        header, which the visitor chooses, and in which earlier versions of Starlette let a path stand.
        """
        return request.scope["path"] in self.open_paths

    def knows(self, given: str) -> bool:
        """Whether somebody who gives a token may ask."""
        return not self.token or hmac.compare_digest(given.encode(), self.token.encode())

    def turned_away(self, request: Request) -> Response | None:
        """The answer to a program that may not ask; `None` for all others."""
        if self.is_of_another_address(request):
            return PlainTextResponse("only this machine's own address is answered to", status_code=403)
        if self.is_open(request) or self.knows(bearer(request)):
            return None
        text = "a token is needed: the header Authorization: Bearer ..."
        return PlainTextResponse(text, status_code=401, headers={"WWW-Authenticate": "Bearer"})


def bearer(request: Request) -> str:
    """The token that a request gives in its header; empty for none."""
    return request.headers.get("authorization", "").removeprefix("Bearer ")


def _without_port(host: str) -> str:
    return (host.rpartition(":")[0] or host).strip("[]") if not host.endswith("]") else host.strip("[]")


class WebServer:
    """Serves an application.

    Args:
        app: The ASGI application.
        host: Address to listen on.
        port: Port to listen on; 0 for any that is free.
        certificate: PEM file of the certificate, for TLS.
        key: PEM file of its key.
        most_connections: Most connections at a time; further ones are told that the server is busy.
    """

    def __init__(
        self,
        app: Any,
        host: str,
        port: int,
        *,
        certificate: Path | None = None,
        key: Path | None = None,
        most_connections: int | None = None,
    ) -> None:
        self._host, self._port = host, port
        # An access log would keep addresses and tokens.
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_level="critical",
                access_log=False,
                lifespan="off",
                http=PromptProtocol,
                ws="none",
                h11_max_incomplete_event_size=_LARGEST_HEADER,
                limit_concurrency=most_connections,
                ssl_certfile=certificate,
                ssl_keyfile=key,
                server_header=False,
                timeout_graceful_shutdown=30,
            )
        )
        self._thread: threading.Thread | None = None
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Listen.

        Raises:
            OSError: If the port cannot be had, or a certificate cannot be read.
        """
        self._server.config.load()
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        self._socket = socket.create_server((self._host, self._port), family=family)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="web", daemon=True)
        self._thread.start()
        end = time.monotonic() + _START_SECONDS
        while not self._server.started and self._thread.is_alive() and time.monotonic() < end:
            time.sleep(0.02)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return 0 if self._socket is None else int(self._socket.getsockname()[1])

    def stop(self) -> None:
        """Listen no more, and end once what was asked is answered."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(40)
        if self._socket is not None:
            self._socket.close()
