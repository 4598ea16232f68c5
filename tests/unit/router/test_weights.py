"""The weights in force."""

import pytest

from tidegate_contract.route import Route, Share, Slot
from tidegate_router.weights import Weights, effective

A, B, SHADOW = Slot.A, Slot.B, Slot.SHADOW
BOTH = {A, B}


@pytest.mark.parametrize(
    ("stable", "served", "led", "weights"),
    [
        pytest.param(A, BOTH, True, {A: 95, B: 5}, id="those of the route where all is well"),
        pytest.param(A, BOTH, False, {A: 100, B: 0}, id="a candidate has none while nobody looks after it"),
        pytest.param(A, {A}, True, {A: 100, B: 0}, id="a candidate has none without a pod"),
        pytest.param(A, {B}, True, {A: 95, B: 5}, id="stable keeps its own without a pod"),
        pytest.param(A, set(), True, {A: 100, B: 0}, id="stable has all where nobody has a pod"),
        pytest.param(B, BOTH, False, {A: 0, B: 100}, id="stable may be b"),
        pytest.param(B, {B}, True, {A: 0, B: 100}, id="then a is the candidate"),
    ],
)
def test_the_weights_in_force(stable: Slot, served: set[Slot], led: bool, weights: Weights) -> None:
    route = Route(10000, 1, stable, {A: Share("0a", 95), B: Share("0b", 5), SHADOW: Share("0c")})
    assert effective(route, served, led=led) == weights


@pytest.mark.parametrize(
    ("latched", "weights"),
    [
        pytest.param(B, {A: 100, B: 0}, id="a candidate that has failed too often has none"),
        pytest.param(None, {A: 95, B: 5}, id="others have theirs"),
        pytest.param(A, {A: 95, B: 5}, id="stable is served whatever happens"),
    ],
)
def test_a_latch_is_of_one_slot(latched: Slot | None, weights: Weights) -> None:
    route = Route(10000, 1, A, {A: Share("0a", 95), B: Share("0b", 5), SHADOW: Share("0c")})
    assert effective(route, BOTH, led=True, latched=latched) == weights


def test_stable_alone_has_all() -> None:
    assert effective(Route(10000, 1, B, {B: Share("0b", 100)}), set(), led=False) == {B: 100}
