"""Keeps requests for which there is no pod, and sends them on when there is one.

Envoy asks here when a version has no pod, and keeps the request itself; the answer `tidegate-again` lets it ask another
address, of which it knows by then. Nothing of a request is kept here but that it waits.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from aiohttp import web

from tidegate_router.documents import AGAIN_HEADER, CLUSTER_HEADER, endpoints_of, model_of

MOST_HELD, MOST_OF_ONE = 4096, 1024
"""Requests; and of one model, so that it takes no place of the others'."""
MOST_BYTES, MOST_BYTES_OF_ONE = 256 << 20, 128 << 20
"""Of the bodies that Envoy keeps meanwhile."""
BODY_SECONDS = 30.0
"""How long a body may take to come. Envoy's clock begins when it is there."""
HEAD_BYTES = 64 << 10
"""What Envoy lets through."""
RETRY_AFTER_SECONDS = 1
END_SECONDS = 0.1
"""How long an agent that ends waits for those who wait here; to aiohttp, 0 is for ever."""

_NO_POD = b'{"error": "no pod of the model is ready, and no more requests can wait for one; try again"}'


class Hold:
    """On the event loop only. `served`: whether Envoy knows a pod of these endpoints."""

    def __init__(self, served: Callable[[str], bool]) -> None:
        self._served = served
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._held: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        """Of each model that has any."""

    @property
    def held(self) -> int:
        """All that are here, those whose bodies still come among them."""
        return self._held.total()

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
        # A request is counted as it comes: neither unpacked nor judged.
        limits: dict[str, Any] = {"max_line_size": HEAD_BYTES, "max_field_size": HEAD_BYTES, "auto_decompress": False}
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=END_SECONDS, **limits)
        await runner.setup()
        await web.UnixSite(runner, str(path)).start()
        return runner

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        slot = endpoints_of(request.headers.get(CLUSTER_HEADER, ""))
        model, size = model_of(slot), 0
        if self.held >= MOST_HELD or self._held[model] >= MOST_OF_ONE:
            return _full()
        event = asyncio.Event()
        self._held[model] += 1
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for chunk in request.content.iter_any():
                    size += len(chunk)
                    self._bytes[model] += len(chunk)
                    if self._bytes.total() > MOST_BYTES or self._bytes[model] > MOST_BYTES_OF_ONE:
                        return _full()
            if not self._served(slot):
                self._waiting[slot].add(event)
                await event.wait()
            return web.Response(status=503, body=_NO_POD, headers={AGAIN_HEADER: "1"}, content_type="application/json")
        except TimeoutError:
            return _full()
        finally:
            self._held[model] -= 1
            self._bytes[model] -= size
            self._held, self._bytes = +self._held, +self._bytes
            if slot in self._waiting:
                self._waiting[slot].discard(event)
                if not self._waiting[slot]:
                    del self._waiting[slot]


def _full() -> web.Response:
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return web.Response(status=503, body=_NO_POD, headers=headers, content_type="application/json")
