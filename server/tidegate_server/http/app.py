"""The Open Inference Protocol over HTTP: routes, limits and statuses; the codec knows the rest."""

import asyncio
import logging
import time
from collections.abc import Coroutine, Mapping
from importlib.metadata import version
from typing import TypeVar

import msgspec
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidegate_server.batch import Place, QueueFullError
from tidegate_server.explain import ExplanationError, explain
from tidegate_server.http.codec import Answer, decode_request, encode_metadata, encode_response
from tidegate_server.http.errors import OipError, encode_error
from tidegate_server.metrics import Metrics
from tidegate_server.state import ServerState, Serving

MAX_BODY_BYTES = 16 << 20
RETRY_AFTER_SECONDS = 1
JSON_LENGTH_HEADER = "inference-header-content-length"
EXTENSIONS = ("binary_tensor_data", "tidegate_explain")
REVISION_HEADER = "tidegate-revision"

_MODEL = "/v2/models/{model}"
_VERSION = "/v2/models/{model}/versions/{version}"
_logger = logging.getLogger(__name__)
T = TypeVar("T")


def make_app(state: ServerState, metrics: Metrics, timeout_seconds: float) -> ASGIApp:
    """The ASGI application of a server whose model may still be loading."""
    app = FastAPI(title="tidegate", openapi_url=None, docs_url=None, redoc_url=None)

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
        serving = _serving(state, request.path_params)
        return _json(encode_metadata(serving.model, serving.revision, serving.manifest))

    @app.get(f"{_MODEL}/ready")
    @app.get(f"{_VERSION}/ready")
    async def model_ready(request: Request) -> Response:
        serving = _serving(state, request.path_params)
        if state.unready:
            raise OipError(503, state.unready, RETRY_AFTER_SECONDS)
        return _json(msgspec.json.encode({"name": serving.model, "ready": True}))

    @app.post(f"{_MODEL}/infer")
    @app.post(f"{_VERSION}/infer")
    async def infer(request: Request) -> Response:
        serving = _serving(state, request.path_params)
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        json_length = _json_length(request)
        try:
            with serving.predictor.place() as place:
                body = await _read_body(request, place, deadline)
                work = place.run(lambda: _answer(serving, body, json_length))
                return _response(await _unless_gone(request, work, deadline))
        except QueueFullError as error:
            raise OipError(503, "the queue is full", RETRY_AFTER_SECONDS) from error

    app.add_exception_handler(OipError, _on_oip_error)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_bug)
    return Observed(app, state, metrics)


def _serving(state: ServerState, path: Mapping[str, str]) -> Serving:
    """The model that a path names. Raises OipError 503 while none is loaded, 404 for another one."""
    serving = state.serving
    if serving is None:
        raise OipError(503, "the model is loading", RETRY_AFTER_SECONDS)
    if path["model"] != serving.model:
        raise OipError(404, f"there is no such model here; this server has {serving.model}")
    if path.get("version", serving.revision) != serving.revision:
        raise OipError(404, f"there is no such version here; this server has {serving.revision}")
    return serving


async def _read_body(request: Request, place: Place, deadline: float) -> bytes:
    """The whole body, counted while it arrives. Raises OipError 400, 413 or 408, QueueFullError, ClientDisconnect."""
    too_large = OipError(413, f"a request body may have {MAX_BODY_BYTES} bytes; send fewer rows at a time")
    if request.headers.get("content-encoding", "identity") != "identity":
        raise OipError(400, "a compressed body is not supported; send it plain")
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
        raise too_large
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout_at(deadline):
            async for chunk in request.stream():
                size += len(chunk)
                if size > MAX_BODY_BYTES:
                    raise too_large
                place.hold(len(chunk))
                chunks.append(chunk)
    except TimeoutError as error:
        raise OipError(408, "the request body did not arrive in time") from error
    return b"".join(chunks)


def _json_length(request: Request) -> int | None:
    """How much of the body is JSON; None where all of it is. Raises OipError 400."""
    said = request.headers.get(JSON_LENGTH_HEADER)
    if said is None:
        return None
    if not said.isdecimal() or int(said) > MAX_BODY_BYTES:
        raise OipError(400, "Inference-Header-Content-Length is a number of bytes")
    return int(said)


async def _unless_gone(request: Request, answer: Coroutine[None, None, T], deadline: float) -> T:
    """The answer, if somebody still waits for it. Raises OipError 504, ClientDisconnect, and what the answer raises."""
    answering, gone = asyncio.ensure_future(answer), asyncio.ensure_future(_disconnect(request))
    try:
        left = deadline - asyncio.get_running_loop().time()
        await asyncio.wait((answering, gone), timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            return answering.result()
        if gone.done():
            raise ClientDisconnect
        raise OipError(504, "the model did not answer before the deadline of the request")
    finally:
        answering.cancel()
        gone.cancel()


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _answer(serving: Serving, body: bytes, json_length: int | None) -> Answer:
    """Decode, predict, encode; in the thread of the model. Raises OipError."""
    signature = serving.manifest.signature
    request = decode_request(body, signature, json_length)
    predict, explained = serving.predictor.predict, None
    try:
        if request.explain:
            explained = explain(predict, request.columns, request.outputs, signature, serving.profile)
        answers = explained.answers if explained else predict(request.columns, request.outputs)
    except ExplanationError as error:
        raise OipError(400, str(error)) from error
    except Exception as error:
        _logger.warning("the model raised", exc_info=error)
        raise OipError(500, f"the model raised {type(error).__name__}") from error
    return encode_response(serving.model, serving.revision, request, answers, signature, explained)


def _response(answer: Answer) -> Response:
    if answer.json_length is None:
        return _json(answer.body)
    headers = {JSON_LENGTH_HEADER: str(answer.json_length)}
    return Response(answer.body, 200, headers, media_type="application/octet-stream")


def _json(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status, headers, media_type="application/json")


class _NoAnswer(Response):
    """What a client gets that is gone; the status is counted as 499."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        pass


async def _on_disconnect(_: Request, error: Exception) -> Response:
    return _NoAnswer()


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
    return _json(encode_error(f"the server has a bug: {type(error).__name__}"), 500)


class Observed:
    """Around the application: names the revision on every answer, counts infer requests, and asks clients of a
    draining server to connect elsewhere next time."""

    def __init__(self, app: ASGIApp, state: ServerState, metrics: Metrics) -> None:
        self._app = app
        self._state = state
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 499  # the client went away: no answer was started

        async def mark(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"]
                if self._state.serving is not None:
                    headers.append((REVISION_HEADER.encode(), self._state.serving.revision.encode()))
                if self._state.draining:
                    headers.append((b"connection", b"close"))
            await send(message)

        if not (scope["method"] == "POST" and scope["path"].endswith("/infer")):
            await self._app(scope, receive, mark)
            return
        start = time.perf_counter()
        self._metrics.in_flight.inc()
        try:
            await self._app(scope, receive, mark)
        finally:
            self._metrics.in_flight.dec()
            self._metrics.requests.labels(str(status)).inc()
            self._metrics.request_seconds.observe(time.perf_counter() - start)
