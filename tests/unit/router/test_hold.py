"""The hold slot, as Envoy meets it: what it keeps, what it sends on, and what it has no room for."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path, PurePosixPath
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tidegate_router import hold
from tidegate_router.hold import Hold

Answer = tuple[int, dict[str, str]]


class Envoy:
    """Asks by the socket."""

    runner: web.AppRunner

    def __init__(self, session: aiohttp.ClientSession, served: set[str]) -> None:
        self.served = served
        self.hold = Hold(served.__contains__)
        self._session = session

    def ask(self, cluster: str = "flights/a", data: Any = b"{}", **headers: str) -> asyncio.Task[Answer]:
        told = {"tidegate-cluster": cluster, **headers}

        async def asking() -> Answer:
            async with self._session.post("http://hold/x", data=data, headers=told) as answer:
                await answer.read()
                return answer.status, {name.lower(): value for name, value in answer.headers.items()}

        return asyncio.create_task(asking())

    async def holds(self, many: int) -> None:
        """Wait until so many wait."""
        for _ in range(200):
            if self.hold.held == many == sum(map(len, self.hold._waiting.values())):
                return
            await asyncio.sleep(0.01)
        pytest.fail(f"{self.hold.held} wait")

    def serve(self, slot: str) -> None:
        self.served.add(slot)
        self.hold.look()


@pytest.fixture
async def envoy(tmp_path: Path) -> AsyncIterator[Envoy]:
    socket = tmp_path / "hold.sock"
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket), limit=0)) as session:
        made = Envoy(session, set())
        made.runner = await made.hold.listen(PurePosixPath(socket))
        yield made
        await made.runner.cleanup()


async def is_sent_on(asking: Awaitable[Answer]) -> bool:
    status, headers = await asyncio.wait_for(asking, 2)
    return (status, headers.get("tidegate-again")) == (503, "1")


async def is_turned_away(asking: Awaitable[Answer]) -> bool:
    status, headers = await asyncio.wait_for(asking, 2)
    return (status, headers.get("retry-after"), "tidegate-again" in headers) == (503, "1", False)


def nothing_is_left(envoy: Envoy) -> bool:
    return (envoy.hold.held, envoy.hold._bytes.total(), envoy.hold._waiting) == (0, 0, {})


async def test_a_request_waits_until_there_is_a_pod_and_is_sent_on(envoy: Envoy) -> None:
    asking = envoy.ask()
    await envoy.holds(1)
    envoy.hold.look()
    assert envoy.hold.held_of("flights") == 1
    envoy.serve("flights/a")
    assert await is_sent_on(asking)
    assert envoy.hold.held_of("flights") == 0
    assert nothing_is_left(envoy)


async def test_it_waits_for_nothing_where_there_is_a_pod_by_now(envoy: Envoy) -> None:
    envoy.serve("flights/a")
    assert await is_sent_on(envoy.ask())


@pytest.mark.parametrize("cluster", ["flights/a", "flights/a/named"])
async def test_whoever_named_a_version_waits_for_the_same_pods(envoy: Envoy, cluster: str) -> None:
    asking = envoy.ask(cluster)
    await envoy.holds(1)
    envoy.serve("flights/a")
    assert await is_sent_on(asking)


async def test_a_pod_of_another_slot_or_model_is_none(envoy: Envoy) -> None:
    asking = envoy.ask()
    await envoy.holds(1)
    envoy.serve("flights/b")
    envoy.serve("flight/a")
    await asyncio.sleep(0.02)
    assert not asking.done()
    assert (envoy.hold.held_of("flights"), envoy.hold.held_of("flight")) == (1, 0)
    envoy.serve("flights/a")
    assert await is_sent_on(asking)


async def test_of_a_client_that_goes_away_nothing_is_left(envoy: Envoy) -> None:
    staying, leaving = envoy.ask(), envoy.ask()
    await envoy.holds(2)
    leaving.cancel()
    await envoy.holds(1)
    staying.cancel()
    await envoy.holds(0)
    assert nothing_is_left(envoy)


async def test_an_agent_that_ends_does_not_wait_for_those_who_wait(envoy: Envoy) -> None:
    asking = envoy.ask()
    await envoy.holds(1)
    await asyncio.wait_for(envoy.runner.cleanup(), 1)
    with pytest.raises(aiohttp.ClientError):
        await asking
    assert nothing_is_left(envoy)


async def test_one_more_than_it_has_room_for_is_turned_away(envoy: Envoy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold, "MOST_HELD", 2)
    asking = [envoy.ask(), envoy.ask()]
    await envoy.holds(2)
    assert await is_turned_away(envoy.ask())
    envoy.serve("flights/a")
    assert [await is_sent_on(each) for each in asking] == [True, True]
    assert nothing_is_left(envoy)


async def test_a_body_more_than_it_has_room_for_is_turned_away(envoy: Envoy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold, "MOST_BYTES", 1000)
    first = envoy.ask(data=bytes(600))
    await envoy.holds(1)
    assert await is_turned_away(envoy.ask(data=bytes(600)))
    second = envoy.ask(data=bytes(400))
    await envoy.holds(2)
    envoy.serve("flights/a")
    assert await is_sent_on(first)
    assert await is_sent_on(second)
    assert nothing_is_left(envoy)


async def test_a_model_takes_no_place_of_the_others(envoy: Envoy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold, "MOST_OF_ONE", 1)
    first = envoy.ask("flights/a")
    await envoy.holds(1)
    assert await is_turned_away(envoy.ask("flights/b"))
    other = envoy.ask("trains/a")
    await envoy.holds(2)
    envoy.serve("flights/a")
    envoy.serve("trains/a")
    assert await is_sent_on(first)
    assert await is_sent_on(other)
    assert nothing_is_left(envoy)


async def test_what_is_packed_is_counted_as_it_comes(envoy: Envoy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold, "MOST_BYTES", 10_000)
    asking = envoy.ask(data=gzip.compress(bytes(1 << 20)), **{"Content-Encoding": "gzip", "X-Long": "x" * 9000})
    await envoy.holds(1)
    envoy.serve("flights/a")
    assert await is_sent_on(asking)


async def test_a_body_that_does_not_come_is_not_waited_for(envoy: Envoy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold, "BODY_SECONDS", 0.1)

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(5)
        yield b"}"

    asking = envoy.ask(data=slow())
    assert await is_turned_away(asking)
    assert nothing_is_left(envoy)
