"""A trial counts exactly what has come since it began, whoever counted it, and can be calculated again."""

import random
from dataclasses import replace

import pytest

from tidegate_contract.counters import SLOW_BOUNDS
from tidegate_contract.evidence import Arm, Signal, dump, load
from tidegate_operator.core.evidence import tally as module
from tidegate_operator.core.evidence.tally import (
    Entry,
    Pods,
    Reading,
    Tally,
    begin,
    enter,
    hear,
    hear_pods,
    judges,
    meaning,
    read,
    replayed,
    written,
)
from tidegate_operator.core.types import Count, Counted, Evidence, Limits, Numbers

NEW, OLD = "bbbbbbbb", "aaaaaaaa"
FAST, SLOW = 20, 40
"""Cells of usual answers, and of slow ones."""


def reading(ours: tuple[int, int], theirs: tuple[int, int], weight: int = 5, source: str = "r1") -> Reading:
    return Reading(source, weight, Arm(*ours), Arm(*theirs))


def begun(*readings: Reading) -> Tally:
    return begin(NEW, OLD, 1, 0.01, 0.005, readings or [reading((0, 0), (0, 0), weight=0)])


def compared(weight: int = 5) -> Tally:
    """All routers have had this weight since before the pods were asked first; stable has answered 2000 by then."""
    found = hear(begun(reading((0, 0), (0, 0), weight)), [reading((0, 0), (0, 0), weight)])
    return hear_pods(found, Pods({"p2": cells(0)}, {"p1": cells(2000)}))


def cells(fast: int, slow: int = 0) -> tuple[int, ...]:
    return tuple({FAST: fast, SLOW: slow}.get(cell, 0) for cell in range(len(SLOW_BOUNDS) + 1))


