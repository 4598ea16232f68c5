"""The few specs, revisions and releases that the worlds are made of, as the core sees them."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache

import worlds
from tidegate_contract import labels, names
from tidegate_contract.resolution import Card, Resolution, encode
from tidegate_operator.core.look import Found
from tidegate_operator.core.revision import name_of, request_of
from tidegate_operator.core.types import (
    Child,
    Container,
    Content,
    Desired,
    Identity,
    Kind,
    Pod,
    Record,
    Release,
    Revision,
    Role,
    Unusable,
    Verdict,
    Workload,
)
from verify.values import Kept, Kid, Model, Numbers, Pods, Spec, record_of

NAMESPACE = "ml"
DIGESTS = {"A": "sha256:" + "a" * 64, "B": "sha256:" + "b" * 64, "C": "sha256:" + "c" * 64}
TAGGED = (DIGESTS["A"], DIGESTS["B"])
"""What the address without a digest stands for, before and after its tag is moved."""
RELEASES = (
    worlds.RELEASE,
    Release(server_image="registry.example/tidegate-server:2", tools_image="registry.example/tidegate-tools:2"),
)
TAG, WRONG = "tag", "wrong"
"""The versions that are no letter: an address without a digest, and a spec that means nothing."""


def now(day: int) -> datetime:
    return worlds.NOW + timedelta(days=day)


@cache
def desired(spec: Spec) -> Desired | Unusable:
    if spec.version == WRONG:
        return Unusable("it means nothing")
    found = worlds.asking(digest=DIGESTS.get(spec.version))
    return replace(found, replicas=spec.replicas, paused=spec.paused, retry_token=spec.token)


def content(version: str, release: int = 0) -> Content:
    """What a revision of this version keeps; of a tag, what it stands for at first."""
    digest = DIGESTS.get(version, TAGGED[0])
    made_by = RELEASES[release]
    return replace(worlds.FLIGHTS.content, digest=digest, image=made_by.server_image, tools=made_by.tools_image)


def revision(version: str) -> str:
    return name_of(content(version))


def kept(name: str, version: str, role: Role, *, token: str = "", decided: str = "", days: int = 0) -> Kept:
    """A ModelRevision as the operator would have made it, `days` ago."""
    when = worlds.NOW - timedelta(days=days)
    verdict = Verdict(str(role), decided, when, token) if role == Role.REJECTED else None
    found = Revision(
        name=revision(version),
        model=name,
        content=content(version),
        request="",
        image_named=False,
        card=Card(),
        record=Record(role, when, verdict, served=role in (Role.STABLE, Role.SUPERSEDED)),
    )
    return Kept(found.name, 0, record_of(found))


VERSIONS: dict[Kept, str] = {}


def version_of(kept: Kept) -> str:
    """A resourceVersion that says what the object says: the same for the same, another for anything else."""
    return VERSIONS.setdefault(kept.but(uid=0), str(len(VERSIONS) + 10))


def core_revision(kept: Kept) -> Revision:
    """As `convert.revision` makes it."""
    return replace(kept.record.value, uid=str(kept.uid), deleting=kept.deleting, version=version_of(kept))


def request(spec: Spec) -> str:
    found = desired(spec)
    return request_of(found) if isinstance(found, Desired) else ""


def identity(name: str, model: Model) -> Identity:
    return Identity(NAMESPACE, name, str(model.uid), model.generation)


@cache
def child(kid: Kid) -> Child:
    """As `convert.child` makes it."""
    kind, name = kid.ref
    if kid.manifest is None:
        return Child(kind, name, str(kid.uid), None, None, b"", kid.deleting, kid.ended)
    manifest = kid.manifest.value
    fields = worlds.fields_of(manifest)
    if kid.hurt:
        del fields["f:metadata"]["f:labels"]
    applied = manifest["metadata"]["annotations"][labels.APPLIED]
    return Child(kind, name, str(kid.uid), kid.owner, applied, json.dumps(fields).encode(), kid.deleting, kid.ended)


def workload(numbers: Numbers) -> Workload:
    return Workload(
        generation=2,
        observed_generation=2 if numbers.seen else 1,
        wanted=numbers.wanted,
        total=numbers.total,
        updated=numbers.updated,
        available=numbers.available,
    )


def found(kid: Kid) -> Found:
    return Found(child(kid), workload(kid.numbers) if kid.numbers else None)


@cache
def pods(of: Pods) -> tuple[Pod, ...]:
    serving = [
        Pod(f"{revision}-{number}", revision, ready=number < ready)
        for revision, ready, unready in of.serving
        for number in range(ready + unready)
    ]
    resolving = [
        Pod(f"resolve-{request}", "", request, containers=(resolver(digest),)) for request, digest in of.resolving
    ]
    return (*serving, *resolving)


def resolver(digest: str) -> Container:
    if not digest:
        return Container(names.RESOLVE_CONTAINER)
    return Container(names.RESOLVE_CONTAINER, exit_code=0, exit_message=encode(Resolution(digest)))


def template_of(kid: Kid) -> str:
    """The revision that a Deployment's pods are to serve; empty if it is a stranger's."""
    if kid.manifest is None or kid.ref[0] != Kind.DEPLOYMENT:
        return ""
    found: str = kid.manifest.value["spec"]["template"]["metadata"]["labels"][labels.REVISION]
    return found
