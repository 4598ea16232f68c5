"""ONNX models: packed under the names that every model's outputs have, and answered as their originals answer."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
import skops.io
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from tidegate_contract.bundle.datatypes import Datatype
from tidegate_contract.bundle.manifest import Format, SignatureKind, TensorSpec
from tidegate_contract.failure import BundleError
from tidegate_server.engines.onnx import open_session
from tidegate_server.loader import load_model
from tidegate_server.offline.compare import compare
from tidegate_server.offline.errors import ModelError, TableError
from tidegate_server.offline.pack import Packed, pack
from tidegate_server.offline.table import to_columns

RANDOM = np.random.default_rng(0)
ROWS = pd.DataFrame(RANDOM.normal(size=(300, 3)).astype(np.float32), columns=["a", "b", "c"])
LATE = np.where(ROWS["a"] + ROWS["b"] > 0, "late", "in time")
NO_MAPS = {"zipmap": False}


def packed(model: Any, folder: Path, data: pd.DataFrame = ROWS, **options: Any) -> Packed:
    (folder / "m.onnx").write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    return pack(folder / "m.onnx", data, folder / "bundle", **options)


def converted(model: Any, **options: Any) -> Any:
    return to_onnx(model, ROWS.to_numpy()[:1], options={id(model): options} if options else None)


@pytest.fixture(scope="module")
def forest() -> RandomForestClassifier:
    return RandomForestClassifier(20, random_state=0).fit(ROWS.to_numpy(), LATE)


def test_a_classifier_answers_under_the_names_of_the_model_that_it_was(
    forest: RandomForestClassifier, tmp_path: Path
) -> None:
    found = packed(converted(forest, **NO_MAPS), tmp_path, ROWS.assign(late=LATE), target="late")
    signature = found.manifest.signature
    assert (found.manifest.format, signature.kind, signature.tensor) == (Format.ONNX, SignatureKind.TENSOR, "X")
    assert signature.inputs == tuple(TensorSpec(name, Datatype.FP32, (-1,)) for name in "abc")
    assert signature.outputs == (
        TensorSpec("predict", Datatype.BYTES, (-1,)),
        TensorSpec("predict_proba", Datatype.FP32, (-1, 2), ("in time", "late")),
    )
    assert found.manifest.inner_names == {"predict": "label", "predict_proba": "probabilities"}
    engine = load_model(found.directory, found.digest, allow_pickle=False).engine
    answers = engine.predict(to_columns(ROWS, signature.inputs), ("predict_proba", "predict"))
    assert answers["predict"].tolist() == forest.predict(ROWS.to_numpy()).tolist()
    np.testing.assert_allclose(answers["predict_proba"], forest.predict_proba(ROWS.to_numpy()), atol=1e-6)
    assert found.manifest.lineage.model.startswith("skl2onnx 1.")
    assert found.manifest.environment.libraries.keys() == {"numpy", "onnxruntime"}


def test_columns_of_several_types_are_an_input_each(tmp_path: Path) -> None:
    frame = pd.DataFrame({"carrier": ["UA", "AA", None] * 40, "delay": np.linspace(-5, 60, 120).astype(np.float32)})
    late = (frame["delay"] > 20).astype(int)
    text = ColumnTransformer([("text", OneHotEncoder(handle_unknown="ignore"), ["carrier"])], remainder="passthrough")
    model = make_pipeline(text, LogisticRegression()).fit(frame.fillna({"carrier": ""}), late)
    graph = to_onnx(
        model,
        initial_types=[("carrier", StringTensorType([None, 1])), ("delay", FloatTensorType([None, 1]))],
        options={id(model): NO_MAPS},
    )
    found = packed(graph, tmp_path, frame)
    signature = found.manifest.signature
    assert signature.inputs == (TensorSpec("carrier", Datatype.BYTES, (-1,)), TensorSpec("delay", Datatype.FP32, (-1,)))
    assert signature.output("predict_proba") == TensorSpec("predict_proba", Datatype.FP32, (-1, 2), (0, 1))
    engine = load_model(found.directory, None, allow_pickle=False).engine
    answers = engine.predict(to_columns(frame, signature.inputs), ("predict",))
    assert answers["predict"].tolist() == model.predict(frame.fillna({"carrier": ""})).tolist()


@pytest.mark.parametrize(
    ("model", "targets", "shape"),
    [(LinearRegression(), 1, (-1,)), (MultiOutputRegressor(LinearRegression()), 2, (-1, 2))],
)
def test_numbers_have_the_shape_that_scikit_learn_gives_them(
    model: Any, targets: int, shape: tuple[int, ...], tmp_path: Path
) -> None:
    model.fit(ROWS.to_numpy(), ROWS.to_numpy()[:, :targets].squeeze())
    found = packed(converted(model), tmp_path)
    assert found.manifest.signature.outputs == (TensorSpec("predict", Datatype.FP32, shape),)


def test_it_can_be_compared_with_the_model_that_it_was(tmp_path: Path) -> None:
    data = ROWS.assign(late=LATE)
    model = LogisticRegression().fit(ROWS.to_numpy(), LATE)
    (tmp_path / "before").mkdir()
    skops.io.dump(model, tmp_path / "before" / "m.skops")
    before = pack(tmp_path / "before" / "m.skops", data, tmp_path / "before" / "bundle", target="late")
    after = packed(converted(model, **NO_MAPS), tmp_path, data, target="late")
    old, new = (load_model(made.directory, None, allow_pickle=False) for made in (before, after))
    figures = {figure.name: figure.difference.estimate for figure in compare(old, new, data, "late").figures}
    assert figures["wrong answers"] == 0
    assert abs(figures["log loss"]) < 1e-6


def test_scores_that_are_no_probabilities_keep_their_name(tmp_path: Path) -> None:
    graph = converted(LogisticRegression().fit(ROWS.to_numpy(), LATE), zipmap=False, raw_scores=True)
    found = packed(graph, tmp_path)
    assert [spec.name for spec in found.manifest.signature.outputs] == ["predict", "probabilities"]


def test_a_graph_of_its_own_answers_with_its_first_output(tmp_path: Path) -> None:
    def value(name: str, width: int) -> onnx.ValueInfoProto:
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, width])

    nodes = [onnx.helper.make_node("Neg", ["in"], ["turned"]), onnx.helper.make_node("Abs", ["in"], ["size"])]
    graph = onnx.helper.make_graph(nodes, "g", [value("in", 3)], [value("turned", 3), value("size", 3)])
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    found = packed(made, tmp_path, tensor="rows")
    assert found.manifest.signature.tensor == "rows"
    assert [spec.name for spec in found.manifest.signature.outputs] == ["predict", "size"]
    engine = load_model(found.directory, None, allow_pickle=False).engine
    answers = engine.predict({name: np.array([1, -2], np.float32) for name in "abc"}, ("size", "predict"))
    assert answers["predict"].tolist() == [[-1] * 3, [2] * 3]
    assert answers["size"].tolist() == [[1] * 3, [2] * 3]


def graph_of(nodes: list[Any], output: tuple[str, int, list[Any]] = ("out", 1, [None, 3]), **more: Any) -> Any:
    """A graph with an input `in` of shape [n, 3]; an output has a name, a type and a shape."""
    given = onnx.helper.make_tensor_value_info("in", onnx.TensorProto.FLOAT, [None, 3])
    graph = onnx.helper.make_graph(nodes, "g", [given], [onnx.helper.make_tensor_value_info(*output)], **more)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)


def of_another_file(location: str) -> Any:
    weights = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [3], [0.0] * 3)
    weights.ClearField("float_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "0", "length": "12"}.items():
        weights.external_data.add(key=key, value=value)
    return graph_of([onnx.helper.make_node("Add", ["in", "w"], ["out"])], initializer=[weights])


def test_numbers_of_other_files_are_read_neither_here_nor_by_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret.bin").write_bytes(b"root:x:0:0:any bytes")
    monkeypatch.chdir(tmp_path)
    made = of_another_file("secret.bin")
    with pytest.raises(ModelError, match="in other files"):
        packed(made, tmp_path)
    with pytest.raises(Exception, match="secret"):
        open_session(made.SerializeToString())


def test_one_column_is_one_tensor_unless_the_input_is_that_column(tmp_path: Path) -> None:
    frame = ROWS[["a"]]
    model = LinearRegression().fit(frame.to_numpy(), ROWS["b"])
    for folder, name, kind in (("x", "X", SignatureKind.TENSOR), ("a", "a", SignatureKind.COLUMNS)):
        (tmp_path / folder).mkdir()
        graph = to_onnx(model, initial_types=[(name, FloatTensorType([None, 1]))])
        assert packed(graph, tmp_path / folder, frame).manifest.signature.kind is kind


def test_a_tensor_may_have_the_name_of_a_column(tmp_path: Path) -> None:
    model = LinearRegression().fit(ROWS.to_numpy(), ROWS["b"])
    graph = to_onnx(model, initial_types=[("a", FloatTensorType([None, 3]))])
    assert packed(graph, tmp_path).manifest.signature.tensor == "a"


@pytest.mark.parametrize(
    ("datatype", "values", "message"),
    [
        ("INT64", [1.5] * 9, "no INT64"),
        ("INT64", [1.0, None] * 9, "no INT64"),
        ("INT8", [300] * 9, "no INT8"),
        ("BOOL", [2] * 9, "no BOOL"),
        ("FP32", ["1"] * 9, "turn it into numbers"),
    ],
)
def test_a_value_that_an_input_cannot_hold_is_no_other_value(datatype: str, values: list[Any], message: str) -> None:
    with pytest.raises(TableError, match=message):
        to_columns(pd.DataFrame({"a": values}), [TensorSpec("a", Datatype(datatype), (-1,))])


@pytest.mark.parametrize("order", ["sorted", "shuffled"])
def test_classes_that_no_operator_names_are_seen_in_the_answers(order: str, tmp_path: Path) -> None:
    frame = pd.DataFrame(RANDOM.normal(size=(11_000, 3)).astype(np.float32), columns=["a", "b", "c"])
    if order == "sorted":
        frame = frame.iloc[frame.to_numpy().argmax(axis=1).argsort()]
    made = graph_of(
        [
            onnx.helper.make_node("Softmax", ["in"], ["chances"]),
            onnx.helper.make_node("ArgMax", ["in"], ["out"], axis=1, keepdims=0),
        ],
        ("out", onnx.TensorProto.INT64, [None]),
    )
    made.graph.output.append(onnx.helper.make_tensor_value_info("chances", onnx.TensorProto.FLOAT, [None, 3]))
    signature = packed(made, tmp_path, frame).manifest.signature
    assert signature.output("predict_proba") == TensorSpec("predict_proba", Datatype.FP32, (-1, 3), (0, 1, 2))


def test_single_precision_is_not_held_to_the_last_digit(forest: RandomForestClassifier, tmp_path: Path) -> None:
    found = packed(converted(forest, **NO_MAPS), tmp_path)
    assert found.manifest.golden.tolerance == 1e-4
    assert packed(converted(forest, **NO_MAPS), tmp_path, force=True, tolerance=1e-5).manifest.golden.tolerance == 1e-5


REFUSED: dict[str, tuple[Any, str]] = {
    "an answer for all rows together": (
        lambda _: graph_of([onnx.helper.make_node("ReduceSum", ["in"], ["out"])], ("out", 1, [1, 1])),
        "has not one row for each row",
    ),
    "probabilities that are none": (
        lambda _: graph_of([onnx.helper.make_node("Neg", ["in"], ["predict_proba"])], ("predict_proba", 1, [None, 3])),
        "is no matrix of probabilities of known classes",
    ),
    "no ONNX": (lambda forest: b"nothing", "no model that ONNX Runtime can read"),
    "maps instead of a matrix": (lambda forest: converted(forest, zipmap=True), r"\"zipmap\": False"),
    "more columns than the data": (
        lambda _: to_onnx(LinearRegression().fit(np.eye(4), np.ones(4)), np.eye(4, dtype=np.float32)),
        "takes 4 columns and the data has 3",
    ),
    "an input of three dimensions": (
        lambda _: onnx.helper.make_model(
            onnx.helper.make_graph(
                [onnx.helper.make_node("Neg", ["in"], ["out"])],
                "g",
                [onnx.helper.make_tensor_value_info("in", onnx.TensorProto.FLOAT, [None, 3, 3])],
                [onnx.helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, [None, 3, 3])],
            ),
            opset_imports=[onnx.helper.make_opsetid("", 20)],
            ir_version=10,
        ),
        "in is tensor\\(float\\) of 3 dimensions; give a folder with a class",
    ),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_what_no_bundle_can_hold_is_refused(
    make: Any, message: str, forest: RandomForestClassifier, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=message):
        packed(make(forest), tmp_path)


def test_a_file_that_is_no_model_is_refused_by_the_server(forest: RandomForestClassifier, tmp_path: Path) -> None:
    import hashlib

    bundle = packed(converted(forest, **NO_MAPS), tmp_path).directory
    document = json.loads((bundle / "manifest.json").read_text())
    document["files"]["model.onnx"] = {"sha256": hashlib.sha256(b"x").hexdigest(), "size": 1}
    (bundle / "manifest.json").write_text(json.dumps(document))
    (bundle / "model.onnx").write_bytes(b"x")
    with pytest.raises(BundleError, match=r"LoadFailed: ONNX Runtime 1\.\S+ cannot read the model"):
        load_model(bundle, None, allow_pickle=False)


def test_twice_is_the_same(forest: RandomForestClassifier, tmp_path: Path) -> None:
    graph = converted(forest, **NO_MAPS)
    first = packed(graph, tmp_path).digest
    assert packed(graph, tmp_path, force=True).digest == first
