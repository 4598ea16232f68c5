"""Intervals of paired differences: that they hold as often as they say."""

import math

import numpy as np
import pytest
from scipy import special

from tidegate_server.offline.intervals import Interval, of_means, of_shares


def test_a_mean_has_students_interval() -> None:
    """Of 1, 2, 3, 4: the mean 2.5, its standard error 0.6455, and 3.1824 of them on three degrees of freedom."""
    found = of_means(np.array([1.0, 2.0, 3.0, 4.0]), 0.95)
    assert (found.low, found.estimate, found.high) == pytest.approx((0.44574, 2.5, 4.55426), abs=1e-5)


def test_one_row_says_nothing_of_what_it_leaves_open() -> None:
    assert of_means(np.array([2.0]), 0.95) == Interval(-math.inf, 2.0, math.inf)


@pytest.mark.parametrize("n", [1, 7, 100, 10_000])
def test_where_no_row_differs_the_interval_of_a_share_is_the_one_in_closed_form(n: int) -> None:
    """z^2 / (n + z^2) to either side."""
    z2 = special.ndtri(0.975) ** 2
    found = of_shares(0, 0, n, 0.95)
    assert (found.low, found.estimate, found.high) == pytest.approx((-z2 / (n + z2), 0, z2 / (n + z2)), abs=1e-9)


@pytest.mark.parametrize(("first", "second", "n"), [(0, 5, 5), (5, 0, 5), (3, 3, 6), (1, 0, 1), (2, 12, 50)])
def test_an_interval_of_a_share_holds_its_estimate_and_turns_with_the_order(first: int, second: int, n: int) -> None:
    found, turned = of_shares(first, second, n, 0.95), of_shares(second, first, n, 0.95)
    assert -1 <= found.low <= found.estimate <= found.high <= 1
    assert (found.low, found.high) == pytest.approx((-turned.high, -turned.low), abs=1e-9)
    wider = of_shares(first, second, n, 0.99)
    assert wider.low <= found.low
    assert wider.high >= found.high


@pytest.mark.parametrize(
    ("only_first", "only_second", "n"),
    [(0.1, 0.2, 40), (0.02, 0.05, 60), (0.3, 0.3, 30), (0.0, 0.1, 50), (0.05, 0.05, 100), (0.5, 0.05, 25)],
)
def test_an_interval_of_a_share_holds_the_truth_about_as_often_as_it_says(
    only_first: float, only_second: float, n: int
) -> None:
    """Over every outcome there is, weighted by its chance. A score interval is right on average, not at least."""
    held = 0.0
    for first in range(n + 1):
        for second in range(n + 1 - first):
            rest = n - first - second
            chance = math.exp(
                math.lgamma(n + 1)
                - math.lgamma(first + 1)
                - math.lgamma(second + 1)
                - math.lgamma(rest + 1)
                + special.xlogy(first, only_first)
                + special.xlogy(second, only_second)
                + special.xlogy(rest, 1 - only_first - only_second)
            )
            if chance > 1e-7:
                found = of_shares(first, second, n, 0.95)
                held += chance * (found.low <= only_second - only_first <= found.high)
    assert 0.93 <= held <= 0.99
