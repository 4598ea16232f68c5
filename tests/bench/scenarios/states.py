"""The state that a story ends in, without what differs between two tellings of it: uids, times, addresses."""

import re
from typing import Any

from bench.scenarios.world import World
from plane.client import Object
from tidegate_contract import labels, names

UID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")
GIVEN = ("clusterIP", "clusterIPs", "nodePort")
"""What the API server gives as it likes."""
TOLD = ("decisions", "orphaned")
"""What tells the way and not the end: whether an edit came before or after a look, when a deletion was noticed."""
OTHERS = ("deployment.kubernetes.io/revision",)
"""Annotations of a controller that counts what it saw."""
KEPT = ("name", "namespace", "labels", "annotations", "ownerReferences")

State = dict[str, Object]
"""`PLURAL/NAME` to what is left of the object."""


def normal(value: Any) -> Any:
    """
    >>> normal({"since": "2031-01-01T00:00:00Z", "clusterIP": "10.0.0.1", "port": 80})
    {'since': 'TIME', 'port': 80}
    """
    if isinstance(value, dict):
        return {name: normal(part) for name, part in value.items() if name not in GIVEN + OTHERS + TOLD}
    if isinstance(value, list):
        return [normal(part) for part in value]
    if isinstance(value, str):
        return "UID" if UID.match(value) else "TIME" if TIME.match(value) else value
    return value


def stripped(found: Object, *, with_status: bool) -> Object:
    """What must be the same. The hash of what was applied covers the owner's uid, so only its presence counts."""
    metadata = {name: value for name, value in found["metadata"].items() if name in KEPT}
    if labels.APPLIED in metadata.get("annotations", {}):
        metadata = metadata | {"annotations": metadata["annotations"] | {labels.APPLIED: "HASH"}}
    rest = {name: value for name, value in found.items() if name not in ("metadata", "kind", "apiVersion", "status")}
    status = {"status": found.get("status")} if with_status else {}
    result: Object = normal({"metadata": metadata, **rest, **status})
    return result


async def state(world: World, namespace: str) -> State:
    """Everything of ours in a namespace. The status only of our own kinds: the others' is their controllers'."""
    models, children = await world.models(namespace), await world.children(namespace)
    # Of the revisions those that serve: whether one that was edited away at once was ever made depends on the moment.
    serving = {f"{model['metadata']['name']}-{model.get('status', {}).get('revision')}" for model in models}
    revisions = [item for item in children[names.REVISION_PLURAL] if item["metadata"]["name"] in serving]
    found = {names.PLURAL: models} | children | {names.REVISION_PLURAL: revisions}
    return {
        f"{plural}/{item['metadata']['name']}": stripped(item, with_status=plural.startswith("model"))
        for plural, items in found.items()
        for item in items
    }


async def orphans(world: World, namespace: str) -> list[str]:
    """Children whose owner does not exist. Revisions have none, on purpose: they outlive their model by a day."""
    alive = {item["metadata"]["uid"] for item in await world.models(namespace)}
    return [
        f"{plural}/{item['metadata']['name']}"
        for plural, items in (await world.children(namespace)).items()
        for item in items
        if plural != names.REVISION_PLURAL
        and not any(owner["uid"] in alive for owner in item["metadata"].get("ownerReferences", []))
    ]


def differences(wanted: State, found: State) -> list[str]:
    """One line for each object that is not the same, with the first place where it differs."""
    lines = [f"{name} is missing" for name in sorted(wanted.keys() - found.keys())]
    lines += [f"{name} is too much" for name in sorted(found.keys() - wanted.keys())]
    for name in sorted(wanted.keys() & found.keys()):
        if wanted[name] != found[name]:
            lines.append(f"{name} differs at {_where(wanted[name], found[name])}")
    return lines


def _where(wanted: Any, found: Any, path: str = "") -> str:
    if isinstance(wanted, dict) and isinstance(found, dict):
        for name in sorted(wanted.keys() | found.keys()):
            if wanted.get(name) != found.get(name):
                return _where(wanted.get(name), found.get(name), f"{path}.{name}")
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for number, (one, other) in enumerate(zip(wanted, found, strict=True)):
            if one != other:
                return _where(one, other, f"{path}[{number}]")
    return f"{path}: {str(wanted)[:80]!r} against {str(found)[:80]!r}"
