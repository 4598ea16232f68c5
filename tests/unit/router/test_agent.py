"""What the agent knows and says before, and beside, any Envoy."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath
from typing import Any

import aiohttp
import pytest

from answering import answering
from routed import NAMESPACE, Cluster
from tidegate_cluster.api import Api
from tidegate_cluster.connection import Connection
from tidegate_contract import labels
from tidegate_router import agent
from tidegate_router.agent import Agent
from tidegate_router.endpoints import Address
from tidegate_router.settings import Settings, SettingsError, read_settings
from tidegate_router.watch import Watch
from tidegate_router.xds import Xds

ROUTE = {"port": 10000, "generation": 1, "stable": "a", "slots": {"a": {"revision": "aaaaaaaa", "weight": 100}}}


class World:
    """An agent that looks at a cluster, and has no Envoy."""

    def __init__(self, connection: Connection, cluster: Cluster) -> None:
        self.cluster = cluster
        self.xds = Xds(lambda: None)
        self.watch = Watch(
            Api(connection, lambda verb, code: None), NAMESPACE, lambda name: self.agent.model_changed(name)
        )
        self.agent = Agent(PurePosixPath("/run"), self.watch, self.xds, time.monotonic)
        self.tasks: list[asyncio.Task[None]] = []

    def run(self) -> None:
        work = [self.agent.run(), *(reflector.run() for reflector in self.watch.reflectors)]
        self.tasks = [asyncio.ensure_future(each) for each in work]

    async def ready(self) -> bool:
        """Soon."""
        for _ in range(300):
            if self.agent.ready:
                return True
            await asyncio.sleep(0.01)
        return False


@pytest.fixture
async def world() -> AsyncIterator[World]:
    cluster = Cluster()
    async with answering(cluster.handle) as url, aiohttp.ClientSession() as session:
        made = World(Connection(url, session), cluster)
        yield made
        for task in made.tasks:
            task.cancel()
        await asyncio.gather(*made.tasks, return_exceptions=True)


async def test_an_agent_that_has_not_looked_is_not_ready(world: World) -> None:
    world.cluster.away = True
    world.run()
    await asyncio.sleep(0.2)
    assert not world.agent.ready
    world.cluster.away = False
    assert await world.ready()


async def test_a_namespace_that_may_not_be_read_is_not_an_empty_one(world: World) -> None:
    world.cluster.forbidden = True
    world.run()
    await asyncio.sleep(0.2)
    assert not world.agent.ready
    assert world.xds._catalog is None
    world.cluster.forbidden = False
    assert await world.ready()


async def test_an_agent_whose_envoy_lacks_something_is_not_ready(world: World) -> None:
    world.cluster.model("flights", ROUTE)
    world.run()
    await asyncio.sleep(0.2)
    assert not world.agent.ready


@pytest.mark.parametrize("route", [None, {}, {"port": 1}])
async def test_a_model_without_a_route_that_means_something_keeps_nobody_waiting(world: World, route: Any) -> None:
    world.cluster.put("modeldeployments", "flights", status={"route": route})
    world.run()
    assert await world.ready()
    told = world.agent.tell(world.agent.in_force(), {})["flights"]
    assert (told.generation, told.slots, bool(told.refused)) == (0, {}, route is not None)


async def test_a_slice_without_the_labels_of_a_version_belongs_to_nobody(world: World) -> None:
    pods = [{"addresses": ["10.0.0.1"], "conditions": {}}]
    ports = [{"name": "http", "port": 80}]
    world.cluster.model("flights", ROUTE)
    world.cluster.put("endpointslices", "none", endpoints=pods, ports=ports)
    world.cluster.put("endpointslices", "model", labels={labels.MODEL: "flights"}, endpoints=pods, ports=ports)
    world.cluster.put(
        "endpointslices", "other", labels={labels.MODEL: "b", labels.REVISION: "aaaaaaaa"}, endpoints=pods
    )
    world.run()
    await asyncio.sleep(0.2)
    assert list(world.agent.pods()) == []
    told = {labels.MODEL: "flights", labels.REVISION: "aaaaaaaa"}
    world.cluster.put("endpointslices", "both", labels=told, endpoints=pods, ports=ports)
    await asyncio.sleep(0.1)
    assert list(world.agent.pods()) == [("flights", "aaaaaaaa", Address("10.0.0.1", 80, 0))]


async def test_while_an_operator_asks_nobody_is_warned(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(agent, "LED_SECONDS", 0.2)
    world.run()
    for _ in range(10):
        world.agent.asked()
        await asyncio.sleep(0.05)
    assert caplog.messages == []
    await asyncio.sleep(0.3)
    assert len(caplog.messages) == 1
    assert "no operator has asked" in caplog.messages[0]


# ---------------------------------------------------------------- settings

ENVIRONMENT = {
    "TIDEGATE_NAMESPACE": "ml",
    "TIDEGATE_POD_UID": "router-1",
    "TIDEGATE_ROUTER_DIR": "/run/tidegate",
    "TIDEGATE_TOKEN_FILE": "/etc/token",
}


def test_the_environment_says_what_to_serve() -> None:
    assert read_settings(ENVIRONMENT) == Settings("ml", "router-1", PurePosixPath("/run/tidegate"), Path("/etc/token"))


@pytest.mark.parametrize("name", ENVIRONMENT)
@pytest.mark.parametrize("empty", [True, False])
def test_none_of_it_may_be_missing(name: str, empty: bool) -> None:
    environment = {other: value for other, value in ENVIRONMENT.items() if other != name}
    with pytest.raises(SettingsError, match=f": {name}$"):
        read_settings(environment | ({name: ""} if empty else {}))
