"""Objects that cannot be helped must not cost the others anything."""

import asyncio
import time
from collections.abc import Sequence

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
    """The same edits of the good ones before and after the others break: alone, and with another edited beside each.

    An edit costs the API server something whether its object is well or not.
    """
    await world.make_namespace(NAMESPACE)
    others = [*BROKEN, POISON]
    async with world.proxy() as (between, kubeconfig), running(world.operator(kubeconfig)) as operator:
        await world.create([*GOOD, *others])
        await world.until_settled(len(GOOD) + len(others))
        alone = await _edits(world, "alone")
        await world.until_settled(len(GOOD) + len(others))
        edited = await _edits(world, "beside others, edited", stirred=others)
        await world.until_settled(len(GOOD) + len(others))
        between.script = refuse
        await asyncio.gather(*(world.edit(name, f"break-{time.time_ns()}") for name in others))
        await asyncio.sleep(10)
        before = await operator.metrics()
        beside = await _edits(world, "alone, beside the broken")
        among = await _edits(world, "beside the broken, edited", stirred=others)
        after = await operator.metrics()
        assert before
        assert after
        looks = after.total("tidegate_reconciles_total") - before.total("tidegate_reconciles_total")
    world.report.figure("looks beside the broken", f"{looks:.0f}")
    for what, well, broken in (
        ("nobody else edited", alone, beside),
        ("another edited beside each", edited, among),
    ):
        world.report.bar(
            f"p99, {what}, 101 others broken",
            f"{well * 1000:.0f} -> {broken * 1000:.0f} ms, {broken / well:.2f} of before",
            f"<= {RATIO}",
            passed=broken <= RATIO * well,
            timed=True,
        )
    world.report.figure("both together, of alone and well", f"{among / alone:.2f}")


async def _edits(world: World, label: str, *, stirred: Sequence[str] = ()) -> float:
    """The p99 of two edits of each good model (one in short), in turn, with an edit of one of `stirred` beside each."""
    took: list[float] = []
    async with sight(world) as seen:
        for number in range(len(GOOD) if world.options.short else 2 * len(GOOD)):
            if stirred:
                await world.edit(stirred[number % len(stirred)], f"stir-{time.time_ns()}")
            took.append(await measured_edit(world, seen, GOOD[number % 100], f"{label}-{time.time_ns()}"))
            await asyncio.sleep(0.03)
    world.report.say(f"{label}: p50 {percentile(took, 0.5) * 1000:.0f} ms, p99 {percentile(took, 0.99) * 1000:.0f} ms")
    return percentile(took, 0.99)
