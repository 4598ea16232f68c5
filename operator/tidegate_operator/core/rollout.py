"""How a version takes over: which versions have pods, where requests are to go, and how far the candidate is. Pure.

Where requests go straight to the pods, one Deployment rolls over. Where they come through routers each version has a
Deployment of its own; the steps of the rollout and the people who act say where the traffic is to go, and
`core/traffic.py` in which order it goes there. A model can change from the one to the other while it serves.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from tidegate_contract.route import Route, Slot
from tidegate_operator.core.children import seal, service, version_name
from tidegate_operator.core.choice import Choice, goes_back, is_rejected
from tidegate_operator.core.claim import Claim, claim
from tidegate_operator.core.drift import is_latest
from tidegate_operator.core.guards import Guard, Guards
from tidegate_operator.core.ramp import ramp, reason
from tidegate_operator.core.traffic import Aim, Fleet, Step, first, step
from tidegate_operator.core.trial import OPERATOR, decided, expected, heard_of, is_baked, next_check, step_waits
from tidegate_operator.core.types import (
    Approval,
    Baking,
    Candidate,
    Content,
    Decision,
    Desired,
    Identity,
    Kind,
    Observed,
    Pod,
    Ref,
    Router,
    Stable,
    Standing,
    Status,
    Strategy,
    Version,
    Via,
    Weight,
    Workload,
)

RAMP, STEP, PROMOTED = "Ramp", "Step", "Promoted"
"""What is decided of a candidate that goes on: its weights, where nobody gave any; that it has seen enough at one of
them; and that it is stable from now on."""
BY_HAND = "every router sends it"
"""How a Step begins to say why, where a person is to say whether it goes on."""
AT_FIRST = "waiting for routers that know the model"
LETS_GO = "waiting for the routers to let the model go"
LEFT_BEHIND = "waiting for pods that an object of this name has left: the garbage collector takes them"
DEADLINE_SECONDS = 10.0
"""Of a version of which nothing is known."""


@dataclass(frozen=True, slots=True)
class Way:
    """What a look makes of a model's versions."""

    status: Status
    """What follows from it for stable, candidate and route."""
    versions: tuple[Version, ...]
    port: int | None = None
    """Of the listener that the model's Service leads to, in the routers; None: it leads straight to the pods."""
    gone: frozenset[Ref] = frozenset()
    """Children that no request can reach any more."""
    waits: str = ""
    """What has to happen before the traffic moves on; empty if nothing has."""
    arrived: bool = True
    """One version has all requests, and no other has pods."""
    moves: bool = False
    """What routers say next may change something."""
    opens: bool = True
    """The model may have its address: what it leads to are pods that should have requests."""

    def of(self, revision: str) -> Version | None:
        return next((version for version in self.versions if version.revision == revision), None)


