"""The conditions: an ordered list of small pure checks over one snapshot, each giving truth, reason and message.

To add a condition, write one more function and put it into `CHECKS`.
"""

import json
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tidegate_operator.core import patch
from tidegate_operator.core.choice import Choice
from tidegate_operator.core.failures import Failure
from tidegate_operator.core.reasons import ABOUT_THE_ARTIFACT, FAILURE_REASONS, Reason, Type
from tidegate_operator.core.revision import Asked
from tidegate_operator.core.rollout import Way
from tidegate_operator.core.sources import describe
from tidegate_operator.core.trial import duration
from tidegate_operator.core.types import (
    Approval,
    Candidate,
    Child,
    Condition,
    Content,
    Desired,
    Identity,
    Kind,
    Pod,
    Standing,
    Strategy,
    Truth,
    Via,
    Weight,
    Workload,
)

MESSAGE_LIMIT = 4096
"""Characters that the schema allows a message."""
PATCH_LIMIT = 3500
"""Characters of a patch that leave room for the words around it."""
ADDITIONS_LIMIT = 5
"""How many additions to the Deployment a message names; each is up to a few hundred characters."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the checks look at."""

    identity: Identity
    desired: Desired
    asked: Asked
    """The revision that spec asks for."""
    choice: Choice
    """The one that should serve."""
    way: Way
    """Where requests go."""
    replicas: int
    workload: Workload
    """Of the Deployment of the revision that should serve."""
    answers: Truth
    """Whether a request gets an answer."""
    pods: tuple[Pod, ...]
    """The pods of the revision that should serve."""
    routers: int
    """How many may have a request."""
    silent: int
    """How many of them do not answer the operator and should."""
    strangers: tuple[Child, ...]
    failure: Failure | None
    complete: bool
    """Every wanted pod runs the revision that should serve and is ready, and no other pod is left."""
    taken_over: bool
    """That has been so at least once, whatever happened to its pods since."""
    asked_served: bool
    """What spec asks for has served at some time."""
    additions: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    """Who has added what, by the name of the Deployment."""

    @property
    def waits_for_digest(self) -> bool:
        return not self.asked.name and not self.choice.paused

    @property
    def goes_back(self) -> bool:
        rejected = self.choice.rejected and self.choice.target != self.asked.name
        return rejected and not self.complete and not (self.taken_over and self.way.arrived)

    @property
    def routed(self) -> bool:
        return self.desired.via is Via.ROUTER

    @property
    def awaits_approval(self) -> Candidate | None:
        """The candidate, if every router sends it what its last step says, and a person has to agree to the next."""
        candidate, steps = self.choice.status.candidate, self.desired.steps
        at = steps[candidate.step] if candidate and candidate.step < len(steps) else None
        return candidate if isinstance(at, Approval) and not self.way.waits else None

    @property
    def revision_missing(self) -> bool:
        return self.choice.target != "" and self.choice.content is None


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
    if facts.answers is Truth.TRUE:
        return Finding(Type.READY, Truth.TRUE, Reason.SERVING, "the model answers")
    if facts.replicas == 0 and not facts.failure:
        return Finding(Type.READY, Truth.TRUE, Reason.SCALED_TO_ZERO, "spec.scaling.replicas is 0: nothing serves")
    if facts.failure:
        return Finding(Type.READY, Truth.FALSE, facts.failure.reason, facts.failure.message)
    if facts.answers is Truth.UNKNOWN:
        said = "no router says how it goes; what they have been told last, they go on doing"
        return Finding(Type.READY, Truth.UNKNOWN, Reason.ROUTERS_SILENT, said)
    if facts.workload.available:
        return Finding(Type.READY, Truth.FALSE, Reason.AWAITING_ROUTERS, "no router knows a pod yet")
    return Finding(Type.READY, Truth.FALSE, Reason.NO_READY_POD, "no pod is ready yet")


