"""What routers say is remembered, what they do not say is known, and whoever waits for it is told."""

import asyncio
import gzip
import itertools
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import aiohttp
import msgspec
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate_cluster.api import ApiError
from tidegate_contract.route import Slot
from tidegate_contract.signals import ModelSignals, Signals, SlotSignals
from tidegate_operator import routers
from tidegate_operator.core.types import Router
from tidegate_operator.routers import NoAnswer, Pod, Routers

A, B = Pod("uid-a", "router-a", "127.0.0.2"), Pod("uid-b", "router-b", "127.0.0.3")
OTHER = Pod("uid-o", "router-o", "127.0.0.4")
KEY, NAMESPACE = ("ml", "flights"), ("ml", "")
MODEL = ModelSignals(generation=3, slots={Slot.A: SlotSignals(revision="aaaaaaaa", weight=100, pods=2)}, leaving=1)
SAID = Router(3, {Slot.A: 2}, 1)


@dataclass
class Fake:
    """A router's agent."""

    pod: Pod
    models: Mapping[str, ModelSignals] = field(default_factory=lambda: {"flights": MODEL})
    answer: Callable[[], Awaitable[web.StreamResponse]] | None = None
    """What it says instead of its signals."""
    asked: int = 0
    asked_for_pods: int = 0
    at_once: int = 0
    most_at_once: int = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        self.asked_for_pods += "counters" in request.query
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.answer is not None:
                return await self.answer()
            if request.headers.get("Authorization") != "Bearer of-ml" or request.path != "/signals":
                return web.Response(status=401)
            return web.Response(body=msgspec.json.encode(self.signals()))
        finally:
            self.at_once -= 1

    def signals(self) -> Signals:
        return Signals(router=self.pod.uid, epoch="1", models=dict(self.models))