@dataclass(frozen=True, slots=True)
class Scene:
    """What a way is found from."""

    identity: Identity
    desired: Desired
    choice: Choice
    observed: Observed
    replicas: int
    now: datetime
    guards: Guards

    @property
    def before(self) -> Status:
        return self.choice.status

    @property
    def bare(self) -> Status:
        """The same without what each look says of a rollout anew."""
        return replace(self.before, candidate=None, baking=None, next_check=None)

    @property
    def serving(self) -> str:
        """The revision that is stable; empty if none has been yet."""
        return self.before.stable.revision if self.before.stable else ""

    @property
    def contents(self) -> dict[str, Content]:
        """By revision: what is known of how to make its pods."""
        kept = {revision.name: revision.content for revision in self.observed.revisions}
        return kept | ({self.choice.target: self.choice.content} if self.choice.content else {})

    def is_ours(self, kind: Kind, name: str) -> bool:
        return self._claim(kind, name) == Claim.OURS

    def _claim(self, kind: Kind, name: str) -> Claim | None:
        child = self.observed.children.get((kind, name))
        return claim(self.identity, child) if child else None

    def _with_deployments(self, whose: Claim) -> frozenset[str]:
        names = {revision: version_name(self.identity, revision) for revision in self.observed.versions}
        return frozenset(revision for revision, name in names.items() if self._claim(Kind.DEPLOYMENT, name) == whose)

    @property
    def present(self) -> frozenset[str]:
        """The revisions that have a Deployment of their own."""
        return self._with_deployments(Claim.OURS)

    @property
    def left_behind(self) -> Set[str]:
        """The revisions of which only an object before has pods, or may get some: the garbage collector takes them."""
        if self.is_ours(Kind.DEPLOYMENT, self.identity.name):
            return set()
        alone = {pod.revision for pod in self._running} - self.observed.versions.keys()
        return alone | self._with_deployments(Claim.LEFT_BEHIND)

    @property
    def _running(self) -> list[Pod]:
        """The pods of any version that are there to stay, whoever made them."""
        return [pod for pod in self.observed.pods if pod.revision and not (pod.deleting or pod.ended)]

    def refs(self, revision: str) -> set[Ref]:
        """The children of one version."""
        name = version_name(self.identity, revision)
        return {ref for ref in ((Kind.DEPLOYMENT, name), (Kind.SERVICE, name)) if self.is_ours(*ref)}

    @property
    def old(self) -> Workload:
        """The numbers of the Deployment whose pods requests are sent to straight; of a stranger's they say nothing."""
        ours = self.is_ours(Kind.DEPLOYMENT, self.identity.name)
        return (self.observed.workload if ours else None) or Workload()

    @property
    def leads_straight(self) -> bool:
        """Whether the model's Service leads to its pods."""
        there = self.observed.children.get((Kind.SERVICE, self.identity.name))
        return there is not None and is_latest(there, seal(service(self.identity)))

    @property
    def is_left(self) -> bool:
        """Whether what is stable was rejected, and has only not been left for good yet."""
        return self.serving != "" and is_rejected(self.serving, self.desired, self.before)

    @property
    def returns_to(self) -> str:
        """While what is stable is left: the version in the route that takes its place."""
        route = self.before.route
        if route is None or not self.is_left:
            return ""
        shares = (share for slot, share in route.slots.items() if slot is not Slot.SHADOW)
        others = (share for share in shares if share.revision != self.serving)
        rejected = partial(is_rejected, desired=self.desired, status=self.before)
        return next((share.revision for share in others if share.weight or not rejected(share.revision)), "")

    def has_steps(self, candidate: Candidate) -> bool:
        """Whether the steps in `desired` are this candidate's."""
        before = self.before.candidate
        chosen = before is not None and before.revision == candidate.revision and before.ramp != ()
        return self.desired.budget is None or chosen or candidate.passed

    @property
    def left_over(self) -> frozenset[Ref]:
        """Services of versions without a Deployment: a look has ended between the two."""
        named = (name for kind, name in self.observed.children if kind is Kind.SERVICE and name != self.identity.name)
        alone = (name for name in named if (Kind.DEPLOYMENT, name) not in self.observed.children)
        return frozenset((Kind.SERVICE, name) for name in alone)

    def ready(self, revision: str) -> int:
        return self.reached.get(revision, 0)

    @property
    def reached(self) -> Mapping[str, int]:
        """How many pods of each revision get their part of the requests that go straight, whoever made them."""
        return Counter(pod.revision for pod in self._running if pod.ready)

    @property
    def told(self) -> list[Router]:
        """What each router says; one that does not answer runs nothing that is known."""
        return [router or Router() for router in self.observed.routers.values()]

    @property
    def unknown_to_routers(self) -> bool:
        """Whether every router says that it does not run any route of the model."""
        return all(router is not None and not router.generation for router in self.observed.routers.values())

    def version(self, revision: str, replicas: int | None) -> Version:
        """One with a Deployment of its own."""
        return Version(revision, self.contents.get(revision), version_name(self.identity, revision), replicas)


def follow(scene: Scene) -> Way:
    """The way of this look: at most one change of the route."""
    way = _way(scene)
    return replace(way, gone=way.gone | scene.left_over)


def _way(scene: Scene) -> Way:
    if scene.desired.via is Via.ROUTER:
        return _through(scene)
    if scene.before.route is not None or scene.present:
        return _back(scene)
    return _straight(scene)


# ---------------------------------------------------------------- straight to the pods


def _straight(scene: Scene) -> Way:
    status, choice = scene.bare, scene.choice
    own = Version(choice.target, choice.content, scene.identity.name, scene.replicas, _holds_midway(choice))
    return Way(status, (own,))


