"""What `pack` writes, what it refuses, and that twice is the same."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import FunctionTransformer

from tidegate_contract.bundle.datatypes import Datatype
from tidegate_contract.bundle.manifest import Lineage, TensorSpec
from tidegate_server.loader import load_model
from tidegate_server.offline.errors import ModelError, OfflineError, PackError, TableError
from tidegate_server.offline.golden import choose
from tidegate_server.offline.pack import pack
from tidegate_server.offline.table import column_specs, to_columns


def test_the_signature_is_the_models(trained: Any, tmp_path: Path) -> None:
    manifest = pack(trained.skops, trained.data, tmp_path / "b", target="late").manifest
    assert manifest.signature.inputs == (
        TensorSpec("carrier", Datatype.BYTES, (-1,)),
        TensorSpec("delay", Datatype.FP64, (-1,)),
        TensorSpec("hour", Datatype.INT64, (-1,)),
        TensorSpec("weekend", Datatype.BOOL, (-1,)),
    )
    assert manifest.signature.outputs == (
        TensorSpec("predict", Datatype.BYTES, (-1,)),
        TensorSpec("predict_proba", Datatype.FP64, (-1, 2), ("in time", "late")),
    )
    assert (manifest.name, manifest.lineage.model) == ("late", "ColumnTransformer -> LogisticRegression")
    assert manifest.trusted_types == ("numpy.dtype",)


def test_a_regression_answers_with_numbers(trained: Any, tmp_path: Path) -> None:
    manifest = pack(trained.regression, trained.frame, tmp_path / "b", target="minutes").manifest
    assert manifest.signature.outputs == (TensorSpec("predict", Datatype.FP64, (-1,)),)
    assert manifest.lineage.model == "HistGradientBoostingRegressor"


def test_golden_rows_hold_every_class_and_missing_values(bundle: Path) -> None:
    golden = load_model(bundle, None, allow_pickle=False).manifest.golden
    assert golden.rows == 20
    assert set(golden.outputs["predict"]) == {"late", "in time"}
    assert None in golden.inputs["delay"]
    assert None in golden.inputs["carrier"]


def test_the_same_input_gives_the_same_digest_in_another_process_and_time(trained: Any, tmp_path: Path) -> None:
    here = pack(trained.skops, trained.data, tmp_path / "here", target="late", name="flights").digest
    later = time.time() + 100_000
    for source in (trained.skops, trained.data):
        os.utime(source, (later, later))
    script = (
        "import sys; from pathlib import Path; from tidegate_server.offline.pack import pack;"
        "model, data, out = map(Path, sys.argv[1:]);"
        "print(pack(model, data, out, target='late', name='flights').digest)"
    )
    there = subprocess.run(
        [sys.executable, "-c", script, str(trained.skops), str(trained.data), str(tmp_path / "there")],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "4", "TZ": "Asia/Tokyo"},
    ).stdout.strip()
    assert there == here


def test_where_the_model_comes_from_is_recorded_as_it_is_given(trained: Any, tmp_path: Path) -> None:
    created = "2013-03-01T00:00:00+00:00"
    lineage = Lineage("given", "given", "s3://data", "4f2a", "run-7", "Ada", created)
    packed = pack(trained.skops, trained.frame, tmp_path / "b", lineage=lineage, metrics={"roc_auc": 0.7})
    found = packed.manifest.lineage
    assert (found.data_uri, found.commit, found.run, found.author, found.created) == (
        "s3://data",
        "4f2a",
        "run-7",
        "Ada",
        created,
    )
    assert found.model == "ColumnTransformer -> LogisticRegression"
    assert (found.data_sha256, packed.manifest.metrics) == ("", {"roc_auc": 0.7})


def test_a_strict_column_is_recorded_if_the_data_has_one_like_it(trained: Any, tmp_path: Path) -> None:
    packed = pack(trained.skops, trained.frame, tmp_path / "b", strict=("delay", "carrier", "delay"))
    assert packed.manifest.strict == ("carrier", "delay")
    with pytest.raises(PackError, match="column 'other' cannot be strict"):
        pack(trained.skops, trained.frame, tmp_path / "c", strict=("other",))
    assert not (tmp_path / "c").exists()


def test_a_bundle_is_replaced_only_by_force(trained: Any, tmp_path: Path) -> None:
    out = tmp_path / "b"
    first = pack(trained.skops, trained.frame, out, name="one").digest
    with pytest.raises(PackError, match="--force"):
        pack(trained.skops, trained.frame, out, name="two")
    second = pack(trained.skops, trained.frame, out, name="two", force=True)
    assert load_model(out, second.digest, allow_pickle=False).digest != first
    assert os.listdir(tmp_path) == ["b"]


def test_what_is_no_bundle_is_never_replaced(trained: Any, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("the only copy")
    with pytest.raises(PackError, match="not a bundle"):
        pack(trained.skops, trained.frame, tmp_path, force=True)
    assert os.listdir(tmp_path) == ["thesis.txt"]


def _dump(path: Path, model: Any) -> Path:
    skops.io.dump(model, path)
    return path


def _numbers(rows: int = 10) -> pd.DataFrame:
    return pd.DataFrame({"a": np.arange(rows, dtype=float), "b": np.arange(rows) % 3 + 0.5, "y": np.arange(rows) * 2.0})


def test_a_model_that_was_fitted_on_an_array_is_packed_by_the_datas_columns(tmp_path: Path) -> None:
    frame = _numbers()
    model = LinearRegression().fit(frame[["a", "b"]].to_numpy(), frame["y"])
    packed = pack(_dump(tmp_path / "m.skops", model), frame, tmp_path / "b", target="y")
    assert [spec.name for spec in packed.manifest.signature.inputs] == ["a", "b"]


def test_columns_of_several_numeric_types_are_one_tensor_where_it_is_asked_for(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": np.arange(30), "b": np.linspace(0, 1, 30), "c": np.arange(30) % 2 == 0})
    model = LinearRegression().fit(frame.to_numpy(float), np.arange(30))
    packed = pack(_dump(tmp_path / "m.skops", model), frame, tmp_path / "b", tensor="X")
    signature = packed.manifest.signature
    assert signature.requested == {"X": TensorSpec("X", Datatype.FP64, (-1, 3), ("a", "b", "c"))}
    assert [record.kind for record in packed.manifest.engines if record.file] == ["linear"]
    profile = load_model(packed.directory, None, allow_pickle=False).profile
    assert profile is not None
    assert [column.name for column in profile.features] == ["a", "b", "c"]


def test_text_and_numbers_are_no_one_tensor(trained: Any, tmp_path: Path) -> None:
    with pytest.raises(TableError, match="column 'carrier' is text and others are not"):
        pack(trained.skops, trained.data, tmp_path / "b", target="late", tensor="X")


def test_a_type_is_that_of_every_row_and_not_of_some(tmp_path: Path) -> None:
    """More columns with a rare missing value than there are golden rows for it, in more rows than are looked at."""
    rows, names = 25_000, [f"c{i}" for i in range(10)]
    frame = pd.DataFrame({name: pd.array(np.arange(rows) % 7, dtype="Int64") for name in names})
    for i, name in enumerate(names):
        frame.loc[rows // 2 + 2 * i, name] = pd.NA
    model = HistGradientBoostingRegressor(max_iter=1).fit(frame, np.arange(rows))
    packed = pack(_dump(tmp_path / "m.skops", model), frame, tmp_path / "b")
    assert {spec.datatype for spec in packed.manifest.signature.inputs} == {Datatype.FP64}


def test_several_targets_are_one_matrix(tmp_path: Path) -> None:
    frame = _numbers()
    model = LinearRegression().fit(frame[["a", "b"]], frame[["y", "a"]])
    packed = pack(_dump(tmp_path / "m.skops", model), frame, tmp_path / "b")
    assert packed.manifest.signature.outputs == (TensorSpec("predict", Datatype.FP64, (-1, 2)),)


def test_a_type_that_is_not_known_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    from sklearn.pipeline import make_pipeline

    frame = _numbers()
    model = make_pipeline(FunctionTransformer(msgspec.to_builtins), LinearRegression())
    model.steps[-1][1].fit(frame[["a", "b"]], frame["y"])
    path = _dump(tmp_path / "m.skops", model)
    with pytest.raises(ModelError, match=r"--trust msgspec\S*\.to_builtins"):
        pack(path, frame, tmp_path / "b", target="y")
    assert os.listdir(tmp_path) == ["m.skops"]


def test_a_type_of_the_standard_library_cannot_be_trusted(tmp_path: Path) -> None:
    path = _dump(tmp_path / "m.skops", FunctionTransformer(os.path.join))
    with pytest.raises(ModelError, match=r"posixpath\.join, which no model may use"):
        pack(path, _numbers(), tmp_path / "b", trust=["posixpath.join"])


def test_a_joblib_file_is_refused_and_both_ways_out_are_named(trained: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"skops\.io\.dump.*--allow-pickle"):
        pack(trained.joblib, trained.frame, tmp_path / "b")


REFUSED: dict[str, tuple[dict[str, Any], type[OfflineError], str]] = {
    "a target that is not there": ({"target": "nope"}, ModelError, "no column 'nope'"),
    "a model file of another kind": ({"model_path": Path("model.h5")}, ModelError, "give a model as .skops"),
    "a model file that is not there": ({"model_path": Path("nope.skops")}, PackError, "cannot be read"),
    "data of another kind": ({"data": Path("data.xlsx")}, TableError, ".parquet or .csv"),
    "data that is not there": ({"data": Path("nope.csv")}, TableError, "there is no file"),
    "a column too few": ({"data": pd.DataFrame({"carrier": ["UA"] * 9})}, ModelError, "the data lacks: delay"),
    "four rows": ({"data": slice(4)}, PackError, "4 rows, and 5 are needed"),
}


@pytest.mark.parametrize(("changes", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(
    changes: dict[str, Any], error: type[OfflineError], message: str, trained: Any, tmp_path: Path
) -> None:
    arguments = {"model_path": trained.skops, "data": trained.frame, "out": tmp_path / "b", **changes}
    if isinstance(arguments["data"], slice):
        arguments["data"] = trained.frame[arguments["data"]]
    with pytest.raises(error, match=message):
        pack(**arguments)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_skops_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.skops"
    path.write_bytes(b"not a zip")
    with pytest.raises(ModelError, match="not a skops file"):
        pack(path, _numbers(), tmp_path / "b")


def test_csv_and_parquet_give_the_same_signature(trained: Any, tmp_path: Path) -> None:
    trained.frame.to_csv(tmp_path / "flights.csv", index=False)
    packed = pack(trained.skops, tmp_path / "flights.csv", tmp_path / "b")
    assert [spec.datatype for spec in packed.manifest.signature.inputs] == ["BYTES", "FP64", "INT64", "BOOL"]


COLUMNS: dict[str, tuple[Any, Datatype | str]] = {
    "text": (pd.Series(["a", None]), Datatype.BYTES),
    "objects that are text": (pd.Series(["a", None], dtype=object), Datatype.BYTES),
    "categories": (pd.Series(["a", "b"], dtype="category"), Datatype.BYTES),
    "small integers": (pd.Series([1, 2], dtype="int8"), Datatype.INT8),
    "nullable integers, all there": (pd.Series([1, 2], dtype="Int16"), Datatype.INT16),
    "nullable integers, one missing": (pd.Series([1, None], dtype="Int16"), Datatype.FP64),
    "nullable booleans, all there": (pd.Series([True, False], dtype="boolean"), Datatype.BOOL),
    "nullable booleans, one missing": (pd.Series([True, None], dtype="boolean"), "cannot carry"),
    "single floats": (pd.Series([1.0], dtype="float32"), Datatype.FP32),
    "half floats": (pd.Series([1.0], dtype="float16"), "cannot carry"),
    "times": (pd.Series(pd.to_datetime(["2013-01-01"])), "cannot carry"),
    "text and numbers": (pd.Series(["a", 1], dtype=object), "mixes text"),
}


@pytest.mark.parametrize(("series", "expected"), COLUMNS.values(), ids=COLUMNS)
def test_a_columns_datatype(series: Any, expected: Datatype | str) -> None:
    frame = pd.DataFrame({"x": series})
    if isinstance(expected, Datatype):
        (spec,) = column_specs(frame)
        assert spec == TensorSpec("x", expected, (-1,))
        assert to_columns(frame, [spec])["x"].dtype == expected.dtype
    else:
        with pytest.raises(TableError, match=expected):
            column_specs(frame)


def test_golden_rows_are_spread_over_the_answers() -> None:
    frame = pd.DataFrame({"x": np.arange(1000.0)})
    chosen = choose(frame, np.arange(1000.0) ** 2, most=5)
    assert chosen.tolist() == [0, 249, 499, 749, 999]


def test_a_rare_class_is_among_the_golden_rows() -> None:
    frame = pd.DataFrame({"x": np.arange(1000.0)})
    answers = np.where(np.arange(1000) == 613, "rare", "usual")
    assert 613 in choose(frame, answers, most=5).tolist()


def test_a_bundle_can_be_moved(bundle: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(bundle, tmp_path / "elsewhere"))
    assert load_model(moved, None, allow_pickle=False).manifest.name == "flights"
