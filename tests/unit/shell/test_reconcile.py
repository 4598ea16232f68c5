"""Whole looks against an API server over HTTP that refuses some of what it is asked."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from tidegate_contract import labels
from tidegate_operator.cluster import resources as r
from tidegate_operator.cluster.api import Api
from tidegate_operator.cluster.connection import Connection
from tidegate_operator.cluster.store import Store, key_of
from tidegate_operator.core.types import Kind
from tidegate_operator.reconcile import Reconciler, Stores
from tidegate_operator.writer import NotLeader, Writer
from worlds import NOW, RELEASE

KEY = ("ml", "flights")
MODEL: dict[str, Any] = {
    "metadata": {"name": "flights", "namespace": "ml", "uid": "uid-1", "resourceVersion": "1", "generation": 1},
    "spec": {"model": {"uri": "oci://registry.example/flights:1"}},
}


class Server:
    """Takes what it is given, unless the collection is in `refuse`; counts the writes by collection."""

    def __init__(self) -> None:
        self.model: dict[str, Any] | None = MODEL
        self.refuse: dict[str, int] = {}
        self.writes: list[str] = []
        self.version = 1

    async def handle(self, request: web.Request) -> web.Response:
        *_, collection, _ = request.path.removesuffix("/status").split("/")
        if request.method == "GET":
            found = self.model if collection == "modeldeployments" else None
            return web.json_response(found or {"message": "not found"}, status=200 if found else 404)
        self.writes.append(collection)
        self.version += 1
        if collection in self.refuse:
            said = f"no, and this is answer {self.version}"
            return web.json_response({"message": said}, status=self.refuse[collection])
        body = await request.json()
        metadata = {"uid": f"{collection}-uid", "resourceVersion": str(self.version)} | body["metadata"]
        metadata["resourceVersion"] = str(self.version)
        if collection == "modeldeployments":
            assert self.model is not None
            self.model = self.model | {
                "metadata": self.model["metadata"] | {"resourceVersion": str(self.version)},
                "status": body["status"],
            }
            return web.json_response(self.model)
        return web.json_response(body | {"metadata": metadata})


class World:
    def __init__(self, server: Server, connection: Connection) -> None:
        self.server = server
        self.leads = True
        self.stores = Stores(
            models=Store(lambda key: None, key_of),
            pods=Store(lambda key: None),
            children={kind: Store(lambda key: None) for kind in Kind},
        )
        writer = Writer(connection, lambda: self.leads, lambda verb, code: None)
        api = Api(connection, lambda verb, code: None)
        self.reconciler = Reconciler(self.stores, api, writer, RELEASE, lambda: NOW)
        self.feed(MODEL)

    def feed(self, model: dict[str, Any]) -> None:
        self.stores.models.put(msgspec.convert(model, r.ModelDeployment))

    async def look(self) -> tuple[float | None, list[str]]:
        """One look: when to look again, and what was written."""
        self.server.writes = []
        return await self.reconciler.look(KEY), self.server.writes

    def degraded(self) -> str:
        model = self.stores.models.get(KEY)
        assert model is not None
        return next(str(c["reason"]) for c in model.status["conditions"] if c["type"] == "Degraded")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as session:
        yield World(server, Connection(f"http://127.0.0.1:{runner.addresses[0][1]}", session))
    await runner.cleanup()


CREATED = ["modeldeployments", "serviceaccounts", "networkpolicies", "services", "deployments"]


async def test_a_first_look_says_what_it_is_about_to_do_and_makes_every_child(world: World) -> None:
    assert await world.look() == (None, CREATED)
    child = world.stores.children[Kind.SERVICE].get(KEY)
    assert child is not None
    assert child.metadata.labels == {labels.MODEL: "flights"}


async def test_what_is_refused_is_said_at_once_and_then_tried_now_and_then(world: World) -> None:
    world.server.refuse = {"deployments": 422}
    assert await world.look() == (0.0, CREATED)
    again, written = await world.look()
    assert world.degraded() == "ChildRefused"
    assert again == 10.0
    assert "modeldeployments" in written


async def test_other_words_for_the_same_refusal_are_neither_a_write_nor_a_hurry(world: World) -> None:
    world.server.refuse = {"deployments": 403}
    for _ in range(2):
        await world.look()
    again, written = await world.look()
    assert again == 10.0
    assert "modeldeployments" not in written


async def test_what_is_taken_again_is_no_longer_complained_of(world: World) -> None:
    world.server.refuse = {"deployments": 422}
    for _ in range(2):
        await world.look()
    world.server.refuse = {}
    assert (await world.look())[0] == 0.0
    await world.look()
    assert world.degraded() == "AsExpected"


async def test_an_event_that_is_not_taken_keeps_nothing_from_being_done(world: World) -> None:
    world.server.refuse = {"deployments": 422, "events": 403}
    await world.look()
    await world.look()
    assert world.degraded() == "ChildRefused"


async def test_an_object_that_has_gone_is_forgotten_and_nothing_is_made_for_it(world: World) -> None:
    """The feed has not told of the deletion yet, and the cache knows of no child: only a fresh read can tell."""
    world.server.model = None
    assert await world.look() == (None, [])
    assert world.stores.models.get(KEY) is None


async def test_an_object_that_was_made_again_is_not_given_its_predecessors_children(world: World) -> None:
    world.server.model = MODEL | {"metadata": MODEL["metadata"] | {"uid": "uid-2", "resourceVersion": "9"}}
    assert await world.look() == (None, [])


async def test_without_the_lease_nothing_is_written(world: World) -> None:
    world.leads = False
    with pytest.raises(NotLeader):
        await world.look()
    assert world.server.writes == []
