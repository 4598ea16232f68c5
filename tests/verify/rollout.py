"""How a model's versions take over through routers, searched: promises, where it must come to rest, and the beginnings.

The real looks of `core/look.py` at one model, in the world of `verify/routed.py`: two or three routers, three versions,
an owner who edits spec, people who act, pods that come and go, a look that may be lost before any of its writes.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import NamedTuple

from tidegate_contract.actions import Verb
from tidegate_contract.route import WHOLE
from tidegate_operator.core.guards import ALL, Guard, Guards
from tidegate_operator.core.types import Kind, Status, Strategy, Via
from verify.routed import (
    GONE,
    LETTERS,
    NAMES,
    Budget,
    Envoy,
    Looks,
    Made,
    Rules,
    Spec,
    State,
    begins,
    canonical,
    coarsely,
    following,
    listens,
    normal,
    others,
    ref_of,
    shared_revisions,
    template_of,
    written,
)
from verify.search import Counterexample, Result
from verify.values import owner_of
from verify.verdicts import (
    of_a_bake,
    of_a_beginning,
    of_a_lost_control,
    of_a_verdict,
    waits_for_requests,
    weights_at_rest,
)
from verify.words import Said
from worlds import ME

# ---------------------------------------------------------------- promises


def of_a_look(state: State, made: Made) -> str:
    """What is wrong with what a look is about to write, as things are when it begins; empty if nothing is."""
    if made.flight.status:
        after, route, _ = made.flight.status
        if route != state.route and (words := of_a_route(state, after.value, made)):
            return words
        if words := of_a_verdict(state, made, after.value):
            return words
    if made.leads is False and state.straight is not False and (words := of_the_way_in(state)):
        return words
    return of_an_end(state, made) if made.ends else ""


def of_a_route(state: State, after: Status, made: Made) -> str:
    assert made.flight.status
    route, before = made.flight.status[1], state.route
    if not route:
        return ""
    if sum(route.weights.values()) != WHOLE or route.stable not in {slot for slot, _, _ in route.slots}:
        return "the weights do not add up, or there is no stable version"
    if before and route.generation != before.generation + 1:
        return "a change has not the next generation"
    weights = before.weights if before else {}
    rejected = {entry.revision for entry in after.rejected}
    ready = state.ready
    for slot, revision, weight in route.slots:
        if weight <= weights.get(revision, 0):
            continue
        letter = LETTERS[revision]
        if revision in rejected and revision != after.revision:
            return f"{letter} was rejected and has more weight"
        if not before:
            continue
        if after.paused and after.candidate and after.candidate.revision == revision:
            return f"{letter} has more weight, and people have paused it"
        if slot == route.stable:
            serving = [name for name in route.weights if name in ready]
            if serving and revision not in ready:
                return f"{letter} has more weight and no pod that is ready, {LETTERS[serving[0]]} has one"
            continue
        if revision not in ready:
            return f"{letter} has more weight, and its pods are not ready"
        for router in state.routers:
            if router.listed and not (router.said and router.said[0] == before.generation and slot in router.said[1]):
                return f"{letter} has more weight, and a router has not said that it knows its pods"
    return ""


def of_the_way_in(state: State) -> str:
    """Requests are about to be sent to routers. Where they reach pods now, every router must have a way to some."""
    if state.straight is None or not state.ready:
        return ""
    for router in state.routers:
        if router.listed and not (router.said and state.route and router.said[0] == state.route.generation):
            return "the Service leads to routers, and one has not said that it runs the route"
        if router.listed and state.route and state.route.stable not in router.said[1]:
            return "the Service leads to routers, and one has not said that it knows a pod"
    return ""


def of_an_end(state: State, made: Made) -> str:
    """Pods that serve must not be taken away."""
    left = {name for fleet in state.fleets if fleet.name not in made.ends for name, ready in fleet.pods if ready}
    if state.straight:
        lost = state.status.value.stable and state.ready and not left
        return "the last pods go to which requests are sent straight" if lost else ""
    for revision, weight in state.route.weights.items() if state.route else ():
        if weight and revision in state.ready and revision not in left:
            return f"the last pods of {LETTERS[revision]} go, which has {weight} of 100 requests"
    return ""


def of_a_write(before: State, after: State) -> str:
    """What is wrong with a write of a look, as things are when it is done."""
    if before.route and not after.route and not before.straight:
        return "the route ends while the Service leads to routers"
    if after.straight is False and before.straight is not False and not after.route:
        return "the Service leads to routers, and the status has no route"
    if (
        after.straight is False
        and before.straight
        and after.ready
        and not all(router.route for router in after.routers)
    ):
        return "the Service leads to routers now, and one does not know the model"
    return ""


def of_a_change(before: State, after: State) -> str:
    """What is wrong with anything that has happened."""
    return of_a_beginning(before, after) or of_lost_pods(before, after) or of_a_lost_control(before, after)


def of_lost_pods(before: State, after: State) -> str:
    """The last pods of a version go while it may get requests.

    Whoever deletes a model ends its pods, too, and no operator can keep them from the garbage collector: of those it is
    asked only that no candidate has got any weight for them since the model was made again.
    """
    if before.fleets is after.fleets or not (gone := before.there - after.there):
        return ""
    if before.straight and before.kids is after.kids:
        return ""  # nobody removes them: they roll over, and their requests come straight
    if gone & left_behind(before):
        for slot, revision, weight in before.route.slots if before.route else ():
            if revision in gone and weight and before.route and slot != before.route.stable:
                return f"{LETTERS[revision]} got requests for the pods of an object that is gone, and they go"
        return ""
    for route in (before.route, *(router.route for router in before.routers)):
        if route and (lost := gone & route.weights.keys()):
            return f"a router sends requests to {LETTERS[min(lost)]}, whose pods are gone"
    return ""


def left_behind(state: State) -> frozenset[str]:
    """The revisions whose Deployment belongs to an object that is gone."""
    left = (
        template_of(each)[0]
        for each in state.kids
        if owner_of(each) != state.uid and ref_of(each)[0] == Kind.DEPLOYMENT
    )
    return frozenset(left if state.uid != ME.uid else ())


def always(state: State) -> str:
    """What is wrong with a state."""
    ready, status = state.ready, state.status.value
    stable = status.stable
    allowed = {stable.revision} if stable else set()
    if allowed & {entry.revision for entry in status.rejected}:
        allowed.add(status.revision)  # pod by pod back to it
    if state.straight and stable:
        for fleet in state.fleets:
            for revision, _ in fleet.pods if fleet.name != ME.name else ():
                if revision not in allowed and revision in ready:
                    return f"the Service leads to the pods of {LETTERS[revision]}, which should have no share"
    return of_a_bake(state)


def at_rest(state: State) -> str:
    """What is wrong where nothing is left to do."""
    if state.uid == GONE:
        left = state.kids or state.fleets or any(router.route for router in state.routers)
        return "the model is gone, and something of it is left" if left else ""
    status, spec = state.status.value, state.spec
    wanted, target = NAMES[spec.version], status.revision
    rejected = {entry.revision for entry in status.rejected}
    if target != wanted and wanted not in rejected and not status.paused:
        return f"it comes to rest at {LETTERS.get(target)}, and spec asks for {spec.version}"
    deployments = {fleet.name for fleet in state.fleets}
    services = {name for kind, name in map(ref_of, state.kids) if kind == Kind.SERVICE} - {ME.name}
    if services != deployments - {ME.name}:
        return f"it comes to rest with Services {services} and Deployments {deployments}"
    return straight_at_rest(state) if spec.via is Via.SERVICE else routed_at_rest(state)


def straight_at_rest(state: State) -> str:
    if state.straight is not True or state.route or {fleet.name for fleet in state.fleets} != {ME.name}:
        return "it comes to rest, and its requests are not sent to the one Deployment straight"
    status = state.status.value
    pods = {revision for fleet in state.fleets for revision, _ in fleet.pods}
    stable = status.stable.revision if status.stable else ""
    if not status.paused and (pods != {status.revision} or stable != status.revision):
        return f"it comes to rest with pods of {pods}, and {status.revision} should serve"
    return ""


def routed_at_rest(state: State) -> str:
    status = state.status.value
    if state.straight is not False or not state.route or ME.name in {fleet.name for fleet in state.fleets}:
        return "it comes to rest, and its requests do not come through routers"
    deployments = {fleet.name.removeprefix(f"{ME.name}-") for fleet in state.fleets}
    weights, candidate = state.route.weights, status.candidate
    stable = status.stable.revision if status.stable else ""
    words = f"it comes to rest with weights {weights}, Deployments of {deployments}, stable {stable}"
    if status.paused and candidate:
        return "" if stable in weights and set(weights) <= deployments else words
    expected = weights_at_rest(state)
    if isinstance(expected, str):
        return expected
    return "" if weights == expected and deployments == set(expected) else f"{words}, and not {expected}"


# ---------------------------------------------------------------- rest


@dataclass
class Settler:
    """Brings states to rest, each once."""

    looks: Looks
    known: set[State]
    ends: set[State]
    coarse: bool = False

    def settle(self, state: State) -> tuple[str, list[str]] | None:
        """Nobody meddles any more. What is wrong then, and the way there."""
        state = canonical(state._replace(flight=None))
        seen: dict[State, None] = {}
        way: list[str] = []
        while state not in self.known:
            if state in seen:
                return "it never comes to rest", way
            seen[state] = None
            words, after = self.next(state)
            if after is None and words:
                return words, way
            if after is None:
                if wrong := at_rest(state):
                    return wrong, way
                if waits_for_requests(state) and not self.looks.moves(state):
                    return "it waits for what requests or routers say, and does not say so", way
                self.ends.add(state)
                break
            if words:
                way.append(words)
            if wrong := of_a_change(state, after) or always(after):
                return wrong, way
            state = canonical(after)
        self.known.update(seen)
        return None

    def next(self, state: State) -> tuple[str, State | None]:
        for moves in (coarsely, begins) if self.coarse else (others, listens):
            for words, after in moves(state):
                return words, after
        made = self.looks.begin(state)
        if made is None:
            return "", None
        if wrong := of_a_look(state, made):
            return wrong, None
        after = state._replace(flight=made.flight)
        while (flight := after.flight) is not None:
            before = after
            _, after = written(before, flight)
            if wrong := of_a_write(before, after) or of_a_change(before, after):
                return wrong, None
        return "the operator looks", after


# ---------------------------------------------------------------- beginnings


class Start(NamedTuple):
    """Where a search begins, and what may happen in it."""

    name: str
    about: str
    state: Callable[[], State]
    budgets: tuple[Budget, ...]
    """In one of these mixtures."""
    rules: Rules


def rested(state: State) -> State:
    """What becomes of it if nobody meddles."""
    settler = Settler(Looks(), set(), set())
    wrong = settler.settle(state)
    assert wrong is None, wrong
    (end,) = settler.ends
    return end


def new(spec: Spec, routers: int = 2) -> State:
    """A model that has just been made."""
    each = tuple(Envoy((), (), said=(0, ())) for _ in range(routers))
    words = () if spec.strategy is Strategy.AUTO else None
    return State(spec, None, normal(Status()), (), shared_revisions(()), (), (), each, words=words)


@cache
def serving(via: Via, strategy: Strategy, routers: int = 2) -> State:
    return rested(new(Spec("A", via, strategy), routers))


@cache
def waiting(strategy: Strategy, routers: int = 2) -> State:
    """A serves, and B waits for an approval."""
    state = serving(Via.ROUTER, strategy, routers)
    return rested(state._replace(spec=state.spec._replace(version="B")))


@cache
def tried(*, bakes: bool = False, routers: int = 2) -> State:
    """A serves, and B has its first requests, which have not said anything yet."""
    state = serving(Via.ROUTER, Strategy.AUTO, routers)
    return rested(state._replace(spec=state.spec._replace(version="B", bakes=bakes)))


@cache
def struck() -> State:
    """A serves, B has a strike, and the requests of its second trial have not said anything yet; one router."""
    state = tried(bakes=True, routers=1)
    return rested(state._replace(words=state.words and state.words._replace(says=Said.HARM)))


BOTH = (Via.ROUTER, Via.SERVICE)
PEOPLE = (Verb.APPROVE, Verb.PROMOTE, Verb.ABORT, Verb.ROLLBACK, Verb.PAUSE, Verb.RESUME)


def starts() -> tuple[Start, ...]:
    """What takes longest begins first."""
    canary = partial(waiting, Strategy.CANARY)
    return (
        Start(
            "takeover",
            "A serves; its owner asks for other versions, which take over at once",
            partial(serving, Via.ROUTER, Strategy.IMMEDIATE),
            (Budget(3, 0, 0), Budget(2, 1, 0), Budget(2, 0, 1), Budget(1, 0, 2)),
            Rules(verbs=PEOPLE),
        ),
        Start(
            "midway",
            "B has a first part of the requests and waits for an approval; its owner may ask for something else",
            canary,
            (Budget(2, 1, 0), Budget(1, 2, 0), Budget(1, 1, 1)),
            Rules(verbs=PEOPLE),
        ),
        Start(
            "bake",
            "what the first requests of B say decides; after it has taken over it is compared with A for a while",
            partial(tried, bakes=True),
            (Budget(0, 1, 0, 2), Budget(0, 0, 0, 4), Budget(0, 0, 1, 2), Budget(1, 0, 0, 3)),
            Rules("AB", verbs=PEOPLE, words=tuple(Said)),
        ),
        Start(
            "evidence",
            "the same, and B is alone as soon as it has taken over",
            tried,
            (Budget(0, 1, 0, 3), Budget(0, 0, 0, 4), Budget(0, 0, 1, 2)),
            Rules("AB", verbs=PEOPLE, words=tuple(Said)),
        ),
        Start(
            "entering",
            "A serves straight, and its owner wants it to come through routers",
            partial(serving, Via.SERVICE, Strategy.IMMEDIATE),
            (Budget(3, 0, 0), Budget(2, 1, 0), Budget(2, 0, 1), Budget(1, 1, 1)),
            Rules("AB", BOTH, PEOPLE),
        ),
        Start(
            "made",
            "a new model, nothing there yet",
            partial(new, Spec("A", strategy=Strategy.CANARY)),
            (Budget(1, 1, 0), Budget(1, 0, 1)),
            Rules("AB", BOTH, PEOPLE),
        ),
        Start(
            "leaving",
            "B waits for an approval, and the owner wants requests to go straight",
            canary,
            (Budget(3, 0, 0), Budget(2, 1, 0), Budget(1, 2, 0), Budget(2, 0, 1), Budget(1, 1, 1)),
            Rules("AB", BOTH, PEOPLE),
        ),
        Start(
            "another",
            "the same; its owner asks for other versions before and after B has taken over",
            partial(tried, bakes=True),
            (Budget(1, 0, 0, 2), Budget(2, 0, 0, 1)),
            Rules(words=tuple(Said)),
        ),
        Start(
            "restoring",
            "B has its first requests; the model is deleted at any moment and made again from a backup; one router",
            partial(tried, bakes=True, routers=1),
            (Budget(words=1, restores=1), Budget(edits=1, restores=1), Budget(verbs=1, restores=1)),
            Rules("AB", verbs=(Verb.ABORT, Verb.PROMOTE), words=(Said.HARM, Said.PROOF), coarse=True),
        ),
        Start(
            "struck",
            "the same, in the second trial of B",
            struck,
            (Budget(restores=1), Budget(words=1, restores=1), Budget(troubles=1, restores=1)),
            Rules("AB", troubles=("starts", "unready"), words=(Said.HARM, Said.PROOF), coarse=True),
        ),
        Start(
            "approval",
            "B has a first part of the requests; people approve, promote, take back, pause and resume",
            canary,
            (Budget(0, 3, 0), Budget(0, 1, 2)),
            Rules(verbs=PEOPLE),
        ),
        Start(
            "canary",
            "A serves; B is to take over step by step",
            partial(serving, Via.ROUTER, Strategy.CANARY),
            (Budget(1, 3, 0), Budget(2, 1, 0), Budget(1, 1, 1)),
            Rules("AB", verbs=PEOPLE),
        ),
        Start(
            "copies",
            "B is sent copies of all requests and waits for an approval",
            partial(waiting, Strategy.SHADOW),
            (Budget(1, 1, 0), Budget(0, 2, 0), Budget(0, 1, 1)),
            Rules(verbs=PEOPLE),
        ),
    )


MISSED = {
    Guard.PODS_READY: "approval",
    Guard.PODS_KNOWN: "midway",
    Guard.STABLE_READY: "approval",
    Guard.ACKNOWLEDGED: "midway",
    Guard.NOT_PAUSED: "approval",
    Guard.ROUTERS_KNOWN: "copies",
    Guard.SUCCEEDED: "entering",
    Guard.COUNTED: "evidence",
    Guard.EVIDENT: "evidence",
    Guard.AFRESH: "evidence",
    Guard.OWN_PODS: "restoring",
}
"""Where each of the guards on this way is missed."""


def named(name: str) -> Start:
    return next(start for start in starts() if start.name == name)


# ---------------------------------------------------------------- the search


def search(start: Start, guards: Guards = ALL, seconds: float = 1e9) -> Result:
    """All states, or the way to the first broken promise."""
    result, started = Result(start.name), time.monotonic()
    looks = Looks(guards)
    settler = Settler(looks, set(), set(), start.rules.coarse)
    begin = canonical(start.state())
    before: dict[tuple[State, Budget], tuple[tuple[State, Budget], str] | None] = {}
    best: dict[State, list[Budget]] = {begin: list(start.budgets)}
    waiting: deque[tuple[State, Budget, int]] = deque()
    for budget in start.budgets:
        before[begin, budget] = None
        waiting.append((begin, budget, 0))

    def finish(at: tuple[State, Budget] | None = None, promise: str = "", *more: str) -> Result:
        if at is not None:
            way = list(reversed(more))
            while (link := before[at]) is not None:
                at = link[0]
                way.append(link[1])
            result.counterexample = Counterexample(promise, tuple(reversed(way)))
        result.states, result.ends, result.truths = len(best), len(settler.ends), len(settler.known)
        result.looks, result.seconds = len(looks), time.monotonic() - started
        return result

    while waiting:
        state, budget, depth = waiting.popleft()
        if budget not in best[state]:
            continue
        result.depth = depth
        if broken := settler.settle(state):
            return finish((state, budget), broken[0], *broken[1])
        if time.monotonic() - started > seconds:
            result.complete = False
            return finish()
        for words, after, left, made in following(start.rules, looks, state, budget):
            result.transitions += 1
            wrong = of_a_look(state, made) if made else ""
            if not wrong and state.flight and not made and after.uid == state.uid:
                wrong = of_a_write(state, after)
            wrong = wrong or of_a_change(state, after)
            after = canonical(after)
            known = best.get(after)
            if not wrong and known is None:
                wrong = always(after)
            if wrong:
                return finish((state, budget), wrong, words)
            if known is None:
                best[after] = [left]
            elif any(other.covers(left) for other in known):
                continue
            else:
                best[after] = [other for other in known if not left.covers(other)] + [left]
            if (after, left) not in before:
                before[after, left] = ((state, budget), words)
                waiting.append((after, left, depth + 1))
    return finish()
