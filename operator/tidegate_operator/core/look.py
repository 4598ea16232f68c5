"""One look, step by step, without a network: a generator that says what to read and what to write.

Whoever drives it carries each step out and sends the answer back: the operator over
HTTP, `make verify` in a world of its own. So the order of the steps, what is read afresh
before it, and what happens when it fails are the same in both.
"""

from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from tidegate_contract import labels
from tidegate_contract.names import REVISION_KIND
from tidegate_operator.core import records
from tidegate_operator.core.children import revision_in
from tidegate_operator.core.decide import decide, invalid
from tidegate_operator.core.guards import ALL, Guard, Guards
from tidegate_operator.core.router import NAME as ROUTER_NAME
from tidegate_operator.core.types import (
    Apply,
    Child,
    Desired,
    Forget,
    Happening,
    Identity,
    Keep,
    Kind,
    Named,
    Observed,
    Plan,
    Refusals,
    Release,
    Remove,
    Revision,
    Scale,
    Status,
    Unusable,
    Workload,
    Write,
)


@dataclass(frozen=True, slots=True)
class Known:
    """What the caches know of one model."""

    identity: Identity
    version: str
    """The resourceVersion that `status` was read at."""
    desired: Desired | Unusable
    status: Status
    observed: Observed
    release: Release
    now: datetime


@dataclass(frozen=True, slots=True)
class ReadModel:
    """Is there a ModelDeployment of this name? Answered by its `Fresh`, or None."""

    name: str


@dataclass(frozen=True, slots=True)
class Fresh:
    uid: str
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class ReadChild:
    """What stands at this name? Answered by `Found`, or None."""

    kind: Kind
    name: str


@dataclass(frozen=True, slots=True)
class ReadRevision:
    """Which ModelRevision has this name? Answered by a `core.Revision`, or None."""

    name: str
    """Of the object."""


@dataclass(frozen=True, slots=True)
class Found:
    child: Child
    workload: Workload | None = None
    """The numbers, of a Deployment."""


@dataclass(frozen=True, slots=True)
class Tell:
    """Post an Event. Nothing depends on it."""

    happening: Happening


@dataclass(frozen=True, slots=True)
class WriteStatus:
    """Write `/status`, if the object still is at that version; None: whatever it is at."""

    status: Status
    version: str | None


@dataclass(frozen=True, slots=True)
class Together:
    """Writes of which none waits for another: at once, or in any order. Answered by the tuple of their answers."""

    steps: tuple[WriteStatus | Write, ...]


@dataclass(frozen=True, slots=True)
class ReadRouters:
    """Which routers may have a request now? Answered by the set of their uids."""


@dataclass(frozen=True, slots=True)
class ReadPorts:
    """Which ports have the listeners of the namespace? Answered by them, by the name of the model."""


@dataclass(frozen=True, slots=True)
class GivePort:
    """This is the port of that model's listener from now on; its status says so after the model's next look."""

    name: str
    uid: str
    port: int


@dataclass(frozen=True, slots=True)
class Secure:
    """See to it that the routers have the token by which they know the operator, in a Secret that goes with these."""

    owners: tuple[Identity, ...]


@dataclass(frozen=True, slots=True)
class Evict:
    """End a pod, if it still is the one that was meant and its budget allows it."""

    name: str
    uid: str | None


@dataclass(frozen=True, slots=True)
class Save:
    """Keep what the requests of the trial have said so far."""


EVIDENCE: Named = (REVISION_KIND, "its trials")
"""What is said to be refused where they cannot be kept."""

Step = (
    ReadModel
    | ReadChild
    | ReadRevision
    | ReadRouters
    | ReadPorts
    | Tell
    | Together
    | WriteStatus
    | GivePort
    | Save
    | Secure
    | Evict
    | Write
)
Steps = Generator[Step, Any, "Looked"]


@dataclass(frozen=True, slots=True)
class Looked:
    """How a look ended."""

    refused: Refusals
    """What the API server did not take, and its words: the answers to `Apply` and `Keep` that are not None."""
    look_again: float | None = None
    moves: bool = False
    """The model waits for what its routers say."""
    trouble: str = ""
    """Of a namespace: why its routers cannot be made as they should be; empty if they can."""


def look(known: Known, guards: Guards = ALL) -> Steps:
    """Bring the cluster one pass nearer to what the object says."""
    observed, plan = known.observed, plan_for(known, known.observed, guards)
    if creations(plan):
        # What the caches lack is read afresh: only the API server knows whether a name is free, and only it knows
        # whether the object that wants the child still exists.
        fresh = yield ReadModel(known.identity.name)
        if not guards.holds(Guard.OWNER_LIVES, fresh == Fresh(known.identity.uid)):
            return Looked({})
    asked: set[ReadChild | ReadRevision] = set()
    while not guards.holds(Guard.NAME_FREE, not (unread := creations(plan) - asked)):
        for read in sorted(unread, key=repr):
            observed = with_found(observed, (yield read), known.identity)
        asked |= unread
        plan = plan_for(known, observed, guards)  # what was found may call for more
    if ends_a_version(plan) or leads_to_routers(plan, known.identity):
        # A router that the caches do not show yet may have a request there, or would get one and know no pod.
        unknown = (yield ReadRouters()) - observed.routers.keys()
        if not guards.holds(Guard.ROUTERS_KNOWN, not unknown):
            observed = replace(observed, routers={**observed.routers, **dict.fromkeys(unknown)})
            plan = plan_for(known, observed, guards)
    for happening in plan.happenings:
        yield Tell(happening)
    said = () if plan.status is None else (WriteStatus(plan.status, guards.keep(Guard.STATUS_VERSION, known.version)),)
    keeps = tuple(sent(write, guards) for write in plan.writes if isinstance(write, Keep))
    answers = (yield Together((*said, *keeps))) if said or keeps else ()
    refused = {about(keep): words for keep, words in zip(keeps, answers[len(said) :], strict=True) if words}
    for write in plan.writes:
        if isinstance(write, Keep):
            continue
        words = yield sent(write, guards)
        refused |= {about(write): words} if words else {}
    words = (yield Save()) if plan.saves else None
    refused |= {EVIDENCE: words} if words else {}
    return Looked(refused, plan.look_again, plan.moves)


