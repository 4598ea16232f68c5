"""The agent beside a real Envoy: what clients, pods and the operator see of both."""

import asyncio
import contextlib
import io
import itertools
import logging
import os
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from routed import TOKEN, Cluster, Object, Pod, Router, endpoint, free_port, routed
from tidegate_contract import names
from tidegate_contract.route import LAST_PORT
from tidegate_router import agent, checks, hold, serve

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(sys.platform != "linux", reason="all of 127.0.0.0/8 is this machine on Linux only"),
]

STABLE, CANDIDATE, SHADOW = "aaaaaaaa", "bbbbbbbb", "cccccccc"
AUTHORIZATION = {"Authorization": f"Bearer {TOKEN}"}
_ips = (f"127.{os.getpid() % 250 + 1}.1.{last}" for last in itertools.count(10))
_names = (f"model-{number}" for number in itertools.count(1))


class Model:
    """One of the models that the router serves."""

    def __init__(self, cluster: Cluster, router: Router) -> None:
        self.cluster = cluster
        self.router = router
        self.name = next(_names)
        self.port = free_port()
        self.generation = 0
        self.pods: list[Pod] = []

    async def pod(self, name: str) -> Pod:
        started = await Pod(next(_ips), name).start()
        self.pods.append(started)
        return started

    def pods_are(self, revision: str, *pods: Pod, **conditions: bool) -> None:
        self.cluster.slice(self.name, revision, [endpoint(pod, **conditions) for pod in pods])

    def tell(self, stable: int = 100, candidate: int = 0, **other: Any) -> None:
        """Its next route."""
        self.generation += 1
        slots = {"a": {"revision": STABLE, "weight": stable}, "b": {"revision": CANDIDATE, "weight": candidate}}
        if shadow := other.pop("shadow", None):
            slots["shadow"] = {"revision": shadow, "weight": 0}
        route = {"port": self.port, "generation": self.generation, "stable": "a", "slots": slots}
        self.cluster.model(self.name, route | other)

    async def signals(self) -> Object:
        models: dict[str, Object] = (await self.router.signals())["models"]
        return models.get(self.name, {})

    async def signals_when(self, holds: Callable[[Object], bool]) -> Object:
        last: Object = {}
        try:
            async with asyncio.timeout(5):
                while not holds(last):
                    await asyncio.sleep(0.01)
                    last = await self.signals()
        except TimeoutError:
            pytest.fail(f"it never came: {last}")
        return last

    async def runs(self, stable: int = 100, candidate: int = 0, **other: Any) -> Object:
        """Tell a route, and wait until Envoy runs it with these weights."""
        self.tell(stable, candidate, **other)
        wanted = self.generation, {"a": stable, "b": candidate}
        return await self.signals_when(lambda found: (found.get("generation"), weights(found)) == wanted)

    @property
    def path(self) -> str:
        return f"/v2/models/{self.name}"

    async def infer(self, path: str = "/infer", **options: Any) -> tuple[int, Object]:
        return await self.router.infer(self.port, self.path + path, **options)

    async def answers(self, many: int) -> Counter[str]:
        """Which pods answer predictions."""
        found = [await self.infer() for _ in range(many)]
        assert {status for status, _ in found} == {200}
        return Counter(answer["pod"] for _, answer in found)


def weights(signals: Object) -> dict[str, int]:
    return {slot: share["weight"] for slot, share in signals.get("slots", {}).items() if slot != "shadow"}


async def until(holds: Callable[[], bool]) -> None:
    """Soon."""
    for _ in range(500):
        if holds():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it never came")


async def asked(pod: Pod, many: int = 1) -> None:
    """Wait until a pod was asked so often."""
    await until(lambda: len(pod.seen) >= many)


class World:
    def __init__(self, cluster: Cluster, router: Router) -> None:
        self.cluster = cluster
        self.router = router
        self.made: list[Model] = []

    async def model(self, stable: int = 1, candidate: int = 1) -> Model:
        """One that runs, with pods a1, a2, ... and b1, b2, ...; stable has all the weight."""
        made = self.empty()
        for revision, letter, many in ((STABLE, "a", stable), (CANDIDATE, "b", candidate)):
            made.pods_are(revision, *[await made.pod(f"{letter}{number + 1}") for number in range(many)])
        await made.runs()
        return made

    def empty(self) -> Model:
        """One of which nothing is known yet."""
        made = Model(self.cluster, self.router)
        self.made.append(made)
        return made

    async def clear(self) -> None:
        self.cluster.away = False
        for made in self.made:
            with contextlib.suppress(KeyError):
                self.cluster.remove("modeldeployments", made.name)
            for revision in (STABLE, CANDIDATE, SHADOW):
                with contextlib.suppress(KeyError):
                    self.cluster.remove("endpointslices", f"{made.name}-{revision}")
            for pod in made.pods:
                await pod.stop()
        self.made.clear()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    cluster = Cluster()
    async with routed(tmp_path_factory.mktemp("router"), cluster) as router:
        yield World(cluster, router)


@pytest_asyncio.fixture(loop_scope="module")
async def world(shared: World) -> AsyncIterator[World]:
    """One Envoy for all tests here; each has models of its own."""
    yield shared
    await shared.clear()


