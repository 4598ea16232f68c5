"""Whether a candidate answers otherwise than stable: a sentence for people, never a strike. Pure.

A model that was trained anew shifts by design. What is compared is where answers fall, in bins that were fixed before
the rollout.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from tidegate_contract.evidence import Contrast, contrast, inside

BINS = 20
FIRMNESS = 20.0
"""How firmly the bet begins at "no difference": as if so many answers had been divided by the weight in each bin."""
ALPHA = 0.01
LEAST_DISTANCE = 0.1
"""Total variation: what is less is not worth a word."""
FAILURE = 0.05
"""The chance that the lower bound of that distance is too high, after a number of answers that was fixed before."""


@dataclass(frozen=True, slots=True)
class Shift:
    """Against H0: into whichever bin an answer falls, it was the candidate's with the probability w.

    In each bin the share of the candidate is bet to be drawn from Beta(a, b), a = 20 w, b = 20 (1 - w) (arXiv
    2011.03567, 2305.00143): c answers of the candidate and s of stable win

        B(a + c, b + s) / (B(a, b) w^c (1 - w)^s)

    and all bins and weights one after the other multiply.
    """

    contrast: Contrast = field(default_factory=lambda: contrast(BINS))
    """Answers of both under the present weight, and what the weights before have shown."""
    log_before: float = 0.0
    """ln E of the weights before."""

    @property
    def log_evidence(self) -> float:
        return self.log_before + _log_won(self.contrast)

    def after(self, weight: float, candidate: Sequence[int], stable: Sequence[int]) -> "Shift":
        """With answers in each bin of one scrape in which the weight did not change, shape [bins] each."""
        following = self.contrast.after(weight, candidate, stable)
        return Shift(following, self.log_before if weight == self.contrast.weight else self.log_evidence)

    def distance(self) -> tuple[float, float]:
        """Total variation between the answers of both: an estimate, and a lower bound for it (95 %, at a fixed
        number).

        Half the sum of absolute differences of shares. It is overestimated by at most sqrt((K ln 2 + ln 20) / (2 v))
        with K bins and v the size of the contrast (Weissman et al., HPL-2003-97). Both are 0 until both versions have
        answered.
        """
        difference = self.contrast.difference()
        if difference is None:
            return 0.0, 0.0
        estimate = sum(map(abs, difference)) / 2
        _, size = self.contrast.totals()
        return estimate, max(0.0, estimate - radius(len(difference), size))


def shift_of(bins: int) -> Shift:
    """One that has seen nothing yet."""
    return Shift(contrast(bins))


def shifted(shift: Shift, alpha: float = ALPHA, distance: float = LEAST_DISTANCE) -> bool:
    """Whether that is proven, E >= 1 / alpha, and large enough to be told."""
    return shift.log_evidence >= -math.log(inside(alpha, "alpha")) and shift.distance()[0] >= distance


def radius(bins: int, size: float, failure: float = FAILURE) -> float:
    """By how much a total variation is overestimated at most, but for the probability `failure`.

    `size` [answers]: n of one sample, or n m / (n + m) of two: each of 2^bins sets of bins has a bound of Hoeffding's.
    """
    return math.sqrt((bins * math.log(2) - math.log(inside(failure, "failure"))) / (2 * size))


def _log_won(present: Contrast) -> float:
    """ln E of the present weight."""
    if not present.weight:
        return 0.0
    a, b, begins = _prior(present.weight)
    won = [
        _log_beta(a + ours, b + theirs) - begins for ours, theirs in zip(present.candidate, present.stable, strict=True)
    ]
    expected = sum(present.candidate) * math.log(present.weight) + sum(present.stable) * math.log1p(-present.weight)
    return math.fsum(won) - expected


@lru_cache(maxsize=1024)
def _prior(weight: float) -> tuple[float, float, float]:
    a, b = FIRMNESS * weight, FIRMNESS * (1 - weight)
    return a, b, _log_beta(a, b)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
