"""What becomes of requests: how often those of either version fail, and how long their answers take."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist

from tidegate_contract.counters import SLOW_BOUNDS

Cells = tuple[float, ...]
"""The share of all answers in each cell of SLOW_BOUNDS, and above all of them: shape [65]."""
EVERY_SECONDS, OUTAGE_SECONDS = 100.0, 20.0
"""Outages come so often and last so long."""


@dataclass(frozen=True)
class Shape:
    """How answering times are distributed, up to their scale."""

    name: str
    below: Callable[[float], float]
    """The share of times that are at most so long."""
    quantile: float
    """The 99 % quantile."""

    def times(self, quantile: float) -> Cells:
        """Scaled to this 99 % quantile, in seconds."""
        reached = [self.below(bound * self.quantile / quantile) for bound in SLOW_BOUNDS]
        return tuple(after - before for before, after in pairwise((0.0, *reached, 1.0)))


def _lognormal(sigma: float) -> Shape:
    usual = NormalDist()
    name, quantile = f"lognormal {sigma:g}", math.exp(sigma * usual.inv_cdf(0.99))
    return Shape(name, lambda time: usual.cdf(math.log(time) / sigma), quantile)


LOGNORMAL, WIDE = _lognormal(0.35), _lognormal(1.0)
EXPONENTIAL = Shape("exponential", lambda time: -math.expm1(-time), math.log(100))
PARETO = Shape("Pareto 2", lambda time: max(0.0, 1 - time**-2), 10.0)
POSITIONS = (0.0, 0.25, 0.5, 0.75)
"""Where stable's 99 % quantile lies in its cell, on a logarithmic scale."""


def quantile_at(position: float) -> float:
    """Seconds: about 30 milliseconds."""
    low, high = SLOW_BOUNDS[18:20]
    return float(low * (high / low) ** position)


USUAL = LOGNORMAL.times(quantile_at(0.5))


def with_slow(share: float) -> Cells:
    """All answers take one time, but this share of them takes much longer."""
    shares = {20: 1 - share, 40: share}
    return tuple(shares.get(cell, 0.0) for cell in range(len(SLOW_BOUNDS) + 1))


@dataclass(frozen=True)
class Fate:
    """Of the requests of one version."""

    errors: float = 0.0
    """The share that fails."""
    times: Cells = USUAL


@dataclass(frozen=True)
class Traffic:
    """Of the requests of both."""

    candidate: Fate
    stable: Fate
    outage: tuple[Fate, Fate] | None = None
    """The same during outages, of the candidate and of stable; None: there are none."""
    evidence: float = 1.0
    """The share of requests that chance divides one by one, which alone is counted."""

    def at(self, seconds: float) -> tuple[Fate, Fate]:
        """Of the candidate and of stable, at this moment."""
        if self.outage and seconds % EVERY_SECONDS < OUTAGE_SECONDS:
            return self.outage
        return self.candidate, self.stable


def alike(fate: Fate) -> Traffic:
    """Both versions are the same."""
    return Traffic(fate, fate)
