"""A thousand objects and more: creating them, coming back to them, changing one of them, doing nothing about them."""

import asyncio
import random
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from bench.scenarios.report import percentile
from bench.scenarios.world import NAMESPACE, World, measured_edit, sight
from plane import audit
from plane.process import Operator, running
from plane.program import Cost

MIB = 1 << 20
STATUS_WRITES = 2


def called(first: int, last: int) -> list[str]:
    return [f"m{number:05d}" for number in range(first, last)]


async def grow(world: World, count: int) -> None:
    """At least that many models, all complete, and no operator."""
    await world.make_namespace(NAMESPACE)
    there = len(await world.models())
    if there < count:
        world.report.say(f"creating {count - there} models")
        async with running(world.operator()):
            await world.create(called(there, count))
            await world.until_settled(count)


async def create(world: World) -> None:
    """All at once, on an empty plane."""
    count = world.options.objects
    await world.make_namespace(NAMESPACE)
    async with running(world.operator()) as operator:
        place, before = world.plane.audit.here(), world.plane.costs() | {"operator": operator.cost()}
        started = datetime.now(UTC)
        await world.create(called(0, count))
        posted = (datetime.now(UTC) - started).total_seconds()
        await world.until_settled(count)
        after = world.plane.costs() | {"operator": operator.cost()}
    writes = world.plane.audit.writes(place)
    seconds = (max(write.at for write in writes) - started).total_seconds()
    by_kind = Counter(write.resource for write in writes)
    per_object = Counter((write.resource, write.name) for write in writes if write.resource != "events")
    often = {
        kind: max(times for (resource, _), times in per_object.items() if resource == kind)
        for kind in by_kind
        if kind != "events"
    }
    too_often = {
        kind: times for kind, times in often.items() if times > (STATUS_WRITES if kind.endswith("/status") else 1)
    }
    report = world.report
    report.figure("writes per object", f"{len(writes) / count:.2f}")
    report.figure(
        "writes per object, by kind", ", ".join(f"{kind} {n / count:.2f}" for kind, n in sorted(by_kind.items()))
    )
    report.figure("refused or failed", str(sum(write.code >= 300 for write in writes)))
    report.bar(
        "most writes to one object",
        str(max(often.values())),
        f"1, status {STATUS_WRITES}",
        passed=not too_often,
    )
    report.figure(f"seconds for {count}", f"{seconds:.1f} (posted in {posted:.1f})")
    report.figure(
        "CPU seconds meanwhile",
        ", ".join(f"{name} {after[name].cpu_seconds - before[name].cpu_seconds:.1f}" for name in after),
    )
    await no_content_twice(world)


async def no_content_twice(world: World, count: int = 50) -> None:
    """The same with fewer, through a proxy that compares what is written."""
    namespace = "contents"
    await world.make_namespace(namespace)
    async with world.proxy() as (between, kubeconfig), running(world.operator(kubeconfig)):
        await world.create(called(0, count), namespace)
        await world.until_settled(count, namespace)
        doubles = between.doubles()
        world.report.bar(f"same content twice in a row, {count} created", str(len(doubles)), "0", passed=not doubles)
    await world.remove_namespace(namespace)


@dataclass(frozen=True)
class Restart:
    """One start of the operator with everything in place."""

    seconds: float
    """From exec until every model was looked at."""
    cost: Cost
    writes: str
    looks: int


@asynccontextmanager
async def restarted(world: World, count: int, namespace: str = "") -> AsyncIterator[tuple[Operator, Restart]]:
    """Start the operator and measure; it runs on while the context is open. `namespace` limits what it watches."""
    settings = {"TIDEGATE_WATCH_NAMESPACES": namespace} if namespace else {}
    operator = world.operator(settings=settings)
    place, started = world.plane.audit.here(), time.monotonic()
    async with running(operator):
        while True:
            now = time.monotonic()
            found = await operator.metrics()
            if (
                found
                and found.total("tidegate_reconciles_total", result="done") >= count
                and found.total("tidegate_modeldeployments") >= count
                and found.total("tidegate_queue_depth") == 0
            ):
                break
            operator.expect_running()
            if now - started > 120:
                raise TimeoutError(f"{count} models are not all looked at within 120 s of a start")
            await asyncio.sleep(max(0.05, count / 20_000))  # a scrape counts every model: as many of them at each size
        await asyncio.sleep(2)
        last = await operator.metrics()
        looks = int(last.total("tidegate_reconciles_total")) if last else 0
        writes = audit.summary(world.plane.audit.writes(place))
        yield operator, Restart(now - started, operator.cost(), writes, looks)


