"""One model behind routers, as a world: what a state of it is, and everything that can happen next.

The looks are the real ones of `core/look.py`, run once for every distinct thing that they can know. What they read is
what is true when they begin, but for what routers say: that is as old as the last question, and a router that has just
started the operator may not have heard of. What a look writes it writes one by one, while others go on; it may be lost
before any of its writes.

The clock stands still between looks, and each of them comes `LATE`: no step and no bake waits for time to pass.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any, NamedTuple

import worlds
from tidegate_contract import labels
from tidegate_contract.actions import Action, Verb
from tidegate_contract.route import Route, Share, Slot
from tidegate_operator.core.children import seal, service, version_name
from tidegate_operator.core.choice import MOVES
from tidegate_operator.core.guards import ALL, Guards
from tidegate_operator.core.look import (
    Fresh,
    Known,
    ReadModel,
    ReadRouters,
    Save,
    Tell,
    Together,
    WriteStatus,
    look,
)
from tidegate_operator.core.trial import Trial, goes_on
from tidegate_operator.core.types import (
    Apply,
    Approval,
    Bake,
    Child,
    Decision,
    Desired,
    Evidence,
    Keep,
    Kind,
    Observed,
    Pod,
    Record,
    Ref,
    Remove,
    Revision,
    RolloutStep,
    Router,
    Status,
    Strategy,
    Via,
    Weight,
    Workload,
    Write,
)
from verify.values import EMPTY, Shared, manifest_of, owner_of, status_of
from verify.words import Said, Words, current, evidence_of, tried_in, unsaid
from worlds import ME, NOW, RELEASE

PORT = 10000
VERSIONS = "ABC"
FIRST_WEIGHT = 5
BUDGET = 30
"""Of `Auto`, which chooses 10 and 50 by it; as long as it has not, its steps are others, and it may go by none."""
BAKE = Bake(150, 5)
LATE = timedelta(minutes=4)
"""After a bake, before its patience ends and before anybody gives up what is not heard."""
STEPS: dict[Strategy, tuple[RolloutStep, ...]] = {
    Strategy.IMMEDIATE: (),
    Strategy.CANARY: (Weight(FIRST_WEIGHT), Approval()),
    Strategy.SHADOW: (Approval(),),
    Strategy.AUTO: (Weight(FIRST_WEIGHT), Weight(50)),
}


GONE, AGAIN = "", f"{ME.uid}-again"
"""In the place of the model's uid: while it is deleted, and after it was made again."""


class Spec(NamedTuple):
    version: str
    via: Via = Via.ROUTER
    strategy: Strategy = Strategy.IMMEDIATE
    bakes: bool = False


@cache
def desired(spec: Spec) -> Desired:
    asked = worlds.asking(digest="sha256:" + spec.version.lower() * 64)
    bake = BAKE if spec.bakes else None
    asked = replace(asked, replicas=1, via=spec.via, strategy=spec.strategy, steps=STEPS[spec.strategy], bake=bake)
    return replace(asked, budget=BUDGET if spec.strategy is Strategy.AUTO else None)


NAMES = {version: worlds.name(desired(Spec(version))) for version in VERSIONS}
LETTERS = {name: version for version, name in NAMES.items()}


class Told(NamedTuple):
    """A route, as plain values."""

    generation: int
    stable: Slot
    slots: tuple[tuple[Slot, str, int], ...]
    """Slot, revision and weight."""

    @property
    def weights(self) -> dict[str, int]:
        return {revision: weight for _, revision, weight in self.slots}

    def __str__(self) -> str:
        shares = ", ".join(f"{LETTERS[revision]} {weight}" for _, revision, weight in self.slots)
        stable = next(LETTERS[revision] for slot, revision, _ in self.slots if slot == self.stable)
        return f"generation {self.generation}: {shares}; stable is {stable}"


class Envoy(NamedTuple):
    """A router, as it is."""

    route: Told | tuple[()]
    """What it runs; nothing if it does not know the model."""
    pods: tuple[str, ...]
    """Revisions in its route of which it knows a pod."""
    listed: bool = True
    """The operator has heard of it."""
    said: tuple[Any, ...] = ()
    """What the operator has heard from it last: a generation and the slots with pods; empty: nothing."""

    def says(self) -> tuple[Any, ...]:
        if not self.route:
            return 0, ()
        return self.route.generation, tuple(slot for slot, name, _ in self.route.slots if name in self.pods)


