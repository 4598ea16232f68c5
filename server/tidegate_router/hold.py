"""Keeps requests for which there is no pod, and sends them on when there is one.

Envoy asks here when a version has no pod, and keeps the request itself; the answer `tidegate-again` lets it ask another
address, of which it knows by then. Nothing of a request is kept here but that it waits.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from pathlib import PurePosixPath

from aiohttp import web

from tidegate_router.documents import AGAIN_HEADER, CLUSTER_HEADER, endpoints_of, model_of

MOST_HELD = 1024
MOST_BYTES = 128 << 20
"""Of the bodies that Envoy keeps meanwhile."""
RETRY_AFTER_SECONDS = 1
END_SECONDS = 0.1
"""How long an agent that ends waits for those who wait here; to aiohttp, 0 is for ever."""

_NO_POD = b'{"error": "no pod of the model is ready, and no more requests can wait for one; try again"}'


class Hold:
    """On the event loop only. `served`: whether Envoy knows a pod of these endpoints."""

    def __init__(self, served: Callable[[str], bool]) -> None:
        self._served = served
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)
        self.held = 0
        self._bytes = 0

    def held_of(self, model: str) -> int:
        """How many wait for pods of a model."""
        return sum(len(waiting) for slot, waiting in self._waiting.items() if model_of(slot) == model)

    def look(self) -> None:
        """Send on those who wait for what is served by now."""
        for slot in [slot for slot in self._waiting if self._served(slot)]:
            for event in self._waiting.pop(slot):
                event.set()

    async def listen(self, path: PurePosixPath) -> web.AppRunner:
        """Serve on a socket. Its owner cleans it up."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=END_SECONDS)
        await runner.setup()
        await web.UnixSite(runner, str(path)).start()
        return runner

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if self.held >= MOST_HELD:
            return _full()
        slot, size = endpoints_of(request.headers.get(CLUSTER_HEADER, "")), 0
        event = asyncio.Event()
        self.held += 1
        try:
            async for chunk in request.content.iter_any():
                size += len(chunk)
                self._bytes += len(chunk)
                if self._bytes > MOST_BYTES:
                    return _full()
            if not self._served(slot):
                self._waiting[slot].add(event)
                await event.wait()
            return web.Response(status=503, headers={AGAIN_HEADER: "1"})
        finally:
            self.held -= 1
            self._bytes -= size
            if slot in self._waiting:
                self._waiting[slot].discard(event)
                if not self._waiting[slot]:
                    del self._waiting[slot]


def _full() -> web.Response:
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return web.Response(status=503, body=_NO_POD, headers=headers, content_type="application/json")
