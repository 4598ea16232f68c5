"""The operator's rights: each verb that it has is used, each that it uses it has, and it has no other.

One list of scenarios is run against the real API server; what the operator asked for
stands in the audit log. Take a verb away in the chart, and the test named after it is red.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

import audit
import deployed
from deployed import LOCAL, SYSTEM, Figure, Pushed, model, until_ready
from kube import Kube, KubectlError, Object, wait_for

CHILDREN = ("deployments", "services", "serviceaccounts", "networkpolicies", "poddisruptionbudgets")
PASSING = ("jobs", "modelrevisions", "poddisruptionbudgets")
"""What goes before the ModelDeployment does."""
MADE = {*CHILDREN, *PASSING}

ROUTER = "tidegate-router"
RIGHTS = {
    *((resource, verb) for resource in MADE for verb in ("get", "list", "watch", "create", "patch")),
    *((resource, "delete") for resource in PASSING),
    # Of versions, which have one each.
    ("deployments", "delete"),
    ("services", "delete"),
    # Of routers, by their name where there is one.
    (f"serviceaccounts:{ROUTER}", "delete"),
    ("rolebindings", "list"),
    ("rolebindings", "watch"),
    *((f"rolebindings:{ROUTER}", verb) for verb in ("get", "create", "patch", "delete")),
    (f"clusterroles:{ROUTER}", "bind"),
    *((f"secrets:{ROUTER}", verb) for verb in ("get", "create", "patch")),
    *(("secrets:tidegate-key", verb) for verb in ("get", "create", "patch")),
    ("namespaces", "get"),
    ("pods/eviction", "create"),
    ("deployments/scale", "patch"),
    ("modeldeployments", "get"),
    ("modeldeployments", "list"),
    ("modeldeployments", "watch"),
    ("modeldeployments/status", "patch"),
    ("pods", "list"),
    ("pods", "watch"),
    ("events", "create"),
    ("events", "patch"),
    ("leases:tidegate-operator", "get"),
    ("leases", "create"),
    ("leases:tidegate-operator", "update"),
}
ELSEWHERE = {("pods/eviction", "create")}
"""A router is ended only where none has been made for five minutes: too long for here, `make soak` has the time."""

pytestmark = pytest.mark.skipif(not LOCAL, reason="needs the audit log of the local cluster")


@dataclass(frozen=True)
class Rights:
    granted: frozenset[tuple[str, str]]
    used: frozenset[tuple[str, str]]
    refused: tuple[str, ...]
    hung: tuple[str, ...]
    """Scenarios that did not come to their end."""


@pytest.fixture(scope="module")
def space(kube: Kube) -> Iterator[str]:
    name = "t-rights"
    kube.delete("namespace", name)
    deployed.space(kube, name)
    yield name
    kube.delete("namespace", name, wait=False)


@pytest.fixture(scope="module")
def rights(kube: Kube, space: str, good: Pushed) -> Rights:
    started = datetime.now(UTC)
    # A right that is missing makes a scenario hang; the tests below say which one it was.
    hung = []
    for scenario in (restart, create, repair, shrink, resolve, outgrow, route, replace, unroute):
        try:
            scenario(kube, space, good)
        except (AssertionError, KubectlError) as error:
            hung.append(f"{scenario.__name__}: {error}")
    # Of other namespaces only what other tests left: a namespace on its way out refuses every Event.
    asked = [found for found in audit.requests(started) if found.namespace in ("", space, SYSTEM)]
    return Rights(
        granted=frozenset(granted(kube)),
        used=frozenset(right for request in asked for right in needed(request)),
        refused=tuple(f"{found.verb} {found.resource}" for found in asked if found.code == 403),
        hung=tuple(hung),
    )


def restart(kube: Kube, _space: str, _good: Pushed) -> None:
    """A new process lists and watches everything, and makes the Lease, and later the key, if there is none."""
    kube.run("scale", "deployment/tidegate-operator", "-n", SYSTEM, "--replicas=0")
    wait_for("no operator", lambda: not kube.items("pods", SYSTEM), 60)
    kube.delete("lease", "tidegate-operator", SYSTEM)
    kube.delete("secret", "tidegate-key", SYSTEM)
    kube.run("scale", "deployment/tidegate-operator", "-n", SYSTEM, "--replicas=2")
    kube.run("rollout", "status", "deployment/tidegate-operator", "-n", SYSTEM, "--timeout=60s")
    wait_for("the Lease", lambda: kube.find("lease", "tidegate-operator", SYSTEM), 30)


def create(kube: Kube, space: str, good: Pushed) -> None:
    kube.apply(model(space, good, scaling={"replicas": 2}))
    until_ready(kube, space, seconds=60)


def repair(kube: Kube, space: str, _good: Pushed) -> None:
    """Every child is changed by somebody, and put back."""
    for kind in CHILDREN:
        kube.run("label", kind, "small", "models.tidegate.dev/model=stolen", "--overwrite", "-n", space)

    def labelled() -> dict[str, str]:
        found = {kind: kube.get(kind, "small", space) for kind in CHILDREN}
        return {kind: item["metadata"]["labels"]["models.tidegate.dev/model"] for kind, item in found.items()}

    wait_for("the labels", lambda: set(labelled().values()) == {"small"}, 15)


def shrink(kube: Kube, space: str, good: Pushed) -> None:
    """A single replica has no disruption budget; the Event that it serves is said a second time."""
    kube.apply(model(space, good, scaling={"replicas": 1}))
    until_ready(kube, space, seconds=30)
    wait_for("no disruption budget", lambda: not kube.items("poddisruptionbudgets", space), 15)
    time.sleep(1)


def resolve(kube: Kube, space: str, good: Pushed) -> None:
    """Without a digest a Job reads it, and goes when it is known."""
    kube.apply(model(space, {"uri": good.uri}, scaling={"replicas": 1}))
    wait_for("the Job", lambda: kube.items("jobs", space), 15)
    until_ready(kube, space, seconds=60)
    wait_for("no Job", lambda: not kube.items("jobs", space), 15)


def outgrow(kube: Kube, space: str, _good: Pushed) -> None:
    """Of a model's revisions the last ten are kept. These are older, as if restored from a backup."""
    found = kube.items("modelrevisions", space)
    assert found, "no revision"
    for number in range(10):
        revision = f"{number:08x}"
        labels = found[0]["metadata"]["labels"] | {"models.tidegate.dev/revision": revision}
        metadata = {"name": f"small-{revision}", "namespace": space, "labels": labels}
        record = {"role": "Superseded", "served": True, "since": f"2020-01-01T00:00:0{number}Z"}
        spec = found[0]["spec"] | {"revision": revision}
        kube.apply(found[0] | {"metadata": metadata, "spec": spec, "record": record})
    wait_for("the oldest gone", lambda: kube.find("modelrevision", "small-00000000", space) is None, 15)


