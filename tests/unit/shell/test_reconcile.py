"""Whole looks against an API server over HTTP that refuses some of what it is asked."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from answering import answering
from tidegate_cluster.api import Api, ApiError, Conflict
from tidegate_cluster.connection import Connection
from tidegate_cluster.store import Store, key_of
from tidegate_contract import labels
from tidegate_operator import reconcile
from tidegate_operator.cluster import convert
from tidegate_operator.cluster import resources as r
from tidegate_operator.core.types import Identity, Kind, Remove, Status, Via
from tidegate_operator.keys import Tokens
from tidegate_operator.reconcile import Policy, Reconciler, Stores
from tidegate_operator.refusals import Refusals
from tidegate_operator.routers import Routers
from tidegate_operator.trials import Trials
from tidegate_operator.writer import NotLeader, Writer
from worlds import DIGEST, NOW, RELEASE, fields_of, kept

KEY = ("ml", "flights")
PATIENCE = 10.0
MODEL: dict[str, Any] = {
    "metadata": {"name": "flights", "namespace": "ml", "uid": "uid-1", "resourceVersion": "1", "generation": 1},
    "spec": {"model": {"uri": "oci://registry.example/flights:1", "digest": DIGEST}},
}


class Server:
    """Takes what it is given, unless the collection is in `refuse`; counts the writes by collection."""

    def __init__(self) -> None:
        self.model: dict[str, Any] | None = MODEL
        self.refuse: dict[str, int] = {}
        self.wordless = False
        """Whether its refusals have no body."""
        self.kept: dict[str, Any] = {"/api/v1/namespaces/ml": {"metadata": {"name": "ml", "uid": "ml-uid"}}}
        """Secrets and namespaces, by path."""
        self.reads = 0
        self.writes: list[str] = []
        self.sent: list[tuple[str, str, Any]] = []
        """Method, path and body of every write."""
        self.version = 1
        self.others: list[dict[str, Any]] = []
        """Models that a list shows beside it."""
        self.hold: asyncio.Event | None = None
        """No Event is answered before it is set."""
        self.meet: asyncio.Barrier | None = None
        """No status and no record is answered before as many of them have come."""
        self.slow: dict[str, float] = {}
        """The seconds that a write of a collection takes."""

    async def handle(self, request: web.Request) -> web.Response:
        *_, collection, name = request.path.removesuffix("/status").removesuffix("/scale").split("/")
        if request.method == "GET":
            self.reads += 1
            found = self.model if collection == "modeldeployments" else self.kept.get(request.path)
            if name == "modeldeployments":
                return web.json_response(
                    {"metadata": {"resourceVersion": str(self.version)}, "items": [self.model, *self.others]}
                )
            return web.json_response(found or {"message": "not found"}, status=200 if found else 404)
        self.writes.append(collection)
        self.sent.append((request.method, request.path, await request.json()))
        self.version += 1
        await asyncio.sleep(self.slow.get(collection, 0))
        if self.meet and collection in ("modeldeployments", "modelrevisions"):
            await self.meet.wait()
        if collection == "events" and self.hold:
            await self.hold.wait()
        if collection in self.refuse:
            if self.wordless:
                return web.Response(status=self.refuse[collection])
            said = f"no, and this is answer {self.version}"
            return web.json_response({"message": said}, status=self.refuse[collection])
        body = await request.json()
        metadata = {"uid": f"{collection}-uid"} | body.get("metadata", {})
        metadata["resourceVersion"] = str(self.version)
        if request.method == "PATCH" and "apply" in request.headers["Content-Type"]:
            ours = {"manager": r.MANAGER, "operation": "Apply", "subresource": "", "fieldsV1": fields_of(body)}
            metadata["managedFields"] = [ours]
        if collection == "deployments":
            metadata["generation"] = self.version
            metadata["name"] = name
        if collection == "modeldeployments":
            assert self.model is not None
            self.model = self.model | {
                "metadata": self.model["metadata"] | {"resourceVersion": str(self.version)},
                "status": body["status"],
            }
            return web.json_response(self.model)
        if collection == "secrets":
            self.kept[request.path] = body | {"metadata": metadata}
        return web.json_response(body | {"metadata": metadata})


class World:
    def __init__(self, server: Server, connection: Connection) -> None:
        self.server = server
        self.leads = True
        self.stores = Stores(
            models=Store(lambda key: None, key_of),
            pods=Store(lambda key: None),
            revisions=Store(lambda key: None),
            children={kind: Store(lambda key: None) for kind in Kind},
        )
        self.writer = Writer(connection, lambda: self.leads, lambda verb, code: None)
        self.api = Api(connection, lambda verb, code: None)
        self.now = NOW
        self.anew()
        self.feed(MODEL)

    def feed(self, model: dict[str, Any]) -> None:
        self.stores.models.put(r.model(model))

    def feed_newer(self, **changes: Any) -> None:
        """The next version of the object, by the feed."""
        assert self.server.model is not None
        self.server.version += 1
        metadata = self.server.model["metadata"] | {"resourceVersion": str(self.server.version)} | changes
        self.server.model = self.server.model | {"metadata": metadata}
        self.feed(self.server.model)

    def anew(self) -> None:
        """Another process takes over: it knows what the API server knows."""
        self.refusals = Refusals(PATIENCE, lambda: self.now.timestamp())
        tokens = Tokens(self.api, self.writer, "tidegate-system")
        self.marked: list[tuple[str, str]] = []
        self.trials = Trials(self.api, self.writer, self.marked.append, lambda: self.now, float)
        self.routers = Routers(
            pods=lambda namespace: [],
            namespaces=list,
            token=tokens.token,
            changed=self.marked.append,
            told=self.trials,
            monotonic=float,
        )
        self.reconciler = Reconciler(
            self.stores,
            self.api,
            self.writer,
            self.refusals,
            self.routers,
            self.trials,
            tokens,
            self.stores.models.put,
            self.marked.append,
            Policy(RELEASE, Via.SERVICE),
            lambda: self.now,
        )

    async def look(self) -> tuple[float | None, list[str]]:
        """One look: when to look again, and what was written."""
        self.server.writes, self.server.sent = [], []
        return await self.reconciler.look(KEY), self.server.writes

    def degraded(self) -> str:
        return str(self.condition()["reason"])

    def condition(self) -> dict[str, Any]:
        """Degraded, as the status has it."""
        model = self.stores.models.get(KEY)
        assert model is not None
        conditions = msgspec.json.decode(model.status)["conditions"]
        found: dict[str, Any] = next(condition for condition in conditions if condition["type"] == "Degraded")
        return found


@pytest.fixture
async def world() -> AsyncIterator[World]:
    server = Server()
    async with answering(server.handle) as url, aiohttp.ClientSession() as session:
        yield World(server, Connection(url, session))


FIRST = ["modeldeployments", "modelrevisions", "networkpolicies", "serviceaccounts", "services"]


async def created(world: World) -> None:
    """The two looks that make everything: the revision, then its pods."""
    await world.look()
    assert await world.look() == (None, ["deployments"])


async def test_a_first_look_says_what_it_is_about_to_do_and_keeps_the_revision_and_the_second_makes_its_pods(
    world: World,
) -> None:
    again, written = await world.look()
    assert (again, written[:2], sorted(written)) == (None, FIRST[:2], FIRST)
    child = world.stores.children[Kind.SERVICE].get(KEY)
    assert child is not None
    assert child.metadata.labels == {labels.MODEL: "flights"}
    assert len(world.stores.revisions.of(KEY)) == 1, "read from the answer; no watch is waited for"
    assert await world.look() == (None, ["deployments"])
    assert await world.look() == (None, [])


async def test_what_is_refused_is_said_at_once_and_then_tried_now_and_then(world: World) -> None:
    await world.look()
    world.server.refuse = {"deployments": 422}
    assert await world.look() == (0.0, ["deployments"])
    again, written = await world.look()
    assert world.degraded() == "ChildRefused"
    assert again == 10.0
    assert "modeldeployments" in written


async def test_a_refusal_without_a_word_is_one(world: World) -> None:
    """As a proxy before the API server gives it."""
    world.server.refuse, world.server.wordless = {"services": 403}, True
    await world.look()
    await world.look()
    assert world.degraded() == "ChildRefused"
    assert "HTTP 403 without a word" in world.condition()["message"]


@pytest.mark.parametrize(
    "code",
    [400, 403, 413, 422],
    ids=["a webhook without a code", "a quota", "something in between that finds it too large", "the kind itself"],
)
async def test_a_revision_that_is_refused_is_said_and_keeps_nothing_else_from_being_made(
    world: World, code: int
) -> None:
    world.server.refuse = {"modelrevisions": code}
    again, written = await world.look()
    assert (again, sorted(written)) == (0.0, FIRST)
    assert (await world.look())[0] == 10.0
    assert world.degraded() == "ChildRefused"
    world.server.refuse = {}
    await world.look()
    again, written = await world.look()
    assert "deployments" in written


async def test_other_words_for_the_same_refusal_are_neither_a_write_nor_a_hurry(world: World) -> None:
    await world.look()
    world.server.refuse = {"deployments": 403}
    for _ in range(2):
        await world.look()
    again, written = await world.look()
    assert again == 10.0
    assert "modeldeployments" not in written


async def refused(world: World) -> None:
    """The Deployment is refused, and the status says so."""
    await world.look()
    world.server.refuse = {"deployments": 422}
    for _ in range(2):
        await world.look()
    assert world.degraded() == "ChildRefused"


async def expect_taken_back(world: World) -> None:
    """One look finds out that it is taken now, the next one says so, and then there is no hurry."""
    world.server.refuse = {}
    assert (await world.look())[0] == 0.0
    again, written = await world.look()
    assert (again, written[-1]) == (None, "modeldeployments")
    assert world.degraded() == "AsExpected"


async def test_a_new_spec_is_no_reason_to_take_back_that_something_is_refused(world: World) -> None:
    await refused(world)
    since = world.condition()["lastTransitionTime"]
    world.now += timedelta(minutes=5)
    world.feed_newer(generation=2)
    again, written = await world.look()
    assert (again, written) == (10.0, ["modeldeployments", "deployments"]), "one status for the new generation"
    assert (world.degraded(), world.condition()["lastTransitionTime"]) == ("ChildRefused", since)


async def test_a_new_spec_that_is_taken_is_no_longer_complained_of(world: World) -> None:
    await refused(world)
    world.feed_newer(generation=2)
    await expect_taken_back(world)


async def test_a_new_process_takes_the_status_at_its_word(world: World) -> None:
    """Else every restart would take back what is refused, and say it again."""
    await refused(world)
    world.anew()
    assert await world.look() == (10.0, ["deployments"])
    assert world.degraded() == "ChildRefused"


async def test_a_new_process_finds_out_that_nothing_is_refused_any_more(world: World) -> None:
    await refused(world)
    world.anew()
    await expect_taken_back(world)


async def test_a_new_process_and_a_new_spec_leave_the_time_of_the_transition(world: World) -> None:
    await refused(world)
    before = world.condition()
    world.now += timedelta(minutes=5)
    world.feed_newer(generation=2)
    world.anew()
    await world.look()
    after = world.condition()
    assert (after["lastTransitionTime"], after["message"]) == (before["lastTransitionTime"], before["message"])
    assert after["observedGeneration"] == 2


async def test_what_was_refused_of_an_object_says_nothing_about_the_next_one_of_its_name(world: World) -> None:
    await refused(world)
    world.server.refuse = {}
    world.server.model = MODEL | {"metadata": MODEL["metadata"] | {"uid": "uid-2"}}
    world.stores.models.lose(world.stores.models.get(KEY))
    world.feed_newer()
    await world.look()
    assert world.degraded() == "AsExpected"


async def test_what_stays_refused_is_tried_ever_less_often(world: World) -> None:
    await refused(world)
    pauses = []
    for _ in range(7):
        again, written = await world.look()
        assert written == ["deployments"]
        assert again is not None
        pauses.append(again)
        world.now += timedelta(seconds=again)
    assert pauses == [10, 10, 20, 40, 80, 160, 300]
    world.feed_newer(generation=2)
    assert (await world.look())[0] == 10, "whoever changes spec is not made to wait"


async def test_a_webhook_that_is_broken_is_a_refusal_when_it_stays_broken_and_holds_up_nothing_else(
    world: World,
) -> None:
    """Its answer is 500; a broken API server's too, but then the Lease has expired before."""
    world.server.refuse = {"networkpolicies": 500}
    for pause in (PATIENCE / 2, PATIENCE / 2 - 0.1, 0.1):
        with pytest.raises(ApiError):
            await world.look()
        world.now += timedelta(seconds=pause)
    again, written = await world.look()
    assert (again, written) == (0.0, ["networkpolicies", "services", "deployments"]), (
        "and what comes after it in the plan"
    )
    again, written = await world.look()
    assert (again, world.degraded()) == (10.0, "ChildRefused")
    world.server.refuse = {}
    assert (await world.look())[0] == 0.0
    await world.look()
    assert world.degraded() == "AsExpected"


