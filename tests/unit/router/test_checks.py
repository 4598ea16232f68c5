"""How many models are asked at once whether they answer, and when."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from answering import answering
from tidegate_router import checks
from tidegate_router.checks import MOST, Checks, Way


class Port:
    """Where all models are, as Envoy's would be."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.there = self.most = 0
        self.status = 200

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        self.there += 1
        self.most = max(self.most, self.there)
        await asyncio.sleep(0.02)
        self.there -= 1
        return web.Response(status=self.status)


@asynccontextmanager
async def checking(
    port: Port, ways: dict[str, Way | None], *names: str, monotonic: Callable[[], float] = time.monotonic
) -> AsyncIterator[Checks]:
    """`names`: of models at that port, all by the same way."""
    async with answering(port.answer) as url:
        ways |= dict.fromkeys(names, Way(urlsplit(url).port or 0, ("1",)))
        made = Checks(lambda: ways, monotonic)
        task = asyncio.create_task(made.run())
        try:
            yield made
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "PAUSE_SECONDS", 0.0)


async def test_a_hundred_models_are_asked_once_and_a_few_at_a_time() -> None:
    port, names = Port(), [f"model-{number}" for number in range(100)]
    async with checking(port, {}, *names) as made:
        for _ in range(50):
            made.look()
            await asyncio.sleep(0.02)
        assert all(made.answers(name) for name in names)
    assert sorted(port.asked) == sorted(f"/v2/models/{name}/ready" for name in names)
    assert port.most == MOST


@pytest.mark.parametrize(("status", "again"), [(200, 5.0), (503, 1.0), (302, 1.0)])
async def test_what_was_seen_stands_for_a_while_and_for_ever_if_nobody_wants_to_know(status: int, again: float) -> None:
    port, now = Port(), 100.0
    port.status = status

    async def asked(made: Checks) -> int:
        await asyncio.sleep(0.1)
        assert made.answers("flights") is (status == 200)
        return len(port.asked)

    async with checking(port, {}, "flights", monotonic=lambda: now) as made:
        made.look()
        assert await asked(made) == 1
        now += again - 0.1
        made.wanted()
        assert await asked(made) == 1
        now += 0.2
        made.look()
        assert await asked(made) == 1
        made.wanted()
        assert await asked(made) == 2


async def test_while_envoy_is_on_its_way_to_another_one_what_was_seen_stands() -> None:
    port, ways = Port(), dict[str, Way | None]()
    async with checking(port, ways, "flights") as made:
        made.look()
        await asyncio.sleep(0.1)
        ways["flights"] = None
        made.wanted()
        await asyncio.sleep(0.1)
        assert (made.answers("flights"), len(port.asked)) == (True, 1)
        del ways["flights"]
        made.look()
        await asyncio.sleep(0.05)
        assert not made.answers("flights")


async def test_a_port_where_nobody_is_does_not_answer() -> None:
    ways: dict[str, Way | None] = {"flights": Way(1, ("1",))}
    async with checking(Port(), ways) as made:
        made.look()
        await asyncio.sleep(0.1)
        assert not made.answers("flights")
