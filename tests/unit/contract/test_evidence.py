"""Harm: a wealth that gains nothing while its hypothesis is true, and much as soon as it is not."""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise, product

import pytest

from tidegate_contract.evidence import (
    ALPHA,
    EXCESS_FRACTIONS,
    FRACTIONS,
    LIMITS,
    RESERVE,
    TOLERANCES,
    Arm,
    Contrast,
    Excess,
    Harm,
    Ratio,
    Scrape,
    Signal,
    StateError,
    Wealth,
    alternatives,
    bettors,
    contrast,
    dump,
    harm_of,
    harmful,
    increase,
    inside,
    load,
    log_mean,
    log_sum,
    mean_gains,
    merged,
    origin_bets,
    scores,
    whole,
)

NOTHING = Arm(0)
EVENT, OTHER = Arm(1, 1), Arm(1)
NEVER = -math.inf


def exact(value: float) -> object:
    return pytest.approx(value, rel=1e-12, abs=1e-12)


def one_request(weight: float, candidate: float, stable: float) -> Iterator[tuple[float, Scrape]]:
    """Everything that can become of one request, with its probability; the arguments: weight and rates of events."""
    yield weight * candidate, Scrape(weight, EVENT, NOTHING)
    yield weight * (1 - candidate), Scrape(weight, OTHER, NOTHING)
    yield (1 - weight) * stable, Scrape(weight, NOTHING, EVENT)
    yield (1 - weight) * (1 - stable), Scrape(weight, NOTHING, OTHER)


# ---------------------------------------------------------------- what a scrape says