def progressing(facts: Facts) -> Finding:
    """Whether the operator is on its way."""

    def on_its_way(reason: Reason, message: str) -> Finding:
        return Finding(Type.PROGRESSING, Truth.TRUE, reason, message)

    name = facts.choice.target
    if facts.failure or facts.strangers or facts.revision_missing:
        return on_its_way(Reason.BLOCKED, "the cause that Degraded names must go first; the rest follows by itself")
    if facts.choice.paused and not (facts.complete and facts.asked.name == name) and not facts.goes_back:
        return Finding(Type.PROGRESSING, Truth.FALSE, Reason.PAUSED, _paused(facts))
    if facts.waits_for_digest:
        return on_its_way(Reason.RESOLVING, f"reading the digest of {describe(facts.desired.content.source)}")
    if facts.complete:
        return Finding(Type.PROGRESSING, Truth.FALSE, Reason.COMPLETE, f"revision {name} has taken over")
    if facts.goes_back and facts.routed:
        return on_its_way(Reason.ROLLING_BACK, f"going back to revision {name}{_waits(facts)}")
    if facts.goes_back:
        return on_its_way(Reason.ROLLING_BACK, f"going back to revision {name} pod by pod")
    if (candidate := facts.awaits_approval) is not None:
        return Finding(Type.PROGRESSING, Truth.FALSE, Reason.AWAITING_APPROVAL, _awaits(facts, candidate))
    if facts.routed and not facts.routers:
        return on_its_way(Reason.AWAITING_ROUTERS, "the routers of the namespace are being made")
    if (tried := _tried(facts)) is not None:
        return tried
    if facts.routed and not facts.way.arrived:
        return on_its_way(Reason.SHIFTING, f"revision {name} is taking over{_waits(facts)}")
    if facts.routed and facts.workload.available >= facts.replicas:
        return on_its_way(Reason.AWAITING_ROUTERS, f"waiting for every router to know the pods of revision {name}")
    if facts.routed:
        return on_its_way(Reason.AWAITING_PODS, f"waiting for all {facts.replicas} pods")
    if facts.taken_over:
        return on_its_way(Reason.AWAITING_PODS, f"waiting for all {facts.replicas} pods")
    return on_its_way(Reason.ROLLING_OVER, f"revision {name} is taking over pod by pod")


def _tried(facts: Facts) -> Finding | None:
    """How the trial of a version stands; None where it waits for something else first."""
    candidate, baking, bake = facts.choice.status.candidate, facts.choice.status.baking, facts.desired.bake
    if baking is not None and bake is not None:
        said = (
            f"revision {facts.choice.target} has taken over; {baking.revision} keeps {bake.holdback} of 100 requests, "
            f"to be compared with, for {duration(bake.seconds)} since {baking.since:%H:%M:%S}, twice as long at most "
            "while something speaks against the new one or nothing is heard"
        )
        return Finding(Type.PROGRESSING, Truth.TRUE, Reason.BAKING, said)
    if candidate is None:
        return None
    again = f"`tidegate promote {facts.identity.name} -n {facts.identity.namespace}` gives it all, `tidegate abort`"
    match candidate.standing:
        case Standing.SUSPECT:
            said = f"revision {candidate.revision} has no requests until new pods of it are tried{_waits(facts)}"
            return Finding(Type.PROGRESSING, Truth.TRUE, Reason.SUSPECTED, said)
        case Standing.HELD:
            said = f"revision {candidate.revision} has {candidate.weight} of 100 requests and its time is over: {again}"
            return Finding(Type.PROGRESSING, Truth.FALSE, Reason.HELD, f"{said} takes it back")
        case Standing.INCONCLUSIVE:
            said = f"nothing is heard of the requests of revision {candidate.revision}: it has none until something is"
            return Finding(Type.PROGRESSING, Truth.TRUE, Reason.INCONCLUSIVE, said)
    if candidate.reached is None:
        return None
    at = f"step {candidate.step + 1} of {len(facts.desired.steps)}"
    said = f"{at}: revision {candidate.revision} has {candidate.weight} of 100 requests, and they decide how it goes on"
    return Finding(Type.PROGRESSING, Truth.TRUE, Reason.GATHERING, said)


