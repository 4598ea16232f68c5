"""What is wrong with a table before a model is trained on it, or judged by it.

Each check looks at one thing and says it in a sentence with its numbers. Nothing is
repaired, and nothing is left out: that is for whoever knows what the rows mean.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd

from tidegate_server.offline.errors import TableError
from tidegate_server.offline.table import column_specs
from tidegate_server.tensors import Array

MOSTLY_MISSING = 0.5
MANY_TWICE = 0.01
"""Share of rows from which on repetitions are worth a word."""
GIVEN_AWAY = 0.95
"""Share of what there is to know about the target, from which on one column alone knows too much."""
RARE_CLASS_SHARE = 0.01
RARE_CLASS_ROWS = 20
CLASSES = 50
"""A target of whole numbers with more different ones is a quantity."""
CELLS = 50
ENOUGH_ROWS = 100
"""With fewer, what one column gives away is chance."""


class Weight(StrEnum):
    PROBLEM = "problem"
    """What is measured with such data is not true, or a model of it cannot be served."""
    NOTE = "note"
    """It may be as it should be; somebody should know."""


@dataclass(frozen=True, slots=True)
class Finding:
    weight: Weight
    what: str
    """One word for programs."""
    column: str
    """Empty if it is about the rows."""
    message: str


@dataclass(frozen=True, slots=True)
class Table:
    """What the checks look at."""

    inputs: pd.DataFrame
    target: "pd.Series[Any] | None" = None
    held_out: pd.DataFrame | None = None
    """Inputs of the rows that a model of this table will be judged by."""


def check(frame: pd.DataFrame, target: str | None = None, held_out: pd.DataFrame | None = None) -> tuple[Finding, ...]:
    """Everything that the checks find, problems first.

    `target` is the column that is predicted; the other columns are taken as inputs.
    Raises TableError if a table has no rows, no such column, or other columns than the other one.
    """
    for rows in (frame, *([] if held_out is None else [held_out])):
        if rows.empty:
            raise TableError("the data has no rows or no columns")
        if target is not None and target not in rows.columns:
            raise TableError(f"the data has no column {target!r}; it has {', '.join(map(str, rows.columns))}")
    inputs = frame.drop(columns=[target] if target is not None else [])
    others = None
    if held_out is not None:
        if missing := [str(name) for name in inputs.columns if name not in held_out.columns]:
            raise TableError(f"the held-out data lacks {', '.join(missing)}")
        others = held_out[list(inputs.columns)]
    table = Table(inputs, frame[target] if target is not None else None, others)
    found = [finding for look in CHECKS for finding in look(table)]
    return tuple(sorted(found, key=lambda finding: finding.weight is Weight.NOTE))


def unfit_types(table: Table) -> Iterator[Finding]:
    """Columns that a request cannot carry."""
    for name in table.inputs.columns:
        try:
            column_specs(table.inputs[[name]])
        except TableError as error:
            yield Finding(Weight.PROBLEM, "type", str(name), str(error))


def missing_values(table: Table) -> Iterator[Finding]:
    for name, share in table.inputs.isna().mean().items():
        if share == 1:
            yield Finding(Weight.PROBLEM, "missing", str(name), f"column {name!r} has no value at all: leave it out")
        elif share > MOSTLY_MISSING:
            said = f"column {name!r} is missing in {share:.0%} of the rows: is it known when the model is asked?"
            yield Finding(Weight.NOTE, "missing", str(name), said)
    if table.target is not None and (unknown := int(table.target.isna().sum())):
        said = f"{table.target.name!r} is missing in {unknown:,} rows: leave them out"
        yield Finding(Weight.PROBLEM, "missing", str(table.target.name), said)


def infinite_values(table: Table) -> Iterator[Finding]:
    for name in table.inputs.select_dtypes("number").columns:
        values = table.inputs[name].to_numpy(dtype=np.float64, na_value=np.nan)
        if endless := int(np.isinf(values).sum()):
            said = f"column {name!r} holds {endless:,} infinite values, which a request cannot carry: make them missing"
            yield Finding(Weight.PROBLEM, "infinite", str(name), said)


def constant_columns(table: Table) -> Iterator[Finding]:
    for name in table.inputs.columns:
        if table.inputs[name].nunique(dropna=False) == 1 and not table.inputs[name].isna().all():
            said = f"column {name!r} has the same value in every row: a model learns nothing from it"
            yield Finding(Weight.NOTE, "constant", str(name), said)


def repeated_rows(table: Table) -> Iterator[Finding]:
    """Rows that stand there twice count twice; rows that contradict each other bound what any model can reach."""
    inputs = fingerprints(table.inputs)
    whole = inputs if table.target is None else inputs + np.uint64(31) * fingerprints(table.target.to_frame())
    repeated = len(whole) - len(np.unique(whole))
    if repeated >= MANY_TWICE * len(whole):
        said = f"{repeated:,} of {len(whole):,} rows repeat an earlier one: they count twice"
        yield Finding(Weight.NOTE, "duplicates", "", said)
    if table.target is None or not is_of_classes(table.target):
        return
    known = table.target.notna().to_numpy()
    counts = pd.Series(whole[known]).groupby(inputs[known]).value_counts()
    best = int(counts.groupby(level=0).max().sum())
    if known.sum() - best >= MANY_TWICE * known.sum():
        said = (
            f"{known.sum() - best:,} rows have the same inputs as others and another {table.target.name!r}: "
            f"no model of these columns can be right in more than {best / known.sum():.1%} of them all"
        )
        yield Finding(Weight.NOTE, "contradictions", "", said)


def overlap(table: Table) -> Iterator[Finding]:
    """Held-out rows that are in the training data measure memory.

    Rows of few different values repeat by chance: as often, roughly, as inside the training data.
    """
    if table.held_out is None:
        return
    train = fingerprints(table.inputs)
    share = float(np.isin(fingerprints(table.held_out), train).mean())
    by_chance = 1 - len(np.unique(train)) / len(train)
    if share >= max(MANY_TWICE, 2 * by_chance):
        said = f"{share:.1%} of the held-out rows have inputs that are in the training data too: take them out of one"
        yield Finding(Weight.PROBLEM, "overlap", "", said)


def class_balance(table: Table) -> Iterator[Finding]:
    if table.target is None or not is_of_classes(table.target):
        return
    counts = table.target.value_counts()
    name = str(table.target.name)
    if len(counts) < 2:
        yield Finding(Weight.PROBLEM, "classes", name, f"{name!r} has one value only: there is nothing to learn")
        return
    rarest, rows = counts.index[-1], int(counts.iloc[-1])
    if rows < max(RARE_CLASS_ROWS, RARE_CLASS_SHARE * counts.sum()):
        said = f"{name!r} is {rarest} in {rows:,} of {counts.sum():,} rows: accuracy says little, look at that class"
        yield Finding(Weight.NOTE, "classes", name, said)


def leaks(table: Table) -> Iterator[Finding]:
    """Columns that know the target: usually something that is written down after the fact."""
    if table.target is None:
        return
    known = table.target.notna().to_numpy()
    if known.sum() < ENOUGH_ROWS:
        return
    target = table.target[known]
    for name in table.inputs.columns:
        share = given_away(table.inputs[name][known], target)
        if share >= GIVEN_AWAY:
            said = (
                f"column {name!r} alone tells {share:.0%} of what there is to know about {table.target.name!r}: "
                "is it known before the answer is?"
            )
            yield Finding(Weight.PROBLEM, "leak", str(name), said)


Check = Callable[[Table], Iterable[Finding]]

CHECKS: tuple[Check, ...] = (
    unfit_types,
    missing_values,
    infinite_values,
    leaks,
    overlap,
    repeated_rows,
    class_balance,
    constant_columns,
)


def is_of_classes(target: "pd.Series[Any]") -> bool:
    """Whether a target names classes: text, truth values, or few different whole numbers."""
    if not pd.api.types.is_numeric_dtype(target) or pd.api.types.is_bool_dtype(target):
        return True
    known = target.dropna()
    return bool((known == known.round()).all()) and known.nunique() <= min(CLASSES, max(2, len(known) // 10))


def given_away(column: "pd.Series[Any]", target: "pd.Series[Any]") -> float:
    """The share of what there is to know about a target that one column tells, 0 to 1.

    The column's cells are learnt on every second row and tried on the others: the most
    frequent class of a cell, compared with the most frequent of all; or the mean of a cell,
    as explained variance. A column whose values never come twice tells nothing this way.
    """
    cells = codes(column)
    learn = np.arange(len(cells)) % 2 == 0
    if is_of_classes(target):
        labels = pd.factorize(target)[0]
        counts = pd.crosstab(cells[learn], labels[learn])
        guess = pd.Series(cells[~learn]).map(counts.idxmax(axis=1)).fillna(-1).to_numpy()
        common = np.bincount(labels[learn]).argmax()
        by_chance = float((labels[~learn] == common).mean())
        return (float((guess == labels[~learn]).mean()) - by_chance) / (1 - by_chance) if by_chance < 1 else 0.0
    values = target.to_numpy(dtype=np.float64)
    means = pd.Series(values[learn]).groupby(cells[learn]).mean()
    overall = values[learn].mean()
    guess = pd.Series(cells[~learn]).map(means).fillna(overall).to_numpy()
    left, whole = np.square(values[~learn] - guess).sum(), np.square(values[~learn] - overall).sum()
    return float(1 - left / whole) if whole else 0.0


def codes(column: "pd.Series[Any]") -> Array:
    """A cell for each value of text, one of CELLS for a number, one more for what is missing; shape [n]."""
    if pd.api.types.is_numeric_dtype(column) and column.nunique() > CELLS:
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
        edges = np.nanquantile(numbers, np.linspace(0, 1, CELLS + 1)[1:-1])
        return np.where(np.isnan(numbers), -1, np.searchsorted(edges, numbers, side="right"))
    return pd.factorize(column)[0]


def fingerprints(frame: pd.DataFrame) -> Array:
    """A number for each row that is the same for equal rows, shape [n]; 1 and 1.0 are equal."""
    numbers = dict.fromkeys(frame.select_dtypes(["number", "bool"]).columns, np.float64)
    return pd.util.hash_pandas_object(frame.astype(numbers), index=False).to_numpy()