@pytest.mark.parametrize(
    ("make", "says"),
    [
        pytest.param(
            lambda: Arm(-1), "requests must be a whole number from 0 to 2^63 - 1, not -1", id="fewer than none"
        ),
        pytest.param(lambda: Arm(1, -1), "events must be a whole number", id="fewer events than none"),
        pytest.param(lambda: Arm(3, math.nan), "events must be a whole number", id="events that are no number"),  # type: ignore[arg-type]
        pytest.param(lambda: Arm(2.0), "requests must be a whole number", id="a number with a fraction"),  # type: ignore[arg-type]
        pytest.param(lambda: Arm(2**63), "2^63 - 1", id="more than a counter can hold"),
        pytest.param(lambda: Arm(3, 4), "4 events among 3 requests", id="more events than requests"),
        pytest.param(lambda: Scrape(0.0, OTHER, OTHER), "weight must be above 0 and below 1, not 0.0", id="no weight"),
        pytest.param(lambda: Scrape(1.0, OTHER, OTHER), "weight must be above 0 and below 1", id="all weight"),
        pytest.param(lambda: Scrape(math.nan, OTHER, OTHER), "not nan", id="a weight that is no number"),
        pytest.param(lambda: Scrape(0.1, OTHER, OTHER).at(1.5), "not 1.5", id="another weight that is none"),
        pytest.param(lambda: Ratio(0.99, bettors(40)), "limit must be 1 or more and below 182", id="a limit below 1"),
        pytest.param(lambda: Ratio(200 / 1.1, bettors(40)), "limit must be", id="a limit beyond all alternatives"),
        pytest.param(lambda: Excess(0.0, bettors(8)), "tolerance must be above 0", id="no tolerance"),
        pytest.param(lambda: harm_of(Signal.ERRORS, 1.0), "below 1, not 1.0", id="a tolerance of everything"),
        pytest.param(lambda: bettors(0), "a bettor at least", id="no bettor"),
        pytest.param(lambda: Wealth((0.0, math.nan)), "logarithms that are numbers", id="a wealth that is no number"),
        pytest.param(lambda: Wealth((0.0, math.inf)), "logarithms that are numbers", id="a wealth without end"),
        pytest.param(lambda: bettors(2, 1.0), "reserve must be 0 or more and below 1, not 1.0", id="all in reserve"),
        pytest.param(lambda: bettors(2, -0.1), "reserve must be", id="less than no reserve"),
        pytest.param(lambda: Ratio(1.5, bettors(39)), "39 bettors instead of 40", id="another test's on a ratio"),
        pytest.param(lambda: Excess(0.1, bettors(9)), "9 bettors instead of 8", id="another test's on an excess"),
        pytest.param(lambda: Contrast((1,), (1, 2), (0.0,)), "as many bins of the one", id="more bins of stable"),
        pytest.param(lambda: Contrast((1,), (1,), ()), "as many bins of the one", id="fewer bins of the past"),
        pytest.param(lambda: Wealth((0.0,), 0.0, -1), "rounds must be a whole number", id="fewer rounds than none"),
        pytest.param(lambda: merged([]), "not under []", id="nothing to merge"),
        pytest.param(
            lambda: merged([Scrape(0.2, OTHER, OTHER), Scrape(0.1, OTHER, OTHER)]),
            "merged under one weight, not under [0.1, 0.2]",
            id="two weights to merge",
        ),
        pytest.param(
            lambda: increase({"a": (5, 0)}, {"a": (4, 0)}), "counter 0 of a must be", id="a counter that fell"
        ),
        pytest.param(lambda: increase({"a": (5, 2)}, {"a": (5, 1)}), "counter 1 of a must be", id="the other one"),
        pytest.param(lambda: increase({}, {"a": (1, 2, 3)}), "a has 2 and then 3 counters instead of 2", id="too many"),
        pytest.param(lambda: increase({"a": (1,)}, {"a": (1, 2)}), "a has 1 and then 2", id="too few before"),
        pytest.param(
            lambda: contrast(2).after(0.1, (1, 2, 3), (1, 2)), "3 and 2 counts instead of 2", id="too many bins"
        ),
        pytest.param(lambda: contrast(2).after(0.1, (1, 2), (1,)), "2 and 1 counts instead of 2", id="too few bins"),
        pytest.param(lambda: contrast(2).after(0.1, (1, -2), (1, 0)), "a count must be", id="a bin below nothing"),
        pytest.param(lambda: contrast(2).after(0.1, (1, 2), (1, -1)), "a count must be", id="and one of stable"),
        pytest.param(lambda: contrast(2).after(0.0, (1, 2), (1, 1)), "weight must be", id="bins under no weight"),
        pytest.param(lambda: scores(0.5, {1.1: 1}, {}), "a loss must lie in [0, 1], not be 1.1", id="too large a loss"),
        pytest.param(lambda: scores(0.5, {}, {-0.1: 1}), "a loss must lie in [0, 1]", id="a loss below 0"),
        pytest.param(lambda: scores(0.5, {math.nan: 1}, {}), "not be nan", id="a loss that is no number"),
        pytest.param(lambda: scores(0.5, {0.5: -1}, {}), "a count must be", id="fewer losses than none"),
        pytest.param(lambda: scores(1.0, {}, {}), "weight must be", id="losses under all weight"),
        pytest.param(lambda: harmful(harm_of(Signal.SLOW), 0), "one signal at least", id="no signal"),
        pytest.param(lambda: harmful(harm_of(Signal.SLOW), -1), "signals must be a whole", id="fewer than no signal"),
        pytest.param(
            lambda: harmful(harm_of(Signal.SLOW), 1, 0.0), "alpha must be above 0", id="no chance of an alarm"
        ),
    ],
)
def test_what_cannot_be_is_refused_and_the_message_says_what_it_is(make: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 # the words are asked for below
        make()
    assert says in str(refused.value)


def test_the_outermost_numbers_that_can_be_are_taken() -> None:
    assert (whole(0, "x"), whole(2**63 - 1, "x"), inside(1e-300, "x"), inside(-0.5, "x", -1, 1)) == (
        0,
        2**63 - 1,
        1e-300,
        -0.5,
    )
    assert (Arm(3, 3).others, Arm(3).others, Ratio(1.0, bettors(40)).limit) == (0, 3, 1.0)
    assert scores(0.5, {0.0: 1}, {1.0: 1}) == [(0.0, 1), (-2.0, 1)]
    assert not harmful(harm_of(Signal.ERRORS), 1)


def test_scrapes_under_one_weight_add_up() -> None:
    parts = [Scrape(0.1, Arm(5, 1), Arm(50, 2)), Scrape(0.1, Arm(7, 3), Arm(70, 4)), Scrape(0.1, NOTHING, NOTHING)]
    assert merged(parts) == Scrape(0.1, Arm(12, 4), Arm(120, 6))
    assert merged(iter(parts[:1])) == parts[0]


def test_a_scrape_can_be_seen_under_another_weight() -> None:
    """As one in which the weight changed has to be: under the largest for harm, under the smallest for promotion."""
    assert Scrape(0.1, EVENT, OTHER).at(0.2) == Scrape(0.2, EVENT, OTHER)
    larger, smaller = (harm_of(Signal.ERRORS).after(Scrape(0.1, Arm(9, 9), Arm(90, 1)).at(w)) for w in (0.2, 0.1))
    assert larger.ratio.log_evidence < smaller.ratio.log_evidence
    assert larger.excess.log_evidence < smaller.excess.log_evidence


def test_nothing_is_lost_of_counters_however_seldom_they_are_read() -> None:
    """Of two processes one starts anew, and a third comes and goes: each of its lives is a source of its own."""
    readings = [
        {"a/1": (10, 1), "b/1": (20, 2)},
        {"a/1": (15, 1), "b/1": (30, 4), "c/1": (4, 4)},
        {"a/1": (15, 1), "b/2": (3, 0), "c/1": (5, 4)},
        {"a/1": (19, 2), "b/2": (9, 1)},
    ]
    often = [increase(before, now) for before, now in zip([{}, *readings], readings, strict=False)]
    assert often == [(30, 3), (19, 6), (4, 0), (10, 2)]
    assert increase(readings[0], readings[2]) == (5 + 3 + 5, 0 + 0 + 4)


def test_counters_are_summed_cell_by_cell() -> None:
    assert increase({"a": (1, 1, 1)}, {"a": (2, 4, 8), "b": (1, 0, 0)}, 3) == (2, 3, 7)
    assert increase({"gone": (1, 1)}, {}) == (0, 0)


# ---------------------------------------------------------------- wealth


def test_means_and_sums_are_those_of_the_numbers_themselves() -> None:
    assert log_mean([math.log(2), math.log(4), math.log(9)]) == exact(math.log(5))
    assert log_mean([1000.0, 1000.0]) == exact(1000)
    assert log_mean([NEVER, 0.0]) == exact(-math.log(2))
    assert log_mean([NEVER, NEVER]) == NEVER
    for one, other in [(2.0, 3.0), (3.0, 2.0), (2.0, 2.0)]:
        assert log_sum(math.log(one), math.log(other)) == exact(math.log(one + other))
    assert log_sum(1.0, NEVER) == 1.0
    assert (log_sum(800.0, -800.0), log_sum(-800.0, 800.0)) == (800.0, 800.0)


def test_a_wealth_begins_as_1_and_stays_what_it_is_until_something_says_anything() -> None:
    for reserve in (0.0, RESERVE):
        wealth = bettors(3, reserve)
        assert wealth.log_evidence == exact(0)
        assert wealth.after([0.0, -0.0, 0]) is wealth


def test_without_a_reserve_each_bettor_has_what_his_bets_made_of_1() -> None:
    wealth = bettors(2).after([math.log(3), 0.0]).after([math.log(5), -math.log(2)])
    assert wealth == Wealth((math.log(3) + math.log(5), -math.log(2)), 0.0, 2)
    assert wealth.log_evidence == exact(math.log((15 + 0.5) / 2))


def test_what_waits_survives_all_bettors_and_a_16th_root_of_it_is_left_after_15_rounds_but_no_faster() -> None:
    wealth = bettors(3, 0.5)
    for _ in range(15):
        wealth = wealth.after([NEVER] * 3)
    assert wealth == Wealth((NEVER,) * 3, 0.5, 15)
    assert wealth.log_evidence == exact(math.log(0.5 * 16**-0.25))


def test_what_joins_before_a_round_bets_in_it() -> None:
    """Of two rounds the first ruins everybody, and the second makes nine times of what came between."""
    wealth = bettors(2, 0.5).after([NEVER, NEVER]).after([math.log(9)] * 2)
    joined, left = 0.5 * (2**-0.25 - 3**-0.25), 0.5 * 3**-0.25
    assert wealth.log_evidence == exact(math.log(9 * joined + left))


@pytest.mark.parametrize(("began", "costs"), [(10, 5.0), (100, 7.8), (10_000, 13.6), (1_000_000, 19.35)])
def test_to_see_harm_that_begins_late_costs_a_logarithm_of_the_time(began: int, costs: float) -> None:
    """ln(8 t^1.25) nats: what one round joins for which everything before is lost."""
    joined = Wealth((NEVER,), 0.5, began - 1).after([1.0])
    invested = math.log(0.5) + joined.logs[0] - 1.0
    assert -invested == pytest.approx(math.log(8 * began**1.25), abs=0.07)
    assert -invested == pytest.approx(costs, abs=0.05)


@pytest.mark.parametrize("reserve", [0.0, 0.5, 0.9])
def test_rounds_that_are_fair_keep_the_expected_wealth_at_1_whatever_was_played_before(reserve: float) -> None:
    """Exactly, over every way in which five throws of a coin can end; the stakes differ from round to round."""
    mean = 0.0
    for throws in product((1, -1), repeat=5):
        wealth = bettors(2, reserve)
        for stake, side in zip((0.3, 0.9, 0.5, 0.99, 0.1), throws, strict=True):
            wealth = wealth.after([math.log1p(stake * side), math.log1p(-stake * side / 2)])
        mean += math.exp(wealth.log_evidence) / 2**5
    assert mean == exact(1)


# ---------------------------------------------------------------- bets


def test_forty_ratios_are_bet_on_in_equal_steps_from_just_above_the_limit_to_200() -> None:
    for limit in (1.0, 1.5, 2.0):
        ratios = alternatives(limit)
        steps = [after / before for before, after in pairwise(ratios)]
        assert (len(ratios), ratios[0], ratios[-1]) == (40, exact(1.1 * limit), exact(200))
        assert steps == [exact((200 / (1.1 * limit)) ** (1 / 39))] * 39


@pytest.mark.parametrize("weight", [0.01, 0.05, 0.5, 0.95])
@pytest.mark.parametrize("limit", [1.0, 1.5, 2.0])
def test_an_event_gains_nothing_on_average_at_the_limit_and_less_below_it(weight: float, limit: float) -> None:
    def mean(ratio: float, won: float, lost: float) -> float:
        ours = weight * ratio / (1 - weight + weight * ratio)
        return ours * math.exp(won) + (1 - ours) * math.exp(lost)

    for won, lost in origin_bets(weight, limit, alternatives(limit)):
        assert mean(limit, won, lost) == exact(1)
        assert mean(limit * 0.9, won, lost) < 1
        assert mean(limit * 1.1, won, lost) > 1


def test_a_bettor_wins_most_where_his_ratio_is_the_true_one() -> None:
    weight, ratios = 0.1, (2.0, 4.0, 8.0)
    bets = origin_bets(weight, 1.5, ratios)
    for true, (won, lost) in zip(ratios, bets, strict=True):
        ours = weight * true / (1 - weight + weight * true)
        means = [ours * won + (1 - ours) * lost for won, lost in bets]
        assert max(means) == ours * won + (1 - ours) * lost


def test_bets_on_a_mean_stake_fixed_fractions_and_never_lose_more_than_95_percent() -> None:
    """At the worst outcome a bettor of fraction f keeps 1 - .95 f."""
    assert list(FRACTIONS) == [0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0]
    assert list(EXCESS_FRACTIONS) == [0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0]
    assert mean_gains([(-3.0, 1)], 3.0) == [exact(math.log(1 - 0.95 * f)) for f in FRACTIONS]
    assert mean_gains([(6.0, 2), (-1.5, 1)], 3.0, (0.4,)) == [exact(2 * math.log(1.76) + math.log(0.81))]
    assert mean_gains([], 3.0) == [0.0] * 7


# ---------------------------------------------------------------- harm


EDGES = [(weight, stable) for weight in (0.01, 0.05, 0.5, 0.95) for stable in (0.0, 0.004, 0.3, 0.98)]


@pytest.mark.parametrize(("weight", "stable"), EDGES)
def test_a_request_gains_nothing_on_average_at_the_edge_of_the_tolerance_and_less_below_it(
    weight: float, stable: float
) -> None:
    """Exactly, over everything that can become of it; each bettor on his own."""

    def means(above: float) -> list[float]:
        outcomes = [
            (chance, Excess(0.01, bettors(8)).after(scrape).wealth.logs)
            for chance, scrape in one_request(weight, stable + above, stable)
        ]
        return [sum(chance * math.exp(logs[bettor]) for chance, logs in outcomes) for bettor in range(8)]

    assert means(0.01) == [exact(1)] * 8
    assert all(mean < 1 for mean in means(0.005))
    assert all(mean > 1 for mean in means(0.02))


@pytest.mark.parametrize("weight", [0.01, 0.05, 0.5, 0.95])
def test_an_event_of_stable_costs_each_bettor_on_an_excess_what_he_staked(weight: float) -> None:
    lost = Excess(0.01, bettors(8)).after(Scrape(weight, NOTHING, EVENT)).wealth.logs
    assert lost == tuple(exact(math.log(1 - 0.95 * f)) for f in EXCESS_FRACTIONS)


def test_losses_between_0_and_1_count_as_what_they_are() -> None:
    """By hand: w = .2, l = .4 * .95 / (1.25 + .1); the candidate's loss of .5 scores 2.5, stable's -.625."""
    stake = 0.4 * 0.95 / 1.35
    found = Excess(0.1, bettors(8)).after_losses(0.2, {0.5: 3}, {0.5: 2, 0.0: 1}).wealth.logs[5]
    assert found == exact(3 * math.log1p(stake * 2.4) + 2 * math.log1p(-stake * 0.725) + math.log1p(-stake * 0.1))


@pytest.mark.parametrize("weights", [(0.1, 0.1, 0.1), (0.05, 0.5, 0.1)])
def test_the_expected_evidence_of_harm_is_1_at_most_under_either_hypothesis(weights: tuple[float, ...]) -> None:
    """Exactly, over everything that can become of three requests, with the reserve and through changes of the weight.

    Twice at the edge of the tolerance, the second time with a ratio far beyond its limit; then at the limit of the
    ratio, with a difference far beyond the tolerance.
    """
    for candidate, stable in ((0.21, 0.2), (0.012, 0.002), (0.6, 0.4)):
        means = {"ratio": 0.0, "excess": 0.0, "harm": 0.0}
        for path in product(*(list(one_request(weight, candidate, stable)) for weight in weights)):
            harm, chance = harm_of(Signal.ERRORS, 0.01), 1.0
            for likely, scrape in path:
                harm, chance = harm.after(scrape), chance * likely
            means["ratio"] += chance * math.exp(harm.ratio.log_evidence)
            means["excess"] += chance * math.exp(harm.excess.log_evidence)
            means["harm"] += chance * math.exp(harm.log_evidence)
        assert means["harm"] < 1 + 1e-12
        if candidate - stable == exact(0.01):
            assert means["excess"] == exact(1)
        if candidate / stable == exact(1.5):
            assert means["ratio"] == exact(1)
            assert means["excess"] > 1


def test_harm_is_the_smaller_of_its_two_proofs() -> None:
    for scrape in (Scrape(0.1, Arm(100, 2), Arm(900, 0)), Scrape(0.1, Arm(100, 60), Arm(900, 400))):
        harm = harm_of(Signal.ERRORS).after(scrape)
        assert harm.log_evidence == min(harm.ratio.log_evidence, harm.excess.log_evidence)
    few = harm_of(Signal.ERRORS).after(Scrape(0.1, Arm(100, 2), Arm(900, 0)))
    many = harm_of(Signal.ERRORS).after(Scrape(0.1, Arm(100, 60), Arm(900, 400)))
    assert few.log_evidence == few.excess.log_evidence < few.ratio.log_evidence
    assert many.log_evidence == many.ratio.log_evidence < many.excess.log_evidence


def test_each_signal_has_a_ratio_and_a_tolerance_of_its_own() -> None:
    assert LIMITS == {Signal.ERRORS: 1.5, Signal.SLOW: 2.0}
    assert TOLERANCES == {Signal.ERRORS: 0.01, Signal.SLOW: 0.005}
    made = [(harm.ratio.limit, harm.excess.tolerance) for harm in (harm_of(signal) for signal in Signal)]
    assert made == [(1.5, 0.01), (2.0, 0.005)]
    assert harm_of(Signal.SLOW, 0.2).excess.tolerance == 0.2
    assert {(len(w.logs), w.reserve, w.rounds) for w in (harm_of(Signal.SLOW).ratio.wealth,)} == {(40, 0.5, 0)}
    assert {(len(w.logs), w.reserve, w.rounds) for w in (harm_of(Signal.SLOW).excess.wealth,)} == {(8, 0.5, 0)}


def until_harmful(scrapes: Iterator[Scrape], signals: int = 2) -> tuple[Harm, int]:
    """The state at the verdict, and how many requests of the candidate that took."""
    harm, requests = harm_of(Signal.ERRORS), 0
    for scrape in scrapes:
        harm, requests = harm.after(scrape), requests + scrape.candidate.requests
        if harmful(harm, signals):
            return harm, requests
    raise AssertionError("never")


@pytest.mark.parametrize(("weight", "fails"), [(0.01, 2), (0.05, 3), (0.1, 4), (0.5, 13)])
def test_a_candidate_that_always_fails_is_out_after_a_handful_of_requests(weight: float, fails: int) -> None:
    """Beside a stable that answers everything, with as many requests as its weight gives it."""
    theirs = round((1 - weight) / weight)
    _, requests = until_harmful(Scrape(weight, EVENT, Arm(theirs)) for _ in range(1000))
    assert requests == fails


def test_harm_that_begins_after_a_million_healthy_requests_is_seen_almost_as_soon() -> None:
    def traffic() -> Iterator[Scrape]:
        for _ in range(2000):
            yield Scrape(0.05, Arm(25, 0), Arm(475, 2))
        for _ in range(1000):
            yield Scrape(0.05, Arm(1, 1), Arm(19))

    _, requests = until_harmful(traffic())
    assert 5 < requests - 50_000 <= 12


def test_an_outage_of_both_versions_proves_nothing() -> None:
    harm = harm_of(Signal.ERRORS)
    for _ in range(50):
        harm = harm.after(Scrape(0.1, Arm(100, 90), Arm(900, 810)))
        assert not harmful(harm, 2)
    assert harm.log_evidence < 0


def test_many_times_the_errors_within_the_tolerance_are_no_harm() -> None:
    harm = harm_of(Signal.ERRORS)
    for _ in range(200):
        harm = harm.after(Scrape(0.1, Arm(1000, 8), Arm(9000, 9)))
    assert harm.ratio.log_evidence > 1000
    assert not harmful(harm, 2)


def test_more_errors_by_less_than_the_ratio_are_no_harm_however_many() -> None:
    harm = harm_of(Signal.ERRORS)
    for _ in range(200):
        harm = harm.after(Scrape(0.1, Arm(1000, 280), Arm(9000, 1800)))
    assert harm.excess.log_evidence > 1000
    assert not harmful(harm, 2)


def test_all_signals_share_alpha_and_all_routers_do() -> None:

    def owning(wealth: float) -> Harm:
        log = math.log(wealth)
        return Harm(Ratio(1.5, Wealth((log,) * 40)), Excess(0.01, Wealth((log,) * 8)))

    assert [harmful(owning(wealth), 1) for wealth in (99.99, 100.01)] == [False, True]
    assert [harmful(owning(wealth), 2) for wealth in (199.99, 200.01)] == [False, True]
    assert [harmful(owning(wealth), 1, ALPHA / 3) for wealth in (299.99, 300.01)] == [False, True]
    assert harmful(owning(2), 1, 0.5)
    assert [harmful(owning(wealth).excess, 1) for wealth in (99.99, 100.01)] == [False, True]


def test_merging_costs_time_at_most() -> None:
    """The bettors own the same, but for what joins them; so it is without a reserve."""
    parts = [Scrape(0.1, Arm(10, number % 3), Arm(90, number % 4)) for number in range(12)]
    for start in (harm_of(Signal.ERRORS), harm_of(Signal.SLOW)):
        whole_ratio, whole_excess = Ratio(1.5, bettors(40)), Excess(0.01, bettors(8))
        ratio, excess = whole_ratio.after(merged(parts)), whole_excess.after(merged(parts))
        for part in parts:
            whole_ratio, whole_excess, start = whole_ratio.after(part), whole_excess.after(part), start.after(part)
        assert ratio.wealth.logs == tuple(exact(log) for log in whole_ratio.wealth.logs)
        assert excess.wealth.logs == tuple(exact(log) for log in whole_excess.wealth.logs)


def test_a_wealth_counts_the_rounds_that_had_any_bearing_on_it() -> None:
    harm = harm_of(Signal.ERRORS)
    for scrape in (Scrape(0.1, NOTHING, NOTHING), Scrape(0.1, OTHER, OTHER), Scrape(0.1, OTHER, EVENT)):
        harm = harm.after(scrape)
    assert (harm.ratio.wealth.rounds, harm.excess.wealth.rounds) == (1, 2)


# ---------------------------------------------------------------- how large it is


def test_a_difference_is_that_of_the_shares() -> None:
    seen = contrast(2).after(0.2, (3, 17), (4, 76))
    assert seen.difference() == (exact(0.15 - 0.05), exact(0.05 - 0.15))
    assert seen.after(0.2, (1, 19), (0, 20)).difference() == (exact(4 / 40 - 4 / 100), exact(4 / 100 - 4 / 40))


def test_of_versions_that_were_not_both_seen_under_one_weight_there_is_no_difference() -> None:
    assert contrast(3).difference() is None
    assert contrast(2).after(0.2, (3, 17), (0, 0)).difference() is None
    assert contrast(2).after(0.2, (3, 17), (0, 0)).after(0.3, (0, 0), (1, 9)).difference() is None


def test_it_begins_with_nothing_under_no_weight() -> None:
    assert contrast(2) == Contrast((0, 0), (0, 0), (0.0, 0.0), 0.0, 0.0)
    assert harm_of(Signal.ERRORS).contrast == contrast(2)
    assert harm_of(Signal.ERRORS).cusum == 0


def test_each_weight_is_compared_with_itself() -> None:
    """Equal shares by day and by night: pooled, the candidate, which had most of its requests by night, would look
    worse."""
    seen = contrast(2).after(0.1, (1, 9), (9, 81)).after(0.9, (45, 45), (5, 5))
    assert seen.difference() == (exact(0), exact(0))
    pooled = (1 + 45) / 100 - (9 + 5) / 100
    assert pooled == exact(0.32)


def test_weights_are_put_together_by_what_they_tell() -> None:
    """By hand: differences of .5 and .1 with n_c n_s / (n_c + n_s) of 10 * 10 / 20 = 5 and 40 * 40 / 80 = 20."""
    seen = contrast(2).after(0.3, (5, 5), (0, 10)).after(0.5, (4, 36), (0, 40))
    assert seen.totals() == ((exact(4.5), exact(-4.5)), exact(25))
    assert seen.difference() == (exact(0.18), exact(-0.18))
    assert seen == Contrast((4, 36), (0, 40), (exact(2.5), exact(-2.5)), exact(5), 0.5)  # type: ignore[arg-type]


def test_the_size_of_harm_is_told_from_where_it_seems_to_have_begun() -> None:
    harm = harm_of(Signal.ERRORS)
    for _ in range(30):
        harm = harm.after(Scrape(0.1, Arm(100, 1), Arm(900, 9)))
    assert harm.cusum < 0
    for _ in range(5):
        harm = harm.after(Scrape(0.1, Arm(100, 30), Arm(900, 9)))
    assert harm.contrast.difference() == (exact(0.3 - 0.01), exact(0.01 - 0.3))
    assert (harm.contrast.candidate, harm.contrast.stable) == ((150, 350), (45, 4455))


def test_what_was_seen_while_there_was_no_suspicion_is_left_out_and_what_came_since_is_not() -> None:
    harm = harm_of(Signal.ERRORS)
    for _ in range(3):
        harm = harm.after(Scrape(0.4, Arm(40), Arm(60)))
    assert (harm.cusum, harm.contrast.candidate) == (0, (0, 40))
    harm = harm.after(Scrape(0.4, Arm(40, 1), Arm(60)))
    assert 0 < harm.cusum < 1
    assert harm.after(Scrape(0.4, Arm(40), Arm(60))).contrast.candidate == (1, 79)


def test_the_cusum_follows_the_bettor_on_the_nearest_ratio_and_never_starts_below_0() -> None:
    won, lost = origin_bets(0.1, 1.5, (1.1 * 1.5,))[0]
    harm = harm_of(Signal.ERRORS).after(Scrape(0.1, Arm(9, 0), Arm(81, 8)))
    assert harm.cusum == exact(8 * lost)
    harm = harm.after(Scrape(0.1, Arm(9, 3), Arm(81, 1)))
    assert harm.cusum == exact(3 * won + lost)
    assert harm.after(Scrape(0.1, Arm(9, 1), Arm(81, 0))).cusum == exact(4 * won + lost)


# ---------------------------------------------------------------- kept and read again


STATES = [
    harm_of(Signal.SLOW),
    harm_of(Signal.ERRORS).after(Scrape(0.05, Arm(50, 1), Arm(950, 3))).after(Scrape(0.1, Arm(90, 1), Arm(900, 0))),
    Excess(0.3, bettors(8, 0.25)).after_losses(0.25, {1 / 3: 2}, {0.1: 5}),
    Wealth((NEVER, 0.1 + 0.2, -1e300, 5e-324), 0.5, 2**62),
    contrast(20),
    Scrape(1 / 3, Arm(7, 2), Arm(14, 1)),
]


@pytest.mark.parametrize("state", STATES, ids=lambda state: type(state).__name__)
def test_a_state_goes_through_json_to_the_last_bit(state: object) -> None:
    content = dump(state)
    assert load(type(state), content) == load(type(state), content.decode()) == state
    assert dump(load(type(state), content)) == content
    assert b"null" not in content


def test_a_restart_after_every_scrape_changes_nothing() -> None:
    straight = restarted = harm_of(Signal.ERRORS)
    for number in range(40):
        scrape = Scrape((0.01, 0.05, 0.3)[number // 15], Arm(30, number % 4 // 3), Arm(300, number % 3))
        straight, restarted = straight.after(scrape), load(Harm, dump(restarted)).after(scrape)
    assert dump(straight) == dump(restarted)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"\xff",
        b'{"logs": [0.0], "rounds": -1}',
        b'{"logs": []}',
        b'{"logs": ["nan"]}',
        b'{"logs": [null]}',
        b'{"logs": [0.0], "reserve": 1.5}',
        b'{"logs": [0.0], "rounds": 0.5}',
    ],
)
def test_what_is_no_state_is_refused_and_the_message_says_what_to_do(content: bytes) -> None:
    with pytest.raises(StateError, match=r"no evidence of the kind Wealth: .*drop it, begin the trial anew") as refused:
        load(Wealth, content)
    assert refused.value.__cause__ is not None


def test_what_a_later_release_adds_is_left_out() -> None:
    assert load(Wealth, b'{"logs": [1.5], "rounds": 3, "colour": "blue"}') == Wealth((1.5,), 0.0, 3)
