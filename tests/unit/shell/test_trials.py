"""Trials are begun, counted and kept: by a process that ends at any moment, and by the next one."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from answering import answering
from tidegate_cluster.api import Api, Conflict, NotFound
from tidegate_cluster.connection import Connection
from tidegate_contract.counters import Counters, Evidence, encode
from tidegate_contract.route import Slot
from tidegate_contract.signals import Counts, ModelSignals, PodCounters, Signals, SlotSignals
from tidegate_operator.cluster import resources as r
from tidegate_operator.core import types as core
from tidegate_operator.core.evidence.tally import begin
from tidegate_operator.core.trial import Trial
from tidegate_operator.kept import Kept, packed, unpacked
from tidegate_operator.trials import AT_LEAST_SECONDS, RATE_SECONDS, SAVE_SECONDS, Trials
from tidegate_operator.writer import Writer
from worlds import ME

KEY = (ME.namespace, ME.name)
TRIAL = Trial("bbbbbbbb", "aaaaaaaa", 1)
TOLERANCE = core.Tolerance()
TALLY = begin(TRIAL.revision, TRIAL.against, TRIAL.number, TOLERANCE.errors, TOLERANCE.slow, [])


class Server:
    """The one ModelRevision of an API server."""

    def __init__(self) -> None:
        self.body: dict[str, Any] | None = {"metadata": {"name": f"{ME.name}-bbbbbbbb", "uid": "u"}}

    async def handle(self, request: web.Request) -> web.Response:
        assert request.path.endswith(f"/namespaces/{ME.namespace}/modelrevisions/{ME.name}-bbbbbbbb")
        if request.method == "GET":
            return web.json_response(self.body or {"message": "not found"}, status=200 if self.body else 404)
        assert request.query["fieldManager"] == r.TRIALS_MANAGER
        sent = await request.json()
        if self.body is None or sent["metadata"]["uid"] != self.body["metadata"]["uid"]:
            return web.json_response({"message": "another one"}, status=409)
        self.body["trials"] = sent["trials"]
        return web.json_response(self.body)

    @property
    def numbers(self) -> list[int]:
        assert self.body is not None
        return [trial["number"] for trial in self.body["trials"]]


class World:
    def __init__(self, server: Server, connection: Connection) -> None:
        self.server, self.connection = server, connection
        self.seconds = 1000.0
        self.marked: list[tuple[str, str]] = []
        self.anew()

    def anew(self) -> None:
        """Another process."""
        writer = Writer(self.connection, lambda: True, lambda verb, code: None)
        api = Api(self.connection, lambda verb, code: None)
        at = datetime(2026, 1, 1, tzinfo=UTC)
        self.trials = Trials(
            api, writer, self.marked.append, lambda: at + timedelta(seconds=self.seconds), lambda: self.seconds
        )

    async def follow(self, trial: Trial | None = TRIAL, uid: str = ME.uid) -> None:
        await self.trials.follow(KEY, uid, trial, TOLERANCE)

    def told(self, ours: tuple[int, int], theirs: tuple[int, int], weight: int = 5, *, all_told: bool = True) -> None:
        self.trials.told(ME.namespace, [signals(ours, theirs, weight)], all_told=all_told)

    def evidence(self) -> core.Evidence:
        found = self.trials.evidence(KEY)
        assert found is not None
        return found


def signals(ours: tuple[int, int], theirs: tuple[int, int], weight: int, counters: tuple[Any, ...] = ()) -> Signals:
    def slot(revision: str, share: int, counted: tuple[int, int]) -> SlotSignals:
        divided = Counts(answered=counted[0], ok=counted[0] - counted[1])
        return SlotSignals(revision=revision, weight=share, pods=1, divided=divided)

    slots = {Slot.A: slot(TRIAL.against, 100 - weight, theirs), Slot.B: slot(TRIAL.revision, weight, ours)}
    return Signals(router="r1", epoch="e1", models={ME.name: ModelSignals(slots=slots)}, counters=list(counters))


def of_a_pod(revision: str, requests: int) -> PodCounters:
    slow = tuple(requests if cell == 20 else 0 for cell in range(65))
    counted = Counters(
        pod=revision, revision=revision, digest="d", epoch=revision, sequence=1, evidence=Evidence(slow=slow)
    )
    return PodCounters(model=ME.name, revision=revision, address="10.0.0.1", counters=msgspec.Raw(encode(counted)))


def of_cells(slow: tuple[int, ...]) -> bytes:
    return encode(Counters(pod="p", revision="r", digest="d", epoch="e", sequence=1, evidence=Evidence(slow=slow)))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    server = Server()
    async with answering(server.handle) as url, aiohttp.ClientSession() as session:
        yield World(server, Connection(url, session))


async def test_a_trial_begins_when_all_routers_were_heard(world: World) -> None:
    await world.follow()
    world.told((90, 90), (900, 0), weight=0, all_told=False)
    assert world.trials.evidence(KEY) is None
    world.told((90, 90), (900, 0), weight=0)
    assert not world.evidence().saved
    assert world.evidence().due
    world.told((90, 90), (990, 0))
    assert not world.evidence().harm, "what was counted before is not held against it"


async def test_harm_is_told_at_once(world: World) -> None:
    await world.follow()
    world.told((0, 0), (0, 0), weight=0)
    world.marked.clear()
    world.told((12, 12), (200, 0))
    assert "12 of 12 answers of bbbbbbbb failed against 0 of 200 of aaaaaaaa" in world.evidence().harm
    assert world.marked == [KEY]
    world.told((12, 12), (201, 0))
    assert world.marked == [KEY], "nothing new"
    world.seconds += AT_LEAST_SECONDS
    world.told((12, 12), (202, 0))
    assert world.marked == [KEY, KEY]


async def test_after_some_seconds_it_is_known_how_many_requests_there_are(world: World) -> None:
    await world.follow()
    world.told((0, 0), (1000, 0), weight=0)
    world.seconds += RATE_SECONDS - 1
    world.told((0, 0), (1150, 0), weight=0)
    assert world.evidence().rate is None
    world.marked.clear()
    world.seconds += 2
    world.told((0, 0), (1400, 0), weight=0)
    assert world.evidence().rate == pytest.approx(100)
    assert world.marked == [KEY], "a candidate waits for it"
    world.seconds += 10
    world.told((0, 0), (1400, 0), weight=0)
    assert world.evidence().rate == pytest.approx(100), "as it was known first"


async def test_what_a_router_has_found_by_itself_is_harm(world: World) -> None:
    await world.follow()
    world.told((0, 0), (0, 0), weight=0)
    told = signals((3, 3), (60, 0), 0)
    slots = told.models[ME.name].slots
    latched = slots | {Slot.B: msgspec.structs.replace(slots[Slot.B], latched="3 of 3 answers failed")}
    models = {ME.name: msgspec.structs.replace(told.models[ME.name], slots=latched)}
    world.marked.clear()
    world.trials.told(ME.namespace, [msgspec.structs.replace(told, models=models)], all_told=True)
    assert world.evidence().harm == "a router has found by itself: 3 of 3 answers failed"
    assert world.marked == [KEY]


async def test_another_process_goes_on_where_the_last_one_was_and_loses_no_request(world: World) -> None:
    await world.follow()
    world.told((0, 0), (0, 0), weight=0)
    await world.trials.save(KEY)
    assert world.evidence().saved
    world.told((3, 3), (60, 0))
    world.anew()
    await world.follow()
    assert world.evidence().saved
    assert not world.evidence().harm
    world.told((12, 12), (200, 0))
    assert "12 of 12 answers" in world.evidence().harm


@pytest.mark.parametrize(
    ("trial", "uid"),
    [
        pytest.param(replace(TRIAL, number=2), ME.uid, id="another trial"),
        pytest.param(replace(TRIAL, against="cccccccc"), ME.uid, id="another stable"),
        pytest.param(replace(TRIAL, began=datetime(2026, 1, 2, tzinfo=UTC)), ME.uid, id="asked for again"),
        pytest.param(TRIAL, "another", id="another object of the same name"),
    ],
)
async def test_what_was_kept_of_another_one_is_nobodys(world: World, trial: Trial, uid: str) -> None:
    await world.follow()
    world.told((0, 0), (0, 0), weight=0)
    world.told((12, 12), (200, 0))
    await world.trials.save(KEY)
    world.anew()
    await world.follow(trial, uid)
    assert world.trials.evidence(KEY) is None
    world.told((12, 12), (200, 0))
    if trial.against == TRIAL.against:
        assert not world.evidence().harm
        await world.trials.save(KEY)
        assert world.evidence().saved


async def test_it_is_due_a_minute_after_it_was_kept(world: World) -> None:
    await world.follow()
    world.told((0, 0), (0, 0), weight=0)
    await world.trials.save(KEY)
    assert not world.evidence().due
    world.seconds += SAVE_SECONDS
    assert world.evidence().due


async def test_the_last_trials_of_a_version_stay(world: World) -> None:
    for number in range(1, 6):
        world.anew()
        await world.follow(replace(TRIAL, number=number))
        world.told((0, 0), (0, 0), weight=0)
        await world.trials.save(KEY)
        await world.trials.save(KEY)
    assert world.server.numbers == [3, 4, 5]


async def test_where_the_version_is_not_kept_its_trial_cannot_be(world: World) -> None:
    known, world.server.body = world.server.body, None
    await world.follow()
    world.told((0, 0), (0, 0), weight=0)
    with pytest.raises(NotFound):
        await world.trials.save(KEY)
    world.server.body = known
    await world.trials.save(KEY)
    assert world.evidence().saved


async def test_what_cannot_be_read_is_begun_anew(world: World) -> None:
    assert world.server.body is not None
    for kept in ("{", "e30=", packed(Kept(ME.uid, TALLY))[:-8]):
        world.server.body["trials"] = [{"number": 1, "against": TRIAL.against, "kept": kept}]
        world.anew()
        await world.follow()
        assert world.trials.evidence(KEY) is None
    world.told((0, 0), (0, 0), weight=0)
    await world.trials.save(KEY)
    assert world.evidence().saved


async def test_the_times_of_pods_count_when_all_pods_are_read(world: World) -> None:
    await world.follow()
    world.told((0, 0), (0, 0), weight=0)
    for step in range(1, 60):
        counters = (of_a_pod(TRIAL.revision, step * 50), of_a_pod(TRIAL.against, 1000 + step * 950))
        told = signals((step * 50, 0), (step * 950, 0), 5, counters if step != 30 else counters[:1])
        world.trials.told(ME.namespace, [told], all_told=True)
    assert world.evidence().proof.startswith("it is no worse: 0 of 2950 answers")


@pytest.mark.parametrize(
    "counted",
    [
        pytest.param(b"{}", id="nothing"),
        pytest.param(b"[", id="no JSON"),
        pytest.param(encode(Counters(pod="p", revision="r", digest="d", epoch="e", sequence=1)), id="usual"),
        pytest.param(of_cells((1, 2)), id="too few cells"),
        pytest.param(of_cells((-1,) * 65), id="below nothing"),
        pytest.param(of_cells((2**62,) * 65), id="too many"),
    ],
)
async def test_whatever_a_pod_says_the_rest_goes_on(world: World, counted: bytes) -> None:
    await world.follow()
    told = PodCounters(model=ME.name, revision=TRIAL.revision, address="10.0.0.1", counters=msgspec.Raw(counted))
    for step in range(3):
        counters = (told, of_a_pod(TRIAL.against, 5000))
        world.trials.told(ME.namespace, [signals((step, 0), (step * 20, 0), 5, counters)], all_told=True)
    assert world.evidence().summary == "0 of 2 answers of bbbbbbbb failed, 0 of 40 of aaaaaaaa"


async def test_counts_that_contradict_each_other_are_no_reason_to_stop(world: World) -> None:
    await world.follow()
    world.told((0, 0), (0, 0), weight=0)
    world.told((10, -3), (20, 30))
    assert world.evidence().requests == 10


async def test_where_another_revision_of_that_name_is_made_the_trial_is_kept_there(world: World) -> None:
    await world.follow()
    world.told((0, 0), (0, 0), weight=0)
    await world.trials.save(KEY)
    world.server.body = {"metadata": {"name": f"{ME.name}-bbbbbbbb", "uid": "another"}}
    with pytest.raises(Conflict):
        await world.trials.save(KEY)
    await world.trials.save(KEY)
    assert world.server.numbers == [1]


@pytest.mark.parametrize("after", [None, replace(TRIAL, number=2)], ids=["none", "the next"])
async def test_a_trial_that_has_ended_is_kept_as_it_ended(world: World, after: Trial | None) -> None:
    await world.follow()
    world.told((0, 0), (0, 0), weight=0)
    await world.trials.save(KEY)
    world.told((12, 12), (200, 0))
    await world.follow(after)
    assert world.server.body is not None
    (body,) = world.server.body["trials"]
    assert unpacked(body["kept"]).tally.entries, "what ended it is in it"


async def test_a_model_that_is_made_again_has_a_trial_of_its_own(world: World) -> None:
    """Within the same second, so that nothing but its uid tells them apart."""
    await world.follow()
    world.told((0, 0), (0, 0), weight=0)
    world.told((12, 12), (200, 0))
    await world.follow(uid="another")
    assert world.trials.evidence(KEY) is None
    assert world.server.body is not None
    (body,) = world.server.body["trials"]
    assert unpacked(body["kept"]).uid == ME.uid, "what the one before has counted is kept as that one's"
    world.told((12, 12), (200, 0))
    assert not world.evidence().harm


async def test_nothing_waits_for_the_end_of_a_trial_to_be_kept(world: World) -> None:
    await world.follow()
    world.told((0, 0), (0, 0), weight=0)
    world.server.body = None
    await world.follow(None)
    assert world.trials.evidence(KEY) is None


async def test_all_that_runs_is_kept_at_the_end(world: World) -> None:
    await world.follow()
    world.told((0, 0), (0, 0), weight=0)
    world.told((12, 12), (200, 0))
    await world.trials.save_all()
    world.anew()
    await world.follow()
    assert "12 of 12" in world.evidence().harm
