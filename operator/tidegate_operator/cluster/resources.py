"""What the operator reads of each kind of object, and where it finds it.

The structs name only the fields that are used; msgspec skips everything else, which is
most of every object. Spelling and defaults are the API's own.
"""

# ruff: noqa: N815 - the fields are spelled as in the API

import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec

from tidegate_cluster.resource import Metadata, Resource
from tidegate_contract import labels, names
from tidegate_contract.resolution import Card
from tidegate_operator.core.types import Kind, Numbers, Role

MANAGER = "tidegate-operator"
TRIALS_MANAGER = "tidegate-operator-trials"
"""Of a part of a ModelRevision that is written by itself: an apply of the one takes nothing away of the other."""
"""Our field manager."""
OURS = (MANAGER, "Apply", "")
"""Manager, operation and subresource of our entry among the managedFields of a child."""


class ManagedFields(msgspec.Struct):
    manager: str = ""
    operation: str = ""
    subresource: str = ""
    fieldsV1: msgspec.Raw = msgspec.Raw(b"")

    @property
    def is_ours(self) -> bool:
        return (self.manager, self.operation, self.subresource) == OURS

    @property
    def is_of_spec(self) -> bool:
        """Whether it holds something of the spec; what a subresource writes is status and replicas."""
        return not self.subresource and b'"f:spec":' in bytes(self.fieldsV1)

    def lean(self) -> "ManagedFields":
        """The same, sharing what is the same in others."""
        who = OURS if self.is_ours else (self.manager, self.operation, self.subresource)
        return ManagedFields(*who, msgspec.Raw(_one(bytes(self.fieldsV1))))


class ChildMetadata(Metadata):
    managedFields: list[ManagedFields] = msgspec.field(default_factory=list)
    """Our own entry, if there is one, and those of others that hold something of the spec."""

    def __post_init__(self) -> None:
        self.managedFields = [entry.lean() for entry in self.managedFields if entry.is_ours or entry.is_of_spec]


_OWNERS = re.compile(
    rb',"f:ownerReferences":{0}|"f:ownerReferences":{0},?'.replace(b"{0}", rb"\{(?:[^{}]|\{[^{}]*\})*\}")
)


def _one(fields: bytes) -> bytes:
    """The fields without the owner, whose key holds its uid: the rest is the same in a thousand models, and kept once.

    >>> _one(b'{"f:metadata":{"f:labels":{},"f:ownerReferences":{"k:{\\"uid\\":\\"1-2\\"}":{}}}}')
    b'{"f:metadata":{"f:labels":{}}}'
    """
    return _same(_OWNERS.sub(b"", fields))


@lru_cache(maxsize=1024)
def _same(fields: bytes) -> bytes:
    return fields


class Meta(msgspec.Struct):
    """An object of which only the metadata matters."""

    metadata: Metadata


class Child(msgspec.Struct):
    """A child of which nothing matters but that it is what we applied."""

    metadata: ChildMetadata


class DeploymentSpec(msgspec.Struct):
    replicas: int = 1


class ConditionBody(msgspec.Struct):
    type: str
    status: str = ""
    reason: str = ""
    message: str = ""
    lastTransitionTime: str | None = None
    """A time that was never set is a null."""


class DeploymentStatus(msgspec.Struct):
    observedGeneration: int = 0
    replicas: int = 0
    updatedReplicas: int = 0
    availableReplicas: int = 0
    conditions: list[ConditionBody] = []


class Deployment(msgspec.Struct):
    metadata: ChildMetadata
    spec: DeploymentSpec
    status: DeploymentStatus = msgspec.field(default_factory=DeploymentStatus)


class JobStatus(msgspec.Struct):
    conditions: list[ConditionBody] = []
    startTime: str | None = None
    completionTime: str | None = None
    active: int = 0
    failed: int = 0
    succeeded: int = 0


class Job(msgspec.Struct):
    metadata: ChildMetadata
    status: JobStatus = msgspec.field(default_factory=JobStatus)


class RevisionResources(msgspec.Struct):
    requests: dict[str, str] = {}
    limits: dict[str, str] = {}


class Variable(msgspec.Struct):
    name: str
    value: str = ""


class RevisionSpec(msgspec.Struct):
    model: str
    revision: str
    uri: str
    digest: str
    image: str
    request: str = ""
    imageNamed: bool = False
    allowPickle: bool = False
    tools: str = ""
    resources: RevisionResources = msgspec.field(default_factory=RevisionResources)
    timeoutSeconds: float = 10.0
    env: list[Variable] = []
    secretName: str = ""
    imagePullSecrets: list[str] = []
    card: Card = msgspec.field(default_factory=Card)


