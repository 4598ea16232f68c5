"""Slow is what takes 1.5 times as long as 99 % of stable's answers; a candidate has no say in it."""

import math
from collections.abc import Callable, Sequence

import pytest

from tidegate_contract.counters import SLOW_BOUNDS, slow_cell
from tidegate_contract.evidence import Arm
from tidegate_operator.core.evidence.slow import quantile, slower_than, threshold

BOUNDS = (0.01, 0.02, 0.05, 0.1)


def cells_of(seconds: Sequence[float]) -> list[int]:
    """As a pod counts."""
    cells = [0] * (len(SLOW_BOUNDS) + 1)
    for each in seconds:
        cells[slow_cell(each)] += 1
    return cells


@pytest.mark.parametrize(
    ("cells", "share", "seconds"),
    [
        pytest.param([500, 490, 10, 0, 0], 0.99, 0.02, id="it ends with a cell"),
        pytest.param([500, 480, 20, 0, 0], 0.99, 0.02 * 2.5**0.5, id="it is in the middle of a cell, by the logarithm"),
        pytest.param([0, 0, 0, 1000, 0], 0.25, 0.05 * 2**0.25, id="everything is in one cell"),
        pytest.param([1000, 5, 0, 0, 0], 0.99, 0.01, id="it is in the first cell, of which only the end is known"),
        pytest.param([990, 0, 0, 0, 10], 0.99, 0.01, id="the first cell ends just there"),
        pytest.param([989, 0, 0, 0, 11], 0.99, None, id="it is above all bounds"),
        pytest.param([500, 490, 9, 0, 0], 0.99, None, id="there are too few"),
        pytest.param([0, 0, 0, 0, 0], 0.99, None, id="there are none"),
    ],
)
def test_a_quantile_is_known_to_within_its_cell(cells: list[int], share: float, seconds: float | None) -> None:
    found = quantile(cells, BOUNDS, share)
    assert found == (seconds if seconds is None else pytest.approx(seconds, rel=1e-12))


def test_it_is_the_99_percent_quantile_of_the_product_s_own_cells_if_nothing_else_is_asked() -> None:
    cells = [0] * 65
    cells[30], cells[31] = 980, 20
    assert quantile(cells) == pytest.approx(SLOW_BOUNDS[30] * 1.2**0.5, rel=1e-12)
    assert quantile(cells, least=1001) is None
    assert quantile([0] * 65, least=0) is None
    assert quantile([0, 1, 0], (1.0, 2.0), least=0) == pytest.approx(2**0.99)


@pytest.mark.parametrize(
    ("objective", "seconds"),
    [(None, 0.05), (0.02, 0.05), (0.05, 0.05), (0.0501, 0.1), (0.1, 0.1), (0.11, None)],
)
def test_the_threshold_is_the_first_bound_above_1_5_times_the_quantile_and_the_objective(
    objective: float | None, seconds: float | None
) -> None:
    assert threshold([500, 490, 10, 0, 0], objective, BOUNDS) == seconds


def test_the_threshold_may_be_just_1_5_times_the_quantile() -> None:
    assert threshold([990, 10, 0], None, (0.5, 0.75)) == 0.75
    assert threshold([990, 10, 0], None, (0.5, 0.7499)) is None
    assert threshold([990, 10, 0], None, (0.5, 0.75), 1001) is None


def test_without_a_quantile_there_is_no_threshold() -> None:
    assert threshold([100, 99, 1, 0, 0], 0.02, BOUNDS) is None
    assert threshold([0] * 65) is None


@pytest.mark.parametrize("scale", [0.0007, 0.003, 0.0101, 0.052, 0.4])
@pytest.mark.parametrize("spread", [0.1, 0.35, 1.0])
def test_the_threshold_is_1_25_to_2_16_times_the_true_quantile(scale: float, spread: float) -> None:
    """Answers at even quantiles of a lognormal distribution, 20,000 of them."""
    seconds = sorted(
        scale * math.exp(spread * math.tan(math.pi * (k + 0.5) / 20_001 - math.pi / 2) / 9) for k in range(20_000)
    )
    true = seconds[19_800]
    found = threshold(cells_of(seconds))
    assert found is not None
    assert true < SLOW_BOUNDS[0] or 1.25 <= found / true <= 2.16


def test_answers_above_the_threshold_are_events() -> None:
    assert slower_than(0.02, [1, 2, 3, 4, 5], BOUNDS) == Arm(15, 12)
    assert slower_than(0.1, [1, 2, 3, 4, 5], BOUNDS) == Arm(15, 5)
    cells = cells_of([0.003, SLOW_BOUNDS[20], SLOW_BOUNDS[20] * 1.01, 5.0])
    assert slower_than(SLOW_BOUNDS[20], cells) == Arm(4, 2)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: quantile([1, 1], (1.0, 2.0)), "2 cells for 2 bounds"),
        (lambda: quantile([1, 1, 1], (2.0, 1.0)), "bounds must be above 0 and rise"),
        (lambda: quantile([1, 1, 1], (1.0, 1.0)), "bounds must be above 0 and rise"),
        (lambda: quantile([1, 1, 1], (0.0, 1.0)), "bounds must be above 0 and rise"),
        (lambda: quantile([1, -1, 1], (1.0, 2.0)), "a count must be"),
        (lambda: quantile([1, 1, 1], (1.0, 2.0), 1.0), "share must be above 0 and below 1"),
        (lambda: slower_than(0.03, [1, 2, 3, 4, 5], BOUNDS), "one of the bounds, which 0.03 is not"),
    ],
)
def test_what_cannot_be_is_refused(make: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()