async def test_a_write_that_is_taken_in_between_begins_the_time_of_broken_answers_anew(world: World) -> None:
    await created(world)
    for kind in (Kind.SERVICE, Kind.NETWORK_POLICY):
        world.stores.children[kind].lose(world.stores.children[kind].of(KEY)[0])
    always = {"networkpolicies": 422}
    for _ in range(3):
        world.server.refuse = always | {"services": 500}
        with pytest.raises(ApiError):
            await world.look()
        world.now += timedelta(seconds=PATIENCE)
        world.server.refuse = always
        await world.look()
        world.stores.children[Kind.SERVICE].lose(world.stores.children[Kind.SERVICE].of(KEY)[0])
    assert "NetworkPolicy" in world.condition()["message"]
    assert len(world.refusals.known(KEY, convert.identity(r.model(MODEL)), Status())) == 1


def test_a_broken_answer_of_long_ago_says_nothing_of_one_of_today() -> None:
    days = iter((0.0, 86400.0))
    refusals, me = Refusals(PATIENCE, lambda: next(days)), Identity(*KEY, "uid-1", 1)
    for _ in range(2):
        with pytest.raises(ApiError):
            refusals.words(KEY, Remove(Kind.SERVICE, "flights", "u"), ApiError(500, "broken"))
        # Meanwhile nothing wants that write any more.
        refusals.ended(KEY, me, {}, {(Kind.NETWORK_POLICY, "flights"): "no"}, NOW)


