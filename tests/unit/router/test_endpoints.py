"""Which pods of a version are asked."""

from typing import Any

import msgspec
import pytest

from tidegate_router.endpoints import Address, EndpointSlice, usable

PORTS = [{"name": "http", "port": 8080}, {"name": "metrics", "port": 9090}]


def pod(ip: str, **conditions: bool | None) -> dict[str, Any]:
    return {"addresses": [ip], "conditions": conditions}


def slices(*endpoints: dict[str, Any], ports: Any = PORTS) -> list[EndpointSlice]:
    """One, as the API has it."""
    return [msgspec.convert({"endpoints": endpoints, "ports": ports}, EndpointSlice)]


def ips(*endpoints: dict[str, Any]) -> list[str]:
    return [address.ip for address in usable(slices(*endpoints))]


READY = pod("10.0.0.1", ready=True, serving=True, terminating=False)
GOING = pod("10.0.0.2", ready=False, serving=True, terminating=True)


@pytest.mark.parametrize(
    ("endpoints", "used"),
    [
        pytest.param([READY], ["10.0.0.1"], id="a ready one is"),
        pytest.param([pod("10.0.0.1", ready=None)], ["10.0.0.1"], id="one of which nothing is said is"),
        pytest.param([{"addresses": ["10.0.0.1"]}], ["10.0.0.1"], id="one without conditions is"),
        pytest.param([pod("10.0.0.1", ready=False)], [], id="one that is not ready is not"),
        pytest.param([pod("10.0.0.1", ready=False, serving=True)], [], id="one that serves and is not ready is not"),
        pytest.param([GOING], ["10.0.0.2"], id="one that goes is where nobody is ready"),
        pytest.param([GOING, READY], ["10.0.0.1"], id="one that goes is not where somebody is ready"),
        pytest.param(
            [pod("10.0.0.2", ready=True, serving=True, terminating=True), READY], ["10.0.0.1"], id="nor if ready"
        ),
        pytest.param(
            [pod("10.0.0.2", terminating=True, serving=False)], [], id="one that goes and serves no more is not"
        ),
        pytest.param([pod("10.0.0.2", terminating=True)], [], id="one that goes without a word is not"),
        pytest.param([{"addresses": []}], [], id="one without an address is not"),
        pytest.param([pod("10.0.0.3"), pod("10.0.0.1")], ["10.0.0.1", "10.0.0.3"], id="in their order"),
        pytest.param([READY, READY], ["10.0.0.1"], id="each once"),
        pytest.param([{"addresses": ["10.0.0.1", "10.0.0.9"]}], ["10.0.0.1"], id="by the first of its addresses"),
        pytest.param([], [], id="nobody is nobody"),
    ],
)
def test_which_pods_are_asked(endpoints: list[dict[str, Any]], used: list[str]) -> None:
    assert ips(*endpoints) == used


@pytest.mark.parametrize(
    ("ports", "used"),
    [
        pytest.param(PORTS, (Address("10.0.0.1", 8080, 9090),), id="both"),
        pytest.param(PORTS[:1], (Address("10.0.0.1", 8080, 0),), id="no metrics"),
        pytest.param(PORTS[1:], (), id="no http"),
        pytest.param([{"port": 8080}], (), id="no name"),
        pytest.param([{"name": "http", "port": None}], (), id="any port"),
        pytest.param(None, (), id="null"),
    ],
)
def test_a_pod_is_asked_at_the_ports_of_these_names(ports: Any, used: tuple[Address, ...]) -> None:
    assert usable(slices(READY, ports=ports)) == used


def test_all_slices_of_a_version_count_as_one() -> None:
    assert [address.ip for address in usable([*slices(GOING), *slices(READY), *slices(READY)])] == ["10.0.0.1"]


def test_a_slice_without_endpoints_has_none() -> None:
    assert usable([msgspec.convert({"endpoints": None, "ports": PORTS}, EndpointSlice)]) == ()
