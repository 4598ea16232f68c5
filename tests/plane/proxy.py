"""Stands between one operator and the API server, writes down what is changed, and misbehaves on demand.

Plain HTTP on loopback towards the operator; TLS with the operator's certificate towards the API server. A script says
for each request what becomes of it. Watches are streamed as they come.
"""

import asyncio
import hashlib
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from plane import certs

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "te", "upgrade", "trailer"}


@dataclass(frozen=True)
class Incoming:
    """A request, as a script sees it."""

    method: str
    path: str
    """Without its query."""
    is_watch: bool
    number: int
    """Of the write, from 1; the Lease is not counted. 0 for everything else."""
    is_list: bool = False

    @property
    def is_lease(self) -> bool:
        return "/leases" in self.path

    @property
    def is_write(self) -> bool:
        """Whether it would change anything but the Lease."""
        return self.method != "GET" and not self.is_lease


@dataclass(frozen=True)
class Answer:
    """Answer at once, in the API server's place."""

    code: int
    message: str = "the proxy was told to say so"
    retry_after: int | None = None


@dataclass(frozen=True)
class Cut:
    """Hang up instead of answering, after it was forwarded or without; `then` is called in between."""

    forwarded: bool
    then: Callable[[], None] | None = None


@dataclass(frozen=True)
class Delay:
    """Forward it later."""

    seconds: float


@dataclass(frozen=True)
class Nonsense:
    """Answer 200 at once, with what is no JSON."""


@dataclass(frozen=True)
class ErrorEvent:
    """A watch that begins, and says this at once."""

    code: int


@dataclass(frozen=True)
class CutLater:
    """Forward a watch, and hang up on it after a while."""

    seconds: float


Action = Answer | Cut | Delay | Nonsense | ErrorEvent | CutLater
Script = Callable[[Incoming], Action | None]
"""What becomes of a request; None: it is forwarded."""


def faithful(_: Incoming) -> Action | None:
    """The script that a proxy has at first: forward everything."""
    return None


@dataclass(frozen=True)
class Write:
    """A write that has reached the proxy, in the order of arrival."""

    at: float
    """Monotonic."""
    method: str
    path: str
    content: str
    """A hash of the body without uid and resourceVersion, which only say what it is meant for."""
    code: int
    """What the API server answered; 0 if nothing (yet), or if it was never asked."""
    delivered: bool
    """Whether the answer went back to the operator."""