async def test_a_webhook_that_breaks_every_write_is_told_of_as_soon_as_one_that_breaks_one(world: World) -> None:
    world.server.refuse = dict.fromkeys(("networkpolicies", "services", "serviceaccounts", "deployments"), 500)
    with pytest.raises(ApiError):
        await world.look()
    world.now += timedelta(seconds=PATIENCE)
    again, written = await world.look()
    assert (again, set(written)) == (0.0, set(world.server.refuse))


@pytest.mark.parametrize("code", [401, 404, 408, 409, 410, 429])
async def test_an_answer_that_says_nothing_against_the_object_is_no_refusal(world: World, code: int) -> None:
    await world.look()
    world.server.refuse = {"deployments": code}
    for _ in range(8):
        with pytest.raises(ApiError):
            await world.look()
    assert world.degraded() == "AsExpected"


async def test_the_status_and_the_record_of_a_version_are_under_way_together(world: World) -> None:
    world.server.meet = asyncio.Barrier(2)
    async with asyncio.timeout(5):
        await world.look()
    assert {"modeldeployments", "modelrevisions"} < set(world.server.writes)


async def test_of_what_is_under_way_together_nothing_is_given_up_when_one_fails(world: World) -> None:
    world.server.refuse = {"modeldeployments": 409}
    world.server.slow = {"modelrevisions": 0.3}
    with pytest.raises(Conflict):
        await world.look()
    assert world.stores.revisions.of(KEY) != []


