"""What evidence leads to."""

import math
from dataclasses import dataclass

import pytest

from tidegate_contract.evidence import Arm, Excess, Harm, Ratio, Scrape, Signal, Wealth, harm_of
from tidegate_operator.core.evidence.policy import (
    CERTAIN,
    CHALLENGE_WEIGHT,
    STRIKES,
    Cause,
    Challenge,
    challenge,
    false_rejection,
    may_leave_step,
    may_promote,
    strike,
    swapped,
)
from tidegate_operator.core.evidence.promotion import Promotion
from tidegate_operator.core.evidence.split import Split


@dataclass(frozen=True)
class Owning:
    """A state of which only the wealth matters."""

    wealth: float

    @property
    def log_evidence(self) -> float:
        return math.log(self.wealth)


def harm(wealth: float) -> Harm:
    log = math.log(wealth)
    return Harm(Ratio(1.5, Wealth((log,) * 40)), Excess(0.01, Wealth((log,) * 8)))


# ---------------------------------------------------------------- steps and promotion


@pytest.mark.parametrize(
    ("wealths", "requests", "seconds", "over"),
    [
        pytest.param((0.5, 0.99), 20, 30.0, True, id="it has seen what it must see"),
        pytest.param((0.5,), 19, 30.0, False, id="too few requests"),
        pytest.param((0.5,), 20, 29.9, False, id="too short a time"),
        pytest.param((0.5, 1.01), 1000, 300.0, False, id="one signal speaks more against it than for it"),
        pytest.param((1.0,), 20, 30.0, True, id="a signal of which nothing is known"),
        pytest.param((), 20, 30.0, True, id="no signal"),
    ],
)
def test_a_step_is_over(wealths: tuple[float, ...], requests: int, seconds: float, over: bool) -> None:
    assert may_leave_step([Owning(wealth) for wealth in wealths], requests, seconds) is over


def test_what_is_lost_to_rounding_is_no_suspicion() -> None:
    @dataclass(frozen=True)
    class Rounded:
        log_evidence: float

    assert [may_leave_step([Rounded(log)], 20, 30) for log in (0.99e-9, 1e-9)] == [True, False]


def test_a_signal_that_has_seen_no_request_holds_nobody_up() -> None:
    assert may_leave_step([harm_of(Signal.SLOW), harm_of(Signal.ERRORS).after(Scrape(0.1, Arm(0), Arm(0)))], 20, 30)


def test_requests_of_a_step_are_a_count() -> None:
    with pytest.raises(ValueError, match="requests must be a whole number"):
        may_leave_step([], -1, 30)


@pytest.mark.parametrize(
    ("proofs", "against", "split", "requests", "seconds", "promoted"),
    [
        pytest.param((21.0, 21.0), (0.5, 0.5), 1.0, 20, 30.0, True, id="proven by every signal"),
        pytest.param((21.0, 19.0), (0.5, 0.5), 1.0, 20, 30.0, False, id="one signal is not proven"),
        pytest.param((), (0.5, 0.5), 1.0, 20, 30.0, False, id="no signal at all"),
        pytest.param((21.0,), (0.5, 1.5), 1.0, 20, 30.0, False, id="a suspicion"),
        pytest.param((21.0,), (0.5,), 1001.0, 20, 30.0, False, id="a broken split"),
        pytest.param((21.0,), (0.5,), 999.0, 20, 30.0, True, id="a split that is not broken yet"),
        pytest.param((21.0,), (0.5,), 1.0, 19, 30.0, False, id="too few requests in the last step"),
        pytest.param((21.0,), (0.5,), 1.0, 20, 29.0, False, id="too short a last step"),
    ],
)
def test_a_candidate_is_promoted(
    proofs: tuple[float, ...],
    against: tuple[float, ...],
    split: float,
    requests: int,
    seconds: float,
    promoted: bool,
) -> None:
    found = may_promote(
        [Owning(wealth) for wealth in proofs],
        [Owning(wealth) for wealth in against],
        Split(Wealth((math.log(split),) * 4)),
        requests,
        seconds,
    )
    assert found is promoted