def healthy(found: Tally, requests: int, weight: int = 5, steps: int = 50) -> Tally:
    """So many of the candidate's own, without an error, and nineteen times as many of stable's."""
    for step in range(1, steps + 1):
        share = requests * step // steps
        found = hear(found, [reading((share, 0), (share * (100 - weight) // weight, 0), weight)])
        pods = Pods({"p2": cells(share)}, {"p1": cells(2000 + share * (100 - weight) // weight)})
        found = hear_pods(found, pods)
    return found


def numbers(said: Evidence) -> Numbers:
    assert said.numbers
    return said.numbers


def test_what_was_counted_before_the_trial_is_the_past() -> None:
    found = begun(reading((1000, 900), (5000, 0), weight=0))
    found = hear(found, [reading((1000, 900), (5100, 0))])
    assert meaning(found).summary == f"0 of 0 answers of {NEW} failed, 0 of 100 of {OLD}"


def test_a_router_that_is_made_during_the_trial_counts_from_its_first_request() -> None:
    found = hear(begun(), [reading((9, 8), (100, 0), source="r2")])
    assert meaning(found).summary == f"8 of 9 answers of {NEW} failed, 0 of 100 of {OLD}"


def test_a_candidate_that_always_fails_is_found_out_within_ten_requests() -> None:
    found, failed = begun(), 0
    while not meaning(found).harm:
        failed += 1
        found = hear(found, [reading((failed, failed), (failed * 19, 0))])
    assert failed <= 10
    assert meaning(found).harm == (
        f"{failed} of {failed} answers of {NEW} failed against 0 of {failed * 19} of {OLD} in the same seconds"
    )
    assert not meaning(found).proof


def test_an_outage_of_both_says_nothing() -> None:
    found = begun()
    for step in range(1, 100):
        found = hear(found, [reading((step * 5, step * 5), (step * 95, step * 95))])
    assert not meaning(found).harm


def test_a_good_candidate_is_proven_on_both_signals() -> None:
    found = healthy(begun(), 300)
    assert not meaning(found).proof
    assert meaning(found).needs == "about 679 more requests of its own"
    found = healthy(begun(), 2000)
    assert meaning(found).proof == f"it is no worse: 0 of 2000 answers of {NEW} failed, 0 of 38000 of {OLD}"
    assert not meaning(found).needs


def test_without_its_times_nothing_is_proven() -> None:
    found = begun()
    for step in range(1, 100):
        found = hear(found, [reading((step * 50, 0), (step * 950, 0))])
    assert not meaning(found).proof
    assert meaning(found).needs == f"first about 1000 answers of {OLD}, to know what is slow"


def test_a_candidate_that_is_slow_is_found_out() -> None:
    found = healthy(begun(), 100)
    for step in range(1, 60):
        ours = 100 + step * 5
        found = hear(found, [reading((ours, 0), (ours * 19, 0))])
        found = hear_pods(found, Pods({"p2": cells(100, step * 5)}, {"p1": cells(2000 + ours * 19)}))
    assert "were slow" in meaning(found).harm


def test_requests_without_a_weight_are_no_evidence_but_not_counted_later_either() -> None:
    found = hear(begun(), [reading((0, 0), (1000, 500), weight=0)])
    assert meaning(found).summary.endswith(f"0 of 0 of {OLD}")
    found = hear(found, [reading((5, 0), (1095, 500))])
    assert meaning(found).summary == f"0 of 5 answers of {NEW} failed, 0 of 95 of {OLD}"


def test_where_the_weight_has_changed_harm_counts_and_proof_waits() -> None:
    found = hear(begun(), [reading((5, 5), (95, 0), weight=5)])
    (entry,) = found.entries
    assert (entry.smallest, entry.largest) == (0, 5)
    assert found.now.harm[Signal.ERRORS] != judges(0.01, 0.005).harm[Signal.ERRORS]
    assert found.now.promotion == judges(0.01, 0.005).promotion


def test_a_gap_is_worth_what_came_in_it() -> None:
    looks = begun(reading((0, 0), (0, 0)))
    for step in range(1, 11):
        looks = hear(looks, [reading((step * 10, 0), (step * 190, 2 * step))])
    slept = hear(begun(reading((0, 0), (0, 0))), [reading((100, 0), (1900, 20))])
    assert looks.now.promotion[Signal.ERRORS].log_evidence == pytest.approx(
        slept.now.promotion[Signal.ERRORS].log_evidence, rel=1e-9
    )
    assert meaning(looks).summary == meaning(slept).summary


def test_a_count_that_goes_back_says_nothing() -> None:
    found = hear(begun(), [reading((10, 2), (100, 1))])
    assert meaning(hear(found, [reading((8, 1), (90, 0))])).summary == meaning(found).summary


def test_a_failure_whose_success_was_not_read_yet_is_made_up_for_by_the_next() -> None:
    found = hear(begun(), [reading((100, 1), (1900, 0))])
    found = hear(found, [reading((200, 0), (3800, 0))])
    assert meaning(found).summary.startswith("1 of 200 ")
    assert meaning(hear(found, [reading((300, 1), (5700, 0))])).summary.startswith("1 of 300 ")
    assert meaning(hear(found, [reading((300, 2), (5700, 0))])).summary.startswith("2 of 300 ")


def test_it_survives_json_to_the_last_bit() -> None:
    found = healthy(hear(begun(), [reading((7, 3), (95, 2))]), 200)
    assert load(Tally, dump(found)) == found
    assert load(Tally, dump(found)).now == found.now


def test_its_record_is_calculated_again_to_the_same_end() -> None:
    found, rng = begun(), random.Random(7)
    ours, bad, theirs = 0, 0, 0
    for _ in range(400):
        ours, theirs = ours + rng.randint(0, 3), theirs + rng.randint(10, 30)
        bad += rng.random() < 0.1 and bad < ours
        found = hear(found, [reading((ours, bad), (theirs, 0), rng.choice((5, 20)))])
    found = enter(found)
    assert replayed(found.entries, *found.tolerances) == found.judges
    changed = [*found.entries[:-1], found.entries[-1]._replace(stable_requests=1)]
    assert replayed(changed, *found.tolerances) != found.judges


def test_a_long_trial_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ENTRIES", 100)
    found = begun()
    for step in range(1, 2000):
        found = hear(found, [reading((step * 2, step), (step * 20, step * 10))])
    assert len(found.entries) < 500
    assert meaning(found).summary == f"1999 of 3998 answers of {NEW} failed, 19990 of 39980 of {OLD}"


def test_a_router_that_gives_no_weight_for_a_moment_changes_nothing_for_the_others() -> None:
    found = healthy(begun(), 100)
    after = hear(found, [reading((0, 0), (50, 0), weight=0, source="r2")])
    assert meaning(after) == meaning(found)


LIMITS = Limits(harm=5.298317, proof=2.995732)
"""ln(2 / 0.01) for two signals, and ln(1 / 0.05)."""


def test_a_trial_that_has_counted_nothing_says_nothing() -> None:
    nothing = Counted(Count(0, 0), Count(0, 0), harm=0.0, proof=0.0)
    assert meaning(begun()) == Evidence(
        NEW,
        1,
        requests=0,
        suspicion="",
        harm="",
        proof="",
        broken="",
        summary=f"0 of 0 answers of {NEW} failed, 0 of 0 of {OLD}",
        needs="",
        needed=None,
        numbers=Numbers(NEW, OLD, 1, weight=0, errors=nothing, slow=nothing, limits=LIMITS, entries=0),
    )


def test_what_a_candidate_with_errors_and_slow_answers_has_come_to_in_words_and_numbers() -> None:
    found = hear(compared(), [reading((32, 2), (608, 1))])
    found = hear_pods(found, Pods({"p2": cells(27, 5)}, {"p1": cells(2499, 1)}))
    failed = f"2 of 32 answers of {NEW} failed against 1 of 608 of {OLD} in the same seconds"
    slow = f"5 of 32 answers of {NEW} were slow against 1 of 500 of {OLD} in the same seconds"
    assert meaning(found) == Evidence(
        NEW,
        1,
        requests=32,
        suspicion=f"{failed}; {slow}",
        harm=slow,
        proof="",
        broken="",
        summary=f"2 of 32 answers of {NEW} failed, 1 of 608 of {OLD}",
        needs="",
        needed=None,
        numbers=Numbers(
            revision=NEW,
            against=OLD,
            trial=1,
            weight=5,
            errors=Counted(Count(32, 2), Count(608, 1), harm=0.629778, proof=-0.550914),
            slow=Counted(Count(32, 5), Count(500, 1), harm=7.74138, proof=-0.921825),
            limits=LIMITS,
            entries=2,
        ),
    )


def test_routers_that_give_the_candidate_four_times_its_due_are_found_out() -> None:
    found = begun(reading((0, 0), (0, 0)))
    found = hear(found, [reading((40, 0), (160, 0))])
    assert not meaning(found).broken
    found = hear(found, [reading((60, 0), (240, 0))])
    assert meaning(found).broken == f"the routers do not divide as they should: 60 of 300 requests went to {NEW}"


def test_how_routers_divide_is_asked_of_requests_under_one_weight_and_not_of_pods_again() -> None:
    found = hear_pods(begun(reading((0, 0), (0, 0), weight=0)), Pods({"p2": cells(0)}, {"p1": cells(2000)}))
    found = hear(found, [reading((60, 0), (240, 0))])
    assert found.now.split == judges(0.01, 0.005).split
    found = hear_pods(found, Pods({"p2": cells(60)}, {"p1": cells(2240)}))
    found = hear(found, [reading((60, 0), (240, 0))])
    found = hear_pods(found, Pods({"p2": cells(120)}, {"p1": cells(2480)}))
    assert [(entry.signal, entry.smallest) for entry in [*found.entries, *found.open.values()]] == [
        (Signal.ERRORS, 0),
        (Signal.SLOW, 0),
        (Signal.SLOW, 5),
    ]
    assert found.now.split == judges(0.01, 0.005).split


@pytest.mark.parametrize(("weight", "proof", "needed"), [(1, 0.144479, 1454), (99, 36.249102, 1929)])
def test_under_the_smallest_and_the_largest_weight_good_answers_are_proof(
    weight: int, proof: float, needed: int
) -> None:
    means = meaning(hear(compared(weight), [reading((40, 0), (4000, 0), weight)]))
    assert numbers(means).errors.proof == proof
    assert (means.needed, means.needs) == (needed, f"about {needed:,} more requests of its own")


def test_where_all_requests_are_the_candidates_there_is_nobody_to_compare_it_with() -> None:
    found = hear(begun(reading((0, 0), (0, 0), 100)), [reading((500, 400), (0, 0), 100)])
    means = meaning(found)
    assert (found.open, found.entries, found.weight) == ({}, (), 100)
    assert (means.summary, means.needs, means.needed) == (
        f"0 of 0 answers of {NEW} failed, 0 of 0 of {OLD}",
        "",
        None,
    )


def test_what_pods_say_first_is_the_past() -> None:
    found = hear(begun(reading((0, 0), (0, 0))), [reading((50, 0), (950, 0))])
    found = hear_pods(found, Pods({"p2": cells(0, 50)}, {"p1": cells(2000)}))
    assert Signal.SLOW not in found.whole


def test_of_new_pods_only_the_candidates_have_counted_nothing_before() -> None:
    found = hear(begun(reading((0, 0), (0, 0))), [reading((0, 0), (0, 0))])
    found = hear_pods(found, Pods({}, {"p1": cells(2000)}))
    found = hear_pods(found, Pods({"p2": cells(30, 2)}, {"p1": cells(2500, 1), "p3": cells(900, 9)}))
    found = hear_pods(found, Pods({"p2": cells(31, 2), "p4": cells(7)}, {"p1": cells(2500, 1), "p3": cells(950, 10)}))
    assert [entry for entry in [*found.entries, *found.open.values()] if entry.signal is Signal.SLOW] == [
        Entry(Signal.SLOW, 5, 5, 32, 2, 501, 1),
        Entry(Signal.SLOW, 5, 5, 8, 0, 51, 1),
    ]


def test_what_pods_say_came_under_every_weight_since_they_were_asked_last() -> None:
    found = hear_pods(healthy(begun(), 100), Pods({"p2": cells(100)}, {"p1": cells(3900)}))
    for step in (1, 2):
        found = hear(found, [reading((100 + 20 * step, 0), (1900 + 80 * step, 0), weight=20)])
    found = hear_pods(found, Pods({"p2": cells(140)}, {"p1": cells(4060)}))
    assert found.open[Signal.SLOW] == Entry(Signal.SLOW, 20, 5, 40, 0, 160, 0)
    assert found.pods_weight == (20, 20)


def test_readings_that_say_the_same_again_are_none() -> None:
    found = hear(begun(reading((0, 0), (0, 0))), [reading((1, 0), (19, 0))])
    for _ in range(200):
        found = hear(found, [reading((1, 0), (19, 0))])
    assert (found.entries, found.readings) == ((), 1)


def test_as_many_requests_of_one_version_as_of_the_other_are_some() -> None:
    found = hear(begun(reading((0, 0), (0, 0), 50)), [reading((7, 0), (7, 0), 50)])
    assert found.open == {Signal.ERRORS: Entry(Signal.ERRORS, 50, 50, 7, 0, 7, 0)}


@pytest.mark.parametrize(
    ("entries", "failing", "healthy"),
    [(0, 1, 120), (1999, 1, 120), (2000, 4, 480), (3999, 4, 480), (4000, 16, 1920)],
)
@pytest.mark.parametrize("fails", [True, False], ids=["failing", "healthy"])
def test_the_longer_a_record_is_the_more_readings_make_an_entry(
    entries: int, failing: int, healthy: int, fails: bool
) -> None:
    """`failing`: readings with a failure of the candidate's; `healthy`: without. Two entries are waited for."""
    readings = failing if fails else healthy
    found = replace(begun(reading((0, 0), (0, 0))), entries=(Entry(Signal.ERRORS, 5, 5, 1, 0, 19, 0),) * entries)
    entered = []
    for step in range(1, 2 * readings + 1):
        before = len(found.entries)
        found = hear(found, [reading((step, step if fails else 0), (step * 19, 0))])
        if len(found.entries) > before:
            entered.append(step)
            found = replace(found, entries=found.entries[:entries])
    assert entered == [readings, 2 * readings]


def test_an_entry_is_a_line_and_a_line_an_entry() -> None:
    entry = Entry(Signal.SLOW, 20, 5, 40, 2, 500, 1)
    assert written(entry) == "slow 20 5 40 2 500 1"
    assert read(written(entry)) == entry


@pytest.mark.parametrize("line", ["", "slow", "slow 20 5 40 2 500", "slow 20 5 40 2 500 1 7"])
def test_a_line_with_less_or_more_is_no_entry(line: str) -> None:
    with pytest.raises(ValueError, match=f"^'{line}' is no entry: it needs a signal and 6 counts$"):
        read(line)


# ---------------------------------------------------------------- which weight is in force


def asked(found: Tally, weight: int, ours: int, theirs: int) -> Tally:
    """A look: the router, then the pods. So many requests until now, all of them well."""
    found = hear(found, [reading((ours, 0), (theirs, 0), weight)])
    return hear_pods(found, Pods({"p2": cells(ours)}, {"p1": cells(2000 + theirs)}))


def test_where_the_weight_falls_the_lower_one_counts_from_the_first_reading_on() -> None:
    found = asked(asked(compared(20), 20, 0, 0), 5, 10, 100)
    found = asked(found, 5, 15, 200)
    said = meaning(found)
    assert (found.weight, numbers(said).weight, said.requests) == (5, 5, 5)


def test_at_no_weight_neither_errors_nor_slow_answers_are_compared() -> None:
    found = asked(asked(compared(), 5, 10, 200), 0, 10, 300)
    before = numbers(meaning(found))
    after = numbers(meaning(asked(found, 0, 10, 400)))
    assert (after.errors, after.slow) == (before.errors, before.slow)


def test_a_version_that_fails_more_than_a_proof_bears_is_suspicious_before_there_is_harm() -> None:
    said = meaning(hear(compared(), [reading((155, 3), (3474, 12))]))
    assert (said.harm, numbers(said).errors.harm < 0, numbers(said).errors.proof < 0) == ("", True, True)
    assert f"3 of 155 answers of {NEW} failed" in said.suspicion


def test_one_slow_answer_is_no_suspicion() -> None:
    found = hear(compared(), [reading((150, 0), (3000, 0))])
    said = meaning(hear_pods(found, Pods({"p2": cells(149, 1)}, {"p1": cells(5000)})))
    assert (said.suspicion, numbers(said).slow.proof < 0) == ("", True)


def test_where_routers_differ_slow_answers_are_counted_under_both_weights() -> None:
    both = [reading((0, 0), (0, 0), 5), reading((0, 0), (0, 0), 20, "r2")]
    found = hear_pods(hear(begun(*both), both), Pods({"p2": cells(0)}, {"p1": cells(2000)}))
    found = hear_pods(hear(found, both), Pods({"p2": cells(10)}, {"p1": cells(2100)}))
    found = hear_pods(hear(found, both), Pods({"p2": cells(20)}, {"p1": cells(2200)}))
    assert {(each.smallest, each.largest) for each in found.open.values()} == {(5, 20)}


@pytest.mark.parametrize("heard", [0, 1], ids=["the one with less", "the one with more"])
def test_a_router_that_falls_silent_has_the_weight_that_it_had_when_pods_were_asked_last(heard: int) -> None:
    both = [reading((0, 0), (0, 0), 5), reading((0, 0), (0, 0), 20, "r2")]
    found = hear_pods(hear(begun(*both), both), Pods({"p2": cells(0)}, {"p1": cells(2000)}))
    found = hear_pods(hear(found, [both[heard]]), Pods({"p2": cells(10)}, {"p1": cells(2100)}))
    assert {(each.smallest, each.largest) for each in found.open.values()} == {(5, 20)}