def routed(space: str, good: Pushed, release: str, via: str = "Router") -> Object:
    template = {"env": [{"name": "RELEASE", "value": release}]}
    server = {"resources": deployed.SMALL, "template": template}
    found = model(space, good, scaling={"replicas": 1}, server=server, traffic={"via": via})
    return found | {"metadata": {"name": "routed", "namespace": space}}


def route(kube: Kube, space: str, good: Pushed) -> None:
    """The first model that needs routers has them made."""
    kube.apply(routed(space, good, "1"))
    until_ready(kube, space, "routed")


def replace(kube: Kube, space: str, good: Pushed) -> None:
    """Another version has a Deployment and a Service of its own, and takes the place of those before it."""
    kube.apply(routed(space, good, "2"))
    until_ready(kube, space, "routed")


def unroute(kube: Kube, space: str, good: Pushed) -> None:
    """The last model that needed them has them taken away."""
    kube.apply(routed(space, good, "2", via="Service"))
    until_ready(kube, space, "routed")
    wait_for("no routers", lambda: kube.find("serviceaccount", ROUTER, space) is None, 60)


def granted(kube: Kube) -> Iterator[tuple[str, str]]:
    """What the roles of the chart say, as they stand in the cluster."""
    roles = [
        kube.get("clusterrole", "tidegate-operator"),
        kube.get("role", "tidegate-operator-lease", SYSTEM),
        kube.get("role", "tidegate-operator-key", SYSTEM),
    ]
    for role in roles:
        for rule in role["rules"]:
            for name in rule.get("resourceNames", [""]):
                for resource in rule["resources"]:
                    yield from ((f"{resource}:{name}".removesuffix(":"), verb) for verb in rule["verbs"])


def needed(request: audit.Request) -> Iterator[tuple[str, str]]:
    """The rights that a request needed, by either of which it is allowed: an apply that creates needs two."""
    for resource in (request.resource, f"{request.resource}:{request.name}"):
        yield resource, request.verb
        if request.verb == "patch" and request.code == 201:
            yield resource, "create"
    if request.resource == "rolebindings" and request.verb == "patch":
        yield f"clusterroles:{request.name}", "bind"  # no request of its own: it is asked for when that is written


@pytest.mark.parametrize(("resource", "verb"), sorted(RIGHTS), ids=[" ".join(right) for right in sorted(RIGHTS)])
def test_a_right_is_granted_and_used(rights: Rights, resource: str, verb: str) -> None:
    assert (resource, verb) in rights.granted, "not granted"
    assert (resource, verb) in rights.used | ELSEWHERE, "granted, and used by no scenario"


def test_no_other_right_is_granted(rights: Rights, figure: Figure) -> None:
    figure(
        "rights granted / used / refused",
        f"{len(rights.granted)} / {len(rights.used)} / {len(rights.refused)}",
        "equal",
    )
    assert rights.granted == RIGHTS


def test_every_scenario_came_to_its_end(rights: Rights) -> None:
    assert rights.hung == ()


def test_nothing_was_refused(rights: Rights) -> None:
    assert rights.refused == ()
