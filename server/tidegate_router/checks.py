"""Whether stable answers by the model's own port: what makes a model ready.

A pod that answers /ready has answered its golden rows. Whether clients of the router get there no count tells while
there are none, so the agent asks: whenever the way there is another one, and now and then while somebody wants to know.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import aiohttp

CHECK_SECONDS, FAILED_SECONDS = 5.0, 1.0
"""How long an answer stands while somebody wants to know, and how long none does."""
ANSWER_SECONDS = 1.0
"""Without a pod the request would wait for one."""
MOST = 8
"""At once, of all models."""
PAUSE_SECONDS = 0.05
"""Envoy confirms each of a hundred models in twelve pieces."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Way:
    """How clients get to stable."""

    port: int
    versions: tuple[str, ...]
    """Of what Envoy has on it."""


Ways = Callable[[], Mapping[str, Way | None]]
"""Of each model that could answer; None while Envoy is on its way to another one."""


@dataclass(frozen=True, slots=True)
class _Known:
    way: Way
    answers: bool
    at: float


class Checks:
    """On the event loop only."""

    def __init__(self, ways: Ways, monotonic: Callable[[], float]) -> None:
        self._ways = ways
        self._monotonic = monotonic
        self._known: dict[str, _Known] = {}
        self._asking: set[str] = set()
        self._wanted = False
        self._wake = asyncio.Event()

    def look(self) -> None:
        """The ways may have changed."""
        self._wake.set()

    def wanted(self) -> None:
        """Somebody wants to know how it is by now."""
        self._wanted = True
        self._wake.set()

    def answers(self, model: str) -> bool:
        """As it was last seen."""
        known = self._known.get(model)
        return known is not None and known.answers

    async def run(self) -> None:
        """For ever."""
        room = asyncio.Semaphore(MOST)
        connector = aiohttp.TCPConnector(force_close=True)  # as a client that comes anew
        async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as group:
            while True:
                await self._wake.wait()
                await asyncio.sleep(PAUSE_SECONDS)
                self._wake.clear()
                ways, now = self._ways(), self._monotonic()
                self._known = {model: known for model, known in self._known.items() if model in ways}
                for model, way in ways.items():
                    if way and model not in self._asking and self._due(model, way, now):
                        self._asking.add(model)
                        group.create_task(self._check(session, room, model, way))
                self._wanted = False

    def _due(self, model: str, way: Way, now: float) -> bool:
        known = self._known.get(model)
        if known is None or known.way != way:
            return True
        return self._wanted and now >= known.at + (CHECK_SECONDS if known.answers else FAILED_SECONDS)

    async def _check(self, session: aiohttp.ClientSession, room: asyncio.Semaphore, model: str, way: Way) -> None:
        async with room:
            answers = await _answers(session, model, way.port)
        if model in self._known and self._known[model].answers != answers:
            _logger.info("stable of %s %s", model, "answers" if answers else "does not answer any more")
        self._known[model] = _Known(way, answers, self._monotonic())
        self._asking.discard(model)
        self._wake.set()  # the way may have changed meanwhile


async def _answers(session: aiohttp.ClientSession, model: str, port: int) -> bool:
    url, limit = f"http://127.0.0.1:{port}/v2/models/{model}/ready", aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    try:
        async with session.get(url, timeout=limit, allow_redirects=False) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False
