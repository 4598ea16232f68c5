"""Two operators, and the one that leads is killed, or stopped in the middle of its work and woken up again."""

import asyncio
import random
import time
from dataclasses import dataclass

from bench.scenarios.report import percentile
from bench.scenarios.world import NAMESPACE, World, until
from plane.process import QUICK_LEASE, Operator
from plane.proxy import Action, Incoming, Proxy, Script, faithful

TAKEOVER_SECONDS = 10.0
BURST = 20


@dataclass
class Seat:
    """One of the two, behind a proxy of its own, so that what it writes is known to be its own."""

    operator: Operator
    proxy: Proxy

    def writes_since(self, number: int) -> int:
        return len(self.proxy.writes) - number

    async def knows(self, count: int) -> bool:
        found = await self.operator.metrics()
        return found is not None and found.total("tidegate_modeldeployments") >= count

    async def back_as_standby(self, count: int) -> None:
        """Running, and its caches full."""
        if not self.operator.is_running:
            self.operator.start()
        await until(f"{self.operator.name} has filled its caches", lambda: self.knows(count), seconds=30)
        await asyncio.sleep(1)  # the children's caches have no figure of their own


async def failover(world: World) -> None:
    rounds = 3 if world.options.short else 20
    await world.make_namespace(NAMESPACE)
    async with world.proxy("a") as (proxy_a, way_a), world.proxy("b") as (proxy_b, way_b):
        seats = [
            Seat(world.operator(way_a, lease=QUICK_LEASE), proxy_a),
            Seat(world.operator(way_b, lease=QUICK_LEASE), proxy_b),
        ]
        try:
            seats[0].operator.start()
            await seats[0].operator.until_leading()
            await world.create([f"first{number}" for number in range(10)])
            await world.until_settled(10)
            await seats[1].back_as_standby(10)
            await _killed(world, seats, rounds)
            await _stopped(world, seats, rounds)
        finally:
            for seat in seats:
                seat.operator.kill()


async def _roles(seats: list[Seat]) -> tuple[Seat, Seat]:
    """The one that leads, and the other."""
    while True:
        leading = [await seat.operator.leads() for seat in seats]
        if leading == [True, False]:
            return seats[0], seats[1]
        if leading == [False, True]:
            return seats[1], seats[0]
        await asyncio.sleep(0.1)


async def _killed(world: World, seats: list[Seat], rounds: int) -> None:
    """SIGKILL, an edit right after it, and the first write of the other."""
    took: list[float] = []
    for number in range(rounds):
        leader, other = await _roles(seats)
        mark = len(other.proxy.writes)
        leader.operator.kill()
        started = time.monotonic()
        await world.edit("first0", f"killed-{number}-{time.time_ns()}")
        await until("the other acts", lambda o=other, m=mark: _wrote(o, m), seconds=60)  # type: ignore[misc]
        took.append(time.monotonic() - started)
        world.report.say(f"kill {number + 1} of {rounds}: the other acts after {took[-1]:.1f} s")
        await world.until_settled(10)
        await leader.back_as_standby(10)
    worst = max(took)
    world.report.bar(
        f"leader killed, until the other acts, slowest of {rounds}",
        f"{worst:.1f} s (median {percentile(took, 0.5):.1f})",
        f"<= {TAKEOVER_SECONDS:g} s",
        passed=worst <= TAKEOVER_SECONDS,
    )


async def _wrote(seat: Seat, mark: int) -> bool:
    return seat.writes_since(mark) > 0


async def _stopped(world: World, seats: list[Seat], rounds: int) -> None:
    """SIGSTOP amid a burst of creations; the other finishes them; SIGCONT."""
    rng = random.Random(world.options.seed)
    late: list[int] = []
    ended = 0
    count = 10
    for number in range(rounds):
        leader, other = await _roles(seats)
        stopped = asyncio.Event()
        leader.proxy.script = stop_at(leader, len(leader.proxy.writes) + rng.randint(2, 3 * BURST), stopped)
        await world.create([f"burst{number}-{each}" for each in range(BURST)])
        count += BURST
        await asyncio.wait_for(stopped.wait(), 30)
        await until("the other leads", other.operator.leads, seconds=60)
        await world.until_settled(count, seconds=120)
        mark = len(leader.proxy.writes)
        leader.proxy.script = faithful
        leader.operator.resume()
        await asyncio.sleep(3)
        late.append(leader.writes_since(mark))
        ended += not leader.operator.is_running
        world.report.say(f"stop {number + 1} of {rounds}: {late[-1]} writes after it woke up")
        await leader.back_as_standby(count)
    silent = sum(not writes for writes in late)
    world.report.bar(
        "stopped amid work, woken as no leader: wrote nothing",
        f"{silent} of {rounds}",
        f"{rounds} of {rounds}",
        passed=silent == rounds,
    )
    world.report.figure("of these ended themselves, because the other leads", f"{ended} of {rounds}")


def stop_at(seat: Seat, number: int, stopped: asyncio.Event) -> Script:
    """Stop the operator at the moment at which that write of it arrives."""

    def script(incoming: Incoming) -> Action | None:
        if incoming.number >= number and not stopped.is_set():
            seat.operator.suspend()
            stopped.set()
        return None

    return script
