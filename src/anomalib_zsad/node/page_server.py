"""The status page on its port, in a thread of its own."""

import socket
import threading
import time
from pathlib import Path

import uvicorn

from anomalib_zsad.network.addresses import is_loopback
from anomalib_zsad.node.options import StatusOptions
from anomalib_zsad.node.queue import Queue
from anomalib_zsad.node.receive import Receiver
from anomalib_zsad.node.status_page import status_app

_START_SECONDS = 15.0


class PageServer:
    """Serves the status page.

    Args:
        options: Where.
        token: What visitors must know; it may be empty on loopback alone.
        queue: The node's queue.
        receiver: The node's receiver.
        results: Folder of results.
        targets: Names of the targets that are configured.

    Raises:
        ValueError: If the page would be open to other machines without a token.
    """

    def __init__(
        self,
        options: StatusOptions,
        token: str,
        queue: Queue,
        receiver: Receiver,
        results: Path,
        targets: tuple[str, ...],
    ) -> None:
        local = is_loopback(options.status_host)
        if not local and not token:
            raise ValueError(
                f"--status-host {options.status_host} can be reached from other machines: give a token in "
                "ANOMALIB_ZSAD_TOKEN, or leave the page on 127.0.0.1"
            )
        self._options = options
        hosts = ("127.0.0.1", "localhost", "::1", options.status_host) if local else ()
        app = status_app(
            queue, receiver, results, targets, token=token, hosts=hosts, show_identifiers=options.show_identifiers
        )
        # An access log would keep addresses and tokens.
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="critical", access_log=False, lifespan="off"))
        self._thread: threading.Thread | None = None
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Listen.

        Raises:
            OSError: If the port cannot be had.
        """
        host = self._options.status_host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, self._options.status_port or 0), family=family)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="page", daemon=True)
        self._thread.start()
        end = time.monotonic() + _START_SECONDS
        while not self._server.started and time.monotonic() < end:
            time.sleep(0.02)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return 0 if self._socket is None else int(self._socket.getsockname()[1])

    def stop(self) -> None:
        """Listen no more."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(10)
        if self._socket is not None:
            self._socket.close()
