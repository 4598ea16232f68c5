"""The same story with and without trouble: kills at every write, and answers that the API server should not give."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bench.scenarios.states import State, differences, orphans, state
from bench.scenarios.world import World
from plane import audit
from plane.process import Operator, running
from plane.proxy import (
    Action,
    Answer,
    Cut,
    CutLater,
    Delay,
    ErrorEvent,
    Incoming,
    Nonsense,
    Proxy,
    Script,
    faithful,
)

NAMESPACE = "story"
FIRST = [f"p{number}" for number in range(8)]
DEPTH = 9
"""The writes of one creation that are killed at in turn."""


@dataclass(frozen=True)
class Deed:
    """One thing that the user does."""

    kind: str
    """create, edit or delete."""
    name: str
    value: str = ""


@dataclass(frozen=True)
class Point:
    """Where the operator is killed during a chapter: at a write, or at a moment in seconds."""

    write: int | None
    forwarded: bool
    moment: float


Chapter = tuple[Deed, ...]


def story(chapters: int, seed: int) -> list[Chapter]:
    """Most chapters are one deed, the last three of ten are ten at once."""
    rng = random.Random(seed)
    alive, told, made = list(FIRST), list[Chapter](), 0
    for number in range(chapters):
        chapter: list[Deed] = []
        for _ in range(10 if number % 10 >= 7 else 1):
            kind = ("create", "edit", "delete")[(number + len(chapter)) % 3]
            untouched = [name for name in alive if name not in {deed.name for deed in chapter}]
            if kind == "create" or len(untouched) < 3:
                made += 1
                alive.append(f"m{made}")
                chapter.append(Deed("create", f"m{made}"))
            elif kind == "edit":
                chapter.append(Deed("edit", rng.choice(untouched), f"v{number}-{len(chapter)}"))
            else:
                name = rng.choice(untouched)
                alive.remove(name)
                chapter.append(Deed("delete", name))
        told.append(tuple(chapter))
    return told


def points(chapters: int, seed: int) -> list[Point]:
    """Rotating: each write of a creation and of an edit, before and after it reaches the API server."""
    rng = random.Random(seed)
    return [
        Point(None if number % 10 >= 7 else 1 + number // 3 % DEPTH, number % 2 == 1, rng.uniform(0, 0.8))
        for number in range(chapters)
    ]


async def tell(world: World, chapter: Chapter) -> None:
    await asyncio.gather(*(_do(world, deed) for deed in chapter))


async def _do(world: World, deed: Deed) -> None:
    match deed.kind:
        case "create":
            await world.create([deed.name], NAMESPACE)
        case "edit":
            await world.edit(deed.name, deed.value, NAMESPACE)
        case _:
            await world.delete(deed.name, NAMESPACE)


def left(chapters: Sequence[Chapter]) -> int:
    """How many models are there in the end."""
    deeds = [deed for chapter in chapters for deed in chapter]
    return len(FIRST) + sum({"create": 1, "delete": -1}.get(deed.kind, 0) for deed in deeds)


async def calm(world: World, chapters: Sequence[Chapter]) -> State:
    """The state that the story ends in when nothing goes wrong; the namespace is gone afterwards."""
    await world.make_namespace(NAMESPACE)
    async with running(world.operator()):
        await world.create(FIRST, NAMESPACE)
        await world.until_settled(len(FIRST), NAMESPACE, quiet=0.3, every=0.1)
        for number, chapter in enumerate(chapters):
            await tell(world, chapter)
            await world.until_settled(left(chapters[: number + 1]), NAMESPACE, quiet=0.3, every=0.1)
        await world.until_settled(left(chapters), NAMESPACE)
        await collected(world)
        found = await state(world, NAMESPACE)
    await world.remove_namespace(NAMESPACE)
    return found


@asynccontextmanager
async def opening(world: World) -> AsyncIterator[tuple[Proxy, Operator]]:
    """What every story begins with: an operator that leads, a proxy between, and the first models."""
    await world.make_namespace(NAMESPACE)
    async with world.proxy() as (between, kubeconfig):
        operator = world.operator(kubeconfig)
        try:
            operator.start()
            await operator.until_leading()
            await world.create(FIRST, NAMESPACE)
            await world.until_settled(len(FIRST), NAMESPACE)
            yield between, operator
        finally:
            operator.kill()


async def collected(world: World, seconds: float = 30.0) -> list[str]:
    """Wait for the garbage collector; returns the orphans that it left."""
    for _ in range(int(seconds)):
        if not await orphans(world, NAMESPACE):
            return []
        await asyncio.sleep(1)
    return await orphans(world, NAMESPACE)


async def kills(world: World) -> None:
    """SIGKILL in every chapter."""
    count = world.options.kills
    chapters, where = story(count, world.options.seed), points(count, world.options.seed)
    wanted = await calm(world, chapters)
    world.report.say(f"{count} chapters told without kills: {len(wanted)} objects")
    at_writes = 0
    async with opening(world) as (between, operator):
        for number, (chapter, point) in enumerate(zip(chapters, where, strict=True)):
            at_writes += await _killed(world, operator, between, chapter, point)
            await world.until_settled(left(chapters[: number + 1]), NAMESPACE, quiet=0.3, every=0.2)
            if number % 10 == 9:
                world.report.say(f"{number + 1} of {count} kills, {at_writes} of them at a write")
        await world.until_settled(left(chapters), NAMESPACE)
        await operator.terminate()
    place = world.plane.audit.here()
    async with running(world.operator()):
        await asyncio.sleep(3)
    writes = audit.summary(world.plane.audit.writes(place))
    world.report.figure("killed at a write, at a moment", f"{at_writes}, {count - at_writes}")
    await compare(world, wanted, f"{count} kills")
    world.report.bar("writes of a fresh start afterwards", writes, "none", passed=writes == "none")


async def _killed(world: World, operator: Operator, between: Proxy, chapter: Chapter, point: Point) -> bool:
    """One chapter with a kill in it; whether that was at a write. Starts the operator again."""
    dead = asyncio.Event()

    def kill() -> None:
        operator.kill()
        dead.set()

    between.script = kill_at(len(between.writes) + point.write, point.forwarded, kill) if point.write else faithful
    await tell(world, chapter)
    try:
        # A deletion makes the operator write nothing at all: then it is the moment that counts.
        await asyncio.wait_for(dead.wait(), 2 if point.write and chapter[0].kind != "delete" else point.moment)
        at_write = True
    except TimeoutError:
        at_write = False
        operator.kill()
    between.script = faithful
    operator.start()
    await operator.until_leading()
    return at_write


def kill_at(number: int, forwarded: bool, kill: Callable[[], None]) -> Script:
    """Kill when that write arrives, before it is forwarded or after."""

    def script(incoming: Incoming) -> Action | None:
        return Cut(forwarded, kill) if incoming.number == number else None

    return script


async def compare(world: World, wanted: State, what: str) -> None:
    left_over = await collected(world)
    found = differences(wanted, await state(world, NAMESPACE))
    for line in found[:10]:
        world.report.say(line)
    world.report.bar(
        f"{what}: final state", f"{len(found)} of {len(wanted)} objects differ", "0 differ", passed=not found
    )
    world.report.bar(f"{what}: orphans", str(len(left_over)), "0", passed=not left_over)


async def faults(world: World) -> None:
    """The API server errs, talks nonsense, hangs up or is slow: one request in five, every other list and watch."""
    seed = world.options.seed
    world.report.say(f"seed {seed}")
    creations = [Deed("create", f"f{number}") for number in range(50)]
    changes = [Deed("edit", f"f{number}", f"fault-{number}") for number in range(50)]
    chapters = [tuple(part[at : at + 10]) for part in (creations, changes) for at in range(0, 50, 10)]
    wanted = await calm(world, chapters)
    ends = 0
    async with opening(world) as (between, operator):
        answers: list[str] = []
        between.script = at_random(random.Random(seed), answers)
        for chapter in chapters:
            await tell(world, chapter)
            await asyncio.sleep(2)
            between.cut_watches()
            if not operator.is_running:
                ends += 1
                operator.start()  # as its node would
        await asyncio.sleep(5)
        between.script = faithful
        world.report.say(f"{len(answers)} faults; now the API server behaves")
        if not operator.is_running:
            ends += 1
            operator.start()
        await operator.until_leading(60)
        await world.until_settled(left(chapters), NAMESPACE, seconds=120)
    world.report.figure("faults", ", ".join(f"{answers.count(kind)} {kind}" for kind in sorted(set(answers))))
    world.report.bar("the process ended", str(ends), "0", passed=not ends)
    await compare(world, wanted, "faults")


def at_random(rng: random.Random, answers: list[str]) -> Script:
    """Faults for one request in five, the Lease's included, and for every other list and watch, of which there are few.

    What was done is noted in `answers`.
    """

    def script(incoming: Incoming) -> Action | None:
        learns = incoming.is_list or incoming.is_watch
        if rng.random() >= (0.5 if learns else 0.2):
            return None
        actions: list[Action] = [Answer(429, retry_after=1), Answer(500), Answer(503), Cut(forwarded=False)]
        if incoming.method == "GET":
            # A write that is answered 400 or 403 is refused, and the object says so for a while.
            actions += [Answer(400), Answer(401), Answer(410), Nonsense()]
        else:
            actions.append(Answer(409))
        if learns:
            actions.append(Answer(404))
        if incoming.is_watch:
            actions += [ErrorEvent(410), ErrorEvent(500), CutLater(rng.uniform(0, 1.0))]
        else:
            actions += [Cut(forwarded=True), Delay(rng.uniform(0.05, 1.0))]
        action = rng.choice(actions)
        answers.append(_name(action))
        return action

    return script


def _name(action: Action) -> str:
    match action:
        case Answer(code):
            return str(code)
        case Cut(forwarded):
            return "cut after" if forwarded else "cut before"
        case CutLater():
            return "cut later"
        case ErrorEvent(code):
            return f"{code} in a watch"
        case Nonsense():
            return "nonsense"
        case _:
            return "delayed"
