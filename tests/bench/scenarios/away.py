"""The API server goes away and comes back; watches end while objects are deleted and history is forgotten."""

import asyncio
import time

from bench.scenarios.world import NAMESPACE, World, until
from plane import audit
from plane.process import Operator, running
from plane.proxy import Proxy

CATCH_UP_SECONDS = 5.0
MODELS = 30


async def outage(world: World) -> None:
    """Stopped, or killed and started again, for a while."""
    kinds = [("stopped", 20), ("killed", 60)]
    if not world.options.short:
        kinds = [("stopped", 60), ("killed", 60), ("killed", 300)]
    await world.make_namespace(NAMESPACE)
    async with world.proxy() as (between, kubeconfig):
        operator = world.operator(kubeconfig)
        try:
            operator.start()
            await operator.until_leading()
            await world.create([f"o{number}" for number in range(MODELS)])
            await world.until_settled(MODELS)
            for how, seconds in kinds:
                await _one_outage(world, operator, between, how, seconds)
        finally:
            operator.kill()


async def _one_outage(world: World, operator: Operator, between: Proxy, how: str, seconds: int) -> None:
    plane, what = world.plane, f"API server {how} for {seconds} s"
    mark = len(between.writes)
    if how == "stopped":
        plane.api.suspend()
    else:
        plane.api.kill()
    exit_code = None
    for passed in range(seconds):
        await asyncio.sleep(1)
        if exit_code is None and operator.exit_code is not None:
            exit_code = operator.exit_code
            world.report.say(f"{what}: the operator ended with {exit_code} after {passed + 1} s")
            operator.start()  # as its node would
    if how == "stopped":
        plane.api.resume()
        await plane.until_ready()
    else:
        await plane.start_api()
    value = f"{how}-{time.time_ns()}"
    started = time.monotonic()
    await world.edit("o1", value)
    await until("the edit reaches its child", lambda: world.shows("o1", value), seconds=120)
    took = time.monotonic() - started
    await world.until_settled(MODELS)
    ended = exit_code is not None or not operator.is_running
    world.report.bar(f"{what}: the process ended", f"with {exit_code}" if ended else "no", "no", passed=not ended)
    world.report.bar(
        f"{what}: caught up after", f"{took:.2f} s", f"<= {CATCH_UP_SECONDS:g} s", passed=took <= CATCH_UP_SECONDS
    )
    doubles = between.doubles(mark)
    world.report.bar(
        f"{what}: same content twice",
        f"{len(doubles)} of {len(between.writes) - mark} writes",
        "0",
        passed=not doubles,
    )
    if not operator.is_running:
        operator.start()
    await operator.until_leading(60)


async def expired(world: World) -> None:
    """Nothing is heard of three deletions, and the place where the watches stood is forgotten."""
    await world.make_namespace(NAMESPACE)
    gone = ["e1", "e2", "e3"]
    async with world.proxy() as (between, kubeconfig), running(world.operator(kubeconfig)) as operator:
        await world.create([f"e{number}" for number in range(MODELS)])
        await world.until_settled(MODELS)
        before = await operator.metrics()
        # Lists too: what is deleted must be found out from what the watch answers.
        between.refuse_watches = between.refuse_lists = True
        cut = between.cut_watches()
        place = world.plane.audit.here()
        for name in gone:
            await world.delete(name)

        async def children_gone() -> bool:
            return not await _children_of(world, gone)

        await until("the children are collected", children_gone, seconds=60, every=0.5)
        await world.plane.forget_history()
        between.refuse_watches = between.refuse_lists = False
        world.report.say(f"{cut} watches were cut, 3 models deleted, history forgotten; now it may look again")
        await asyncio.sleep(30)
        writes = audit.summary(world.plane.audit.writes(place))
        back = await _children_of(world, gone)
        after = await operator.metrics()
        assert before
        assert after
        restarts = after.total("tidegate_watch_restarts_total") - before.total("tidegate_watch_restarts_total")
        known = int(after.total("tidegate_modeldeployments"))
    world.report.figure("watches answered 410", f"{between.too_old} (and {restarts:.0f} lists anew)")
    world.report.bar("children of the deleted that came back", str(len(back)), "0", passed=not back)
    world.report.bar("writes", writes, "none", passed=writes == "none")
    world.report.bar("models known", str(known), str(MODELS - 3), passed=known == MODELS - 3)


async def _children_of(world: World, models: list[str]) -> list[str]:
    found = await world.children()
    return [
        f"{plural}/{child['metadata']['name']}"
        for plural, children in found.items()
        for child in children
        if any(owner["name"] in models for owner in child["metadata"].get("ownerReferences", []))
    ]
