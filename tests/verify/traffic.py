"""How the traffic moves, searched: every state of two routers, three versions and an owner who changes their mind.

The code under search is `core/traffic.py` alone; what it knows of the pods is right, what it knows of the routers is as
old as its last question. Routers take the newest route in one step, learn of pods in another, start, and end.
"""

import time
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

from tidegate_contract.route import WHOLE, Route, Share, Slot, total
from tidegate_operator.core.guards import ALL, Guard, Guards
from tidegate_operator.core.traffic import Aim, Fleet, first, step
from tidegate_operator.core.types import Router
from verify.search import Counterexample, Result

GUARDS = frozenset({Guard.PODS_READY, Guard.STABLE_READY, Guard.PODS_KNOWN, Guard.ACKNOWLEDGED, Guard.DRAINED})
"""Those that are missed here and nowhere else."""
NAME = "traffic"
AIMS = (Aim("A"), Aim("A", "B", 5), Aim("B"), Aim("A", "C", 50))
PORT, TIMEOUT = 10000, 10.0
MOST_MOVES = 200
"""From any state to rest."""


class Envoy(NamedTuple):
    """A router, as it is."""

    route: Route
    pods: frozenset[str] = frozenset()
    """Revisions whose pods it knows."""
    busy: frozenset[str] = frozenset()
    """Revisions at which it has a request."""
    said: Router | None = None
    """What the operator has heard from it last; None: nothing yet."""

    def says(self) -> Router:
        slots = self.route.slots
        pods = {slot: int(share.revision in self.pods) for slot, share in slots.items()}
        in_route = {share.revision for share in slots.values()}
        return Router(self.route.generation, pods, len(self.busy - in_route))


class State(NamedTuple):
    route: Route
    aim: Aim
    ready: frozenset[str]
    """Revisions whose pods are there and ready."""
    there: frozenset[str]
    """Revisions whose pods are there."""
    routers: tuple[Envoy, ...]
    changes: int
    """How often the owner may still change their mind."""
    troubles: int
    """How often a router may still start or end, or pods become unready."""

    def key(self) -> Hashable:
        """The same for states that differ in nothing but the count of generations, or in the order of their routers.

        Routers are put in the order of their hashes: two that share one by chance make a state more, and hide none.
        """
        now = self.route.generation

        def shape(route: Route) -> Hashable:
            return now - route.generation, route.stable, frozenset(route.slots.items())

        def one(router: Envoy) -> Hashable:
            said = router.said
            heard = said and (min(now - said.generation, 1), frozenset(said.pods.items()), said.leaving)
            return shape(router.route), router.pods, router.busy, heard

        routers = tuple(sorted(map(one, self.routers), key=hash))
        return shape(self.route), self.aim, self.ready, self.there, routers, self.changes, self.troubles


Move = tuple[str, State, str]
"""Words, the state after it, and the promise that it breaks; empty if none."""


def begin(changes: int, troubles: int) -> State:
    """One version serves."""
    aim = AIMS[0]
    route = first(aim, PORT, TIMEOUT)
    routers = tuple(Envoy(route, frozenset({"A"})) for _ in range(2))
    return State(route, aim, frozenset({"A"}), frozenset({"A"}), routers, changes, troubles)


def midway(changes: int, troubles: int) -> State:
    """A candidate has a part of the requests."""
    aim = AIMS[1]
    slots = {Slot.A: Share("A", WHOLE - aim.weight), Slot.B: Share("B", aim.weight)}
    route, pods = Route(PORT, 1, Slot.A, slots, TIMEOUT), frozenset({"A", "B"})
    return State(route, aim, pods, pods, tuple(Envoy(route, pods) for _ in range(2)), changes, troubles)


STARTS = (begin(2, 0), begin(1, 1), midway(1, 1))


def following(state: State, guards: Guards, *, calm: bool = False) -> Iterator[Move]:
    """Everything that may happen next. `calm`: nobody changes anything any more, and every request ends."""
    yield from _operator(state, guards)
    for place, router in enumerate(state.routers):
        yield from _router(state, place, router, calm=calm)
    for revision in sorted(state.there - state.ready):
        yield f"pods of {revision} get ready", state._replace(ready=state.ready | {revision}), ""
    if calm:
        return
    if state.changes:
        for aim in AIMS:
            if aim != state.aim:
                yield f"the owner wants {aim}", state._replace(aim=aim, changes=state.changes - 1), ""
    if state.troubles:
        left = state._replace(troubles=state.troubles - 1)
        yield "a router starts", left._replace(routers=(*state.routers, Envoy(state.route, state.ready))), ""
        if len(state.routers) > 1:
            yield "a router ends", left._replace(routers=state.routers[1:]), ""
        for revision in sorted(state.ready):
            yield f"pods of {revision} are not ready any more", left._replace(ready=state.ready - {revision}), ""