class Fleet(NamedTuple):
    """The pods of a Deployment."""

    name: str
    seen: bool
    """Its controller has seen what it says now."""
    pods: tuple[tuple[str, bool], ...]
    """Revision, and whether it is ready."""


class Flight(NamedTuple):
    """What a look that is under way has still to write, in this order."""

    status: tuple[Shared[Status], Told | tuple[()], Shared[tuple[Revision, ...]]] | tuple[()]
    """The status, its route, and the revisions, which are written with it; nothing if that is right or done."""
    writes: tuple[Shared[Write | Save], ...]


class State(NamedTuple):
    spec: Spec
    action: Verb | None
    """What a person has asked for, and nobody has answered yet."""
    status: Shared[Status]
    """But for its route, and for what nothing is decided by."""
    route: Told | tuple[()]
    revisions: Shared[tuple[Revision, ...]]
    kids: tuple[Shared[Any], ...]
    """The manifests of the children, as they were applied."""
    fleets: tuple[Fleet, ...]
    routers: tuple[Envoy, ...]
    flight: Flight | None = None
    words: Words | tuple[()] | None = None
    """What the requests of a trial say, as far as the process knows: maybe of one that has ended; empty: of none.
    None: in this world they say nothing, which is kept."""
    uid: str = ME.uid
    """Of the model: its own, `GONE` or `AGAIN`."""
    left: tuple[Trial, ...] = ()
    """Trials that the object before has kept in its revisions. They all say harm: whoever goes on from one shows it."""

    @property
    def says(self) -> Said | None:
        """What is known of the trial that the status speaks of; None: nothing, it has not begun."""
        return self.words.says if self.words and self.words.trial == current(self.status) else None

    @property
    def keeps(self) -> bool:
        """Whether anything of that trial is kept."""
        if self.words:
            return self.words.trial == current(self.status) and self.words.kept is not None
        return self.words is None

    @property
    def ready(self) -> frozenset[str]:
        """Revisions that have a pod which is ready."""
        return frozenset(revision for fleet in self.fleets for revision, ready in fleet.pods if ready)

    @property
    def there(self) -> frozenset[str]:
        """Revisions that have a Deployment, or a pod of one."""
        own = {revision for fleet in self.fleets for revision, _ in fleet.pods}
        return frozenset(own | {fleet.name.removeprefix(f"{ME.name}-") for fleet in self.fleets})

    @property
    def known(self) -> frozenset[str]:
        """Revisions with a ready pod of which a Service tells the routers."""
        return frozenset(revision for revision in self.ready if kid(self, Kind.SERVICE, version_name(ME, revision)))

    @property
    def straight(self) -> bool | None:
        """Whether the model's Service leads to its pods, and not to routers; None: it is not there."""
        found = kid(self, Kind.SERVICE, ME.name)
        return None if found is None else found in DIRECT


class Budget(NamedTuple):
    """How often each may still happen."""

    edits: int = 0
    """Of spec."""
    verbs: int = 0
    """Of people."""
    troubles: int = 0
    """A router starts, ends or falls silent; pods are not ready any more."""
    words: int = 0
    """The requests of a trial say something else."""
    restores: int = 0
    """The model is deleted, and made again."""

    def covers(self, other: "Budget") -> bool:
        return (
            self.edits >= other.edits
            and self.verbs >= other.verbs
            and self.troubles >= other.troubles
            and self.words >= other.words
            and self.restores >= other.restores
        )


# ---------------------------------------------------------------- children


@cache
def ref_of(manifest: Shared[Any]) -> Ref:
    return Kind(manifest.value["kind"]), manifest.value["metadata"]["name"]


@cache
def place_of(manifest: Shared[Any]) -> tuple[int, str]:
    """Where it stands among the others: the caches are asked kind by kind."""
    kind, name = ref_of(manifest)
    return list(Kind).index(kind), name


