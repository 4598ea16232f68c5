"""A decision that is calculated again from its trial's record is equal, or somebody has altered one of them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tidegate_contract.counters import SLOW_BOUNDS
from tidegate_contract.evidence import Arm
from tidegate_operator.core.evidence.replay import NO_PROOF, Difference, Outcome, Record, Replay, contradiction, replay
from tidegate_operator.core.evidence.tally import Pods, Reading, Tally, begin, enter, hear, hear_pods, meaning
from tidegate_operator.core.types import Counted, Decision, Limits, Numbers

NEW, OLD = "bbbbbbbb", "aaaaaaaa"
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
EQUAL = Replay(Outcome.EQUAL)
NO_HARM = "the record has not so much evidence of harm"


def counts(fast: int) -> tuple[int, ...]:
    return tuple(fast if cell == 20 else 0 for cell in range(len(SLOW_BOUNDS) + 1))


def told(failed: int, of: int = 0, looks: int = 10, weight: int = 10) -> Tally:
    """So many failed of so many of the candidate's own; stable has nine times as many, none of which fail."""
    found, of = begin(NEW, OLD, 1, 0.01, 0.005, [Reading("r", 0, Arm(0), Arm(0))]), of or failed
    for look in range(1, looks + 1):
        ours, bad = of * look // looks, failed * look // looks
        found = hear(found, [Reading("r", weight, Arm(ours, bad), Arm(ours * 9))])
        found = hear_pods(found, Pods({"n": counts(ours)}, {"o": counts(2000 + ours * 9)}))
    return found


def decision(what: str, why: str, tally: Tally, by: str = "tidegate", revision: str = NEW, **numbers: Any) -> Decision:
    counted = meaning(tally).numbers
    assert counted
    return Decision(NOW, what, revision, by, why, replace(counted, **numbers))


def again(made: Decision, tally: Tally | None, *earlier: Decision, began: datetime | None = NOW) -> Replay | None:
    return replay(made, Record(tally, began) if tally else None, earlier)


BAD, GOOD = told(20), told(0, 2000)


@pytest.mark.parametrize(
    ("made", "tally"),
    [
        (decision("Strike", meaning(BAD).harm, BAD), BAD),
        (decision("Rollback", f"{NEW} is rejected: {meaning(BAD).harm}", BAD, revision=OLD), BAD),
        (decision("Step", f"{meaning(GOOD).proof} at 10 of 100 requests", GOOD), GOOD),
        (decision("Step", "0 of 20 answers failed at 10 of 100 requests", told(0, 30)), told(0, 30)),
        (decision("Promoted", "it has all requests", told(0, 30)), told(0, 30)),
        (decision("Abort", "I do not like it", GOOD, by="ada"), GOOD),
    ],
    ids=["a strike", "a rollback", "a step by proof", "a step", "a promotion that nobody explains", "a person's"],
)
def test_what_was_decided_by_numbers_is_equal(made: Decision, tally: Tally) -> None:
    assert again(made, tally) == EQUAL
    longer = enter(hear(enter(tally), [Reading("r", 10, Arm(9000, 5), Arm(90000))]))
    assert again(made, longer) == EQUAL, "the record has gone on since"


def test_a_decision_without_numbers_is_none_to_calculate() -> None:
    assert again(Decision(NOW, "Rollout", NEW, "tidegate", "spec asks for it"), GOOD) is None


def test_a_record_that_was_altered_is_not_equal_and_says_where() -> None:
    made = decision("Strike", meaning(BAD).harm, BAD)
    first, *rest = BAD.entries
    altered = replace(BAD, entries=(first._replace(events=first.events - 1), *rest))
    found = again(made, altered)
    assert found is not None
    assert found.outcome is Outcome.UNEQUAL
    assert [each.what for each in found.differences] == ["errors.tried.events", "errors.harm"]
    assert found.differences[0] == Difference("errors.tried.events", 20, 19)


ZERO = Counted()


