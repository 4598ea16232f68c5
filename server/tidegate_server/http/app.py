"""The Open Inference Protocol over HTTP: which path answers what; inference itself is in `infer`."""

import re
from importlib.metadata import version

import msgspec
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidegate_server.http.codec import encode_metadata
from tidegate_server.http.errors import OipError, a_bug, encode_error
from tidegate_server.http.feedback import FeedbackRoute
from tidegate_server.http.infer import RETRY_AFTER_SECONDS, Infer, loaded, serving_of
from tidegate_server.metrics import Metrics
from tidegate_server.state import ServerState

EXTENSIONS = ("binary_tensor_data", "tidegate_explain")

_MODEL = "/v2/models/{model}"
_VERSION = "/v2/models/{model}/versions/{version}"
INFER_ROUTES = (f"{_MODEL}/infer", f"{_VERSION}/infer")
INFER_PATH = re.compile(r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?/infer")


def infer_path(scope: Scope) -> re.Match[str] | None:
    """The parts of the path, if this is a request to infer."""
    infers = scope["type"] == "http" and scope["method"] == "POST"
    return INFER_PATH.fullmatch(scope["path"]) if infers else None


def make_app(state: ServerState, metrics: Metrics, timeout_seconds: float) -> ASGIApp:
    """The ASGI application of a server whose model may still be loading."""
    infer = Infer(state, metrics.requests, timeout_seconds)
    feedback = FeedbackRoute(state, metrics, timeout_seconds).put
    routes: list[BaseRoute] = [Route(route, infer, methods=["POST"]) for route in INFER_ROUTES]
    routes += [Route(f"{path}/feedback/{{id}}", feedback, methods=["PUT"]) for path in (_MODEL, _VERSION)]
    app = FastAPI(title="tidegate", openapi_url=None, docs_url=None, redoc_url=None, routes=routes)

    @app.get("/v2/health/live")
    async def live() -> Response:
        return _json(msgspec.json.encode({"live": True}))

    @app.get("/v2/health/ready")
    async def ready() -> Response:
        if state.unready:
            raise OipError(503, state.unready, RETRY_AFTER_SECONDS)
        return _json(msgspec.json.encode({"ready": True}))

    @app.get("/v2")
    async def server() -> Response:
        return _json(
            msgspec.json.encode({"name": "tidegate", "version": version("tidegate"), "extensions": EXTENSIONS})
        )

    @app.get(_MODEL)
    @app.get(_VERSION)
    async def metadata(request: Request) -> Response:
        serving = serving_of(state, request.path_params["model"], request.path_params.get("version"))
        return _json(encode_metadata(serving.model, serving.revision, serving.manifest))

    @app.get(f"{_MODEL}/ready")
    @app.get(f"{_VERSION}/ready")
    async def model_ready(request: Request) -> Response:
        serving = serving_of(state, request.path_params["model"], request.path_params.get("version"))
        if state.unready:
            raise OipError(503, state.unready, RETRY_AFTER_SECONDS)
        return _json(msgspec.json.encode({"name": serving.model, "ready": True}))

    @app.get("/openapi.json")
    async def described() -> Response:
        from tidegate_server.http.openapi import document  # most servers are never asked

        serving = loaded(state)
        return _json(msgspec.json.encode(document(serving.model, serving.revision, serving.manifest)))

    app.add_exception_handler(OipError, _on_oip_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_bug)
    return Front(infer, app, state)


async def _on_oip_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, OipError):
        raise error
    headers = {"retry-after": str(error.retry_after)} if error.retry_after is not None else None
    return _json(encode_error(error.message), error.status, headers)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """Starlette's own refusals: an unknown path, a method that a path does not have."""
    if not isinstance(error, HTTPException):
        raise error
    message = {
        404: "there is nothing at this path; the model is at /v2/models/NAME",
        405: f"{request.method} is not possible here",
    }.get(error.status_code, "the request cannot be answered")
    return _json(encode_error(message), error.status_code, dict(error.headers or {}))


async def _on_bug(_: Request, error: Exception) -> Response:
    return await _on_oip_error(_, a_bug(error))


def _json(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status, headers, media_type="application/json")


class Front:
    """Requests to infer go straight to it: a route of FastAPI costs more than all the rest of them."""

    def __init__(self, infer: Infer, app: ASGIApp, state: ServerState) -> None:
        self._infer = infer
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if path := infer_path(scope):
            scope["path_params"] = path.groupdict()
            await self._infer(scope, receive, send)
            return

        async def mark(message: Message) -> None:
            if message["type"] == "http.response.start":
                said = message["headers"]
                said += [header for header in self._state.headers if header not in said]
            await send(message)

        await self._app(scope, receive, mark if scope["type"] == "http" else send)