@cache
def child_of(manifest: Shared[Any]) -> Child:
    made = manifest.value
    plain = {key: value for key, value in made["metadata"].items() if key != "annotations"}
    kind = ref_of(manifest)[0]
    return worlds.child(kind, {**made, "metadata": plain}, uid=f"{kind}-of-{owner_of(manifest)}")


@cache
def template_of(manifest: Shared[Any]) -> tuple[str, bool]:
    """The revision of a Deployment's pods, and whether it is held."""
    spec = manifest.value["spec"]
    return spec["template"]["metadata"]["labels"][labels.REVISION], bool(spec.get("paused"))


DIRECT = frozenset(manifest_of(seal(service(replace(ME, uid=uid)))) for uid in (ME.uid, AGAIN))


@cache
def by_ref(kids: tuple[Shared[Any], ...]) -> dict[Ref, Shared[Any]]:
    return {ref_of(each): each for each in kids}


def kid(state: State, kind: Kind, name: str) -> Shared[Any] | None:
    return by_ref(state.kids).get((kind, name))


def with_kid(state: State, manifest: Shared[Any]) -> State:
    """Applied; a Deployment that says something new has its controller to see it."""
    kind, name = ref_of(manifest)
    kids = tuple(sorted((*(k for k in state.kids if ref_of(k) != (kind, name)), manifest), key=place_of))
    state = state._replace(kids=kids)
    if kind != Kind.DEPLOYMENT:
        return state
    fleet = next((fleet for fleet in state.fleets if fleet.name == name), Fleet(name, False, ()))
    return with_fleet(state, fleet._replace(seen=False))


def without_kid(state: State, ref: Ref) -> State:
    kids = tuple(each for each in state.kids if ref_of(each) != ref)
    fleets = tuple(fleet for fleet in state.fleets if ref[0] != Kind.DEPLOYMENT or fleet.name != ref[1])
    return state._replace(kids=kids, fleets=fleets)


def with_fleet(state: State, fleet: Fleet) -> State:
    rest = (other for other in state.fleets if other.name != fleet.name)
    return state._replace(fleets=tuple(sorted((*rest, fleet))))


# ---------------------------------------------------------------- looks


class Made(NamedTuple):
    """What a look would write."""

    flight: Flight
    ends: frozenset[str]
    """The Deployments that it removes."""
    leads: bool | None
    """Whether it makes the Service lead to pods, or to routers; None: it leaves it."""


class Looks:
    """All looks under one set of guards."""

    def __init__(self, guards: Guards = ALL) -> None:
        self.guards = guards
        self._made: dict[Any, tuple[Made | None, bool]] = {}

    def __len__(self) -> int:
        return len(self._made)

    def begin(self, state: State) -> Made | None:
        """What a look that begins now would write; None if there is nothing to write, or nothing to look at."""
        return self._look(state)[0] if state.uid != GONE else None

    def moves(self, state: State) -> bool:
        """Whether a look that begins now says that another one may find something new."""
        return self._look(state)[1]

    def _look(self, state: State) -> tuple[Made | None, bool]:
        told = tuple(sorted(router.said for router in state.routers if router.listed))
        unlisted = len(state.routers) - len(told)
        words = state.words and (state.words.trial, state.words.says, state.words.kept is not None)
        key = (*state[:7], told, unlisted, words, state.uid)
        if key not in self._made:
            self._made[key] = self._run(state, told, unlisted)
        return self._made[key]

    def _run(self, state: State, told: tuple[Any, ...], unlisted: int) -> tuple[Made | None, bool]:
        heard = {f"r{place}": heard_from(said) for place, said in enumerate(told)}
        observed = observed_of(state, heard)
        status = replace(state.status.value, route=route_of(state.route))
        me = replace(ME, uid=state.uid)
        steps = look(Known(me, "1", desired(state.spec), status, observed, RELEASE, NOW + LATE), self.guards)
        writes: list[Write | Save] = []
        after, revisions = status, {found.name: found for found in state.revisions.value}
        answer: Any = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as end:
                moves = end.value.moves
                break
            answer = None
            match step:
                case ReadModel():
                    answer = Fresh(state.uid)
                case ReadRouters():
                    answer = frozenset(heard) | {f"new{place}" for place in range(unlisted)}
                case Together(steps=together):
                    for each in together:
                        if isinstance(each, WriteStatus):
                            after = each.status
                        elif isinstance(each, Keep):
                            revisions[each.revision.name] = bare(each.revision)
                    answer = (None,) * len(together)
                case Tell():
                    pass
                case Save() if state.words is None:
                    pass  # it is kept
                case Apply() | Remove() | Save():
                    writes.append(step)
                case _ if type(step).__name__ in ("ReadChild", "ReadRevision"):
                    pass  # what the caches do not show is not there
                case _:
                    raise AssertionError(f"{step} is not a part of this world")
        said = normal(after), told_of(after.route), shared_revisions(revisions.values())
        changes = said != (state.status, state.route, state.revisions)
        if not changes and not writes:
            return None, moves
        made = Made(
            Flight(said if changes else (), tuple(map(shared_write, writes))),
            frozenset(w.name for w in writes if isinstance(w, Remove) and w.kind == Kind.DEPLOYMENT),
            next((leads for w in writes if (leads := leads_straight(w)) is not None), None),
        )
        return made, moves


