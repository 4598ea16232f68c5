"""When a router gives a candidate no requests any more by itself."""

import math
from typing import Any

import pytest
from msgspec.structs import replace

from tidegate_contract.evidence import ALPHA, Arm, Harm, Scrape, Signal, harm_of
from tidegate_contract.route import Route, Share, Slot
from tidegate_contract.router import MOST_ROUTERS
from tidegate_router.latch import Reading, Trial, asked, follow, look

A, B, SHADOW = Slot.A, Slot.B, Slot.SHADOW
OLD, NEW = "0a0a0a0a", "0b0b0b0b"
NOTHING = harm_of(Signal.ERRORS)
FRESH = Trial(B, NEW, NOTHING)
WORDS = "3 of 3 answers failed, against 0 of 57 of the other version"


def route(weight: int = 5, **other: Any) -> Route:
    """`weight`: of the version in b."""
    slots = {A: Share(OLD, 100 - weight), B: Share(NEW, weight)}
    return replace(Route(10000, 1, A, slots), **other)


def read(candidate: Arm, stable: Arm, epoch: str = "life") -> Reading:
    return Reading(epoch, candidate, stable)


def begun(weight: int = 5) -> Trial:
    """Of which a reading is known that Envoy made under this weight."""
    return Trial(B, NEW, NOTHING, read(Arm(40, 1), Arm(800, 2)), weight, weight)


def harm(*scrapes: Scrape) -> Harm:
    found = NOTHING
    for scrape in scrapes:
        found = found.after(scrape)
    return found


# ---------------------------------------------------------------- what is under trial


@pytest.mark.parametrize(
    ("given", "trial"),
    [
        pytest.param(route(5), FRESH, id="the version with some weight beside stable"),
        pytest.param(route(5, stable=B), Trial(A, OLD, NOTHING), id="which is a where b is stable"),
        pytest.param(route(100), FRESH, id="with all of it, too"),
        pytest.param(route(0), None, id="not one without weight"),
        pytest.param(route(100, stable=B), None, id="not stable"),
        pytest.param(route(slots={A: Share(OLD, 100), SHADOW: Share(NEW)}), None, id="not a shadow"),
        pytest.param(
            route(tolerance_errors=0.2), Trial(B, NEW, harm_of(Signal.ERRORS, 0.2)), id="by the route's tolerance"
        ),
    ],
)
def test_under_trial_is(given: Route, trial: Trial | None) -> None:
    assert follow(None, given) == trial


LATCHED = Trial(B, NEW, NOTHING, latched=WORDS)


@pytest.mark.parametrize("known", [begun(), LATCHED], ids=["runs", "latched"])
@pytest.mark.parametrize(
    ("given", "goes_on"),
    [
        pytest.param(route(5), True, id="the same route"),
        pytest.param(route(25, generation=2), True, id="a next step"),
        pytest.param(route(5, tolerance_errors=0.2), True, id="another tolerance"),
        pytest.param(route(5, slots={A: Share("0c0c0c0c", 95), B: Share(NEW, 5)}), True, id="another stable"),
        pytest.param(route(5, slots={A: Share(OLD, 95), B: Share("0c0c0c0c", 5)}), False, id="another version"),
        pytest.param(route(5, stable=B, slots={A: Share(NEW, 5), B: Share(OLD, 95)}), False, id="another slot"),
        pytest.param(route(95, stable=B), False, id="it is stable, and the other one has some weight"),
    ],
)
def test_a_trial_goes_on_as_long_as_the_same_version_has_some_weight(known: Trial, given: Route, goes_on: bool) -> None:
    assert follow(known, given) == (known if goes_on else follow(None, given))


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(route(0, generation=2), id="weight 0"),
        pytest.param(route(slots={A: Share(OLD, 100)}), id="the version is out of the route"),
        pytest.param(route(100, stable=B), id="it is stable"),
    ],
)
def test_an_operator_has_spoken_by(given: Route) -> None:
    assert follow(LATCHED, given) is None
    assert follow(follow(LATCHED, given), route(5, generation=3)) == FRESH


