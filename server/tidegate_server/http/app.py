"""The Open Inference Protocol over HTTP: which path is answered where.

POST .../infer             infer, plain ASGI
GET /v2/health/...         here
everything else            rest, FastAPI, once it is asked for
"""

import asyncio

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidegate_server.http.codec import Answer
from tidegate_server.http.errors import OipError
from tidegate_server.http.infer import RETRY_AFTER_SECONDS, Infer, Reply, refuse, send_reply
from tidegate_server.http.paths import HEALTH_PATHS, READY_PATH, infer_path
from tidegate_server.http.state import ServerState
from tidegate_server.metrics import Metrics


def make_app(state: ServerState, metrics: Metrics, timeout_seconds: float) -> ASGIApp:
    """The ASGI application of a server whose model may still be loading."""
    return Front(state, metrics, timeout_seconds)


class Front:
    """Requests to infer and for health go straight there: a route of FastAPI costs more than all the rest of them."""

    def __init__(self, state: ServerState, metrics: Metrics, timeout_seconds: float) -> None:
        self._state = state
        self._metrics = metrics
        self._timeout = timeout_seconds
        self.infer = Infer(state, metrics.requests, timeout_seconds)
        self._health = Health(state)
        self._rest: asyncio.Task[ASGIApp] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if path := infer_path(scope):
            scope["path_params"] = path.groupdict()
            await self.infer(scope, receive, send)
            return
        if scope["type"] == "http" and scope["method"] == "GET" and scope["path"] in HEALTH_PATHS:
            await self._health(scope, receive, send)
            return

        async def mark(message: Message) -> None:
            if message["type"] == "http.response.start":
                said = message["headers"]
                said += [header for header in self._state.headers if header not in said]
            await send(message)

        if self._rest is None:
            self._rest = asyncio.create_task(asyncio.to_thread(self._make_rest))
        rest = await asyncio.shield(self._rest)
        await rest(scope, receive, mark if scope["type"] == "http" else send)

    def _make_rest(self) -> ASGIApp:
        """In a thread: the import would hold up the loop."""
        from tidegate_server.http.rest import make_rest

        return make_rest(self.infer, self._health, self._state, self._metrics, self._timeout)


class Health:
    """The ASGI application of both paths."""

    def __init__(self, state: ServerState) -> None:
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ready = scope["path"] == READY_PATH
        if ready and (why := self._state.unready):
            await refuse(self._state, send, OipError(503, why, RETRY_AFTER_SECONDS))
        else:
            body = msgspec.json.encode({"ready" if ready else "live": True})
            await send_reply(self._state, send, Reply(200, Answer(body)))
