"""Which rows become golden rows: few, the same every time, and the ones where models differ."""

import numpy as np
import pandas as pd

from tidegate_contract.bundle.manifest import MIN_GOLDEN_ROWS
from tidegate_server.offline.table import spread
from tidegate_server.tensors import Array

GOLDEN_ROWS = 20
GOLDEN_CELLS = 50_000
"""Of all golden rows: of a very wide table there are fewer of them."""
MAX_CANDIDATES = 10_000
_MAX_MISSING = 8
_MAX_CLASSES = 8


def candidates(frame: pd.DataFrame) -> Array:
    """Positions to choose from, ascending: spread evenly, and the first row of each column's missing values."""
    return np.unique(np.concatenate([spread(len(frame), MAX_CANDIDATES), _first_missing(frame)]))


def choose(frame: pd.DataFrame, answers: Array, most: int = GOLDEN_ROWS) -> Array:
    """Positions of the golden rows, ascending, at most `most` of them.

    `answers` are the model's answers to the rows of the frame, shape [n] or [n, k].
    First a row for each column that has missing values, then a row of each answer where there are few different
    ones, then rows spread evenly from the smallest answer to the largest.
    """
    count = max(MIN_GOLDEN_ROWS, min(most, GOLDEN_CELLS // len(frame.columns)))
    key = answers if answers.ndim == 1 else answers[:, 0]
    labels, first = np.unique(key, return_index=True)
    order = np.argsort(key, kind="stable")
    even = order[spread(len(order), count)]
    wishes = [_first_missing(frame), first if len(labels) <= _MAX_CLASSES else first[:0], even, order]
    chosen = list(dict.fromkeys(np.concatenate(wishes).tolist()))
    return np.sort(np.array(chosen[:count]))


def _first_missing(frame: pd.DataFrame) -> Array:
    missing = frame.isna().to_numpy()
    return np.unique(missing[:, missing.any(axis=0)].argmax(axis=0)).astype(int)[:_MAX_MISSING]
