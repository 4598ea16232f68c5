"""Nothing is sent without the Lease, whatever lies between the beginning of a write and its first byte."""

import asyncio
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest
from aiohttp import web

from answering import answering
from tidegate_cluster.connection import Connection
from tidegate_operator.core.types import Forget
from tidegate_operator.writer import NotLeader, Writer

FORGET = Forget("flights-1", "uid-1", "7")


class Server:
    def __init__(self) -> None:
        self.connections: set[object] = set()
        self.requests = 0
        self.hangs_up = False
        self.seconds = 0.0

    async def handle(self, request: web.Request) -> web.Response:
        self.requests += 1
        await asyncio.sleep(self.seconds)
        if self.hangs_up and request.transport:
            request.transport.abort()
        self.connections.add(request.transport)
        return web.json_response({})


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, Connection]]:
    found = Server()
    async with answering(found.handle) as url, aiohttp.ClientSession() as own:
        yield found, Connection(url, own)


def answers(*held: bool) -> Callable[[], bool]:
    """Says whether the Lease is held, one answer each time it is asked."""
    rest = iter(held)
    return lambda: next(rest)


def writer(connection: Connection, *held: bool, counted: list[tuple[str, int | None]] | None = None) -> Writer:
    return Writer(
        connection, answers(*held), lambda verb, code: None if counted is None else counted.append((verb, code))
    )


async def test_a_write_that_holds_the_lease_throughout_is_sent(server: tuple[Server, Connection]) -> None:
    found, connection = server
    await writer(connection, True, True).forget(FORGET, "ml")
    await writer(connection, True, True).forget(FORGET, "ml")
    assert (found.requests, len(found.connections)) == (2, 1)


@pytest.mark.parametrize("before", [0, 1], ids=["a new connection", "one that was open"])
async def test_a_lease_that_is_lost_before_the_first_byte_sends_nothing(
    server: tuple[Server, Connection], before: int
) -> None:
    found, connection = server
    for _ in range(before):
        await writer(connection, True, True).forget(FORGET, "ml")
    with pytest.raises(NotLeader):
        await writer(connection, True, False).forget(FORGET, "ml")
    assert found.requests == before
    await writer(connection, True, True).forget(FORGET, "ml")
    assert found.requests == before + 1


async def test_without_the_lease_no_connection_is_asked_for(server: tuple[Server, Connection]) -> None:
    found, connection = server
    with pytest.raises(NotLeader):
        await writer(connection, False).forget(FORGET, "ml")
    assert found.requests == 0


async def test_a_write_is_counted_by_its_answer_also_if_none_comes_but_not_if_it_was_not_sent(
    server: tuple[Server, Connection],
) -> None:
    found, connection = server
    counted: list[tuple[str, int | None]] = []
    await writer(connection, True, True, counted=counted).forget(FORGET, "ml")
    found.hangs_up = True
    with pytest.raises(aiohttp.ClientError):
        await writer(connection, True, True, counted=counted).forget(FORGET, "ml")
    with pytest.raises(NotLeader):
        await writer(connection, True, False, counted=counted).forget(FORGET, "ml")
    found.seconds = 5
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await writer(connection, True, True, counted=counted).forget(FORGET, "ml")
    assert counted == [("delete", 200), ("delete", None), ("delete", None)]