def _operator(state: State, guards: Guards) -> Iterator[Move]:
    wanted = {state.aim.stable, state.aim.candidate} - {""}
    missing = wanted - state.there
    if missing:
        yield f"the operator makes pods of {sorted(missing)}", state._replace(there=state.there | missing), ""
    for place, router in enumerate(state.routers):
        if router.said != router.says():
            yield f"router {place} is asked", _with(state, place, router._replace(said=router.says())), ""
    fleets = {revision: Fleet(ready=int(revision in state.ready)) for revision in state.there}
    told = [router.said or Router() for router in state.routers]
    found = step(state.route, state.aim, fleets, told, guards)
    if found.route != state.route:
        yield f"the operator writes {found.route}", state._replace(route=found.route), _wrong_change(state, found.route)
    elif found.free:
        gone = state._replace(there=state.there - found.free, ready=state.ready - found.free)
        yield f"the operator ends the pods of {sorted(found.free)}", gone, _wrong_end(state, found.free)


def _router(state: State, place: int, router: Envoy, *, calm: bool) -> Iterator[Move]:
    if router.route != state.route:
        yield (
            f"router {place} runs {state.route.generation}",
            _with(state, place, router._replace(route=state.route)),
            "",
        )
    if router.pods != state.ready:
        yield f"router {place} learns of pods", _with(state, place, router._replace(pods=state.ready)), ""
    for revision in sorted(router.busy):
        yield f"router {place} is answered by {revision}", _busy(state, place, router.busy - {revision}), ""
    if calm:
        return
    for share in router.route.slots.values():
        if share.revision not in router.busy:
            lost = (
                "" if share.revision in state.there else f"a request was sent to {share.revision}, whose pods are gone"
            )
            words = f"router {place} sends a request to {share.revision}"
            yield words, _busy(state, place, router.busy | {share.revision}), lost


def _with(state: State, place: int, router: Envoy) -> State:
    return state._replace(routers=(*state.routers[:place], router, *state.routers[place + 1 :]))


def _busy(state: State, place: int, busy: frozenset[str]) -> State:
    return _with(state, place, state.routers[place]._replace(busy=busy))


def _wrong_change(state: State, route: Route) -> str:
    if total(route.slots) != WHOLE or route.stable not in route.slots:
        return "the weights do not add up, or there is no stable version"
    if route.generation != state.route.generation + 1:
        return "a change has not the next generation"
    before = {share.revision: share.weight for share in state.route.slots.values()}
    stable = route.slots[route.stable]
    serving = [share.revision for share in route.slots.values() if share.revision in state.ready]
    if stable.weight > before.get(stable.revision, WHOLE) and serving and stable.revision not in serving:
        return f"{stable.revision} has more weight and no pod that is ready, {serving[0]} has one"
    for slot, share in route.slots.items():
        if slot == route.stable or share.weight <= before.get(share.revision, 0):
            continue
        if share.revision not in state.ready:
            return f"{share.revision} has more weight, and its pods are not ready"
        if not all(router.said and router.said.pods.get(slot) for router in state.routers):
            return f"{share.revision} has more weight, and a router has not said that it knows its pods"
    return ""


def _wrong_end(state: State, free: frozenset[str]) -> str:
    for router in state.routers:
        if free & router.busy:
            return f"the pods of {sorted(free & router.busy)} go while a router has a request there"
    return ""


def at_rest(state: State) -> str:
    """What is wrong where nothing is left to do; empty if all is as it should be."""
    shares = {share.revision: share.weight for share in state.route.slots.values()}
    aim = {state.aim.stable: WHOLE - state.aim.weight}
    if state.aim.candidate:
        aim[state.aim.candidate] = state.aim.weight
    if shares != aim or state.route.slots[state.route.stable].revision != state.aim.stable:
        return f"it comes to rest at {shares}, and not at {aim}"
    return "" if state.there == frozenset(aim) else f"pods of {sorted(state.there)} are there, wanted are {sorted(aim)}"


def search(guards: Guards = ALL, starts: Sequence[State] = STARTS) -> Result:
    """All states, or the way to the first broken promise."""
    result, started = Result(NAME), time.monotonic()
    waiting = deque((start, start.key(), 0) for start in starts)
    before: dict[Hashable, tuple[Hashable, str] | None] = {key: None for _, key, _ in waiting}
    settled: set[Hashable] = set()

    def finish(at: Hashable, *words: str) -> Result:
        way = []
        while (link := before[at]) is not None:
            at = link[0]
            way.append(link[1])
        result.counterexample = Counterexample(words[-1], (*reversed(way), *words[:-1]))
        result.states, result.seconds = len(before), time.monotonic() - started
        return result

    while waiting:
        state, key, depth = waiting.popleft()
        result.depth = depth
        if said := settle(state, guards, settled):
            return finish(key, said)
        for words, after, broken in following(state, guards):
            result.transitions += 1
            if broken:
                return finish(key, words, broken)
            if (following_key := after.key()) not in before:
                before[following_key] = (key, words)
                waiting.append((after, following_key, depth + 1))
    result.states, result.ends, result.seconds = len(before), len(settled), time.monotonic() - started
    return result


def settle(state: State, guards: Guards, settled: set[Hashable]) -> str:
    """Let everybody go on until nothing is left to do; what is wrong then."""
    seen: set[Hashable] = set()
    for _ in range(MOST_MOVES):  # states of one key may follow each other: a key does not say all that was heard
        if (key := state.key()) in settled:
            break
        seen.add(key)
        moves = following(state, guards, calm=True)
        found = next(moves, None)
        if found is None:
            if wrong := at_rest(state):
                return wrong
            break
        if found[2]:
            return found[2]
        state = found[1]
    else:
        return "it never comes to rest"
    settled |= seen
    return ""
