"""The gate: open only from the start of a renewal that succeeded, for less than the Lease lasts."""

import asyncio
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tidegate_cluster.api import ApiError, Conflict, NotFound
from tidegate_operator.core.types import Release
from tidegate_operator.leader import Leader, LeaseExpired, LeaseLost
from tidegate_operator.settings import LeaseTimes, Settings

ME = Settings(Release("s", "t"), "tidegate-system", "me", lease=LeaseTimes(15, 0.01, 10))


class Server:
    """The one Lease of an API server, with its resourceVersion as the only guard."""

    def __init__(self) -> None:
        self.body: dict[str, Any] | None = None
        self.seconds = 0.0
        self.version = 0
        self.before_write: Callable[[], None] = lambda: None
        self.away = False

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    async def get(self, _path: str, _type: Any) -> dict[str, Any]:
        if self.away:
            raise ApiError(503, "away")
        if self.body is None:
            raise NotFound(404, "no lease")
        return deepcopy(self.body)

    async def lease(self, _namespace: str, body: dict[str, Any], *, create: bool) -> dict[str, Any]:
        self.before_write()
        if create == (self.body is not None) or (
            self.body and body["metadata"].get("resourceVersion") != str(self.version)
        ):
            raise Conflict(409, "changed")
        self.version += 1
        self.body = body | {"metadata": body["metadata"] | {"resourceVersion": str(self.version)}}
        return self.body

    def leader(self, identity: str = "me") -> Leader:
        return Leader(replace(ME, identity=identity), self.now, self.monotonic)


@pytest.fixture
def server() -> Server:
    return Server()


async def acquired(server: Server, identity: str = "me") -> Leader:
    leader = server.leader(identity)
    await leader.acquire(server, server)  # type: ignore[arg-type]
    return leader


async def attempt(server: Server, leader: Leader) -> bool | None:
    return await leader._try(server, server)  # type: ignore[arg-type]


async def test_a_free_lease_is_taken_and_opens_the_gate(server: Server) -> None:
    leader = server.leader()
    assert not leader.held()
    await leader.acquire(server, server)  # type: ignore[arg-type]
    assert leader.held()
    assert server.body is not None
    assert server.body["spec"]["holderIdentity"] == "me"


async def test_the_gate_closes_by_time_alone(server: Server) -> None:
    leader = await acquired(server)
    server.seconds = 9.9
    assert leader.held()
    server.seconds = 10.0
    assert not leader.held()


async def test_a_renewal_counts_from_its_start(server: Server) -> None:
    leader = await acquired(server)
    server.seconds = 4.0
    server.before_write = lambda: setattr(server, "seconds", 7.0)
    assert await attempt(server, leader)
    server.seconds = 14.0
    assert not leader.held()


async def test_another_holder_is_respected_until_it_has_been_silent_for_its_duration(server: Server) -> None:
    await acquired(server, "other")
    leader = server.leader()
    assert not await attempt(server, leader)
    server.seconds = 15.0
    assert not await attempt(server, leader)
    server.seconds = 15.1
    assert await attempt(server, leader)
    assert server.body is not None
    assert server.body["spec"]["leaseTransitions"] == 1


async def test_a_holder_that_renews_is_never_pushed_aside(server: Server) -> None:
    other = await acquired(server, "other")
    leader = server.leader()
    for seconds in range(1, 60, 5):
        server.seconds = float(seconds)
        await attempt(server, other)
        assert not await attempt(server, leader)


async def test_of_two_that_try_at_once_one_wins(server: Server) -> None:
    leader = server.leader()

    def faster() -> None:
        server.before_write = lambda: None
        server.version += 1
        server.body = {"metadata": {"resourceVersion": "1"}, "spec": {"holderIdentity": "other"}}

    server.before_write = faster
    assert not await attempt(server, leader)
    assert not leader.held()


async def test_a_lost_lease_ends_the_process(server: Server) -> None:
    leader = await acquired(server)
    server.version += 1
    assert server.body is not None
    server.body = {
        "metadata": {"resourceVersion": str(server.version)},
        "spec": server.body["spec"] | {"holderIdentity": "other"},
    }
    with pytest.raises(LeaseLost, match="another process"):
        await leader.keep(server, server)  # type: ignore[arg-type]


async def test_a_released_lease_is_free_at_once_and_the_gate_is_closed(server: Server) -> None:
    leader = await acquired(server)
    await leader.release(server, server)  # type: ignore[arg-type]
    assert not leader.held()
    assert await attempt(server, server.leader("other"))


@pytest.mark.parametrize("said", [{}, {"spec": None}, {"spec": {}}], ids=["no spec", "null", "an empty one"])
async def test_a_lease_that_says_nothing_is_free(server: Server, said: dict[str, Any]) -> None:
    """Somebody made it by hand; the API takes such a one."""
    server.body = {"metadata": {"resourceVersion": "0"}} | said
    await acquired(server)
    assert server.body["spec"]["holderIdentity"] == "me"