def _holds_midway(choice: Choice) -> bool:
    """Whether a rollover should stop where it is: paused, on its way to another version, and not on its way back."""
    stable = choice.status.stable
    return choice.paused and stable is not None and stable.revision != choice.target and not goes_back(choice.status)


def _back(scene: Scene) -> Way:
    """From routers to a Deployment of which requests are sent to the pods straight.

    All requests to one version, no other has pods -> the Service leads to its pods -> they have successors in the one
    Deployment -> the route ends -> the others may go.
    """
    status, route = scene.bare, scene.before.route
    alone = scene.returns_to or scene.serving
    others = tuple(scene.version(revision, None) for revision in sorted(scene.present))
    reached = scene.observed.routers and not scene.leads_straight  # else there is nobody who divides its requests
    if route is not None and alone and reached and (len(route.slots) > 1 or scene.present - {alone}):
        found = step(route, Aim(alone), _fleets(scene, {}), scene.told, scene.guards)
        status, _ = _after(scene, status, found.route, found, Aim(alone), enters=False)
        gone = _refs(scene, found.free)
        versions = tuple(version for version in others if version.revision not in found.free)
        waits = found.waits or "all requests go to one version first"
        return Way(status, versions, route.port, gone, waits, arrived=False, moves=True)
    target = alone if route is not None and alone else scene.choice.target
    own = Version(target, scene.contents.get(target), scene.identity.name, scene.replicas)
    versions = (own, *others)
    leads = scene.leads_straight
    stands = _is_up(scene.old, scene.replicas)
    if route is not None:
        # Only who has run it can say later that it does not any more.
        runs = all(router.generation == route.generation or router.refused for router in scene.told)
        ends = (
            leads
            and scene.guards.holds(Guard.SUCCEEDED, stands or not alone)
            and scene.guards.holds(Guard.ACKNOWLEDGED, runs)
        )
        status = replace(status, route=None if ends else route)
        waits = "waiting for the pods that take over from the routers"
        return Way(status, versions, waits=waits, arrived=False, moves=True)
    free = scene.guards.holds(Guard.SUCCEEDED, stands) and scene.guards.holds(
        Guard.ACKNOWLEDGED, leads and scene.unknown_to_routers
    )
    if not free:
        return Way(status, versions, waits=LETS_GO, arrived=False, moves=True)
    return Way(status, (own,), None, _refs(scene, scene.present), LETS_GO, arrived=False, moves=True)


def _refs(scene: Scene, revisions: Iterable[str]) -> frozenset[Ref]:
    """The children of these versions."""
    return frozenset(ref for revision in revisions for ref in scene.refs(revision))


# ---------------------------------------------------------------- through routers


def _through(scene: Scene) -> Way:
    choice, observed, guards = scene.choice, scene.observed, scene.guards
    enters = scene.is_ours(Kind.DEPLOYMENT, scene.identity.name) or scene.leads_straight
    comes = enters or scene.before.route is None  # until it has come, what serves does: nobody divides its requests yet
    status = scene.bare if comes else replace(scene.bare, candidate=_candidate(scene), baking=_baking(scene))
    status = _with_ramp(scene, status)
    if not choice.target:
        return Way(status, (), status.route.port if status.route else None, arrived=False, moves=True)
    aim = _aim(scene, status, enters=comes)
    sizes = _sizes(scene, aim)
    if status.route is None:
        versions = tuple(scene.version(revision, size) for revision, size in sorted(sizes.items()))
        opens = guards.holds(Guard.OWN_PODS, not scene.left_behind - {aim.stable})
        if observed.port is None:
            waits = "waiting for a port in the namespace's routers" if opens else LEFT_BEHIND
            return Way(status, versions, opens=opens, waits=waits, arrived=False, moves=True)
        if not guards.holds(Guard.ACKNOWLEDGED, scene.unknown_to_routers):
            # What they say of a route that is gone would be taken for what they say of this one.
            waits = LETS_GO if opens else LEFT_BEHIND
            return Way(status, versions, opens=opens, waits=waits, arrived=False, moves=True)
        longest = _longest(scene, {aim.stable}, DEADLINE_SECONDS)
        route = first(aim, observed.port, longest, scene.desired.sticky, scene.desired.tolerance.errors)
        port = None if enters else route.port
        return Way(replace(status, route=route), versions, port, waits=AT_FIRST, arrived=False, moves=True)
    fleets = _fleets(scene, sizes)
    found = step(status.route, aim, fleets, scene.told, guards)
    route = _told(scene, status.route, found.route)
    status, evidence_waits = _after(scene, status, route, found, aim, enters=enters)
    versions = tuple(
        scene.version(revision, sizes.get(revision)) for revision in sorted(fleets) if revision not in found.free
    )
    gone = _refs(scene, found.free)
    port = route.port
    if enters:
        known = found.acknowledged and _known(scene, route, aim.stable, _reached(scene, route))
        stands = guards.holds(Guard.SUCCEEDED, _stands(scene, aim.stable))
        port = route.port if guards.holds(Guard.PODS_KNOWN, known) and stands else None
        gone |= _succeeded(scene, port)
    alone = len(route.slots) == 1 and route.slots[route.stable].revision == choice.target
    arrived = alone and not enters and not scene.present - {choice.target}
    waits = found.waits or evidence_waits or (LEFT_BEHIND if scene.left_behind else "")
    return Way(status, versions, port, gone, waits, arrived, moves=not (arrived and found.acknowledged))


