"""How the operator reaches the API server."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest
from aiohttp import web

from answering import answering
from plane import certs
from tidegate_cluster.api import Api
from tidegate_cluster.connection import Connection, connect
from tidegate_operator import clock


@pytest.fixture
async def connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Connection]:
    """To an API server that answers everything but what is asked of /away, and /slow only after a while."""

    async def handle(request: web.Request) -> web.Response:
        if request.path == "/away" and request.transport:
            request.transport.abort()
        if request.path == "/slow":
            await asyncio.sleep(5)
        return web.json_response({})

    async with answering(handle) as url:
        (tmp_path / "config").write_text(certs.plain_kubeconfig(url))
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config"))
        made = connect({}, clock.monotonic, agent="test")
        yield made
        await made.session.close()


def sockets(session: aiohttp.ClientSession) -> list[socket.socket]:
    """Of the connections that wait to be used again."""
    assert isinstance(session.connector, aiohttp.TCPConnector)
    protocols = [protocol for pool in session.connector._conns.values() for protocol, _ in pool]
    return [protocol.transport.get_extra_info("socket") for protocol in protocols if protocol.transport]


async def test_a_peer_that_dies_without_a_word_is_noticed_within_half_a_minute(connection: Connection) -> None:
    """A watch sends nothing by itself, so nothing would tell it for as long as it may be silent."""
    async with connection.session.get(f"{connection.server}/api"):
        pass
    (found,) = sockets(connection.session)
    assert found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
    options = {name: found.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names}
    assert options == {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 25_000}


@pytest.mark.parametrize("missing", ["TCP_KEEPIDLE", "TCP_USER_TIMEOUT"])
async def test_a_platform_that_lacks_an_option_connects_all_the_same(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.delattr(socket, missing)
    async with connection.session.get(f"{connection.server}/api") as response:
        assert response.status == 200


async def test_a_read_is_counted_by_its_answer_also_if_none_comes(connection: Connection) -> None:
    counted: list[tuple[str, int | None]] = []
    api = Api(connection, lambda verb, code: counted.append((verb, code)))
    await api.get("/api", msgspec.Raw)
    with pytest.raises(aiohttp.ClientError):
        await api.list("/away", msgspec.Raw)
    with pytest.raises(aiohttp.ClientError):
        await anext(api.watch("/away", msgspec.Raw, "5"))
    for reading in (api.get("/slow", msgspec.Raw), anext(api.watch("/slow", msgspec.Raw, "5"))):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await reading
    assert counted == [("get", 200), ("list", None), ("watch", None), ("get", None), ("watch", None)]
