"""Small worlds for tests of the core: a model, its revisions and children as the API server holds them, its pods."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tidegate_contract import labels
from tidegate_contract.resolution import Card
from tidegate_contract.source import OciSource
from tidegate_operator.core.children import children, seal
from tidegate_operator.core.revision import Asked, name_of
from tidegate_operator.core.types import (
    Child,
    Container,
    Content,
    Desired,
    Identity,
    Kind,
    Manifest,
    Observed,
    Pod,
    Record,
    Ref,
    Release,
    Revision,
    Role,
    Version,
    Workload,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = datetime(2026, 1, 2, 3, 9, 5, tzinfo=UTC)

ME = Identity("ml", "flights", "uid-1", 1)
DIGEST = "sha256:" + "5" * 64
URI = "oci://registry.example/flights:1"
FLIGHTS = Desired(
    content=Content(
        uri=URI,
        source=OciSource("registry.example/flights:1"),
        digest=DIGEST,
        requests=(("cpu", "250m"), ("memory", "512Mi")),
        limits=(("memory", "1Gi"),),
    ),
    replicas=2,
)
RELEASE = Release(server_image="registry.example/tidegate-server:1", tools_image="registry.example/tidegate-tools:1")


def asking(desired: Desired = FLIGHTS, **changes: Any) -> Desired:
    """The same spec with another content."""
    return replace(desired, content=replace(desired.content, **changes))


def in_force(desired: Desired = FLIGHTS) -> Content:
    """What a revision of this spec would keep, made by this release."""
    content = desired.content
    return replace(content, image=content.image or RELEASE.server_image, tools=RELEASE.tools_image)


def name(desired: Desired = FLIGHTS) -> str:
    return name_of(in_force(desired))


def recorded(role: Role, since: datetime = NOW, *more: Any, **changes: Any) -> Record:
    """A record of a revision that has come to its role in the usual way: what is or was stable has served."""
    return replace(Record(role, since, *more), **{"served": role in (Role.STABLE, Role.SUPERSEDED), **changes})


def kept(desired: Desired = FLIGHTS, role: Role = Role.STABLE, **changes: Any) -> Revision:
    """The ModelRevision of a spec, as it stands in the cluster."""
    content = in_force(desired)
    found = Revision(
        name_of(content), ME.name, content, "", False, Card(), recorded(role), uid=f"{name_of(content)}-uid"
    )
    return replace(found, **changes)


def asked_for(desired: Desired = FLIGHTS) -> Asked:
    """What a spec that names its digest asks for, while nothing of it is kept."""
    return Asked(
        request="", content=in_force(desired), image_named=desired.content.image is not None, name=name(desired)
    )


def wanted(desired: Desired = FLIGHTS) -> dict[Ref, Manifest]:
    """The children of a spec that is served."""
    return straight(desired, in_force(desired), None)


def straight(
    desired: Desired, content: Content | None, resolve: Content | None, count: int | None = None
) -> dict[Ref, Manifest]:
    """The children of a model whose requests go to the pods of one version straight."""
    count = replicas(desired) if count is None else count
    versions = (Version(name_of(content), content, ME.name, count),) if content else ()
    return children(ME, desired, versions, resolve, count, RELEASE)


def replicas(desired: Desired) -> int:
    return 1 if desired.replicas is None else desired.replicas


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
    return tuple(replace(Pod(f"{prefix}-{n}", name(desired), ready=ready), **changes) for n in range(count))


def serving(desired: Desired = FLIGHTS, **changes: Any) -> Observed:
    """The world in which everything is as it should be."""
    n = replicas(desired)
    found = Observed(
        children={ref: child(ref[0], manifest) for ref, manifest in wanted(desired).items()},
        workload=Workload(generation=1, observed_generation=1, wanted=n, total=n, updated=n, available=n),
        pods=pods(desired, n),
        revisions=(kept(desired),),
    )
    return replace(found, **changes)


def failing(desired: Desired = FLIGHTS, *containers: Container, **changes: Any) -> Observed:
    """The world in which the first pods of a revision do not come up."""
    n = replicas(desired)
    workload = Workload(generation=1, observed_generation=1, wanted=n, total=n, updated=n, available=0)
    found = pods(desired, n, ready=False, containers=containers)
    return serving(desired, workload=workload, pods=found, **changes)