def _candidate(scene: Scene) -> Candidate | None:
    """The version that is to take over step by step; None if there is none, or it takes over at once."""
    target, before, now = scene.choice.target, scene.before, scene.now
    if not scene.serving or target in ("", scene.serving) or goes_back(before) or scene.returns_to:
        return None
    candidate = before.candidate
    if candidate is None or candidate.revision != target:
        return Candidate(target, 0, 0, now, now)
    left = target not in scene.present and not any(pod.revision == target for pod in scene.observed.pods)
    if candidate.standing is Standing.SUSPECT and scene.guards.holds(Guard.AFRESH, left):
        anew = replace(candidate, step=0, weight=0, since=now, reached=None, standing=Standing.TRIED, passed=False)
        return replace(anew, trial=candidate.trial + 1)
    steps = len(scene.desired.steps)
    if steps and candidate.step >= steps and not candidate.passed:  # the owner has taken steps away
        return replace(candidate, step=steps - 1, since=now, reached=None)
    return candidate


def _with_ramp(scene: Scene, status: Status) -> Status:
    """The weights of a candidate that nobody has given any, once it is known how many requests there are."""
    candidate, budget, found = status.candidate, scene.desired.budget, heard_of(status, scene.observed.evidence)
    if candidate is None or budget is None or candidate.ramp or candidate.passed:
        return status
    if found is None or found.rate is None:
        return status
    weights = ramp(found.rate, budget)
    why = reason(found.rate, weights, budget)
    status = decided(status, Decision(scene.now, RAMP, candidate.revision, OPERATOR, why))
    step = min(candidate.step, len(weights) - 1)
    return replace(status, candidate=replace(candidate, ramp=weights, step=step, reached=None))


def _baking(scene: Scene) -> Baking | None:
    """What stable has taken over from, as long as it is compared with it."""
    baking, found = scene.before.baking, heard_of(scene.before, scene.observed.evidence)
    if baking is None or scene.choice.target != scene.serving or baking.revision not in scene.contents:
        return None
    return None if is_baked(baking, scene.desired, found, scene.now) else baking


def _aim(scene: Scene, status: Status, *, enters: bool) -> Aim:
    """Where the traffic is to go."""
    steps, route, candidate, bake = scene.desired.steps, scene.before.route, status.candidate, scene.desired.bake
    if enters and scene.serving and not scene.is_left:
        return Aim(scene.serving)
    if status.baking is not None and bake is not None:
        return Aim(scene.serving, status.baking.revision, bake.holdback)
    if candidate is None:
        return Aim(scene.returns_to or scene.choice.target)
    if candidate.standing is Standing.SUSPECT:
        return Aim(scene.serving)
    if candidate.standing is Standing.INCONCLUSIVE:
        return Aim(scene.serving, candidate.revision, 0)
    if not scene.guards.holds(Guard.NOT_PAUSED, not scene.choice.paused):
        return _as_it_is(route) if route else Aim(scene.serving)
    if not scene.guards.holds(Guard.OWN_PODS, not scene.left_behind & {scene.serving, candidate.revision}):
        return Aim(scene.serving, candidate.revision, candidate.weight)
    if not scene.has_steps(candidate):
        return Aim(scene.serving, candidate.revision, candidate.weight)
    if candidate.step >= len(steps):
        return Aim(candidate.revision)
    if scene.desired.strategy is Strategy.SHADOW:
        return Aim(scene.serving, candidate.revision, copies=True)
    weights = [each.percent for each in steps[: candidate.step + 1] if isinstance(each, Weight)]
    found = heard_of(status, scene.observed.evidence)
    if not weights:
        return Aim(scene.serving, candidate.revision, 0)
    if not scene.guards.holds(Guard.COUNTED, found is not None and found.saved):
        return Aim(scene.serving, candidate.revision, min(weights[-1], candidate.weight))
    return Aim(scene.serving, candidate.revision, weights[-1])


