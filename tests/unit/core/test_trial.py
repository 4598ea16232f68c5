"""What a version's requests say about its rollout: it goes on, has to go, or is tried once more."""

from dataclasses import replace
from datetime import timedelta

import pytest

from routed_worlds import GOOD, ROUTED, Cluster, canary, deployment_of
from tidegate_contract.actions import Action, Outcome
from tidegate_operator.core.trial import Trial, expected, goes_on, next_check, trial_of
from tidegate_operator.core.types import (
    Approval,
    Bake,
    Candidate,
    Counted,
    Deadline,
    Desired,
    Evidence,
    Limits,
    NextCheck,
    Numbers,
    Overdue,
    Standing,
    Strategy,
    Weight,
)
from worlds import NOW, asking, name

NEXT = asking(ROUTED, digest="sha256:" + "6" * 64)
THIRD = asking(ROUTED, digest="sha256:" + "7" * 64)
AUTO = canary(NEXT, (Weight(5), Weight(50)))
BAKED = replace(AUTO, bake=Bake(60, 5))
A, B, C = name(ROUTED), name(NEXT), name(THIRD)
HARM = "7 of 9 answers failed against 1 of 171"


def rolling(desired: Desired = AUTO) -> Cluster:
    """Another version has its first requests."""
    found = Cluster(ROUTED).settle()
    found.desired = desired
    return found.until(lambda one: one.weights().get(B) == 5)


def struck(found: Cluster) -> Cluster:
    """Its requests speak against it, until the traffic rests."""
    found.says = replace(found.says, harm=HARM)
    return found


def whats(found: Cluster) -> list[str]:
    return [decision.what for decision in found.status.decisions]


def looks(found: Cluster, number: int) -> Cluster:
    for _ in range(number):
        found.look()
    return found


def test_a_version_gets_no_request_before_what_they_say_is_kept() -> None:
    found = Cluster(ROUTED).settle()
    found.desired = AUTO
    seen = []
    for _ in range(40):
        plan = found.look()
        seen.append((plan.saves, found.weights().get(B, 0)))
    kept = next(at for at, (saves, _) in enumerate(seen) if saves)
    assert next(at for at, (_, weight) in enumerate(seen) if weight) > kept


def test_as_long_as_what_they_say_cannot_be_kept_it_gets_none() -> None:
    found = Cluster(ROUTED, saved=Unkept()).settle()
    found.desired = AUTO
    assert looks(found, 40).weights() == {A: 100, B: 0}


class Unkept(set[tuple[str, int]]):
    def add(self, trial: tuple[str, int]) -> None:
        """The API server refuses it."""


def test_a_good_version_takes_over_step_by_step() -> None:
    found = rolling().until(lambda one: one.weights() == {B: 100}, 120)
    assert whats(found)[-3:] == ["Step", "Step", "Promoted"]
    assert "0 of 1,000 failed" in found.status.decisions[-2].why
    assert found.settle().condition("Progressing") == ("False", "Complete")


def test_a_step_lasts_for_thirty_seconds() -> None:
    found = rolling()
    found.until(lambda one: one.status.candidate is not None and one.status.candidate.reached is not None)
    begun = found.now
    found.until(lambda one: one.weights().get(B) == 50)
    assert 30 <= (found.now - begun).total_seconds() <= 32
    assert found.condition("Progressing")[1] in ("GatheringEvidence", "ShiftingTraffic")


@pytest.mark.parametrize(
    "says",
    [
        pytest.param(replace(GOOD, requests=19), id="too few requests"),
        pytest.param(replace(GOOD, suspicion="2 of 40 failed against 0 of 900"), id="something speaks against it"),
    ],
)
def test_a_step_is_not_left(says: Evidence) -> None:
    found = rolling()
    found.says = says
    assert looks(found, 200).weights() == {A: 95, B: 5}
    assert found.status.phase == "Step 1"


@pytest.mark.parametrize(
    "says",
    [
        pytest.param(replace(GOOD, proof=""), id="nothing is proven"),
        pytest.param(replace(GOOD, broken="the routers do not divide"), id="the split is broken"),
    ],
)
def test_without_proof_it_does_not_take_over(says: Evidence) -> None:
    found = rolling()
    found.says = says
    assert looks(found, 300).weights() == {A: 50, B: 50}
    assert found.condition("Progressing") == ("True", "GatheringEvidence")


