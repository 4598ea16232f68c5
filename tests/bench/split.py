"""The test that the operator holds a router's split against, from its formula; pure, and without numpy.

H0: each request goes to the candidate with probability w. A gambler who believes in the ratio R of its share to that
of stable bets, on a scrape with c requests of the candidate and s of stable,

    ln factor = c ln R - (c + s) ln(1 + w (R - 1))

Half of the wealth waits; before the t-th scrape .5 (t^(-1/4) - (t+1)^(-1/4)) of it joins the gamblers'. The split is
broken where the mean wealth ever reaches 1/alpha, which has a probability of at most alpha while H0 holds, whenever
one looks (Ville). Reference: `Split` of the project's statistics, and its golden vectors.
"""

import math
from dataclasses import dataclass

RATIOS = (0.8, 0.9, 1.1, 1.25)
RESERVE = 0.5
ALPHA = 0.001


@dataclass(frozen=True, slots=True)
class Split:
    """Evidence against H0.

    >>> Split().after(0.05, 10, 188).after(0.05, 0, 0).broken, Split().after(0.05, 100, 100).broken
    (False, True)
    """

    stakes: tuple[float, ...] = (1 - RESERVE,) * len(RATIOS)
    """Wealth of each gambler as a share of the whole; their mean counts."""
    scrapes: int = 0

    def after(self, weight: float, candidate: int, stable: int) -> "Split":
        """One scrape. `weight`: the candidate's, inside (0, 1)."""
        if not candidate + stable:
            return self
        t = self.scrapes + 1
        joins = RESERVE * (t**-0.25 - (t + 1) ** -0.25)
        bets = [
            candidate * math.log(ratio) - (candidate + stable) * math.log1p(weight * (ratio - 1)) for ratio in RATIOS
        ]
        return Split(
            tuple((stake + joins) * math.exp(min(bet, 300)) for stake, bet in zip(self.stakes, bets, strict=True)), t
        )

    @property
    def evidence(self) -> float:
        """ln E, in nats."""
        return math.log(sum(self.stakes) / len(RATIOS) + RESERVE * (self.scrapes + 1) ** -0.25)

    @property
    def broken(self) -> bool:
        return self.evidence >= -math.log(ALPHA)