# ---------------------------------------------------------------- who is asked


async def test_weights_are_confirmed_and_reach_both_versions(world: World) -> None:
    model = await world.model()
    assert await model.answers(20) == {"a1": 20}
    found = await model.runs(50, 50)
    assert found["slots"]["a"] | {"divided": 0, "named": 0} == {
        "revision": STABLE,
        "weight": 50,
        "pods": 1,
        "latched": "",
        "divided": 0,
        "named": 0,
    }
    split = await model.answers(200)
    assert 60 < split["b1"] < 140
    told = (await model.signals())["slots"]
    assert (told["a"]["divided"]["ok"], told["b"]["divided"]["ok"]) == (split["a1"] + 20, split["b1"])


async def test_a_prediction_by_chance_is_evidence_under_its_generation(world: World) -> None:
    model = await world.model()
    await model.infer()
    _, headers = model.pods[0].seen[-1]
    assert (headers[names.EVIDENCE_HEADER], headers[names.GENERATION_HEADER]) == ("1", "1")


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        pytest.param(f"/versions/{CANDIDATE}/infer", {}, id="by the path"),
        pytest.param("/infer", {"tidegate-revision": CANDIDATE}, id="by the header"),
        pytest.param("/infer", {"tidegate-revision": CANDIDATE, names.EVIDENCE_HEADER: "1"}, id="as evidence"),
    ],
)
async def test_whoever_names_a_version_gets_it_and_is_no_evidence(
    world: World, path: str, headers: dict[str, str]
) -> None:
    model = await world.model()
    assert await model.infer(path, headers=headers) == (200, {"pod": "b1", "bytes": 2})
    assert names.EVIDENCE_HEADER not in model.pods[1].seen[-1][1]
    told = (await model.signals())["slots"]
    assert (told["b"]["named"]["ok"], told["b"]["divided"]["answered"]) == (1, 0)
    assert told["a"]["divided"]["answered"] == 0


async def test_what_a_client_says_of_evidence_is_thrown_away(world: World) -> None:
    model = await world.model()
    await model.infer(headers={names.EVIDENCE_HEADER: "7"})
    await model.infer("", headers={names.EVIDENCE_HEADER: "7"})
    first, second = (headers.getall(names.EVIDENCE_HEADER, []) for _, headers in model.pods[0].seen)  # type: ignore[attr-defined]
    assert (first, second) == (["1"], [])


async def test_feedback_of_one_path_always_meets_the_same_pod_of_stable(world: World) -> None:
    model = await world.model(stable=3)
    met: dict[str, set[str]] = {}
    for path in (f"/feedback/{number}" for number in range(20)):
        met[path] = {(await model.infer(path))[1]["pod"] for _ in range(3)}
    assert {len(pods) for pods in met.values()} == {1}
    assert set[str]().union(*met.values()) == {"a1", "a2", "a3"}


async def test_a_shadow_gets_copies_that_are_no_evidence_and_whose_answers_nobody_sees(world: World) -> None:
    model = await world.model()
    shadow = await model.pod("shadow")
    shadow.status = 500
    model.pods_are(SHADOW, shadow)
    await model.runs(shadow=SHADOW)
    assert await model.answers(5) == {"a1": 5}
    await asked(shadow, 5)
    path, headers = shadow.seen[0]
    assert path == f"{model.path}/infer"
    assert names.EVIDENCE_HEADER not in headers
    assert model.pods[0].seen[0][1][names.EVIDENCE_HEADER] == "1"


async def test_copies_for_a_shadow_without_pods_wait_for_nobody(world: World) -> None:
    model = await world.model(stable=0)
    await model.runs(shadow=SHADOW)
    asking = asyncio.create_task(model.infer())
    await model.signals_when(lambda found: found["held"] == 1 if found else False)
    await asyncio.sleep(0.1)
    assert (await model.signals())["held"] == 1
    model.pods_are(STABLE, await model.pod("a1"))
    assert (await asking)[0] == 200


# ---------------------------------------------------------------- clients that stay


class Client:
    """It sends back what cookie it was given, beside others of its own."""

    def __init__(self, model: Model, cookie: str = "") -> None:
        self.model = model
        self.cookie = cookie
        self.given: list[str] = []

    async def infer(self) -> str:
        """Which pod answers."""
        url = f"http://127.0.0.1:{self.model.port}{self.model.path}/infer"
        headers = {"Connection": "close"} | ({"Cookie": self.cookie} if self.cookie else {})
        own = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        async with own as session, session.post(url, data=b"{}", headers=headers) as answer:
            assert answer.status == 200
            self.given = answer.headers.getall("Set-Cookie", [])
            if self.given:
                self.cookie = self.given[0].partition(";")[0]
            pod: str = (await answer.json())["pod"]
            return pod


