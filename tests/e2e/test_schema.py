"""What the API server refuses, and in which words: the CRD's rules on the real thing."""

import json
from pathlib import Path
from typing import Any

import pytest

from deployed import Figure, model
from kube import Kube, KubectlError, Object

URI = "oci://registry.example/flights:1"


ROUTED = {"via": "Router"}
UNSAID: dict[str, Any] = {
    "paused": False,
    "retryToken": "",
    "tolerance": {"errors": "1%", "slow": "0.5%"},
    "bake": {"duration": "30m", "holdback": 5},
    "deadline": {"after": "24h", "then": "Hold"},
}
"""What is stored of a rollout that spec says nothing of."""


def canary(*steps: dict[str, Any], strategy: str = "Canary") -> dict[str, Any]:
    """A spec with these steps."""
    return {"model": {"uri": URI}, "rollout": {"strategy": strategy, "steps": list(steps)}, "traffic": ROUTED}


def auto(**rollout: Any) -> dict[str, Any]:
    """A spec with this of its rollout."""
    return {"model": {"uri": URI}, "rollout": {"strategy": "Auto", **rollout}, "traffic": ROUTED}


def weights(*percent: int) -> list[dict[str, Any]]:
    """Steps that people approve: an approval behind each weight."""
    found: list[dict[str, Any]] = []
    for each in percent:
        found += [{"weight": each}, {"approval": {}}]
    return found


