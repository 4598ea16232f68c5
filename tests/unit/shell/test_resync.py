"""What a resync forgets: only what a list that is new enough does not show, and a second question confirms."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tidegate_operator.cluster.connection import Connection
from tidegate_operator.settings import read
from tidegate_operator.shell import Operator

SETTINGS = {
    "TIDEGATE_SERVER_IMAGE": "server:1",
    "TIDEGATE_TOOLS_IMAGE": "tools:1",
    "TIDEGATE_NAMESPACE": "tidegate",
    "TIDEGATE_POD_NAME": "operator-1",
}


def body(name: str, version: int) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "ml", "uid": f"uid-{name}", "resourceVersion": str(version)}
    return {"metadata": metadata, "spec": {}}


class World:
    """An operator, and an API server that lists what is in `listed`, as of `version`."""

    def __init__(self) -> None:
        self.operator: Operator
        self.listed: list[dict[str, Any]] = []
        self.version = 0
        self.meanwhile: list[dict[str, Any]] = []
        """What comes to be known while the list is on its way."""

    async def handle(self, request: web.Request) -> web.Response:
        name = request.path.rsplit("/", 1)[1]
        if name == "modeldeployments":
            for each in self.meanwhile:
                self.operator.seen("MODIFIED", each)
            return web.json_response({"items": self.listed, "metadata": {"resourceVersion": str(self.version)}})
        found = next((each for each in self.listed if each["metadata"]["name"] == name), None)
        return web.json_response(found or {"message": "gone"}, status=200 if found else 404)

    def known(self) -> list[str]:
        return sorted(name for _, name in self.operator.stores.models)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    found = World()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", found.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as session:
        connection = Connection(f"http://127.0.0.1:{runner.addresses[0][1]}", session)
        found.operator = Operator(read(SETTINGS), connection)
        yield found
    await runner.cleanup()


async def test_what_no_list_shows_is_forgotten(world: World) -> None:
    world.operator.seen("ADDED", body("here", 3))
    world.operator.seen("ADDED", body("gone", 4))
    world.listed, world.version = [body("here", 3)], 10
    await world.operator.evict_absent("")
    assert world.known() == ["here"]


async def test_what_is_made_or_written_while_a_long_list_is_on_its_way_stays(world: World) -> None:
    """A list says how the cluster was when its first page was read; we write on meanwhile."""
    world.operator.seen("ADDED", body("here", 3))
    world.listed, world.version = [body("here", 3), body("new", 20)], 10
    world.meanwhile = [body("here", 19), body("new", 20)]
    await world.operator.evict_absent("")
    assert world.known() == ["here", "new"]


async def test_a_list_from_before_what_was_known_ends_the_process(world: World) -> None:
    """Only a restored etcd answers so; every cache would then be ahead of the cluster."""
    world.operator.seen("ADDED", body("here", 30))
    world.listed, world.version = [body("here", 3)], 10
    with pytest.raises(RuntimeError, match="older state"):
        await world.operator.evict_absent("")
