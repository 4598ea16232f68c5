"""What evidence leads to: when a step is over, a promotion, a strike, a rollback. Pure."""

from collections.abc import Collection, Iterable
from enum import StrEnum

from tidegate_contract.evidence import ALPHA, Excess, Harm, Scrape, harmful, inside, whole
from tidegate_operator.core.evidence.promotion import BETA, Evidence, proven
from tidegate_operator.core.evidence.split import Split, broken

STEP_REQUESTS, STEP_SECONDS = 20, 30.0
"""Of the candidate: what a step sees at least."""
ROUNDING = 1e-9
"""A logarithm so near to 0 is one: sums are rounded."""
STRIKES = 2
"""So many reject a revision."""
WATCHERS = 2
"""Each with a false alarm in ALPHA of all rollouts: the operator, and all agents together."""
CHALLENGE_WEIGHT = 0.05
"""Of the version that was stable before, while it is asked whether going back would help."""


class Cause(StrEnum):
    """What speaks against a revision."""

    HARM = "Harm"
    """The operator has proof of harm."""
    LATCH = "Latch"
    """A router's agent has, of what went through it."""
    GOLDEN_MISMATCH = "GoldenMismatch"
    """A golden row was answered otherwise than when the bundle was made."""
    DIGEST_MISMATCH = "DigestMismatch"
    """Its bytes are other ones."""


CERTAIN = frozenset({Cause.GOLDEN_MISMATCH, Cause.DIGEST_MISMATCH})
"""No matter of chance, and so not to be tried again."""


def speaks_against(harm: Evidence) -> bool:
    """Whether more speaks for harm than against it, E > 1. It proves nothing."""
    return harm.log_evidence >= ROUNDING


def may_leave_step(harms: Iterable[Evidence], requests: int, seconds: float) -> bool:
    """Whether a step has seen enough: 20 requests of the candidate, 30 s, and more against harm than for it, E < 1.

    It proves nothing, and keeps a rollout from running ahead of a suspicion. A signal of which there is nothing yet
    has E = 1, and holds nobody up.
    """
    enough = whole(requests, "requests") >= STEP_REQUESTS and seconds >= STEP_SECONDS
    return enough and not any(map(speaks_against, harms))


def may_promote(
    promotions: Collection[Evidence],
    harms: Iterable[Evidence],
    split: Split,
    requests: int,
    seconds: float,
    beta: float = BETA,
) -> bool:
    """Whether the last step is over, the candidate proven by every signal, and nothing wrong with the split."""
    sure = bool(promotions) and all(proven(promotion, beta) for promotion in promotions)
    return sure and not broken(split) and may_leave_step(harms, requests, seconds)


def strike(strikes: int, cause: Cause) -> int:
    """How many strikes a revision has after one more. What is certain is as good as all of them.

    At STRIKES it is rejected. Before that it is suspected: its weight is 0 at once, its pods are made anew, and it is
    tried again with fresh evidence, for it as well as against it.
    """
    return STRIKES if cause in CERTAIN else min(STRIKES, whole(strikes, "strikes") + 1)


def false_rejection(alpha: float = ALPHA, watchers: int = WATCHERS, strikes: int = STRIKES) -> float:
    """At most how probable it is that a version which does no harm is rejected: (watchers alpha)^strikes.

    Each trial begins with fresh evidence, so that its bound holds given what went before, and the bounds multiply.

    >>> round(false_rejection(), 6)
    0.0004
    """
    return min(1.0, whole(watchers, "watchers") * inside(alpha, "alpha")) ** strikes


# ---------------------------------------------------------------- the way back


class Challenge(StrEnum):
    """What a trial of the version from before has come to."""

    GO_BACK = "GoBack"
    """The version of today does harm beside it."""
    STAY = "Stay"
    """It does not, or nobody could tell in time: to train it anew would help, to go back would not."""
    UNDECIDED = "Undecided"


def swapped(scrape: Scrape) -> Scrape:
    """The same requests with the roles exchanged: stable is judged, and the candidate is what it is compared with."""
    return Scrape(1 - scrape.weight, scrape.stable, scrape.candidate)


def challenge(
    harms: Collection[Harm | Excess], promotions: Collection[Evidence], expired: bool, alpha: float = ALPHA
) -> Challenge:
    """Whether a rollback would help, once what serves has become worse.

    The version from before is candidate at CHALLENGE_WEIGHT, and every state is fed with `swapped` scrapes, or with
    labels the other way round under 1 - weight. So harm is harm of today's version beside the one from before, and
    going back is proven like any other harm; a promotion is proof that today's version is not worse by the tolerance.
    """
    if any(harmful(harm, len(harms), alpha) for harm in harms):
        return Challenge.GO_BACK
    good = bool(promotions) and all(proven(promotion) for promotion in promotions)
    return Challenge.STAY if good or expired else Challenge.UNDECIDED
