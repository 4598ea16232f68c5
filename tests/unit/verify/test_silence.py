"""The search of the routers that do not answer finds what is wrong, and it holds."""

import pytest

from tidegate_operator.core.guards import Guard, Guards
from verify import silence


def test_routers_are_ended_one_by_one_and_never_the_last_that_answers() -> None:
    result = silence.search()
    assert result.counterexample is None
    assert result.states > 100


@pytest.mark.parametrize("guard", sorted(silence.GUARDS))
def test_without_a_guard_a_promise_breaks(guard: Guard) -> None:
    assert silence.search(Guards(frozenset({guard}))).counterexample
