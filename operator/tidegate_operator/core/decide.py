"""One snapshot in, one plan out; the same call for create, update, child event, resync and restart."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from enum import StrEnum

from tidegate_operator.core import conditions, drift
from tidegate_operator.core.children import children, seal, url
from tidegate_operator.core.failures import failure
from tidegate_operator.core.reasons import Reason, Type
from tidegate_operator.core.revision import revision
from tidegate_operator.core.types import (
    Apply,
    Child,
    Condition,
    Desired,
    Happening,
    Identity,
    Kind,
    Observed,
    Plan,
    Pod,
    Release,
    Remove,
    Scale,
    Stable,
    Status,
    Truth,
    Workload,
)

STRANGER_SECONDS = 10.0
"""How soon to look again for an object that stands in the way, or is refused: no event tells us that it has ended."""


class Claim(StrEnum):
    """Whose an object at the name of a child is."""

    OURS = "ours"
    """It is controlled by this ModelDeployment; or by nobody, and we made it: its owner was deleted without it."""
    LEFT_BEHIND = "left behind"
    """We made it for another ModelDeployment of this name, which has gone; the garbage collector takes it."""
    STRANGE = "strange"


def claim(identity: Identity, child: Child) -> Claim:
    if child.owner_uid == identity.uid or (child.owner_uid is None and child.applied):
        return Claim.OURS
    return Claim.LEFT_BEHIND if child.applied else Claim.STRANGE


def decide(
    identity: Identity, desired: Desired, status: Status, observed: Observed, release: Release, now: datetime
) -> Plan:
    """What should be done now.

    `observed.children` holds whatever stands at the name of a wanted child, ours or not.
    """
    wanted = {kind: seal(manifest) for kind, manifest in children(identity, desired, release).items()}
    claims = {kind: claim(identity, child) for kind, child in observed.children.items() if kind in wanted}
    strangers = tuple(observed.children[kind] for kind, found in claims.items() if found == Claim.STRANGE)
    to_apply = tuple(applies(identity, wanted, observed))
    # The numbers of a Deployment mean something only if it is ours and says what we want.
    ours = claims.get(Kind.DEPLOYMENT) == Claim.OURS
    workload = (ours and observed.workload) or Workload()
    settled = ours and not any(apply.kind == Kind.DEPLOYMENT for apply in to_apply)
    target = revision(desired, release)
    complete = settled and rolled_over(desired, workload, observed.pods, target)
    after = next_status(identity, desired, status, observed, strangers, workload, target, complete, now)
    return Plan(
        happenings=happenings(status.conditions, after.conditions),
        status=after if after != status else None,
        applies=to_apply,
        scale=scale(identity, desired, observed),
        removes=tuple(removes(identity, wanted, observed)),
        look_again=STRANGER_SECONDS if set(claims.values()) - {Claim.OURS} or observed.refused else None,
    )


def invalid(identity: Identity, message: str, status: Status, now: datetime) -> Plan:
    """The plan for a spec that means nothing: say so, touch nothing, leave running what runs."""
    finding = conditions.Finding(Type.DEGRADED, Truth.TRUE, Reason.INVALID_SPEC, message)
    kept = tuple(condition for condition in status.conditions if condition.type != Type.DEGRADED)
    stamped = conditions.stamp([finding], status.conditions, identity.generation, now, same_revision=False)
    after = replace(
        status,
        observed_generation=identity.generation,
        phase=status.phase or "Idle",
        url=status.url or url(identity),
        conditions=kept + stamped,
    )
    return Plan(happenings=happenings(status.conditions, after.conditions), status=after if after != status else None)


def applies(identity: Identity, wanted: dict[Kind, dict[str, object]], observed: Observed) -> Iterable[Apply]:
    """Children that are missing, or that are not what they should be; what is not ours is left alone."""
    for kind, manifest in wanted.items():
        child = observed.children.get(kind)
        if child is None:
            yield Apply(kind, manifest, uid=None)
        elif _may_touch(identity, child) and not drift.intact(child, manifest, identity):
            yield Apply(kind, manifest, uid=child.uid)


def scale(identity: Identity, desired: Desired, observed: Observed) -> Scale | None:
    """Replicas that are not what spec says."""
    child = observed.children.get(Kind.DEPLOYMENT)
    if child is None or not _may_touch(identity, child) or observed.workload is None:
        return None
    return Scale(child.name, desired.replicas) if observed.workload.wanted != desired.replicas else None


def removes(identity: Identity, wanted: dict[Kind, dict[str, object]], observed: Observed) -> Iterable[Remove]:
    """Children of ours that nothing wants any more."""
    for kind, child in observed.children.items():
        if kind not in wanted and _may_touch(identity, child):
            yield Remove(kind, child.name, child.uid)


def _may_touch(identity: Identity, child: Child) -> bool:
    return claim(identity, child) == Claim.OURS and not child.deleting


def next_status(
    identity: Identity,
    desired: Desired,
    status: Status,
    observed: Observed,
    strangers: tuple[Child, ...],
    workload: Workload,
    target: str,
    complete: bool,
    now: datetime,
) -> Status:
    pods = tuple(pod for pod in observed.pods if pod.revision == target)
    stable = status.stable
    # At zero replicas nothing has shown that the revision serves.
    if complete and desired.replicas and (stable is None or stable.revision != target):
        stable = Stable(target, now.replace(microsecond=0))
    facts = conditions.Facts(
        desired=desired,
        revision=target,
        workload=workload,
        pods=pods,
        strangers=strangers,
        failure=None if complete else failure(desired, workload, pods, observed.refused),
        complete=complete,
        taken_over=stable is not None and stable.revision == target,
    )
    return Status(
        observed_generation=identity.generation,
        phase="Idle" if facts.taken_over or complete else "Preparing",
        url=url(identity),
        revision=target,
        stable=stable,
        replicas=desired.replicas,
        conditions=conditions.stamp(
            (check(facts) for check in conditions.CHECKS),
            status.conditions,
            identity.generation,
            now,
            same_revision=status.revision == target,
        ),
    )


def rolled_over(desired: Desired, workload: Workload, pods: Iterable[Pod], target: str) -> bool:
    """Whether every wanted pod runs the target revision and is ready, and the controller has seen the latest."""
    return (
        workload.observed_generation >= workload.generation
        and workload.wanted == desired.replicas
        and workload.total == workload.updated == workload.available == desired.replicas
        and all(pod.revision == target for pod in pods if not pod.deleting)
    )


def happenings(before: Iterable[Condition], after: Iterable[Condition]) -> tuple[Happening, ...]:
    """What people should find in the Events: the model serves, stops serving, or something stands in its way.

    Nothing of a first look that finds nothing wrong; and one Event a reason, whose fullest words are Degraded's.
    """
    old = {condition.type: condition for condition in before}
    found: dict[str, Happening] = {}
    for condition in after:
        known = old.get(condition.type)
        good = condition.status == GOOD.get(condition.type)
        if condition.type not in GOOD or (known is None and condition.type != Type.DEGRADED):
            continue
        if known and (known.status, known.reason) == (condition.status, condition.reason):
            continue
        if condition.type == Type.PROGRESSING and not good:
            continue
        if known or not good:
            found[condition.reason] = Happening(not good, condition.reason, condition.message)
    return tuple(found.values())


GOOD: Mapping[str, Truth] = {Type.READY: Truth.TRUE, Type.PROGRESSING: Truth.FALSE, Type.DEGRADED: Truth.FALSE}
"""The conditions that make Events, and the status of each in which all is well."""
