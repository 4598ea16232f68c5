"""Evidence rests on requests being divided by the weights: that they are not is found before anything else is
believed."""

import math

import pytest

from tidegate_contract.evidence import Arm, Scrape, Signal, Wealth, bettors, origin_bets
from tidegate_operator.core.evidence.promotion import promotion_of, proven
from tidegate_operator.core.evidence.split import RATIOS, Split, broken


def exact(value: float) -> object:
    return pytest.approx(value, rel=1e-12, abs=1e-12)


def test_bettors_say_a_fifth_or_a_tenth_less_or_a_tenth_or_a_quarter_more() -> None:
    assert list(RATIOS) == [0.8, 0.9, 1.1, 1.25]
    assert Split().wealth == bettors(4, 0.5)
    assert Split().log_evidence == exact(0)


@pytest.mark.parametrize("weight", [0.01, 0.1, 0.5, 0.95])
def test_a_request_gains_nothing_on_average_where_the_split_is_right(weight: float) -> None:
    for won, lost in origin_bets(weight, 1.0, RATIOS):
        assert weight * math.exp(won) + (1 - weight) * math.exp(lost) == exact(1)


def test_every_request_counts_whatever_became_of_it() -> None:
    """By hand: q = w R / (1 - w + w R), against w."""
    found = Split(bettors(4)).after(Scrape(0.2, Arm(3, 2), Arm(5, 1))).wealth.logs
    shares = [0.2 * ratio / (0.8 + 0.2 * ratio) for ratio in RATIOS]
    assert found == tuple(exact(3 * math.log(q / 0.2) + 5 * math.log((1 - q) / 0.8)) for q in shares)


@pytest.mark.parametrize(("given", "until"), [(0.0, 9), (0.06, 26), (0.16, 16)])
def test_a_share_that_is_another_one_is_found(given: float, until: int) -> None:
    """Scrapes of 50 requests, of which the candidate should get a tenth."""
    split, ours = Split(), round(50 * given)
    for number in range(1, until + 1):
        split = split.after(Scrape(0.1, Arm(ours), Arm(50 - ours)))
        assert broken(split) == (number == until)


def test_an_exact_split_is_never_called_broken() -> None:
    split = Split()
    for number in range(1000):
        weight = (0.1, 0.5)[number // 500]
        split = split.after(Scrape(weight, Arm(round(100 * weight)), Arm(round(100 * (1 - weight)))))
        assert not broken(split)
    assert split.log_evidence < 0


def test_it_is_broken_at_a_wealth_of_1000() -> None:
    def owning(wealth: float) -> Split:
        return Split(Wealth((math.log(wealth),) * 4))

    assert [broken(owning(wealth)) for wealth in (999, 1001)] == [False, True]
    assert [broken(owning(wealth), 0.01) for wealth in (99, 101)] == [False, True]
    assert broken(owning(2.0), 0.5)
    with pytest.raises(ValueError, match="alpha must be above 0"):
        broken(Split(), 0.0)
    with pytest.raises(ValueError, match="wealth of 5 bettors instead of 4"):
        Split(bettors(5))


def test_a_candidate_that_gets_no_requests_breaks_the_split_before_it_can_be_promoted() -> None:
    """It shows no errors either: without the split it would be."""
    split, promotion = Split(), promotion_of(Signal.ERRORS)
    for _ in range(200):
        scrape = Scrape(0.1, Arm(0), Arm(50))
        split, promotion = split.after(scrape), promotion.after(scrape)
        assert broken(split) or not proven(promotion)
    assert proven(promotion)
