"""From what should be to the writes that lead there, each behind its guards.

There is no branch here that is not a guard: what holds a write back stands in
`core.guards`, where `make verify` takes it away to see that it is needed.
"""

from collections.abc import Iterable, Mapping

from tidegate_operator.core import drift
from tidegate_operator.core.claim import Claim, claim
from tidegate_operator.core.guards import Guard, Guards
from tidegate_operator.core.types import (
    ABSENT,
    Apply,
    Child,
    Identity,
    Kind,
    Manifest,
    Observed,
    Ref,
    Remove,
    Scale,
    Workload,
)

MADE_ONCE = frozenset({Kind.JOB})
"""What it says cannot be changed later."""
REMOVABLE = frozenset({Kind.JOB, Kind.POD_DISRUPTION_BUDGET})
"""Only these come and go while the model is there; everything else goes with it."""


def applies(
    identity: Identity, wanted: Mapping[Ref, Manifest], observed: Observed, recorded: bool, guards: Guards
) -> Iterable[Apply]:
    """Children that are missing, or that are not what they should be; what is not ours is left alone.

    `recorded`: the revision that the pods are to serve is kept.
    """
    for (kind, name), manifest in wanted.items():
        child = observed.children.get((kind, name))
        if (
            guards.holds(Guard.OURS, is_ours(identity, child))
            and guards.holds(Guard.CHANGED, is_changed(identity, child, manifest))
            and guards.holds(Guard.MADE_ONCE, child is None or kind not in MADE_ONCE)
            and guards.holds(Guard.RECORDED, recorded or kind != Kind.DEPLOYMENT)
        ):
            yield Apply(kind, manifest, uid_of(child), version_of(child))


def scales(identity: Identity, replicas: int, observed: Observed, guards: Guards) -> Iterable[Scale]:
    """Replicas that are not what they should be."""
    for child, workload in deployments(identity, observed):
        if guards.holds(Guard.OURS, is_ours(identity, child)) and guards.holds(
            Guard.REPLICAS_DIFFER, workload.wanted != replicas
        ):
            yield Scale(child.name, replicas, child.uid)


def removes(identity: Identity, wanted: Mapping[Ref, Manifest], observed: Observed, guards: Guards) -> Iterable[Remove]:
    """Children of ours that nothing wants any more."""
    for ref, child in observed.children.items():
        if (
            guards.holds(Guard.OURS, is_ours(identity, child))
            and guards.holds(Guard.UNWANTED, ref not in wanted and child.kind in REMOVABLE)
            and guards.holds(Guard.NOT_GOING, not child.deleting)
        ):
            yield Remove(child.kind, child.name, child.uid)


def is_ours(identity: Identity, child: Child | None) -> bool:
    return child is None or claim(identity, child) == Claim.OURS


def is_changed(identity: Identity, child: Child | None, manifest: Manifest) -> bool:
    return child is None or not drift.intact(child, manifest, identity)


def deployments(identity: Identity, observed: Observed) -> list[tuple[Child, Workload]]:
    """The model's Deployment and its numbers; none if it is not there."""
    child = observed.children.get((Kind.DEPLOYMENT, identity.name))
    return [(child, observed.workload)] if child and observed.workload else []


def uid_of(child: Child | None) -> str | None:
    return child.uid if child else None


def version_of(child: Child | None) -> str | None:
    return None if child else ABSENT