def leads_straight(write: Write | Save) -> bool | None:
    """Whether it makes the model's Service lead to pods, and not to routers; None: it is about something else."""
    if isinstance(write, Apply) and (write.kind, write.manifest["metadata"]["name"]) == (Kind.SERVICE, ME.name):
        return manifest_of(write.manifest) in DIRECT
    return None


def shared_write(write: Write | Save) -> Shared[Write | Save]:
    if isinstance(write, Apply):
        return Shared.of(write, ("apply", write.uid, manifest_of(write.manifest)))
    return Shared.of(write, write)


def heard_from(said: tuple[Any, ...]) -> Router | None:
    if not said:
        return None
    generation, slots = said
    return Router(generation, dict.fromkeys(slots, 1)) if generation else Router()


def observed_of(state: State, routers: dict[str, Router | None]) -> Observed:
    numbers = {fleet.name: workload(state, fleet) for fleet in state.fleets}
    return Observed(
        children={ref_of(each): child_of(each) for each in state.kids},
        workload=numbers.get(ME.name),
        pods=tuple(
            Pod(f"{fleet.name}-{n}", revision, ready=ready)
            for fleet in state.fleets
            for n, (revision, ready) in enumerate(fleet.pods)
        ),
        revisions=state.revisions.value,
        action=Action("1", state.action, by="ada") if state.action else None,
        versions={name.removeprefix(f"{ME.name}-"): found for name, found in numbers.items() if name != ME.name},
        routers=routers,
        reachable=len(routers),
        port=None if state.route or (state.uid == AGAIN and state.status is EMPTY) else PORT,
        evidence=heard_of(state),
    )


def heard_of(state: State) -> Evidence | None:
    """What the process knows of requests."""
    if state.words is None:
        trial = current(state.status)
        return unsaid(trial, NOW + LATE) if trial else None
    return evidence_of(state.words, NOW + LATE) if state.words else None


def workload(state: State, fleet: Fleet) -> Workload:
    found = kid(state, Kind.DEPLOYMENT, fleet.name)
    template = template_of(found)[0] if found else ""
    return Workload(
        generation=2,
        observed_generation=2 if fleet.seen else 1,
        wanted=1,
        total=len(fleet.pods),
        updated=sum(revision == template for revision, _ in fleet.pods),
        available=sum(ready for _, ready in fleet.pods),
    )


def normal(status: Status) -> Shared[Status]:
    """Without what nothing is decided by: words, times, conditions, answers, all decisions but the last moves."""
    last = {
        made.revision: Decision(NOW, made.what, made.revision, "", "")
        for made in status.decisions
        if made.what in MOVES
    }
    stable, candidate, baking = status.stable, status.candidate, status.baking
    if candidate:
        reached = candidate.reached and NOW
        candidate = replace(candidate, since=NOW, began=NOW, reached=reached)
    return status_of(
        replace(
            status,
            stable=stable and replace(stable, since=NOW),
            candidate=candidate,
            baking=baking and replace(baking, since=NOW, began=NOW),
            next_check=None,
            route=None,
            phase="",
            url="",
            selector="",
            action=None,
            conditions=(),
            decisions=tuple(last[name] for name in sorted(last)),
        )
    )