@pytest.mark.parametrize(
    ("altered", "what"),
    [
        (lambda n: replace(n, errors=replace(n.errors, harm=n.errors.harm + 3e-6)), "errors.harm"),
        (lambda n: replace(n, errors=replace(n.errors, proof=1.0)), "errors.proof"),
        (lambda n: replace(n, slow=replace(n.slow, harm=n.slow.harm - 3e-6)), "slow.harm"),
        (lambda n: replace(n, slow=replace(n.slow, proof=9.0)), "slow.proof"),
        (lambda n: replace(n, limits=replace(n.limits, harm=1.0)), "limits.harm"),
        (lambda n: replace(n, limits=replace(n.limits, proof=1.0)), "limits.proof"),
        (lambda n: replace(n, errors=replace(n.errors, tried=ZERO.tried)), "errors.tried.events"),
        (lambda n: replace(n, errors=replace(n.errors, against=ZERO.tried)), "errors.against.requests"),
        (lambda n: replace(n, slow=replace(n.slow, tried=ZERO.tried)), "slow.tried.requests"),
        (lambda n: replace(n, slow=replace(n.slow, against=ZERO.tried)), "slow.against.requests"),
        (lambda n: replace(n, open=n.open[1:]), "slow.tried.requests"),
    ],
)
def test_numbers_that_were_altered_are_not_equal(altered: Any, what: str) -> None:
    tally = told(20, 200)
    made = decision("Held", "its time is over", tally)
    assert again(made, tally) == EQUAL
    assert made.numbers is not None
    found = again(replace(made, numbers=altered(made.numbers)), tally)
    assert found is not None
    assert found.outcome is Outcome.UNEQUAL
    assert what in [each.what for each in found.differences]


def test_a_last_digit_that_was_rounded_the_other_way_is_equal() -> None:
    made = decision("Held", "its time is over", BAD)
    assert made.numbers is not None
    errors = replace(made.numbers.errors, harm=made.numbers.errors.harm + 1e-6)
    assert again(replace(made, numbers=replace(made.numbers, errors=errors)), BAD) == EQUAL


@pytest.mark.parametrize(
    "line", ["errors 10 10 1 2 1 1", "errors 0 0 1 1 1 1", "rows 1 1 1 1 1 1", "errors", "errors 10 10 -1 0 1 1"]
)
def test_what_cannot_have_been_counted_is_not_equal(line: str) -> None:
    found = again(decision("Held", "its time is over", GOOD, open=(line,)), GOOD)
    assert found is not None
    assert (found.outcome, found.why.startswith("what was counted is impossible: ")) == (Outcome.UNEQUAL, True)


@pytest.mark.parametrize(
    ("tally", "began", "why"),
    [
        (None, NOW, f"trial 1 of {NEW} is not there"),
        (replace(BAD, against="cccccccc"), NOW, f"trial 1 of {NEW} that is kept is one of another rollout"),
        (replace(BAD, trial=2), NOW, f"trial 1 of {NEW} that is kept is one of another rollout"),
        (replace(BAD, revision=OLD), NOW, f"trial 1 of {NEW} that is kept is one of another rollout"),
        (BAD, NOW + timedelta(seconds=1), f"trial 1 of {NEW} that is kept is one of another rollout"),
        (replace(BAD, entries=BAD.entries[:2]), NOW, f"the record ends after 2 of {len(BAD.entries)} entries"),
    ],
    ids=["none", "against another version", "another trial", "another version", "begun later", "short"],
)
def test_without_its_record_nobody_can_tell(tally: Tally | None, began: datetime, why: str) -> None:
    found = again(decision("Strike", meaning(BAD).harm, BAD), tally, began=began)
    assert found is not None
    assert (found.outcome, found.why.startswith(why)) == (Outcome.NOT_KEPT, True)
    assert found.differences == ()


def test_a_trial_that_does_not_say_when_it_began_is_taken_for_the_right_one() -> None:
    assert again(decision("Strike", meaning(BAD).harm, BAD), BAD, began=None) == EQUAL


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (decision("Strike", "it failed", GOOD), NO_HARM),
        (decision("Rollback", f"{NEW} is rejected: it failed", GOOD, revision=OLD), NO_HARM),
        (decision("RollbackImpossible", "it is not kept any more", GOOD), NO_HARM),
        (decision("Strike", "a router has found by itself: 9 of 9; it gets no requests", GOOD), ""),
        (decision("Rollback", f"{NEW} is rejected: nothing is decided after 24 h", GOOD, revision=OLD), ""),
        (decision("Rollback", "the record of b, which came back later, says that it was rejected", GOOD), ""),
        (decision("Rollback", "back to it from b", GOOD, by="ada"), ""),
    ],
)
def test_who_goes_has_done_harm_unless_it_was_for_something_else(made: Decision, why: str) -> None:
    assert again(made, GOOD) == Replay(Outcome.UNEQUAL if why else Outcome.EQUAL, why=why)


SPEAKS = "the record has something that speaks against the version"


@pytest.mark.parametrize(
    ("why", "tally", "wrong"),
    [
        (
            "2 of 20 answers failed at 10 of 100 requests",
            BAD,
            "the record has something that speaks against the version",
        ),
        ("every router sends it 10 of 100 requests", BAD, ""),
        ("it is no worse: 0 of 30 answers failed", told(0, 30), NO_PROOF),
        ("0 of 30 answers failed", told(0, 30), ""),
    ],
    ids=["suspected", "a person says whether it goes on", "a proof that is none", "no proof is claimed"],
)
def test_who_goes_on_has_nothing_against_it(why: str, tally: Tally, wrong: str) -> None:
    assert again(decision("Step", why, tally), tally) == Replay(Outcome.UNEQUAL if wrong else Outcome.EQUAL, why=wrong)