def created(kube: Kube, spec: dict[str, Any]) -> Object:
    """What would be stored."""
    found = model("default", {})
    found["spec"] = spec
    made: Object = json.loads(kube.run("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(found)))
    return made


def refused(kube: Kube, found: Object) -> str:
    with pytest.raises(KubectlError) as error:
        kube.run("create", "--dry-run=server", "-f", "-", stdin=json.dumps(found))
    return str(error.value)


ROWS = [
    pytest.param({"model": {}}, "spec.model.uri: Required value", id="the address is missing"),
    pytest.param({"model": {"uri": 7}}, "must be of type string", id="the address is a number"),
    pytest.param({"model": {"uri": URI}, "modle": {}}, 'unknown field "spec.modle"', id="an unknown field"),
    pytest.param(
        {"model": {"uri": "ftp://x/y"}}, "the address must start with oci://, pvc:// or https://", id="another scheme"
    ),
    pytest.param({"model": {"uri": "oci://flights"}}, "an oci address is oci://REGISTRY/NAME:TAG", id="no registry"),
    pytest.param({"model": {"uri": "pvc://Models/x"}}, "a pvc address is pvc://CLAIM/PATH", id="a bad claim"),
    pytest.param({"model": {"uri": "pvc://models/../x"}}, "no . or .. parts", id="a way out of the claim"),
    pytest.param({"model": {"uri": "https://x"}}, "an https address is https://HOST", id="no path"),
    pytest.param(
        {"model": {"uri": URI, "secretName": "s"}}, "secretName is for https addresses", id="a Secret nobody reads"
    ),
    pytest.param({"model": {"uri": URI, "digest": "sha256:abc"}}, "should match", id="half a digest"),
    pytest.param(
        {"model": {"uri": URI}, "scaling": {"replicas": -1}}, "greater than or equal to 0", id="no such number"
    ),
    pytest.param({"model": {"uri": URI}, "scaling": {"replicas": 1001}}, "less than or equal to 1000", id="too many"),
    pytest.param({"model": {"uri": URI}, "scaling": {"mode": "Magic"}}, 'supported values: "Fixed"', id="no such mode"),
    pytest.param(
        {"model": {"uri": URI}, "server": {"slo": {"timeout": "1h"}}}, "between 100ms and 10m", id="an hour to wait"
    ),
    pytest.param(
        {"model": {"uri": URI}, "server": {"resources": {"requests": {"memory": "2Gi"}}}},
        "requests.memory must not exceed limits.memory",
        id="more asked for than allowed",
    ),
    pytest.param(
        {"model": {"uri": URI}, "server": {"resources": {"requests": {"cpu": -1}}}},
        "an amount must not be negative",
        id="less than nothing",
    ),
    pytest.param(
        {"model": {"uri": URI}, "server": {"template": {"env": [{"name": "TIDEGATE_REVISION"}]}}},
        "names that start with TIDEGATE_ are the operator's own",
        id="a variable of ours",
    ),
    pytest.param(
        {"model": {"uri": URI}, "server": {"template": {"env": [{"name": "TIDEGATE_PAYLOAD_SINK_2"}]}}},
        "but for TIDEGATE_PAYLOAD_SINK and TIDEGATE_PAYLOAD_SAMPLE",
        id="a variable like one that may be set",
    ),
    pytest.param(
        {"model": {"uri": URI}, "server": {"template": {"env": [{"name": "A"}, {"name": "A"}]}}},
        "Duplicate value",
        id="a variable twice",
    ),
    pytest.param(
        {"model": {"uri": URI}, "traffic": {"sticky": "721h"}}, "sticky must be between 1s and 720h", id="for too long"
    ),
    pytest.param(
        {"model": {"uri": URI}, "traffic": {"via": "Magic"}}, 'supported values: "Router", "Service"', id="no such way"
    ),
    pytest.param(
        {"model": {"uri": URI}, "rollout": {"strategy": "Magic"}},
        'supported values: "Auto", "Canary", "BlueGreen", "Shadow", "Immediate"',
        id="no such strategy",
    ),
    pytest.param(
        {"model": {"uri": URI}, "rollout": {"strategy": "Canary"}, "traffic": {"via": "Service"}},
        "write traffic.via: Router",
        id="steps without a router",
    ),
    pytest.param(
        {"model": {"uri": URI}, "rollout": {"strategy": "BlueGreen"}, "traffic": {"via": "Service"}},
        "write traffic.via: Router",
        id="two versions side by side without a router",
    ),
    pytest.param(canary({"weight": 5, "approval": {}}), "a step has exactly one key", id="a step with two keys"),
    pytest.param(canary({}), "a step has exactly one key", id="a step without a key"),
    pytest.param(canary({"wait": "5m"}), 'unknown field "spec.rollout.steps[0].wait"', id="a step of another kind"),
    pytest.param(canary({"weight": 0}, {"approval": {}}), "greater than or equal to 1", id="a weight of nothing"),
    pytest.param(canary({"weight": 100}, {"approval": {}}), "less than or equal to 99", id="a weight of everything"),
    pytest.param(canary(), "should have at least 1 items", id="no steps"),
    pytest.param(canary(*[{"approval": {}}] * 21), "must have at most 20 items", id="too many steps"),
    pytest.param(
        canary({"approval": {}}, strategy="BlueGreen"), "steps are those of a Canary", id="steps of another strategy"
    ),
    pytest.param(
        {"model": {"uri": URI}, "rollout": {"steps": weights(5)}, "traffic": ROUTED},
        "write strategy: Canary, or leave steps out",
        id="steps of no strategy",
    ),
    pytest.param(canary(*weights(5, 25, 5)), "the weights must rise", id="a weight that falls"),
    pytest.param(canary(*weights(5, 5)), "the weights must rise", id="a weight twice"),
    pytest.param(canary({"weight": 50}, {"weight": 5}), "the weights must rise", id="one that nobody approves falls"),
    pytest.param(
        canary({"weight": 5}, strategy="Auto"), "write strategy: Canary, or leave steps out", id="steps of Auto"
    ),
    pytest.param(
        {"model": {"uri": URI}, "rollout": {"strategy": "Auto"}, "traffic": {"via": "Service"}},
        "write traffic.via: Router",
        id="evidence without a router",
    ),
    pytest.param(auto(tolerance={"errors": "0%"}), "errors must be above 0% and at most 50%", id="no tolerance at all"),
    pytest.param(auto(tolerance={"errors": "50.1%"}), "errors must be above 0% and at most 50%", id="more than half"),
    pytest.param(auto(tolerance={"slow": "0.0%"}), "slow must be above 0% and at most 50%", id="nothing may be slow"),
    pytest.param(auto(tolerance={"slow": "0.5"}), "should match", id="a tolerance without a unit"),
    pytest.param(auto(tolerance={"errors": "100%"}), "should match", id="a tolerance of everything"),
    pytest.param(auto(tolerance={"late": "1%"}), 'unknown field "spec.rollout.tolerance.late"', id="no such signal"),
    pytest.param(auto(bake={"duration": "169h"}), "a bake lasts for at most 168h", id="more than a week"),
    pytest.param(auto(bake={"duration": "1d"}), "should match", id="a duration in days"),
    pytest.param(auto(bake={"holdback": 0}), "greater than or equal to 1", id="nothing to compare with"),
    pytest.param(auto(bake={"holdback": 51}), "less than or equal to 50", id="most is held back"),
    pytest.param(auto(deadline={"after": "59s"}), "after must be at least 1m", id="no time at all"),
    pytest.param(auto(deadline={"then": "Promote"}), 'supported values: "Hold", "Rollback"', id="no such end"),
]


@pytest.mark.parametrize(("spec", "words"), ROWS)
def test_a_bad_spec_is_refused_with_a_sentence(kube: Kube, spec: dict[str, Any], words: str) -> None:
    found = model("default", {})
    found["spec"] = spec
    assert words in refused(kube, found)


@pytest.mark.parametrize(
    "uri",
    ["https://user:hunter2@host/x", "oci://user:hunter2@host/x:1", "ftp://user:hunter2@host", "pvc://user:hunter2@x/y"],
)
def test_a_password_in_an_address_is_refused_and_not_repeated(kube: Kube, uri: str) -> None:
    said = refused(kube, model("default", {"uri": uri}))
    assert "an address must not carry credentials: put them in a Secret" in said
    assert "hunter2" not in said


@pytest.mark.parametrize("name", ["Flights", "1flights", "a" * 41, "a.b", "tidegate-router"])
def test_a_name_that_cannot_name_a_service_or_names_the_routers_is_refused(kube: Kube, name: str) -> None:
    found = model("default", {"uri": URI})
    found["metadata"]["name"] = name
    assert "name" in refused(kube, found)


def test_variables_of_payloads_are_the_owners(kube: Kube) -> None:
    env = [
        {"name": "TIDEGATE_PAYLOAD_SINK", "value": "http://sink.ml.svc"},
        {"name": "TIDEGATE_PAYLOAD_SAMPLE", "value": "1"},
    ]
    made = created(kube, {"model": {"uri": URI}, "server": {"template": {"env": env}}})
    assert made["spec"]["server"]["template"]["env"] == env


@pytest.mark.parametrize(
    "uri",
    [
        URI,
        "oci://registry.example:5000/team/flights@sha256:" + "5" * 64,
        "pvc://models/flights/v1",
        "pvc://models",
        "https://models.example:8443/flights.tar.gz?version=3",
    ],
)
def test_the_address_alone_is_a_working_object(kube: Kube, uri: str) -> None:
    made = created(kube, {"model": {"uri": uri}})
    assert made["spec"]["scaling"] == {"mode": "Fixed"}
    assert made["spec"]["rollout"] == UNSAID
    assert made["spec"]["server"]["resources"]["requests"] == {"cpu": "250m", "memory": "512Mi"}
    assert made["spec"]["server"]["slo"] == {"timeout": "10s"}


@pytest.mark.parametrize(
    "steps",
    [
        weights(1, 5, 25, 50),
        [{"approval": {}}, *weights(99)],
        [*weights(5), {"approval": {}}, *weights(6)],
        [{"approval": {}}],
        weights(*range(1, 11)),
        [{"weight": 5}],
        [{"weight": 5}, {"weight": 50}, {"approval": {}}],
        [{"weight": percent} for percent in range(1, 21)],
    ],
    ids=[
        "those of a canary",
        "an approval first",
        "two approvals",
        "an approval alone",
        "as many as there may be",
        "nobody approves the last one",
        "nobody approves one in the middle",
        "nobody approves any",
    ],
)
def test_steps_that_rise_are_taken_whoever_decides_them(kube: Kube, steps: list[dict[str, Any]]) -> None:
    made = created(kube, canary(*steps))
    assert made["spec"]["rollout"] == UNSAID | {"strategy": "Canary", "steps": steps}


@pytest.mark.parametrize(
    "more",
    [
        {"rollout": {"strategy": "Canary"}},
        {"rollout": {"strategy": "BlueGreen"}, "traffic": ROUTED},
        {"rollout": {"strategy": "Immediate"}, "traffic": {"via": "Service"}},
        {"traffic": ROUTED},
    ],
    ids=["by the operator's setting", "through routers", "straight", "no strategy"],
)
def test_a_strategy_and_a_way_that_fit_are_taken_and_nothing_is_added(kube: Kube, more: dict[str, Any]) -> None:
    made = created(kube, {"model": {"uri": URI}} | more)["spec"]
    assert made["rollout"] == UNSAID | more.get("rollout", {})
    assert made["traffic"] == more.get("traffic", {})


@pytest.mark.parametrize(
    ("said", "stored"),
    [
        ({"tolerance": {"errors": "50%"}}, {"tolerance": {"errors": "50%", "slow": "0.5%"}}),
        ({"tolerance": {"slow": "0.001%"}}, {"tolerance": {"errors": "1%", "slow": "0.001%"}}),
        ({"bake": {"duration": "168h"}}, {"bake": {"duration": "168h", "holdback": 5}}),
        ({"bake": {"duration": "0s", "holdback": 50}}, {"bake": {"duration": "0s", "holdback": 50}}),
        ({"deadline": {"after": "1m"}}, {"deadline": {"after": "1m", "then": "Hold"}}),
        ({"deadline": {"then": "Rollback"}}, {"deadline": {"after": "24h", "then": "Rollback"}}),
        ({}, {}),
    ],
    ids=["many errors", "hardly any slow answer", "a week", "no bake", "a minute", "an end", "nothing is said"],
)
def test_what_evidence_is_held_to_is_taken_at_its_bounds(
    kube: Kube, said: dict[str, Any], stored: dict[str, Any]
) -> None:
    made = created(kube, auto(**said))["spec"]["rollout"]
    assert made == UNSAID | {"strategy": "Auto"} | stored


def test_a_bare_number_of_cpus_is_fine(kube: Kube) -> None:
    found = model("default", {"uri": URI}, server={"resources": {"requests": {"cpu": 2}, "limits": {"cpu": 2}}})
    kube.run("create", "--dry-run=server", "-f", "-", stdin=json.dumps(found))


def test_the_definition_is_small(kube: Kube, figure: Figure) -> None:
    stored = kube.get("crd", "modeldeployments.models.tidegate.dev")
    accepted = {c["type"]: c["status"] for c in stored["status"]["conditions"]}
    size = len((Path(__file__).parents[2] / "manifests" / "crd.yaml").read_bytes())
    figure("size of the CustomResourceDefinition", f"{size:,} bytes", "< 100,000")
    assert size < 100_000
    assert accepted["Established"] == "True"
    assert accepted.get("NonStructuralSchema", "False") == "False"
