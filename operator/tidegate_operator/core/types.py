"""The frozen values that the core thinks in.

Three groups, in the order in which data walks: what the owner wants (`Desired`), what
the cluster holds (`Observed`), and what should be done about the difference (`Plan`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from tidegate_contract.actions import Action, Outcome
from tidegate_contract.resolution import Card
from tidegate_contract.route import Route, Slot
from tidegate_contract.source import Source

Manifest = dict[str, Any]
"""A Kubernetes object as plain data."""

# ---------------------------------------------------------------- what the owner wants


@dataclass(frozen=True, slots=True)
class Owner:
    team: str = ""
    contact: str = ""
    runbook: str = ""


@dataclass(frozen=True, slots=True)
class Toleration:
    key: str
    operator: str
    value: str
    effect: str
    seconds: int | None


@dataclass(frozen=True, slots=True)
class Content:
    """Everything that can change an answer, and the keys that fetch it: what a revision keeps."""

    uri: str
    source: Source
    digest: str | None = None
    """Of the bundle's manifest; None only in a spec that does not say it, never in a revision."""
    image: str | None = None
    """Of the model server; None only in a spec that leaves it to the operator, never in a revision."""
    allow_pickle: bool = False
    requests: tuple[tuple[str, str], ...] = ()
    limits: tuple[tuple[str, str], ...] = ()
    timeout: float = 10.0
    """Seconds."""
    env: tuple[tuple[str, str], ...] = ()
    secret_name: str | None = None
    pull_secrets: tuple[str, ...] = ()
    tools: str | None = None
    """Image of the fetcher; None only where nothing is fetched, or before a revision is made."""


class Via(StrEnum):
    """How requests reach the pods."""

    ROUTER = "Router"
    """Through the routers of the namespace, which divide them between versions."""
    SERVICE = "Service"
    """Straight: a version takes over pod by pod."""


class Strategy(StrEnum):
    """How another version takes over, where there are routers."""

    AUTO = "Auto"
    """Step by step, as fast as its requests say that it does no harm."""
    CANARY = "Canary"
    """The same by steps that the owner gives."""
    BLUE_GREEN = "BlueGreen"
    """It stands beside stable in full, can be asked by name, and takes over whole when a person approves."""
    SHADOW = "Shadow"
    """It is sent copies of all requests, whose answers nobody sees, and takes over when a person approves."""
    IMMEDIATE = "Immediate"
    """As soon as it is ready."""


@dataclass(frozen=True, slots=True)
class Weight:
    """A step: so many of 100 requests."""

    percent: int


@dataclass(frozen=True, slots=True)
class Approval:
    """A step: a person has to agree before it goes on."""


RolloutStep = Weight | Approval


@dataclass(frozen=True, slots=True)
class Bake:
    """What follows when a version has taken over: the last one stays, to be compared with, and to go back to."""

    seconds: float
    holdback: int
    """Of 100 requests; 0: nothing is compared."""


class Overdue(StrEnum):
    """What becomes of a rollout that is not decided in time."""

    HOLD = "Hold"
    """It stays where it is until a person says something."""
    ROLLBACK = "Rollback"


@dataclass(frozen=True, slots=True)
class Deadline:
    seconds: float
    then: Overdue = Overdue.HOLD


@dataclass(frozen=True, slots=True)
class Tolerance:
    """So much worse a candidate may be than stable: shares of all requests."""

    errors: float = 0.01
    slow: float = 0.005


@dataclass(frozen=True, slots=True)
class Desired:
    """The spec, with its defaults filled in."""

    content: Content
    node_selector: tuple[tuple[str, str], ...] = ()
    tolerations: tuple[Toleration, ...] = ()
    replicas: int | None = None
    """None: as many as there are, 1 to begin with."""
    paused: bool = False
    retry_token: str = ""
    owner: Owner = Owner()
    via: Via = Via.SERVICE
    strategy: Strategy = Strategy.IMMEDIATE
    sticky: int = 0
    """Seconds for which a client stays with the version that chance gave it; 0: chance decides each time."""
    steps: tuple[RolloutStep, ...] = ()
    """What comes between a version's first pod and its taking over, in this order."""
    budget: int | None = None
    """So many answers a version that always fails may cost at first: the steps follow from it and from how many
    requests there are. None: they are the ones above."""
    tolerance: Tolerance = Tolerance()
    bake: Bake | None = None
    """None: whoever has taken over is alone at once."""
    deadline: Deadline | None = None