def test_a_proof_is_none_where_routers_do_not_divide_as_they_should() -> None:
    skewed = begin(NEW, OLD, 1, 0.01, 0.005, [Reading("r", 0, Arm(0), Arm(0))])
    for look in range(1, 60):
        skewed = hear(skewed, [Reading("r", 10, Arm(look * 100), Arm(look * 100))])
        skewed = hear_pods(skewed, Pods({"n": counts(look * 100)}, {"o": counts(2000 + look * 100)}))
    assert meaning(skewed).broken
    assert meaning(skewed).proof
    found = again(decision("Step", f"{meaning(skewed).proof} at 10 of 100 requests", skewed), skewed)
    assert found == Replay(Outcome.UNEQUAL, why="the record says that the routers did not divide as they should")


STEP = decision("Step", f"{meaning(GOOD).proof} at 10 of 100 requests", GOOD)
PLAIN = decision("Step", "every router sends it 10 of 100 requests", told(0, 30))
HAND = Decision(NOW, "Promote", NEW, "ada", "it takes over without the 1 steps left")
AGAIN = Decision(NOW, "Rollout", NEW, "tidegate", "spec asks for it")
NONE = replace(STEP, numbers=None)


@pytest.mark.parametrize(
    ("earlier", "why"),
    [
        ([STEP], ""),
        ([NONE], NO_PROOF),
        ([STEP, HAND], ""),
        ([STEP, AGAIN], ""),
        ([PLAIN], ""),
        ([replace(NONE, revision=OLD)], ""),
        ([], ""),
    ],
    ids=["a proof", "a proof without numbers", "a person", "another rollout", "no proof", "another's", "nothing kept"],
)
def test_a_promotion_by_proof_has_one(earlier: list[Decision], why: str) -> None:
    promoted = decision("Promoted", "it has all requests", told(0, 30))
    assert again(promoted, told(0, 30), *earlier) == Replay(Outcome.UNEQUAL if why else Outcome.EQUAL, why=why)


def test_the_limits_are_those_of_this_release() -> None:
    assert isinstance(numbers := decision("Held", "", GOOD).numbers, Numbers)
    assert numbers.limits == Limits(harm=5.298317, proof=2.995732)


def _numbers(errors: tuple[float, float], slow: tuple[float, float]) -> Numbers:
    """Of each signal the evidence for harm and for proof."""
    failed, late = (Counted(harm=harm, proof=proof) for harm, proof in (errors, slow))
    return Numbers(NEW, OLD, 1, 10, failed, late, Limits(5.3, 3.0), 1)


def _allows(what: str, why: str, numbers: Numbers) -> str:
    return contradiction(Decision(NOW, what, NEW, "tidegate", why), numbers, (), is_broken=False)


@pytest.mark.parametrize(
    ("errors", "slow", "why"),
    [
        ((5.3, 0.0), (0.0, 0.0), ""),
        ((0.0, 0.0), (5.3, 0.0), ""),
        ((5.29, 0.0), (5.29, 0.0), NO_HARM),
    ],
    ids=["just enough of errors", "just enough of slow answers", "both, and neither enough"],
)
def test_harm_of_one_signal_is_enough(errors: tuple[float, float], slow: tuple[float, float], why: str) -> None:
    assert _allows("Strike", "it failed", _numbers(errors, slow)) == why


@pytest.mark.parametrize(
    ("errors", "slow", "why"),
    [
        ((0.0, 3.0), (0.0, 3.0), ""),
        ((0.0, 2.99), (0.0, 9.0), NO_PROOF),
        ((0.0, 9.0), (0.0, 2.99), NO_PROOF),
        ((0.000001, 9.0), (0.0, 9.0), SPEAKS),
        ((0.0, 9.0), (0.000001, 9.0), SPEAKS),
    ],
    ids=["just enough of both", "errors are not", "slow answers are not", "suspected errors", "suspected slow answers"],
)
def test_proof_takes_every_signal(errors: tuple[float, float], slow: tuple[float, float], why: str) -> None:
    assert _allows("Step", "it is no worse: 0 of 9 answers failed", _numbers(errors, slow)) == why


def test_a_step_is_left_where_as_much_speaks_for_the_version_as_against_it() -> None:
    assert _allows("Step", "0 of 20 answers failed", _numbers((0.0, 0.0), (0.0, -1.0))) == ""
    assert _allows("Step", "0 of 20 answers failed", _numbers((0.0, -0.000001), (0.0, 0.0))) == SPEAKS
