"""The service as a web application: its paths, and who may ask."""

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from anomalib_zsad.network.web_server import HEADERS, Guard
from anomalib_zsad.station.service import MAP_TYPES, Refusal, Service, map_format

OPEN = "/healthz"
"""The path that needs no token."""


def service_app(service: Service, guard: Guard) -> FastAPI:
    """The application.

    Args:
        service: What answers.
        guard: Who may ask.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def watch_over(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        response = guard.turned_away(request)
        if response is None:
            response = await answer(request)
        response.headers.update(HEADERS)
        if response.status_code >= 400:
            response.headers["Connection"] = "close"  # nobody waits for a body that is not wanted
        return response

    @app.exception_handler(Refusal)
    async def refuse(_: Request, refusal: Refusal) -> Response:
        headers = {"Retry-After": "1"} if refusal.status == 503 else None
        return JSONResponse({"error": refusal.message}, status_code=refusal.status, headers=headers)

    @app.post("/score")
    async def score(request: Request) -> Response:
        asked = request.query_params.get("map")
        kind = None if asked is None else map_format(asked)
        answer, content = await service.answer(request, kind)
        return JSONResponse(service.told(answer, kind, content))

    @app.post("/map")
    async def heat_map(request: Request) -> Response:
        kind = map_format(request.query_params.get("format", "png"))
        answer, content = await service.answer(request, kind)
        record = answer.record
        said = {"X-Score": record.score, "X-P-Value": record.p_value, "X-Decision": record.decision}
        headers = {name: str(value) for name, value in said.items() if value is not None}
        return Response(content, media_type=MAP_TYPES[kind], headers=headers)

    _add_facts(app, service)
    return app


def _add_facts(app: FastAPI, service: Service) -> None:
    """The paths that are asked without a picture."""

    @app.get("/")
    def model() -> Response:
        return JSONResponse(service.described())

    @app.get("/drift")
    def drift() -> Response:
        return JSONResponse(service.drift().as_dict())

    @app.post("/drift/restart")
    def restart_drift() -> Response:
        service.restart_drift()
        return JSONResponse(service.drift().as_dict())

    @app.get("/metrics")
    def metrics() -> Response:
        return PlainTextResponse(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get(OPEN)
    def health() -> Response:
        if service.is_well:
            return JSONResponse({"status": "ok"})
        return JSONResponse({"status": "failed", "reason": "the model does not answer"}, status_code=503)
