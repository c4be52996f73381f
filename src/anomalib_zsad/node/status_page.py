"""The status page: what the node is doing, by pseudonyms; metrics, health, and the pages of results."""

import base64
import hashlib
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from anomalib_zsad.calibration.decision_rule import RESEARCH_ONLY
from anomalib_zsad.network.web_server import HEADERS, Guard, bearer
from anomalib_zsad.node import overview
from anomalib_zsad.node.metrics import metrics_text
from anomalib_zsad.node.queue import Queue
from anomalib_zsad.node.receive import Receiver
from anomalib_zsad.outputs.quiet_pydicom import quiet_pydicom
from anomalib_zsad.volumes.faults import Finding
from anomalib_zsad.volumes.guard import guarded
from anomalib_zsad.volumes.input_files import DiskFile
from anomalib_zsad.volumes.reading.dicom_files import open_dicom, read_dataset

_COOKIE = "anomalib_zsad_token"
_SHOWN = ("PatientID", "PatientName", "StudyDate", "AccessionNumber", "StudyDescription")
_SHOWN_FILES = (".html", ".json", ".csv", ".png")
_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 1.5rem; color: #1c1c1c; background: #fff }
h1 { font-size: 1.3rem } h2 { font-size: 1.05rem; margin-top: 1.6rem }
table { border-collapse: collapse } th, td { text-align: left; padding: .25rem .8rem .25rem 0; vertical-align: top }
th { border-bottom: 1px solid #888 } td { border-bottom: 1px solid #ddd }
td:first-child { white-space: nowrap }
.bad { color: #a30000; font-weight: 600 } .note { color: #555 }
dl { display: flex; flex-wrap: wrap; gap: .3rem 2rem; margin: 0 } dt { color: #555 } dd { margin: 0; font-weight: 600 }
"""
_POLICY = "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def status_app(
    queue: Queue,
    receiver: Receiver,
    results: Path,
    targets: tuple[str, ...],
    guard: Guard,
    *,
    show_identifiers: bool = False,
) -> FastAPI:
    """The page as an ASGI application.

    Args:
        queue: The node's queue.
        receiver: The node's receiver.
        results: Folder of results, whose pages are shown.
        targets: Names of the targets that are configured.
        guard: Who may look; a token is given as `Authorization: Bearer`, or once as `?token=`.
        show_identifiers: Show patient ID, name and the like.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    page = _Page(queue, receiver, results, targets, show_identifiers)

    @app.middleware("http")
    async def watch_over(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        response = _turned_away(request, guard)
        if response is None:
            response = await answer(request)
        response.headers.update(HEADERS)
        return response

    @app.get("/")
    def show() -> Response:
        return HTMLResponse(page.text(), headers={"Content-Security-Policy": page.policy})

    @app.get("/health")
    def health() -> Response:
        return page.health()

    @app.get("/metrics")
    def metrics() -> Response:
        return PlainTextResponse(metrics_text(queue, receiver), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/results/{path:path}")
    def result(path: str) -> Response:
        return page.result(path)

    return app


def _turned_away(request: Request, guard: Guard) -> Response | None:
    """The answer to who may not look; `None` for all others."""
    if guard.is_of_another_address(request):
        return PlainTextResponse("this page answers to its own address only", status_code=403)
    if not guard.token or guard.is_open(request):
        return None
    asked = request.query_params.get("token", "")
    if asked and guard.knows(asked):
        # The token leaves the address, where histories and logs would keep it.
        response = RedirectResponse(request.url.path, status_code=303)
        response.set_cookie(_COOKIE, guard.token, httponly=True, samesite="strict")
        return response
    if not guard.knows(bearer(request) or request.cookies.get(_COOKIE, "")):
        text = "a token is needed: ?token=... or the header Authorization: Bearer ..."
        return PlainTextResponse(text, status_code=401, headers={"WWW-Authenticate": "Bearer"})
    return None


class _Page:
    def __init__(
        self, queue: Queue, receiver: Receiver, results: Path, targets: tuple[str, ...], identifiers: bool
    ) -> None:
        self._queue, self._receiver, self._results = queue, receiver, results.resolve()
        self._targets, self._identifiers = targets, identifiers
        environment = Environment(
            loader=PackageLoader("anomalib_zsad.node"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )
        environment.filters["moment"] = _moment
        self._template = environment.get_template("status.html")
        digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
        self.policy = _POLICY.format(digest)

    def text(self) -> str:
        """The page."""
        found = overview.studies(self._queue, self._results)
        return self._template.render(
            style=Markup(_STYLE),  # noqa: S704
            statement=RESEARCH_ONLY,
            numbers=overview.numbers(self._queue),
            studies=found,
            identifiers={line.uid: self._identify(line.uid) for line in found} if self._identifiers else {},
            shown=_SHOWN if self._identifiers else (),
            deliveries=overview.deliveries(self._queue, self._targets),
            errors=list(self._receiver.errors)[::-1],
            targets=self._targets,
        )

    def _identify(self, study: str) -> dict[str, str]:
        """Who a study is of, from a received file; nothing where none is left."""
        rows = self._queue.rows("SELECT file FROM instances WHERE study = ? AND state = 'stored' LIMIT 1", study)
        read = guarded(lambda: self._read(rows[0]["file"])) if rows else {}
        return {} if isinstance(read, Finding) else read

    def _read(self, file: str) -> dict[str, str]:
        path = self._receiver.received / file
        with open_dicom(DiskFile(path, path.name)) as stream:
            header = read_dataset(stream, pixels=False)
        with quiet_pydicom():
            return {name: str(header.get(name) or "") for name in _SHOWN} if header is not None else {}

    def health(self) -> Response:
        """Whether the queue can be read."""
        try:
            self._queue.rows("SELECT COUNT(*) FROM studies")
        except Exception as error:
            # Whatever keeps the queue from being read, the answer is that the node is not well.
            return JSONResponse({"status": "failed", "reason": type(error).__name__}, status_code=503)
        return JSONResponse({"status": "ok"})

    def result(self, path: str) -> Response:
        """A page of results, or a file that it links to; nothing outside their folder."""
        hidden = "\0" in path or any(part.startswith(".") for part in path.split("/"))
        place = self._results if hidden else (self._results / path).resolve()
        if not place.is_relative_to(self._results) or not place.is_file() or place.suffix not in _SHOWN_FILES:
            return PlainTextResponse("there is no such page", status_code=404)
        return FileResponse(place)


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else ""