def bare(revision: Revision) -> Revision:
    before = revision.record
    verdict = replace(before.verdict, reason="") if before.verdict else None
    record = Record(before.role, NOW, verdict, (), before.served)
    return replace(revision, record=record, uid=f"{revision.name}-uid", version="1")


def shared_revisions(revisions: Any) -> Shared[tuple[Revision, ...]]:
    found = tuple(sorted(revisions, key=lambda each: each.name))
    return Shared.of(found, tuple((each.name, each.record) for each in found))


def told_of(route: Route | None) -> Told | tuple[()]:
    if route is None:
        return ()
    slots = ((slot, share.revision, share.weight) for slot, share in sorted(route.slots.items()))
    return Told(route.generation, route.stable, tuple(slots))


def route_of(told: Told | tuple[()]) -> Route | None:
    if not told:
        return None
    slots = {slot: Share(revision, weight) for slot, revision, weight in told.slots}
    return Route(PORT, told.generation, told.stable, slots)


# ---------------------------------------------------------------- what can happen next

Move = tuple[str, State, Budget, Made | None]
"""Words, the state after it, what may still happen, and what a look that has just begun would write."""


class Rules(NamedTuple):
    """What people may do in a world."""

    versions: str = VERSIONS
    vias: tuple[Via, ...] = (Via.ROUTER,)
    verbs: tuple[Verb, ...] = ()
    troubles: tuple[str, ...] = ("starts", "ends", "falls silent", "unready")
    words: tuple[Said, ...] = ()
    coarse: bool = False
    """Controllers and routers do all that they have to do in one move, and what requests do not meet is written with
    what follows it; so that what is about other things stays small."""


def following(rules: Rules, looks: Looks, state: State, budget: Budget) -> Iterator[Move]:
    yield from operator(rules, looks, state, budget)
    for words, after in coarsely(state) if rules.coarse else others(state):
        yield words, after, budget, None
    if state.flight:
        yield "the look is lost", state._replace(flight=None), budget, None
    else:
        for words, after in begins(state) if rules.coarse else listens(state):
            yield words, after, budget, None
    if (left := ended(state)) is not None:
        yield "the operator ends, and another one begins", left, budget, None
    if budget.restores:
        yield from restores(rules, state, budget)
    if budget.words:
        for words, after in sayings(rules, state):
            yield words, after, budget._replace(words=budget.words - 1), None
    if budget.edits and state.uid != GONE:
        for version in rules.versions:
            for via in rules.vias:
                spec = state.spec._replace(version=version, via=via)
                if spec != state.spec:
                    after = told_people(state._replace(spec=spec))
                    yield (
                        f"the owner asks for {version} via {via}",
                        after,
                        budget._replace(edits=budget.edits - 1),
                        None,
                    )
    if budget.verbs and state.uid != GONE:
        for verb in rules.verbs:
            if verb != state.action:
                after = told_people(state._replace(action=verb))
                yield f"a person says {verb}", after, budget._replace(verbs=budget.verbs - 1), None
    if budget.troubles:
        for words, after in troubles(rules, state):
            yield words, after, budget._replace(troubles=budget.troubles - 1), None


def restores(rules: Rules, state: State, budget: Budget) -> Iterator[Move]:
    """The object is deleted; and made again from a backup: same spec and annotations, no status.

    What the process knows of its trial ends with it: `Trials.follow` meets an object that speaks of none.
    """
    if state.uid == AGAIN:
        return  # once: another one would need a uid of its own
    if state.uid != GONE:
        after = told_people(state._replace(status=EMPTY, route=(), uid=GONE, left=left_by(state)))
        after = after._replace(words=None if state.words is None else ())
        yield "the ModelDeployment is deleted", after, budget, None
        return
    again, spent = state._replace(uid=AGAIN), budget._replace(restores=budget.restores - 1)
    yield f"the ModelDeployment is made again, asking for {state.spec.version}", again, spent, None
    for version in rules.versions if budget.edits else ():
        if version != state.spec.version:
            after = again._replace(spec=state.spec._replace(version=version))
            words = f"the ModelDeployment is made again, from an older backup that asks for {version}"
            yield words, after, spent._replace(edits=budget.edits - 1), None


