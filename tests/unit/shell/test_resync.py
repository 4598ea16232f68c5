"""What a resync mends: it forgets what no list shows, and sees what the feed has not told of."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from answering import ENVIRONMENT, answering
from tidegate_cluster.api import TRANSIENT
from tidegate_cluster.connection import Connection
from tidegate_operator.settings import read
from tidegate_operator.shell import Operator


def body(name: str, version: int) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "ml", "uid": f"uid-{name}", "resourceVersion": str(version)}
    return {"metadata": metadata, "spec": {}}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("", 0))
        port: int = found.getsockname()[1]
        return port


class World:
    """An operator, and an API server that lists what is in `listed`, as of `version`."""

    def __init__(self) -> None:
        self.operator: Operator
        self.listed: list[dict[str, Any]] = []
        self.version: int | str = 0
        self.asked: list[str] = []
        """The models that were asked for one by one."""
        self.broken: dict[str, bytes] = {}
        """What is answered for them instead of the object."""
        self.meanwhile: list[dict[str, Any]] = []
        """What comes to be known while the list is on its way."""

    async def handle(self, request: web.Request) -> web.Response:
        name = request.path.rsplit("/", 1)[1]
        if name == "modeldeployments":
            for each in self.meanwhile:
                self.operator.seen("MODIFIED", each)
            return web.json_response({"items": self.listed, "metadata": {"resourceVersion": str(self.version)}})
        self.asked.append(name)
        if name in self.broken:
            return web.Response(body=self.broken[name], content_type="application/json")
        found = next((each for each in self.listed if each["metadata"]["name"] == name), None)
        return web.json_response(found or {"message": "gone"}, status=200 if found else 404)

    def versions(self) -> dict[str, str]:
        models = self.operator.stores.models
        return {key[1]: model.metadata.resourceVersion for key in models if (model := models.get(key))}

    def known(self) -> list[str]:
        return sorted(name for _, name in self.operator.stores.models)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    found = World()
    async with answering(found.handle) as url, aiohttp.ClientSession() as session:
        own = {"TIDEGATE_METRICS_PORT": str(free_port()), "TIDEGATE_RESYNC_SECONDS": "0.05"}
        found.operator = Operator(read(ENVIRONMENT | own), Connection(url, session))
        yield found


async def test_what_no_list_shows_is_forgotten(world: World) -> None:
    world.operator.seen("ADDED", body("here", 3))
    world.operator.seen("ADDED", body("gone", 4))
    world.listed, world.version = [body("here", 3)], 10
    await world.operator.catch_up("")
    assert world.known() == ["here"]


async def test_what_is_made_or_written_while_a_long_list_is_on_its_way_stays(world: World) -> None:
    """A list says how the cluster was when its first page was read; we write on meanwhile."""
    world.operator.seen("ADDED", body("here", 3))
    world.listed, world.version = [body("here", 3), body("new", 20)], 10
    world.meanwhile = [body("here", 19), body("new", 20)]
    await world.operator.catch_up("")
    assert world.known() == ["here", "new"]


async def test_a_list_from_before_what_was_known_ends_the_process(world: World) -> None:
    """Only a restored etcd answers so; every cache would then be ahead of the cluster."""
    world.operator.seen("ADDED", body("here", 30))
    world.listed, world.version = [body("here", 3)], 10
    with pytest.raises(RuntimeError, match="older state"):
        await world.operator.catch_up("")


async def test_what_the_feed_has_not_told_of_is_seen(world: World) -> None:
    world.operator.seen("ADDED", body("same", 3))
    world.operator.seen("ADDED", body("changed", 4))
    world.operator.seen("ADDED", body("ahead", 9))
    world.listed = [body("same", 3), body("changed", 7), body("ahead", 5), body("new", 6)]
    world.version = 10
    await world.operator.catch_up("")
    assert world.versions() == {"same": "3", "changed": "7", "ahead": "9", "new": "6"}
    assert sorted(world.asked) == ["changed", "new"], "the list itself is of metadata only"


async def test_one_that_was_made_anew_under_its_name_takes_the_place_of_the_old(world: World) -> None:
    world.operator.seen("ADDED", body("flights", 3))
    again = body("flights", 7)
    again["metadata"]["uid"] = "another"
    world.listed, world.version = [again], 10
    await world.operator.catch_up("")
    found = world.operator.stores.models.get(("ml", "flights"))
    assert found
    assert found.metadata.uid == "another"


@pytest.mark.parametrize("answer", [b"<html>sorry</html>", b'{"metadata": 7}', b'{"metadata": {"name": "\xff"}}'])
async def test_a_model_that_cannot_be_read_hides_none_of_the_others(world: World, answer: bytes) -> None:
    world.listed, world.version = [body("a", 3), body("b", 4)], 10
    world.broken["a"] = answer
    await world.operator.catch_up("")
    assert world.known() == ["b"]


async def test_a_list_without_a_version_is_asked_for_again_later(world: World) -> None:
    world.version = ""
    with pytest.raises(TRANSIENT):
        await world.operator.catch_up("")


@pytest.mark.parametrize("leads", [False, True], ids=["a standby", "the leader"])
async def test_a_resync_mends_the_cache_of_a_standby_too_and_only_the_leader_looks_at_everything(
    world: World, leads: bool
) -> None:
    world.operator.seen("ADDED", body("old", 3))
    world.operator.leading = leads
    world.listed, world.version = [body("old", 3), body("new", 6)], 10
    stop = asyncio.Event()
    world.operator.start(stop)
    try:
        async with asyncio.timeout(5):
            while world.known() != ["new", "old"]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert len(world.operator.queue) == (2 if leads else 0)
        assert not stop.is_set()
    finally:
        await world.operator.stop()