class DecisionBody(msgspec.Struct):
    at: datetime
    what: str
    revision: str = ""
    by: str = ""
    why: str = ""
    numbers: Numbers | None = None


class VerdictBody(msgspec.Struct):
    result: str
    at: datetime
    reason: str = ""
    retryToken: str = ""


class RecordBody(msgspec.Struct):
    role: Role
    since: datetime
    verdict: VerdictBody | None = None
    decisions: list[DecisionBody] = []
    served: bool = False
    orphaned: datetime | None = None


class ModelRevision(msgspec.Struct):
    metadata: Metadata
    spec: RevisionSpec
    record: RecordBody


class Waiting(msgspec.Struct):
    reason: str = ""
    message: str = ""


class Terminated(msgspec.Struct):
    exitCode: int = 0
    finishedAt: str | None = None
    reason: str = ""
    message: str = ""


class ContainerState(msgspec.Struct):
    waiting: Waiting | None = None
    terminated: Terminated | None = None


class ContainerStatus(msgspec.Struct):
    name: str
    ready: bool = False
    state: ContainerState = msgspec.field(default_factory=ContainerState)
    lastState: ContainerState = msgspec.field(default_factory=ContainerState)


class PodMetadata(Metadata):
    creationTimestamp: str = ""


class PodStatus(msgspec.Struct):
    phase: str = ""
    podIP: str = ""
    conditions: list[ConditionBody] = []
    initContainerStatuses: list[ContainerStatus] = []
    containerStatuses: list[ContainerStatus] = []


class Pod(msgspec.Struct):
    metadata: PodMetadata
    status: PodStatus = msgspec.field(default_factory=PodStatus)

    @property
    def may_have_requests(self) -> bool:
        """Of a router's: it runs, even if it is about to end."""
        return self.status.phase == "Running" and bool(self.status.podIP)


class Secret(msgspec.Struct):
    metadata: ChildMetadata
    data: dict[str, str] = {}
    """By name, in base64."""


class TrialBody(msgspec.Struct, frozen=True):
    """One trial of a version, as its ModelRevision keeps it."""

    number: int
    against: str
    kept: str


class Tried(msgspec.Struct):
    """A ModelRevision, as far as its trials go. No cache holds them: they are large."""

    metadata: Metadata
    trials: list[TrialBody] = []


AnyChild = Child | Deployment | Job


class ModelDeployment(msgspec.Struct):
    """The user's object; spec and status stay as they came, much smaller than as objects, and are read elsewhere."""

    metadata: Metadata
    spec: msgspec.Raw = msgspec.Raw(b"{}")
    status: msgspec.Raw = msgspec.Raw(b"{}")

    def __post_init__(self) -> None:
        self.spec, self.status = self.spec.copy(), self.status.copy()


def model(body: Mapping[str, Any]) -> ModelDeployment:
    """The user's object, as kopf hands it over."""
    kept = {name: body[name] for name in ("metadata", "spec", "status") if name in body}
    return msgspec.json.decode(msgspec.json.encode(kept), type=ModelDeployment)


MODELS = Resource(f"apis/{names.GROUP}/{names.VERSION}", names.PLURAL, ModelDeployment)
REVISIONS = Resource(f"apis/{names.GROUP}/{names.VERSION}", names.REVISION_PLURAL, ModelRevision)
PODS = Resource("api/v1", "pods", Pod)
EVENTS = Resource("api/v1", "events", Meta)
LEASES = Resource("apis/coordination.k8s.io/v1", "leases", Meta)
NAMESPACES = Resource("api/v1", "namespaces", Meta)
SECRETS = Resource("api/v1", "secrets", Secret)

CHILDREN: Mapping[Kind, Resource[Any]] = {
    Kind.SERVICE_ACCOUNT: Resource("api/v1", "serviceaccounts", Child),
    Kind.ROLE_BINDING: Resource("apis/rbac.authorization.k8s.io/v1", "rolebindings", Child),
    Kind.NETWORK_POLICY: Resource("apis/networking.k8s.io/v1", "networkpolicies", Child),
    Kind.SERVICE: Resource("api/v1", "services", Child),
    Kind.JOB: Resource("apis/batch/v1", "jobs", Job),
    Kind.DEPLOYMENT: Resource("apis/apps/v1", "deployments", Deployment),
    Kind.POD_DISRUPTION_BUDGET: Resource("apis/policy/v1", "poddisruptionbudgets", Child),
}

SELECTOR = labels.MODEL
"""Selects what has the label at all: every child, every pod of one, and what is of the routers, where it is empty."""