def left_by(state: State) -> tuple[Trial, ...]:
    """The trials of what is under trial, or was until its last strike: this one, and those before."""
    candidate, trial = state.status.value.candidate, current(state.status)
    if trial is None and candidate and state.status.value.stable:
        trial = Trial(candidate.revision, state.status.value.stable.revision, candidate.trial)
    return tuple(replace(trial, number=number + 1) for number in range(trial.number)) if trial else ()


def sayings(rules: Rules, state: State) -> Iterator[tuple[str, State]]:
    """The requests of the trial that the status speaks of say something else."""
    if state.words and state.says is not None:
        for says in rules.words:
            if says != state.words.says:
                who = LETTERS[state.words.trial.revision]
                yield f"the requests of {who} say {says}", state._replace(words=state.words._replace(says=says))


def ended(state: State) -> State | None:
    """A process that ends takes its look along, and what it has not kept; None if that is only a lost look."""
    words = state.words
    if not words or words.says == words.kept:
        return None
    left = words._replace(says=words.kept) if words.kept and state.says is not None else ()
    return state._replace(words=left, flight=None)


def remembered(words: Words | tuple[()] | None, status: Shared[Status]) -> Words | tuple[()] | None:
    """What a process still knows after this status: of the version that is tried, maybe of its last trial."""
    return () if words and tried_in(status) != words.trial.revision else words


def told_people(state: State) -> State:
    """The object has changed: a look that has not written its status yet can write it no more, and ends."""
    return state._replace(flight=None) if state.flight and state.flight.status else state


def operator(rules: Rules, looks: Looks, state: State, budget: Budget) -> Iterator[Move]:
    if state.flight is None:
        if made := looks.begin(state):
            yield "the operator begins a look", state._replace(flight=made.flight), budget, made
        return
    words, after = written(state, state.flight)
    while rules.coarse and after.flight and not state.flight.status and is_unmet(state.flight.writes[0].value):
        state = after
        words, after = written(state, after.flight)
    yield words, after, budget, None


def is_unmet(write: Write | Save) -> bool:
    """Whether it is about a child that no request meets."""
    return isinstance(write, Apply) and write.kind in (Kind.SERVICE_ACCOUNT, Kind.NETWORK_POLICY)


def written(state: State, flight: Flight) -> tuple[str, State]:
    """The next write of a look."""
    left: Flight | None
    if flight.status:
        status, route, revisions = flight.status
        left = flight._replace(status=()) if flight.writes else None
        words = remembered(state.words, status)
        after = state._replace(status=status, route=route, revisions=revisions, action=None, flight=left, words=words)
        return f"the operator writes the status, with {f'route {route}' if route else 'no route'}", after
    write, *rest = flight.writes
    left = flight._replace(writes=tuple(rest)) if rest else None
    state = state._replace(flight=left)
    if is_refused(state, write.value):
        return "what a look is about has changed, and it ends", state._replace(flight=None)
    match write.value:
        case Apply(kind=kind, manifest=manifest):
            applied = manifest_of(manifest)
            name = called(applied.value["metadata"]["name"])
            more = ""
            if (leads := leads_straight(write.value)) is not None:
                more = ", which leads to pods" if leads else ", which leads to routers"
            elif kind == Kind.DEPLOYMENT:
                more = f" of {LETTERS[template_of(applied)[0]]}{', held' if template_of(applied)[1] else ''}"
            return f"the operator applies {kind} {name}{more}", with_kid(state, applied)
        case Save():
            kept = state.words and state.words._replace(kept=state.words.says)
            return "the operator keeps what requests have said", state._replace(words=kept)
        case Remove(kind=kind, name=name):
            return f"the operator removes {kind} {called(name)}", without_kid(state, (kind, name))
    raise AssertionError(write.value)


def is_refused(state: State, write: Write | Save) -> bool:
    """Whether the object that a write names is gone, or another one has its name."""
    match write:
        case Apply(kind=kind, manifest=manifest, uid=uid):
            there = kid(state, kind, manifest["metadata"]["name"])
        case Remove(kind=kind, name=name, uid=uid):
            there = kid(state, kind, name)
        case _:
            return False
    return (child_of(there).uid if there else None) != uid