def ends_a_version(plan: Plan) -> bool:
    """Whether it takes away the pods of a version that routers have known."""
    return any(isinstance(write, Remove) and write.kind == Kind.DEPLOYMENT for write in plan.writes)


def leads_to_routers(plan: Plan, identity: Identity) -> bool:
    """Whether it sends the model's requests to them, which it did not until now."""
    address = (Kind.SERVICE, identity.name)
    applied = (write.manifest for write in plan.writes if isinstance(write, Apply) and about(write) == address)
    return any(manifest["spec"]["selector"].get(labels.COMPONENT) == labels.ROUTER for manifest in applied)


def plan_for(known: Known, observed: Observed, guards: Guards) -> Plan:
    if isinstance(known.desired, Unusable):
        return invalid(known.identity, known.desired.message, known.status, observed, known.now, guards)
    return decide(known.identity, known.desired, known.status, observed, known.release, known.now, guards)


def creations(plan: Plan) -> set[ReadChild | ReadRevision]:
    """The questions whether the names are free of what a plan would make."""
    return {
        ReadChild(write.kind, write.manifest["metadata"]["name"])
        for write in plan.writes
        if isinstance(write, Apply) and write.uid is None
    } | {
        ReadRevision(records.object_name(write.revision.model, write.revision.name))
        for write in plan.writes
        if isinstance(write, Keep) and write.revision.uid is None
    }


def about(write: Write | Secure | Save) -> Named:
    """What is written."""
    match write:
        case Save():
            return EVIDENCE
        case Secure():
            return "Secret", ROUTER_NAME
        case Apply(kind=kind, manifest=manifest):
            return kind, manifest["metadata"]["name"]
        case Keep(revision=revision):
            return REVISION_KIND, records.object_name(revision.model, revision.name)
        case Scale(name=name):
            return Kind.DEPLOYMENT, name
        case Remove(kind=kind, name=name):
            return kind, name
        case Forget(name=name):
            return REVISION_KIND, name


def with_found(observed: Observed, found: Found | Revision | None, identity: Identity) -> Observed:
    match found:
        case Revision():
            return replace(observed, revisions=(*observed.revisions, found))
        case Found(child=child):
            children = {**observed.children, (child.kind, child.name): child}
            observed = replace(observed, children=children)
            if found.workload and child.name == identity.name:
                return replace(observed, workload=found.workload)
            if found.workload:
                revision = revision_in(child.name, identity.name)
                return replace(observed, versions={**observed.versions, revision: found.workload})
    return observed


def sent(write: Write, guards: Guards) -> Write:
    """A write with the preconditions that go along with it."""
    match write:
        case Apply(uid=None):
            return replace(write, version=guards.keep(Guard.ONLY_IF_ABSENT, write.version))
        case Apply():
            return replace(write, uid=guards.keep(Guard.UPDATE_UID, write.uid))
        case Keep(revision=Revision(uid=None) as revision):
            return Keep(replace(revision, version=guards.keep(Guard.ONLY_IF_ABSENT, revision.version)))
        case Keep(revision=revision):
            # The version alone would not do: on an object that is gone it is no precondition, and makes it again.
            uid, version = guards.keep(Guard.UPDATE_UID, revision.uid), revision.version
            return Keep(replace(revision, uid=uid, version=guards.keep(Guard.RECORD_VERSION, version)))
        case Forget(uid=uid, version=version):
            version = guards.keep(Guard.RECORD_VERSION, version)
            return replace(write, uid=guards.keep(Guard.DELETE_UID, uid), version=version)
        case Remove(uid=uid):
            return replace(write, uid=guards.keep(Guard.DELETE_UID, uid))
        case Scale(uid=uid):
            return replace(write, uid=guards.keep(Guard.UPDATE_UID, uid))


def look_around(revisions: Iterable[Revision], now: datetime, guards: Guards = ALL) -> Steps:
    """The pass of a namespace: what becomes of the revisions of models that the caches do not show."""
    by_model: dict[str, list[Revision]] = {}
    for revision in revisions:
        by_model.setdefault(revision.model, []).append(revision)
    for model, found in by_model.items():
        writes = tuple(records.orphaned(found, now, guards))
        if not writes:
            continue  # they are marked, and their day is not over
        fresh = yield ReadModel(model)
        if guards.holds(Guard.MODEL_GONE, fresh is None):
            for write in writes:
                yield sent(write, guards)
    return Looked({})
