"""A candidate is promoted when it has been proven, by every signal, not to be worse by the tolerance."""

import math
from collections.abc import Callable

import pytest

from tidegate_contract.evidence import FRACTIONS, Arm, Excess, Scrape, Signal, Wealth, bettors, harm_of
from tidegate_operator.core.evidence.promotion import (
    Promotion,
    needed_by_all,
    promotion_of,
    proven,
    still_needed,
)

NOTHING, EVENT, OTHER = Arm(0), Arm(1, 1), Arm(1)
EDGES = [(weight, stable) for weight in (0.01, 0.05, 0.5, 0.95) for stable in (0.0, 0.004, 0.3, 0.98)]


def exact(value: float) -> object:
    return pytest.approx(value, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(("weight", "stable"), EDGES)
def test_a_request_gains_nothing_on_average_at_the_edge_of_the_tolerance_and_less_beyond(
    weight: float, stable: float
) -> None:
    """Exactly, over everything that can become of it; each bettor on his own."""

    def means(above: float) -> list[float]:
        candidate = stable + above
        outcomes = [
            (weight * candidate, Scrape(weight, EVENT, NOTHING)),
            (weight * (1 - candidate), Scrape(weight, OTHER, NOTHING)),
            ((1 - weight) * stable, Scrape(weight, NOTHING, EVENT)),
            ((1 - weight) * (1 - stable), Scrape(weight, NOTHING, OTHER)),
        ]
        settled = [(chance, Promotion(0.01).after(scrape).wealth.logs) for chance, scrape in outcomes]
        return [sum(chance * math.exp(logs[bettor]) for chance, logs in settled) for bettor in range(7)]

    assert means(0.01) == [exact(1)] * 7
    assert all(mean < 1 for mean in means(0.02))
    assert all(mean > 1 for mean in means(0.0))


@pytest.mark.parametrize("weight", [0.01, 0.05, 0.5, 0.95])
def test_an_event_of_the_candidate_costs_each_bettor_what_he_staked(weight: float) -> None:
    lost = Promotion(0.01).after(Scrape(weight, EVENT, NOTHING)).wealth.logs
    assert lost == tuple(exact(math.log(1 - 0.95 * f)) for f in FRACTIONS)


def test_losses_between_0_and_1_count_as_what_they_are() -> None:
    """By hand: w = .2, l = .4 * .95 / (5 - .1); the candidate's loss of .5 scores 2.5, stable's -.625."""
    stake = 0.4 * 0.95 / 4.9
    found = Promotion(0.1).after_losses(0.2, {0.5: 3}, {0.5: 2, 0.0: 1}).wealth.logs[4]
    assert found == exact(3 * math.log1p(stake * (0.1 - 2.5)) + 2 * math.log1p(stake * 0.725) + math.log1p(stake * 0.1))


def test_it_begins_with_nothing_and_nothing_waits() -> None:
    assert Promotion(0.01).wealth == bettors(7)
    assert Promotion(0.01).log_evidence == exact(0)


def test_each_signal_has_the_tolerance_of_its_harm() -> None:
    assert [promotion_of(signal).tolerance for signal in Signal] == [0.01, 0.005]
    assert promotion_of(Signal.SLOW, 0.02).tolerance == harm_of(Signal.SLOW, 0.02).excess.tolerance == 0.02


@pytest.mark.parametrize("tolerance", [0.0, 1.0, -0.1, math.nan])
def test_a_tolerance_of_nothing_or_everything_is_refused(tolerance: float) -> None:
    with pytest.raises(ValueError, match="tolerance must be above 0 and below 1"):
        Promotion(tolerance)


def test_the_wealth_of_another_test_is_refused() -> None:
    with pytest.raises(ValueError, match="wealth of 8 bettors instead of 7"):
        Promotion(0.01, bettors(8))


def test_a_difference_is_never_both_harm_and_good_enough() -> None:
    """At the same outcome, one of the two at least has lost; so both cannot have proof of the same requests."""
    for events in range(0, 200, 5):
        scrape = Scrape(0.1, Arm(1000, events), Arm(9000, 90))
        harm, promotion = harm_of(Signal.ERRORS).after(scrape), promotion_of(Signal.ERRORS).after(scrape)
        assert min(harm.excess.log_evidence, promotion.log_evidence) < 0.5


def test_proof_is_a_wealth_of_20() -> None:
    def owning(wealth: float) -> Promotion:
        return Promotion(0.01, Wealth((math.log(wealth),) * 7))

    assert [proven(owning(wealth)) for wealth in (19.99, 20.01)] == [False, True]
    assert [proven(owning(wealth), 0.2) for wealth in (4.99, 5.01)] == [False, True]
    assert proven(owning(2.0), 0.5)
    with pytest.raises(ValueError, match="beta must be above 0"):
        proven(owning(2.0), 0.0)


def until_proven(candidate: float, stable: float, tolerance: float = 0.01) -> int:
    """Requests of a candidate with a tenth of the traffic; events come as evenly as they can."""
    promotion, requests = Promotion(tolerance), 0
    while not proven(promotion):
        ours, theirs = (
            math.floor((requests + 10) * share * rate) - math.floor(requests * share * rate)
            for share, rate in ((1, candidate), (9, stable))
        )
        promotion, requests = promotion.after(Scrape(0.1, Arm(10, ours), Arm(90, theirs))), requests + 10
    return requests


@pytest.mark.parametrize(
    ("rate", "tolerance", "requests"), [(0.0, 0.01, 490), (0.0, 0.005, 980), (0.005, 0.01, 920), (0.02, 0.01, 2440)]
)
def test_how_long_a_good_candidate_takes(rate: float, tolerance: float, requests: int) -> None:
    assert until_proven(rate, rate, tolerance) == requests


# ---------------------------------------------------------------- what is still needed


@pytest.mark.parametrize("weight", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("tolerance", [0.01, 0.005])
def test_without_any_error_it_is_known_from_the_start_how_long_it_takes(weight: float, tolerance: float) -> None:
    """What is expected then comes true, within a tenth."""
    theirs = round(20 * (1 - weight) / weight)
    promotion, ours = Promotion(tolerance), Arm(0)
    expected = still_needed(promotion, weight, ours, Arm(100_000), 0.05)
    assert expected is not None
    while not proven(promotion):
        promotion, ours = promotion.after(Scrape(weight, Arm(20), Arm(theirs))), Arm(ours.requests + 20)
    assert expected == pytest.approx(ours.requests, rel=0.1)


@pytest.mark.parametrize(
    ("weight", "ours", "theirs", "lead"),
    [
        (0.25, Arm(900, 8), Arm(3000, 30), 0.0),
        (0.9, Arm(900, 8), Arm(3000, 30), 0.5),
        (0.9, Arm(40), Arm(10), 0.0),
        (0.97, Arm(0), Arm(0), -1.0),
        (0.93, Arm(40), Arm(50), 2.9),
    ],
)
def test_what_is_still_needed_is_the_smallest_number_that_is_enough(
    weight: float, ours: Arm, theirs: Arm, lead: float
) -> None:
    """By hand, request after request; `lead` is ln of what every bettor owns to begin with."""
    stakes = [f * 0.95 / (1 / weight - 0.01) for f in FRACTIONS]
    stable = (theirs.events + 0.1) / (theirs.requests + 100)
    candidate = (ours.events + 100 * stable) / (ours.requests + 100)
    growth = [
        weight * candidate * math.log1p(stake * (0.01 - 1 / weight))
        + (1 - weight) * stable * math.log1p(stake * (0.01 + 1 / (1 - weight)))
        + (1 - weight * candidate - (1 - weight) * stable) * math.log1p(stake * 0.01)
        for stake in stakes
    ]
    requests = 0
    while sum(math.exp(lead + requests * each) for each in growth) / 7 < 20:
        requests += 1
    found = still_needed(Promotion(0.01, Wealth((lead,) * 7)), weight, ours, theirs)
    assert found == math.ceil(requests * weight)


def test_nothing_is_needed_any_more_once_it_is_proven_and_one_request_just_before() -> None:
    def needed(log: float, beta: float = 0.05) -> int | None:
        return still_needed(Promotion(0.01, Wealth((log,) * 7)), 0.9, Arm(1000), Arm(9000), beta)

    enough = -math.log(0.05)
    assert (needed(enough), needed(enough - 1e-6), needed(enough - 1e-6, 0.06)) == (0, 1, 0)


def test_a_candidate_that_is_worse_by_the_tolerance_needs_longer_than_anybody_waits() -> None:
    assert still_needed(Promotion(0.01), 0.1, Arm(1000, 20), Arm(9000, 9)) is None
    assert still_needed(Promotion(0.01, Wealth((-1e9,) * 7)), 0.1, Arm(1000), Arm(9000)) is None


def test_a_proof_that_takes_a_hundred_million_requests_is_none_to_wait_for() -> None:
    found = [
        still_needed(Promotion(0.01, Wealth((-debt,) * 7)), 0.5, Arm(1000), Arm(10**9)) for debt in (400_000, 500_000)
    ]
    assert found[1] is None
    assert found[0] == pytest.approx(42_000_000, rel=0.02)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: still_needed(Promotion(0.01), 0.0, OTHER, OTHER), "weight"),
        (lambda: still_needed(Promotion(0.01), 1.0, OTHER, OTHER), "weight"),
        (lambda: still_needed(Promotion(0.01), 0.5, OTHER, OTHER, 1.0), "beta"),
    ],
)
def test_a_weight_or_chance_that_is_none_is_refused(make: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=f"{says} must be above 0 and below 1"):
        make()


def test_every_signal_is_waited_for() -> None:
    assert needed_by_all([3, 970, 480]) == 970
    assert needed_by_all([3, None, 480]) is None
    assert needed_by_all([0, 0]) == needed_by_all([]) == 0


def test_harm_and_promotion_look_at_the_same_scores() -> None:
    """A bettor on the one wins what his like on the other would lose, stake for stake."""
    weight, tolerance = 0.5, 0.01
    scrape = Scrape(weight, Arm(3, 1), Arm(3, 2))
    harm, promotion = Excess(tolerance, bettors(8)).after(scrape), Promotion(tolerance).after(scrape)
    up, down = 2 - tolerance, -2 - tolerance
    for place, fraction in enumerate(FRACTIONS):
        stake = fraction * 0.95 / (2 + tolerance)
        won = math.log1p(stake * up) + 2 * math.log1p(stake * down) + 3 * math.log1p(-stake * tolerance)
        assert harm.wealth.logs[place + 1] == exact(won)
        stake = fraction * 0.95 / (2 - tolerance)
        won = math.log1p(-stake * up) + 2 * math.log1p(-stake * down) + 3 * math.log1p(stake * tolerance)
        assert promotion.wealth.logs[place] == exact(won)
