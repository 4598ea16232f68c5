"""Small worlds for tests of the core: a model, its children as the API server would hold them, its pods."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tidegate_contract import labels
from tidegate_contract.source import OciSource
from tidegate_operator.core.children import children, seal
from tidegate_operator.core.revision import revision
from tidegate_operator.core.types import (
    Child,
    Container,
    Desired,
    Identity,
    Kind,
    Manifest,
    Observed,
    Pod,
    Release,
    Workload,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = datetime(2026, 1, 2, 3, 9, 5, tzinfo=UTC)

ME = Identity("ml", "flights", "uid-1", 1)
DIGEST = "sha256:" + "5" * 64
FLIGHTS = Desired(
    source=OciSource("registry.example/flights:1"),
    digest=DIGEST,
    requests=(("cpu", "250m"), ("memory", "512Mi")),
    limits=(("memory", "1Gi"),),
    replicas=2,
)
RELEASE = Release(server_image="registry.example/tidegate-server:1", tools_image="registry.example/tidegate-tools:1")


def fields_of(intent: Any) -> dict[str, Any]:
    """The fieldsV1 set that the API server keeps for an intent, every list taken as atomic."""
    if isinstance(intent, dict):
        return {f"f:{key}": fields_of(value) for key, value in intent.items()}
    return {}


def child(kind: Kind, manifest: Manifest, **changes: Any) -> Child:
    """A child as it stands right after it was applied."""
    sealed = seal(manifest)
    found = Child(
        kind=kind,
        name=manifest["metadata"]["name"],
        uid=f"{kind}-uid",
        owner_uid=manifest["metadata"]["ownerReferences"][0]["uid"],
        applied=sealed["metadata"]["annotations"][labels.APPLIED],
        fields=json.dumps(fields_of(sealed)).encode(),
    )
    return replace(found, **changes)


def pods(desired: Desired, count: int, *, ready: bool = True, prefix: str = "new", **changes: Any) -> tuple[Pod, ...]:
    found = revision(desired, RELEASE)
    return tuple(replace(Pod(f"{prefix}-{n}", found, ready=ready), **changes) for n in range(count))


def serving(desired: Desired = FLIGHTS, **changes: Any) -> Observed:
    """The world in which everything is as it should be."""
    n = desired.replicas
    found = Observed(
        children={kind: child(kind, manifest) for kind, manifest in children(ME, desired, RELEASE).items()},
        workload=Workload(generation=1, observed_generation=1, wanted=n, total=n, updated=n, available=n),
        pods=pods(desired, n),
    )
    return replace(found, **changes)


def failing(desired: Desired = FLIGHTS, *containers: Container, **changes: Any) -> Observed:
    """The world in which the first pods of a revision do not come up."""
    n = desired.replicas
    workload = Workload(generation=1, observed_generation=1, wanted=n, total=n, updated=n, available=0)
    found = pods(desired, n, ready=False, containers=containers)
    return serving(desired, workload=workload, pods=found, **changes)
