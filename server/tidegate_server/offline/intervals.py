"""How far apart two models are on the same rows, with what the rows leave open.

Both models answer the same rows, so the rows' own difficulty cancels: what counts is the
difference row by row. Rows must be independent of each other; ten rows of one customer are not ten rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import copysign, inf, sqrt

from scipy import special

from tidegate_server.tensors import Array


@dataclass(frozen=True, slots=True)
class Interval:
    """A difference, and between what it lies with the wanted confidence."""

    low: float
    estimate: float
    high: float


def of_means(differences: Array, confidence: float) -> Interval:
    """The mean of differences, shape [n], by Student's t: the paired t interval.

    It is too narrow where a few differences are far larger than all the others.
    """
    n = len(differences)
    mean = float(differences.mean())
    if n < 2:
        return Interval(-inf, mean, inf)
    half = float(special.stdtrit(n - 1, (1 + confidence) / 2) * differences.std(ddof=1) / sqrt(n))
    return Interval(mean - half, mean, mean + half)


def of_shares(first_only: int, second_only: int, n: int, confidence: float) -> Interval:
    """The share of n rows that are so in the second of two looks, less that in the first.

    `first_only` and `second_only` count the rows that are so in one of them; what is equal in both says nothing.
    Source: the score interval for paired proportions, T. Tango, Statistics in Medicine 17 (1998) 891-908. It holds
    where few rows differ, or none, and never leaves -1 to 1.
    """
    estimate = (second_only - first_only) / n
    z = float(special.ndtri((1 + confidence) / 2))

    def score(delta: float) -> float:
        """How many standard errors the counts lie above a true difference."""
        b = (2 * n + first_only - second_only) * delta - first_only - second_only
        nuisance = (sqrt(max(b * b + 8 * n * first_only * delta * (1 - delta), 0.0)) - b) / (4 * n)
        variance = n * max(2 * nuisance + delta * (1 - delta), 0.0)
        above = second_only - first_only - n * delta
        return above / sqrt(variance) if variance > 0 else copysign(inf, above)

    return Interval(_crossing(score, -1.0, estimate, z), estimate, _crossing(score, estimate, 1.0, -z))


def _crossing(falling: Callable[[float], float], low: float, high: float, level: float) -> float:
    """Where a falling function comes to a level, by halving."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > level else (low, middle)
    return (low + high) / 2
