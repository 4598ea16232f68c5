"""Which answers are slow: slower than a threshold that stable's own answers set. Pure.

    threshold   the first bound that is at least 1.5 times stable's 99 % quantile, and at least the objective if any

It is set when a weight step begins and stays until that ends, so that nothing the candidate does can move it. Bounds
grow by 1.2: the threshold is 1.25 to 2.16 times the true quantile. Then at most 1 % of the answers of a candidate
that is up to 1.25 times as slow lie above it, however they are distributed, and far fewer as a rule.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise

from tidegate_contract.counters import SLOW_BOUNDS
from tidegate_contract.evidence import Arm, inside, whole

QUANTILE = 0.99
SLOWER = 1.5
"""So many times the quantile is slow."""
LEAST = 1000
"""Of fewer requests the quantile is not known."""


def quantile(
    cells: Sequence[int], bounds: Sequence[float] = SLOW_BOUNDS, share: float = QUANTILE, least: int = LEAST
) -> float | None:
    """The time that the given share of answers took at most [s], log-linear within its cell.

    `cells`: answers up to each bound and above the one before, then those above all: one more than `bounds`. None if
    there are fewer than `least`, or if it lies above all bounds. Raises ValueError if they are no counts, or if
    bounds do not rise.
    """
    if len(cells) != len(bounds) + 1:
        raise ValueError(f"there are {len(cells)} cells for {len(bounds)} bounds, and not one more than bounds")
    if any(low >= high for low, high in pairwise((0.0, *bounds))):
        raise ValueError("bounds must be above 0 and rise")
    reached = list(accumulate(whole(cell, "a count") for cell in cells))
    wanted = inside(share, "share") * reached[-1]
    cell = next(cell for cell, count in enumerate(reached) if count >= wanted)
    if reached[-1] < max(1, least) or cell == len(bounds):
        return None
    if cell == 0:
        return bounds[0]
    low, high = bounds[cell - 1], bounds[cell]
    within: float = (high / low) ** ((wanted - reached[cell - 1]) / cells[cell])
    return low * within


def threshold(
    cells: Sequence[int], objective: float | None = None, bounds: Sequence[float] = SLOW_BOUNDS, least: int = LEAST
) -> float | None:
    """Above how many seconds an answer is slow, from what stable's took; None: not known, and so no evidence.

    `objective`: the time [s] that answers are allowed in any case. The arguments are those of `quantile`.
    """
    usual = quantile(cells, bounds, least=least)
    if usual is None:
        return None
    wanted = max(SLOWER * usual, objective or 0.0)
    return next((bound for bound in bounds if bound >= wanted), None)


def slower_than(limit: float, cells: Sequence[int], bounds: Sequence[float] = SLOW_BOUNDS) -> Arm:
    """Answers in cells, and those among them above a threshold. Raises ValueError if that is none of the bounds."""
    if limit not in bounds:
        raise ValueError(f"a threshold is one of the bounds, which {limit!r} is not")
    return Arm(sum(cells), sum(cells[bounds.index(limit) + 1 :]))
