"""Every state that a world can come to, each once, and the shortest way to the first that must not be."""

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tidegate_operator.core import records
from tidegate_operator.core.guards import ALL, Guards
from verify import moves
from verify.looks import Looks, uids
from verify.moves import World
from verify.operators import Gone, News, Proc, Put, State
from verify.settle import Settler, wrong
from verify.values import Budget, Key, Truth


@dataclass(frozen=True, slots=True)
class Counterexample:
    promise: str
    """The promise that is broken, and how."""
    moves: tuple[str, ...]

    def __str__(self) -> str:
        told = "\n".join(f"  {number:>3}. {words}" for number, words in enumerate(self.moves, 1))
        return f"{self.promise}\n{told}"


@dataclass(slots=True)
class Result:
    world: str
    states: int = 0
    truths: int = 0
    ends: int = 0
    transitions: int = 0
    looks: int = 0
    depth: int = 0
    seconds: float = 0.0
    complete: bool = True
    counterexample: Counterexample | None = None


Node = tuple[State, Budget]


def search(world: World, guards: Guards = ALL, *, seconds: float = 1e9) -> Result:
    """All states of a world, or the way to the first broken promise; gives up after so many seconds."""
    records.KEPT = world.kept
    looks = Looks(guards)
    settler = Settler(looks, world.release)
    started = time.monotonic()
    result = Result(world.name)
    begin = canonical(moves.first(world))
    before: dict[Node, tuple[Node, str] | None] = {(begin, budget): None for budget in world.budgets}
    best: dict[State, list[Budget]] = {begin: list(world.budgets)}
    waiting = deque(((begin, budget), 0) for budget in world.budgets)
    truths: set[Truth] = set()

    def told(node: Node, *more: str) -> tuple[str, ...]:
        way = list(reversed(more))
        at: Node | None = node
        while at is not None and (link := before[at]) is not None:
            at, words = link
            way.append(words)
        return tuple(reversed(way))

    def finish(found: Counterexample | None) -> Result:
        result.states, result.truths, result.ends = len(best), len(truths), len(settler.ends)
        result.looks, result.seconds = len(looks), time.monotonic() - started
        result.counterexample = found
        return result

    while waiting:
        node, depth = waiting.popleft()
        state, budget = node
        if budget not in best[state]:
            continue  # meanwhile a state was found from which more can happen
        result.depth = depth
        if state.truth not in truths:
            truths.add(state.truth)
            if broken := settler.settle(state.truth):
                return finish(Counterexample(broken[0], told(node, *broken[1])))
        if time.monotonic() - started > seconds:
            result.complete = False
            return finish(None)
        for words, after, left, deed in moves.following(world, looks, state, budget):
            result.transitions += 1
            if deed and (said := wrong(deed)):
                return finish(Counterexample(said, told(node, words)))
            after = canonical(after)
            known = best.get(after)
            if known is None:
                best[after] = [left]
            elif any(other.covers(left) for other in known):
                continue
            else:
                best[after] = [other for other in known if not left.covers(other)] + [left]
            following = (after, left)
            if following not in before:
                before[following] = (node, words)
                waiting.append((following, depth + 1))
    return finish(None)


def reachable(world: World) -> set[State]:
    """Every state of a world, without any check."""
    looks = Looks()
    begin = canonical(moves.first(world))
    best: dict[State, list[Budget]] = {begin: list(world.budgets)}
    waiting = deque((begin, budget) for budget in world.budgets)
    while waiting:
        state, budget = waiting.popleft()
        for _, after, left, _ in moves.following(world, looks, state, budget):
            after = canonical(after)
            known = best.setdefault(after, [])
            if not any(other.covers(left) for other in known):
                best[after] = [other for other in known if not left.covers(other)] + [left]
                waiting.append((after, left))
    return set(best)


# ---------------------------------------------------------------- states that differ only in the names of objects


def canonical(state: State) -> State:
    """The state with object number 0 at every name where nothing knows of another one any more."""
    for kind in ("kids", "kept"):
        for item in getattr(state.truth, kind):
            if item.uid and _known(state, kind, item.key) == {item.uid}:
                state = _renamed(state, kind, item.key)
    return state


def _known(state: State, kind: str, key: Key) -> set[int]:
    """The uids of this name that are known anywhere; more than there are, if a look in flight names one."""
    found = {item.uid for item in getattr(state.truth, kind) if item.key == key}
    for proc in state.procs:
        feed = getattr(proc, kind)
        found |= {item.uid for item in feed.items if item.key == key}
        found |= {uid for news in feed.news for uid in _uids(news, key)}
        for flight in (proc.look, proc.around):
            if flight and any(named == key for named, _ in uids(flight.at)):
                found.add(-1)
    return found


def _uids(news: News, key: Key) -> Iterator[int]:
    if isinstance(news, Put) and news.key == key:
        yield news.item.uid
    if isinstance(news, Gone) and news.key == key:
        yield news.uid


def _renamed(state: State, kind: str, key: Key) -> State:
    def items(found: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(item.but(uid=0) if item.key == key else item for item in found)

    def proc(one: Proc) -> Proc:
        feed = getattr(one, kind)
        news = tuple(
            Put(each.item.but(uid=0))
            if isinstance(each, Put) and each.key == key and not isinstance(each.item, str)
            else Gone(key, 0)
            if isinstance(each, Gone) and each.key == key
            else each
            for each in feed.news
        )
        return one.but(**{kind: feed.but(items=items(feed.items), news=news)})

    truth = state.truth.but(**{kind: items(getattr(state.truth, kind))})
    return State(truth, tuple(map(proc, state.procs)))
