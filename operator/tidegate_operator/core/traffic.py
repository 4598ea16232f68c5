"""In which order requests move from one version to another, so that none is lost on the way. Pure.

    up      pods are ready -> into the route -> every router says so, and knows them -> weight
    copies  pods are ready -> into the route; out of it before the version gets requests of its own
    down    weight 0 -> every router says so -> out of the route -> every router says so, and has no request there any
            more -> the pods may go

`step` makes at most one change of the route at a time, each with a generation of its own. Where it may not go on yet it
says what it waits for. It moves no faster than the slowest router says that it follows; nothing here waits for a time.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from tidegate_contract.evidence import TOLERANCES, Signal
from tidegate_contract.route import SHARED, WHOLE, Route, Share, Slot
from tidegate_operator.core.guards import ALL, Guard, Guards
from tidegate_operator.core.types import Router


@dataclass(frozen=True, slots=True)
class Aim:
    """Where the traffic should be in the end."""

    stable: str
    """The revision that has all that the candidate has not."""
    candidate: str = ""
    weight: int = 0
    """Of the candidate, of 100."""
    copies: bool = False
    """The candidate is sent copies of all requests, and none of its own."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """The pods of one revision."""

    ready: int = 0
    wanted: int = 1

    @property
    def needed(self) -> int:
        """So many have to be ready before it is asked."""
        return max(1, self.wanted)


@dataclass(frozen=True, slots=True)
class Step:
    """What follows."""

    route: Route
    waits: str = ""
    """What has to happen before the next change; empty if nothing has, or there is none."""
    acknowledged: bool = False
    """Every router runs the route that was there before; nobody knows of one that has just changed."""
    free: frozenset[str] = frozenset()
    """Revisions of which no router knows any more: their pods may go."""


def first(aim: Aim, port: int, timeout: float, sticky: int = 0, errors: float = TOLERANCES[Signal.ERRORS]) -> Route:
    """The route of a model that has none: its requests wait where there is no pod yet."""
    return Route(port, 1, Slot.A, {Slot.A: Share(aim.stable, WHOLE)}, timeout, sticky, errors)


def step(route: Route, aim: Aim, fleets: Mapping[str, Fleet], routers: Iterable[Router], guards: Guards = ALL) -> Step:
    """The next change towards the aim, or what it waits for.

    `routers`: all that may have a request, those that are about to end among them.
    """
    told = tuple(routers)
    follow = bool(told) and all(router.generation == route.generation for router in told)
    acknowledged = guards.holds(Guard.ACKNOWLEDGED, follow)
    drained = guards.holds(Guard.DRAINED, not any(router.leaving for router in told))
    out = frozenset(fleets) - {share.revision for share in route.slots.values()} - {aim.stable, aim.candidate}
    free = out if acknowledged and drained else frozenset()
    waiting = Step(route, acknowledged=acknowledged, free=free)
    if not acknowledged:
        waiting = replace(waiting, waits=f"waiting for every router to run generation {route.generation} of the route")
    elif not drained:
        waiting = replace(waiting, waits="waiting for the last requests to a version that has left the route")
    stable = route.slots[route.stable].revision
    other = next(slot for slot in SHARED if slot != route.stable)
    comes, weight = (aim.candidate, aim.weight) if aim.stable == stable else (aim.stable, WHOLE)
    copied = comes if aim.copies and aim.stable == stable else ""
    comes = "" if copied else comes
    there, fleet = route.slots.get(other), fleets.get(comes or copied, Fleet())
    wanted = weight if there and there.revision == comes else 0
    if there and there.weight > wanted:
        alone = fleets.get(there.revision, Fleet()).ready and not fleets.get(stable, Fleet()).ready
        if not guards.holds(Guard.STABLE_READY, not alone):
            return replace(waiting, waits=f"waiting for a pod of {stable} to be ready: it would get all requests")
        return _weighted(route, other, wanted)
    # A route that a router refuses is acknowledged by nobody: what it brought can be taken back all the same.
    may_leave = acknowledged or any(router.refused for router in told)
    shadow = route.slots.get(Slot.SHADOW)
    if shadow and shadow.revision != copied:
        return _without(route, Slot.SHADOW) if may_leave else waiting
    if there and there.revision != comes:
        return _without(route, other) if may_leave else waiting
    if not acknowledged:
        return waiting
    if there is None and copied and shadow is None:
        return _enters(route, Slot.SHADOW, copied, waiting, fleet, guards) if drained else waiting
    if there is None and not comes:
        return waiting
    if there is None:
        return _enters(route, other, comes, waiting, fleet, guards) if drained else waiting
    if there.weight < wanted:
        return _up(route, other, wanted, waiting, fleet, told, guards)
    if comes == aim.stable:
        return Step(route.changed(stable=other))
    return waiting


def _without(route: Route, slot: Slot) -> Step:
    """A version leaves its slot."""
    return Step(route.changed(slots={at: share for at, share in route.slots.items() if at != slot}))


def _enters(route: Route, slot: Slot, revision: str, waiting: Step, fleet: Fleet, guards: Guards) -> Step:
    """A version gets a slot: from now on it can be asked by name."""
    if not guards.holds(Guard.PODS_READY, fleet.ready >= fleet.needed):
        return _unready(waiting, revision, fleet)
    return Step(route.changed(slots={**route.slots, slot: Share(revision)}))


def _up(
    route: Route, slot: Slot, weight: int, waiting: Step, fleet: Fleet, told: tuple[Router, ...], guards: Guards
) -> Step:
    """Give a version more weight."""
    revision, needed = route.slots[slot].revision, fleet.needed
    if not guards.holds(Guard.PODS_READY, fleet.ready >= needed):
        return _unready(waiting, revision, fleet)
    known = min((router.pods.get(slot, 0) for router in told), default=0)
    if not guards.holds(Guard.PODS_KNOWN, known >= needed):
        said = f"waiting for every router to know {needed} pods of {revision}"
        return replace(waiting, waits=said)
    return _weighted(route, slot, weight)


def _unready(waiting: Step, revision: str, fleet: Fleet) -> Step:
    return replace(waiting, waits=f"waiting for {fleet.needed} pods of {revision} to be ready")


def _weighted(route: Route, slot: Slot, weight: int) -> Step:
    """The weight of what is not stable; stable has the rest."""
    shares = {slot: weight, route.stable: WHOLE - weight}
    slots = {at: Share(share.revision, shares.get(at, share.weight)) for at, share in route.slots.items()}
    return Step(route.changed(slots=slots))
