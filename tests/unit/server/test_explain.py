"""What each column has to do with an answer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tidegate_contract.bundle.datatypes import Datatype
from tidegate_contract.bundle.manifest import Signature, TensorSpec
from tidegate_server.explain import MAX_ROWS, ExplanationError, explain, usual
from tidegate_server.offline.profile import build
from tidegate_server.tensors import Array, Columns

INPUTS = (
    TensorSpec("carrier", Datatype.BYTES, (-1,)),
    TensorSpec("delay", Datatype.FP64, (-1,)),
    TensorSpec("hour", Datatype.INT64, (-1,)),
    TensorSpec("weekend", Datatype.BOOL, (-1,)),
)
REFERENCE: Columns = {
    "carrier": np.array(["UA", "AA", "UA", None], dtype=object),
    "delay": np.array([0.0, 10.0, 20.0, np.nan]),
    "hour": np.array([7, 8, 8, 10]),
    "weekend": np.array([True, True, False, True]),
}
PROFILE = build(REFERENCE)
ROWS: Columns = {
    "carrier": np.array(["AA", "UA"], dtype=object),
    "delay": np.array([13.0, 10.0]),
    "hour": np.array([9, 8]),
    "weekend": np.array([False, True]),
}
NUMBER = Signature(INPUTS, (TensorSpec("predict", Datatype.FP64, (-1,)),))
LABEL = Signature(INPUTS, (TensorSpec("predict", Datatype.BYTES, (-1,)),))
CHANCE = Signature(INPUTS, (*LABEL.outputs, TensorSpec("predict_proba", Datatype.FP64, (-1, 2), labels=("a", "b"))))


def total(columns: Columns) -> Array:
    """A delay, 100 for AA, 10 times the hour, 1,000 off on a weekend."""
    found: Array = (
        columns["delay"] + 100.0 * (columns["carrier"] == "AA") + 10.0 * columns["hour"] - 1000.0 * columns["weekend"]
    )
    return found


class Model:
    """Counts its batches."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def predict(self, columns: Columns, outputs: Sequence[str]) -> Columns:
        self.batches.append(len(columns["delay"]))
        chance = 1 / (1 + np.exp(-total(columns) / 1000))
        answers: dict[str, Any] = {
            "predict": np.where(chance > 0.5, "b", "a").astype(object),
            "predict_proba": np.column_stack([1 - chance, chance]),
        }
        return {name: answers[name] for name in outputs}

    def number(self, columns: Columns, outputs: Sequence[str]) -> Columns:
        self.batches.append(len(columns["delay"]))
        return {"predict": total(columns)}


def test_a_number_is_explained_by_what_each_column_adds_to_it() -> None:
    model = Model()
    found = explain(model.number, ROWS, ("predict",), NUMBER, PROFILE)
    assert found.columns == ("carrier", "delay", "hour", "weekend")
    assert found.attributions.tolist() == [[100.0, 3.0, 10.0, 1000.0], [0.0, 0.0, 0.0, 0.0]]
    assert found.answers["predict"].tolist() == total(ROWS).tolist()
    assert model.batches == [10], "one batch of two rows, as they are and without each of four columns"


def test_a_probability_is_that_of_the_class_that_was_answered() -> None:
    rows = {name: column[:1] for name, column in ROWS.items()}
    found = explain(Model().predict, rows, ("predict",), CHANCE, PROFILE)
    assert found.of == "predict_proba"
    assert found.answers.keys() == {"predict"}
    assert found.answers["predict"].tolist() == ["b"]
    assert (found.attributions > 0).all(), "each column speaks for b"
    weekend = {**rows, "weekend": np.array([True]), "carrier": np.array(["UA"], dtype=object)}
    other = explain(Model().predict, weekend, ("predict",), CHANCE, PROFILE)
    assert other.answers["predict"].tolist() == ["a"]
    assert (other.attributions[:, 1:3] < 0).all(), "what speaks for b speaks against a"


def test_of_a_label_alone_it_is_said_which_columns_turn_it() -> None:
    found = explain(Model().predict, ROWS, ("predict",), LABEL, PROFILE)
    assert found.attributions.tolist() == [[0, 0, 0, 1], [0, 0, 0, 0]]


def test_the_rows_that_were_asked_are_not_changed() -> None:
    before = {name: column.tolist() for name, column in ROWS.items()}
    explain(Model().number, ROWS, ("predict",), NUMBER, PROFILE)
    assert {name: column.tolist() for name, column in ROWS.items()} == before


def test_an_explanation_of_many_columns_is_bounded_by_its_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate_server.explain.MAX_CELLS", 40)
    two, three = ({name: np.resize(column, rows) for name, column in ROWS.items()} for rows in (2, 3))
    assert len(explain(Model().number, two, (), NUMBER, PROFILE).attributions) == 2
    with pytest.raises(ExplanationError, match="4 columns may have 2 rows"):
        explain(Model().number, three, (), NUMBER, PROFILE)
    monkeypatch.setattr("tidegate_server.explain.MAX_CELLS", 19)
    with pytest.raises(ExplanationError, match="a model of 4 columns has too many to be explained"):
        explain(Model().number, two, (), NUMBER, PROFILE)


def test_what_is_usual_is_of_the_columns_own_type() -> None:
    found = [usual(spec, PROFILE.feature(spec.name)) for spec in INPUTS]
    assert found == ["UA", 10.0, 8, 1]
    assert usual(INPUTS[0], build({"carrier": np.array(["a"] + ["b", "c"] * 3, dtype=object)}).features[0]) == "b"


def test_a_column_that_the_profile_does_not_know_is_missing() -> None:
    assert usual(INPUTS[0], None) is None
    assert np.isnan(float(str(usual(INPUTS[1], None))))


def test_without_a_profile_and_for_too_many_rows_it_says_what_to_do() -> None:
    with pytest.raises(ExplanationError, match="pack the model again"):
        explain(Model().number, ROWS, ("predict",), NUMBER, None)
    many = {name: np.resize(column, MAX_ROWS // 5 + 1) for name, column in ROWS.items()}
    with pytest.raises(ExplanationError, match=f"4 columns may have {MAX_ROWS // 5} rows"):
        explain(Model().number, many, ("predict",), NUMBER, PROFILE)
    assert (
        len(explain(Model().number, {n: c[1:] for n, c in many.items()}, (), NUMBER, PROFILE).attributions)
        == MAX_ROWS // 5
    )
