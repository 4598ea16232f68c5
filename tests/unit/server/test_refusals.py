"""The pace of refusals. Their clock is the test's own."""

import asyncio
from collections.abc import Callable

import pytest

from tidegate_server.refusals import EACH_TURN, MOST_SECONDS, TURN_SECONDS, Refusals


class Clock:
    """What Refusals wants of an event loop."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Callable[..., None], tuple[object, ...]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, call: Callable[..., None], *arguments: object) -> object:
        self.timers.append((self.now + seconds, call, arguments))
        return self.timers[-1]

    def pass_until(self, end: float) -> None:
        while self.timers and self.timers[0][0] <= end:
            self.now, call, arguments = self.timers.pop(0)
            call(*arguments)
        self.now = end


class Client:
    def __init__(self, told: list["Client"]) -> None:
        self._told = told

    def refuse(self) -> None:
        self._told.append(self)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: clock)
    return clock


def test_a_few_are_refused_in_the_next_turn(clock: Clock) -> None:
    refusals, told = Refusals(), list[Client]()
    clients = [Client(told) for _ in range(3)]
    for client in clients:
        refusals.hold(client)
    assert not told
    clock.pass_until(TURN_SECONDS)
    assert told == clients
    assert not clock.timers, "with nobody left, nothing ticks"


def test_many_are_refused_at_the_pace_and_in_their_order(clock: Clock) -> None:
    refusals, told = Refusals(), list[Client]()
    clients = [Client(told) for _ in range(10 * EACH_TURN)]
    for client in clients:
        refusals.hold(client)
    clock.pass_until(4.5 * TURN_SECONDS)
    assert told == clients[: 4 * EACH_TURN]


def test_who_leaves_is_not_refused_and_takes_nobody_s_turn(clock: Clock) -> None:
    refusals, told = Refusals(), list[Client]()
    clients = [Client(told) for _ in range(2 * EACH_TURN)]
    for client in clients:
        refusals.hold(client)
    for client in clients[:EACH_TURN]:
        refusals.leave(client)
    clock.pass_until(TURN_SECONDS)
    assert told == clients[EACH_TURN:]


def test_nobody_waits_much_longer_than_retry_after_says(clock: Clock) -> None:
    refusals, told = Refusals(), list[Client]()
    at_once = int(EACH_TURN * MOST_SECONDS / TURN_SECONDS)
    for _ in range(3 * at_once):
        refusals.hold(Client(told))
    clock.pass_until(MOST_SECONDS - TURN_SECONDS)
    assert len(told) < at_once
    clock.pass_until(MOST_SECONDS + 2 * TURN_SECONDS)
    assert len(told) == 3 * at_once
