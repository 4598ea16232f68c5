"""Compiled engines: that they answer as the model does, and that a file which cannot be meant is refused."""

from functools import cache
from itertools import product
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    BaggingClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, PolynomialFeatures, StandardScaler
from sklearn.tree import DecisionTreeClassifier

import named_models as models
from tidegate_contract.bundle.datatypes import Datatype
from tidegate_contract.bundle.manifest import Signature, TensorSpec
from tidegate_server.engines.compiled import CompiledEngine, Program, encode, load
from tidegate_server.engines.errors import EngineError
from tidegate_server.engines.scikit import ScikitEngine
from tidegate_server.engines.trees import Forest, Trees, in_order
from tidegate_server.offline.compiling import NotCompiledError, compile_model
from tidegate_server.offline.originals.scikit import ask, output_specs
from tidegate_server.offline.table import column_specs, to_columns
from tidegate_server.offline.trial import DifferentError, compare, edges, measure
from tidegate_server.tensors import Array, Columns

CASES = models.cases(trees=10)


class Both:
    """A model, its compiled engine, and the rows that it was fitted on."""

    def __init__(self, name: str) -> None:
        self.model, self.frame = models.fitted(CASES[name], rows=300)
        inputs = column_specs(self.frame)
        self.signature = Signature(inputs, output_specs(self.model, ask(self.model, self.frame)))
        self.program = compile_model(self.model, self.signature)
        self.original = ScikitEngine(self.model, self.signature)
        self.compiled = load(encode(self.program), self.signature)
        self.columns = to_columns(self.frame, inputs)
        self.names = [spec.name for spec in self.signature.outputs]


@cache
def both(name: str) -> Both:
    return Both(name)


def outcome(engine: Any, columns: Columns, names: list[str]) -> Columns | None:
    try:
        with np.errstate(all="ignore"):
            return engine.predict(columns, names)  # type: ignore[no-any-return]
    except ValueError:
        return None


def odd_number(dtype: np.dtype[Any]) -> st.SearchStrategy[Any]:
    return st.booleans() if dtype == np.bool_ else st.floats()


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_an_engine_answers_as_the_model_does(name: str, data: st.DataObject) -> None:
    """Rows of thresholds and their neighbours, of anything that a float can be, and of what the model knows."""
    pair = both(name)
    rows = data.draw(st.integers(1, 5))
    columns: Columns = {}
    for index, spec in enumerate(pair.signature.inputs):
        known = [*pair.columns[spec.name][:50].tolist(), *edges(pair.program, index, spec).tolist()]
        odd = (
            st.sampled_from([None, "mauve", ""]) if spec.datatype.dtype.kind == "O" else odd_number(spec.datatype.dtype)
        )
        values = data.draw(st.lists(st.sampled_from(known) | odd, min_size=rows, max_size=rows))
        with np.errstate(over="ignore"):
            columns[spec.name] = np.array(values, spec.datatype.dtype)
    expected, found = (outcome(engine, columns, pair.names) for engine in (pair.original, pair.compiled))
    if found is None or expected is None:
        assert found is expected
        return
    for output in pair.names:
        assert (found[output].dtype, found[output].shape) == (expected[output].dtype, expected[output].shape)
        if output == "predict" and pair.program.classes:
            assert found[output].tolist() == expected[output].tolist()
        else:
            np.testing.assert_allclose(found[output], expected[output], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in CASES if "forest" in name or "tree" in name])
@pytest.mark.parametrize("rows", [1, 2, 3, 17, 300, 4096, 5000])
def test_averages_of_trees_are_equal_to_the_last_bit_at_every_number_of_rows(name: str, rows: int) -> None:
    pair = both(name)
    columns = {name: column[np.arange(rows) % len(column)] for name, column in pair.columns.items()}
    expected, found = (engine.predict(columns, pair.names) for engine in (pair.original, pair.compiled))
    for output in pair.names:
        assert found[output].tolist() == expected[output].tolist()


def test_terms_are_added_from_the_first_to_the_last() -> None:
    terms = np.random.default_rng(0).random((100, 1, 1))
    total = 0.0
    for term in terms.ravel().tolist():
        total += term
    assert in_order(terms).item() == total
    assert in_order(np.repeat(terms, 3, axis=1)).tolist() == [[total]] * 3