class Proxy:
    """One proxy; made by `proxy`."""

    def __init__(self, upstream: str, context: ssl.SSLContext) -> None:
        self.script: Script = faithful
        self.refuse_watches = False
        self.refuse_lists = False
        """Lists are refused with every watch, so that nothing at all is learned of a collection."""
        self.writes: list[Write] = []
        self.too_old = 0
        """Watches that were answered 410, in a status or in the stream."""
        self._watches: set[asyncio.Task[Any]] = set()
        self._upstream = upstream
        self._context = context
        self._session: aiohttp.ClientSession | None = None
        self.port = 0

    @property
    def server(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def write_kubeconfig(self, path: Path) -> Path:
        """A kubeconfig that leads here."""
        path.write_text(certs.plain_kubeconfig(self.server))
        return path

    def cut_watches(self) -> int:
        """Hang up on every open watch; returns how many there were."""
        open_now = list(self._watches)
        for task in open_now:
            task.cancel()
        return len(open_now)

    def doubles(self, since: int = 0) -> list[str]:
        """Objects that were successfully written twice in a row with the same content: `METHOD PATH` of the second."""
        last: dict[str, str] = {}
        found: list[str] = []
        for write in self.writes[since:]:
            if not 200 <= write.code < 300 or write.method == "DELETE":
                continue
            if last.get(write.path) == write.content:
                found.append(f"{write.method} {write.path}")
            last[write.path] = write.content
        return found

    async def start(self) -> web.AppRunner:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._context),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
        )
        app = web.Application(client_max_size=32 << 20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        # An operator that hangs up must take its request along, as it would without a proxy.
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        return runner

    async def close(self, runner: web.AppRunner) -> None:
        self.cut_watches()
        await runner.cleanup()
        if self._session:
            await self._session.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        incoming, at = self._noted(request, body)
        if self._is_refused(incoming):
            return _hang_up(request)
        match self.script(incoming):
            case Answer(code, message, retry_after):
                self._settle(at, code=0, delivered=False)
                headers = {"Retry-After": str(retry_after)} if retry_after is not None else {}
                return web.json_response(_status(code, message), status=code, headers=headers)
            case Nonsense():
                self._settle(at, code=0, delivered=False)
                return web.Response(text="<html>the proxy was told to say so</html>\n", content_type="text/html")
            case ErrorEvent(code):
                event = {"type": "ERROR", "object": _status(code, "the proxy was told to say so")}
                return web.Response(text=f"{json.dumps(event)}\n", content_type="application/json")
            case Cut(forwarded=False, then=then):
                if then:
                    then()
                return _hang_up(request)
            case Cut(forwarded=True, then=then):
                async with self._forwarded(request, body) as response:
                    await response.read()
                    self._settle(at, response.status, delivered=False)
                if then:
                    then()
                return _hang_up(request)
            case CutLater(seconds):
                async with asyncio.timeout(seconds):
                    return await self._stream(request, body)
            case Delay(seconds):
                await asyncio.sleep(seconds)
        try:
            if incoming.is_watch:
                return await self._stream(request, body)
            async with self._forwarded(request, body) as response:
                answer = await response.read()
                self._settle(at, response.status, delivered=True)
                return web.Response(status=response.status, headers=_kept(response.headers), body=answer)
        except aiohttp.ClientError:
            return _hang_up(request)

    def _noted(self, request: web.Request, body: bytes) -> tuple[Incoming, int | None]:
        """The request, and the place of its record if it is a write."""
        is_watch, query = "watch" in request.query, request.query
        is_list = request.method == "GET" and not is_watch and ("limit" in query or "labelSelector" in query)
        seen = Incoming(request.method, request.path, is_watch, 0, is_list)
        if not seen.is_write:
            return seen, None
        self.writes.append(Write(time.monotonic(), request.method, request.path, content_hash(body), 0, False))
        return replace(seen, number=len(self.writes)), len(self.writes) - 1

    def _settle(self, at: int | None, code: int, *, delivered: bool) -> None:
        if at is not None:
            self.writes[at] = replace(self.writes[at], code=code, delivered=delivered)

    def _is_refused(self, incoming: Incoming) -> bool:
        return (self.refuse_watches and incoming.is_watch) or (
            self.refuse_lists and (incoming.is_list or incoming.is_watch)
        )

    def _forwarded(self, request: web.Request, body: bytes) -> Any:
        assert self._session
        return self._session.request(
            request.method,
            f"{self._upstream}{request.rel_url}",
            data=body or None,
            headers={name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP},
            allow_redirects=False,
        )

    async def _stream(self, request: web.Request, body: bytes) -> web.StreamResponse:
        """A watch; ends when either side ends it, or when it is cut."""
        task = asyncio.current_task()
        assert task
        self._watches.add(task)
        try:
            async with self._forwarded(request, body) as upstream:
                self.too_old += upstream.status == 410
                response = web.StreamResponse(status=upstream.status, headers=_kept(upstream.headers))
                await response.prepare(request)
                async for chunk in upstream.content.iter_any():
                    self.too_old += b'"ERROR"' in chunk and b'"code":410' in chunk
                    await response.write(chunk)
                return response
        except (asyncio.CancelledError, aiohttp.ClientError, ConnectionError):
            # Cancelled by us or by the operator's hanging up: either way the connection has to end here.
            return _hang_up(request)
        finally:
            self._watches.discard(task)


def content_hash(body: bytes) -> str:
    """Of a JSON body without `metadata.uid` and `metadata.resourceVersion`."""
    try:
        document = json.loads(body or b"null")
    except ValueError:
        return hashlib.sha256(body).hexdigest()[:16]
    if isinstance(document, dict) and isinstance(metadata := document.get("metadata"), dict):
        kept = {name: value for name, value in metadata.items() if name not in ("uid", "resourceVersion")}
        document = document | {"metadata": kept}
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]


def _hang_up(request: web.Request) -> web.Response:
    if request.transport:
        request.transport.abort()
    return web.Response(status=502)


def _status(code: int, message: str) -> dict[str, Any]:
    """What an unsuccessful answer says, as the API server words it."""
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}


def _kept(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in HOP_BY_HOP}


@asynccontextmanager
async def proxy(upstream: str, context: ssl.SSLContext) -> AsyncIterator[Proxy]:
    """A proxy that forwards everything until it is told otherwise; `context` has the operator's certificate."""
    made = Proxy(upstream, context)
    runner = await made.start()
    try:
        yield made
    finally:
        await made.close(runner)