def _as_it_is(route: Route) -> Aim:
    stable = route.slots[route.stable].revision
    if shadow := route.slots.get(Slot.SHADOW):
        return Aim(stable, shadow.revision, copies=True)
    others = [share for slot, share in route.slots.items() if slot != route.stable]
    return Aim(stable, others[0].revision, others[0].weight) if others else Aim(stable)


def _sizes(scene: Scene, aim: Aim) -> dict[str, int]:
    """How many pods each version is to have; one that is on its way out keeps what it has.

    Stable keeps its size until another one has taken its place.
    """
    full, route = scene.replicas, scene.before.route
    whole = {aim.stable, route.slots[route.stable].revision if route else ""} - {""}
    sizes = dict.fromkeys(whole, full)
    if aim.candidate and aim.candidate not in sizes:
        warm = scene.before.baking is not None  # it may have to serve alone at any moment
        in_full = warm or scene.desired.strategy in (Strategy.BLUE_GREEN, Strategy.SHADOW)
        size = full if in_full else min(full, max(1, math.ceil(full * aim.weight / 100)))
        sizes[aim.candidate] = max(size, min(full, _held(scene, aim)))
    return sizes


def _held(scene: Scene, aim: Aim) -> int:
    """The pods that a candidate has, as long as not every router says that it gives them no more than it should."""
    route, numbers = scene.before.route, scene.observed.versions.get(aim.candidate)
    if route is None or numbers is None:
        return 0
    shares = [share.weight for share in route.slots.values() if share.revision == aim.candidate]
    follows = all(router.generation == route.generation for router in scene.told)
    return 0 if follows and all(weight <= aim.weight for weight in shares) else numbers.wanted


def _fleets(scene: Scene, sizes: Mapping[str, int]) -> dict[str, Fleet]:
    """The pods of every version that has, or should have, any."""
    route = scene.before.route
    in_route = {share.revision for share in route.slots.values()} if route else set()
    there = {revision: scene.observed.versions[revision].wanted for revision in scene.present}
    wanted = dict.fromkeys(in_route, 1) | there | dict(sizes)
    return {revision: Fleet(scene.ready(revision), size) for revision, size in wanted.items()}


def _after(scene: Scene, status: Status, route: Route, found: Step, aim: Aim, *, enters: bool) -> tuple[Status, str]:
    """The status after a step of the traffic: whose time as stable has begun, and how far the candidate is; and what
    its next step waits for."""
    status, candidate, now = replace(status, route=route), status.candidate, scene.now
    stable = route.slots[route.stable].revision
    if scene.serving and stable != scene.serving and stable == aim.stable and not enters:
        why = f"it has taken over from {scene.serving}: it has all requests, and every router says so"
        status = decided(status, Decision(now, PROMOTED, stable, OPERATOR, why))
        baking = None
        if candidate is not None and scene.desired.bake and not scene.is_left:
            baking = Baking(scene.serving, now, candidate.strikes, candidate.trial, candidate.began)
        return replace(status, stable=Stable(stable, now), candidate=None, baking=baking), ""
    first_one = not scene.serving and not enters and stable == scene.choice.target and scene.replicas > 0
    if first_one and found.acknowledged and _known(scene, route, stable, 1):
        return replace(status, stable=Stable(stable, now)), ""
    if candidate is None or enters:
        return status, ""
    shares = (share for share in route.slots.values() if share.revision == candidate.revision)
    candidate = replace(candidate, weight=next((share.weight for share in shares), 0))
    follows = route == scene.before.route and found.acknowledged
    if not scene.has_steps(candidate):
        return replace(status, candidate=candidate), "its weights wait until all routers have counted for a few seconds"
    if candidate.standing is Standing.SUSPECT or candidate.step >= len(scene.desired.steps) or not follows:
        return replace(status, candidate=candidate), ""
    return _stepped(scene, status, candidate)


