"""The stream by which Envoy is told, from its other end."""

import asyncio
import json
import zlib
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath
from typing import Any

import grpc
import pytest
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2

from tidegate_router.delta import Key, Resource
from tidegate_router.documents import CLUSTER, ROUTE, clusters
from tidegate_router.xds import Xds

KEY: Key = (CLUSTER, "flights/a")
DOCUMENT = clusters("flights")[0]
BODY = zlib.compress(json.dumps(DOCUMENT).encode())


class World:
    def __init__(self, xds: Xds, stub: Any) -> None:
        self.xds = xds
        self._stub = stub

    async def stream(self, kind: str = CLUSTER, *names: str) -> Any:
        """A new one, that asks for all of a type, or for what it names."""
        call = self._stub.DeltaAggregatedResources()
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=kind, resource_names_subscribe=names or ["*"])
        await call.write(request)
        return call

    async def confirmed(self, version: str) -> bool:
        """Soon."""
        for _ in range(100):
            if self.xds.confirmed(KEY) == version:
                return True
            await asyncio.sleep(0.01)
        return False


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    path = tmp_path / "xds.sock"
    xds = Xds(lambda: None)
    server = await xds.listen(PurePosixPath(path))
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        yield World(xds, ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel))
    await server.stop(None)


async def told(call: Any) -> tuple[list[tuple[str, str]], list[str]]:
    """Names and versions of resources, and the names of those that are none; which are confirmed."""
    answer = await asyncio.wait_for(call.read(), 2)
    await call.write(discovery_pb2.DeltaDiscoveryRequest(type_url=answer.type_url, response_nonce=answer.nonce))
    return [(each.name, each.version) for each in answer.resources], list(answer.removed_resources)


async def test_nothing_is_said_before_it_is_known_what_there_is(world: World) -> None:
    call = await world.stream()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(reading := asyncio.ensure_future(call.read())), 0.1)
    world.xds.tell({KEY: Resource("1", BODY)})
    answer = await asyncio.wait_for(reading, 2)
    assert [each.name for each in answer.resources] == ["flights/a"]


async def test_that_there_is_nothing_is_said_by_an_empty_answer(world: World) -> None:
    world.xds.tell({})
    assert await told(await world.stream()) == ([], [])
    assert await told(await world.stream(ROUTE, "gone")) == ([], ["gone"])


async def test_what_is_taken_is_confirmed_until_the_stream_ends(world: World) -> None:
    world.xds.tell({KEY: Resource("1", BODY)})
    call = await world.stream()
    assert await told(call) == ([("flights/a", "1")], [])
    assert await world.confirmed("1")
    call.cancel()
    assert await world.confirmed("")


async def test_a_new_stream_takes_over_and_the_old_one_ends(world: World) -> None:
    world.xds.tell({KEY: Resource("1", BODY)})
    first = await world.stream()
    assert await told(first) == ([("flights/a", "1")], [])
    second = await world.stream()
    assert await told(second) == ([("flights/a", "1")], [])
    assert await asyncio.wait_for(first.read(), 2) is grpc.aio.EOF
    world.xds.tell({KEY: Resource("2", BODY)})
    assert await told(second) == ([("flights/a", "2")], [])
    assert await world.confirmed("2")


async def test_what_cannot_be_written_down_is_refused_and_stops_nothing_else(world: World) -> None:
    bad = Resource("1", zlib.compress(json.dumps(DOCUMENT | {"connect_timeout": "1e+15s"}).encode()))
    world.xds.tell({KEY: bad, (CLUSTER, "others/a"): Resource("1", BODY)})
    assert await told(await world.stream()) == ([("others/a", "1")], [])
    version, why = world.xds.refused(KEY)
    assert version == "1"
    assert "connect_timeout" in why


async def test_what_envoy_refuses_is_told_in_its_words(world: World) -> None:
    world.xds.tell({KEY: Resource("1", BODY)})
    call = await world.stream()
    request = discovery_pb2.DeltaDiscoveryRequest(type_url=CLUSTER, response_nonce=(await call.read()).nonce)
    request.error_detail.message = "no such thing"
    await call.write(request)
    for _ in range(100):
        if world.xds.refused(KEY)[0]:
            break
        await asyncio.sleep(0.01)
    assert world.xds.refused(KEY) == ("1", "no such thing")
