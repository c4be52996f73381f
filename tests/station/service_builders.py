"""A service on a free port, and a client that knows nothing of it."""

import http.client
import io
import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from anomalib_zsad.calibration.decision_rule import DecisionRule
from anomalib_zsad.network.web_server import Guard, WebServer
from anomalib_zsad.station.options import ServeOptions
from anomalib_zsad.station.service import Service
from anomalib_zsad.station.service_app import OPEN, service_app
from tests.inspection.bright_image import BrightImageScorer
from tests.station.station_builders import calibrated


class Reply(NamedTuple):
    """What a server said."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def told(self) -> dict[str, Any]:
        return json.loads(self.body)


class Client:
    """Asks a server at a port of this machine."""

    def __init__(self, port: int, service: Service) -> None:
        self.port, self.service = port, service

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            given = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, given)
            response = connection.getresponse()
            return Reply(response.status, dict(response.headers), response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, **headers)

    def score(self, content: bytes, query: str = "", **headers: str) -> Reply:
        return self.ask("POST", f"/score{query}", content, **headers)


@contextmanager
def serving(scorer: Any = None, *, token: str = "", **others: Any) -> Iterator[Client]:
    """A service that answers while the context lasts."""
    options = ServeOptions(**{"rule": DecisionRule("images", calibrated(), uncertainty=0), "http_port": 0, **others})
    guard = Guard.for_host(options.http_host, token, "--http-host", OPEN)
    with Service(scorer or BrightImageScorer(), options) as service:
        server = WebServer(service_app(service, guard), options.http_host, 0)
        server.start()
        try:
            yield Client(server.port, service)
        finally:
            server.stop()


def picture(value: float = 100.0, side: int = 12, kind: str = "PNG", **settings: Any) -> bytes:
    """A plain grey picture as a file."""
    stream = io.BytesIO()
    Image.fromarray(np.full((side, side), round(value), np.uint8)).save(stream, kind, **settings)
    return stream.getvalue()


def form(*files: bytes, name: str = "SECRET part.png", field: bool = False) -> tuple[bytes, str]:
    """A form with files, and its content type."""
    boundary = uuid.uuid4().hex
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'.encode()] if field else []
    for content in files:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        parts.append(f"{head}Content-Type: image/png\r\n\r\n".encode() + content + b"\r\n")
    return b"".join([*parts, f"--{boundary}--\r\n".encode()]), f"multipart/form-data; boundary={boundary}"
