"""One rollout from its begin to its end: requests fall by chance, all else is the product's own core.

Two router processes divide requests by the route that `decide` gives them, and count what has become of them. What
they and the pods say goes to the tally of the trial; what that means goes to `decide`, as it does in the operator:
at once where it says something else than before, and else now and then. Each router has its latch, too.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from functools import cache

import numpy as np

from bench.simulations.traffic import EVERY_SECONDS, Fate, Traffic
from routed_worlds import ROUTED, Cluster, canary
from tidegate_contract.evidence import Arm
from tidegate_contract.route import WHOLE, Route
from tidegate_operator.core.evidence.tally import Pods, Reading, Tally, begin, hear, hear_pods, meaning
from tidegate_operator.core.steps import PROMOTED
from tidegate_operator.core.trial import STRIKE, Trial, gist, trial_of
from tidegate_operator.core.types import Bake, Evidence, RolloutStep, Tolerance
from tidegate_router import latch
from worlds import NOW, asking, name

RATE = 100
"""Requests a second, to both routers together."""
LOOK_SECONDS = 2.0
"""How often routers are read. The operator reads them every half second; a bet does not depend on that."""
PODS_SECONDS = 2.0
DECIDE_SECONDS, BAKING_SECONDS = 10.0, 60.0
"""How often it is decided although nothing new is said, before and after it has taken over. The operator does so every
5 s, which here would take longer than all else and only moves the end of a step."""
ANSWERED = 20_000
"""By stable, before the rollout begins."""
NEXT = asking(ROUTED, digest="sha256:" + "6" * 64)
OLD, NEW = name(ROUTED), name(NEXT)
TOLERANCE = Tolerance()
HOUR = Bake(3600, 5)


@dataclass
class Plane(Cluster):
    """The cluster around it, in which what the routers say is not made up."""

    seconds: float = 0.0
    means: Evidence | None = None

    @property
    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)

    def evidence(self) -> Evidence | None:
        trial = trial_of(self.status)
        if trial is None or self.means is None:
            return None
        return replace(self.means, saved=(trial.revision, trial.number) in self.saved)


@cache
def _settled() -> Cluster:
    return Plane(ROUTED).settle()


def plane(steps: tuple[RolloutStep, ...], bake: Bake | None) -> Plane:
    """One in which stable serves through routers, and the next version has just been asked for."""
    settled = _settled()
    found = Plane(**{each.name: copy.copy(getattr(settled, each.name)) for each in fields(settled)})
    found.desired = replace(canary(NEXT, steps), bake=bake)
    return found


@dataclass
class Router:
    """One router process after another in the same place."""

    uid: str
    life: int = 1
    share: int = 0
    """Of the next version, of 100: in force."""
    counts: dict[str, Arm] = field(default_factory=lambda: {OLD: Arm(0), NEW: Arm(0)})
    trial: latch.Trial | None = None
    unheard_until: float = 0.0

    @property
    def source(self) -> str:
        return f"{self.uid}-{self.life}"

    def reading(self, revision: str, against: str) -> Reading:
        return Reading(self.source, self.weight_of(revision), self.counts[revision], self.counts[against])

    def weight_of(self, revision: str) -> int:
        return self.share if revision == NEW else WHOLE - self.share

    def end(self) -> None:
        """Its process does, and with it all that nobody has heard. Another one takes its place."""
        self.life += 1
        self.counts, self.trial = {OLD: Arm(0), NEW: Arm(0)}, None

    def told(self, route: Route) -> None:
        """It has a new route."""
        self.trial = latch.follow(self.trial, route)
        if self.trial:
            self.trial = latch.asked(self.trial, route.slots[self.trial.slot].weight)

    def look(self, route: Route) -> None:
        """Its agent reads what it has counted."""
        if self.trial is None or not self.trial.runs:
            return
        revision = self.trial.revision
        against = OLD if revision == NEW else NEW
        found = latch.Reading(self.source, self.counts[revision], self.counts[against])
        wanted = route.slots[self.trial.slot].weight
        self.trial = latch.look(self.trial, found, self.weight_of(revision), wanted)


@dataclass(frozen=True)
class Decided:
    """What was decided, and how far the rollout was then."""

    what: str
    seconds: float
    requests: int
    """Of the next version."""


class Rollout:
    """Drawn from one seed. `restarts`: when a router's process ends, in seconds; `burst`: after so many requests of
    the next version the second number of them fails in a row."""

    def __init__(
        self,
        traffic: Traffic,
        steps: tuple[RolloutStep, ...],
        seed: int,
        *,
        look: float = LOOK_SECONDS,
        bake: Bake | None = HOUR,
        restarts: bool = False,
        lasts: float = 500.0,
        burst: tuple[int, int] = (0, 0),
    ) -> None:
        self.random = np.random.default_rng(seed)
        self.traffic, self.every, self.burst = traffic, look, burst
        self.phase = self.random.random() * EVERY_SECONDS
        self.restart_at = self.random.random() * lasts if restarts else float("inf")
        self.plane = plane(steps, bake)
        self.routers = [Router(uid) for uid in self.plane.routers]
        self.requests = 0
        """Of the next version, in all."""
        self.trial: Trial | None = None
        self.tally: Tally | None = None
        self.means: Evidence | None = None
        self.heard: datetime | None = None
        self.times = {OLD: self.random.multinomial(ANSWERED, traffic.stable.times), NEW: np.zeros(65, int)}
        self.began_at = float("inf")
        self.pods_at = self.decided_at = float("-inf")
        self.said: tuple[bool, ...] = ()
        self.busy = True
        self.route: Route | None = None
        self.decided: list[Decided] = []
        self.broken = False

    # ---------------------------------------------------------------- what has come of it

    @property
    def seconds(self) -> float:
        return self.plane.seconds

    @property
    def asked(self) -> float:
        """Requests to both versions since the first trial has begun; below 0: it has not."""
        return (self.seconds - self.began_at) * RATE

    def when(self, what: str) -> Decided | None:
        return next((decided for decided in self.decided if decided.what == what), None)

    @property
    def struck(self) -> Decided | None:
        return self.when(STRIKE)

    @property
    def promoted(self) -> Decided | None:
        return self.when(PROMOTED)

    @property
    def rejected(self) -> bool:
        return bool(self.plane.status.rejected)

    @property
    def ended(self) -> bool:
        return self.struck is not None or self.promoted is not None

    # ---------------------------------------------------------------- how it goes

    def until(self, reached: Callable[["Rollout"], bool]) -> "Rollout":
        while not reached(self):
            self.look()
        return self

    def look(self) -> None:
        """Requests fall, then routers and pods are read, then it is decided."""
        self._serve()
        self.plane.seconds += self.every
        self._restart()
        heard = [router for router in self.routers if router.unheard_until <= self.seconds]
        self.plane.silent = {router.uid for router in self.routers} - {router.uid for router in heard}
        self._hear(heard)
        if self._is_due():
            self._decide()

    def _serve(self) -> None:
        fates = self.traffic.at(self.seconds + self.phase)
        share = self.plane.weights().get(NEW, 0)
        for router in self.routers:
            number = round(RATE * self.every / len(self.routers))
            if self.traffic.evidence < 1:
                number = int(self.random.binomial(number, self.traffic.evidence))
            # Where its weight changes it does at some moment in between.
            early = int(self.random.binomial(number, self.random.random())) if share != router.share else 0
            ours = int(self.random.binomial(early, router.share / WHOLE))
            ours += int(self.random.binomial(number - early, share / WHOLE))
            self._count(router, NEW, ours, fates[0])
            self._count(router, OLD, number - ours, fates[1])
            router.share = share

    def _count(self, router: Router, revision: str, number: int, fate: Fate) -> None:
        if not number:
            return
        failed = int(self.random.binomial(number, fate.errors))
        if revision == NEW:
            start, lasts = self.burst
            failed = max(failed, min(self.requests + number, start + lasts) - max(self.requests, start))
            self.requests += number
        known = router.counts[revision]
        router.counts[revision] = Arm(known.requests + number, known.events + failed)
        self.times[revision] = self.times[revision] + self.random.multinomial(number, fate.times)

    def _restart(self) -> None:
        if self.seconds < self.restart_at:
            return
        self.restart_at, router = float("inf"), self.routers[int(self.random.integers(len(self.routers)))]
        router.end()
        router.unheard_until = self.seconds + self.random.random() * 10
        if self.route:
            router.told(self.route)

    def _hear(self, heard: list[Router]) -> None:
        for router in self.routers:
            if self.route:
                router.look(self.route)
        trial = trial_of(self.plane.status)
        if trial is None:
            self.plane.means = None
            return
        everybody = len(heard) == len(self.routers)
        readings = [router.reading(trial.revision, trial.against) for router in heard]
        if trial != self.trial:
            if not everybody or not {OLD, NEW} <= self.plane.weights().keys():
                self.plane.means = None
                return
            self.trial, self.began_at = trial, min(self.began_at, self.seconds)
            self.tally = begin(trial.revision, trial.against, trial.number, TOLERANCE.errors, TOLERANCE.slow, readings)
            self.times[NEW], self.pods_at = np.zeros_like(self.times[NEW]), float("-inf")  # other pods of it
        assert self.tally
        self.tally = hear(self.tally, readings)
        if self.seconds - self.pods_at >= PODS_SECONDS:
            self.pods_at = self.seconds
            self.tally = hear_pods(self.tally, Pods(self._pods(trial.revision), self._pods(trial.against)))
        self.means, self.heard = meaning(self.tally), self.plane.now if everybody else self.heard
        self.broken |= bool(self.means.broken)
        self.plane.means = self._evidence(self.means)

    def _pods(self, revision: str) -> dict[str, tuple[int, ...]]:
        assert self.trial
        return {f"{revision}-{self.trial.number if revision == NEW else 0}": tuple(self.times[revision].tolist())}

    def _evidence(self, means: Evidence) -> Evidence:
        latches = (router.trial for router in self.routers if router.trial)
        latched = next((each.latched for each in latches if each.latched and each.revision == means.revision), "")
        return replace(means, heard=self.heard, harm=means.harm or latched)

    def _is_due(self) -> bool:
        said = gist(self.plane.means or Evidence("", 0))
        changed, self.said = said != self.said, said
        at_the_latest = BAKING_SECONDS if self.plane.status.baking else DECIDE_SECONDS
        return self.busy or changed or self.seconds - self.decided_at >= at_the_latest

    def _decide(self) -> None:
        before = self.plane.status
        plan = self.plane.look()
        self.plane.plans.clear()
        after, route = self.plane.status, self.plane.status.route
        moved = (before.stable, before.candidate, before.baking, before.route) != (
            after.stable,
            after.candidate,
            after.baking,
            route,
        )
        self.decided_at, self.busy = self.seconds, moved or bool(plan.writes)
        new = (decision for decision in after.decisions if decision not in before.decisions)
        self.decided += [Decided(decision.what, self.seconds, self.requests) for decision in new]
        if route and route != self.route:
            self.route = route
            for router in self.routers:
                router.told(route)