@dataclass(frozen=True, slots=True)
class Unusable:
    """A spec that the schema let pass and that means nothing."""

    message: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Which ModelDeployment this is about, and which generation of it."""

    namespace: str
    name: str
    uid: str
    generation: int


@dataclass(frozen=True, slots=True)
class Release:
    """What this release of the operator puts into pods where the owner says nothing."""

    server_image: str
    tools_image: str
    envoy_image: str = ""
    pull_policy: str = "IfNotPresent"
    bundle_max_bytes: int = 4 * 1024**3


# ---------------------------------------------------------------- what is kept of the past


class Role(StrEnum):
    """What a revision is to its model."""

    CANDIDATE = "Candidate"
    """It has not served alone: on its way, or left before it got there."""
    STABLE = "Stable"
    REJECTED = "Rejected"
    """Not to be served again until its content or the retry token changes."""
    SUPERSEDED = "Superseded"


@dataclass(frozen=True, slots=True)
class Count:
    """Requests of one version, and at how many of them it happened."""

    requests: int = 0
    events: int = 0


@dataclass(frozen=True, slots=True)
class Counted:
    """One signal of a trial: what was counted of both versions, and how much that is."""

    tried: Count = Count()
    against: Count = Count()
    harm: float = 0.0
    """ln of the evidence that it does harm."""
    proof: float = 0.0
    """ln of the evidence that it is no worse."""


@dataclass(frozen=True, slots=True)
class Limits:
    """So much evidence is enough: its logarithms."""

    harm: float
    proof: float


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a trial had counted at some moment, and how to find it in its record: every decision can be calculated
    from it again."""

    revision: str
    """The version under trial, which a decision need not be about."""
    against: str
    trial: int
    weight: int
    """Of 100 requests: the last that any router had."""
    errors: Counted
    slow: Counted
    limits: Limits
    entries: int
    """How many entries the record had."""
    open: tuple[str, ...] = ()
    """What was counted and not entered yet."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision: when, what, about which revision, by whom and why; and what a trial had counted until then."""

    at: datetime
    what: str
    revision: str
    by: str
    why: str
    numbers: Numbers | None = None
    """None where no trial was on."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a revision's time ended."""

    result: str
    reason: str
    at: datetime
    retry_token: str = ""
    """The token under which it was rejected: another one lets it try again."""


@dataclass(frozen=True, slots=True)
class Record:
    """What happened to a revision; the only part of a ModelRevision that changes."""

    role: Role
    since: datetime
    verdict: Verdict | None = None
    decisions: tuple[Decision, ...] = ()
    served: bool = False
    """Whether it has ever been stable; a rollback goes to nothing else by itself."""
    orphaned: datetime | None = None
    """When its ModelDeployment was first found gone; None while there is one."""


@dataclass(frozen=True, slots=True)
class Revision:
    """A ModelRevision: a version of a model, whole, so that it can be served again after everything else is gone."""

    name: str
    """Eight hex digits; the object is called `<model>-<name>`."""
    model: str
    content: Content
    request: str
    """The question whose answer its digest is: hash of address and retry token; empty if spec pinned it."""
    image_named: bool
    """Whether spec named the image; if not, it is what the operator's release gave when the revision was made."""
    card: Card
    record: Record
    uid: str | None = None
    """None: not in the cluster yet."""
    version: str | None = None
    """The resourceVersion that it was read at, or ABSENT."""
    labelled: bool = True
    """Whether it has the labels by which it is found."""
    deleting: bool = False


# ---------------------------------------------------------------- what the cluster holds


class Kind(StrEnum):
    """The kinds of children, in the order in which they are created."""

    SERVICE_ACCOUNT = "ServiceAccount"
    ROLE_BINDING = "RoleBinding"
    """Of the routers alone."""
    NETWORK_POLICY = "NetworkPolicy"
    SERVICE = "Service"
    JOB = "Job"
    DEPLOYMENT = "Deployment"
    POD_DISRUPTION_BUDGET = "PodDisruptionBudget"


Ref = tuple[Kind, str]
"""A child's kind and name."""

Named = tuple[str, str]
"""Kind and name of any object that is written."""
Refusals = Mapping[Named, str]
"""What the API server did not take when it was written last, and its words."""


@dataclass(frozen=True, slots=True)
class Child:
    """An object in the place of a child, ours or a stranger's."""

    kind: Kind
    name: str
    uid: str
    owner_uid: str | None
    """The uid of its controller; None if it has none."""
    applied: str | None
    """Hash of the intent that was applied last."""
    fields: bytes
    """Our entry of its managedFields, as JSON; empty if there is none."""
    deleting: bool = False
    ended: bool = False
    """A Job that has succeeded or given up."""
    succeeded_at: datetime | None = None
    """When a Job did."""
    podless_since: datetime | None = None
    """When the controller took up a Job that has never had a pod since."""
    others: tuple[tuple[str, bytes], ...] = ()
    """The other managers that hold something of its spec, and their entries."""


