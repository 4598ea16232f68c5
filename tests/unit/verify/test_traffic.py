"""The search of the traffic finds what is wrong, and a small world of it holds."""

import pytest

from tidegate_operator.core.guards import ALL, Guard, Guards
from verify import traffic

SMALL = (traffic.begin(1, 0),)
TROUBLED = (traffic.midway(1, 1),)


def test_one_change_of_mind_loses_no_request_and_comes_to_rest() -> None:
    result = traffic.search(ALL, SMALL)
    assert result.counterexample is None
    assert result.states > 1000


@pytest.mark.parametrize("guard", sorted(traffic.GUARDS))
def test_without_a_guard_a_promise_breaks(guard: Guard) -> None:
    starts = TROUBLED if guard == Guard.STABLE_READY else SMALL
    assert traffic.search(Guards(frozenset({guard})), starts).counterexample
