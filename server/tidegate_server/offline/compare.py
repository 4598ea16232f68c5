"""Two models on the same rows: which errs less, where, and by which columns.

Every figure is a loss of one row, the lower the better, averaged over the rows; models are compared row by row, so
that what is hard for both cancels. A slice is told only where it holds up although many were looked at.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tidegate_server.engines import PREDICT, PREDICT_PROBA
from tidegate_server.loader import LoadedModel
from tidegate_server.offline.errors import CompareError
from tidegate_server.offline.intervals import Interval, of_means, of_shares
from tidegate_server.offline.table import ask_in_parts, spread, to_columns
from tidegate_server.tensors import Array, Columns

CONFIDENCE = 0.95
SLICE_ROWS = 100
"""A slice of fewer rows says nothing."""
SLICE_VALUES = 10
"""The most frequent values of a column of text are slices; of numbers the quarters."""
IMPORTANCE_ROWS = 5_000
SMALLEST_CHANCE = 1e-15
"""A probability of 0 that turns out to be wrong would be an infinite loss."""

WRONG = "wrong answers"
"""The share of them: the first figure of models of classes."""
ABSOLUTE_ERROR = "absolute error"
"""The first figure of models of numbers."""

Losses = Mapping[str, Array]
"""The loss of each row, shape [n], by the name of the figure; the first one is what slices and importance go by."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of both models on the same rows. `difference` is new less old: below 0 the new one is better."""

    name: str
    rows: int
    old: float
    new: float
    difference: Interval

    @property
    def verdict(self) -> str:
        """better, worse, or open: the rows do not say."""
        return "worse" if self.difference.low > 0 else "better" if self.difference.high < 0 else "open"


@dataclass(frozen=True, slots=True)
class Importance:
    """How much the first figure rises when a column's values change places, and its rank by that; None: not taken."""

    column: str
    old: float | None
    new: float | None
    old_rank: int | None
    new_rank: int | None


@dataclass(frozen=True, slots=True)
class Comparison:
    rows: int
    figures: tuple[Figure, ...]
    slices: tuple[Figure, ...]
    """Every slice that was looked at, by its first figure, named `column = value`; the worst for the new one first.
    Each holds with the confidence that all of them hold together."""
    importance: tuple[Importance, ...]
    """The most important columns of the new model first."""


def compare(
    old: LoadedModel,
    new: LoadedModel,
    frame: pd.DataFrame,
    target: str,
    *,
    progress: Callable[[str], None] = lambda step: None,
) -> Comparison:
    """Both models on the rows of a table whose `target` is known.

    Raises CompareError where they cannot be compared, TableError for values that a column cannot hold.
    """
    if target not in frame.columns:
        raise CompareError(f"the data has no column {target!r}; it has {', '.join(map(str, frame.columns))}")
    rows = frame[frame[target].notna()].reset_index(drop=True)
    if rows.empty:
        raise CompareError(f"no row of the data has a {target!r}")
    if _of_classes(old) != _of_classes(new):
        raise CompareError("one model answers with classes and the other with numbers")
    progress("asking both models")
    losses = [losses_of(model, rows, target) for model in (old, new)]
    names = [name for name in losses[0] if name in losses[1]]
    figures = tuple(
        figure(name, losses[0][name], losses[1][name], CONFIDENCE, is_share=name == WRONG) for name in names
    )
    old_first, new_first = (losses_of_one[names[0]] for losses_of_one in losses)
    slices = _slices(rows.drop(columns=[target]), old_first, new_first, is_share=names[0] == WRONG)
    progress("looking for what each model goes by")
    importance = _importance(old, new, rows, target, progress)
    return Comparison(len(rows), figures, slices, importance)


def losses_of(model: LoadedModel, rows: pd.DataFrame, target: str, outputs: Sequence[str] = ()) -> Losses:
    """What each row costs a model, as far as `outputs` tell it, all of them if none is named.

    Raises CompareError, TableError.
    """
    specs = model.manifest.signature.inputs
    if missing := [spec.name for spec in specs if spec.name not in rows.columns]:
        raise CompareError(f"the model {model.manifest.name} takes columns that the data lacks: {', '.join(missing)}")
    outputs = outputs or tuple(spec.name for spec in model.manifest.signature.outputs)

    def ask(part: pd.DataFrame) -> Columns:
        columns = to_columns(part, specs)
        try:
            return model.engine.predict(columns, outputs)
        except Exception as error:
            said = f"the model {model.manifest.name} cannot answer the data: {type(error).__name__}: {error}"
            raise CompareError(said) from error

    answers = ask_in_parts(rows, ask)
    truth = rows[target]
    if not _of_classes(model):
        residual = answers[PREDICT].astype(np.float64) - _numbers(truth)
        return {ABSOLUTE_ERROR: np.abs(residual), "squared error": np.square(residual)}
    labels = truth.astype(object).to_numpy()
    found: dict[str, Array] = {WRONG: (answers[PREDICT].astype(object) != labels).astype(np.float64)}
    spec = model.manifest.signature.output(PREDICT_PROBA)
    if spec is not None and PREDICT_PROBA in outputs:
        happened = np.equal.outer(labels, np.array(spec.labels, dtype=object)).astype(np.float64)
        chance = (answers[PREDICT_PROBA] * happened).sum(axis=1)
        found["log loss"] = -np.log(np.maximum(chance, SMALLEST_CHANCE))
        found["Brier score"] = np.square(answers[PREDICT_PROBA] - happened).sum(axis=1)
    return found