# ---------------------------------------------------------------- what is counted


def test_what_was_before_a_version_had_weight_is_the_past() -> None:
    trial = asked(FRESH, 5)
    assert trial == replace(FRESH, largest=5)
    first = read(Arm(7, 7), Arm(900, 0))
    assert look(trial, first, 0, 5) == Trial(B, NEW, NOTHING, first, 0, 5)


def test_the_rise_since_the_last_look_is_a_scrape_under_the_weight_in_force() -> None:
    now = read(Arm(45, 2), Arm(895, 3))
    counted = harm(Scrape(0.05, Arm(5, 1), Arm(95, 1)))
    assert look(begun(), now, 5, 5) == Trial(B, NEW, counted, now, 5, 5)


def test_a_second_look_at_the_same_counts_counts_nothing() -> None:
    now = read(Arm(45, 2), Arm(895, 3))
    once = look(begun(), now, 5, 5)
    assert look(once, now, 5, 5) == once


@pytest.mark.parametrize(
    ("then", "now", "wanted", "weight", "next_largest"),
    [
        pytest.param(5, 5, 5, 5, 5, id="the same one"),
        pytest.param(5, 25, 25, 25, 25, id="a step up"),
        pytest.param(25, 5, 5, 25, 5, id="a step down"),
        pytest.param(0, 5, 5, 5, 5, id="the first"),
        pytest.param(5, 0, 0, 5, 0, id="it was taken away"),
        pytest.param(50, 50, 5, 50, 50, id="Envoy has not taken the next one yet"),
        pytest.param(5, 50, 5, 50, 50, id="Envoy had another agent before"),
    ],
)
def test_where_the_weight_has_changed_the_largest_counts(
    then: int, now: int, wanted: int, weight: int, next_largest: int
) -> None:
    trial = asked(begun(then) if then else replace(begun(), in_force=0), wanted)
    counts = read(Arm(45, 2), Arm(895, 3))
    counted = harm(Scrape(weight / 100, Arm(5, 1), Arm(95, 1)))
    assert look(trial, counts, now, wanted) == Trial(B, NEW, counted, counts, now, next_largest)


def test_a_weight_that_was_in_force_between_two_looks_counts_too() -> None:
    trial = asked(asked(begun(5), 50), 10)
    counts = read(Arm(45, 2), Arm(895, 3))
    counted = harm(Scrape(0.5, Arm(5, 1), Arm(95, 1)))
    assert look(trial, counts, 10, 10) == Trial(B, NEW, counted, counts, 10, 10)


@pytest.mark.parametrize("weight", [0, 100])
def test_without_anybody_to_compare_with_nothing_is_counted(weight: int) -> None:
    trial = replace(begun(), in_force=weight, largest=weight)
    counts = read(Arm(95, 51), Arm(895, 2))
    assert look(trial, counts, weight, weight) == Trial(B, NEW, NOTHING, counts, weight, weight)


def test_a_weight_that_envoy_has_not_taken_is_none() -> None:
    counts = read(Arm(40, 1), Arm(10_000, 2))
    assert look(replace(begun(), in_force=0), counts, 0, 5) == Trial(B, NEW, NOTHING, counts, 0, 5)


def test_after_a_time_without_weight_it_begins_to_count_where_it_stands_then() -> None:
    led_no_more = look(asked(begun(), 0), read(Arm(40, 1), Arm(800, 2)), 0, 0)
    assert not led_no_more.runs
    again = asked(led_no_more, 5)
    assert (again.runs, again.before, again.harm) == (True, None, led_no_more.harm)


def test_an_envoy_that_starts_anew_counts_from_zero_and_what_is_known_stays() -> None:
    known = look(begun(), read(Arm(45, 2), Arm(895, 3)), 5, 5)
    now = read(Arm(3, 1), Arm(30, 0), "another life")
    counted = harm(Scrape(0.05, Arm(5, 1), Arm(95, 1)), Scrape(0.05, Arm(3, 1), Arm(30, 0)))
    assert look(known, now, 5, 5) == Trial(B, NEW, counted, now, 5, 5)