def test_the_first_strike_takes_all_requests_and_new_pods_are_tried() -> None:
    found = struck(rolling())
    found.until(lambda one: B not in one.weights() or one.weights()[B] == 0, 3)
    assert found.status.candidate is not None
    assert (found.status.candidate.standing, found.status.candidate.strikes) == (Standing.SUSPECT, 1)
    assert found.status.phase == "Suspect"
    assert found.condition("Progressing") == ("True", "Suspected")
    assert HARM in found.status.decisions[-1].why
    found.says = replace(found.says, harm="")
    found.until(lambda one: deployment_of(B) not in one.serves)
    found.until(lambda one: one.weights().get(B) == 5)
    assert found.status.candidate is not None
    assert (found.status.candidate.trial, found.status.candidate.strikes) == (2, 1)


def test_a_suspect_is_not_promoted_before_its_second_trial() -> None:
    found = struck(rolling()).until(lambda one: one.status.phase == "Suspect", 3)
    found.action = Action("promote", "Promote", by="ada")
    found.look()
    assert found.status.action is not None
    assert found.status.action.outcome == Outcome.REFUSED
    assert "new pods of it are tried first" in found.status.action.message


@pytest.mark.parametrize(
    ("desired", "harm", "what"),
    [
        pytest.param(AUTO, HARM, "Strike", id="a strike"),
        pytest.param(AUTO, "", "Promoted", id="a promotion"),
        pytest.param(BAKED, "", "Promoted", id="a promotion before a bake"),
    ],
)
def test_what_was_counted_is_kept_when_it_decides(desired: Desired, harm: str, what: str) -> None:
    found = rolling(desired)
    found.says = replace(found.says, harm=harm)
    found.until(lambda one: whats(one)[-1] == what, 120)
    assert found.plans[-1].saves


def test_the_second_strike_rejects_it() -> None:
    found = struck(rolling())
    found.until(lambda one: bool(one.status.rejected), 200).settle()
    assert found.weights() == {A: 100}
    assert whats(found)[-2:] == ["Strike", "Rollback"]
    assert [entry.revision for entry in found.status.rejected] == [B]
    assert B in found.status.decisions[-1].why
    assert HARM in found.status.decisions[-1].why
    assert found.status.phase == "Idle"
    assert found.condition("SpecInSync") == ("False", "RevisionRejected")
    assert looks(found, 100).weights() == {A: 100}


GOLDEN = '{"reason":"GoldenMismatch","message":"row 3: want 1, got 0"}'


def refuted(desired: Desired, *, replicas: int = 2) -> Cluster:
    """None of another version's pods can serve it, and each says so."""
    found = Cluster(replace(ROUTED, replicas=replicas)).settle()
    found.broken, found.last_words, found.desired = {B}, GOLDEN, replace(desired, replicas=replicas)
    return found


BY_PEOPLE = tuple(replace(NEXT, strategy=way, steps=(Approval(),)) for way in (Strategy.BLUE_GREEN, Strategy.SHADOW))


@pytest.mark.parametrize("desired", [AUTO, *BY_PEOPLE], ids=lambda desired: desired.strategy.value)
def test_a_version_that_answers_otherwise_than_where_it_was_packed_is_rejected_at_once(desired: Desired) -> None:
    found = refuted(desired).until(lambda one: bool(one.status.rejected), 5)
    decision = found.status.decisions[-1]
    assert (decision.what, decision.revision, decision.by) == ("Rollback", A, "tidegate")
    assert decision.why.startswith(f"{B} is rejected: none of its pods can serve it: oci://")
    assert decision.why.endswith("row 3: want 1, got 0")
    found.settle()
    assert (found.weights(), [*found.serves.values()]) == ({A: 100}, [A])
    assert found.condition("SpecInSync") == ("False", "RevisionRejected")


def test_one_pod_that_answers_otherwise_rejects_nobody() -> None:
    found = refuted(AUTO)
    found.broken, found.partly = set(), {B}
    found.desired = replace(found.desired, strategy=Strategy.BLUE_GREEN, steps=(Approval(),))  # with both of its pods
    assert looks(found, 30).status.rejected == ()
    assert found.status.candidate is not None


def test_a_version_that_nothing_is_compared_with_heals_when_its_bytes_do() -> None:
    found = looks(refuted(replace(NEXT, strategy=Strategy.IMMEDIATE)), 30)
    assert (found.status.rejected, found.condition("Degraded")) == ((), ("True", "GoldenMismatch"))
    found.broken = set()
    assert found.settle().weights() == {B: 100}


