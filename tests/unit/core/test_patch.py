"""The patch that would put Git back in step: merged into the spec for real, it makes what serves what spec asks for."""

import copy
from typing import Any

import pytest

from tidegate_contract.resolution import Card
from tidegate_operator.api.v1alpha1 import parse
from tidegate_operator.core import patch
from tidegate_operator.core.choice import choose
from tidegate_operator.core.guards import ALL
from tidegate_operator.core.revision import asked, name_of
from tidegate_operator.core.types import Content, Observed, Record, Rejected, Resolved, Revision, Role, Stable, Status
from worlds import NOW, RELEASE

FIRST, SECOND = ("sha256:" + digit * 64 for digit in "12")
SPEC: dict[str, Any] = {
    "model": {"uri": "oci://registry.example/flights:1", "digest": FIRST},
    "server": {
        "image": "server:1",
        "resources": {"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}},
        "slo": {"timeout": "10s"},
        "template": {"env": [{"name": "A", "value": "b"}], "imagePullSecrets": [{"name": "pull"}]},
    },
    "rollout": {"retryToken": "t"},
}
"""As the API server stores it, with the defaults filled in."""


def merged(target: Any, change: Any) -> Any:
    """RFC 7386, to the letter of its pseudo code."""
    if not isinstance(change, dict):
        return change
    found = dict(target) if isinstance(target, dict) else {}
    for name, value in change.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = merged(found.get(name), value)
    return found


def test_the_merge_is_that_of_the_rfc() -> None:
    target = {"a": "b", "c": {"d": "e", "f": "g"}, "l": [1, 2]}
    assert merged(target, {"a": "z", "c": {"f": None}, "l": [3]}) == {"a": "z", "c": {"d": "e"}, "l": [3]}


def changed(path: str, value: Any) -> dict[str, Any]:
    """The spec with one field set; None takes it out."""
    found = copy.deepcopy(SPEC)
    *parents, last = path.split(".")
    inner = found
    for parent in parents:
        inner = inner.setdefault(parent, {})
    if value is None:
        inner.pop(last, None)
    else:
        inner[last] = value
    return found


def content(spec: dict[str, Any]) -> Content:
    """Of the revision that this spec asks for."""
    desired = parse(spec)
    request = asked(desired, Status(), (), RELEASE, None).request
    return asked(desired, Status(), (), RELEASE, Resolved(request, desired.content.uri, FIRST)).content


NO_CHANGE = {"model": {"digest": FIRST}, "server": {"image": "server:1"}}

FIELDS = [
    pytest.param("rollout.retryToken", "u", {}, id="nothing but what spec must never leave open"),
    pytest.param("model.digest", SECOND, {}, id="digest"),
    pytest.param("model.digest", None, {}, id="digest left open"),
    pytest.param("server.image", "server:2", {}, id="image"),
    pytest.param("server.image", None, {}, id="image left open"),
    pytest.param("model.uri", "pvc://models/flights", {"model": {"uri": SPEC["model"]["uri"]}}, id="address"),
    pytest.param("model.allowPickle", True, {"model": {"allowPickle": False}}, id="allowPickle"),
    pytest.param(
        "server.resources.requests.cpu",
        "1",
        {"server": {"resources": {"requests": {"cpu": "250m"}}}},
        id="an amount of another size",
    ),
    pytest.param(
        "server.resources.limits.cpu",
        "2",
        {"server": {"resources": {"limits": {"cpu": None}}}},
        id="an amount too many",
    ),
    pytest.param(
        "server.resources.requests.memory",
        None,
        {"server": {"resources": {"requests": {"memory": "512Mi"}}}},
        id="an amount that is missing",
    ),
    pytest.param("server.slo.timeout", "1m30s", {"server": {"slo": {"timeout": "10000ms"}}}, id="timeout"),
    pytest.param(
        "server.template.env",
        [{"name": "C"}],
        {"server": {"template": {"env": [{"name": "A", "value": "b"}]}}},
        id="environment",
    ),
    pytest.param(
        "server.template.imagePullSecrets",
        None,
        {"server": {"template": {"imagePullSecrets": [{"name": "pull"}]}}},
        id="pull secrets",
    ),
]


@pytest.mark.parametrize(("path", "value", "expected"), FIELDS)
def test_exactly_the_fields_that_differ_are_named(path: str, value: Any, expected: dict[str, Any]) -> None:
    found = patch.to(content(SPEC), parse(changed(path, value)).content)
    assert found == {"spec": merged(NO_CHANGE, {}) | {key: NO_CHANGE[key] | expected.get(key, {}) for key in NO_CHANGE}}


@pytest.mark.parametrize(("path", "value", "_expected"), FIELDS)
def test_with_the_patch_spec_asks_for_what_serves(path: str, value: Any, _expected: dict[str, Any]) -> None:
    for serves, spec in ((SPEC, changed(path, value)), (changed(path, value), SPEC)):
        target = content(serves)
        after = parse(merged({"spec": spec}, patch.to(target, parse(spec).content))["spec"])
        assert asked(after, Status(), (), RELEASE, None).name == name_of(target)
        assert (after.content.secret_name, after.content.pull_secrets) == (target.secret_name, target.pull_secrets)


def test_a_secret_that_is_another_one_and_one_too_many() -> None:
    https = changed("model", {"uri": "https://example.com/x.tar", "digest": FIRST, "secretName": "login"})
    other = changed("model", {"uri": "https://example.com/x.tar", "digest": FIRST, "secretName": "old"})
    assert patch.to(content(https), parse(other).content)["spec"]["model"]["secretName"] == "login"
    leave = patch.to(content(SPEC), parse(https).content)
    assert leave["spec"]["model"] == {"uri": SPEC["model"]["uri"], "digest": FIRST, "secretName": None}
    assert "secretName" not in merged({"spec": https}, leave)["spec"]["model"]


def test_after_a_rollback_the_patch_makes_what_serves_the_target_of_spec_again() -> None:
    serves, rejected = content(SPEC), content(changed("model.digest", SECOND))
    old = Revision(name_of(serves), "flights", serves, "", True, Card(), Record(Role.STABLE, NOW))
    status = Status(
        1,
        revision=old.name,
        stable=Stable(old.name, NOW),
        rejected=(Rejected(name_of(rejected), "t"),),
    )
    spec = changed("model.digest", SECOND)
    for applied in (spec, merged({"spec": spec}, patch.to(serves, parse(spec).content))["spec"]):
        desired = parse(applied)
        wish = asked(desired, status, [old], RELEASE, None)
        found = choose(desired, wish, status, Observed(revisions=(old,)), NOW, ALL)
        assert found.target == old.name
        assert found.rejected == (applied is spec)
        assert (wish.name == old.name) == (applied is not spec)


def test_a_timeout_is_said_to_the_last_digit_that_a_duration_can_have() -> None:
    target = content(changed("server.slo.timeout", "100.5ms"))
    after = parse(merged({"spec": SPEC}, patch.to(target, parse(SPEC).content))["spec"])
    assert after.content.timeout == target.timeout