async def test_a_client_stays_with_the_version_that_chance_gave_it_and_is_evidence_once(world: World) -> None:
    model = await world.model()
    await model.runs(70, 30, stickySeconds=60)
    clients = [Client(model) for _ in range(100)]
    first = [await client.infer() for client in clients]
    assert 10 <= Counter(first)["b1"] <= 55
    for client, pod in zip(clients, first, strict=True):
        revision = {"a1": STABLE, "b1": CANDIDATE}[pod]
        assert client.given == [f"tidegate-version={revision}; Path={model.path}; Max-Age=60; HttpOnly"]
    assert [await client.infer() for client in clients] == first
    assert all(client.given == [] for client in clients)
    slots = (await model.signals())["slots"]
    divided = Counter({"a1": slots["a"]["divided"]["answered"], "b1": slots["b"]["divided"]["answered"]})
    assert divided == Counter(first)
    assert slots["b"]["named"]["answered"] == divided["b1"]
    evident = [headers for pod in model.pods for _, headers in pod.seen if names.EVIDENCE_HEADER in headers]
    assert len(evident) == 100


async def test_a_client_of_a_version_without_weight_is_given_another_one_and_loses_nothing(world: World) -> None:
    model = await world.model()
    await model.runs(0, 100, stickySeconds=60)
    clients = [Client(model) for _ in range(20)]
    assert {await client.infer() for client in clients} == {"b1"}
    asking = asyncio.Event()

    async def ask(client: Client) -> set[str]:
        met = set()
        while not asking.is_set():
            met.add(await client.infer())
        return met

    tasks = [asyncio.create_task(ask(client)) for client in clients[:8]]
    await model.runs(100, 0, stickySeconds=60)
    assert {await client.infer() for client in clients[8:]} == {"a1"}
    asking.set()
    assert set().union(*await asyncio.gather(*tasks)) <= {"a1", "b1"}
    assert {client.given[0].partition(";")[0] for client in clients[8:]} == {f"tidegate-version={STABLE}"}
    await model.runs(0, 100, stickySeconds=60)
    assert {await client.infer() for client in clients[8:]} == {"a1"}  # those of stable stay
    model.tell(slots={"a": {"revision": SHADOW, "weight": 100}}, stickySeconds=60)
    model.pods_are(SHADOW, await model.pod("c1"))
    await model.signals_when(lambda found: found["generation"] == model.generation if found else False)
    assert {await client.infer() for client in clients} == {"c1"}  # of what has left nobody


@pytest.mark.parametrize(
    ("cookie", "stays"),
    [
        pytest.param(f"tidegate-version={CANDIDATE}", True, id="alone"),
        pytest.param(f"a=b; tidegate-version={CANDIDATE}", True, id="after another one"),
        pytest.param(f"tidegate-version={CANDIDATE}; a=b", True, id="before another one"),
        pytest.param(f"a=b;tidegate-version={CANDIDATE};c=d", True, id="between others, without blanks"),
        pytest.param(f"a=\udcff; tidegate-version={CANDIDATE}; c=\u00e9", True, id="beside what is not UTF-8"),
        pytest.param(f"x-tidegate-version={CANDIDATE}", False, id="the end of another name"),
        pytest.param(f"a=tidegate-version={CANDIDATE}", False, id="in the value of another one"),
        pytest.param(f"a=b tidegate-version={CANDIDATE}", False, id="after a blank in a value"),
        pytest.param(f"tidegate-version={CANDIDATE}0", False, id="a longer value"),
        pytest.param("tidegate-version=.*", False, id="a pattern"),
        pytest.param("tidegate-version=", False, id="no value"),
        pytest.param("; " * 4000 + "tidegate-version", False, id="long"),
    ],
)
async def test_a_cookie_is_known_by_its_whole_name_and_value(world: World, cookie: str, stays: bool) -> None:
    model = await world.model()
    await model.runs(99, 1, stickySeconds=60)
    head = f"POST {model.path}/infer HTTP/1.1", "host: x", "content-length: 2", "connection: close", f"cookie: {cookie}"
    said = "\r\n".join([*head, "", "{}"])
    given = []
    for _ in range(3):
        reader, writer = await asyncio.open_connection("127.0.0.1", model.port)
        writer.write(said.encode(errors="surrogateescape"))
        given.append(b"set-cookie: tidegate-version=" not in await reader.read())
        writer.close()
        await writer.wait_closed()
    assert given == [stays] * 3
    assert (await model.signals())["slots"]["b"]["named"]["answered"] == 3 * stays


async def test_whoever_names_a_version_gets_it_whatever_cookie_it_has(world: World) -> None:
    model = await world.model()
    await model.runs(50, 50, stickySeconds=60)
    headers = {"Cookie": f"tidegate-version={CANDIDATE}"}
    assert (await model.infer(f"/versions/{STABLE}/infer", headers=headers))[1]["pod"] == "a1"
    assert (await model.infer(headers=headers | {"tidegate-revision": STABLE}))[1]["pod"] == "a1"
    assert (await model.infer("/feedback/1", headers=headers))[1]["pod"] == "a1"


# ---------------------------------------------------------------- a candidate needs somebody


