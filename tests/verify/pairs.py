"""Two models in one namespace, enumerated together: the product that the other worlds leave out.

The worlds search one model, because a look touches nothing of another (a promise that
is checked at every write), so that the states of two are pairs of states of one. Here a
small world is searched as a pair, with one process that dies as a whole and one pass
of the namespace for both: every state must be such a pair, and each model must come
to every state that it comes to alone. (Not every pair is reached: the two share one
budget, and a crash takes both.)
"""

from collections import deque
from dataclasses import replace
from itertools import product
from typing import Any

from tidegate_operator.core.look import Fresh, look_around
from verify import moves, specs, themes
from verify.looks import Looks, shared
from verify.moves import World
from verify.operators import State, cached, newly
from verify.search import canonical, reachable
from verify.settle import wrong
from verify.values import Budget

Pair = tuple[State, State]


def enumerate_pairs(worlds: tuple[World, World]) -> tuple[int, int, str | None]:
    """How many pairs there are and how many the product has, and what is wrong."""
    looks = Looks()
    alone = [reachable(world) for world in worlds]
    begin: Pair = (canonical(moves.first(worlds[0])), canonical(moves.first(worlds[1])))
    seen: dict[Pair, list[Budget]] = {begin: list(worlds[0].budgets)}
    waiting = deque((begin, budget) for budget in worlds[0].budgets)
    while waiting:
        pair, budget = waiting.popleft()
        if error := around_is_one_after_the_other(pair):
            return len(seen), 0, error
        for after, left, deed in following(worlds, looks, pair, budget):
            if deed and (said := wrong(deed)):
                return len(seen), 0, said
            known = seen.setdefault(after, [])
            if any(other.covers(left) for other in known):
                continue
            seen[after] = [other for other in known if not left.covers(other)] + [left]
            waiting.append((after, left))
    for place in (0, 1):
        projected = {pair[place] for pair in seen}
        if not projected <= alone[place]:
            return len(seen), 0, f"{len(projected - alone[place])} states of model {place} are none that it has alone"
        if not alone[place] <= projected:
            return len(seen), 0, f"{len(alone[place] - projected)} states that model {place} has alone are missing"
    return len(seen), len(alone[0]) * len(alone[1]), None


def following(worlds: tuple[World, World], looks: Looks, pair: Pair, budget: Budget) -> Any:
    """One of the two moves; a crash takes both."""
    for place in (0, 1):
        other = pair[1 - place]
        for words, after, left, deed in moves.following(worlds[place], looks, pair[place], budget):
            if left.crashes < budget.crashes:
                continue
            if words.startswith("the operator looks around") and any(proc.around for proc in other.procs):
                continue  # one pass of the namespace at a time, for both
            moved = canonical(after)
            yield ((moved, other) if place == 0 else (other, moved)), left, deed
    if budget.crashes:
        both = tuple(canonical(State(one.truth, (newly(one.truth),))) for one in pair)
        yield (both[0], both[1]), budget.spend("crashes"), None


def around_is_one_after_the_other(pair: Pair) -> str | None:
    """The real pass over the revisions of both is the pass over those of one, and then over those of the other."""
    lists = []
    for state in pair:
        proc = state.procs[0]
        lists.append([specs.core_revision(kept) for kept in proc.kept.items] if cached(proc.models) is None else [])
    now = specs.now(pair[0].truth.day)
    for answers in product((None, Fresh("0")), repeat=2):
        said = dict(zip((state.truth.name for state in pair), answers, strict=True))
        apart = [step for found in lists for step in ran(found, now, said)]
        if ran(lists[0] + lists[1], now, said) != apart:
            return "a look around two models is not one look after the other"
    return None


def ran(revisions: list[Any], now: Any, said: dict[str, Any]) -> list[Any]:
    steps = look_around(revisions, now)
    found: list[Any] = []
    answer = None
    while True:
        try:
            step = steps.send(answer)
        except StopIteration:
            return found
        found.append(shared(step))
        answer = said.get(getattr(step, "name", ""))


def pair_of(world: World) -> tuple[World, World]:
    """The world, and the same one under another name."""
    return world, replace(world, start=themes.small("trains"))
