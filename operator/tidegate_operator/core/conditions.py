"""The conditions: an ordered list of small pure checks over one snapshot, each giving truth, reason and message.

To add a condition, write one more function and put it into `CHECKS`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from tidegate_operator.core.failures import Failure
from tidegate_operator.core.reasons import ABOUT_THE_ARTIFACT, FAILURE_REASONS, Reason, Type
from tidegate_operator.core.sources import describe
from tidegate_operator.core.types import Child, Condition, Desired, Kind, Pod, Truth, Workload

MESSAGE_LIMIT = 4096
"""Characters that the schema allows a message."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the checks look at; everything is about the revision that spec asks for."""

    desired: Desired
    revision: str
    workload: Workload
    pods: tuple[Pod, ...]
    """The pods of that revision."""
    strangers: tuple[Child, ...]
    failure: Failure | None
    complete: bool
    """Every wanted pod runs that revision and is ready, and no other pod is left."""
    taken_over: bool
    """That has been so at least once, whatever happened to its pods since."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One condition, before the time of its last transition is known."""

    type: Type
    status: Truth
    reason: str
    message: str


def ready(facts: Facts) -> Finding:
    """Whether a request gets an answer, from a pod of ours, by way of a Service of ours."""
    if any(stranger.kind in (Kind.SERVICE, Kind.DEPLOYMENT) for stranger in facts.strangers):
        return Finding(Type.READY, Truth.FALSE, Reason.FOREIGN_OBJECT, _strangers(facts.strangers))
    if facts.workload.available:
        return Finding(Type.READY, Truth.TRUE, Reason.SERVING, "the model answers")
    if facts.desired.replicas == 0 and facts.complete:
        return Finding(Type.READY, Truth.TRUE, Reason.SCALED_TO_ZERO, "spec.scaling.replicas is 0: nothing serves")
    if facts.failure:
        return Finding(Type.READY, Truth.FALSE, facts.failure.reason, facts.failure.message)
    return Finding(Type.READY, Truth.FALSE, Reason.NO_READY_POD, "no pod is ready yet")


def progressing(facts: Facts) -> Finding:
    """Whether the operator is on its way."""
    if facts.complete:
        return Finding(Type.PROGRESSING, Truth.FALSE, Reason.COMPLETE, f"revision {facts.revision} has taken over")
    if facts.failure or facts.strangers:
        return Finding(
            Type.PROGRESSING,
            Truth.TRUE,
            Reason.BLOCKED,
            "the cause that Degraded names must go first; the rest follows by itself",
        )
    if facts.taken_over:
        return Finding(
            Type.PROGRESSING, Truth.TRUE, Reason.AWAITING_PODS, f"waiting for all {facts.desired.replicas} pods"
        )
    return Finding(
        Type.PROGRESSING, Truth.TRUE, Reason.ROLLING_OVER, f"revision {facts.revision} is taking over pod by pod"
    )


def degraded(facts: Facts) -> Finding:
    """Whether something stands in the way, and what to do about it."""
    if facts.strangers:
        return Finding(Type.DEGRADED, Truth.TRUE, Reason.FOREIGN_OBJECT, _strangers(facts.strangers))
    if not facts.failure:
        return Finding(Type.DEGRADED, Truth.FALSE, Reason.AS_EXPECTED, "nothing is known to stand in the way")
    said, owner = facts.failure.message, facts.desired.owner
    if owner.team or owner.contact:
        said = f"{said.rstrip('.')}. Owner: {' '.join(filter(None, (owner.team, owner.contact)))}"
    if owner.runbook:
        said = f"{said.rstrip('.')}. Runbook: {owner.runbook}"
    return Finding(Type.DEGRADED, Truth.TRUE, facts.failure.reason, said)


def artifact_available(facts: Facts) -> Finding:
    """Whether the bundle's bytes are there and are the right ones."""
    where = describe(facts.desired.source)
    if facts.failure and facts.failure.reason in ABOUT_THE_ARTIFACT:
        return Finding(Type.ARTIFACT_AVAILABLE, Truth.FALSE, facts.failure.reason, facts.failure.message)
    read = facts.taken_over or any(pod.ready for pod in facts.pods)
    if not read and not (facts.failure and _verified_before(facts.failure)):
        return Finding(Type.ARTIFACT_AVAILABLE, Truth.UNKNOWN, Reason.PENDING, f"no pod has read {where} yet")
    if facts.desired.digest is None:
        return Finding(
            Type.ARTIFACT_AVAILABLE,
            Truth.TRUE,
            Reason.UNPINNED,
            f"{where} was read and is whole, but spec.model.digest is not set: other bytes there would be served too",
        )
    return Finding(
        Type.ARTIFACT_AVAILABLE,
        Truth.TRUE,
        Reason.VERIFIED,
        f"{where} was read and has the digest {facts.desired.digest}",
    )


def _verified_before(failure: Failure) -> bool:
    """Failures that a server can only report once it has verified every byte."""
    return failure.reason in ("LoadFailed", "GoldenMismatch")


def name_conflict(facts: Facts) -> Finding:
    """Whether an object of somebody else has a name that we need; it is never touched."""
    if facts.strangers:
        return Finding(Type.NAME_CONFLICT, Truth.TRUE, Reason.FOREIGN_OBJECT, _strangers(facts.strangers))
    return Finding(Type.NAME_CONFLICT, Truth.FALSE, Reason.NO_CONFLICT, "all names are free or ours")


def _strangers(strangers: tuple[Child, ...]) -> str:
    found = ", ".join(f"{stranger.kind} {stranger.name}" for stranger in strangers)
    return f"{found} exists and does not belong to this ModelDeployment: delete it, or give the model another name"


Check = Callable[[Facts], Finding]

CHECKS: tuple[Check, ...] = (ready, progressing, degraded, artifact_available, name_conflict)


def stamp(
    findings: Iterable[Finding], before: Iterable[Condition], generation: int, now: datetime, *, same_revision: bool
) -> tuple[Condition, ...]:
    """The findings as conditions.

    The time of a transition moves only when the status does. While the same revision of
    the same spec fails for the same reason its first message stays: the kubelet's words
    about one cause differ from try to try, and each would be one more write.
    """
    old = {condition.type: condition for condition in before}

    def condition(finding: Finding) -> Condition:
        message, since = finding.message[:MESSAGE_LIMIT], now.replace(microsecond=0)
        known = old.get(finding.type)
        if known is not None and known.status == finding.status:
            since = known.since
            repeated = same_revision and known.observed_generation == generation and known.reason == finding.reason
            if repeated and finding.reason in FAILURE_REASONS:
                message = known.message
        return Condition(finding.type, finding.status, finding.reason, message, generation, since)

    return tuple(condition(finding) for finding in findings)
