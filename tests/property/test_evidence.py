"""What holds of evidence whatever the traffic."""

import math
from functools import reduce

from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate_contract.evidence import (
    Arm,
    Excess,
    Harm,
    Ratio,
    Scrape,
    Signal,
    alternatives,
    bettors,
    dump,
    harm_of,
    increase,
    load,
    merged,
    origin_bets,
)
from tidegate_operator.core.evidence.losses import Disagreement, Paired
from tidegate_operator.core.evidence.policy import swapped
from tidegate_operator.core.evidence.promotion import Promotion, proven, still_needed
from tidegate_operator.core.evidence.shift import Shift, shift_of
from tidegate_operator.core.evidence.split import Split

unhurried = settings(deadline=None)
weights = st.one_of(st.sampled_from([0.01, 0.05, 0.1, 0.5, 0.99]), st.floats(1e-4, 1 - 1e-4))
rates = st.floats(0.0, 0.5)
tolerances = st.sampled_from([0.005, 0.01, 0.1])


@st.composite
def arms(draw: st.DrawFn, most: int = 10_000) -> Arm:
    requests = draw(st.integers(0, most))
    return Arm(requests, draw(st.integers(0, requests)))


def scrapes(most: int = 10_000) -> st.SearchStrategy[Scrape]:
    return st.builds(Scrape, weights, arms(most), arms(most))


def near(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-7)


@unhurried
@given(weights, rates, tolerances)
def test_no_bet_on_a_difference_gains_on_average_at_its_edge(weight: float, rate: float, tolerance: float) -> None:
    """The mean factor of one request, of every bettor for harm and for promotion."""
    chances = [
        (weight * (rate + tolerance), Scrape(weight, Arm(1, 1), Arm(0))),
        ((1 - weight) * rate, Scrape(weight, Arm(0), Arm(1, 1))),
        (1 - weight * (rate + tolerance) - (1 - weight) * rate, Scrape(weight, Arm(1), Arm(0))),
    ]
    for start in (Excess(tolerance, bettors(8)), Promotion(tolerance)):
        settled = [(chance, start.after(scrape).wealth.logs) for chance, scrape in chances]
        for bettor in range(len(start.wealth.logs)):
            assert near(sum(chance * math.exp(logs[bettor]) for chance, logs in settled), 1)


@unhurried
@given(weights, st.floats(1.0, 100.0))
def test_no_bet_on_a_ratio_gains_on_average_at_its_limit(weight: float, limit: float) -> None:
    ours = weight * limit / (1 - weight + weight * limit)
    for won, lost in origin_bets(weight, limit, alternatives(limit)):
        assert near(ours * math.exp(won) + (1 - ours) * math.exp(lost), 1)


@unhurried
@given(weights, st.lists(st.tuples(arms(), arms()), min_size=1, max_size=8))
def test_it_makes_no_difference_to_a_bettor_into_how_many_scrapes_requests_fall(
    weight: float, parts: list[tuple[Arm, Arm]]
) -> None:
    told = [Scrape(weight, *part) for part in parts]
    for start in (Ratio(1.5, bettors(40)), Excess(0.01, bettors(8)), Promotion(0.01), Split(bettors(4))):
        often = reduce(lambda state, scrape: state.after(scrape), told, start)
        once = start.after(merged(told))
        assert all(near(one, other) for one, other in zip(often.wealth.logs, once.wealth.logs, strict=True))


@unhurried
@given(st.lists(scrapes(), max_size=12), st.integers(0, 12))
def test_a_restart_at_any_moment_changes_no_bit(told: list[Scrape], at: int) -> None:
    starts: list[Harm | Promotion | Split] = [harm_of(Signal.ERRORS), Promotion(0.01), Split()]
    for straight in starts:
        restarted = straight
        for number, scrape in enumerate(told):
            if number == at:
                restarted = load(type(straight), dump(restarted))
            straight, restarted = straight.after(scrape), restarted.after(scrape)
        assert load(type(straight), dump(straight)) == straight == restarted


@unhurried
@given(scrapes(), tolerances)
def test_one_event_more_of_the_candidate_speaks_against_it_and_one_of_stable_for_it(
    scrape: Scrape, tolerance: float
) -> None:
    ours, theirs = scrape.candidate, scrape.stable
    harm, promotion = (state.after(scrape) for state in (Excess(tolerance, bettors(8)), Promotion(tolerance)))
    if ours.others:
        worse = Scrape(scrape.weight, Arm(ours.requests, ours.events + 1), theirs)
        assert Excess(tolerance, bettors(8)).after(worse).log_evidence >= harm.log_evidence - 1e-9
        assert Promotion(tolerance).after(worse).log_evidence <= promotion.log_evidence + 1e-9
    if theirs.others:
        better = Scrape(scrape.weight, ours, Arm(theirs.requests, theirs.events + 1))
        assert Excess(tolerance, bettors(8)).after(better).log_evidence <= harm.log_evidence + 1e-9
        assert Promotion(tolerance).after(better).log_evidence >= promotion.log_evidence - 1e-9