def says(
    status: int = 200, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> Callable[[], Awaitable[web.StreamResponse]]:
    async def answer() -> web.StreamResponse:
        return web.Response(status=status, body=body, headers=headers)

    return answer


async def hangs() -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def is_cut_off() -> web.StreamResponse:
    return web.Response(body=b"{", headers={"Content-Length": "9"})


def of_routers(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What they said, and not the servers of the test."""
    return [record for record in caplog.records if record.name == routers.__name__]


class World:
    """Routers that pretend, and a clock that is moved by hand."""

    def __init__(self, *fakes: Fake, jitter: float = 1.0) -> None:
        self.fakes = {fake.pod.uid: fake for fake in fakes}
        self.listed: dict[str, list[Pod]] = {"ml": [fake.pod for fake in fakes]}
        self.now = 1000.0
        self.tokens: list[str] = []
        """The namespaces whose token was wanted."""
        self.token: str | Exception | None = "of-ml"
        self.marked: list[tuple[str, str]] = []
        self.rounds: list[tuple[list[str], bool]] = []
        """Who has answered each question, and whether those were all."""
        self.counts = False
        """Whether a trial runs."""
        self.routers = Routers(
            lambda namespace: self.listed.get(namespace, []),
            lambda: list(self.listed),
            self._token,
            self.marked.append,
            self,
            lambda: self.now,
            lambda: jitter,
        )
        self.own: Any = None

    def counting(self, namespace: str) -> bool:
        return self.counts

    def told(self, namespace: str, round: list[Signals], *, all_told: bool) -> None:
        self.rounds.append(([told.router for told in round], all_told))

    async def _token(self, namespace: str) -> str | None:
        self.tokens.append(namespace)
        if isinstance(self.token, Exception):
            raise self.token
        return self.token

    def asked_for_pods(self) -> int:
        return sum(fake.asked_for_pods for fake in self.fakes.values())

    async def step(self, seconds: float = 0.0) -> list[tuple[str, str]]:
        """Time goes by, and whoever is due is asked; returns what was marked."""
        self.now += seconds
        self.marked.clear()
        async with asyncio.TaskGroup() as rounds:
            self.routers._begin(self.own, rounds)
        return sorted(self.marked)

    async def asked_at(self, pod: Pod, until: float, tick: float = 0.25) -> list[float]:
        """Seconds from now at which it is asked."""
        start, found = self.now, list[float]()
        while self.now - start < until:
            before = self.fakes[pod.uid].asked
            await self.step(tick)
            if self.fakes[pod.uid].asked > before:
                found.append(self.now - start)
        return found

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.routers.run())
        yield
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.fixture
async def worlds(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., Awaitable[World]]]:
    """Worlds whose routers listen, all at one port, each at an address of its own."""
    async with AsyncExitStack() as stack:
        with socket.create_server(("127.0.0.9", 0)) as free:
            port = free.getsockname()[1]
        monkeypatch.setattr(routers, "AGENT_PORT", port)
        monkeypatch.setattr(routers, "ANSWER_SECONDS", 0.3)

        async def make(*fakes: Fake, jitter: float = 1.0) -> World:
            world = World(*fakes, jitter=jitter)
            for fake in fakes:
                app = web.Application()
                app.router.add_route("*", "/{tail:.*}", fake.handle)
                runner = web.AppRunner(app, shutdown_timeout=0.1)
                await runner.setup()
                stack.push_async_callback(runner.cleanup)
                await web.TCPSite(runner, fake.pod.ip, port).start()
            world.own = await stack.enter_async_context(routers.session())
            return world

        yield make


Worlds = Callable[..., Awaitable[World]]


# -------------------------------------------------------------------- what a router says


async def test_what_each_router_says_is_known_by_the_uid_of_its_pod(worlds: Worlds) -> None:
    refused = ModelSignals(generation=2, refused="no such port")
    world = await worlds(Fake(A), Fake(B, {"flights": refused}))
    assert world.routers.heard(KEY) == {"uid-a": None, "uid-b": None}
    await world.step()
    assert world.routers.heard(KEY) == {"uid-a": SAID, "uid-b": Router(2, refused="no such port")}
    assert world.routers.heard(("ml", "unknown")) == {"uid-a": Router(), "uid-b": Router()}
    assert world.routers.heard(("elsewhere", "flights")) == {}


async def test_one_that_just_starts_has_not_fallen_silent_and_one_that_never_begins_has(worlds: Worlds) -> None:
    world = await worlds(Fake(A), Fake(B))
    world.fakes["uid-b"].answer = says(503)
    await world.step()
    assert world.routers.heard(KEY)["uid-b"] is None
    assert world.routers.fallen_silent("ml") == 0
    for _ in range(40):
        await world.step(0.5)
    assert world.routers.fallen_silent("ml") == 1
    world.fakes["uid-a"].answer = says(503)
    for _ in range(20):
        await world.step(0.5)
    assert world.routers.fallen_silent("ml") == 2
    assert world.routers.fallen_silent("elsewhere") == 0


async def test_a_pod_with_an_address_of_ipv6_is_asked(worlds: Worlds) -> None:
    world = await worlds(Fake(Pod("uid-6", "router-6", "::1")))
    await world.step()
    assert world.routers.heard(KEY) == {"uid-6": SAID}


async def test_fields_that_a_later_release_adds_are_left_out(worlds: Worlds) -> None:
    fake = Fake(A)
    told = msgspec.to_builtins(fake.signals()) | {"weather": {"wind": 3}}
    fake.answer = says(body=msgspec.json.encode(told))
    world = await worlds(fake)
    await world.step()
    assert world.routers.heard(KEY) == {"uid-a": SAID}


NO_ANSWERS: dict[str, tuple[Callable[[], Awaitable[web.StreamResponse]], str]] = {
    "it hangs": (hangs, "TimeoutError"),
    "it does not know the token": (says(401), "HTTP 401"),
    "Envoy does not answer": (says(503), "HTTP 503"),
    "it sends elsewhere": (says(302, headers={"Location": "http://127.0.0.3/signals"}), "HTTP 302"),
    "no JSON": (says(body=b"<html>"), "DecodeError"),
    "no text": (says(body=b'{"router": "\xff"}'), "UnicodeDecodeError"),
    "no signals": (says(body=b'{"router": 7}'), "ValidationError"),
    "nothing": (says(), "DecodeError"),
    "deeper than anybody reads": (says(body=b'{"x":' + b"[" * 100_000), "RecursionError"),
    "too much": (says(body=b" " * (routers.MOST_BYTES + 1)), "more than 4194304 bytes"),
    "small only while it is packed": (
        says(body=gzip.compress(msgspec.json.encode(Fake(A).signals())), headers={"Content-Encoding": "gzip"}),
        "DecodeError",
    ),
    "not all of it": (is_cut_off, "TimeoutError"),
    "another pod": (says(body=msgspec.json.encode(Fake(B).signals())), "another pod has its address"),
}


@pytest.mark.parametrize(("answer", "why"), NO_ANSWERS.values(), ids=NO_ANSWERS)
async def test_what_is_no_answer(
    worlds: Worlds,
    answer: Callable[[], Awaitable[web.StreamResponse]],
    why: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, routers.__name__)
    world = await worlds(Fake(A, answer=answer), Fake(B))
    for _ in range(3):
        await world.step(0.5)
    assert world.routers.heard(KEY) == {"uid-a": None, "uid-b": SAID}
    assert [record.getMessage() for record in of_routers(caplog)] == [f"router ml/router-a does not answer: {why}"]
    assert world.fakes["uid-b"].asked == 3, "a router is sent nowhere"


async def test_a_pod_that_nobody_listens_in_is_no_answer(worlds: Worlds) -> None:
    world = await worlds(Fake(A))
    world.listed["ml"].append(B)
    await world.step()
    assert world.routers.heard(KEY) == {"uid-a": SAID, "uid-b": None}


async def test_it_is_logged_when_a_router_stops_answering_and_when_it_answers_again(
    worlds: Worlds, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, routers.__name__)
    world = await worlds(Fake(A))
    for status, seconds in [
        (0, 0.0),
        (401, 15.0),
        (503, 0.5),
        (401, 0.5),
        (401, 5.0),
        (0, 0.5),
        (0, 15.0),
        (401, 15.0),
    ]:
        world.fakes["uid-a"].answer = says(status) if status else None
        await world.step(seconds)
    said = [record.getMessage().removeprefix("router ml/router-a ") for record in of_routers(caplog)]
    assert said == [
        "does not answer: HTTP 401",
        "does not answer: HTTP 503",
        "is silent",
        "answers",
        "does not answer: HTTP 401",
    ]


# -------------------------------------------------------------------- who is told


def models(**generations: int) -> dict[str, ModelSignals]:
    return {name: ModelSignals(generation=generation) for name, generation in generations.items()}


CHANGES: dict[str, tuple[dict[str, ModelSignals], dict[str, ModelSignals], list[str]]] = {
    "nothing": (models(a=1, b=1), models(a=1, b=1), []),
    "a generation": (models(a=1, b=1), models(a=2, b=1), ["a"]),
    "one appears": (models(a=1), models(a=1, b=1), ["b"]),
    "one vanishes": (models(a=1, b=1), models(b=1), ["a"]),
    "pods": ({"a": ModelSignals(slots={})}, {"a": MODEL}, ["a"]),
    "a refusal": ({"a": ModelSignals()}, {"a": ModelSignals(refused="x")}, ["a"]),
    "requests that leave": ({"a": ModelSignals(leaving=1)}, {"a": ModelSignals(leaving=2)}, ["a"]),
    "requests that are held": ({"a": ModelSignals(held=1)}, {"a": ModelSignals(held=2)}, []),
}


@pytest.mark.parametrize(("before", "after", "marked"), CHANGES.values(), ids=CHANGES)
async def test_a_model_is_told_when_a_router_says_something_else_of_it(
    worlds: Worlds, before: dict[str, ModelSignals], after: dict[str, ModelSignals], marked: list[str]
) -> None:
    world = await worlds(Fake(A, before))
    assert await world.step() == [NAMESPACE, *(("ml", name) for name in before)]
    world.fakes["uid-a"].models = after
    assert await world.step(15.0) == [("ml", name) for name in marked]


async def test_all_that_a_router_ever_told_of_hear_that_it_is_silent_and_that_it_answers_again(worlds: Worlds) -> None:
    world = await worlds(Fake(A, models(a=1, b=1)), Fake(B, models(c=1)))
    await world.step()
    world.fakes["uid-a"].models = models(a=1)
    await world.step(15.0)
    world.fakes["uid-a"].answer = says(503)
    assert await world.step(15.0) == []
    world.routers.moves(("ml", "new"), True)
    told = [NAMESPACE, ("ml", "a"), ("ml", "b"), ("ml", "new")]
    assert [await world.step(seconds) for seconds in (2.5, 2.4, 0.1, 0.5)] == [[], [], told, []]
    world.fakes["uid-a"].answer = None
    assert [await world.step(0.5) for _ in range(2)] == [told, []]


async def test_an_answer_that_ends_a_silence_which_was_not_noticed_yet_is_told(worlds: Worlds) -> None:
    """A look in between has seen that it is silent, and waits."""
    world = await worlds(Fake(A))
    await world.step()
    world.now += 20.0
    assert world.routers.heard(KEY) == {"uid-a": None}
    assert set(await world.step()) == {NAMESPACE, KEY}
    assert world.routers.heard(KEY) == {"uid-a": SAID}


async def test_an_answer_that_takes_until_its_router_counts_as_silent_is_told(worlds: Worlds) -> None:
    fake = Fake(A)
    world = await worlds(fake)
    await world.step()

    async def late() -> web.StreamResponse:
        world.now += 6.0
        assert world.routers.heard(KEY) == {"uid-a": None}
        return web.Response(body=msgspec.json.encode(fake.signals()))

    fake.answer = late
    assert await world.step(15.0) == [NAMESPACE, KEY]


@pytest.mark.parametrize("leads", [True, False], ids=["its pod is gone", "another process led meanwhile"])
async def test_an_answer_that_comes_too_late_says_nothing(worlds: Worlds, leads: bool) -> None:
    fake, asked, answers = Fake(A), asyncio.Event(), asyncio.Event()
    world = await worlds(fake)

    async def late() -> web.StreamResponse:
        asked.set()
        await answers.wait()
        return web.Response(body=msgspec.json.encode(fake.signals()))

    fake.answer = late
    async with asyncio.TaskGroup() as rounds:
        world.routers._begin(world.own, rounds)
        await asked.wait()
        if leads:
            world.listed["ml"] = []
            world.routers._begin(world.own, rounds)
        else:
            world.routers.clear()
        answers.set()
    world.listed["ml"] = [A]
    assert world.routers.heard(KEY) == {"uid-a": None}
    assert world.marked == []


async def test_a_pod_that_is_gone_is_forgotten_and_its_models_wait_for_others(worlds: Worlds) -> None:
    world = await worlds(Fake(A), Fake(B, {}))
    await world.step()
    world.listed["ml"] = [B]
    assert world.routers.heard(KEY) == {"uid-b": Router()}, "before anybody has noticed"
    assert await world.step(0.1) == [KEY]
    world.listed["ml"] = [A, B]
    assert world.routers.heard(KEY) == {"uid-a": None, "uid-b": Router()}


async def test_when_a_router_that_never_answered_is_gone_nobody_waits_for_it_any_more(worlds: Worlds) -> None:
    world = await worlds(Fake(A), Fake(B, answer=says(503)))
    world.routers.moves(("ml", "hotels"), True)
    await world.step()
    world.listed["ml"] = [A]
    assert await world.step(0.1) == [KEY, ("ml", "hotels")]


async def test_a_namespace_without_routers_is_forgotten(worlds: Worlds) -> None:
    world = await worlds(Fake(A))
    await world.step()
    world.listed.clear()
    assert await world.step(0.1) == [KEY]
    assert await world.step(60.0) == []
    assert world.fakes["uid-a"].asked == 1


async def test_after_another_process_led_nothing_is_known(worlds: Worlds) -> None:
    world = await worlds(Fake(A))
    world.routers.moves(KEY, True)
    await world.step()
    world.routers.clear()
    assert world.routers.heard(KEY) == {"uid-a": None}
    await world.step()
    assert await world.asked_at(A, 14.75) == [], "nothing moves that is known of"


Steps = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.5, 2.0, 5.0, 15.0, 40.0]),
        st.sampled_from([(A,), (A, B), (B,), ()]),
        *[st.sampled_from([None, models(), models(a=1), models(a=2), models(a=1, b=1)])] * 2,
        st.booleans(),
    ),
    max_size=12,
)


@settings(deadline=None)
@given(Steps)
def test_whatever_happens_no_change_of_what_is_heard_goes_untold(
    steps: list[tuple[float, tuple[Pod, ...], dict[str, ModelSignals] | None, dict[str, ModelSignals] | None, bool]],
) -> None:
    """Of a model that a router has told of, or that moves; that there is another pod, the pods themselves tell."""

    async def scenario() -> None:
        world, told = World(), set[tuple[str, str]]()
        said_by: dict[str, dict[str, ModelSignals] | None] = {}
        moved = False

        async def ask(_own: object, pod: Pod, _token: str, *, pods: bool = False) -> Signals:
            if (said := said_by[pod.uid]) is None:
                raise NoAnswer("as it should")
            told.update((pod.uid, name) for name in said)
            return Signals(router=pod.uid, epoch="1", models=said)

        with patch.object(routers, "ask", ask):
            for seconds, pods, by_a, by_b, moving in steps:
                before = {name: world.routers.heard(("ml", name)) for name in "ab"}
                known = set(told)
                world.listed["ml"] = list(pods)
                said_by.update({"uid-a": by_a, "uid-b": by_b})
                marked = await world.step(seconds)
                for name, uid in itertools.product("ab", ("uid-a", "uid-b")):
                    after = world.routers.heard(("ml", name))
                    if uid in before[name] and uid not in after:
                        assert ("ml", name) in marked or (uid, name) not in known
                        told.discard((uid, name))
                    elif uid in before[name] and before[name][uid] != after[uid]:
                        assert ("ml", name) in marked or ((uid, name) not in told and not moved)
                moved = moving
                for name in "ab":
                    world.routers.moves(("ml", name), moving)

    asyncio.run(scenario())


# -------------------------------------------------------------------- when it is asked


async def test_a_namespace_that_rests_is_asked_every_15_seconds_or_a_little_sooner(worlds: Worlds) -> None:
    world = await worlds(Fake(A), jitter=0.8)
    await world.step()
    assert await world.asked_at(A, 40.0) == [12.0, 24.0, 36.0]


def test_not_all_rest_for_as_long() -> None:
    made = Routers(lambda _: [], list, World()._token, lambda _: None, World(), lambda: 0.0)
    rests = {made._jitter() for _ in range(20)}
    assert len(rests) > 1
    assert all(0.75 <= rest <= 1.0 for rest in rests)


async def test_a_namespace_is_asked_every_half_second_while_any_of_its_models_moves(worlds: Worlds) -> None:
    world = await worlds(Fake(A))
    await world.step()
    for name in ("a", "b", "b"):
        world.routers.moves(("ml", name), True)
    assert await world.asked_at(A, 1.5) == [0.5, 1.0, 1.5]
    world.routers.moves(("ml", "b"), False)
    assert await world.asked_at(A, 1.0) == [0.5, 1.0]
    world.routers.moves(("ml", "a"), False)
    assert await world.asked_at(A, 16.0) == [0.5, 15.5]


async def test_a_namespace_that_begins_to_move_is_asked_at_once_but_not_more_often_than_one_that_moves(
    worlds: Worlds,
) -> None:
    world = await worlds(Fake(A))
    await world.step()
    await world.step(7.0)
    assert world.fakes["uid-a"].asked == 1
    world.routers.moves(KEY, True)
    await world.step()
    assert world.fakes["uid-a"].asked == 2
    for _ in range(4):
        for moving in (False, True):
            world.routers.moves(KEY, moving)
        await world.step(0.1)
    assert world.fakes["uid-a"].asked == 2


async def test_a_new_pod_is_asked_at_once(worlds: Worlds) -> None:
    world = await worlds(Fake(A), Fake(B))
    world.listed["ml"] = [A]
    await world.step()
    world.listed["ml"] = [A, B]
    assert await world.step(3.0) == [NAMESPACE, KEY]
    assert world.routers.heard(KEY) == {"uid-a": SAID, "uid-b": SAID}


async def test_a_pod_with_another_address_is_asked_there(worlds: Worlds) -> None:
    fake = Fake(B)
    world = await worlds(fake)
    world.fakes["uid-b"] = fake
    world.listed["ml"] = [Pod(B.uid, B.name, "127.0.0.8")]
    await world.step()
    assert world.routers.heard(KEY) == {"uid-b": None}
    world.listed["ml"] = [B]
    await world.step(0.5)
    assert world.routers.heard(KEY) == {"uid-b": SAID}


async def test_a_router_that_is_missed_is_asked_at_the_moving_pace_until_it_answers(worlds: Worlds) -> None:
    world = await worlds(Fake(A))
    await world.step()
    world.fakes["uid-a"].answer = says(503)
    assert await world.asked_at(A, 16.0) == [15.0, 15.5, 16.0]
    world.fakes["uid-a"].answer = None
    assert await world.asked_at(A, 20.0) == [0.5, 15.5]


async def test_questions_that_take_longer_than_the_pace_follow_each_other(worlds: Worlds) -> None:
    """A router that hangs is known to be lost after LOST_ASKS times the longest answer, and no later."""
    fake = Fake(A)
    world = await worlds(fake)

    async def slow() -> web.StreamResponse:
        world.now += 2.0 if fake.asked < 5 else 0.1
        return web.Response(status=503)

    fake.answer = slow
    await world.step()
    assert fake.asked == 5


async def test_nobody_goes_on_asking_for_a_process_that_does_not_lead_any_more(worlds: Worlds) -> None:
    fake = Fake(A)
    world = await worlds(fake)

    async def slow() -> web.StreamResponse:
        world.now += 2.0
        if fake.asked == 1:
            world.routers.clear()
        return web.Response(status=503 if fake.asked < 5 else 200)

    fake.answer = slow
    await world.step()
    assert fake.asked == 1


async def test_a_namespace_is_not_asked_while_it_is_being_asked(worlds: Worlds) -> None:
    fake = Fake(A, answer=hangs)
    world = await worlds(fake)
    async with asyncio.TaskGroup() as rounds:
        for _ in range(3):
            world.routers._begin(world.own, rounds)
            world.routers.moves(KEY, True)
            world.now += 1.0
            await asyncio.sleep(0.05)
        assert fake.asked == 1
        fake.answer = None
    assert fake.asked == 2, "as soon as that is over"


async def test_without_a_token_nobody_is_asked_and_what_was_said_grows_old(
    worlds: Worlds, caplog: pytest.LogCaptureFixture
) -> None:
    world = await worlds(Fake(A))
    await world.step()
    world.token = ApiError(503, "away")
    assert await world.step(15.0) == []
    assert world.routers.heard(KEY) == {"uid-a": SAID}
    world.token = None
    assert await world.step(4.9) == []
    assert await world.step(0.1) == [NAMESPACE, KEY]
    assert world.routers.heard(KEY) == {"uid-a": None}
    for _ in range(100):
        world.routers.moves(KEY, world.now % 1 > 0.5)
        await world.step(0.25)
    assert world.fakes["uid-a"].asked == 1
    assert len(world.tokens) == 8, "every 5 s"
    assert world.routers.silent("ml") == ([], False), "it was not asked"
    assert [record.getMessage() for record in of_routers(caplog)] == [
        "the routers of ml cannot be asked without their token: ApiError: 503: away",
        "router ml/router-a is silent",
    ]


# -------------------------------------------------------------------- who is silent, and who is lost


async def test_a_router_is_silent_when_it_should_have_answered_five_seconds_ago(worlds: Worlds) -> None:
    world = await worlds(Fake(A))
    await world.step()
    world.fakes["uid-a"].answer = says(503)
    found = []
    for _ in range(21):
        await world.step(1.0)
        found.append(world.routers.heard(KEY)["uid-a"])
    assert found == [SAID] * 19 + [None] * 2


async def test_a_question_in_vain_makes_nobody_speak_who_was_silent(worlds: Worlds) -> None:
    """The process was stopped, and asks late."""
    world = await worlds(Fake(A))
    await world.step()
    world.fakes["uid-a"].answer = says(503)
    world.now += 40.0
    assert world.routers.heard(KEY) == {"uid-a": None}
    await world.step()
    assert world.routers.heard(KEY) == {"uid-a": None}
    assert world.routers.silent("ml") == ([], False), "which it is lost by counts from the question"


async def test_what_was_said_at_rest_counts_when_the_namespace_begins_to_move(worlds: Worlds) -> None:
    world = await worlds(Fake(A))
    await world.step()
    world.now += 14.0
    world.routers.moves(KEY, True)
    assert world.routers.heard(KEY) == {"uid-a": SAID}
    world.fakes["uid-a"].answer = says(503)
    await world.step()
    for _ in range(10):
        assert world.routers.heard(KEY) == {"uid-a": SAID}
        await world.step(0.5)
    assert world.routers.heard(KEY) == {"uid-a": None}


LOST: dict[str, tuple[int, float, bool]] = {
    "ten seconds and five questions": (5, 2.5, True),
    "five questions in a moment": (6, 0.5, False),
    "four questions in a long time": (4, 5.0, False),
}


@pytest.mark.parametrize("has_answered", [True, False], ids=["it has answered before", "it has just started"])
@pytest.mark.parametrize(("asks", "apart", "lost"), LOST.values(), ids=LOST)
async def test_a_router_is_lost_after_five_questions_in_vain_and_ten_seconds(
    worlds: Worlds, asks: int, apart: float, lost: bool, has_answered: bool
) -> None:
    world = await worlds(Fake(A), Fake(B))
    if has_answered:
        await world.step()
    world.fakes["uid-a"].answer = says(503)
    await world.step(15.0)
    for _ in range(asks - 1):
        assert world.routers.silent("ml") == ([], True)
        await world.step(apart)
    assert world.routers.silent("ml") == ([A] if lost else [], True)


async def test_the_namespace_is_told_once_each_time_that_a_router_is_lost(worlds: Worlds) -> None:
    world = await worlds(Fake(A, {}, answer=says(503)))
    told = [await world.step(0.5) for _ in range(25)]
    assert [number for number, marked in enumerate(told) if marked] == [20]
    assert told[20] == [NAMESPACE]
    world.fakes["uid-a"].answer = None
    assert await world.step(0.5) == [NAMESPACE]
    world.fakes["uid-a"].answer = says(503)
    told = [await world.step(seconds) for seconds in [15.0] + [0.5] * 25]
    assert [number for number, marked in enumerate(told) if marked] == [10, 20], "silent, lost"


async def test_one_answer_is_enough_to_be_kept(worlds: Worlds) -> None:
    world = await worlds(Fake(A, answer=says(503)))
    for _ in range(5):
        await world.step(2.5)
    assert world.routers.silent("ml") == ([A], False)
    world.fakes["uid-a"].answer = None
    await world.step(0.5)
    assert world.routers.silent("ml") == ([], True)


async def test_another_router_counts_for_five_seconds_after_its_answer(worlds: Worlds) -> None:
    world = await worlds(Fake(A, answer=says(503)), Fake(B))
    for _ in range(5):
        await world.step(2.5)
    assert world.routers.silent("ml") == ([A], True)
    world.now += 5.0
    assert world.routers.silent("ml") == ([A], True)
    world.now += 0.1
    assert world.routers.silent("ml") == ([A], False)


async def test_a_pod_that_is_not_listed_any_more_is_not_lost(worlds: Worlds) -> None:
    world = await worlds(Fake(A, answer=says(503)))
    for _ in range(5):
        await world.step(2.5)
    world.listed["ml"] = []
    assert world.routers.silent("ml") == ([], False)


# -------------------------------------------------------------------- all of it, in real time


async def soon(holds: Callable[[], bool], seconds: float = 0.2) -> bool:
    for _ in range(round(seconds / 0.01)):
        if holds():
            return True
        await asyncio.sleep(0.01)
    return holds()


async def test_one_that_hangs_keeps_nobody_waiting_in_its_namespace_and_in_others(worlds: Worlds) -> None:
    world = await worlds(Fake(A, answer=hangs), Fake(B), Fake(OTHER))
    world.listed = {"ml": [A, B], "other": [OTHER]}
    async with world.running():
        assert await soon(lambda: world.routers.heard(KEY)["uid-b"] == SAID)
        assert await soon(lambda: world.routers.heard(("other", "flights"))["uid-o"] == SAID)
        assert world.fakes["uid-a"].at_once == 1


async def test_a_namespace_that_begins_to_move_ends_the_rest(worlds: Worlds) -> None:
    world = await worlds(Fake(A))
    async with world.running():
        assert await soon(lambda: world.fakes["uid-a"].asked == 1)
        world.now += 1.0
        await asyncio.sleep(0.05)
        world.routers.moves(KEY, True)
        assert await soon(lambda: world.fakes["uid-a"].asked == 2)


async def test_questions_at_a_time_are_bounded_and_one_namespace_does_not_have_them_all(
    worlds: Worlds,
) -> None:
    pods = [Pod(f"uid-{number}", f"router-{number}", "127.0.0.2") for number in range(40)]
    fake = Fake(A, answer=hangs)
    world = await worlds(fake, Fake(OTHER))
    world.listed = {"ml": pods, "other": [OTHER]}
    async with world.running():
        assert await soon(lambda: fake.asked == routers.MOST_OF_ONE)
        assert await soon(lambda: world.routers.heard(("other", "flights"))["uid-o"] == SAID)
    assert fake.most_at_once == routers.MOST_OF_ONE


async def test_a_fleet_is_asked_at_most_so_many_at_a_time(worlds: Worlds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routers, "ANSWER_SECONDS", 10.0)
    fake = Fake(A)

    async def slow() -> web.StreamResponse:
        await asyncio.sleep(0.01)
        return web.Response(status=503)

    fake.answer = slow
    world = await worlds(fake)
    world.listed = {f"ml-{number}": [Pod(f"uid-{number}", "router", "127.0.0.2")] for number in range(200)}
    await world.step()
    assert fake.asked == 200
    assert fake.most_at_once <= routers.MOST_AT_ONCE


async def test_its_session_goes_with_it_whatever_is_under_way(worlds: Worlds, monkeypatch: pytest.MonkeyPatch) -> None:
    world = await worlds(Fake(A, answer=hangs))
    made: list[aiohttp.ClientSession] = []
    session = routers.session

    def kept() -> aiohttp.ClientSession:
        made.append(session())
        return made[-1]

    monkeypatch.setattr(routers, "session", kept)
    async with world.running():
        assert await soon(lambda: world.fakes["uid-a"].asked == 1)
    assert [own.closed for own in made] == [True]


async def test_no_proxy_of_the_environment_is_asked(worlds: Worlds, monkeypatch: pytest.MonkeyPatch) -> None:
    world = await worlds(Fake(A))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    await world.step()
    assert world.routers.heard(KEY) == {"uid-a": SAID}


async def test_what_all_routers_answer_to_one_question_is_told_together(worlds: Worlds) -> None:
    world = await worlds(Fake(A), Fake(B))
    await world.step()
    world.fakes[B.uid].answer = says(500)
    await world.step(20)
    assert [(sorted(told), whole) for told, whole in world.rounds] == [
        (sorted([A.uid, B.uid]), True),
        ([A.uid], False),
    ]


async def test_while_a_trial_runs_one_router_is_asked_for_the_pods_every_two_seconds(worlds: Worlds) -> None:
    world = await worlds(Fake(A), Fake(B))
    world.routers.moves(("ml", "flights"), True)
    await world.step()
    assert world.asked_for_pods() == 0
    world.counts = True
    for _ in range(16):
        await world.step(0.5)
    assert world.asked_for_pods() == 4