def _waits(facts: Facts) -> str:
    return f": {facts.way.waits}" if facts.way.waits else ""


def _awaits(facts: Facts, candidate: Candidate) -> str:
    """Where the rollout stands, and how it goes on."""
    steps, me = facts.desired.steps, facts.identity
    has = f"has {candidate.weight} of 100 requests" if candidate.weight else "is ready and has no requests yet"
    if facts.desired.strategy is Strategy.SHADOW:
        has = "is sent copies of all requests"
    later = [each.percent for each in steps[candidate.step :] if isinstance(each, Weight)]
    goes_on = f"gives it {later[0]}" if later else "gives it all"
    return (
        f"step {candidate.step + 1} of {len(steps)}: revision {candidate.revision} {has}; "
        f"`tidegate approve {me.name} -n {me.namespace}` {goes_on}, `tidegate abort` takes it back"
    )


def _paused(facts: Facts) -> str:
    """Who holds it, and what to do to go on."""
    if facts.desired.paused:
        return "spec.rollout.paused is true: no other version takes over until it is false"
    return f"paused by a person: `tidegate resume {facts.identity.name} -n {facts.identity.namespace}` goes on"


def degraded(facts: Facts) -> Finding:
    """Whether something stands in the way, and what to do about it."""
    if facts.strangers:
        return Finding(Type.DEGRADED, Truth.TRUE, Reason.FOREIGN_OBJECT, _strangers(facts.strangers))
    if facts.revision_missing:
        name = f"{facts.identity.name}-{facts.choice.target}"
        return Finding(
            Type.DEGRADED,
            Truth.TRUE,
            Reason.REVISION_MISSING,
            f"ModelRevision {name} is gone, so its pods cannot be made again; what runs is left running: restore it "
            "from a backup, or give spec another version",
        )
    if not facts.failure:
        return Finding(Type.DEGRADED, Truth.FALSE, Reason.AS_EXPECTED, "nothing is known to stand in the way")
    said, owner = facts.failure.message, facts.desired.owner
    if owner.team or owner.contact:
        said = f"{said.rstrip('.')}. Owner: {' '.join(filter(None, (owner.team, owner.contact)))}"
    if owner.runbook:
        said = f"{said.rstrip('.')}. Runbook: {owner.runbook}"
    return Finding(Type.DEGRADED, Truth.TRUE, facts.failure.reason, said)


def artifact_available(facts: Facts) -> Finding:
    """Whether the bytes that spec asks for are there and are the right ones."""
    content = facts.asked.content
    where = describe(content.source)
    if facts.failure and facts.failure.reason in ABOUT_THE_ARTIFACT:
        return Finding(Type.ARTIFACT_AVAILABLE, Truth.FALSE, facts.failure.reason, facts.failure.message)
    in_force = facts.asked.name == facts.choice.target
    ready = in_force and (facts.taken_over or any(pod.ready for pod in facts.pods))
    read = ready or facts.asked_served or (facts.asked.request and not in_force)
    if not content.digest or not (read or (facts.failure and _verified_before(facts.failure))):
        return Finding(Type.ARTIFACT_AVAILABLE, Truth.UNKNOWN, Reason.PENDING, f"no pod has read {where} yet")
    return Finding(
        Type.ARTIFACT_AVAILABLE, Truth.TRUE, Reason.VERIFIED, f"{where} was read and has the digest {content.digest}"
    )


def _verified_before(failure: Failure) -> bool:
    """Failures that a server can only report once it has verified every byte."""
    return failure.reason in ("LoadFailed", "GoldenMismatch")


