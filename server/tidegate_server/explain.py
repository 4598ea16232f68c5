"""Why a model answered as it did: how its answer changes when it is not told one column.

Occlusion: a column is replaced by what is usual, its median or its most frequent value in the profile. That needs
nothing of the model but answers, so it holds for any; columns that say the same stand in for each other, and both look
idle.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tidegate_contract.bundle.datatypes import Datatype
from tidegate_contract.bundle.manifest import Signature, TensorSpec
from tidegate_contract.profile import Column, Numeric, Profile
from tidegate_server.engines import PREDICT, PREDICT_PROBA
from tidegate_server.tensors import Array, Columns

MAX_ROWS = 16_384
"""Rows that one explanation may ask the model for: all of them go through it in one batch."""
MAX_CELLS = 4 << 20
"""Values in all these rows."""

Predict = Callable[[Columns, Sequence[str]], Columns]


class ExplanationError(ValueError):
    """It cannot be explained; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Explained:
    """The answers, and what each column has to do with them."""

    answers: Columns
    attributions: Array
    """By how much the answer is higher than without the column, shape [rows, columns]: the probability of the class
    that was answered, or the number; of classes without probabilities 1 where it would have been another class."""
    of: str
    columns: tuple[str, ...]


def explain(
    predict: Predict, columns: Columns, outputs: Sequence[str], signature: Signature, profile: Profile | None
) -> Explained:
    """Answers and attributions, from one batch of the rows as they are and once more for each column.

    Raises ExplanationError without a profile or for too many rows, and whatever the model raises.
    """
    if profile is None:
        raise ExplanationError("the bundle has no profile to say what is usual; pack the model again")
    names = [spec.name for spec in signature.inputs]
    rows, blocks = len(columns[names[0]]), len(names) + 1
    most = min(MAX_ROWS, MAX_CELLS // len(names)) // blocks
    if not most:
        raise ExplanationError(f"a model of {len(names)} columns has too many to be explained")
    if rows > most:
        raise ExplanationError(f"an explanation of {len(names)} columns may have {most} rows; send fewer")
    folded = {}
    for place, spec in enumerate(signature.inputs, start=1):
        column = np.tile(columns[spec.name], blocks)
        column[place * rows : (place + 1) * rows] = usual(spec, profile.feature(spec.name))
        folded[spec.name] = column
    of = PREDICT_PROBA if signature.output(PREDICT_PROBA) else PREDICT
    answered = predict(folded, tuple(dict.fromkeys((*outputs, of))))
    scores = _scores(answered[of], rows).reshape(blocks, rows)
    answers = {name: answered[name][:rows] for name in outputs}
    return Explained(answers, (scores[0] - scores[1:]).T, of, tuple(names))


def usual(spec: TensorSpec, column: Column | None) -> object:
    """What a column says that is not told: its median or most frequent value; missing if the profile knows none."""
    if column is None:
        return np.nan if spec.datatype.is_float else None if spec.datatype is Datatype.BYTES else 0
    if isinstance(column, Numeric):
        return column.median if spec.datatype.is_float else round(column.median)
    return (*column.values, *column.rare)[0]


def _scores(answers: Array, rows: int) -> Array:
    """One number for each row of the batch, whose first `rows` are the ones that were asked, shape [batch]."""
    asked = answers[:rows]
    if answers.ndim == 2:
        chosen = np.tile(asked.argmax(axis=1), len(answers) // rows)
        picked: Array = answers[np.arange(len(answers)), chosen]
        return picked
    if answers.dtype.kind == "f":
        return answers
    same: Array = (answers.reshape(-1, rows) == asked).reshape(-1).astype(np.float64)
    return same
