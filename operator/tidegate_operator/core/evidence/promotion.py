"""Whether a candidate is good enough: not worse than stable by the tolerance or more. Pure.

Every signal has to be proven, each with its own tolerance, which it shares with harm.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from tidegate_contract.evidence import (
    FRACTIONS,
    TOLERANCES,
    Arm,
    Scrape,
    Signal,
    Wealth,
    bettors,
    inside,
    log_mean,
    mean_gains,
    of_as_many,
    scores,
)

BETA = 0.05
"""The most that the chance of promoting a candidate which is worse by the tolerance may be."""
LIKE_STABLE = 100
"""A candidate of which nothing is known yet is thought to be like stable: so firmly as after so many requests."""
HARDLY_ANY = 0.1
"""Events that stable is thought to have had in so many more requests: those that were seen may be none."""
FOREVER = 10**8
"""Requests to both versions: a proof that takes more is none to wait for."""
AT_FIRST = bettors(len(FRACTIONS))
"""Nothing has been bet yet."""


class Evidence(Protocol):
    """A state with a wealth."""

    @property
    def log_evidence(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Promotion:
    """Against H0: the candidate's mean loss is at least `tolerance` above stable's, at every moment.

    The scores Z are those of `tidegate_contract.evidence.Excess`, and what is bet on is their opposite: tolerance - Z,
    never below -(1/w - tolerance). Nothing waits: no candidate becomes good late.
    """

    tolerance: float
    wealth: Wealth = AT_FIRST

    def __post_init__(self) -> None:
        inside(self.tolerance, "tolerance")
        of_as_many(self.wealth, len(FRACTIONS))

    @property
    def log_evidence(self) -> float:
        return self.wealth.log_evidence

    def after(self, scrape: Scrape) -> "Promotion":
        return self.after_losses(
            scrape.weight,
            {1.0: scrape.candidate.events, 0.0: scrape.candidate.others},
            {1.0: scrape.stable.events, 0.0: scrape.stable.others},
        )

    def after_losses(self, weight: float, candidate: Mapping[float, int], stable: Mapping[float, int]) -> "Promotion":
        """With requests whose loss is known, how many of each there are; `weight` is the one they were sent under."""
        advantages = [(self.tolerance - score, count) for score, count in scores(weight, candidate, stable)]
        return replace(self, wealth=self.wealth.after(mean_gains(advantages, 1 / weight - self.tolerance)))


def promotion_of(signal: Signal, tolerance: float | None = None) -> Promotion:
    """One that has seen nothing yet. `tolerance`: of the rollout, or the default of the signal."""
    return Promotion(TOLERANCES[signal] if tolerance is None else tolerance)


def proven(state: Evidence, beta: float = BETA) -> bool:
    """Whether it is good enough by this signal: K >= 1 / beta."""
    return state.log_evidence >= -math.log(inside(beta, "beta"))


def still_needed(promotion: Promotion, weight: float, candidate: Arm, stable: Arm, beta: float = BETA) -> int | None:
    """How many requests the candidate will need until it is proven, if both versions go on as they did so far.

    It says what to expect, and decides nothing. Stable's rate is taken for (events + 0.1) / (requests + 100), and the
    candidate's for (events + 100 times that) / (requests + 100). ln of each bettor's wealth grows by a mean g a
    request: the answer is w n for the smallest n at which ln mean exp(ln wealth + n g) is enough. None: not at these
    rates, or not within 1e8 requests to both.
    """
    theirs = (stable.events + HARDLY_ANY) / (stable.requests + LIKE_STABLE)
    ours = (candidate.events + LIKE_STABLE * theirs) / (candidate.requests + LIKE_STABLE)
    enough = -math.log(inside(beta, "beta"))
    shares = (inside(weight, "weight") * ours, (1 - weight) * theirs)
    advantages = [
        (promotion.tolerance - 1 / weight, shares[0]),
        (promotion.tolerance + 1 / (1 - weight), shares[1]),
        (promotion.tolerance, 1 - sum(shares)),
    ]
    growth = mean_gains(advantages, 1 / weight - promotion.tolerance)

    def reached(requests: int) -> bool:
        grown = [log + requests * each for log, each in zip(promotion.wealth.logs, growth, strict=True)]
        return log_mean(grown) >= enough

    if reached(0):
        return 0
    if not reached(FOREVER):
        return None
    # The wealth that is expected is a convex function: once it is enough it stays so.
    few, many = 0, FOREVER
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if reached(middle) else (middle, many)
    return math.ceil(many * weight)


def needed_by_all(needs: Iterable[int | None]) -> int | None:
    """Requests until every signal is proven: those of the slowest; None if one of them never will be.

    >>> needed_by_all([480, 970]), needed_by_all([480, None])
    (970, None)
    """
    most = 0
    for need in needs:
        if need is None:
            return None
        most = max(most, need)
    return most
