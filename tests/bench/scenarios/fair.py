"""Objects that cannot be helped must not cost the others anything."""

import asyncio
import time

from bench.scenarios.report import percentile
from bench.scenarios.world import NAMESPACE, World, measured_edit, sight
from plane.process import running
from plane.proxy import Action, Answer, Incoming

GOOD = [f"good{number}" for number in range(100)]
BROKEN = [f"broken{number}" for number in range(100)]
POISON = "poison"
RATIO = 1.5


def refuse(incoming: Incoming) -> Action | None:
    """Broken models' Deployments are refused for good; the poisoned one's children fail as if a next try could help."""
    name = incoming.path.rsplit("/", 1)[-1]
    if not incoming.is_write or "/modeldeployments/" in incoming.path:
        return None
    if name.startswith(POISON):
        return Answer(500)
    is_broken = name.startswith("broken") and "/deployments/" in incoming.path
    return Answer(422, "refused by the bench") if is_broken else None


async def fairness(world: World) -> None:
    """The same edits of the good ones before and after the bad ones are there."""
    await world.make_namespace(NAMESPACE)
    async with world.proxy() as (between, kubeconfig), running(world.operator(kubeconfig)) as operator:
        between.script = refuse
        await world.create(GOOD)
        await world.until_settled(len(GOOD))
        alone = await _edits(world, "alone")
        await world.create([*BROKEN, POISON])
        await asyncio.sleep(10)
        before = await operator.metrics()
        among = await _edits(world, "among", stir=True)
        after = await operator.metrics()
        assert before
        assert after
        looks = after.total("tidegate_reconciles_total") - before.total("tidegate_reconciles_total")
    world.report.figure("p99 alone", f"{alone * 1000:.0f} ms")
    world.report.figure("looks while the good ones were edited", f"{looks:.0f}")
    world.report.bar(
        "p99 among 100 broken and one poisoned",
        f"{among * 1000:.0f} ms, {among / alone:.2f} of that alone",
        f"<= {RATIO}",
        passed=among <= RATIO * alone,
        timed=True,
    )


async def _edits(world: World, label: str, *, stir: bool = False) -> float:
    """The p99 of two edits of each good model, one after the other; `stir` edits a bad one beside each."""
    took: list[float] = []
    async with sight(world) as seen:
        for number in range(2 * len(GOOD)):
            if stir:
                await world.edit((*BROKEN, POISON)[number % 101], f"stir-{time.time_ns()}")
            took.append(await measured_edit(world, seen, GOOD[number % 100], f"{label}-{time.time_ns()}"))
            await asyncio.sleep(0.03)
    world.report.say(f"{label}: p50 {percentile(took, 0.5) * 1000:.0f} ms, p99 {percentile(took, 0.99) * 1000:.0f} ms")
    return percentile(took, 0.99)
