"""The search of the rollouts finds what is wrong, and small worlds of it hold."""

from dataclasses import replace

import pytest

from tidegate_operator.core.guards import Guard, Guards
from tidegate_operator.core.types import Standing, Status, Strategy
from verify import rollout
from verify.routed import NAMES, Budget, Looks, State, canonical, ended
from verify.verdicts import tried
from verify.words import Said, Words, current


@pytest.mark.parametrize(
    ("name", "budget"),
    [
        ("canary", Budget(1, 1, 0)),
        ("entering", Budget(1, 0, 0)),
        ("made", Budget(0, 1, 0)),
        ("evidence", Budget(words=1)),
        ("bake", Budget(words=2)),
        ("struck", Budget(restores=1)),
    ],
)
def test_a_change_of_mind_loses_no_request_and_it_comes_to_rest(name: str, budget: Budget) -> None:
    result = rollout.search(rollout.named(name)._replace(budgets=(budget,)))
    assert result.counterexample is None
    assert result.states > 100


@pytest.mark.parametrize(
    ("guard", "name", "budget"),
    [
        (Guard.PODS_READY, "canary", Budget(1, 0, 1)),
        (Guard.PODS_KNOWN, "canary", Budget(1, 0, 0)),
        (Guard.STABLE_READY, "approval", Budget(0, 1, 1)),
        (Guard.ACKNOWLEDGED, "approval", Budget(0, 1, 0)),
        (Guard.NOT_PAUSED, "approval", Budget(0, 2, 0)),
        (Guard.COUNTED, "evidence", Budget(words=1)),
        (Guard.EVIDENT, "evidence", Budget()),
        (Guard.AFRESH, "evidence", Budget(words=1)),
        (Guard.OWN_PODS, "restoring", Budget(restores=1)),
    ],
)
def test_without_a_guard_a_promise_breaks(guard: Guard, name: str, budget: Budget) -> None:
    start = rollout.named(name)._replace(budgets=(budget,))
    assert rollout.search(start, Guards(frozenset({guard}))).counterexample


def test_a_counterexample_tells_every_move() -> None:
    start = rollout.named("approval")._replace(budgets=(Budget(0, 2, 0),))
    found = rollout.search(start, Guards(frozenset({Guard.NOT_PAUSED}))).counterexample
    assert found is not None
    assert found.promise == "B has more weight, and people have paused it"
    assert found.moves[:2] == ("a person says Pause", "the operator begins a look")


def test_states_that_differ_in_the_order_of_their_routers_are_one() -> None:
    state = rollout.waiting(Strategy.CANARY)
    first, second = state.routers
    other = first._replace(pods=(), said=())
    assert canonical(state._replace(routers=(other, second))) == canonical(state._replace(routers=(second, other)))


# ---------------------------------------------------------------- what requests say


def saying(says: Said, state: State | None = None) -> State:
    """The requests of B say this, and the traffic has come to rest."""
    state = state or rollout.tried()
    assert state.words
    return rollout.rested(state._replace(words=state.words._replace(says=says)))


def in_the_end(state: State) -> tuple[Status, dict[str, int]]:
    assert state.route
    return state.status.value, {letter: state.route.weights.get(name, 0) for letter, name in NAMES.items()}


def test_the_first_requests_are_kept_and_say_nothing_at_first() -> None:
    state = rollout.tried()
    trial = current(state.status)
    assert trial is not None
    assert state.words == Words(trial, Said.NOTHING, Said.NOTHING)
    assert in_the_end(state)[1] == {"A": 90, "B": 10, "C": 0}
    assert Looks().moves(state)


@pytest.mark.parametrize(
    ("says", "weights"),
    [
        (Said.PROOF, {"A": 0, "B": 100, "C": 0}),
        (Said.ENOUGH, {"A": 50, "B": 50, "C": 0}),
        (Said.DOUBT, {"A": 90, "B": 10, "C": 0}),
        (Said.OLD, {"A": 90, "B": 10, "C": 0}),
        (Said.UNHEARD, {"A": 100, "B": 0, "C": 0}),
    ],
)
def test_what_requests_say_decides_where_it_comes_to_rest(says: Said, weights: dict[str, int]) -> None:
    assert in_the_end(saying(says))[1] == weights


def test_after_harm_it_is_tried_again_and_after_harm_again_it_is_rejected() -> None:
    second = saying(Said.HARM)
    found = tried(second.status.value)
    assert found is not None
    assert (found.strikes, found.trial) == (1, 2)
    status, weights = in_the_end(saying(Said.HARM, second))
    assert [entry.revision for entry in status.rejected] == [NAMES["B"]]
    assert weights == {"A": 100, "B": 0, "C": 0}


def test_a_process_that_ends_takes_along_what_it_has_not_kept() -> None:
    state = rollout.tried()
    assert state.words
    assert ended(state) is None
    assert ended(state._replace(words=state.words._replace(says=Said.HARM))) == state
    unkept = ended(state._replace(words=state.words._replace(says=Said.HARM, kept=None)))
    assert unkept is not None
    assert unkept.words == ()


def test_what_was_said_in_the_first_trial_is_not_said_in_the_second() -> None:
    state = rollout.tried()
    candidate = state.status.value.candidate
    assert candidate is not None
    assert candidate.standing is Standing.TRIED
    assert state._replace(words=state.words and state.words._replace(says=Said.HARM)).says is Said.HARM
    assert state.words
    other = state.words._replace(trial=replace(state.words.trial, number=2), says=Said.HARM)
    assert state._replace(words=other).says is None
