"""What the agent answers: probes, the operator's question, and the end of its pod."""

import asyncio
import hmac
import logging
from pathlib import Path, PurePosixPath

import aiohttp
import msgspec
from aiohttp import web

from tidegate_contract.counters import COUNTERS_PATH
from tidegate_contract.router import DRAIN_PATH, DRAIN_SECONDS, DRAINED_PATH, LIVE_PATH, READY_PATH, SPREAD_SECONDS
from tidegate_contract.signals import SIGNALS_PATH, PodCounters, Signals
from tidegate_router import signals
from tidegate_router.agent import Agent
from tidegate_router.documents import CLIENTS
from tidegate_router.endpoints import Address
from tidegate_router.envoy import UNREACHABLE, Envoy

LOOK_SECONDS = 0.2
POD_SECONDS = 1.0
"""How long a pod may take to say what it has counted."""
MOST_COUNTERS_BYTES = 1 << 20
ACTIVE = rf"^http\.{CLIENTS}/.*\.downstream_rq_active$"

_logger = logging.getLogger(__name__)


class Answers:
    """The agent's own port."""

    def __init__(self, agent: Agent, envoy: Envoy, router: str, token_file: Path, pods: aiohttp.ClientSession) -> None:
        self._agent = agent
        self._envoy = envoy
        self._router = router
        self._token_file = token_file
        self._pods = pods
        self._draining: asyncio.Task[None] | None = None
        self._empty = asyncio.Event()
        self.app = web.Application()
        self.app.add_routes(
            [
                web.get(LIVE_PATH, self._live),
                web.get(READY_PATH, self._ready),
                web.get(DRAINED_PATH, self._drained),
                web.get(SIGNALS_PATH, self._signals),
            ]
        )

    async def _live(self, request: web.Request) -> web.Response:
        return web.Response(text="live")

    async def _ready(self, request: web.Request) -> web.Response:
        if self._draining:
            return web.Response(status=503, text="draining")
        if not self._agent.ready:
            return web.Response(status=503, text="Envoy does not have everything yet")
        try:
            live = await self._envoy.live()
        except UNREACHABLE as error:
            return web.Response(status=503, text=f"Envoy does not answer: {type(error).__name__}")
        return web.Response(text="ready") if live else web.Response(status=503, text="Envoy is not live")

    async def _signals(self, request: web.Request) -> web.Response:
        """`?counters=1`: with those of the pods."""
        if not self._allowed(request):
            return web.Response(status=401, text="a bearer token of this namespace's routers is needed")
        self._agent.asked()
        counters = await self._counters() if request.query.get("counters") else []
        try:
            in_force = self._agent.in_force()
            epoch, stats = await self._envoy.epoch(), await self._envoy.counts(signals.PATTERN)
        except UNREACHABLE as error:
            return web.Response(status=503, text=f"Envoy does not answer: {type(error).__name__}")
        models = self._agent.tell(in_force, stats)
        told = Signals(router=self._router, epoch=epoch, models=models, counters=counters)
        return web.Response(body=msgspec.json.encode(told), content_type="application/json")

    def _allowed(self, request: web.Request) -> bool:
        told = request.headers.get("Authorization", "").encode(errors="replace")
        try:
            token = self._token_file.read_bytes().strip()
        except OSError as error:
            _logger.error("the token cannot be read: %s", error)
            return False
        return bool(token) and hmac.compare_digest(told, b"Bearer " + token)

    async def _counters(self) -> list[PodCounters]:
        found = await asyncio.gather(*(self._counters_of(*pod) for pod in self._agent.pods()))
        return [counters for counters in found if counters is not None]

    async def _counters_of(self, model: str, revision: str, address: Address) -> PodCounters | None:
        host = f"[{address.ip}]" if ":" in address.ip else address.ip
        body = b""
        try:
            async with self._pods.get(
                f"http://{host}:{address.metrics}{COUNTERS_PATH}",
                raise_for_status=True,
                timeout=aiohttp.ClientTimeout(total=POD_SECONDS),
            ) as answer:
                async for chunk in answer.content.iter_any():
                    body += chunk
                    if len(body) > MOST_COUNTERS_BYTES:
                        _logger.warning("the counters of %s are too large to be told", address.ip)
                        return None
            msgspec.json.decode(body)
        except (*UNREACHABLE, RecursionError) as error:  # whatever a pod says, the others are told
            _logger.info("the counters of %s are not told: %s", address.ip, type(error).__name__)
            return None
        return PodCounters(model=model, revision=revision, address=address.ip, counters=msgspec.Raw(body))

    async def _drained(self, request: web.Request) -> web.Response:
        """Answered when the pod is to end and nobody is served any more: what Envoy's container waits for."""
        await self._empty.wait()
        return web.Response(text="drained")

    async def listen_for_the_end(self, path: PurePosixPath) -> web.AppRunner:
        """On a socket, as whoever can ask for it ends the router. Its owner cleans it up."""
        app = web.Application()
        app.add_routes([web.get(DRAIN_PATH, self._drain)])
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.UnixSite(runner, str(path)).start()
        return runner

    async def _drain(self, request: web.Request) -> web.Response:
        """The pod is to end; answered when nobody is served any more."""
        self._draining = self._draining or asyncio.create_task(self._wait_until_empty())
        await asyncio.shield(self._draining)
        return web.Response(text="drained")

    async def _wait_until_empty(self) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + SPREAD_SECONDS + DRAIN_SECONDS
        try:
            await self._envoy.drain()
        except UNREACHABLE as error:
            _logger.warning("Envoy cannot be asked to drain: %s", type(error).__name__)
        await asyncio.sleep(SPREAD_SECONDS)
        while loop.time() < end:
            try:
                if not sum((await self._envoy.counts(ACTIVE)).values()):
                    break
            except TimeoutError:
                _logger.warning("Envoy is slow to say what it has")
            except UNREACHABLE:
                break  # it has ended
            await asyncio.sleep(LOOK_SECONDS)
        self._empty.set()