def test_a_signature_of_whole_numbers_is_rounded_once() -> None:
    """Through float64 a whole number above 2**53 would be rounded twice before it is compared."""
    frame = pd.DataFrame({"a": np.arange(20) << 56})
    model = RandomForestClassifier(3, random_state=0).fit(frame, np.arange(20) % 2)
    signature = Signature(column_specs(frame), output_specs(model, ask(model, frame)))
    engine = load(encode(compile_model(model, signature)), signature)
    assert engine._dtype == np.float32


@pytest.mark.parametrize(
    ("model", "label"),
    [(GradientBoostingClassifier(n_estimators=1), "yes"), (HistGradientBoostingClassifier(max_iter=1), "no")],
    ids=lambda value: type(value).__name__,
)
def test_a_sum_of_zero_is_the_class_that_the_model_says(model: Any, label: str) -> None:
    """The two kinds of boosting do not agree about it."""
    frame = pd.DataFrame({"x": np.zeros(40)})
    model.fit(frame, np.array(["no", "yes"] * 20))
    signature = Signature(column_specs(frame), output_specs(model, ask(model, frame)))
    engine = load(encode(compile_model(model, signature)), signature)
    assert engine.predict({"x": np.zeros(1)}, ("predict",))["predict"].tolist() == [label]
    assert model.predict(frame[:1]).tolist() == [label]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (BaggingClassifier(n_estimators=2), "there is no compiled engine for BaggingClassifier"),
        (VotingClassifier([("a", LogisticRegression())]), "there is no compiled engine for VotingClassifier"),
        (
            make_pipeline(PolynomialFeatures(), LogisticRegression(max_iter=1000)),
            "PolynomialFeatures with its settings",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_model_without_an_engine_says_so(model: Any, reason: str) -> None:
    frame = models.table()[["x0", "x1"]]
    model.fit(frame, models.table()["two"])
    signature = Signature(column_specs(frame), output_specs(model, ask(model, frame)))
    with pytest.raises(NotCompiledError, match=reason):
        compile_model(model, signature)


FILL = SimpleImputer(strategy="most_frequent")
TEXTS: dict[str, list[Any]] = {
    "places": [OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2)],
    "places, strict": [OrdinalEncoder(encoded_missing_value=-2)],
    "places of what is filled in": [FILL, OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)],
    "places of what is filled in, strict": [FILL, OrdinalEncoder()],
    "one-hot": [OneHotEncoder(handle_unknown="ignore")],
    "one-hot, strict": [OneHotEncoder()],
    "one-hot, dense": [OneHotEncoder(sparse_output=False, handle_unknown="ignore")],
    "one-hot without the first": [OneHotEncoder(drop="first")],
    "one-hot of what is filled in": [FILL, OneHotEncoder(handle_unknown="ignore")],
    "one-hot of what is filled in, strict": [FILL, OneHotEncoder()],
    "one-hot of a constant": [SimpleImputer(strategy="constant", fill_value="none"), OneHotEncoder()],
    "one-hot of an unseen constant": [
        SimpleImputer(strategy="constant", fill_value="red"),
        OneHotEncoder(categories=[["green", "red"], ["a", "b", "red"]], handle_unknown="ignore"),
    ],
}


@pytest.mark.parametrize("in_column_transformer", [True, False])
@pytest.mark.parametrize("steps", TEXTS.values(), ids=TEXTS)
def test_text_becomes_the_same_numbers(steps: list[Any], in_column_transformer: bool) -> None:
    frame = pd.DataFrame({"x": ["green", None, "red", "red"] * 15, "y": ["a", "b", "b", None, "a"] * 12, "z": 1.0})
    coded = make_pipeline(*steps)
    if in_column_transformer:
        coded = make_column_transformer((StandardScaler(), ["z"]), (coded, ["x", "y"]))
    else:
        frame = frame[["x", "y"]]
    model = make_pipeline(coded, Ridge(alpha=0.01)).fit(frame, np.arange(60) % 7)
    signature = Signature(column_specs(frame), output_specs(model, ask(model, frame)))
    engine = load(encode(compile_model(model, signature)), signature)
    original = ScikitEngine(model, signature)
    answered = 0
    for x, y in product(["green", "red", "mauve", None], ["a", "b", "none", None]):
        row = pd.DataFrame({"x": [x], "y": [y], "z": [2.0]}).astype({"x": object, "y": object})
        columns = to_columns(row, signature.inputs)
        expected, found = (outcome(each, columns, ["predict"]) for each in (original, engine))
        if expected is None or found is None:
            assert expected is found, (x, y)
            continue
        answered += 1
        np.testing.assert_allclose(found["predict"], expected["predict"], rtol=1e-9)
    assert answered >= 4


