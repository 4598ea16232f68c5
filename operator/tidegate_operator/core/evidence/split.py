"""Whether requests really are divided by the weights: what all other evidence takes for granted. Pure."""

import math
from dataclasses import dataclass

from tidegate_contract.evidence import RESERVE, Scrape, Wealth, bettors, inside, of_as_many, origin_bets

RATIOS = (0.8, 0.9, 1.1, 1.25)
"""How many times its due the candidate may get instead: one bettor each."""
ALPHA = 0.001
"""The chance of calling a split broken that is not."""
AT_FIRST = bettors(len(RATIOS), RESERVE)
"""Nothing has been bet yet."""


@dataclass(frozen=True, slots=True)
class Split:
    """Against H0: a request goes to the candidate with exactly the probability w, at every moment.

    The bets are those of harm on where events come from, with each request for an event, and 1 for the limit.
    """

    wealth: Wealth = AT_FIRST

    def __post_init__(self) -> None:
        of_as_many(self.wealth, len(RATIOS))

    @property
    def log_evidence(self) -> float:
        return self.wealth.log_evidence

    def after(self, scrape: Scrape) -> "Split":
        """With one scrape more, and none in which the weight changed: w has to be the very one."""
        bets = origin_bets(scrape.weight, 1.0, RATIOS)
        ours, theirs = scrape.candidate.requests, scrape.stable.requests
        return Split(self.wealth.after([ours * won + theirs * lost for won, lost in bets]))


def broken(split: Split, alpha: float = ALPHA) -> bool:
    """Whether requests are divided otherwise: E >= 1 / alpha. A candidate that gets none shows no errors either."""
    return split.log_evidence >= -math.log(inside(alpha, "alpha"))
