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
    Version,
    Workload,
)

MADE_ONCE = frozenset({Kind.JOB})
"""What it says cannot be changed later."""
REMOVABLE = frozenset({Kind.JOB, Kind.POD_DISRUPTION_BUDGET})
"""These come and go while the model is there; a version's Deployment and Service when no request can reach them any
more; everything else goes with the model."""


def applies(
    identity: Identity, wanted: Mapping[Ref, Manifest], observed: Observed, unkept: frozenset[Ref], guards: Guards
) -> Iterable[Apply]:
    """Children that are missing, or that are not what they should be; what is not ours is left alone.

    `unkept`: Deployments whose pods are to serve a revision that is not kept yet.
    """
    for (kind, name), manifest in wanted.items():
        child = observed.children.get((kind, name))
        if (
            guards.holds(Guard.OURS, is_ours(identity, child))
            and guards.holds(Guard.CHANGED, is_changed(identity, child, manifest))
            and guards.holds(Guard.MADE_ONCE, child is None or kind not in MADE_ONCE)
            and guards.holds(Guard.RECORDED, (kind, name) not in unkept)
        ):
            yield Apply(kind, manifest, uid_of(child), version_of(child))


def scales(identity: Identity, versions: Iterable[Version], observed: Observed, guards: Guards) -> Iterable[Scale]:
    """Replicas that are not what they should be."""
    for child, workload, replicas in sized(identity, versions, observed):
        if guards.holds(Guard.OURS, is_ours(identity, child)) and guards.holds(
            Guard.REPLICAS_DIFFER, workload.wanted != replicas
        ):
            yield Scale(child.name, replicas, child.uid)


def removes(
    identity: Identity,
    wanted: Mapping[Ref, Manifest],
    gone: frozenset[Ref],
    observed: Observed,
    guards: Guards,
) -> Iterable[Remove]:
    """Children of ours that nothing wants any more. `gone`: those of them that had requests."""
    for ref, child in observed.children.items():
        if (
            guards.holds(Guard.OURS, is_ours(identity, child))
            and guards.holds(Guard.UNWANTED, ref not in wanted and (child.kind in REMOVABLE or ref in gone))
            and guards.holds(Guard.NOT_GOING, not child.deleting)
        ):
            yield Remove(child.kind, child.name, child.uid)


def is_ours(identity: Identity, child: Child | None) -> bool:
    return child is None or claim(identity, child) == Claim.OURS


def is_changed(identity: Identity, child: Child | None, manifest: Manifest) -> bool:
    return child is None or not drift.intact(child, manifest, identity)


def sized(identity: Identity, versions: Iterable[Version], observed: Observed) -> Iterable[tuple[Child, Workload, int]]:
    """The Deployments that are there and have a size to be: each with its numbers and that size."""
    for version in versions:
        child = observed.children.get((Kind.DEPLOYMENT, version.deployment))
        workload = numbers_in(identity, version, observed)
        if child and workload and version.replicas is not None:
            yield child, workload, version.replicas


def numbers_in(identity: Identity, version: Version, observed: Observed) -> Workload | None:
    """Those of a version's Deployment, whosever it is."""
    if version.deployment == identity.name:
        return observed.workload
    return observed.versions.get(version.revision)


def uid_of(child: Child | None) -> str | None:
    return child.uid if child else None


def version_of(child: Child | None) -> str | None:
    return None if child else ABSENT