@dataclass(frozen=True, slots=True)
class Workload:
    """The numbers of a Deployment."""

    generation: int = 0
    observed_generation: int = 0
    wanted: int = 0
    """spec.replicas, as it stands in the cluster."""
    total: int = 0
    updated: int = 0
    available: int = 0
    refused: str = ""
    """Why the API server refuses its pods; empty if it does not."""


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a pod, init containers included."""

    name: str
    ready: bool = False
    waiting: str = ""
    """Reason why it does not start; empty if it does."""
    waiting_message: str = ""
    exit_code: int | None = None
    """Of the current or the last run; None if no run has ended."""
    exit_reason: str = ""
    exit_message: str = ""


@dataclass(frozen=True, slots=True)
class Pod:
    name: str
    revision: str
    """Of the model it serves; empty in a resolver's."""
    request: str = ""
    """What it resolves; empty in a server's."""
    ready: bool = False
    deleting: bool = False
    ended: bool = False
    """It runs no more and never will: evicted, say; it stays there until somebody tidies up."""
    unschedulable: str = ""
    """Why no node takes it; empty if one does."""
    containers: tuple[Container, ...] = ()


@dataclass(frozen=True, slots=True)
class Router:
    """What one router says of one model; one that does not know the model says nothing."""

    generation: int = 0
    pods: Mapping[Slot, int] = field(default_factory=dict)
    """Those that it knows."""
    leaving: int = 0
    """Requests that it has, or is about to have, at versions that are out of the route it runs."""
    refused: str = ""
    """Why it does not run the newest route; empty if it does, or will."""
    answers: bool = False
    """Stable has answered it by the model's own listener."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the requests of one trial say of its version, in the words that people read; empty where they say nothing.

    A trial is what a version's requests count for: a second one begins afresh.
    """

    revision: str
    """The version that is under trial."""
    trial: int
    saved: bool = False
    """Where it began is kept outside of this process, so that nothing of it is lost with it."""
    due: bool = False
    """It is time to keep what has come since."""
    heard: datetime | None = None
    """When both versions were last read from every router."""
    requests: int = 0
    """Those that chance gave to the version since it has the weight that it has."""
    suspicion: str = ""
    """What speaks against it, though it may be chance."""
    harm: str = ""
    """Why it has to go: no chance would look like that."""
    proof: str = ""
    """Why it may have all requests: it is no worse."""
    broken: str = ""
    """Why nothing can be proven: the routers do not divide as they should."""
    summary: str = ""
    """What has been counted."""
    needs: str = ""
    """What a proof still needs, about."""
    rate: float | None = None
    """Requests a second to both versions, when its trial began; None: not known yet."""
    needed: int | None = None
    """So many more requests of its own a proof needs, about; None: nobody can tell."""
    numbers: Numbers | None = None


@dataclass(frozen=True, slots=True)
class Observed:
    """One snapshot of everything that `decide` may know."""

    children: Mapping[Ref, Child] = field(default_factory=dict)
    workload: Workload | None = None
    """Of the Deployment that has the model's name: the one whose pods requests go to straight."""
    pods: tuple[Pod, ...] = ()
    revisions: tuple[Revision, ...] = ()
    action: Action | None = None
    """What a person asks for by annotation, as it is written."""
    refused: Refusals = field(default_factory=dict)
    versions: Mapping[str, Workload] = field(default_factory=dict)
    """By revision: the Deployments of single versions, to which requests come through routers."""
    routers: Mapping[str, Router | None] = field(default_factory=dict)
    """By uid: all that may have a request; None is one that does not answer."""
    reachable: int = 0
    """How many of these new requests reach: they are ready, and not about to end."""
    silent: int = 0
    """How many of these do not answer and should: one that just starts may not yet."""
    port: int | None = None
    """Of the model's listener, where it has no route yet; None as long as none was chosen."""
    no_routers: str = ""
    """Why the namespace's routers cannot be made; empty if they can."""
    evidence: Evidence | None = None
    """Of the trial that the status speaks of; None where there is none."""


# ---------------------------------------------------------------- what should be done


@dataclass(frozen=True, slots=True)
class Version:
    """A revision that has pods, or is to have."""

    revision: str
    content: Content | None
    """None: it is kept nowhere, so its pods can be neither made nor changed."""
    deployment: str
    """The name of their Deployment."""
    replicas: int | None
    """None: as many as there are."""
    held: bool = False
    """It stops in the middle of a rollover."""