def called(name: str) -> str:
    """A name with the letter of its version."""
    return f"{ME.name}-{LETTERS[name[-8:]]}" if name[-8:] in LETTERS else name


def others(state: State) -> Iterator[tuple[str, State]]:
    """Controllers, pods and routers."""
    for fleet in state.fleets:
        found = kid(state, Kind.DEPLOYMENT, fleet.name)
        if found is None:
            continue
        template, held = template_of(found)
        if after := rolled(fleet, template, held=held):
            yield f"the controller of {called(fleet.name)} goes on", with_fleet(state, after)
        for place, (revision, ready) in enumerate(fleet.pods):
            if not ready:
                pods = tuple(sorted((*fleet.pods[:place], (revision, True), *fleet.pods[place + 1 :])))
                words = f"a pod of {called(fleet.name)} for {LETTERS[revision]} gets ready"
                yield words, with_fleet(state, fleet._replace(pods=pods))
    known = state.known
    for place, router in enumerate(state.routers):
        if router.route != state.route:
            keeps = tuple(name for name in router.pods if state.route and name in state.route.weights)
            after_it = router._replace(route=state.route, pods=keeps)
            yield f"router {place} takes the newest route", with_router(state, place, after_it)
        has = tuple(sorted(name for name in known if router.route and name in router.route.weights))
        if has != router.pods:
            learnt = "".join(LETTERS[name] for name in has) or "none"
            yield f"router {place} learns of pods: {learnt}", with_router(state, place, router._replace(pods=has))
    yield from collected(state)


def coarsely(state: State) -> Iterator[tuple[str, State]]:
    """The same, each of them in one move; and the operator hears of it."""
    for fleet in state.fleets:
        after: Fleet | None = fleet
        while after is not None and (found := kid(state, Kind.DEPLOYMENT, fleet.name)):
            template, held = template_of(found)
            last = after._replace(pods=tuple((revision, True) for revision, _ in after.pods))
            after = rolled(last, template, held=held)
        if found and last != fleet:
            yield f"the controller of {called(fleet.name)} finishes", with_fleet(state, last)
    for place, router in enumerate(state.routers):
        has = tuple(sorted(name for name in state.known if state.route and name in state.route.weights))
        after_it = Envoy(state.route, has)
        after_it = after_it._replace(said=after_it.says())
        if after_it != router:
            yield f"router {place} follows, and says so", with_router(state, place, after_it)
    yield from collected(state)


def collected(state: State) -> Iterator[tuple[str, State]]:
    """The garbage collector removes what was made for an object that is gone: each Deployment, and the rest."""
    if state.uid == ME.uid:
        return
    left = [ref_of(each) for each in state.kids if owner_of(each) != state.uid]
    for ref in left:
        if ref[0] == Kind.DEPLOYMENT:
            yield f"the garbage collector removes {called(ref[1])}", without_kid(state, ref)
    rest = [ref for ref in left if ref[0] != Kind.DEPLOYMENT]
    if rest:
        after = state
        for ref in rest:
            after = without_kid(after, ref)
        yield "the garbage collector removes the other children", after


def rolled(fleet: Fleet, template: str, *, held: bool) -> Fleet | None:
    """What the Deployment's controller does next: one pod more than wanted at most, never a ready one less."""
    new = [pod for pod in fleet.pods if pod[0] == template]
    old = [pod for pod in fleet.pods if pod[0] != template]
    pods = fleet.pods
    if not new and (not old or not held) and len(old) < 2:
        pods = tuple(sorted((*pods, (template, False))))
    elif not held and (waiting := [pod for pod in old if not pod[1]]):
        pods = _less(pods, waiting[0])
    elif not held and old and ((template, True) in new or len(old) > 1):
        pods = _less(pods, old[0])
    if pods == fleet.pods and fleet.seen:
        return None
    return Fleet(fleet.name, True, pods)


def _less(pods: tuple[tuple[str, bool], ...], pod: tuple[str, bool]) -> tuple[tuple[str, bool], ...]:
    place = pods.index(pod)
    return (*pods[:place], *pods[place + 1 :])