def test_another_token_tries_what_its_pods_have_refuted_again() -> None:
    found = refuted(AUTO).until(lambda one: bool(one.status.rejected), 5).settle()
    found.broken, found.desired = set(), replace(found.desired, retry_token="again")
    found.until(lambda one: one.weights() == {B: 100}, 300)


def test_a_version_that_is_asked_for_again_begins_a_trial_of_its_own() -> None:
    found = rolling()
    first = trial_of(found.status)
    struck(found).until(lambda one: bool(one.status.rejected), 200).settle()
    found.says, found.desired = replace(found.says, harm=""), replace(AUTO, retry_token="again")
    found.until(lambda one: one.weights().get(B) == 5, 60)
    again = trial_of(found.status)
    assert first is not None
    assert again is not None
    assert (again.number, again.revision, again.against) == (first.number, first.revision, first.against)
    assert again != first


def test_another_version_begins_after_a_rejection() -> None:
    found = struck(rolling())
    found.until(lambda one: bool(one.status.rejected), 200).settle()
    found.says = replace(found.says, harm="")
    found.desired = canary(THIRD, (Weight(5), Weight(50)))
    found.until(lambda one: one.weights() == {C: 100}, 200)


def test_what_is_said_of_another_trial_counts_for_nothing() -> None:
    found = struck(rolling())
    observed = found.observed()
    assert observed.evidence is not None
    other = replace(observed.evidence, trial=7)
    found.evidence = lambda: other  # type: ignore[method-assign]
    assert looks(found, 100).weights() == {A: 95, B: 5}
    assert found.status.rejected == ()


def test_while_paused_harm_still_takes_the_requests_away() -> None:
    found = rolling()
    found.action = Action("pause", "Pause", by="ada")
    looks(found, 40)
    assert found.weights() == {A: 95, B: 5}
    struck(found).until(lambda one: one.weights() == {A: 100}, 20)


def test_without_numbers_for_five_minutes_it_gets_no_requests_and_then_goes_on() -> None:
    found = rolling()
    found.deaf = True
    assert looks(found, 290).weights() == {A: 95, B: 5}
    looks(found, 40)
    assert found.weights() == {A: 100, B: 0}
    assert found.status.candidate is not None
    assert found.status.candidate.standing is Standing.INCONCLUSIVE
    assert found.condition("Progressing") == ("True", "Inconclusive")
    assert found.status.rejected == ()
    found.deaf = False
    found.until(lambda one: one.weights().get(B) == 5, 10)
    assert whats(found)[-2:] == ["Inconclusive", "Again"]


def test_a_pause_does_not_keep_requests_at_a_version_of_which_nothing_is_heard() -> None:
    found = rolling()
    found.action, found.deaf = Action("pause", "Pause", by="ada"), True
    assert looks(found, 330).weights() == {A: 100, B: 0}


@pytest.mark.parametrize("then", list(Overdue))
def test_a_rollout_that_nothing_decides_has_an_end(then: Overdue) -> None:
    found = rolling(replace(AUTO, deadline=Deadline(120, then)))
    found.says = replace(found.says, proof="")
    looks(found, 200)
    if then is Overdue.HOLD:
        assert found.weights() == {A: 50, B: 50}
        assert found.condition("Progressing") == ("False", "Held")
        assert whats(found).count("Held") == 1
    else:
        assert found.weights() == {A: 100}
        assert [entry.revision for entry in found.status.rejected] == [B]


# ---------------------------------------------------------------- after it has taken over


def baking() -> Cluster:
    found = rolling(BAKED).until(lambda one: one.status.baking is not None, 150)
    return found.until(lambda one: one.weights() == {A: 5, B: 95})


def test_the_version_before_stays_to_be_compared_with() -> None:
    found = baking()
    assert found.status.stable is not None
    assert found.status.stable.revision == B
    assert found.status.phase == "Baking"
    assert found.condition("Progressing") == ("True", "Baking")
    assert found.sizes == {deployment_of(A): 2, deployment_of(B): 2}
    found.until(lambda one: one.weights() == {B: 100} and deployment_of(A) not in one.serves, 100)
    assert found.settle().condition("Progressing") == ("False", "Complete")


def test_harm_while_baking_goes_back_and_tries_it_once_more() -> None:
    found = struck(baking())
    found.until(lambda one: one.weights() == {A: 100}, 30)
    found.says = replace(found.says, harm="")
    assert found.status.stable is not None
    assert found.status.stable.revision == A
    assert "Promoted" not in whats(found)[-1:]
    found.until(lambda one: one.weights().get(B) == 5, 60)
    assert found.status.candidate is not None
    assert (found.status.candidate.trial, found.status.candidate.strikes) == (2, 1)
    struck(found).until(lambda one: bool(one.status.rejected), 30)
    assert found.settle().weights() == {A: 100}


