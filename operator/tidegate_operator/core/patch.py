"""The patch that makes a spec say another version: for people who must put Git back in step."""

from typing import Any

from tidegate_operator.core.types import Content, Manifest


def to(wanted: Content, spec: Content) -> Manifest:
    """A JSON merge patch (RFC 7386) of a ModelDeployment: exactly the fields in which `spec` differs from `wanted`.

    The digest and the image are always named: without them spec would leave both open again.
    """
    patch: Manifest = {"spec": {"model": {"digest": wanted.digest}, "server": {"image": wanted.image}}}
    model, server = patch["spec"]["model"], patch["spec"]["server"]
    if wanted.uri != spec.uri:
        model["uri"] = wanted.uri
    if wanted.allow_pickle != spec.allow_pickle:
        model["allowPickle"] = wanted.allow_pickle
    if wanted.secret_name != spec.secret_name:
        model["secretName"] = wanted.secret_name
    if resources := _amounts("requests", wanted, spec) | _amounts("limits", wanted, spec):
        server["resources"] = resources
    if wanted.timeout != spec.timeout:
        server["slo"] = {"timeout": f"{wanted.timeout * 1000:.12g}ms"}
    template: Manifest = {}
    if wanted.env != spec.env:
        template["env"] = [{"name": name, "value": value} for name, value in wanted.env]
    if wanted.pull_secrets != spec.pull_secrets:
        template["imagePullSecrets"] = [{"name": name} for name in wanted.pull_secrets]
    if template:
        server["template"] = template
    return patch


def _amounts(which: str, wanted: Content, spec: Content) -> dict[str, Any]:
    """The amounts that differ; None takes away what spec has and `wanted` has not."""
    new, old = dict(getattr(wanted, which)), dict(getattr(spec, which))
    changed = {name: new.get(name) for name in sorted(new | old) if new.get(name) != old.get(name)}
    return {which: changed} if changed else {}
