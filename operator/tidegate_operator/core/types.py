"""The frozen values that the core thinks in.

Three groups, in the order in which data walks: what the owner wants (`Desired`), what
the cluster holds (`Observed`), and what should be done about the difference (`Plan`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

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
class Desired:
    """The spec, with its defaults filled in."""

    source: Source
    digest: str | None = None
    secret_name: str | None = None
    allow_pickle: bool = False
    image: str | None = None
    requests: tuple[tuple[str, str], ...] = ()
    limits: tuple[tuple[str, str], ...] = ()
    timeout: float = 10.0
    """Seconds."""
    node_selector: tuple[tuple[str, str], ...] = ()
    tolerations: tuple[Toleration, ...] = ()
    pull_secrets: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    replicas: int = 1
    owner: Owner = Owner()


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
    pull_policy: str = "IfNotPresent"
    bundle_max_bytes: int = 4 * 1024**3


# ---------------------------------------------------------------- what the cluster holds


class Kind(StrEnum):
    """The kinds of children, in the order in which they are created."""

    SERVICE_ACCOUNT = "ServiceAccount"
    NETWORK_POLICY = "NetworkPolicy"
    SERVICE = "Service"
    DEPLOYMENT = "Deployment"
    POD_DISRUPTION_BUDGET = "PodDisruptionBudget"


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


@dataclass(frozen=True, slots=True)
class Workload:
    """The numbers of the model's Deployment."""

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
    ready: bool = False
    deleting: bool = False
    unschedulable: str = ""
    """Why no node takes it; empty if one does."""
    containers: tuple[Container, ...] = ()


@dataclass(frozen=True, slots=True)
class Observed:
    """One snapshot of everything that `decide` may know."""

    children: Mapping[Kind, Child] = field(default_factory=dict)
    workload: Workload | None = None
    pods: tuple[Pod, ...] = ()
    refused: Mapping[Kind, str] = field(default_factory=dict)
    """Children that the API server did not take when they were applied last, and its words."""


# ---------------------------------------------------------------- what should be done


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


@dataclass(frozen=True, slots=True)
class Status:
    """What is written to `/status`; an empty one before the first decision."""

    observed_generation: int = 0
    phase: str = ""
    url: str = ""
    revision: str = ""
    stable: Stable | None = None
    replicas: int = 0
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that people should find in the object's Events."""

    warning: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Apply:
    """Make this child look like that; `uid` is that of the object to change, None to create one."""

    kind: Kind
    manifest: Manifest
    uid: str | None


@dataclass(frozen=True, slots=True)
class Remove:
    kind: Kind
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Scale:
    """Set the replicas of the model's Deployment."""

    name: str
    replicas: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything to do in one pass, in the order of the fields."""

    happenings: tuple[Happening, ...] = ()
    status: Status | None = None
    """None: what stands there is right."""
    applies: tuple[Apply, ...] = ()
    scale: Scale | None = None
    removes: tuple[Remove, ...] = ()
    look_again: float | None = None
    """Seconds until the next look although no event came; None: no need."""
