"""A server in the test's own loop that answers as it is told: an API server, for what talks to one."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

ENVIRONMENT = {
    "TIDEGATE_SERVER_IMAGE": "server:1",
    "TIDEGATE_TOOLS_IMAGE": "tools:1",
    "TIDEGATE_ENVOY_IMAGE": "envoy:1",
    "TIDEGATE_NAMESPACE": "tidegate",
    "TIDEGATE_POD_NAME": "operator-1",
}
"""What an operator needs to be told."""


@asynccontextmanager
async def answering(handle: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """Its address, without a trailing slash; `handle` gets every request."""
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
