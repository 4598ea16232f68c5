"""A trial counts exactly what has come since it began, whoever counted it, and can be calculated again."""

import random

import pytest

from tidegate_contract.counters import SLOW_BOUNDS
from tidegate_contract.evidence import Arm, Signal, dump, load
from tidegate_operator.core.evidence import tally as module
from tidegate_operator.core.evidence.tally import (
    Pods,
    Reading,
    Tally,
    begin,
    enter,
    hear,
    hear_pods,
    judges,
    meaning,
    replayed,
)

NEW, OLD = "bbbbbbbb", "aaaaaaaa"
FAST, SLOW = 20, 40
"""Cells of usual answers, and of slow ones."""


def reading(ours: tuple[int, int], theirs: tuple[int, int], weight: int = 5, source: str = "r1") -> Reading:
    return Reading(source, weight, Arm(*ours), Arm(*theirs))


def begun(*readings: Reading) -> Tally:
    return begin(NEW, OLD, 1, 0.01, 0.005, readings or [reading((0, 0), (0, 0), weight=0)])


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
    assert meaning(found).needs.startswith("about ")
    found = healthy(begun(), 2000)
    assert meaning(found).proof.startswith("it is no worse: 0 of 2000 answers")
    assert not meaning(found).needs


def test_without_its_times_nothing_is_proven() -> None:
    found = begun()
    for step in range(1, 100):
        found = hear(found, [reading((step * 50, 0), (step * 950, 0))])
    assert not meaning(found).proof
    assert meaning(found).needs.startswith("first about 1000 answers")


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
