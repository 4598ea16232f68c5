"""Drift is seen exactly when a field of ours has left our set; defaults and other managers raise no alarm."""

import json
from typing import Any

import pytest

from tidegate_contract import labels
from tidegate_operator.core import drift
from tidegate_operator.core.types import Child, Identity, Kind

ME = Identity("ml", "flights", "uid-1", 1)

INTENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {
        "name": "flights",
        "namespace": "ml",
        "labels": {labels.MODEL: "flights"},
        "annotations": {labels.APPLIED: "h1"},
        "ownerReferences": [{"uid": "uid-1"}],
    },
    "spec": {"template": {"spec": {"containers": [{"name": "server", "image": "a", "args": ["x", "y"]}]}}},
}


def fields() -> dict[str, Any]:
    container: dict[str, Any] = {".": {}, "f:name": {}, "f:image": {}, "f:args": {}}
    return {
        "f:metadata": {
            "f:labels": {f"f:{labels.MODEL}": {}},
            "f:annotations": {f"f:{labels.APPLIED}": {}},
            "f:ownerReferences": {'k:{"uid":"uid-1"}': {}},
        },
        "f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"server"}': container}}}},
    }


def child(found: dict[str, Any] | None, **changes: Any) -> Child:
    values = {
        "kind": Kind.DEPLOYMENT,
        "name": "flights",
        "uid": "d1",
        "owner_uid": "uid-1",
        "applied": "h1",
        "fields": json.dumps(found).encode() if found is not None else b"",
    }
    return Child(**(values | changes))


def without(path: list[str], found: dict[str, Any] | None = None) -> dict[str, Any]:
    """The set after somebody took a field; the server drops a parent with its last child."""
    first, *rest = path
    left = dict(fields() if found is None else found)
    inner = without(rest, left[first]) if rest else {}
    if inner:
        return left | {first: inner}
    del left[first]
    return left


SERVER = 'k:{"name":"server"}'


def spec_with(**template: Any) -> dict[str, Any]:
    """An entry that holds these fields of the pod template's spec."""
    return {"f:spec": {"f:template": {"f:spec": {f"f:{key}": value for key, value in template.items()}}}}


RESTARTED: dict[str, Any] = {"f:annotations": {".": {}, "f:kubectl.kubernetes.io/restartedAt": {}}}
EVERYTHING = spec_with(
    containers={SERVER: {".": {}, "f:name": {}, "f:image": {}, "f:readinessProbe": {"f:successThreshold": {}}}},
    dnsPolicy={},
    restartPolicy={},
    schedulerName={},
    serviceAccount={},
)


@pytest.mark.parametrize(
    ("entry", "paths"),
    [
        pytest.param(spec_with(hostNetwork={}), ["hostNetwork"], id="the node's network"),
        pytest.param(
            spec_with(containers={'k:{"name":"debug"}': {".": {}, "f:name": {}, "f:image": {}}}),
            ["containers[debug]"],
            id="a container, named as a whole",
        ),
        pytest.param(
            spec_with(containers={SERVER: {"f:env": {'k:{"name":"DEBUG"}': {".": {}, "f:name": {}, "f:value": {}}}}}),
            ["containers[server].env"],
            id="a variable, of a container that has none of ours",
        ),
        pytest.param(
            spec_with(containers={SERVER: {"f:securityContext": {"f:runAsUser": {}}}}),
            ["containers[server].securityContext"],
            id="the user",
        ),
        pytest.param(spec_with(containers={SERVER: {"f:image": {}}}), [], id="a value that is ours as well"),
        pytest.param(EVERYTHING, [], id="the whole object as the API server gave it"),
    ],
)
def test_what_only_others_hold_is_an_addition(entry: dict[str, Any], paths: list[str]) -> None:
    found = child(fields(), others=(("kubectl-edit", json.dumps(entry).encode()),))
    assert drift.additions(found, INTENT) == tuple(("kubectl-edit", f"spec.template.spec.{path}") for path in paths)
    assert drift.intact(found, INTENT, ME)


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param({"f:spec": {"f:replicas": {}}}, id="an autoscaler"),
        pytest.param({"f:spec": {"f:template": {"f:metadata": RESTARTED}}}, id="kubectl rollout restart"),
        pytest.param({"f:metadata": {"f:annotations": {"f:spec": {}}}}, id="an annotation that is called spec"),
    ],
)
def test_what_anybody_may_set_is_no_addition(entry: dict[str, Any]) -> None:
    assert drift.additions(child(fields(), others=(("kubectl", json.dumps(entry).encode()),)), INTENT) == ()


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(spec_with(containers={SERVER: {"f:image": {}}}), id="kubectl set image"),
        pytest.param(spec_with(containers={SERVER: {"f:args": {}}}), id="an atomic list of ours"),
        pytest.param(
            spec_with(containers={SERVER: {".": {}, "f:name": {}, "f:image": {}}}), id="the container replaced"
        ),
    ],
)
def test_a_field_of_ours_that_somebody_took_is_put_back_and_no_addition(entry: dict[str, Any]) -> None:
    found = child(without(CONTAINER), others=(("kubectl", json.dumps(entry).encode()),))
    assert drift.additions(found, INTENT) == ()
    assert not drift.intact(found, INTENT, ME)


def test_of_a_child_without_our_fields_nothing_is_said() -> None:
    """It is about to be applied again; until then everything in it is somebody else's."""
    others = (("before-first-apply", json.dumps(fields()).encode()),)
    assert drift.additions(child(None, others=others), INTENT) == ()


CONTAINER = ["f:spec", "f:template", "f:spec", "f:containers", SERVER]


def test_what_was_applied_and_left_alone_is_intact() -> None:
    assert drift.intact(child(fields()), INTENT, ME)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param([*CONTAINER, "f:image"], id="kubectl set image"),
        pytest.param([*CONTAINER, "f:args"], id="kubectl edit of an argument"),
        pytest.param(CONTAINER, id="the container replaced"),
        pytest.param(["f:metadata", "f:labels", f"f:{labels.MODEL}"], id="our label removed"),
        pytest.param(["f:metadata", "f:annotations"], id="our annotations removed"),
    ],
)
def test_a_field_that_left_our_set_is_drift(path: list[str]) -> None:
    assert not drift.intact(child(without(path)), INTENT, ME)


@pytest.mark.parametrize(
    ("found", "changes"),
    [
        pytest.param(fields(), {"applied": "h0"}, id="another intent was applied"),
        pytest.param(fields(), {"applied": None}, id="nothing was applied"),
        pytest.param(fields(), {"owner_uid": "uid-2"}, id="another owner"),
        pytest.param(None, {}, id="managedFields stripped"),
    ],
)
def test_what_is_not_ours_any_more_is_drift(found: dict[str, Any] | None, changes: dict[str, Any]) -> None:
    assert not drift.intact(child(found, **changes), INTENT, ME)


def test_an_atomic_list_is_ours_as_a_whole() -> None:
    assert drift.holds({"args": ["a", "b"]}, {"f:args": {}})


def test_a_set_must_hold_each_value() -> None:
    assert drift.holds({"finalizers": ["a"]}, {"f:finalizers": {'v:"a"': {}}})
    assert not drift.holds({"finalizers": ["a", "b"]}, {"f:finalizers": {'v:"a"': {}}})


def test_a_key_that_the_server_completed_still_matches() -> None:
    """A port's protocol is part of its key even where we leave it to the default."""
    found: dict[str, Any] = {"f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}}}
    assert drift.holds({"ports": [{"containerPort": 80}]}, found)
