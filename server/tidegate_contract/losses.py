"""What predictions cost once the truth was known: integers in fixed cells that add up over pods.

    0/1 loss          right, wrong
    Brier score       sum over the classes of (probability - happened)^2 / 2, in [0, 1]: 32 equal cells
    absolute error    cell i holds errors in (1.1^(i-1), 1.1^i], and one cell those that are exactly 0
    delay             from the prediction to the truth: cell 0 below 1 s, cell i from 2^(i-1) to 2^i seconds

An error is counted as it is, in the units of the model's answer. By which number it is scaled is decided by whoever
compares two revisions, for both alike: were it scaled here, a retrained revision would be measured by its own scale.
A grid of growth 1.1 knows every error to within 10 %, whatever the unit.

Counters only grow while a process lives, as Prometheus' do; a process that starts anew, or has dropped an arm, starts
at 0.
"""

from bisect import bisect_left
from collections.abc import Iterable

import msgspec

BRIER_CELLS = 32
GROWTH = 1.1
LOWEST, HIGHEST = -500, 500
"""Cells of errors: up to 2e-21, and above 4.5e20, all are one."""
DELAY_CELLS = 27
"""The last holds everything from 2^25 s, a year and more."""
_EDGES = [GROWTH**cell for cell in range(LOWEST, HIGHEST)]


class Losses(msgspec.Struct, frozen=True, omit_defaults=True):
    """Counts of rows by what they cost."""

    right: int = 0
    wrong: int = 0
    brier: dict[int, int] = {}
    exact: int = 0
    """Errors of exactly 0."""
    errors: dict[int, int] = {}
    delays: dict[int, int] = {}


class Arm(msgspec.Struct, frozen=True, order=True):
    """Predictions that may be counted together: of one revision, under one weight step, randomised or not."""

    revision: str
    generation: int
    evidence: bool


class ArmLosses(msgspec.Struct, frozen=True):
    """What the predictions of one arm cost."""

    arm: Arm
    losses: Losses


class LossReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one pod, or several, have been told."""

    arms: tuple[ArmLosses, ...] = ()
    """In the order of their arms, each once."""
    dropped: int = 0
    """Arms whose counts were given up to make room for others."""


def brier_cell(score: float) -> int:
    """The cell of a Brier score.

    >>> brier_cell(0.0), brier_cell(0.0625), brier_cell(1.0)
    (0, 2, 31)
    """
    return min(BRIER_CELLS - 1, int(max(0.0, score) * BRIER_CELLS))


def error_cell(error: float) -> int:
    """The cell of an absolute error above 0.

    >>> error_cell(1.0), error_cell(1.05), error_cell(1.1), error_cell(float("inf"))
    (0, 1, 1, 500)
    """
    return LOWEST + bisect_left(_EDGES, error)


def delay_cell(seconds: float) -> int:
    """The cell of a delay; of clocks that disagree, one below 0 counts as 0.

    >>> [delay_cell(seconds) for seconds in (-5, 0.9, 1, 2, 3.9, 1e12)]
    [0, 0, 1, 2, 2, 26]
    """
    return min(DELAY_CELLS - 1, int(max(0.0, seconds)).bit_length())


def add(one: Losses, other: Losses) -> Losses:
    """Both together."""
    return Losses(
        right=one.right + other.right,
        wrong=one.wrong + other.wrong,
        brier=_add(one.brier, other.brier),
        exact=one.exact + other.exact,
        errors=_add(one.errors, other.errors),
        delays=_add(one.delays, other.delays),
    )


def merge(reports: Iterable[LossReport]) -> LossReport:
    """What several pods have been told, as one."""
    arms: dict[Arm, Losses] = {}
    dropped = 0
    for report in reports:
        dropped += report.dropped
        for each in report.arms:
            arms[each.arm] = add(arms.get(each.arm, Losses()), each.losses)
    return LossReport(tuple(ArmLosses(arm, arms[arm]) for arm in sorted(arms)), dropped)


def _add(one: dict[int, int], other: dict[int, int]) -> dict[int, int]:
    return {cell: one.get(cell, 0) + other.get(cell, 0) for cell in sorted({*one, *other})}
