"""The reference profile of a table: which cells its columns have, and how many rows fall into each.

Cells are chosen so that equal shares of the reference fall between them, finer towards the
ends, and what is frequent stands alone: a default value or a zero would otherwise hide in a
range.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tidegate_contract.profile import Categorical, Column, Numeric, Profile, ProfileError
from tidegate_server.engines import PREDICT, PREDICT_PROBA
from tidegate_server.tensors import Array, Columns

QUANTILES = (0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999)
SCORE_QUANTILES = tuple(k / 50 for k in range(1, 50))
FREQUENT = 0.05
"""Share of the rows from which on a number has a cell of its own."""
VALUES = 30
"""How many texts have a cell of their own at most,"""
COVERED = 0.995
"""until they cover this share of the rows,"""
RAREST = 0.002
"""each with at least this share."""
SLACK = 0.5
"""How far beyond the reference's range a number is still valid, in widths of that range."""

LARGEST = 1e150
"""Squares of numbers beyond it are infinite."""


@dataclass(frozen=True, slots=True)
class Score:
    """One number or label a row, of the model's own answers."""

    of: str
    values: Array


def score_of(answers: Columns, output: str = PREDICT, probabilities: str = PREDICT_PROBA) -> Score | None:
    """What stands for an answer: the second of two classes' probability, a number, or a label.

    None for answers of several numbers, which no one of them stands for.
    """
    if probabilities in answers and answers[probabilities].shape[1:] == (2,):
        return Score(f"{probabilities}[1]", answers[probabilities][:, 1])
    found = answers[output]
    if found.ndim != 1:
        return None
    return Score(
        output,
        found if found.dtype.kind == "f" else np.array([str(value) for value in found.tolist()], dtype=np.object_),
    )


def build(table: Mapping[str, Array], score: Score | None = None) -> Profile:
    """The profile of a reference table of columns of shape [n]: text is categorical, everything else numeric.

    A column without a single value has nothing to compare with, and is left out. A score has
    more cells than a column, and no number is invalid for it.
    Raises ProfileError for a column with infinities, which no request can carry, or numbers beyond LARGEST.
    """
    found = [_column(name, values, QUANTILES) for name, values in table.items()]
    features = tuple(column for column in found if column is not None)
    rows = max((len(values) for values in table.values()), default=0)
    if score is None:
        return Profile(rows, features)
    return Profile(rows, features, _column("score", score.values, SCORE_QUANTILES, bounded=False), score.of)


def _column(name: str, values: Array, quantiles: Sequence[float], *, bounded: bool = True) -> Column | None:
    if values.dtype.kind in "OU":
        return _categorical(name, values)
    return _numeric(name, values.astype(np.float64), quantiles, bounded=bounded)


def _numeric(name: str, values: Array, quantiles: Sequence[float], *, bounded: bool) -> Numeric | None:
    present = np.sort(values[~np.isnan(values)])
    if not present.size:
        return None
    if max(-present[0], present[-1]) > LARGEST:
        raise ProfileError(
            f"column {name!r} holds infinite values, or such beyond {LARGEST:g}; make them missing in the data that "
            "the model is trained on"
        )
    edges = _edges(present, quantiles)
    smallest, largest = float(present[0]), float(present[-1])
    widest = float(np.finfo(np.float64).max)
    slack = SLACK * (largest - smallest)
    return Numeric(
        name=name,
        edges=tuple(edges.tolist()),
        low=smallest - slack if bounded else -widest,
        high=largest + slack if bounded else widest,
        minimum=smallest,
        maximum=largest,
        mean=float(present.mean()),
        deviation=float(present.std()),
        median=float(np.median(present)),
        counts=tuple(np.bincount(np.searchsorted(edges, present, side="right"), minlength=edges.size + 1).tolist()),
        missing=values.size - present.size,
    )


def _edges(present: Array, quantiles: Sequence[float]) -> Array:
    """Where the cells of sorted values begin, ascending."""
    distinct, counts = np.unique(present, return_counts=True)
    frequent = distinct[counts >= FREQUENT * present.size]
    rest = present[~np.isin(present, frequent)]
    # Some processors take the smallest numbers for 0, so the cell of 0 ends where the ordinary ones begin.
    ends = np.where(frequent == 0, np.finfo(np.float64).tiny, np.nextafter(frequent, np.inf))
    return np.unique(np.concatenate([np.quantile(rest, quantiles) if rest.size else rest, frequent, ends]))


def _categorical(name: str, values: Array) -> Categorical | None:
    present = np.array([value for value in values.tolist() if value is not None], dtype=np.object_)
    if not present.size:
        return None
    distinct, counts = np.unique(present, return_counts=True)
    by_frequency = np.argsort(-counts, kind="stable")  # equal ones stay in the order of the alphabet
    distinct, counts = distinct[by_frequency], counts[by_frequency]
    covered_before = np.cumsum(counts) - counts
    wanted = (covered_before < COVERED * present.size) & (counts >= RAREST * present.size)
    kept = min(int(np.count_nonzero(wanted)), VALUES)
    others = int(counts[kept:].sum())
    return Categorical(
        name=name,
        values=tuple(distinct[:kept].tolist()),
        rare=tuple(sorted(distinct[kept:].tolist())),
        counts=(*counts[:kept].tolist(), *([others] if others else [])),
        missing=values.size - present.size,
    )