@unhurried
@given(st.lists(scrapes(), max_size=10))
def test_wealth_is_never_lost_entirely_and_what_waits_is_left(told: list[Scrape]) -> None:
    harm = reduce(lambda state, scrape: state.after(scrape), told, harm_of(Signal.SLOW))
    for wealth in (harm.ratio.wealth, harm.excess.wealth):
        assert wealth.rounds <= len(told)
        assert wealth.log_evidence >= math.log(0.5 * (wealth.rounds + 1) ** -0.25) - 1e-12
    assert harm.log_evidence <= min(harm.ratio.log_evidence, harm.excess.log_evidence)


@unhurried
@given(scrapes())
def test_exchanged_twice_the_roles_are_as_before(scrape: Scrape) -> None:
    again = swapped(swapped(scrape))
    assert (again.candidate, again.stable) == (scrape.candidate, scrape.stable)
    assert near(again.weight, scrape.weight)


@unhurried
@given(
    st.lists(st.dictionaries(st.sampled_from("abc"), st.tuples(st.integers(0, 99), st.integers(0, 99))), max_size=8),
    st.sets(st.integers(0, 7)),
)
def test_counters_say_the_same_however_seldom_they_are_read(
    steps: list[dict[str, tuple[int, int]]], missed: set[int]
) -> None:
    """Where no source goes away between two readings."""
    totals: dict[str, tuple[int, int]] = {}
    before: dict[str, tuple[int, int]] = {}
    counted = (0, 0)
    for number, step in enumerate(steps):
        for source, (requests, events) in step.items():
            old = totals.get(source, (0, 0))
            totals = {**totals, source: (old[0] + requests, old[1] + events)}
        if number not in missed:
            gained = increase(before, totals)
            before, counted = totals, (counted[0] + gained[0], counted[1] + gained[1])
    gained = increase(before, totals)
    wanted = tuple(sum(count[cell] for count in totals.values()) for cell in (0, 1))
    assert (counted[0] + gained[0], counted[1] + gained[1]) == wanted


@unhurried
@given(st.integers(0, 10**7), st.data())
def test_a_bound_of_disagreement_lies_above_what_was_seen_and_falls_as_pairs_agree(
    pairs: int, data: st.DataObject
) -> None:
    state = Disagreement(pairs, data.draw(st.integers(0, pairs)))
    bound = state.upper()
    assert state.differing / max(pairs, 1) <= bound <= 1
    assert state.after(1 + pairs // 10, 0).upper() <= bound
    assert state.after(1, 1).upper() >= bound - 1e-12


@unhurried
@given(
    st.lists(st.tuples(weights, st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=3, max_size=3)))
)
def test_bins_can_be_told_in_any_order(told: list[tuple[float, list[tuple[int, int]]]]) -> None:
    shift, turned = shift_of(3), shift_of(3)
    for weight, bins in told:
        ours, theirs = zip(*bins, strict=True)
        shift, turned = shift.after(weight, ours, theirs), turned.after(weight, ours[::-1], theirs[::-1])
    assert near(shift.log_evidence, turned.log_evidence)
    assert near(shift.distance()[0], turned.distance()[0])
    assert 0 <= shift.distance()[1] <= shift.distance()[0] <= 1 + 1e-9
    assert load(Shift, dump(shift)) == shift


@unhurried
@given(scrapes(300), st.lists(scrapes(300), max_size=3))
def test_what_is_still_needed_is_nothing_exactly_when_it_is_proven(last: Scrape, told: list[Scrape]) -> None:
    promotion = reduce(lambda state, scrape: state.after(scrape), [*told, last], Promotion(0.01))
    needed = still_needed(promotion, last.weight, last.candidate, last.stable)
    assert (needed == 0) == proven(promotion)


@unhurried
@given(st.dictionaries(st.floats(-1, 1), st.integers(0, 1000), max_size=6), st.floats(-0.9, 0.9))
def test_pairs_bet_alike_together_or_one_after_the_other(differences: dict[float, int], margin: float) -> None:
    together, single = Paired(margin).after(differences), Paired(margin)
    for difference, count in differences.items():
        single = single.after({difference: count})
    assert all(near(one, other) for one, other in zip(together.wealth.logs, single.wealth.logs, strict=True))