@pytest.mark.parametrize("said", [{}, {"spec": None}], ids=["no spec", "null"])
async def test_a_lease_that_was_emptied_meanwhile_is_not_given_back(server: Server, said: dict[str, Any]) -> None:
    leader = await acquired(server)
    server.body = {"metadata": {"resourceVersion": "1"}} | said
    await leader.release(server, server)  # type: ignore[arg-type]
    assert server.version == 1


def taken_by(server: Server, holder: str) -> None:
    """Another process writes the Lease."""
    assert server.body is not None
    server.version += 1
    metadata = {"resourceVersion": str(server.version)}
    server.body = {"metadata": metadata, "spec": server.body["spec"] | {"holderIdentity": holder}}


async def test_a_lease_that_cannot_be_renewed_expires_and_nobody_is_known_to_have_it(server: Server) -> None:
    """The API server is away: that is no reason to end the process."""
    leader = await acquired(server)
    server.away = True
    server.before_write = lambda: None

    async def later() -> None:
        await asyncio.sleep(0.03)
        server.seconds = 10.0

    task = asyncio.create_task(later())
    with pytest.raises(LeaseExpired, match="could not be renewed for 10 s"):
        await leader.keep(server, server)  # type: ignore[arg-type]
    await task
    assert not leader.held()


async def test_after_it_has_expired_it_is_taken_again_if_nobody_else_has(server: Server) -> None:
    leader = await acquired(server)
    server.seconds = 60.0
    assert not leader.held()
    await leader.acquire(server, server, again=True)  # type: ignore[arg-type]
    assert leader.held()
    assert server.body is not None
    assert server.body["spec"]["leaseTransitions"] == 0, "it never was another's"


async def test_after_it_has_expired_another_holder_means_that_it_is_lost(server: Server) -> None:
    """What this process has in its queue and its memory may be older than what the other one has done."""
    leader = await acquired(server)
    server.seconds = 60.0
    taken_by(server, "other")
    with pytest.raises(LeaseLost):
        await leader.acquire(server, server, again=True)  # type: ignore[arg-type]


async def test_a_standby_waits_for_as_long_as_another_holds_it(server: Server) -> None:
    await acquired(server, "other")
    standby = server.leader()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await standby.acquire(server, server)  # type: ignore[arg-type]
    assert not standby.held()


async def test_a_conflict_says_nothing_about_who_holds_it(server: Server) -> None:
    """It may be our own request that was given up too early and arrived all the same."""
    leader = await acquired(server)

    def faster() -> None:
        server.before_write = lambda: None
        taken_by(server, "me")

    server.before_write = faster
    assert await leader._try(server, server) is None  # type: ignore[arg-type]
    assert leader.held(), "the last renewal still counts"
    assert await leader._try(server, server) is True  # type: ignore[arg-type]


async def test_a_conflict_while_it_is_kept_neither_ends_the_process_nor_prolongs_the_lease(server: Server) -> None:
    leader = await acquired(server)
    tries = []

    def always_faster() -> None:
        tries.append(server.seconds)
        server.seconds += 3.0
        taken_by(server, "me")

    server.before_write = always_faster
    with pytest.raises(LeaseExpired):
        await leader.keep(server, server)  # type: ignore[arg-type]
    assert len(tries) == 4


async def test_an_api_server_that_is_away_at_first_is_waited_for(server: Server) -> None:
    server.away = True
    leader = server.leader()

    async def back() -> None:
        await asyncio.sleep(0.03)
        server.away = False

    task = asyncio.create_task(back())
    await leader.acquire(server, server)  # type: ignore[arg-type]
    await task
    assert leader.held()


async def test_what_is_not_held_is_not_given_back(server: Server) -> None:
    await acquired(server, "other")
    before = server.version
    await server.leader().release(server, server)  # type: ignore[arg-type]
    assert server.version == before


def test_a_standby_knows_where_the_process_that_leads_is_asked(server: Server) -> None:
    async def run() -> None:
        first = Leader(replace(ME, identity="first", pod_ip="10.0.0.1"), server.now, server.monotonic)
        second = Leader(replace(ME, identity="second", pod_ip="10.0.0.2"), server.now, server.monotonic)
        await first.acquire(server, server)  # type: ignore[arg-type]
        waiting = asyncio.create_task(second.acquire(server, server))  # type: ignore[arg-type]
        await asyncio.sleep(0.05)
        assert (first.elsewhere, second.elsewhere) == ("", "10.0.0.1:9090")
        await first.release(server, server)  # type: ignore[arg-type]
        await waiting
        assert second.elsewhere == ""
        assert server.body
        assert server.body["metadata"]["annotations"] == {"models.tidegate.dev/address": "10.0.0.2:9090"}

    asyncio.run(run())