class Truth(StrEnum):
    """The three values of a condition. Unknown is a value, not an error."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Condition:
    type: str
    status: Truth
    reason: str
    message: str
    observed_generation: int
    since: datetime
    """When `status` last changed, aware UTC, whole seconds."""


@dataclass(frozen=True, slots=True)
class Stable:
    """The revision that serves."""

    revision: str
    since: datetime


class Standing(StrEnum):
    """How a candidate stands."""

    TRIED = "Tried"
    """It goes on as its requests and people say."""
    SUSPECT = "Suspect"
    """Its requests have spoken against it once: it gets none until new pods of it are there for a second trial."""
    HELD = "Held"
    """Its time is over and nothing is decided: it stays where it is until a person says something."""
    INCONCLUSIVE = "Inconclusive"
    """Nothing was heard of its requests for too long: it gets none until something is."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """The revision that is to take over, and how far it is."""

    revision: str
    step: int
    """How many steps are behind it."""
    weight: int
    """Of 100 requests, as the route says."""
    since: datetime
    """When it began with the step that it is at."""
    began: datetime
    """When its rollout did."""
    reached: datetime | None = None
    """Since when every router sends it what its step says; None: not yet."""
    standing: Standing = Standing.TRIED
    strikes: int = 0
    """How often its requests have spoken against it."""
    trial: int = 1
    """Which trial it is in, or waits for the end of."""
    ramp: tuple[int, ...] = ()
    """The weights that were chosen for it; empty where its steps are the owner's, or nothing was chosen yet."""
    passed: bool = False
    """Its last step is behind it: by proof, or because a person said so. Fewer steps than before are no such thing."""


@dataclass(frozen=True, slots=True)
class Baking:
    """What has taken over is still compared with what it has taken over from."""

    revision: str
    """The version that was stable before."""
    since: datetime
    strikes: int = 0
    """Of what is stable now."""
    trial: int = 1
    began: datetime | None = None
    """When the rollout of what is stable now did."""


@dataclass(frozen=True, slots=True)
class NextCheck:
    """When a step will have seen enough, if requests go on as they did: what to expect, and no promise."""

    at: datetime
    requests: int
    """So many more of the candidate's own until then, about."""
    as_of: datetime
    """When that was calculated."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """The digest that an address without one was found to have."""

    request: str
    uri: str
    digest: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """A revision that is not to be served while spec has this retry token."""

    revision: str
    retry_token: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of the last action."""

    id: str
    verb: str
    outcome: Outcome
    message: str


@dataclass(frozen=True, slots=True)
class Status:
    """What is written to `/status`; an empty one before the first decision."""

    observed_generation: int = 0
    phase: str = ""
    url: str = ""
    revision: str = ""
    """What should serve: what spec asks for, unless that is rejected or the rollout is paused."""
    stable: Stable | None = None
    candidate: Candidate | None = None
    """None where nothing is to take over step by step."""
    baking: Baking | None = None
    """None where stable stands alone."""
    next_check: NextCheck | None = None
    """None where nobody can tell, or nothing is to come."""
    route: Route | None = None
    """None where there are no routers."""
    resolved: Resolved | None = None
    rejected: tuple[Rejected, ...] = ()
    paused: bool = False
    """By an action; `spec.rollout.paused` is the owner's own."""
    action: Answer | None = None
    decisions: tuple[Decision, ...] = ()
    replicas: int = 0
    selector: str = ""
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that people should find in the object's Events."""

    warning: bool
    reason: str
    message: str


ABSENT = "1"
"""A resourceVersion that no object can have: an apply that names it makes a new object or changes none."""


@dataclass(frozen=True, slots=True)
class Keep:
    """Make this ModelRevision, or bring its record up to date, if it is as it was read."""

    revision: Revision


@dataclass(frozen=True, slots=True)
class Forget:
    """Delete a ModelRevision, if it is as it was read."""

    name: str
    """Of the object."""
    uid: str | None
    version: str | None


@dataclass(frozen=True, slots=True)
class Apply:
    """Make this child look like that; `uid` is that of the object to change, None to create one."""

    kind: Kind
    manifest: Manifest
    uid: str | None
    version: str | None = None
    """ABSENT for a creation, else None: others may have changed what is not ours."""


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete a child, if it still is the one that was meant; None: whichever stands there."""

    kind: Kind
    name: str
    uid: str | None


@dataclass(frozen=True, slots=True)
class Scale:
    """Set the replicas of a Deployment; `uid` is that of the one that is meant."""

    name: str
    replicas: int
    uid: str | None


Write = Keep | Forget | Apply | Scale | Remove


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything to do in one pass: what to say, then the status, then the writes in their order."""

    happenings: tuple[Happening, ...] = ()
    status: Status | None = None
    """None: what stands there is right."""
    writes: tuple[Write, ...] = ()
    look_again: float | None = None
    """Seconds until the next look although no event came; None: no need."""
    moves: bool = False
    """It waits for what routers say."""
    saves: bool = False
    """What a trial has counted is to be kept."""
