"""What a route may say."""

from typing import Any

import pytest
from msgspec.structs import replace

from tidegate_contract.route import (
    FIRST_PORT,
    LAST_PORT,
    LONGEST_SECONDS,
    LONGEST_STICKY_SECONDS,
    Route,
    RouteError,
    Share,
    Slot,
    route_of,
)

A = {"revision": "0a0a0a0a", "weight": 95}
B = {"revision": "0b0b0b0b", "weight": 5}
TOLD: dict[str, Any] = {"port": FIRST_PORT, "generation": 7, "stable": "a", "slots": {"a": A, "b": B}}


def test_a_route_is_read() -> None:
    slots = {Slot.A: Share("0a0a0a0a", 95), Slot.B: Share("0b0b0b0b", 5)}
    assert route_of(TOLD) == Route(FIRST_PORT, 7, Slot.A, slots, 10.0)


@pytest.mark.parametrize(
    "told",
    [
        pytest.param({"timeoutSeconds": LONGEST_SECONDS}, id="the longest deadline"),
        pytest.param({"stickySeconds": LONGEST_STICKY_SECONDS}, id="the longest stay"),
        pytest.param({"toleranceErrors": 0.5}, id="half of the requests may fail"),
        pytest.param({"port": LAST_PORT}, id="the last port"),
        pytest.param({"stable": "b"}, id="b is stable"),
        pytest.param({"slots": {"a": A | {"weight": 100}, "shadow": {"revision": "0c0c0c0c"}}}, id="a shadow"),
    ],
)
def test_this_is_a_route(told: dict[str, Any]) -> None:
    route_of(TOLD | told)


def test_what_a_later_release_adds_is_left_out() -> None:
    assert route_of(TOLD | {"later": 1, "slots": {"a": A | {"later": 1}, "b": B}}) == route_of(TOLD)


@pytest.mark.parametrize(
    ("told", "why"),
    [
        pytest.param({"port": FIRST_PORT - 1}, "port 9999 is none of 10000 to 14999", id="a port below"),
        pytest.param({"port": LAST_PORT + 1}, "port 15000 is none of 10000 to 14999", id="a port above"),
        pytest.param({"port": "10000"}, "`int`", id="a port in words"),
        pytest.param({"generation": 0}, "a generation is 1 or more", id="no generation"),
        pytest.param({"timeoutSeconds": 0}, "the timeout is above 0", id="no time"),
        pytest.param({"timeoutSeconds": float("nan")}, "the timeout is above 0", id="a time that is no number"),
        pytest.param({"timeoutSeconds": 3601}, "at most 3600 seconds", id="too long a time"),
        pytest.param({"stickySeconds": -1}, "a client stays for 0 to", id="a stay that is no time"),
        pytest.param({"stickySeconds": LONGEST_STICKY_SECONDS + 1}, "a client stays for 0 to", id="too long a stay"),
        pytest.param({"toleranceErrors": 0}, "above 0 and below 1", id="no tolerance"),
        pytest.param({"toleranceErrors": 1}, "above 0 and below 1", id="everything is tolerated"),
        pytest.param({"toleranceErrors": float("nan")}, "above 0 and below 1", id="a tolerance that is no number"),
        pytest.param({"stable": "shadow"}, "stable is one of", id="a shadow is stable"),
        pytest.param({"stable": "c"}, "Invalid enum value", id="no such slot"),
        pytest.param({"slots": {"b": B | {"weight": 100}}}, "there is a version in it", id="stable has no version"),
        pytest.param({"slots": {"shadow": B | {"weight": 0}}}, "there is a version in it", id="a shadow alone"),
        pytest.param({"slots": {}}, "there is a version in it", id="nothing at all"),
        pytest.param({"slots": {"a": A, "b": B | {"weight": 6}}}, "add up to 100", id="weights of 101"),
        pytest.param({"slots": {"a": A | {"weight": 105}, "b": B | {"weight": -5}}}, "0 or more", id="below 0"),
        pytest.param({"slots": {"a": A, "shadow": B}}, "a shadow has no weight", id="a shadow with weight"),
        pytest.param({"slots": {"a": A, "b": A | {"weight": 5}}}, "in one slot only", id="a version twice"),
        pytest.param({"slots": {"a": A | {"revision": ""}, "b": B}}, "eight hex digits", id="no revision"),
        pytest.param({"slots": {"a": A | {"revision": "0a0a0a0a\n"}, "b": B}}, "eight hex digits", id="a line's end"),
        pytest.param({"slots": {"a": A | {"revision": "../../.."}, "b": B}}, "eight hex digits", id="a path"),
    ],
)
def test_this_means_nothing(told: dict[str, Any], why: str) -> None:
    with pytest.raises(RouteError, match=why):
        route_of(TOLD | told)


@pytest.mark.parametrize("field", TOLD)
def test_none_of_these_may_be_missing(field: str) -> None:
    with pytest.raises(RouteError, match=f"missing required field `{field}`"):
        route_of({name: value for name, value in TOLD.items() if name != field})


@pytest.mark.parametrize("told", [None, "a", [], 7])
def test_what_is_no_object_is_no_route(told: object) -> None:
    with pytest.raises(RouteError):
        route_of(told)


@pytest.mark.parametrize(
    "news",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"slots": {Slot.A: Share("0c0c0c0c", 100)}}, id="other versions"),
        pytest.param({"stable": Slot.B}, id="another stable"),
        pytest.param({"timeout_seconds": 2.0}, id="another deadline"),
        pytest.param({"sticky_seconds": 0}, id="no stay"),
        pytest.param({"tolerance_errors": 0.1}, id="another tolerance"),
    ],
)
def test_what_follows_a_route_says_what_is_new_and_all_the_rest_again(news: dict[str, Any]) -> None:
    route = route_of(TOLD | {"timeoutSeconds": 3, "stickySeconds": 60, "toleranceErrors": 0.02})
    assert route.changed(**news) == replace(route, generation=8, **news)