def figure(name: str, old: Array, new: Array, confidence: float, *, is_share: bool) -> Figure:
    """One figure from the losses of both, shape [n]; a share, of losses 0 and 1, has an interval of its own."""
    if is_share:
        difference = of_shares(int((old > new).sum()), int((new > old).sum()), len(old), confidence)
    else:
        difference = of_means(new - old, confidence)
    return Figure(name, len(old), float(old.mean()), float(new.mean()), difference)


def _of_classes(model: LoadedModel) -> bool:
    outputs = model.manifest.signature.outputs
    return any(spec.name == PREDICT_PROBA or not spec.datatype.is_float for spec in outputs)


def _numbers(truth: "pd.Series[Any]") -> Array:
    if not pd.api.types.is_numeric_dtype(truth):
        raise CompareError(f"the models answer with numbers, and {truth.name!r} holds something else")
    return truth.to_numpy(dtype=np.float64)


def _slices(inputs: pd.DataFrame, old: Array, new: Array, *, is_share: bool) -> tuple[Figure, ...]:
    cuts = [(name, where) for name, where in _cuts(inputs) if where.sum() >= SLICE_ROWS]
    confidence = 1 - (1 - CONFIDENCE) / max(1, len(cuts))  # Bonferroni: all hold together
    found = [figure(name, old[where], new[where], confidence, is_share=is_share) for name, where in cuts]
    return tuple(sorted(found, key=lambda made: made.difference.estimate, reverse=True))


def _cuts(inputs: pd.DataFrame) -> Iterator[tuple[str, Array]]:
    """Slices of the rows, by name."""
    for name, column in inputs.items():
        missing = column.isna().to_numpy()
        yield f"{name} is missing", missing
        numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
        if not numeric or column.nunique() <= SLICE_VALUES:
            for value in column.value_counts().index[:SLICE_VALUES]:
                yield f"{name} = {value}", (column == value).fillna(False).to_numpy(dtype=bool)
            continue
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
        edges = np.nanquantile(numbers, [0, 0.25, 0.5, 0.75, 1])
        place = np.searchsorted(edges[1:-1], numbers, side="right")
        for quarter in range(4):
            yield f"{name} {edges[quarter]:.4g} to {edges[quarter + 1]:.4g}", (place == quarter) & ~missing


def _importance(
    old: LoadedModel, new: LoadedModel, rows: pd.DataFrame, target: str, progress: Callable[[str], None]
) -> tuple[Importance, ...]:
    """By how much a model errs more when one column is dealt out anew, the same way for both."""
    some = rows.iloc[spread(len(rows), IMPORTANCE_ROWS)].reset_index(drop=True)
    columns = list(dict.fromkeys(spec.name for model in (new, old) for spec in model.manifest.signature.inputs))
    rises: list[dict[str, float]] = [{}, {}]
    base = [_first_of(model, some, target) for model in (old, new)]
    for place, column in enumerate(columns):
        progress(f"looking for what each model goes by, {place / len(columns):.0%}")
        dealt = some.assign(**{column: some[column].sample(frac=1, random_state=place).to_numpy()})
        for which, model in enumerate((old, new)):
            if model.manifest.signature.input(column) is not None:
                rises[which][column] = _first_of(model, dealt, target) - base[which]
    before, after = rises
    ranks = [
        {column: place for place, column in enumerate(sorted(rise, key=rise.__getitem__, reverse=True), start=1)}
        for rise in rises
    ]
    found = [
        Importance(column, before.get(column), after.get(column), ranks[0].get(column), ranks[1].get(column))
        for column in columns
    ]
    return tuple(sorted(found, key=lambda item: item.new_rank or len(columns) + 1))


def _first_of(model: LoadedModel, rows: pd.DataFrame, target: str) -> float:
    """The first figure, for which a model need not give probabilities."""
    return float(next(iter(losses_of(model, rows, target, (PREDICT,)).values())).mean())