def test_how_sure_a_promotion_is_can_be_asked_for() -> None:
    found = [may_promote([Owning(6.0)], [], Split(), 20, 30.0, beta) for beta in (0.1, 0.2)]
    assert found == [False, True]


# ---------------------------------------------------------------- strikes


def test_two_strikes_reject_and_what_is_certain_does_at_once() -> None:
    assert STRIKES == 2
    assert {cause: [strike(strikes, cause) for strikes in (0, 1, 2)] for cause in Cause} == {
        Cause.HARM: [1, 2, 2],
        Cause.LATCH: [1, 2, 2],
        Cause.GOLDEN_MISMATCH: [2, 2, 2],
        Cause.DIGEST_MISMATCH: [2, 2, 2],
    }
    assert {cause.value for cause in CERTAIN} == {"GoldenMismatch", "DigestMismatch"}
    with pytest.raises(ValueError, match="strikes must be a whole number"):
        strike(-1, Cause.HARM)


def test_a_version_that_does_no_harm_is_rejected_in_4_of_10000_rollouts_at_most() -> None:
    assert false_rejection() == pytest.approx(0.0004, rel=1e-12)
    assert false_rejection(0.1, 3, 1) == pytest.approx(0.3, rel=1e-12)
    assert false_rejection(0.9, 2, 2) == 1.0
    assert false_rejection(0.01, 0) == 0.0
    with pytest.raises(ValueError, match="alpha must be"):
        false_rejection(1.0)
    with pytest.raises(ValueError, match="watchers must be"):
        false_rejection(0.01, -1)


# ---------------------------------------------------------------- the way back


def test_in_a_challenge_the_roles_are_exchanged() -> None:
    assert swapped(Scrape(0.05, Arm(5, 1), Arm(95, 9))) == Scrape(0.95, Arm(95, 9), Arm(5, 1))
    assert CHALLENGE_WEIGHT == 0.05


@pytest.mark.parametrize(
    ("harms", "proofs", "expired", "verdict"),
    [
        pytest.param((201.0, 1.0), (1.0,), False, Challenge.GO_BACK, id="harm by one of two signals"),
        pytest.param((199.0, 1.0), (1.0,), False, Challenge.UNDECIDED, id="not enough harm for one of two"),
        pytest.param((101.0,), (1.0,), False, Challenge.GO_BACK, id="enough for the only one"),
        pytest.param((101.0,), (21.0,), True, Challenge.GO_BACK, id="harm comes first"),
        pytest.param((1.0,), (21.0, 21.0), False, Challenge.STAY, id="as good by every signal"),
        pytest.param((1.0,), (21.0, 19.0), False, Challenge.UNDECIDED, id="not by one of them"),
        pytest.param((1.0,), (), False, Challenge.UNDECIDED, id="without a signal"),
        pytest.param((1.0,), (), True, Challenge.STAY, id="out of time"),
    ],
)
def test_a_challenge_ends(
    harms: tuple[float, ...], proofs: tuple[float, ...], expired: bool, verdict: Challenge
) -> None:
    assert challenge([harm(wealth) for wealth in harms], [Owning(wealth) for wealth in proofs], expired) == verdict


def test_how_sure_a_rollback_is_can_be_asked_for() -> None:
    assert [challenge([harm(30.0)], [], False, alpha) for alpha in (0.01, 0.05)] == [
        Challenge.UNDECIDED,
        Challenge.GO_BACK,
    ]


@pytest.mark.parametrize(
    ("today", "before", "verdict"), [(5, 5, Challenge.STAY), (20, 1, Challenge.GO_BACK), (1, 20, Challenge.STAY)]
)
def test_going_back_needs_the_version_from_before_to_be_better(today: int, before: int, verdict: Challenge) -> None:
    """Errors of 100 requests each; a change of the world that hits both is no reason."""
    harms, promotion = harm_of(Signal.ERRORS), Promotion(0.01)
    for _ in range(3000):
        judged = swapped(Scrape(0.5, Arm(100, before), Arm(100, today)))
        harms, promotion = harms.after(judged), promotion.after(judged)
        found = challenge([harms], [promotion], expired=False)
        if found != Challenge.UNDECIDED:
            break
    assert found == verdict
