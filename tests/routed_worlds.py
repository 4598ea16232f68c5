"""A cluster in which everything follows at once, for tests of the core: routers, pods, controllers do as they are told.

What a test wants to be slow it holds back: a router that lags, pods that do not get ready.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from tidegate_contract.actions import Action
from tidegate_contract.route import Route
from tidegate_operator.core.children import version_name
from tidegate_operator.core.decide import decide
from tidegate_operator.core.records import object_name
from tidegate_operator.core.trial import trial_of
from tidegate_operator.core.types import (
    Apply,
    Approval,
    Child,
    Container,
    Desired,
    Evidence,
    Forget,
    Keep,
    Kind,
    Observed,
    Plan,
    Pod,
    Ref,
    Remove,
    Revision,
    RolloutStep,
    Router,
    Scale,
    Status,
    Strategy,
    Via,
    Weight,
    Workload,
)
from worlds import FLIGHTS, ME, NOW, RELEASE, child

PORT = 10000
ROUTED = replace(FLIGHTS, via=Via.ROUTER)
STEPS: tuple[RolloutStep, ...] = (Weight(5), Approval(), Weight(50), Approval())


def canary(desired: Desired = ROUTED, steps: tuple[RolloutStep, ...] = STEPS) -> Desired:
    return replace(desired, strategy=Strategy.CANARY, steps=steps)


GOOD = Evidence("", 0, requests=1000, proof="it is no worse: 0 of 1,000 failed", summary="0 of 1,000 failed")
"""What the requests of a good version say, soon after they begin to come."""


@dataclass
class Cluster:
    """One model and its routers."""

    desired: Desired
    status: Status = field(default_factory=Status)
    children: dict[Ref, Child] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    """Replicas of each Deployment, by name."""
    serves: dict[str, str] = field(default_factory=dict)
    """The revision of each Deployment."""
    revisions: dict[str, Revision] = field(default_factory=dict)
    routers: dict[str, Route | None] = field(default_factory=lambda: {"r1": None, "r2": None})
    """What each runs."""
    lagging: set[str] = field(default_factory=set)
    """Routers that do not take the newest route."""
    broken: set[str] = field(default_factory=set)
    """Revisions whose pods do not get ready."""
    last_words: str = ""
    """What pods that do not get ready end with; empty: they only take long."""
    slow: set[str] = field(default_factory=set)
    """Deployments whose pods do not."""
    partly: set[str] = field(default_factory=set)
    """Revisions of each of whose Deployments one pod at most does."""
    refusing: set[str] = field(default_factory=set)
    """Routers that take no new route, and say so."""
    silent: set[str] = field(default_factory=set)
    unaware: set[str] = field(default_factory=set)
    """Routers that have not heard of any pod."""
    ending: bool = False
    """All routers are about to end, and take no new requests."""
    leaving: int = 0
    port: int | None = PORT
    """What the namespace gives it."""
    action: Action | None = None
    says: Evidence = GOOD
    """What the requests of a version under trial say."""
    deaf: bool = False
    """Nobody is heard of its requests."""
    saved: set[tuple[str, int]] = field(default_factory=set)
    """The trials that were kept."""
    plans: list[Plan] = field(default_factory=list)

    def ready(self, deployment: str) -> int:
        unready = self.serves[deployment] in self.broken or deployment in self.slow
        most = min(1, self.sizes[deployment]) if self.serves[deployment] in self.partly else self.sizes[deployment]
        return 0 if unready else most

    def pods_of(self, revision: str) -> int:
        return sum(self.ready(name) for name, serves in self.serves.items() if serves == revision)

    @property
    def now(self) -> datetime:
        return NOW + timedelta(seconds=len(self.plans))

    def evidence(self) -> Evidence | None:
        trial = trial_of(self.status)
        if trial is None:
            return None
        saved, heard = (trial.revision, trial.number) in self.saved, None if self.deaf else self.now
        return replace(self.says, revision=trial.revision, trial=trial.number, saved=saved, heard=heard)

    def observed(self) -> Observed:
        numbers = {name: self._numbers(name) for name in self.sizes}
        return Observed(
            children=self.children,
            workload=numbers.get(ME.name),
            pods=tuple(self._pod(name, n) for name, size in sorted(self.sizes.items()) for n in range(size)),
            revisions=tuple(self.revisions.values()),
            action=self.action,
            versions={name.removeprefix(f"{ME.name}-"): found for name, found in numbers.items() if name != ME.name},
            routers={uid: self._says(uid) for uid in self.routers},
            reachable=0 if self.ending else len(self.routers),
            silent=len(self.silent),
            port=None if self.status.route else self.port,
            evidence=self.evidence(),
        )

    def _pod(self, name: str, n: int) -> Pod:
        ready = n < self.ready(name)
        gave_up = Container("server", exit_code=3, exit_message=self.last_words)
        containers = (gave_up,) if self.last_words and not ready else ()
        return Pod(f"{name}-{n}", self.serves[name], ready=ready, containers=containers)

    def _numbers(self, name: str) -> Workload:
        size = self.sizes[name]
        return Workload(1, 1, wanted=size, total=size, updated=size, available=self.ready(name))

    def _says(self, uid: str) -> Router | None:
        route = self.routers[uid]
        if uid in self.silent:
            return None
        if route is None:
            return Router()
        known = 0 if uid in self.unaware else 1
        pods = {slot: known * self.pods_of(share.revision) for slot, share in route.slots.items()}
        refused = "no" if uid in self.refusing and route != self.status.route else ""
        return Router(route.generation, pods, self.leaving, refused, answers=pods[route.stable] > 0)

    def look(self) -> Plan:
        """One look, and what follows from it."""
        plan = decide(ME, self.desired, self.status, self.observed(), RELEASE, self.now)
        self.plans.append(plan)
        self.status = plan.status or self.status
        trial = trial_of(self.status)
        if plan.saves and trial:
            self.saved.add((trial.revision, trial.number))
        for write in plan.writes:
            match write:
                case Keep(revision=revision):
                    self.revisions[revision.name] = replace(revision, uid=f"{revision.name}-uid", version="1")
                case Forget(name=name):
                    self.revisions = {n: r for n, r in self.revisions.items() if object_name(ME.name, n) != name}
                case Apply(kind=kind, manifest=manifest):
                    made = child(kind, {**manifest, "metadata": _plain(manifest["metadata"])})
                    self.children[kind, made.name] = made
                    if kind == Kind.DEPLOYMENT:
                        labels = manifest["spec"]["template"]["metadata"]["labels"]
                        self.serves[made.name] = labels["models.tidegate.dev/revision"]
                        self.sizes.setdefault(made.name, 1)
                case Scale(name=name, replicas=replicas):
                    self.sizes[name] = replicas
                case Remove(kind=kind, name=name):
                    del self.children[kind, name]
                    if kind == Kind.DEPLOYMENT:
                        del self.sizes[name], self.serves[name]
        for uid in self.routers.keys() - self.lagging - self.refusing:
            self.routers[uid] = self.status.route
        return plan

    def settle(self, looks: int = 60) -> "Cluster":
        """Look until nothing changes any more."""
        quiet = 0
        for _ in range(looks):
            plan = self.look()
            quiet = 0 if plan.status or plan.writes else quiet + 1
            if quiet == 2:  # in the first of them a router may have followed
                return self
        raise AssertionError("it never comes to rest")

    def until(self, reached: Callable[["Cluster"], bool], looks: int = 60) -> "Cluster":
        for _ in range(looks):
            if reached(self):
                return self
            self.look()
        raise AssertionError("it never gets there")

    def weights(self) -> dict[str, int]:
        """By revision."""
        route = self.status.route
        return {share.revision: share.weight for share in route.slots.values()} if route else {}

    def condition(self, type: str) -> tuple[str, str]:
        found = next(condition for condition in self.status.conditions if condition.type == type)
        return str(found.status), found.reason

    def message(self, type: str) -> str:
        return next(condition.message for condition in self.status.conditions if condition.type == type)


def deployment_of(revision: str) -> str:
    return version_name(ME, revision)


def _plain(metadata: dict[str, object]) -> dict[str, object]:
    """Without the hash, which `child` adds."""
    return {key: value for key, value in metadata.items() if key != "annotations"}
