"""What the agent answers: probes, the operator's question, and the end of its pod."""

import asyncio
import hmac
import logging
from pathlib import Path

import aiohttp
import msgspec
from aiohttp import web

from tidegate_contract.counters import COUNTERS_PATH
from tidegate_contract.router import DRAIN_PATH, DRAIN_SECONDS, LIVE_PATH, READY_PATH, SPREAD_SECONDS
from tidegate_contract.signals import SIGNALS_PATH, Signals
from tidegate_router import signals
from tidegate_router.agent import Agent
from tidegate_router.documents import CLIENTS
from tidegate_router.endpoints import Address
from tidegate_router.envoy import UNREACHABLE, Envoy

LOOK_SECONDS = 0.2
POD_SECONDS = 1.0
"""How long a pod may take to say what it has counted."""
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
        self.app = web.Application()
        self.app.add_routes(
            [
                web.get(LIVE_PATH, self._live),
                web.get(READY_PATH, self._ready),
                web.get(DRAIN_PATH, self._drain),
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
        try:
            epoch, stats = await self._envoy.epoch(), await self._envoy.counts(signals.PATTERN)
        except UNREACHABLE as error:
            return web.Response(status=503, text=f"Envoy does not answer: {type(error).__name__}")
        counters = await self._counters() if request.query.get("counters") else []
        told = Signals(router=self._router, epoch=epoch, models=self._agent.tell(stats), counters=counters)
        return web.Response(body=msgspec.json.encode(told), content_type="application/json")

    def _allowed(self, request: web.Request) -> bool:
        told = request.headers.get("Authorization", "").encode(errors="replace")
        try:
            token = self._token_file.read_bytes().strip()
        except OSError as error:
            _logger.error("the token cannot be read: %s", error)
            return False
        return bool(token) and hmac.compare_digest(told, b"Bearer " + token)

    async def _counters(self) -> list[msgspec.Raw]:
        found = await asyncio.gather(*(self._counters_of(address) for address in sorted(self._agent.addresses())))
        return [raw for raw in found if raw is not None]

    async def _counters_of(self, address: Address) -> msgspec.Raw | None:
        host = f"[{address.ip}]" if ":" in address.ip else address.ip
        try:
            async with self._pods.get(
                f"http://{host}:{address.metrics}{COUNTERS_PATH}",
                raise_for_status=True,
                timeout=aiohttp.ClientTimeout(total=POD_SECONDS),
            ) as answer:
                body = await answer.read()
            msgspec.json.decode(body)
        except UNREACHABLE as error:
            _logger.info("the counters of %s are not told: %s", address.ip, type(error).__name__)
            return None
        return msgspec.Raw(body)

    async def _drain(self, request: web.Request) -> web.Response:
        """Answered when nobody is served any more; both containers wait for it before they end."""
        self._draining = self._draining or asyncio.create_task(self._empty())
        await asyncio.shield(self._draining)
        return web.Response(text="drained")

    async def _empty(self) -> None:
        try:
            await self._envoy.drain()
            await asyncio.sleep(SPREAD_SECONDS)
            for _ in range(int(DRAIN_SECONDS / LOOK_SECONDS)):
                if not sum((await self._envoy.counts(ACTIVE)).values()):
                    return
                await asyncio.sleep(LOOK_SECONDS)
        except UNREACHABLE as error:
            _logger.warning("Envoy does not answer any more: %s", type(error).__name__)
