"""Whether a child still is what we applied, and nothing but that, found without a call.

The API server keeps, for every manager, the set of fields that it applied last. Whoever
changes a value of ours takes the field out of our set; a write of the same value does
not. So a child is intact if the hash of what was applied is the hash of what we want,
and every leaf of what we want is still in our set. Values are never compared, so
defaults and spellings (1000m is stored as 1) cannot raise a false alarm.

What others add is in their sets and not in ours. An apply cannot take it away, so it is
told and not repaired.
"""

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from tidegate_contract import labels
from tidegate_operator.core.types import Child, Identity, Manifest

_NOT_IN_FIELDS = ("apiVersion", "kind")
_NOT_IN_METADATA = ("name", "namespace", "ownerReferences", "uid")
"""Identity is never in the set; the owner's key holds its uid and is compared by hand."""
_EXPECTED = ("spec.replicas", "spec.template.metadata.annotations.kubectl.kubernetes.io/restartedAt")
"""What others may set: autoscalers, and `kubectl rollout restart`."""
_FILLED_IN = frozenset(
    {
        "f:creationTimestamp",
        "f:dnsPolicy",
        "f:restartPolicy",
        "f:schedulerName",
        "f:serviceAccount",
        "f:successThreshold",
    }
)
"""The API server gives these to every Deployment: who writes a whole one back, as from a backup, owns them too."""


def intact(child: Child, sealed: Manifest, identity: Identity | None) -> bool:
    """Whether nothing of what `sealed` says has been changed by anybody. `identity`: its controller, if it has one."""
    return (
        is_latest(child, sealed)
        and child.owner_uid == (identity.uid if identity else None)
        and bool(child.fields)
        and holds(_comparable(sealed), _parsed(child.fields))
    )


def is_latest(child: Child, sealed: Manifest) -> bool:
    """Whether this very intent was applied last, whatever others have made of it since."""
    latest: bool = child.applied == sealed["metadata"]["annotations"][labels.APPLIED]
    return latest


def _comparable(manifest: Manifest) -> Manifest:
    metadata = {key: value for key, value in manifest["metadata"].items() if key not in _NOT_IN_METADATA}
    return {key: value for key, value in manifest.items() if key not in _NOT_IN_FIELDS} | {"metadata": metadata}


def holds(intent: Any, fields: dict[str, Any]) -> bool:
    """Whether every leaf of `intent` is in `fields`, a fieldsV1 set.

    An empty set under a key means that the key is ours as a whole: a leaf, or an atomic list or map.

    >>> holds({"spec": {"replicas": 1}}, {"f:spec": {"f:replicas": {}}})
    True
    >>> holds({"spec": {"replicas": 1}}, {"f:spec": {}})
    True
    >>> holds({"spec": {"replicas": 1}}, {"f:spec": {"f:paused": {}}})
    False
    >>> holds([{"name": "a", "image": "x"}], {'k:{"name":"a"}': {".": {}, "f:name": {}, "f:image": {}}})
    True
    """
    if not fields:
        return True
    if isinstance(intent, dict):
        return all(
            (found := fields.get(f"f:{key}")) is not None and holds(value, found) for key, value in intent.items()
        )
    if isinstance(intent, list):
        return all(_item_held(item, fields) for item in intent)
    return True


@lru_cache(maxsize=1024)
def _parsed(text: str | bytes) -> Any:
    """JSON, parsed once: the fields of a thousand models are the same."""
    return json.loads(text)


def _item_held(item: Any, fields: dict[str, Any]) -> bool:
    for key, found in fields.items():
        if key.startswith("k:") and isinstance(item, dict):
            wanted = _parsed(key[2:])
            # A key field that the intent leaves to a default (a port's protocol) matches any value.
            if all(item.get(name, value) == value for name, value in wanted.items()):
                return holds(item, found)
        elif key.startswith("v:") and _parsed(key[2:]) == item:
            return True
    return False


def additions(child: Child, sealed: Manifest | None) -> tuple[tuple[str, str], ...]:
    """What others have added to the spec of a child of ours: who, and the path of what.

    A field that `sealed` names is no addition, whoever holds it at the moment: it is about to be put back.
    None of a child without a field of ours: it is applied anew first.
    """
    ours = _parsed(child.fields) if child.fields else {}
    if "f:spec" not in ours:
        return ()
    intent = (sealed or {}).get("spec")
    found = {
        (manager, path): None
        for manager, fields in child.others
        for path in beyond(_parsed(fields).get("f:spec", {}), ours["f:spec"], intent, "spec")
    }
    return tuple(found)


def beyond(theirs: dict[str, Any], ours: dict[str, Any], intent: Any, path: str) -> Iterator[str]:
    """The highest paths of one fieldsV1 set that neither another one nor an intent has, but for what anybody may set.

    >>> list(beyond({"f:paused": {}, "f:replicas": {}, "f:selector": {}}, {"f:selector": {}}, None, "spec"))
    ['spec.paused']
    >>> list(beyond({'k:{"name":"debug"}': {".": {}, "f:image": {}}}, {'k:{"name":"server"}': {}}, None, "containers"))
    ['containers[debug]']
    >>> list(beyond({"f:image": {}, "f:tty": {}}, {}, {"image": "a"}, "server"))
    ['server.tty']
    """
    for key, below in theirs.items():
        at = path + _as_text(key)
        if key == "." or key in _FILLED_IN or at in _EXPECTED:
            continue
        wanted = _part(intent, key)
        if key not in ours and wanted is None:
            if not below or any(beyond(below, {}, None, at)):
                yield at
        elif ours.get(key) or isinstance(wanted, dict | list):
            yield from beyond(below, ours.get(key, {}), wanted, at)


def _part(intent: Any, key: str) -> Any:
    """What an intent says under a key of a fieldsV1 set; None if it says nothing there."""
    if isinstance(intent, dict):
        return intent.get(key.removeprefix("f:"))
    if isinstance(intent, list) and key.startswith("k:"):
        return next((item for item in intent if _item_held(item, {key: {}})), None)
    return None


def _as_text(key: str) -> str:
    """A key of a fieldsV1 set, as people write it in a path."""
    if key.startswith("k:"):
        return f"[{','.join(map(str, _parsed(key[2:]).values()))}]"
    if key.startswith("v:"):
        return f"[{_parsed(key[2:])}]"
    return f".{key.removeprefix('f:')}"
