"""What Envoy is told of one model: `golden/flights.json`, whole, and the rules behind it one by one.

After a change that is meant, `GOLDEN=write pytest tests/unit/router/test_documents.py` writes it anew.
"""

import json
import os
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from tidegate_contract import names
from tidegate_contract.route import Route, Share, Slot
from tidegate_contract.router import bootstrap
from tidegate_router.documents import CLUSTER, ENDPOINTS, LISTENER, ROUTE
from tidegate_router.endpoints import Address
from tidegate_router.models import Model, confirmed, resources, version_of
from tidegate_router.xds import _packed

FOLDER = PurePosixPath("/run/tidegate")
GOLDEN = Path(__file__).parent / "golden" / "flights.json"
A, B, C = "0a0a0a0a", "0b0b0b0b", "0c0c0c0c"
PODS = {A: (Address("10.0.0.1", 8080, 9090), Address("10.0.0.2", 8080, 9090)), B: (Address("10.0.0.3", 8080, 9090),)}
SLOTS = {Slot.A: Share(A, 95), Slot.B: Share(B, 5), Slot.SHADOW: Share(C)}
INFER = {"path": "/v2/models/flights/infer", "headers": [{"name": ":method", "string_match": {"exact": "POST"}}]}


def model(pods: Any = PODS, *, led: bool = True, stable: Slot = Slot.A, generation: int = 7) -> Model:
    return Model("flights", Route(10000, generation, stable, SLOTS), pods, led)


def routes(**asked: Any) -> list[dict[str, Any]]:
    document = json.loads(resources(FOLDER, model(**asked))[ROUTE, "flights"].body)
    found: list[dict[str, Any]] = document["virtual_hosts"][0]["routes"]
    return found


def added(headers: list[dict[str, Any]]) -> dict[str, str]:
    return {each["header"]["key"]: each["header"]["value"] for each in headers}


def test_a_model_is_this() -> None:
    found = {f"{kind.rpartition('.')[2]} {name}": each for (kind, name), each in resources(FOLDER, model()).items()}
    told = {name: json.loads(each.body) for name, each in found.items()}
    told["bootstrap"] = bootstrap(FOLDER, "router-1")
    rendered = json.dumps(told, indent=1) + "\n"
    if os.environ.get("GOLDEN") == "write":
        GOLDEN.write_text(rendered)
    assert GOLDEN.read_text() == rendered


def test_envoy_has_a_type_for_every_word() -> None:
    for (_, name), resource in resources(FOLDER, model()).items():
        assert _packed(name, resource).resource.value


def test_only_a_prediction_by_chance_is_evidence() -> None:
    evident = [each["match"] for each in routes() if names.EVIDENCE_HEADER in added(each["request_headers_to_add"])]
    assert evident == [INFER]


def test_what_a_client_says_of_evidence_is_removed_everywhere() -> None:
    assert all(names.EVIDENCE_HEADER in each["request_headers_to_remove"] for each in routes())


def test_whoever_names_a_version_is_asked_before_chance_is() -> None:
    assert [each["match"] for each in routes()] == [
        {"path_separated_prefix": f"/v2/models/flights/versions/{A}"},
        {"path_separated_prefix": f"/v2/models/flights/versions/{B}"},
        {"prefix": "/", "headers": [{"name": "tidegate-revision", "string_match": {"exact": A}}]},
        {"prefix": "/", "headers": [{"name": "tidegate-revision", "string_match": {"exact": B}}]},
        INFER,
        {"path_separated_prefix": "/v2/models/flights/feedback"},
        {"prefix": "/"},
    ]


@pytest.mark.parametrize(
    ("weights", "stable", "kept"),
    [
        pytest.param((95, 5), Slot.A, ["a", "b"], id="both while both have weight"),
        pytest.param((100, 0), Slot.A, ["a"], id="nobody stays with a candidate without weight"),
        pytest.param((0, 100), Slot.A, ["a", "b"], id="those of stable stay to the end"),
        pytest.param((0, 100), Slot.B, ["b"], id="of what was stable nobody"),
    ],
)
def test_whoever_comes_back_gets_the_same_version_while_it_is_served(
    weights: tuple[int, int], stable: Slot, kept: list[str]
) -> None:
    slots = {Slot.A: Share(A, weights[0]), Slot.B: Share(B, weights[1]), Slot.SHADOW: Share(C)}
    told = Model("flights", Route(10000, 7, stable, slots, sticky_seconds=60), PODS, True)
    (host,) = json.loads(resources(FOLDER, told)[ROUTE, "flights"].body)["virtual_hosts"]
    back = [each for each in host["routes"] if each["match"].get("headers", [{}])[-1].get("name") == "cookie"]
    assert [each["route"]["cluster"] for each in back] == [f"flights/{slot}/named" for slot in kept]
    assert all(each["route"]["request_mirror_policies"] for each in back)
    assert not any(names.EVIDENCE_HEADER in added(each["request_headers_to_add"]) for each in back)
    assert [host["routes"].index(each) for each in back] == list(range(4, 4 + len(kept)))


def test_nobody_stays_where_it_is_not_said() -> None:
    assert "cookie" not in json.dumps(routes())


