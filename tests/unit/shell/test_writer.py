"""Nothing is sent without the Lease, however long the way to the API server took to open."""

import ssl
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web

from tidegate_operator.cluster.connection import Connection, session
from tidegate_operator.core.types import Forget
from tidegate_operator.writer import NotLeader, Writer

FORGET = Forget("flights-1", "uid-1", "7")


class Server:
    def __init__(self) -> None:
        self.connections: set[object] = set()
        self.requests = 0

    async def handle(self, request: web.Request) -> web.Response:
        self.requests += 1
        self.connections.add(request.transport)
        return web.json_response({})


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, Connection]]:
    found = Server()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", found.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with session(ssl.create_default_context(), lambda: None) as own:
        yield found, Connection(f"http://127.0.0.1:{runner.addresses[0][1]}", own)
    await runner.cleanup()


def answers(*held: bool) -> Callable[[], bool]:
    """Says whether the Lease is held, one answer each time it is asked."""
    rest = iter(held)
    return lambda: next(rest)


def writer(connection: Connection, *held: bool) -> Writer:
    return Writer(connection, answers(*held), lambda verb, code: None)


async def test_a_lease_that_is_lost_while_a_connection_is_made_sends_nothing(server: tuple[Server, Connection]) -> None:
    found, connection = server
    with pytest.raises(NotLeader):
        await writer(connection, True, False).forget(FORGET, "ml")
    assert found.requests == 0
    await writer(connection, True, True).forget(FORGET, "ml")
    assert found.requests == 1


async def test_a_connection_that_is_open_is_there_at_once(server: tuple[Server, Connection]) -> None:
    found, connection = server
    await writer(connection, True, True).forget(FORGET, "ml")
    await writer(connection, True).forget(FORGET, "ml")
    assert (found.requests, len(found.connections)) == (2, 1)


async def test_without_the_lease_no_connection_is_asked_for(server: tuple[Server, Connection]) -> None:
    found, connection = server
    with pytest.raises(NotLeader):
        await writer(connection, False).forget(FORGET, "ml")
    assert found.requests == 0


async def test_reading_asks_for_no_lease(server: tuple[Server, Connection]) -> None:
    found, connection = server
    await connection.session.get(f"{connection.server}/api")
    assert found.requests == 1