async def test_a_candidate_has_weight_only_while_an_operator_asks(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = await world.model()
    await model.runs(50, 50)
    await world.router.stop_agent()
    monkeypatch.setattr(agent, "LED_SECONDS", 0.5)
    world.router.start_agent()
    await world.router.ready()
    assert await model.answers(40) == {"a1": 40}
    await model.signals_when(lambda found: weights(found) == {"a": 50, "b": 50})
    assert (await model.answers(40)).keys() == {"a1", "b1"}
    await asyncio.sleep(0.6)
    assert await model.answers(40) == {"a1": 40}


async def test_a_wrong_token_is_no_operator_that_asks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.router.stop_agent()
    monkeypatch.setattr(agent, "LED_SECONDS", 60.0)
    world.router.start_agent()
    model = world.empty()
    for revision, name in ((STABLE, "a1"), (CANDIDATE, "b1")):
        model.pods_are(revision, await model.pod(name))
    model.tell(50, 50)
    await world.router.ready()
    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": TOKEN}, {"Authorization": "Bearer "}):
        assert (await world.router.ask("/signals", **headers))[0] == 401
    await asyncio.sleep(0.05)
    assert await model.answers(40) == {"a1": 40}
    assert (await world.router.ask("/signals", **AUTHORIZATION))[0] == 200
    await model.signals_when(lambda found: weights(found) == {"a": 50, "b": 50})


async def test_a_candidate_without_pods_has_no_weight(world: World) -> None:
    model = await world.model(candidate=0)
    model.tell(50, 50)
    told = await model.signals_when(lambda found: found["generation"] == 2 if found else False)
    assert weights(told) == {"a": 100, "b": 0}
    assert await model.answers(20) == {"a1": 20}
    model.pods_are(CANDIDATE, await model.pod("b1"))
    await model.signals_when(lambda found: weights(found) == {"a": 50, "b": 50})


# ---------------------------------------------------------------- a candidate that fails


async def ask_until(model: Model, holds: Callable[[], bool]) -> int:
    """One request after the other; how many of them failed."""
    failed = 0
    for _ in range(600):
        status, _ = await model.infer()
        failed += status != 200
        if holds():
            return failed
        await asyncio.sleep(0.005)
    pytest.fail("it never came")


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at candidates follow each other quickly."""
    monkeypatch.setattr(agent, "LOOK_SECONDS", 0.1)


def latched(caplog: pytest.LogCaptureFixture, model: Model) -> list[str]:
    return [message for message in caplog.messages if message.startswith(f"{model.name}: {CANDIDATE} has no weight")]


@pytest.mark.usefixtures("soon")
async def test_a_candidate_that_fails_gets_nothing_though_no_operator_asks_until_one_has_spoken(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    model = await world.model()
    model.pods[1].status = 500
    await model.runs(80, 20)
    failed = await ask_until(model, lambda: bool(latched(caplog, model)))
    await asyncio.sleep(0.1)
    assert await model.answers(60) == {"a1": 60}
    told = await model.signals()
    assert weights(told) == {"a": 100, "b": 0}
    count, others = (told["slots"][slot]["divided"]["answered"] for slot in ("b", "a"))
    assert failed == count
    words = told["slots"]["b"]["latched"]
    found = re.fullmatch(r"(\d+) of (\d+) answers failed, against 0 of (\d+) of the other version", words)
    assert found
    assert 2 <= int(found[1]) == int(found[2]) <= count
    assert int(found[3]) <= others - 60
    assert told["slots"]["a"]["latched"] == ""
    assert latched(caplog, model) == [f"{model.name}: {CANDIDATE} has no weight any more: {words}"]

    model.pods[1].status = 200
    model.tell(50, 50)  # a step that was on its way
    told = await model.signals_when(lambda found: found.get("generation") == model.generation)
    assert (weights(told), told["slots"]["b"]["latched"]) == ({"a": 100, "b": 0}, words)
    assert await model.answers(20) == {"a1": 20}
    told = await model.runs(100, 0)
    assert told["slots"]["b"]["latched"] == ""
    await model.runs(50, 50)
    assert (await model.answers(40)).keys() == {"a1", "b1"}
    await asyncio.sleep(0.3)
    assert (await model.signals())["slots"]["b"]["latched"] == ""
    assert len(latched(caplog, model)) == 1


@pytest.mark.usefixtures("soon")
async def test_what_fails_by_all_versions_or_was_asked_for_by_name_latches_nobody(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    both, named = await world.model(), await world.model()
    for pod in (*both.pods, named.pods[1]):
        pod.status = 500
    await both.runs(50, 50)
    await named.runs(50, 50)
    for _ in range(60):
        assert (await both.infer())[0] == 500
        assert (await named.infer(f"/versions/{CANDIDATE}/infer"))[0] == 500
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.3)
    assert weights(await both.signals()) == weights(await named.signals()) == {"a": 50, "b": 50}
    assert latched(caplog, both) == latched(caplog, named) == []


@pytest.mark.usefixtures("soon")
async def test_a_latch_outlives_envoy(world: World, caplog: pytest.LogCaptureFixture) -> None:
    model = await world.model()
    model.pods[1].status = 500
    await model.runs(50, 50)
    await ask_until(model, lambda: bool(latched(caplog, model)))
    world.router.kill_envoy()
    world.router.start_envoy()
    await asyncio.sleep(0.1)
    await world.router.ready()
    told = await model.signals_when(lambda found: found.get("generation") == model.generation)
    assert (weights(told), bool(told["slots"]["b"]["latched"])) == ({"a": 100, "b": 0}, True)


@pytest.mark.usefixtures("soon")
async def test_an_agent_that_starts_anew_has_forgotten_and_gives_nothing_until_it_is_asked(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    model = await world.model()
    model.pods[1].status = 500
    await model.runs(50, 50)
    await ask_until(model, lambda: bool(latched(caplog, model)))
    await world.router.stop_agent()
    world.router.start_agent()
    await world.router.ready()
    assert await model.answers(20) == {"a1": 20}
    told = await model.signals_when(lambda found: weights(found) == {"a": 50, "b": 50})
    assert told["slots"]["b"]["latched"] == ""
    await ask_until(model, lambda: len(latched(caplog, model)) == 2)


# ---------------------------------------------------------------- no pod


@pytest.mark.parametrize("size", [2, 10 << 20], ids=["small", "10 MiB"])
async def test_without_pods_of_stable_a_request_waits_for_one(world: World, size: int) -> None:
    model = await world.model()
    model.pods_are(STABLE)
    await model.signals_when(lambda found: found["slots"]["a"]["pods"] == 0 if found else False)
    asking = asyncio.create_task(model.infer(data=io.BytesIO(bytes(size))))
    await model.signals_when(lambda found: found.get("held") == 1)
    model.pods_are(STABLE, model.pods[0])
    assert await asking == (200, {"pod": "a1", "bytes": size})
    told = await model.signals()
    counts = told["slots"]["a"]["divided"]
    assert (told["held"], counts["ok"], counts["again"], counts["sent_on"]) == (0, 1, 1, 1)


async def test_more_than_can_wait_are_told_to_try_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold, "MOST_HELD", 2)
    model = await world.model(stable=0)
    asking = [asyncio.create_task(model.infer()) for _ in range(2)]
    await model.signals_when(lambda found: found.get("held") == 2)
    url = f"http://127.0.0.1:{model.port}{model.path}/infer"
    async with world.router.session.post(url, data=b"{}") as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert "error" in await answer.json()
    model.pods_are(STABLE, await model.pod("a1"))
    assert [status for status, _ in await asyncio.gather(*asking)] == [200, 200]


async def test_a_client_that_goes_away_waits_no_more(world: World) -> None:
    model = await world.model(stable=0)
    asking = asyncio.create_task(model.infer())
    await model.signals_when(lambda found: found.get("held") == 1)
    asking.cancel()
    await model.signals_when(lambda found: found.get("held") == 0)


async def test_pods_that_end_serve_where_nobody_else_does(world: World) -> None:
    model = await world.model()
    model.pods_are(STABLE, model.pods[0], ready=False, terminating=True)
    await asyncio.sleep(0.1)
    assert await model.answers(5) == {"a1": 5}


# ---------------------------------------------------------------- pods that fail


async def test_no_client_sees_a_dead_pod_of_two(world: World) -> None:
    model = await world.model(stable=2)
    await model.pods[0].stop()
    url = f"http://127.0.0.1:{model.port}{model.path}/infer"
    for number in range(200):
        headers = {"Connection": "close"} if number % 2 else {}
        async with world.router.session.post(url, data=b"{}", headers=headers) as answer:
            assert (answer.status, (await answer.json())["pod"]) == (200, "a2")
    counts = (await model.signals())["slots"]["a"]["divided"]
    assert (counts["answered"], counts["ok"]) == (200, 200)
    assert counts["again"] > 0


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_what_a_model_answers_is_never_asked_again(world: World, status: int) -> None:
    model = await world.model(stable=2)
    for pod in model.pods:
        pod.status = status
    assert (await model.infer())[0] == status
    assert sum(len(pod.seen) for pod in model.pods) == 1
    counts = (await model.signals())["slots"]["a"]["divided"]
    assert (counts["answered"], counts["failed"], counts["again"]) == (1, 1, 0)


async def test_what_envoy_itself_has_to_say_is_json(world: World) -> None:
    model = await world.model()
    await model.pods[0].stop()
    status, answer = await model.infer()
    assert status == 503
    assert answer.keys() == {"error"}
    assert isinstance(answer["error"], str)


async def test_a_deadline_that_is_over_is_told_as_unanswered(world: World) -> None:
    model = await world.model()
    await model.runs(timeoutSeconds=0.1)
    model.pods[0].seconds = 5
    assert (await model.infer())[0] == 504
    counts = (await model.signals())["slots"]["a"]["divided"]
    assert (counts["failed"], counts["unanswered"]) == (1, 1)


async def test_a_body_of_16_mib_that_comes_in_pieces_passes(world: World) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(256):
            yield bytes(64 << 10)

    model = await world.model()
    assert await model.infer(data=pieces()) == (200, {"pod": "a1", "bytes": 16 << 20})


# ---------------------------------------------------------------- routes that cannot be


@pytest.mark.parametrize("poison", ["weights", "port", "taken", "revision", "timeout"])
async def test_a_route_that_cannot_be_is_refused_for_its_model_alone(world: World, poison: str) -> None:
    other, model = await world.model(), await world.model()
    match poison:
        case "weights":
            model.tell(50, 51)
        case "port":
            model.tell(port=LAST_PORT + 1)
        case "taken":
            model.tell(port=other.port)
        case "revision":
            model.tell(slots={"a": {"revision": "", "weight": 100}})
        case "timeout":
            model.tell(timeoutSeconds=1e15)
    refused = await model.signals_when(lambda found: bool(found.get("refused")))
    assert (await other.runs(50, 50))["refused"] == ""
    await world.router.ready(1)
    assert refused["refused"]
    assert await model.infer() == (200, {"pod": "a1", "bytes": 2})
    told = await model.runs(50, 50)
    assert told["refused"] == ""


async def test_a_new_model_whose_port_is_taken_is_served_when_it_is_free(world: World) -> None:
    other, model = await world.model(), world.empty()
    model.port = other.port
    model.pods_are(STABLE, await model.pod("new"))
    model.tell()
    told = await model.signals_when(lambda found: bool(found.get("refused")))
    assert "address" in told["refused"]
    await world.router.ready(1)
    assert await other.answers(3) == {"a1": 3}
    world.cluster.remove("modeldeployments", other.name)
    await model.signals_when(lambda found: found["refused"] == "" and found["generation"] == 1 if found else False)
    assert await model.answers(3) == {"new": 3}


async def test_a_model_made_anew_under_its_name_has_nothing_of_the_old_one(world: World) -> None:
    """Its generations start again at 1, and nobody may have seen that it was gone."""
    model = await world.model()
    world.cluster.away = True
    await asyncio.sleep(0.05)
    model.generation = 0
    model.tell(slots={"a": {"revision": CANDIDATE, "weight": 100}, "b": {"revision": STABLE, "weight": 0}})
    world.cluster.away = False
    await model.signals_when(lambda found: found["slots"]["a"]["revision"] == CANDIDATE if found else False)
    await asyncio.sleep(0.1)
    assert (await model.infer(f"/versions/{STABLE}/infer"))[1] == {"pod": "a1", "bytes": 2}


# ---------------------------------------------------------------- what comes and goes


async def test_a_model_that_is_removed_closes_its_port_and_no_other_and_answers_what_it_has(world: World) -> None:
    other, model = await world.model(), await world.model()
    model.pods[0].seconds = 0.5
    asking = asyncio.create_task(model.infer())
    await asked(model.pods[0])
    world.cluster.remove("modeldeployments", model.name)
    await model.signals_when(lambda found: found == {})
    with pytest.raises(ConnectionRefusedError):  # noqa: PT012 - soon, not at once
        while not asking.done():
            _, writer = await asyncio.open_connection("127.0.0.1", model.port)
            writer.close()
            await asyncio.sleep(0.02)
    assert await asking == (200, {"pod": "a1", "bytes": 2})
    assert await other.answers(3) == {"a1": 3}


async def test_a_model_that_comes_back_is_served(world: World) -> None:
    """Envoy drains the old listener for half a minute, and has its route all that time."""
    model = await world.model()
    for _ in range(2):
        world.cluster.remove("modeldeployments", model.name)
        await model.signals_when(lambda found: found == {})
        model.generation = 0
        await model.runs()
        assert await model.answers(3) == {"a1": 3}


async def test_a_route_that_is_taken_away_lets_nobody_in_and_answers_who_is_there(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "DRAIN_SECONDS", 1.5)
    other, model = await world.model(), await world.model(stable=2)
    pods = model.pods[:2]
    url = f"http://127.0.0.1:{model.port}{model.path}/infer"
    async with aiohttp.ClientSession() as connected:
        async with connected.post(url, data=b"{}") as answer:
            await answer.read()
        for pod in pods:
            pod.seconds = 1.0
        asking = [asyncio.create_task(model.infer()) for _ in range(8)]
        for pod in pods:
            await asked(pod, 4)
        world.cluster.model(model.name, None)
        leaving = await model.signals_when(lambda found: found["leaving"] == 8 if found else False)
        assert leaving["generation"] == 1
        with pytest.raises(ConnectionRefusedError):  # noqa: PT012 - soon, not at once
            while not any(task.done() for task in asking):
                _, writer = await asyncio.open_connection("127.0.0.1", model.port)
                writer.close()
                await asyncio.sleep(0.02)
        for pod in pods:
            pod.seconds = 0.0
        model.pods_are(STABLE, pods[0])  # one that goes meanwhile is asked no more
        await model.signals_when(lambda found: found["slots"]["a"]["pods"] == 1 if found else False)
        async with connected.post(url, data=b"{}") as answer:
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert (await answer.json())["pod"] == pods[0].name
    assert {status for status, _ in await asyncio.gather(*asking)} == {200}
    gone = await model.signals_when(lambda found: found["generation"] == 0 if found else False)
    assert (gone["slots"], gone["leaving"], gone["refused"]) == ({}, 0, "")
    await world.router.ready(1)
    assert await other.answers(3) == {"a1": 3}
    assert (await model.runs())["leaving"] == 0
    await world.router.ready(1)
    assert (await model.answers(4)).keys() == {"a1"}


async def test_a_route_that_comes_back_before_all_is_gone_is_served_as_before(world: World) -> None:
    model = await world.model()
    world.cluster.model(model.name, None)
    await asyncio.sleep(0.1)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", model.port)
    world.cluster.model(model.name, {"port": model.port, "generation": 2, "stable": "a", "slots": {}})
    told = await model.signals_when(lambda found: bool(found.get("refused")))
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", model.port)
    assert told["generation"] == 1
    model.generation += 1
    await model.runs(50, 50)
    assert (await model.answers(40)).keys() == {"a1", "b1"}


async def test_a_model_may_get_another_port(world: World) -> None:
    model = await world.model()
    before, model.port = model.port, free_port()
    await model.runs()
    await model.signals_when(lambda found: found["refused"] == "" if found else False)
    await world.router.ready(1)
    assert await model.answers(3) == {"a1": 3}
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", before)


async def test_while_the_api_server_is_away_routing_goes_on_and_then_it_catches_up(world: World) -> None:
    model = await world.model()
    world.cluster.away = True
    model.tell(50, 50)
    await asyncio.sleep(0.2)
    assert await model.answers(20) == {"a1": 20}
    await world.router.ready(1)
    world.cluster.away = False
    await model.signals_when(lambda found: weights(found) == {"a": 50, "b": 50})


async def test_an_agent_that_starts_anew_changes_nothing_for_clients(world: World) -> None:
    model = await world.model(stable=0)
    asking = asyncio.create_task(model.infer())
    await model.signals_when(lambda found: found.get("held") == 1)
    model.pods_are(STABLE, await model.pod("a1"))
    await asking
    before = await world.router.signals()
    statuses: Counter[int] = Counter()

    async def client() -> None:
        while True:
            statuses[(await model.infer())[0]] += 1

    clients = asyncio.create_task(client())
    await world.router.stop_agent()
    await asyncio.sleep(1.0)
    world.router.start_agent()
    started = time.monotonic()
    await world.router.ready()
    assert time.monotonic() - started < 2
    clients.cancel()
    await asyncio.gather(clients, return_exceptions=True)
    assert statuses.keys() == {200}
    after = await world.router.signals()
    assert after["epoch"] == before["epoch"]
    counts = after["models"][model.name]["slots"]["a"]["divided"]
    assert counts["ok"] >= statuses[200] + 1
    assert (counts["again"], counts["sent_on"]) == (1, 1)
    assert await model.runs(50, 50)


async def test_a_route_that_means_nothing_takes_nothing_away_from_a_new_agent(world: World) -> None:
    model = await world.model()
    world.cluster.model(model.name, {"port": model.port, "generation": 2, "stable": "a", "slots": {}})
    model.generation += 1
    await world.router.stop_agent()
    world.router.start_agent()
    await world.router.ready()
    assert await model.answers(3) == {"a1": 3}
    told = await model.signals_when(lambda found: found.get("generation") == 1)
    assert told["refused"].startswith("status.route")
    assert await model.runs(50, 50)


async def test_requests_at_a_version_that_has_left_the_route_are_told(world: World) -> None:
    model = await world.model()
    slow = model.pods[1]
    slow.seconds = 0.5
    asking = asyncio.create_task(model.infer(f"/versions/{CANDIDATE}/infer"))
    await asked(slow)
    model.tell(slots={"a": {"revision": STABLE, "weight": 100}})
    await model.signals_when(lambda found: found.get("generation") == 2 and found["leaving"] == 1)
    assert (await asking)[1]["pod"] == "b1"
    await model.signals_when(lambda found: found["leaving"] == 0 if found else False)


async def test_an_envoy_that_starts_anew_is_told_everything_and_has_another_epoch(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    model = await world.model()
    await model.infer()
    before = await world.router.signals()
    world.router.kill_envoy()
    assert (await world.router.ask("/ready"))[0] == 503
    assert (await world.router.ask("/signals", **AUTHORIZATION))[0] == 503
    world.router.start_envoy()
    await world.router.ready()
    after = await world.router.signals()
    assert after["epoch"] != before["epoch"]
    assert after["models"][model.name]["slots"]["a"]["divided"]["answered"] == 0
    assert await model.answers(3) == {"a1": 3}
    await model.runs(50, 50)
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []


# ---------------------------------------------------------------- whether stable answers


async def test_a_model_answers_when_stable_is_ready_by_its_own_port(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "CHECK_SECONDS", 0.1)
    monkeypatch.setattr(checks, "FAILED_SECONDS", 0.1)
    model = await world.model()
    told = await model.signals_when(lambda found: found.get("answers") is True)
    assert {slot: share["divided"]["answered"] for slot, share in told["slots"].items()} == {"a": 0, "b": 0}
    assert (await model.infer())[0] == 200
    model.pods[0].ready = 503
    await model.signals_when(lambda found: found["answers"] is False if found else False)
    model.pods[0].ready = 200
    await model.signals_when(lambda found: found.get("answers") is True)
    assert model.pods[1].checked == 0
    assert len(model.pods[0].seen) == 1


async def test_whoever_asks_for_signals_often_asks_a_pod_no_oftener(world: World) -> None:
    model = await world.model()
    await model.signals_when(lambda found: found.get("answers") is True)
    before = model.pods[0].checked
    for _ in range(20):
        await model.signals()
        await asyncio.sleep(0.02)
    assert model.pods[0].checked == before


@pytest.mark.parametrize("change", ["route", "pods", "stable"])
async def test_another_way_is_asked_anew(world: World, change: str) -> None:
    model = await world.model()
    await model.signals_when(lambda found: found.get("answers") is True)
    asked_now = await model.pod("a2")
    asked_now.ready = 503
    before = model.pods[0].checked
    match change:
        case "route":
            await model.runs(90, 10)
            asked_now = model.pods[0]
        case "pods":
            model.pods_are(STABLE, asked_now)
        case "stable":
            model.pods_are(CANDIDATE, asked_now)
            model.tell(slots={"a": {"revision": CANDIDATE, "weight": 100}})
    await until(lambda: asked_now.checked > (before if change == "route" else 0))
    answers = change == "route"
    await model.signals_when(lambda found: found["answers"] is answers if found else False)


async def test_without_pods_nobody_answers_and_nothing_waits_for_them(world: World) -> None:
    model = await world.model()
    await model.signals_when(lambda found: found.get("answers") is True)
    model.pods_are(STABLE)
    told = await model.signals_when(lambda found: found["slots"]["a"]["pods"] == 0 if found else False)
    assert told["answers"] is False
    for _ in range(10):
        assert (await model.signals())["held"] == 0
        await asyncio.sleep(0.02)
    model.pods_are(STABLE, model.pods[0])
    await model.signals_when(lambda found: found.get("answers") is True)


async def test_a_pod_that_says_nothing_does_not_answer_and_holds_nobody_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(checks, "CHECK_SECONDS", 0.0)
    model = await world.model()
    await model.signals_when(lambda found: found.get("answers") is True)
    (slow, *_) = model.pods
    slow.ready_seconds = 30.0
    await model.signals()
    await until(lambda: slow.checking == 1)
    started = time.monotonic()
    await model.signals()
    assert time.monotonic() - started < 0.2
    await model.signals_when(lambda found: found["answers"] is False if found else False)
    monkeypatch.setattr(checks, "FAILED_SECONDS", 60.0)
    await model.signals_when(lambda found: found["slots"]["a"]["named"]["active"] == 0 if found else False)
    await until(lambda: slow.checking == 0)


async def test_a_model_whose_port_is_taken_does_not_answer(world: World) -> None:
    other, model = await world.model(), await world.model()
    await model.signals_when(lambda found: found.get("answers") is True)
    model.port = other.port
    model.tell()
    await model.signals_when(lambda found: bool(found.get("refused")))
    await model.signals_when(lambda found: found["answers"] is False if found else False)
    assert (await other.signals())["answers"] is True


# ---------------------------------------------------------------- what the agent answers


async def test_the_counters_of_pods_are_relayed_where_they_are_asked_for(world: World) -> None:
    model = await world.model()
    await model.pods[1].stop()
    assert (await world.router.signals())["counters"] == []
    where = {"model": model.name, "revision": STABLE, "address": model.pods[0].ip}
    told = where | {"counters": {"pod": "a1", "bytes": 0}}
    assert (await world.router.signals("?counters=1"))["counters"] == [told]


@pytest.mark.parametrize(("size", "relayed"), [(300_000, 1), (2 << 20, 0)])
async def test_counters_are_told_whole_or_not_at_all(world: World, size: int, relayed: int) -> None:
    model = await world.model()
    model.pods[0].name = "x" * size
    told = (await world.router.signals("?counters=1"))["counters"]
    assert len(told) == relayed + 1
    assert all(len(each["counters"]["pod"]) in (2, size) for each in told)


async def test_a_router_that_ends_says_so_and_waits_for_its_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "SPREAD_SECONDS", 0.1)
    monkeypatch.setattr(serve, "LOOK_SECONDS", 0.05)
    cluster = Cluster()
    async with routed(tmp_path, cluster) as router:
        alone = World(cluster, router)
        model = await alone.model()
        slow = model.pods[0]
        slow.seconds = 2.0
        asking = asyncio.create_task(model.infer())
        await asked(slow)
        ended = asyncio.create_task(router.ask("/drained"))
        draining = asyncio.create_task(asyncio.to_thread(router.drain))
        for _ in range(200):
            if await router.ask("/ready") == (503, "draining"):
                break
            await asyncio.sleep(0.01)
        assert not draining.done()
        slow.seconds = 0.0
        async with router.session.post(f"http://127.0.0.1:{model.port}{model.path}/infer") as answer:
            assert (answer.status, answer.headers["connection"]) == (200, "close")
        await asyncio.sleep(0.4)
        assert not draining.done()
        assert not ended.done()
        assert await asking == (200, {"pod": "a1", "bytes": 2})
        assert await asyncio.wait_for(draining, 2) == 0
        assert await asyncio.wait_for(ended, 1) == (200, "drained")
        await alone.clear()


async def test_nobody_can_end_a_router_by_its_port(world: World) -> None:
    assert (await world.router.ask("/drain"))[0] == 404


async def test_the_agent_lives_and_has_nothing_else_to_say(world: World) -> None:
    assert await world.router.ask("/live") == (200, "live")
    assert (await world.router.ask("/other"))[0] == 404
