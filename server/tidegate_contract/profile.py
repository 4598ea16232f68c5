"""profile.json: what the data of a model looked like when it was packed, and which cell a value belongs to.

Packer, server and operator read the same file. The packer makes it, the server counts rows
into its cells as they come, and the operator compares the counts. The cells are fixed by
the profile, so that counts of many pods add up, and only integers travel.

A column has a cell for each range or value, and two more codes behind them: missing, and
invalid. What is missing or invalid is a matter of the data's quality and never of a range.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import msgspec
import numpy as np

PROFILE_NAME = "profile.json"

Codes = np.ndarray[Any, np.dtype[np.int64]]
"""The cell of each value, shape [n]."""
Values = Sequence[Any] | np.ndarray[Any, np.dtype[Any]]
"""The values of one column, shape [n]; a missing one is None, or NaN among numbers."""


class ProfileError(ValueError):
    """A profile that cannot be read, or data of which none can be made; the message names the column."""


class Numeric(msgspec.Struct, frozen=True, tag="numeric"):
    """A column of numbers, cut at `edges`: cell i holds edges[i-1] <= x < edges[i].

    A frequent value v has a cell of its own, from v to the next number above it.
    """

    name: str
    edges: tuple[float, ...]
    low: float
    """A value below it is invalid."""
    high: float
    """A value above it is invalid."""
    minimum: float
    maximum: float
    mean: float
    deviation: float
    """Standard deviation of the reference, not that of a sample."""
    median: float
    counts: tuple[int, ...]
    """Rows of the reference in each cell."""
    missing: int

    def codes(self, values: Values) -> Codes:
        """The cell of each value; `missing_code` and `invalid_code` for those that are in none."""
        numbers = np.asarray(values, dtype=np.float64)
        codes = np.searchsorted(self.edges, numbers, side="right").astype(np.int64)
        codes[(numbers < self.low) | (numbers > self.high)] = self.invalid_code
        codes[np.isnan(numbers)] = self.missing_code
        return codes

    @property
    def missing_code(self) -> int:
        return len(self.counts)

    @property
    def invalid_code(self) -> int:
        return len(self.counts) + 1


class Categorical(msgspec.Struct, frozen=True, dict=True, tag="categorical"):
    """A column of text: a cell for each frequent value, and one for the others that the reference holds."""

    name: str
    values: tuple[str, ...]
    rare: tuple[str, ...]
    """Values that share the last cell, sorted."""
    counts: tuple[int, ...]
    missing: int

    def codes(self, values: Values) -> Codes:
        """The cell of each value; `missing_code` for None, `invalid_code` for a value that was never seen."""
        cells, unseen = self._cells, self.invalid_code
        return np.array([cells.get(value, unseen) for value in values], dtype=np.int64)

    @cached_property
    def _cells(self) -> dict[Any, int]:
        """By value: every row asks for it."""
        cells: dict[Any, int] = dict.fromkeys(self.rare, len(self.values))
        cells |= {value: cell for cell, value in enumerate(self.values)}
        cells[None] = self.missing_code
        return cells

    @property
    def missing_code(self) -> int:
        return len(self.counts)

    @property
    def invalid_code(self) -> int:
        return len(self.counts) + 1


Column = Numeric | Categorical


class Profile(msgspec.Struct, frozen=True):
    """The reference: every input column, and the model's own answers to the same rows."""

    rows: int
    features: tuple[Column, ...]
    """In the order of the signature's inputs."""
    score: Column | None = None
    """Of the answers, as `score_of` says; None where an answer is more than one number or label."""
    score_of: str = ""
    """`predict`, or `predict_proba[i]` for the probability of the i-th class."""

    def feature(self, name: str) -> Column | None:
        return next((column for column in self.features if column.name == name), None)


def score_place(score_of: str) -> tuple[str, int | None]:
    """The output that a score is made of, and which of its columns. Raises ProfileError.

    >>> score_place("predict_proba[1]"), score_place("predict")
    (('predict_proba', 1), ('predict', None))
    """
    name, bracket, rest = score_of.partition("[")
    if not bracket:
        return name, None
    if not (rest.endswith("]") and rest[:-1].isdecimal() and len(rest) < 8):
        raise ProfileError(f"{PROFILE_NAME}: score_of names no output and place")
    return name, int(rest[:-1])


def encode(profile: Profile) -> bytes:
    """The bytes of profile.json, the same for the same profile."""
    return msgspec.json.encode(profile, order="sorted") + b"\n"


def decode(content: bytes) -> Profile:
    """Parse and check a profile.

    Raises ProfileError.
    """
    try:
        profile = msgspec.json.decode(content, type=Profile)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ProfileError(f"{PROFILE_NAME} does not parse: {error}") from error
    for column in (*profile.features, *([profile.score] if profile.score else [])):
        _check(column, profile.rows)
    return profile


def _check(column: Column, rows: int) -> None:
    if sum(column.counts) + column.missing != rows or any(count < 0 for count in column.counts):
        raise ProfileError(f"{PROFILE_NAME}: the counts of {column.name!r} do not add up to {rows} rows")
    if isinstance(column, Numeric):
        cells, ordered = len(column.edges) + 1, bool(np.all(np.diff(column.edges) > 0))
    else:
        cells, ordered = len(column.values) + bool(column.rare), True
    if cells != len(column.counts) or not ordered:
        raise ProfileError(f"{PROFILE_NAME}: the cells of {column.name!r} do not fit its counts")