async def restart(world: World) -> None:
    """The operator comes back, and nothing has changed."""
    count = world.options.objects
    await grow(world, count)
    found: list[Restart] = []
    for _ in range(3):
        async with restarted(world, count) as (_, one):
            found.append(one)
    report = world.report
    seconds = statistics.median(one.seconds for one in found)
    memory = max(one.cost.resident_bytes for one in found) / MIB
    report.bar(
        f"exec until {count} are reconciled, median of 3", f"{seconds:.2f} s", "<= 3 s", passed=seconds <= 3, timed=True
    )
    writes = "; ".join(one.writes for one in found)
    report.bar("writes", writes, "none", passed=all(one.writes == "none" for one in found))
    report.bar("resident", f"{memory:.0f} MiB", "<= 150 MB", passed=memory * MIB <= 150e6)
    report.figure("looks", str(found[-1].looks))


async def edit(world: World, edits: int = 200) -> None:
    """One edit among many, until its Deployment has it."""
    count = world.options.objects
    await grow(world, count)
    rng = random.Random(world.options.seed)
    async with restarted(world, count), sight(world) as seen:
        place = world.plane.audit.here()
        took = []
        for number in range(edits):
            name = rng.choice(called(0, count))
            took.append(await measured_edit(world, seen, name, f"edit-{world.options.seed}-{number}-{time.time_ns()}"))
            await asyncio.sleep(0.03)
        await world.until_settled(len(await world.models()))
        writes = len(world.plane.audit.writes(place))
    p50, p99 = percentile(took, 0.5), percentile(took, 0.99)
    report = world.report
    report.bar(f"edit to child, p50 of {edits}", f"{p50 * 1000:.0f} ms", "<= 50 ms", passed=p50 <= 0.05, timed=True)
    report.bar(f"edit to child, p99 of {edits}", f"{p99 * 1000:.0f} ms", "<= 200 ms", passed=p99 <= 0.2, timed=True)
    report.figure("edit to child, slowest", f"{max(took) * 1000:.0f} ms")
    report.figure("writes per edit", f"{writes / edits:.2f}")


async def idle(world: World) -> None:
    """Nothing happens."""
    count, minutes = world.options.objects, 1 if world.options.short else 15
    await grow(world, count)
    async with restarted(world, count) as (operator, _):
        place, before, started = world.plane.audit.here(), operator.cost(), time.monotonic()
        for minute in range(minutes):
            await asyncio.sleep(60)
            world.report.say(f"{minute + 1} min: {audit.summary(world.plane.audit.writes(place))}")
        share = (operator.cost().cpu_seconds - before.cpu_seconds) / (time.monotonic() - started)
        writes = audit.summary(world.plane.audit.writes(place))
    world.report.bar(f"writes in {minutes} min", writes, "none", passed=writes == "none")
    world.report.bar("CPU, of one core", f"{share:.3%}", "<= 0.5 %", passed=share <= 0.005, timed=True)


async def scale(world: World) -> None:
    """What one object more costs, in CPU and memory of a restart, above an operator that has none."""
    base = world.options.objects
    sizes = [base, 2 * base] if world.options.short else [base, 2 * base, 5 * base]
    await world.make_namespace("nothing")
    empty = await _median_cost(world, 0, "nothing")
    per_object: dict[int, Cost] = {}
    for count in sizes:
        await grow(world, count)
        there = len(await world.models())
        found = await _median_cost(world, there)
        cost = Cost(
            (found.cpu_seconds - empty.cpu_seconds) / there, (found.resident_bytes - empty.resident_bytes) // there
        )
        per_object[count] = cost
        world.report.figure(
            f"restart with {there}",
            f"{found.cpu_seconds:.2f} CPU s, {found.resident_bytes / MIB:.0f} MiB; "
            f"above empty ({empty.cpu_seconds:.2f} s, {empty.resident_bytes / MIB:.0f} MiB) per object "
            f"{cost.cpu_seconds * 1000:.2f} ms, {cost.resident_bytes / 1024:.1f} KiB",
        )
    for count in sizes[1:]:
        cpu = per_object[count].cpu_seconds / per_object[base].cpu_seconds
        memory = per_object[count].resident_bytes / per_object[base].resident_bytes
        bar = f"<= 1.3 of that at {base}"
        world.report.bar(f"CPU per object at {count}", f"{cpu:.2f}", bar, passed=cpu <= 1.3, timed=True)
        world.report.bar(f"memory per object at {count}", f"{memory:.2f}", bar, passed=memory <= 1.3)


async def _median_cost(world: World, count: int, namespace: str = "") -> Cost:
    """Of three restarts."""
    found = []
    for _ in range(3):
        async with restarted(world, count, namespace) as (_, one):
            found.append(one.cost)
    return Cost(
        statistics.median(cost.cpu_seconds for cost in found), statistics.median_low(c.resident_bytes for c in found)
    )
