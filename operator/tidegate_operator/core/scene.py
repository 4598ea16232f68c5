"""What the way of a model's versions is found from: what is asked for, what is there, and what routers say. Pure."""

from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from tidegate_contract.route import Route, Slot
from tidegate_operator.core.children import seal, service, version_name
from tidegate_operator.core.choice import Choice, is_rejected
from tidegate_operator.core.claim import Claim, claim
from tidegate_operator.core.drift import is_latest
from tidegate_operator.core.guards import Guards
from tidegate_operator.core.types import (
    Candidate,
    Content,
    Desired,
    Identity,
    Kind,
    Observed,
    Pod,
    Ref,
    Router,
    Status,
    Version,
    Workload,
)


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

    def knows(self, route: Route, revision: str, pods: int) -> bool:
        """Whether this version is stable in the route, new requests reach a router, and each of them, of those that are
        about to end too, knows so many pods of it."""
        is_stable = route.slots[route.stable].revision == revision
        return (
            is_stable
            and self.observed.reachable > 0
            and all(router.pods.get(route.stable, 0) >= pods for router in self.told)
        )