def test_what_only_seemed_to_have_failed_is_not_counted_twice() -> None:
    seemed = look(begun(), read(Arm(45, 3), Arm(895, 2)), 5, 5)
    had_not = look(seemed, read(Arm(45, 2), Arm(895, 2)), 5, 5)
    assert had_not == seemed
    now = look(had_not, read(Arm(46, 3), Arm(914, 2)), 5, 5)
    assert now.harm == harm(Scrape(0.05, Arm(5, 2), Arm(95, 0)), Scrape(0.05, Arm(1, 0), Arm(19, 0)))


def test_there_are_no_more_failures_than_answers() -> None:
    now = look(begun(), read(Arm(41, 4), Arm(819, 2)), 5, 5)
    assert now.harm == harm(Scrape(0.05, Arm(1, 1), Arm(19, 0)))


# ---------------------------------------------------------------- when it is enough


def after(trial: Trial, rounds: int, ours: Arm, theirs: Arm) -> Trial:
    """So many looks, each of which finds these more."""
    for _ in range(rounds):
        before = trial.before
        assert before is not None
        now = read(
            Arm(before.candidate.requests + ours.requests, before.candidate.events + ours.events),
            Arm(before.stable.requests + theirs.requests, before.stable.events + theirs.events),
        )
        trial = look(trial, now, 5, 5)
    return trial


def test_a_candidate_that_always_fails_is_latched_at_the_third_failure_and_says_why() -> None:
    two = after(begun(), 2, Arm(1, 1), Arm(19, 0))
    assert (two.latched, two.runs) == ("", True)
    three = after(begun(), 3, Arm(1, 1), Arm(19, 0))
    assert (three.latched, three.runs) == (WORDS, False)


def test_each_router_has_its_part_of_the_chance_to_be_wrong() -> None:
    enough = after(begun(), 3, Arm(1, 1), Arm(19, 0)).harm.log_evidence
    assert enough >= math.log(MOST_ROUTERS / ALPHA)
    between = replace(begun(), harm=with_evidence(math.log(MOST_ROUTERS / ALPHA) - 0.3))
    assert math.log(1 / ALPHA) < between.harm.log_evidence
    assert after(between, 1, Arm(1, 0), Arm(0, 0)).latched == ""


def with_evidence(log: float) -> Harm:
    ratio, excess = NOTHING.ratio, NOTHING.excess
    rich = [replace(each.wealth, logs=(log,) * len(each.wealth.logs), reserve=0.0) for each in (ratio, excess)]
    return replace(NOTHING, ratio=replace(ratio, wealth=rich[0]), excess=replace(excess, wealth=rich[1]))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        pytest.param(Arm(5, 0), Arm(95, 0), id="all is well"),
        pytest.param(Arm(5, 5), Arm(95, 95), id="an outage of both"),
        pytest.param(Arm(5, 0), Arm(95, 95), id="stable fails"),
        pytest.param(Arm(1000, 3), Arm(19000, 0), id="a difference within the tolerance"),
    ],
)
def test_nothing_is_latched_where(ours: Arm, theirs: Arm) -> None:
    assert after(begun(), 300, ours, theirs).latched == ""


def test_a_candidate_that_begins_to_fail_late_is_latched_too() -> None:
    healthy = after(begun(), 1000, Arm(5, 0), Arm(95, 0))
    assert (
        after(healthy, 2, Arm(5, 5), Arm(95, 0)).latched
        == "10 of 10 answers failed, against 0 of 190 of the other version"
    )


def test_a_wide_tolerance_lets_a_candidate_fail_that_often() -> None:
    wide = replace(begun(), harm=harm_of(Signal.ERRORS, 0.5))
    assert after(wide, 100, Arm(5, 2), Arm(95, 0)).latched == ""
    assert after(begun(), 100, Arm(5, 2), Arm(95, 0)).latched