def _stepped(scene: Scene, status: Status, candidate: Candidate) -> tuple[Status, str]:
    """How far a candidate is that has what every router says it has; and what its step waits for."""
    steps, now = scene.desired.steps, scene.now
    if steps[candidate.step] != Weight(candidate.weight):
        return replace(status, candidate=candidate), ""
    candidate = replace(candidate, reached=candidate.reached or now)
    evidence, behind = heard_of(status, scene.observed.evidence), steps[candidate.step + 1 :]
    asks = bool(behind) and isinstance(behind[0], Approval)
    waits = "" if asks else step_waits(candidate, evidence, now, last=not behind)
    goes_on = scene.guards.holds(Guard.NOT_PAUSED, not scene.choice.paused)
    if not goes_on or not scene.guards.holds(Guard.EVIDENT, not waits):
        if goes_on:
            check = next_check(candidate, evidence, now, last=not behind)
            status = replace(status, next_check=expected(scene.before.next_check, check, now))
        return replace(status, candidate=candidate), f"its step waits for {waits}" if waits else ""
    why = f"{BY_HAND} {candidate.weight} of 100 requests"
    if not asks and evidence is not None:
        why = f"{evidence.proof or evidence.summary} at {candidate.weight} of 100 requests"
    status = decided(status, Decision(now, STEP, candidate.revision, OPERATOR, why))
    passed = replace(candidate, step=candidate.step + 1, passed=not behind)
    return replace(status, candidate=replace(passed, since=now, reached=None)), ""


def _known(scene: Scene, route: Route, revision: str, pods: int) -> bool:
    """Whether this version is stable in the route, new requests reach a router, and each of them, of those that are
    about to end too, knows so many pods of it."""
    is_stable = route.slots[route.stable].revision == revision
    return (
        is_stable
        and scene.observed.reachable > 0
        and all(router.pods.get(route.stable, 0) >= pods for router in scene.told)
    )


def _reached(scene: Scene, route: Route) -> int:
    """So many pods of stable routers must know before requests are sent there: those that are to stay of the ones that
    go, else as many as are reached without them."""
    if scene.is_ours(Kind.DEPLOYMENT, scene.identity.name):
        return scene.replicas
    reached = scene.reached
    return min(sum(reached.values()), max(1, reached.get(route.slots[route.stable].revision, 0)))


def _stands(scene: Scene, revision: str) -> bool:
    """Whether a version's own Deployment serves: what routers know may be those pods of it that are about to go."""
    if not scene.is_ours(Kind.DEPLOYMENT, scene.identity.name):
        return True
    return _is_up(scene.observed.versions.get(revision, Workload()), scene.replicas)


def _is_up(numbers: Workload, replicas: int) -> bool:
    return numbers.observed_generation >= numbers.generation and numbers.available >= replicas


def _succeeded(scene: Scene, port: int | None) -> set[Ref]:
    """The Deployment whose pods got requests straight, once nobody asks for them."""
    there = scene.observed.children.get((Kind.SERVICE, scene.identity.name))
    leads = port is not None and there is not None and is_latest(there, seal(service(scene.identity, port)))
    return {(Kind.DEPLOYMENT, scene.identity.name)} if leads else set()


def _told(scene: Scene, before: Route, after: Route) -> Route:
    """With the longest deadline of its versions, and what the owner says of clients that come again and of errors."""
    longest = _longest(scene, {share.revision for share in after.slots.values()}, after.timeout_seconds)
    sticky, errors = scene.desired.sticky, scene.desired.tolerance.errors
    if (longest, sticky, errors) == (after.timeout_seconds, after.sticky_seconds, after.tolerance_errors):
        return after
    return before.changed(
        slots=after.slots,
        stable=after.stable,
        timeout_seconds=longest,
        sticky_seconds=sticky,
        tolerance_errors=errors,
    )


def _longest(scene: Scene, revisions: Iterable[str], default: float) -> float:
    """The longest deadline of these versions, in seconds, as far as they are kept."""
    contents = scene.contents
    return max((contents[revision].timeout for revision in revisions if revision in contents), default=default)