@pytest.mark.parametrize("stable", [Slot.A, Slot.B])
def test_what_is_no_prediction_goes_to_stable_and_is_no_evidence(stable: Slot) -> None:
    assert routes(stable=stable)[-1]["route"]["cluster"] == f"flights/{stable}/named"


def test_an_answer_is_never_asked_for_again_but_one_of_the_hold_slot() -> None:
    document = json.loads(resources(FOLDER, model())[ROUTE, "flights"].body)
    (host,) = document["virtual_hosts"]
    assert host["retry_policy"]["retry_on"] == "connect-failure,reset,retriable-headers"
    assert [each["name"] for each in host["retry_policy"]["retriable_headers"]] == ["tidegate-again"]
    assert not any("retry_policy" in each["route"] for each in host["routes"])


def test_envoy_waits_a_little_longer_than_the_server() -> None:
    assert {each["route"]["timeout"] for each in routes()} == {"11s"}


def test_the_hold_slot_is_told_of_each_cluster() -> None:
    """Of that which is asked, never of one that a client names."""
    for each in routes():
        to = each["route"]
        shares = to.get("weighted_clusters", {}).get("clusters", [])
        told = {share["name"]: added(share["request_headers_to_add"])["tidegate-cluster"] for share in shares}
        told |= {to["cluster"]: added(each["request_headers_to_add"])["tidegate-cluster"]} if "cluster" in to else {}
        assert told
        assert all(name == header for name, header in told.items())


@pytest.mark.parametrize(
    ("pods", "led", "weights"),
    [
        pytest.param(PODS, True, {"flights/a": 95, "flights/b": 5}, id="all is well"),
        pytest.param(PODS, False, {"flights/a": 100, "flights/b": 0}, id="no operator"),
        pytest.param({A: PODS[A]}, True, {"flights/a": 100, "flights/b": 0}, id="no pod of the candidate"),
    ],
)
def test_the_weights_are_those_in_force(pods: Any, led: bool, weights: dict[str, int]) -> None:
    (divided,) = (each["route"]["weighted_clusters"] for each in routes(pods=pods, led=led) if "path" in each["match"])
    assert {share["name"]: share["weight"] for share in divided["clusters"]} == weights


def test_where_nobody_is_the_hold_slot_is_but_not_for_copies() -> None:
    found = resources(FOLDER, model({}))
    asked = {
        name: [each["endpoint"]["address"] for each in json.loads(resource.body)["endpoints"][0]["lb_endpoints"]]
        for (kind, name), resource in found.items()
        if kind == ENDPOINTS
    }
    hold = [{"pipe": {"path": "/run/tidegate/hold.sock"}}]
    assert asked == {"flights/a": hold, "flights/b": hold, "flights/shadow": [], "flights/feedback": hold}


def test_the_listener_comes_after_everything_that_it_leads_to() -> None:
    found = resources(FOLDER, model())
    assert found[LISTENER, "flights"].after == {key for key in found if key[0] in (CLUSTER, ENDPOINTS)}


def test_each_cluster_has_endpoints() -> None:
    found = resources(FOLDER, model())
    wanted = {
        json.loads(each.body)["eds_cluster_config"]["service_name"] for (of, _), each in found.items() if of == CLUSTER
    }
    assert wanted == {name for of, name in found if of == ENDPOINTS}


# ---------------------------------------------------------------- versions


@pytest.mark.parametrize("weights", [{Slot.A: 100}, {Slot.A: 95, Slot.B: 5}, {Slot.B: 100, Slot.A: 0}])
def test_a_version_says_what_is_in_force(weights: dict[Slot, int]) -> None:
    assert confirmed(version_of(12, weights, "c0ffee")) == (12, weights)


def test_of_no_version_nothing_is_in_force() -> None:
    assert confirmed("") == (0, {})


@pytest.mark.parametrize(
    ("other", "differ"),
    [
        pytest.param(model(), set(), id="the same"),
        pytest.param(model(generation=8), {ROUTE}, id="a generation"),
        pytest.param(model(led=False), {ROUTE}, id="no operator"),
        pytest.param(model(stable=Slot.B), {ROUTE, ENDPOINTS}, id="another stable, and so other pods for feedback"),
        pytest.param(model({A: PODS[A]}), {ROUTE, ENDPOINTS}, id="the candidate's pods are gone"),
        pytest.param(model({A: PODS[A][:1], B: PODS[B]}), {ENDPOINTS}, id="one pod less"),
    ],
)
def test_what_changes_has_another_version(other: Model, differ: set[str]) -> None:
    one, two = resources(FOLDER, model()), resources(FOLDER, other)
    assert {key[0] for key in one if one[key].version != two[key].version} == differ


def test_a_model_made_anew_has_another_route_under_the_same_generation() -> None:
    slots = {Slot.A: Share(C, 95), Slot.B: Share(B, 5)}
    other = Model("flights", Route(10000, 7, Slot.A, slots), {C: PODS[A], B: PODS[B]}, True)
    key = ROUTE, "flights"
    one, two = resources(FOLDER, model())[key].version, resources(FOLDER, other)[key].version
    assert confirmed(one) == confirmed(two)
    assert one != two