SCALED = {
    "a scaler": lambda: make_pipeline(StandardScaler(), DecisionTreeClassifier(random_state=0)),
    "a scaler of some columns": lambda: make_pipeline(
        make_column_transformer((StandardScaler(), ["x0"]), remainder="passthrough"),
        DecisionTreeClassifier(random_state=0),
    ),
}


def _noise(rows: int, types: dict[str, str]) -> tuple[pd.DataFrame, Array]:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({name: random.normal(3, 2, rows) for name in types})
    labels = frame.sum(axis=1) + random.normal(0, 2, rows) > 3 * len(types)
    frame = frame.assign(**{name: frame[name] > 3 for name in types if types[name] == "bool"})
    return frame.astype(types), labels.to_numpy()


@pytest.mark.parametrize("types", [("float32", "float32"), ("float32", "bool"), ("float32", "float64")], ids=str)
@pytest.mark.parametrize("make", SCALED.values(), ids=SCALED)
def test_steps_in_single_precision_are_not_compiled(make: Any, types: tuple[str, str]) -> None:
    """scikit-learn rounds what it subtracts and divides by as the rows are rounded: other labels near thresholds."""
    frame, labels = _noise(200, dict(zip(("x0", "x1"), types, strict=True)))
    model = make().fit(frame, labels)
    signature = Signature(column_specs(frame), output_specs(model, ask(model, frame)))
    with pytest.raises(NotCompiledError, match="StandardScaler of FP32"):
        compile_model(model, signature)


def test_a_column_transformer_of_single_precision_is_not_compiled() -> None:
    frame, labels = _noise(200, {"x0": "float32", "x1": "float32"})
    model = make_pipeline(make_column_transformer(("passthrough", ["x1", "x0"])), LogisticRegression())
    signature = Signature(column_specs(frame), output_specs(model.fit(frame, labels), ask(model, frame)))
    with pytest.raises(NotCompiledError, match="single precision"):
        compile_model(model, signature)


def test_a_switch_beside_single_precision_leaves_it_single() -> None:
    assert both("logistic regression of single precision").program.double is False


@pytest.mark.parametrize("types", [("float32", "float32"), ("float32", "bool")], ids=str)
def test_steps_in_another_precision_are_found(types: tuple[str, str]) -> None:
    """Only rows at a threshold, carried back through the scaler, tell that it works in the other precision."""
    frame, labels = _noise(3000, dict(zip(("x0", "x1"), types, strict=True)))
    model = SCALED["a scaler"]().fit(frame, labels)
    inputs = column_specs(frame)
    outputs = output_specs(model, ask(model, frame))
    doubles = tuple(TensorSpec(spec.name, Datatype.FP64, spec.shape) for spec in inputs)
    program = compile_model(model, Signature(doubles, outputs))
    signature = Signature(inputs, outputs)
    engine = load(encode(program), signature)
    with pytest.raises(DifferentError, match="perturbed rows"):
        compare(ScikitEngine(model, signature), engine, program, to_columns(frame, inputs), signature)


def _trees(**changes: Any) -> Trees:
    """One tree of a root and two leaves: up to 1.5 it says 10, above it 20."""
    fields: dict[str, Any] = {
        "double": True,
        "sizes": (3,),
        "right": _ints(1, 1, 2),
        "feature": _ints(0, 0, 0),
        "threshold": np.array([1.5, 0, 0]).tobytes(),
        "values": np.array([20.0, 10.0]).tobytes(),
        "width": 1,
        "outputs": 1,
        "baseline": (0.0,),
    }
    return Trees(**{**fields, **changes})