def test_a_bake_lasts_while_something_speaks_against_the_new_one_and_twice_as_long_at_most() -> None:
    found = baking()
    found.says = replace(found.says, suspicion="2 of 40")
    assert looks(found, 80).weights() == {A: 5, B: 95}
    looks(found, 60)
    assert found.settle().weights() == {B: 100}


def test_a_bake_lasts_while_nothing_is_heard_and_twice_as_long_at_most() -> None:
    found = baking()
    found.deaf = True
    assert looks(found, 80).weights() == {A: 5, B: 95}
    found.deaf = False
    assert found.settle().weights() == {B: 100}
    found = baking()
    found.deaf = True
    assert looks(found, 140).settle().weights() == {B: 100}


def test_another_version_ends_the_bake_and_starts_from_what_is_stable_now() -> None:
    found = baking()
    found.desired = replace(BAKED, content=THIRD.content)
    found.until(lambda one: one.weights() == {B: 95, C: 5} and deployment_of(A) not in one.serves, 60)


def test_where_the_version_before_is_not_kept_there_is_nothing_to_go_back_to() -> None:
    found = struck(baking())
    found.revisions = {key: each for key, each in found.revisions.items() if each.name != A}
    looks(found, 20)
    assert found.status.rejected == ()
    assert "RollbackImpossible" in whats(found)
    assert found.weights() == {B: 100}


# ---------------------------------------------------------------- in numbers

COUNTED = Numbers(B, A, 1, 5, Counted(harm=5.9), Counted(), Limits(5.3, 3.0), 7)


def test_a_decision_holds_what_was_counted_until_then() -> None:
    found = Cluster(ROUTED).settle()
    found.desired = AUTO
    found.says = replace(found.says, numbers=COUNTED)
    found.until(lambda one: "Step" in whats(one))
    found = struck(found).until(lambda one: "Strike" in whats(one))
    held = {decision.what: decision.numbers for decision in found.status.decisions}
    assert held["Step"] == held["Strike"] == COUNTED
    assert held["Rollout"] is None, "no trial was on when it began"
    of_b = next(revision for revision in found.settle().revisions.values() if revision.name == B)
    assert COUNTED in [decision.numbers for decision in of_b.record.decisions]


def at(candidate_since: float, **evidence: object) -> NextCheck | None:
    """Of a step that has lasted for so many seconds."""
    reached = NOW - timedelta(seconds=candidate_since)
    candidate = Candidate(B, 0, 5, reached, reached, reached)
    return next_check(candidate, Evidence(B, 1, **evidence), NOW, last=True)  # type: ignore[arg-type]


def test_the_next_check_is_when_a_proof_is_to_be_expected() -> None:
    found = at(20, requests=100, needed=400)
    assert found == NextCheck(NOW + timedelta(seconds=80), 400, NOW), "100 took 20 s, so 400 take 80"
    assert at(10, requests=5, proof="it is no worse") == NextCheck(NOW + timedelta(seconds=30), 15, NOW)
    assert at(10, requests=50, proof="it is no worse") == NextCheck(NOW + timedelta(seconds=20), 0, NOW)


@pytest.mark.parametrize(
    "evidence",
    [
        {"requests": 0, "needed": 400},
        {"requests": 100, "needed": None},
        {"requests": 100, "needed": 400, "suspicion": "3 of 9"},
        {"requests": 100, "needed": 400, "broken": "they do not divide"},
    ],
)
def test_where_nobody_can_tell_nothing_is_said_of_it(evidence: dict[str, object]) -> None:
    assert at(20, **evidence) is None


def test_what_is_said_of_the_next_check_does_not_tick() -> None:
    said = NextCheck(NOW + timedelta(seconds=100), 500, NOW)
    later = NOW + timedelta(seconds=40)

    def told(seconds: float, now: object = later) -> NextCheck:
        return NextCheck(later + timedelta(seconds=seconds), 300, later)

    assert expected(said, told(60), later) == said, "as it was expected"
    assert expected(said, told(85), later) == said, "about right: 60 s were said to be left"
    assert expected(said, told(95), later) == told(95), "far off"
    assert expected(said, told(35), later) == told(35)
    assert expected(said, None, later) is None
    soon = NOW + timedelta(seconds=9)
    assert expected(said, told(900), soon) == said, "far off, and it was said a moment ago"


