"""What the agent knows and says before, and beside, any Envoy."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path, PurePosixPath
from typing import Any, cast

import aiohttp
import pytest

from answering import answering
from routed import NAMESPACE, Cluster
from tidegate_cluster.api import Api
from tidegate_cluster.connection import Connection
from tidegate_contract import labels
from tidegate_contract.evidence import Arm, Scrape, Signal, harm_of
from tidegate_router import agent, signals
from tidegate_router.agent import Agent
from tidegate_router.endpoints import Address
from tidegate_router.envoy import Envoy
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


# ---------------------------------------------------------------- candidates

DIVIDED = ROUTE | {"slots": {"a": {"revision": "aaaaaaaa", "weight": 95}, "b": {"revision": "bbbbbbbb", "weight": 5}}}


class Counting:
    """An Envoy's counters."""

    def __init__(self) -> None:
        self.stats: dict[str, int] = {}
        self.asked: list[str] = []
        self.away = False

    async def epoch(self) -> str:
        if self.away:
            raise aiohttp.ClientError
        return "life"

    async def counts(self, pattern: str) -> dict[str, int]:
        self.asked.append(pattern)
        return {name: count for name, count in self.stats.items() if re.search(pattern, name)}

    def have(self, cluster: str, answered: int, ok: int) -> None:
        self.stats |= {f"cluster.{cluster}.upstream_rq_completed": answered, f"cluster.{cluster}.upstream_rq_2xx": ok}


async def until(holds: Callable[[], bool]) -> None:
    """Soon."""
    for _ in range(600):
        if holds():
            return
        await asyncio.sleep(0.005)
    pytest.fail("it never came")


@pytest.fixture
async def counting(world: World, monkeypatch: pytest.MonkeyPatch) -> Counting:
    """Of an Envoy that has confirmed everything, beside an agent that an operator has asked."""
    monkeypatch.setattr(agent, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(world.xds, "confirmed", lambda key: "x 1 a=95 b=5")
    for revision in ("aaaaaaaa", "bbbbbbbb"):
        told = {labels.MODEL: "flights", labels.REVISION: revision}
        ports = [{"name": "http", "port": 80}]
        world.cluster.put("endpointslices", revision, labels=told, endpoints=[{"addresses": ["10.0.0.1"]}], ports=ports)
    made = Counting()
    world.agent.asked()
    world.run()
    world.tasks.append(asyncio.ensure_future(world.agent.guard(cast(Envoy, made))))
    return made


async def is_quiet(counting: Counting) -> bool:
    """Soon."""
    await asyncio.sleep(0.1)
    many = len(counting.asked)
    await asyncio.sleep(0.1)
    return len(counting.asked) == many


async def test_only_models_whose_route_gives_a_candidate_weight_are_looked_at(world: World, counting: Counting) -> None:
    world.cluster.model("alone", ROUTE)
    await asyncio.sleep(0.1)
    assert counting.asked == []
    world.cluster.model("flights", DIVIDED)
    await until(lambda: len(counting.asked) > 2)
    assert set(counting.asked) == {signals.failures_of(["flights"])}
    world.cluster.model("flights", ROUTE | {"generation": 2})
    assert await is_quiet(counting)


async def test_a_candidate_that_can_get_nothing_is_not_looked_at(
    world: World, counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.cluster.model("flights", DIVIDED)
    await until(lambda: len(counting.asked) > 2)
    monkeypatch.setattr(world.xds, "confirmed", lambda key: "x 1 a=100 b=0")
    world.cluster.remove("endpointslices", "bbbbbbbb")
    assert await is_quiet(counting)


async def test_each_version_is_counted_by_its_own_slot_and_the_candidates_weight(
    world: World, counting: Counting
) -> None:
    counting.have("flights/a", 900, 900)
    world.cluster.model("flights", DIVIDED)
    await until(lambda: len(counting.asked) > 2)
    counting.have("flights/b", 5, 4)
    counting.have("flights/a", 995, 993)
    asked = len(counting.asked)
    await until(lambda: len(counting.asked) > asked + 2)
    trial = world.agent._models["flights"].trial
    assert trial is not None
    assert trial.harm == harm_of(Signal.ERRORS).after(Scrape(0.05, Arm(5, 1), Arm(95, 2)))


async def test_an_envoy_that_does_not_answer_is_asked_again(world: World, counting: Counting) -> None:
    counting.away = True
    world.cluster.model("flights", DIVIDED)
    await asyncio.sleep(0.2)
    assert counting.asked == []
    counting.away = False
    await until(lambda: len(counting.asked) > 2)


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