def _ints(*values: int) -> bytes:
    return np.array(values, "<i4").tobytes()


def _chain(nodes: int) -> bytes:
    """The right child of every inner node is a leaf, and the left one goes on."""
    right: Array = np.arange(nodes)
    right[2:-1:2] += 1
    right[0] = 1
    return right.astype("<i4").tobytes()


def test_a_tree_sends_what_is_missing_where_it_says() -> None:
    x = np.array([[1.5], [1.6], [np.nan], [-np.inf], [np.inf]])
    assert Forest(_trees(), 1).raw(x).ravel().tolist() == [10, 20, 20, 10, 20]
    assert Forest(_trees(feature=_ints(1, 0, 0)), 1).raw(x).ravel().tolist() == [10, 20, 10, 10, 20]


BROKEN: dict[str, dict[str, Any]] = {
    "a child beyond the end": {"right": _ints(2, 1, 2)},
    "a child before its parent": {"right": _ints(1, 0, 2)},
    "a negative child": {"right": _ints(-1, 1, 2)},
    "a child of two": {
        "sizes": (60,),
        "right": _ints(*range(1, 59), 58, 59),
        "feature": bytes(240),
        "threshold": bytes(480),
        "values": bytes(16),
    },
    "a child in another tree": {"sizes": (2, 1)},
    "a tree without nodes": {"sizes": (3, 0)},
    "no tree": {"sizes": (), "right": b"", "feature": b"", "threshold": b"", "values": b""},
    "a column that there is not": {"feature": _ints(2, 0, 0)},
    "a negative column": {"feature": _ints(-1, 0, 0)},
    "too few thresholds": {"threshold": b"12345678"},
    "too many values": {"values": bytes(24)},
    "values of terabytes that are not there": {
        "width": 3_000_000,
        "outputs": 3_000_000,
        "baseline": (0.0,) * 3_000_000,
        "values": b"",
        "sizes": (100_001,),
        "right": _chain(100_001),
        "feature": bytes(400_004),
        "threshold": bytes(800_008),
    },
    "more outputs than trees": {"outputs": 2, "baseline": (0.0, 0.0)},
    "a width that is not the outputs'": {"width": 3},
    "another baseline": {"baseline": (0.0, 1.0)},
    "a divisor of zero": {"divisor": 0.0},
    "a divisor that is no number": {"divisor": float("nan")},
}


@pytest.mark.parametrize("changes", BROKEN.values(), ids=BROKEN)
def test_trees_that_do_not_fit_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(EngineError):
        Forest(_trees(**changes), 1)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_refused_or_answers(data: st.DataObject) -> None:
    """Never an index out of range, an endless walk, or another exception."""
    pair = both("histogram boosting")
    content = bytearray(encode(pair.program))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        engine = load(bytes(content), pair.signature)
    except EngineError:
        return
    assert outcome(engine, pair.columns, pair.names) is not None or not pair.program.takes_nan


def _changed(program: Program, **changes: Any) -> bytes:
    return encode(msgspec.structs.replace(program, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"features": ()},
        {"classes": ()},
        {"classes": ("no",)},
        {"classes": (1, 2)},
        {"classes": ("a", "b", "c")},
        {"answer": "numbers"},
        {"answer": "scores"},
        {"steps": [{"operation": "add", "numbers": [1.0]}]},
    ],
    ids=str,
)
def test_a_program_that_does_not_fit_the_signature_is_refused(changes: dict[str, Any]) -> None:
    pair = both("histogram boosting")
    plain = msgspec.msgpack.decode(encode(pair.program))
    with pytest.raises(EngineError):
        load(msgspec.msgpack.encode({**plain, **changes}), pair.signature)


class _Off:
    """An engine that answers one row in a hundred otherwise."""

    def __init__(self, engine: CompiledEngine, output: str, change: Any) -> None:
        self._engine, self._output, self._change = engine, output, change

    def predict(self, columns: Columns, outputs: Any) -> Columns:
        answers = self._engine.predict(columns, outputs)
        column: Array = answers[self._output].copy()
        column[::100] = self._change(column[::100])
        return {**answers, self._output: column}