def test_it_is_in_the_status_while_a_step_waits_and_not_afterwards() -> None:
    found = rolling()
    found.says = replace(found.says, proof="", needed=10**6)
    found.until(lambda one: one.weights().get(B) == 50)
    found.until(lambda one: one.status.next_check is not None)
    said = found.status.next_check
    assert looks(found, 8).status.next_check == said
    found.says = replace(found.says, proof="it is no worse")
    assert found.until(lambda one: one.weights() == {B: 100}, 120).status.next_check is None


# ---------------------------------------------------------------- the weights that nobody has given

BUDGETED = replace(canary(NEXT, (Weight(5), Weight(20), Weight(50))), budget=30)


def test_a_candidate_gets_no_request_before_its_weights_are_chosen() -> None:
    found = Cluster(ROUTED).settle()
    found.desired = BUDGETED
    assert looks(found, 40).weights() == {A: 100, B: 0}
    found.says = replace(found.says, rate=100.0)
    found.until(lambda one: one.weights().get(B) == 10)
    assert "at 100 requests a second" in next(made.why for made in found.status.decisions if made.what == "Ramp")
    found.until(lambda one: one.weights() == {B: 100}, 120)
    assert whats(found)[-4:] == ["Ramp", "Step", "Step", "Promoted"]


@pytest.mark.parametrize(("rate", "first"), [(0.0, 5), (1.0, 50), (1000.0, 1)])
def test_the_more_requests_there_are_the_less_it_gets_at_first(rate: float, first: int) -> None:
    found = Cluster(ROUTED, says=replace(GOOD, rate=rate)).settle()
    found.desired = BUDGETED
    found.until(lambda one: one.weights().get(B, 0) > 0)
    assert found.weights()[B] == first


def test_the_second_trial_goes_by_the_same_weights_and_the_next_candidate_by_its_own() -> None:
    found = Cluster(ROUTED, says=replace(GOOD, rate=100.0)).settle()
    found.desired = BUDGETED
    found.until(lambda one: one.weights().get(B) == 10)
    struck(found).until(lambda one: "Strike" in whats(one))
    found.says = replace(GOOD, rate=1.0)
    found.until(lambda one: one.weights().get(B, 0) > 0)
    assert found.weights()[B] == 10
    found.desired = replace(BUDGETED, content=THIRD.content)
    seen = [looks(found, 1).weights().get(C, 0) for _ in range(60)]
    assert next(weight for weight in seen if weight) == 50
    assert whats(found).count("Ramp") == 2


def test_an_owner_who_gives_steps_in_the_middle_is_obeyed() -> None:
    found = Cluster(ROUTED, says=replace(GOOD, rate=100.0, proof="")).settle()
    found.desired = BUDGETED
    found.until(lambda one: one.weights().get(B) == 10)
    found.desired = canary(NEXT, (Weight(2), Weight(30)))
    assert looks(found, 6).weights()[B] == 2


def test_steps_of_another_strategy_that_are_behind_it_are_no_proof() -> None:
    """Two steps of an owner are behind it; `Auto` has two in all."""
    found = Cluster(ROUTED, says=replace(GOOD, rate=100.0, proof="")).settle()
    found.desired = canary(NEXT, tuple(map(Weight, (1, 5, 20, 50))))
    found.until(lambda one: one.weights().get(B) == 20, 120)
    found.desired = BUDGETED
    assert looks(found, 60).weights() == {A: 50, B: 50}
    found.says = replace(found.says, proof="it is no worse")
    found.until(lambda one: one.weights() == {B: 100}, 60)


def test_who_promotes_it_before_its_weights_are_chosen_is_obeyed() -> None:
    found = Cluster(ROUTED, says=replace(GOOD, proof="")).settle()
    found.desired = BUDGETED
    looks(found, 20)
    found.action = Action("1", "Promote", "", "ada", "")
    found.says = replace(found.says, rate=2000.0)
    seen = [looks(found, 1).weights().get(B, 0) for _ in range(30)]
    assert seen == sorted(seen), "nothing is taken back"
    assert found.weights() == {B: 100}
    assert "Ramp" not in whats(found)


def test_a_trial_goes_on_from_what_the_same_object_has_kept_of_the_same_trial() -> None:
    trial = Trial("b", "a", 1, NOW)
    assert goes_on("uid-1", trial, "uid-1", trial)
    assert not goes_on("uid-1", trial, "uid-2", trial)
    assert not goes_on("uid-1", trial, "uid-1", replace(trial, number=2))
    assert not goes_on("uid-1", trial, "uid-1", replace(trial, began=None))
