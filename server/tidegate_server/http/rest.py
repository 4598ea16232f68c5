"""The rest of the protocol, by FastAPI: everything but inference and health.

Imported when it is first asked for: it takes as long as all other imports of the server together, and a pod that is
just starting is asked for its health.
"""

from importlib.metadata import version

import msgspec
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from tidegate_server.http.codec import encode_metadata
from tidegate_server.http.errors import OipError, a_bug, encode_error
from tidegate_server.http.feedback import FeedbackRoute
from tidegate_server.http.infer import RETRY_AFTER_SECONDS, loaded, serving_of
from tidegate_server.http.paths import HEALTH_PATHS, INFER_ROUTES, MODEL, VERSION
from tidegate_server.http.state import ServerState
from tidegate_server.metrics import Metrics

EXTENSIONS = ("binary_tensor_data", "tidegate_explain")


def make_rest(infer: ASGIApp, health: ASGIApp, state: ServerState, metrics: Metrics, timeout_seconds: float) -> ASGIApp:
    """The ASGI application of all paths; those that are asked all the time, `infer` and `health`, are given."""
    feedback = FeedbackRoute(state, metrics, timeout_seconds).put
    routes: list[BaseRoute] = [Route(route, infer, methods=["POST"]) for route in INFER_ROUTES]
    routes += [Route(path, health, methods=["GET"]) for path in HEALTH_PATHS]
    routes += [Route(f"{path}/feedback/{{id}}", feedback, methods=["PUT"]) for path in (MODEL, VERSION)]
    app = FastAPI(title="tidegate", openapi_url=None, docs_url=None, redoc_url=None, routes=routes)

    @app.get("/v2")
    async def server() -> Response:
        return _json(
            msgspec.json.encode({"name": "tidegate", "version": version("tidegate"), "extensions": EXTENSIONS})
        )

    @app.get(MODEL)
    @app.get(VERSION)
    async def metadata(request: Request) -> Response:
        serving = serving_of(state, request.path_params["model"], request.path_params.get("version"))
        return _json(encode_metadata(serving.model, serving.revision, serving.manifest))

    @app.get(f"{MODEL}/ready")
    @app.get(f"{VERSION}/ready")
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
    return app


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
