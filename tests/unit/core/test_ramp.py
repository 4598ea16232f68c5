"""The weights that follow from a budget."""

from hypothesis import given
from hypothesis import strategies as st

from tidegate_operator.core.ramp import UNKNOWN, WEIGHTS, damage, ramp

rates = st.floats(1e-3, 1e5)
budgets = st.integers(1, 10**6)


@given(rates, budgets)
def test_the_first_weight_is_the_largest_that_costs_no_more_than_the_budget(rate: float, budget: int) -> None:
    first = ramp(rate, budget)[0]
    larger = [weight for weight in WEIGHTS if weight > first]
    assert damage(first, rate) <= budget or first == WEIGHTS[0]
    assert all(damage(weight, rate) > budget for weight in larger)


@given(rates, budgets)
def test_the_weights_rise_and_end_where_proof_comes_soonest(rate: float, budget: int) -> None:
    found = ramp(rate, budget)
    assert list(found) == sorted(set(found))
    assert found[-1] == WEIGHTS[-1]
    assert set(found) <= set(WEIGHTS)


def test_of_a_model_without_requests_nothing_is_known() -> None:
    assert ramp(0, 10**6) == UNKNOWN


def test_a_verdict_takes_as_many_failed_answers_as_evidence_says() -> None:
    assert [round(damage(weight, 0)) for weight in WEIGHTS] == [2, 3, 3, 4, 6, 13]
