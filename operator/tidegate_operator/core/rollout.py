"""How a version takes over: which versions have pods, and what the model's Service leads to. Pure.

Where requests go straight to the pods, one Deployment rolls over. Where they come through routers each version has a
Deployment of its own; `core/steps.py` says where the traffic is to go, and `core/traffic.py` in which order it goes
there. A model can change from the one to the other while it serves.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from tidegate_contract.route import Route
from tidegate_operator.core.children import seal, service
from tidegate_operator.core.choice import Choice, goes_back
from tidegate_operator.core.drift import is_latest
from tidegate_operator.core.guards import Guard
from tidegate_operator.core.scene import Scene
from tidegate_operator.core.steps import advanced, aim_of, baking_of, candidate_of, with_ramp
from tidegate_operator.core.traffic import Aim, Fleet, first, step
from tidegate_operator.core.types import Kind, Ref, Status, Strategy, Version, Via, Workload

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
        status, _ = advanced(scene, status, found.route, found, Aim(alone), enters=False)
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
    status = scene.bare if comes else replace(scene.bare, candidate=candidate_of(scene), baking=baking_of(scene))
    status = with_ramp(scene, status)
    if not choice.target:
        return Way(status, (), status.route.port if status.route else None, arrived=False, moves=True)
    aim = aim_of(scene, status, enters=comes)
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
    status, evidence_waits = advanced(scene, status, route, found, aim, enters=enters)
    versions = tuple(
        scene.version(revision, sizes.get(revision)) for revision in sorted(fleets) if revision not in found.free
    )
    gone = _refs(scene, found.free)
    port = route.port
    if enters:
        known = found.acknowledged and scene.knows(route, aim.stable, _reached(scene, route))
        stands = guards.holds(Guard.SUCCEEDED, _stands(scene, aim.stable))
        port = route.port if guards.holds(Guard.PODS_KNOWN, known) and stands else None
        gone |= _succeeded(scene, port)
    alone = len(route.slots) == 1 and route.slots[route.stable].revision == choice.target
    arrived = alone and not enters and not scene.present - {choice.target}
    waits = found.waits or evidence_waits or (LEFT_BEHIND if scene.left_behind else "")
    return Way(status, versions, port, gone, waits, arrived, moves=not (arrived and found.acknowledged))


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