def listens(state: State) -> Iterator[tuple[str, State]]:
    """The operator hears of routers, and from them."""
    for place, router in enumerate(state.routers):
        if not router.listed:
            yield f"the operator hears of router {place}", with_router(state, place, router._replace(listed=True))
        elif heard(router.says(), state.route) != router.said:
            yield f"router {place} is asked", with_router(state, place, router._replace(said=router.says()))
    yield from begins(state)


def begins(state: State) -> Iterator[tuple[str, State]]:
    """What the requests of a trial say begins to count."""
    trial = current(state.status)
    if state.words is not None and trial and not (state.words and state.words.trial == trial):
        both = {trial.revision, trial.against}
        if all(router.route and both <= router.route.weights.keys() for router in state.routers if router.listed):
            words = f"the requests of {LETTERS[trial.revision]} begin to count, for trial {trial.number}"
            on = trial in state.left and goes_on(ME.uid, trial, state.uid, trial)
            yield words, state._replace(words=Words(trial, Said.HARM, Said.HARM) if on else Words(trial))


def troubles(rules: Rules, state: State) -> Iterator[tuple[str, State]]:
    known = state.known
    if "starts" in rules.troubles:
        pods = tuple(sorted(name for name in known if state.route and name in state.route.weights))
        new = Envoy(state.route, pods, listed=False)
        yield "a router starts", state._replace(routers=(*state.routers, new))
    for place, router in enumerate(state.routers):
        if "ends" in rules.troubles and len(state.routers) > 1:
            left = (*state.routers[:place], *state.routers[place + 1 :])
            yield f"router {place} ends", state._replace(routers=left)
        if "falls silent" in rules.troubles and router.said:
            yield f"router {place} falls silent", with_router(state, place, router._replace(said=()))
    if "unready" in rules.troubles:
        for fleet in state.fleets:
            for place, (revision, ready) in enumerate(fleet.pods):
                if ready:
                    pods_now = tuple(sorted((*fleet.pods[:place], (revision, False), *fleet.pods[place + 1 :])))
                    words = f"a pod of {called(fleet.name)} for {LETTERS[revision]} is not ready any more"
                    yield words, with_fleet(state, fleet._replace(pods=pods_now))


def with_router(state: State, place: int, router: Envoy) -> State:
    return state._replace(routers=(*state.routers[:place], router, *state.routers[place + 1 :]))


# ---------------------------------------------------------------- states that differ in nothing that matters


def heard(said: tuple[Any, ...], route: Told | tuple[()]) -> tuple[Any, ...]:
    """What matters of what a router has said: of another generation than the one that should run, only that."""
    if not said or said == (0, ()) or (route and said[0] == route.generation):
        return said
    return -1 if route else said[0], ()


def with_said(router: Envoy, said: tuple[Any, ...]) -> Envoy:
    return router if router.said == said else router._replace(said=said)


def canonical(state: State) -> State:
    """The same for states that differ in the order of their routers, or in the count of generations alone.

    The first generation keeps its number: a model that comes to routers again begins with it.
    """
    routes = [state.route, *(router.route for router in state.routers)]
    if state.flight and state.flight.status:
        routes.append(state.flight.status[1])
    said_before = {router.said[0] for router in state.routers if router.said and not state.route} - {0, -1}
    numbers = sorted(said_before | {route.generation for route in routes if route})
    renamed = {number: place + min(numbers[0], 2) for place, number in enumerate(numbers)}
    if any(number != then for number, then in renamed.items()):
        state = renumbered(state, renamed)
    routers = tuple(sorted(with_said(router, heard(router.said, state.route)) for router in state.routers))
    return state if routers == state.routers else state._replace(routers=routers)


def renumbered(state: State, numbers: dict[int, int]) -> State:
    """With other numbers for the generations."""

    def route(told: Told | tuple[()]) -> Told | tuple[()]:
        return told._replace(generation=numbers[told.generation]) if told else told

    def said(by: tuple[Any, ...]) -> tuple[Any, ...]:
        return (numbers.get(by[0], by[0]), by[1]) if by else by

    routers = tuple(
        router._replace(route=route(router.route), said=said(heard(router.said, state.route)))
        for router in state.routers
    )
    flight = state.flight
    if flight and flight.status:
        status, next_one, revisions = flight.status
        flight = flight._replace(status=(status, route(next_one), revisions))
    return state._replace(route=route(state.route), routers=routers, flight=flight)