def test_what_is_off_by_a_label_or_by_more_than_a_millionth_is_found() -> None:
    pair = both("random forest")
    arguments = pair.program, pair.columns, pair.signature
    equal = compare(pair.original, pair.compiled, *arguments)
    assert (equal.reference_rows, equal.max_difference) == (300, 0.0)
    close = compare(pair.original, _Off(pair.compiled, "predict_proba", lambda p: p + 5e-7), *arguments)
    assert 1e-7 < close.max_difference < 1e-6
    for output, change in (("predict_proba", lambda p: p + 1e-5), ("predict", lambda labels: labels[::-1] + "x")):
        with pytest.raises(DifferentError, match=f"{output} of rows of the data"):
            compare(pair.original, _Off(pair.compiled, output, change), *arguments)


class _OffOnLargeBatches:
    """An engine that answers the 300 rows of the data and one or two rows rightly, and no others."""

    def __init__(self, engine: CompiledEngine) -> None:
        self._engine = engine

    def predict(self, columns: Columns, outputs: Any) -> Columns:
        answers = self._engine.predict(columns, outputs)
        rows = len(answers["predict"])
        return answers if rows <= 2 or rows == 300 else {name: answer[::-1] for name, answer in answers.items()}


def test_columns_that_refuse_what_the_others_take_hide_no_rows() -> None:
    """One refused row in a batch, and neither answers it: nothing would be compared."""
    frame, labels = _noise(300, {f"x{i:02}": "float64" for i in range(18)})
    imputed = make_column_transformer((SimpleImputer(), list(frame)[:16]), remainder="passthrough")
    model = make_pipeline(imputed, LogisticRegression(max_iter=1000)).fit(frame, labels)
    inputs = column_specs(frame)
    signature = Signature(inputs, output_specs(model, ask(model, frame)))
    program = compile_model(model, signature)
    original, engine = ScikitEngine(model, signature), load(encode(program), signature)
    arguments = program, to_columns(frame, inputs), signature
    assert compare(original, engine, *arguments).perturbed_rows == 10_000
    with pytest.raises(DifferentError, match="perturbed rows"):
        compare(original, _OffOnLargeBatches(engine), *arguments)


class _Picky:
    """An engine that refuses rows of which two columns are zero, as those of the data rarely are."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def predict(self, columns: Columns, outputs: Any) -> Columns:
        if ((columns["x0"] == 0) & (columns["x1"] == 0)).any():
            raise ValueError("no")
        return self._engine.predict(columns, outputs)  # type: ignore[no-any-return]


def test_only_rows_that_are_answered_are_counted() -> None:
    pair = both("random forest")
    arguments = pair.program, pair.columns, pair.signature
    original = _Picky(pair.original)
    equal = compare(original, _Picky(pair.compiled), *arguments)
    assert equal.reference_rows == 300
    assert 5_000 < equal.perturbed_rows < 10_000
    with pytest.raises(DifferentError, match="perturbed rows"):
        compare(original, _Picky(_OffOnLargeBatches(pair.compiled)), *arguments)


def test_an_engine_that_takes_what_the_model_refuses_is_found() -> None:
    pair = both("gradient boosting")
    lax = load(_changed(pair.program, takes_nan=True, takes_infinity=True), pair.signature)
    with pytest.raises(DifferentError, match="the model alone refuses the value nan"):
        compare(pair.original, lax, pair.program, pair.columns, pair.signature)


def test_a_tie_that_goes_the_other_way_is_found() -> None:
    """Only rows at a threshold tell `<` from `<=`: none of the data lies on one."""
    pair = both("histogram boosting")
    model = pair.program.model
    assert isinstance(model, Trees)
    thresholds = np.nextafter(np.frombuffer(model.threshold, "<f8"), -np.inf).tobytes()
    program = msgspec.structs.replace(pair.program, model=msgspec.structs.replace(model, threshold=thresholds))
    with pytest.raises(DifferentError, match="perturbed rows"):
        compare(pair.original, load(encode(program), pair.signature), pair.program, pair.columns, pair.signature)


def test_both_engines_are_measured_at_every_number_of_rows() -> None:
    pair = both("random forest")
    timings = measure(pair.original, pair.compiled, pair.columns, rows=(1, 8))
    assert timings.rows == (1, 8)
    assert timings.compiled[0] < timings.original[0]
