"""The status page on its port, in a thread of its own."""

from pathlib import Path

from anomalib_zsad.network.web_server import Guard, WebServer
from anomalib_zsad.node.options import StatusOptions
from anomalib_zsad.node.queue import Queue
from anomalib_zsad.node.receive import Receiver
from anomalib_zsad.node.status_page import status_app


class PageServer(WebServer):
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
        guard = Guard.for_host(options.status_host, token, "--status-host", "/health")
        app = status_app(queue, receiver, results, targets, guard, show_identifiers=options.show_identifiers)
        super().__init__(app, options.status_host, options.status_port or 0)
