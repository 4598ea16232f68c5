"""The search of the rollouts finds what is wrong, and small worlds of it hold."""

import pytest

from tidegate_operator.core.guards import Guard, Guards
from tidegate_operator.core.types import Strategy
from verify import rollout
from verify.routed import Budget, canonical


@pytest.mark.parametrize(
    ("name", "budget"), [("canary", Budget(1, 1, 0)), ("entering", Budget(1, 0, 0)), ("made", Budget(0, 1, 0))]
)
def test_a_change_of_mind_loses_no_request_and_it_comes_to_rest(name: str, budget: Budget) -> None:
    result = rollout.search(rollout.named(name)._replace(budgets=(budget,)))
    assert result.counterexample is None
    assert result.states > 100


@pytest.mark.parametrize(
    ("guard", "name", "budget"),
    [
        (Guard.PODS_READY, "canary", Budget(1, 0, 1)),
        (Guard.PODS_KNOWN, "canary", Budget(1, 0, 0)),
        (Guard.STABLE_READY, "approval", Budget(0, 1, 1)),
        (Guard.ACKNOWLEDGED, "approval", Budget(0, 1, 0)),
        (Guard.NOT_PAUSED, "approval", Budget(0, 2, 0)),
    ],
)
def test_without_a_guard_a_promise_breaks(guard: Guard, name: str, budget: Budget) -> None:
    start = rollout.named(name)._replace(budgets=(budget,))
    assert rollout.search(start, Guards(frozenset({guard}))).counterexample


def test_a_counterexample_tells_every_move() -> None:
    start = rollout.named("approval")._replace(budgets=(Budget(0, 2, 0),))
    found = rollout.search(start, Guards(frozenset({Guard.NOT_PAUSED}))).counterexample
    assert found is not None
    assert found.promise == "B has more weight, and people have paused it"
    assert found.moves[:2] == ("a person says Pause", "the operator begins a look")


def test_states_that_differ_in_the_order_of_their_routers_are_one() -> None:
    state = rollout.waiting(Strategy.CANARY)
    first, second = state.routers
    other = first._replace(pods=(), said=())
    assert canonical(state._replace(routers=(other, second))) == canonical(state._replace(routers=(second, other)))