def spec_in_sync(facts: Facts) -> Finding:
    """Whether what serves, or is on its way, is what spec asks for; if not, the patch that would say what serves."""
    choice = facts.choice
    if not facts.asked.name:
        reason = Reason.PAUSED if choice.paused else Reason.RESOLVING
        return Finding(Type.SPEC_IN_SYNC, Truth.UNKNOWN, reason, "the digest of what spec asks for is not known yet")
    if facts.asked.name == choice.target and choice.rejected:
        said = f"revision {choice.target} was rejected, and there is no other to go back to: give spec another version"
        return Finding(Type.SPEC_IN_SYNC, Truth.FALSE, Reason.REVISION_REJECTED, said)
    if facts.asked.name == choice.target:
        return Finding(Type.SPEC_IN_SYNC, Truth.TRUE, Reason.IN_SYNC, f"spec asks for revision {choice.target}")
    instead = f"revision {choice.target} should serve" if choice.target else "none should serve yet"
    said = f"spec asks for revision {facts.asked.name}, {instead}"
    reason = Reason.REVISION_REJECTED if choice.rejected else Reason.PAUSED
    because = "it was rejected" if choice.rejected else _paused(facts)
    if choice.content:
        because = f"{because}. To say in spec what serves: {_command(facts.identity, choice.content, facts.desired)}"
    return Finding(Type.SPEC_IN_SYNC, Truth.FALSE, reason, f"{said}: {because}")


def _command(identity: Identity, content: Content, desired: Desired) -> str:
    change = json.dumps(patch.to(content, desired.content), separators=(",", ":"))
    if len(change) > PATCH_LIMIT:
        return (
            f"take it from `tidegate history {identity.name} -n {identity.namespace} -o json`, it is too long for here"
        )
    return f"kubectl patch mdep {identity.name} -n {identity.namespace} --type=merge -p {shlex.quote(change)}"


def name_conflict(facts: Facts) -> Finding:
    """Whether an object of somebody else has a name that we need; it is never touched."""
    if facts.strangers:
        return Finding(Type.NAME_CONFLICT, Truth.TRUE, Reason.FOREIGN_OBJECT, _strangers(facts.strangers))
    return Finding(Type.NAME_CONFLICT, Truth.FALSE, Reason.NO_CONFLICT, "all names are free or ours")


def _strangers(strangers: tuple[Child, ...]) -> str:
    found = ", ".join(f"{stranger.kind} {stranger.name}" for stranger in strangers)
    return f"{found} exists and does not belong to this ModelDeployment: delete it, or give the model another name"


def deployment_altered(facts: Facts) -> Finding:
    """Whether the pods hold something that no revision knows of. An apply takes nothing away that others have added."""
    altered = next((name for name, found in facts.additions.items() if found), "")
    if not altered:
        return Finding(Type.DEPLOYMENT_ALTERED, Truth.FALSE, Reason.AS_MADE, "the Deployment is as it was made")
    additions = facts.additions[altered]
    named = [f"{path} (by {manager})" for manager, path in additions[:ADDITIONS_LIMIT]]
    if more := len(additions) - len(named):
        named.append(f"and {more} more")
    edit = f"`kubectl edit deployment {altered} -n {facts.identity.namespace}`"
    said = f"others have added {', '.join(named)}: it belongs to no revision and stays until it is taken out: {edit}"
    return Finding(Type.DEPLOYMENT_ALTERED, Truth.TRUE, Reason.ADDED_BY_OTHERS, said)


def metrics_available(facts: Facts) -> Finding | None:
    """Whether every router says how it goes; without that no version gets more requests."""
    if not facts.routed or not facts.routers:
        return None
    if not facts.silent:
        return Finding(Type.METRICS_AVAILABLE, Truth.TRUE, Reason.ALL_ANSWER, "every router says how it goes")
    said = f"{facts.silent} of {facts.routers} routers do not answer the operator: what they serve they go on serving"
    return Finding(Type.METRICS_AVAILABLE, Truth.FALSE, Reason.ROUTERS_SILENT, f"{said}, and no version gets more")


Check = Callable[[Facts], Finding | None]

CHECKS: tuple[Check, ...] = (
    ready,
    progressing,
    degraded,
    artifact_available,
    spec_in_sync,
    name_conflict,
    deployment_altered,
    metrics_available,
)


def stamp(
    findings: Iterable[Finding | None],
    before: Iterable[Condition],
    generation: int,
    now: datetime,
    *,
    same_revision: bool,
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

    return tuple(condition(finding) for finding in findings if finding)
