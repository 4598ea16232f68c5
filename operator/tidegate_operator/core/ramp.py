"""The weights of a rollout that nobody has given any: the first is as large as the damage may be. Pure.

A version that always fails costs the answers that its verdict takes, whatever its weight is, and those that clients get
until the verdict has reached every router: the more, the more requests a second there are. So much may be lost by the
owner's budget. Where it is little, the first weight is large, and its proof comes soon.
"""

from dataclasses import replace
from functools import cache
from itertools import count

from tidegate_contract.evidence import Arm, Scrape, Signal, harm_of, harmful
from tidegate_contract.route import WHOLE
from tidegate_operator.core.types import Candidate, Desired, Weight

WEIGHTS = (1, 2, 5, 10, 20, 50)
"""Of 100 requests. At the last one both versions have most requests, so that proof comes soonest."""
UNKNOWN = (5, 20, 50)
"""Where there are no requests to go by."""
BLIND_SECONDS = 1.5
"""From an answer that fails until no router sends the version another request: measured, 0.2 to 0.9 s, and a round of
readings more."""


def damage(weight: int, rate: float) -> float:
    """So many answers a version that always fails costs, about, until its requests are taken away.

    `weight`: of 100 requests. `rate`: requests a second to both versions.
    """
    return _until_verdict(weight) + rate * weight / WHOLE * BLIND_SECONDS


@cache
def _until_verdict(weight: int) -> int:
    """Failed answers that are evidence enough, where everything was well until then."""
    share = weight / WHOLE
    for failed in count(1):
        stable = Arm(round(failed * (1 - share) / share))
        harm = harm_of(Signal.ERRORS).after(Scrape(share, Arm(failed, failed), stable))
        if harmful(harm, len(Signal)):
            return failed
    raise AssertionError


def ramp(rate: float, budget: int) -> tuple[int, ...]:
    """The weights, one after another.

    >>> ramp(100, 30), ramp(1, 30), ramp(0, 30)
    ((10, 50), (50,), (5, 20, 50))
    """
    if rate <= 0:
        return UNKNOWN
    fits = [at for at, weight in enumerate(WEIGHTS) if damage(weight, rate) <= budget]
    chosen = WEIGHTS[max(fits, default=0) :: 2]
    return chosen if chosen[-1] == WEIGHTS[-1] else (*chosen, WEIGHTS[-1])


def reason(rate: float, weights: tuple[int, ...], budget: int) -> str:
    """Why these, in words.

    >>> reason(100, (10, 50), 30)
    '10, then 50 of 100 requests: at 100 requests a second one that always fails costs about 19 answers at first, of 30'
    """
    said = f"{', then '.join(map(str, weights))} of 100 requests"
    if rate <= 0:
        return f"{said}: there were no requests to go by"
    pace, lost = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}", damage(weights[0], rate)
    limit = f"of {budget}" if lost <= budget else f"more than the {budget} that it may, and there is no smaller weight"
    costs = f"one that always fails costs about {lost:,.0f} answers at first"
    return f"{said}: at {pace} requests a second {costs}, {limit}"


def ramped(desired: Desired, candidate: Candidate | None) -> Desired:
    """With the steps that were chosen for its candidate, where the owner gives a budget and no steps."""
    if desired.budget is None or candidate is None or not candidate.ramp:
        return desired
    return replace(desired, steps=tuple(map(Weight, candidate.ramp)))
