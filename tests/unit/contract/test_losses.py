"""Cells that every pod cuts alike, and counts that add up."""

import msgspec
import pytest

from tidegate_contract.losses import (
    GROWTH,
    HIGHEST,
    LOWEST,
    Arm,
    ArmLosses,
    Losses,
    LossReport,
    add,
    brier_cell,
    delay_cell,
    error_cell,
    merge,
)


@pytest.mark.parametrize(
    ("score", "cell"), [(0.0, 0), (0.03124, 0), (0.03125, 1), (0.99, 31), (1.0, 31), (1.0001, 31), (-1e-9, 0)]
)
def test_brier_scores_have_32_equal_cells(score: float, cell: int) -> None:
    assert brier_cell(score) == cell


@pytest.mark.parametrize("cell", [LOWEST + 1, -10, 0, 1, 2, 100, HIGHEST - 1])
def test_a_cell_of_errors_holds_its_upper_edge_and_not_its_lower_one(cell: int) -> None:
    upper, lower = GROWTH**cell, GROWTH ** (cell - 1)
    assert (error_cell(upper), error_cell((upper + lower) / 2), error_cell(lower)) == (cell, cell, cell - 1)


def test_the_outermost_cells_of_errors_hold_all_the_rest() -> None:
    assert (error_cell(5e-324), error_cell(1.7e308)) == (LOWEST, HIGHEST)


@pytest.mark.parametrize(
    ("seconds", "cell"), [(-3, 0), (0.99, 0), (1, 1), (1.99, 1), (2, 2), (86_400, 17), (2**25, 26), (2.0**40, 26)]
)
def test_cells_of_delays_double_from_one_second(seconds: float, cell: int) -> None:
    assert delay_cell(seconds) == cell


ONE = Losses(1, 2, {0: 3}, 4, {-5: 6}, {7: 8})
OTHER = Losses(10, 20, {0: 30, 1: 1}, 40, {5: 60}, {7: 80})
BOTH = Losses(11, 22, {0: 33, 1: 1}, 44, {-5: 6, 5: 60}, {7: 88})


def test_every_count_is_added() -> None:
    assert add(ONE, OTHER) == BOTH


def test_reports_of_pods_are_merged_by_arm() -> None:
    new, old = Arm("b", 1, True), Arm("a", 2, False)
    first = LossReport((ArmLosses(new, ONE),), dropped=1)
    second = LossReport((ArmLosses(old, ONE), ArmLosses(new, OTHER)), dropped=2)
    assert merge([first, second]) == LossReport((ArmLosses(old, ONE), ArmLosses(new, BOTH)), dropped=3)


def test_a_report_travels_as_json() -> None:
    report = LossReport((ArmLosses(Arm("a", 1, True), ONE),), dropped=1)
    assert msgspec.json.decode(msgspec.json.encode(report), type=LossReport) == report