async def test_of_two_errors_at_once_a_bug_is_the_one_that_is_seen(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> Any:
        raise TypeError("a bug")

    world.server.refuse = {"modeldeployments": 409}
    monkeypatch.setattr(world.writer, "revision", broken)
    with pytest.raises(TypeError):
        await world.look()


async def test_a_status_that_was_decided_on_an_old_version_is_decided_on_the_new_one_next(world: World) -> None:
    """The feed may be blind for a while."""
    await created(world)
    assert world.server.model is not None
    world.server.version += 1
    metadata = {"generation": 2, "resourceVersion": str(world.server.version)}
    world.server.model = world.server.model | {"metadata": world.server.model["metadata"] | metadata}
    world.server.refuse = {"modeldeployments": 409}
    lose_status(world)
    with pytest.raises(Conflict):
        await world.look()
    known = world.stores.models.get(KEY)
    assert known is not None
    assert known.metadata.generation == 2


async def test_what_is_taken_again_is_no_longer_complained_of(world: World) -> None:
    await world.look()
    world.server.refuse = {"deployments": 422}
    for _ in range(2):
        await world.look()
    world.server.refuse = {}
    assert (await world.look())[0] == 0.0
    await world.look()
    assert world.degraded() == "AsExpected"


async def test_an_event_that_is_not_taken_keeps_nothing_from_being_done(world: World) -> None:
    await world.look()
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


async def test_an_update_names_the_object_and_a_status_its_version(world: World) -> None:
    await created(world)
    service = world.stores.children[Kind.SERVICE].get(KEY)
    assert service is not None
    service.metadata.annotations = {}
    lose_status(world)
    model = world.stores.models.get(KEY)
    assert model is not None
    version = model.metadata.resourceVersion
    await world.look()
    found = {path.rsplit("/namespaces/ml/")[1]: body["metadata"] for _, path, body in world.server.sent}
    assert found["services/flights"]["uid"] == "services-uid"
    assert found["modeldeployments/flights/status"]["resourceVersion"] == version
    assert "uid" not in found["modeldeployments/flights/status"]


async def test_replicas_move_by_scale_with_the_uid_of_what_is_meant(world: World) -> None:
    await created(world)
    lose_replicas(world)
    await world.look()
    (sent,) = (sent for sent in world.server.sent if sent[1].endswith("/scale"))
    assert sent[2] == {"metadata": {"uid": "deployments-uid"}, "spec": {"replicas": 1}}
    assert await world.look() == (None, []), "our own scaling is not repeated before the watch tells of it"


async def test_what_is_told_of_a_deployment_counts_where_our_own_scaling_was_answered_with_that_very_version(
    world: World,
) -> None:
    """A scaling whose answer is lost takes place all the same; the next one changes nothing, and is answered with the
    version in which the controller has said meanwhile that it has seen the first."""
    await created(world)
    lose_replicas(world)
    await world.look()
    deployments = world.stores.children[Kind.DEPLOYMENT]
    assumed = deployments.get(KEY)
    assert assumed is not None
    told = msgspec.structs.replace(assumed, status=r.DeploymentStatus(observedGeneration=assumed.metadata.generation))
    deployments.put(told)
    assert deployments.get(KEY) is told


def lose_replicas(world: World) -> None:
    """Somebody has scaled the Deployment."""
    deployment = world.stores.children[Kind.DEPLOYMENT].get(KEY)
    assert deployment is not None
    deployment.spec.replicas = 7


def lose_status(world: World) -> None:
    """Somebody has written into the status."""
    model = world.stores.models.get(KEY)
    assert model is not None
    model.status = msgspec.Raw(msgspec.json.encode(msgspec.json.decode(model.status) | {"revision": ""}))


def orphan(world: World, **spec: Any) -> None:
    """A revision in the caches whose ModelDeployment is gone."""
    body = msgspec.json.decode(msgspec.json.encode(convert.revision_body(kept())))
    name = spec.get("revision", body["spec"]["revision"])
    metadata = {
        "name": f"flights-{name}",
        "namespace": "ml",
        "uid": f"{name}-uid",
        "resourceVersion": "1",
        "labels": {labels.MODEL: spec.get("model", "flights")},
    }
    world.stores.revisions.put(
        msgspec.convert({"metadata": metadata, "spec": body["spec"] | spec, "record": body["record"]}, r.ModelRevision)
    )


def without_model(world: World) -> None:
    world.server.model = None
    world.stores.models.lose(world.stores.models.get(KEY))


async def test_a_namespace_marks_the_revisions_of_a_model_that_is_gone_and_no_others(world: World) -> None:
    orphan(world)
    world.server.writes = []
    await world.reconciler.look_around("ml")
    assert world.server.writes == [], "the model is there"
    without_model(world)
    await world.reconciler.look_around("ml")
    asked = world.server.reads
    await world.reconciler.look_around("ml")
    assert world.server.reads == asked, "nothing is left to write until the day is over, so nobody is asked for"
    (sent,) = world.server.sent
    assert sent[2]["record"]["orphaned"] == "2026-01-02T03:04:05Z"
    assert sent[2]["metadata"]["uid"].endswith("-uid")


async def test_one_revision_that_means_nothing_does_not_keep_the_others_of_its_namespace(world: World) -> None:
    orphan(world, uri="ftp://nowhere", revision="00000000")
    orphan(world)
    without_model(world)
    await world.reconciler.look_around("ml")
    assert [path.rsplit("/", 1)[1] for _, path, _ in world.server.sent] == [f"flights-{kept().name}"]


async def test_an_orphan_is_deleted_after_a_day_by_its_uid(world: World) -> None:
    orphan(world)
    (item,) = world.stores.revisions.of(KEY)
    item.record.orphaned = NOW - timedelta(days=1)
    without_model(world)
    await world.reconciler.look_around("ml")
    path = f"/apis/models.tidegate.dev/v1alpha1/namespaces/ml/modelrevisions/flights-{kept().name}"
    assert world.server.sent == [
        (
            "DELETE",
            path,
            {"preconditions": {"uid": f"{kept().name}-uid", "resourceVersion": item.metadata.resourceVersion}},
        )
    ]
    assert world.stores.revisions.of(KEY) == []


async def test_a_model_that_a_namespace_finds_again_is_known_from_then_on(world: World) -> None:
    """The feed has not told of it yet."""
    orphan(world)
    world.stores.models.lose(world.stores.models.get(KEY))
    assert world.server.model is not None
    world.server.model = world.server.model | {
        "metadata": world.server.model["metadata"] | {"uid": "uid-2", "resourceVersion": "9"}
    }
    await world.reconciler.look_around("ml")
    assert world.server.sent == []
    assert world.stores.models.get(KEY) is not None


async def test_an_event_that_hangs_holds_up_no_write(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told goes out first, and beside the rest."""
    await created(world)
    world.server.hold = asyncio.Event()
    world.server.writes = []
    assert world.server.model is not None
    spec = world.server.model["spec"] | {"server": {"template": {"env": [{"name": "A", "value": "1"}]}}}
    world.server.model = world.server.model | {"spec": spec}
    metadata = world.server.model["metadata"] | {"resourceVersion": "1000", "generation": 2}
    world.feed(world.server.model | {"metadata": metadata})
    monkeypatch.setattr(reconcile, "EVENT_SECONDS", 0.5)
    looking = asyncio.create_task(world.look())
    await asyncio.wait({looking}, timeout=0.3)
    assert world.server.writes == ["events", "modeldeployments", "modelrevisions"]
    assert not looking.done(), "a look that has nothing else to do gives its Events a while"
    await asyncio.wait_for(looking, timeout=1)
    world.server.hold.set()


async def test_a_spec_that_means_nothing_is_said_and_nothing_is_made(world: World) -> None:
    assert world.server.model is not None
    world.server.model = world.server.model | {"spec": {"model": {"uri": "https://example.com:99999/x"}}}
    world.feed(world.server.model | {"metadata": world.server.model["metadata"] | {"resourceVersion": "2"}})
    again, written = await world.look()
    assert (again, written) == (None, ["events", "modeldeployments"])
    assert world.degraded() == "InvalidSpec"


# ---------------------------------------------------------------- routers

SPACE = ("ml", "")
ROUTED = {"spec": MODEL["spec"] | {"traffic": {"via": "Router"}}}


async def routed(world: World) -> None:
    """The model needs routers, and its namespace has been looked at for it."""
    assert world.server.model is not None
    world.server.model = world.server.model | ROUTED
    world.feed_newer(generation=2)
    await world.look()
    assert world.marked == [SPACE], "it has no port"


async def around(world: World) -> list[str]:
    world.server.writes, world.server.sent = [], []
    await world.reconciler.look_around("ml")
    return world.server.writes


def route(world: World) -> dict[str, Any]:
    model = world.stores.models.get(KEY)
    assert model is not None
    found: dict[str, Any] = msgspec.json.decode(model.status).get("route", {})
    return found


async def test_a_model_gets_its_port_from_the_look_at_its_namespace_and_says_it(world: World) -> None:
    await routed(world)
    assert route(world) == {}
    await around(world)
    assert world.marked[-1] == KEY
    await world.look()
    assert (route(world)["port"], route(world)["generation"]) == (10000, 1)
    marks = len(world.marked)
    await world.look()
    assert len(world.marked) == marks, "nothing is left to say"


async def test_the_routers_are_made_once_and_their_token_before_them(world: World) -> None:
    await routed(world)
    made = await around(world)
    assert made == ["secrets", "secrets", "serviceaccounts", "rolebindings", "poddisruptionbudgets", "deployments"]
    assert [path for _, path, _ in world.server.sent][:2] == [
        "/api/v1/namespaces/tidegate-system/secrets/tidegate-key",
        "/api/v1/namespaces/ml/secrets/tidegate-router",
    ]
    assert await around(world) == [], "not even the Secret"


async def test_what_keeps_routers_from_being_made_their_models_say(world: World) -> None:
    await routed(world)
    world.server.refuse = {"rolebindings": 403}
    assert await world.reconciler.look_around("ml") == reconcile.TROUBLE_SECONDS
    assert world.marked[-1] == KEY
    await world.look()
    assert world.degraded() == "RoutersBlocked"
    assert "RoleBinding tidegate-router" in world.condition()["message"]
    world.server.refuse = {}
    assert await world.reconciler.look_around("ml") is None
    await world.look()
    assert world.degraded() == "AsExpected"


async def test_a_model_that_is_gone_needs_no_routers_and_they_go(world: World) -> None:
    await routed(world)
    await around(world)
    model = world.stores.models.get(KEY)
    assert model is not None
    world.stores.models.remove(model)
    await world.look()
    assert world.marked[-1] == SPACE
    assert sorted(await around(world)) == ["deployments", "poddisruptionbudgets", "rolebindings", "serviceaccounts"]
    assert {method for method, *_ in world.server.sent} == {"DELETE"}


def another_process(world: World) -> None:
    """It leads from now on, and its feed has told of no model yet."""
    world.stores = replace(world.stores, models=Store(lambda key: None, key_of))
    world.anew()


async def test_routers_stay_where_the_feed_has_not_told_of_their_model_yet(world: World) -> None:
    """A process has just begun to lead, and something has happened to a router."""
    await routed(world)
    await around(world)
    another_process(world)
    assert await around(world) == []
    assert world.stores.models.get(KEY) is not None


async def test_a_process_that_has_just_begun_to_lead_takes_no_owner_from_the_routers(world: World) -> None:
    """The feed tells of models one by one."""
    await routed(world)
    hotels = {"metadata": MODEL["metadata"] | {"name": "hotels", "uid": "uid-2", "resourceVersion": "900"}} | ROUTED
    world.feed(hotels)
    world.server.others = [hotels]
    await around(world)
    another_process(world)
    world.feed(hotels)
    assert await around(world) == []
