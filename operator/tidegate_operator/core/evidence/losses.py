"""What answers cost, where that is known: of both versions on the same request, or of labels that come later. Pure.

    labels        the truth about a request that went to one of them: `harm_of_losses`, and `Promotion.after_losses`
    pairs         both versions have answered, and the truth is known: `Paired`
    disagreement  both have answered, and nothing else is known: `Disagreement`

A loss lies in [0, 1], on one scale for both versions: whoever compares them sees to that. Losses come as counts: loss
-> how often.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tidegate_contract.evidence import (
    EXCESS_FRACTIONS,
    FRACTIONS,
    RESERVE,
    Excess,
    Wealth,
    bettors,
    inside,
    mean_gains,
    of_as_many,
    whole,
)
from tidegate_operator.core.evidence.promotion import AT_FIRST, BETA


def harm_of_losses(tolerance: float) -> Excess:
    """Against H0: the candidate's mean loss is at most `tolerance` above stable's. It has seen no label yet."""
    return Excess(tolerance, bettors(len(EXCESS_FRACTIONS), RESERVE))


# ---------------------------------------------------------------- pairs


@dataclass(frozen=True, slots=True)
class Paired:
    """Against H0: the mean of D is `margin` or more, D being the loss of the candidate minus that of stable.

    Good enough: margin = tolerance. Harm is the mirror image, margin = -tolerance, and is given D the other way round.
    What is bet on is margin - D, never below -(1 - margin) (arXiv 2010.09686).
    """

    margin: float
    wealth: Wealth = AT_FIRST

    def __post_init__(self) -> None:
        inside(self.margin, "margin", -1, 1)
        of_as_many(self.wealth, len(FRACTIONS))

    @property
    def log_evidence(self) -> float:
        return self.wealth.log_evidence

    def after(self, differences: Mapping[float, int]) -> "Paired":
        """With more pairs, how many there are of each difference. Raises ValueError for one outside [-1, 1]."""
        for difference, count in differences.items():
            whole(count, "a count")
            if not -1 <= difference <= 1:
                raise ValueError(f"a difference of two losses must lie in [-1, 1], not be {difference!r}")
        advantages = [(self.margin - difference, count) for difference, count in differences.items()]
        return replace(self, wealth=self.wealth.after(mean_gains(advantages, 1 - self.margin)))


# ---------------------------------------------------------------- disagreement


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Requests that both versions have answered, and those among them with two different answers.

    Of losses that are 0 or 1, two versions' means differ by no more than the rate of disagreement. Where that is
    bounded below the tolerance, the candidate is good enough without a single label.
    """

    pairs: int = 0
    differing: int = 0

    def __post_init__(self) -> None:
        whole(self.pairs, "pairs")
        if whole(self.differing, "differing pairs") > self.pairs:
            raise ValueError(f"there cannot be {self.differing} differing among {self.pairs} pairs")

    def after(self, pairs: int, differing: int) -> "Disagreement":
        """With so many more."""
        more = Disagreement(pairs, differing)
        return Disagreement(self.pairs + more.pairs, self.differing + more.differing)

    def log_evidence(self, rate: float) -> float:
        """ln E against H0: the versions disagree on the share u = `rate` of requests, or more.

        A stake on each pair is a bet on a rate q < u against u. With stakes of which q is spread evenly over (0, u),
        k of n pairs that differ win the mean likelihood ratio (arXiv 2010.09686),

            E = integral over q in (0, u) of (q/u)^k ((1-q)/(1-u))^(n-k) dq / u = B_u(a, b) / (u^a (1-u)^(b-1)),

        a = k + 1, b = n - k + 1, B_u the incomplete beta function. By its continued fraction most of that cancels.
        """
        u, a, b = inside(rate, "rate"), self.differing + 1, self.pairs - self.differing + 1
        if u < (a + 1) / (a + b + 2):
            return math.log1p(-u) - math.log(a) + math.log(_fraction(a, b, u))
        whole_range = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
        everything = whole_range - a * math.log(u) - (b - 1) * math.log1p(-u)
        beyond = math.log1p(-u) - math.log(b) + math.log(_fraction(b, a, 1 - u))
        return everything + math.log1p(-math.exp(beyond - everything))

    def upper(self, beta: float = BETA) -> float:
        """The rate is below it at all times, however often one looks, with the probability 1 - beta.

        The largest rate that is not refuted: E < 1 / beta.
        """
        enough = -math.log(inside(beta, "beta"))
        if self.differing == self.pairs:
            return 1.0
        low, high = self.differing / self.pairs, 1.0
        while low < (middle := (low + high) / 2) < high:
            low, high = (middle, high) if self.log_evidence(middle) < enough else (low, middle)
        return high


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction h of the incomplete beta function, B_x(a, b) = x^a (1-x)^b h / a, for x < (a+1)/(a+b+2).

    NIST Digital Library of Mathematical Functions 8.17.22. There all denominators are above 0. It takes about as many
    steps as the square root of a + b at most.
    """
    value, up, down, term = 1.0, 1.0, 0.0, 0
    while True:
        term += 1
        m, odd = divmod(term, 2)
        part = -(a + m) * (a + b + m) if odd else m * (b - m)
        part *= x / ((a + term - 1) * (a + term))
        up, down = 1 + part / up, 1 / (1 + part * down)
        value *= up * down
        if not abs(up * down - 1) > 1e-15:
            return 1 / value
