"""Which engine answers: from what `pack` wrote, by the number of rows, and after the golden rows."""

import hashlib
import io
import json
import logging
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import skops.io
from sklearn.svm import SVC

import named_models as models
from tidegate_contract.bundle import timings as t
from tidegate_contract.bundle.manifest import MANIFEST_NAME, EngineRecord, FileEntry, ManifestError, decode, encode
from tidegate_contract.bundle.timings import TIMINGS_NAME, Timings, limit_of
from tidegate_contract.bundle.verify import verify
from tidegate_contract.failure import BundleError, FailureReason
from tidegate_server.engines.chosen import ChosenEngine
from tidegate_server.engines.compiled import CompiledEngine
from tidegate_server.engines.scikit import ScikitEngine
from tidegate_server.fetch import _move
from tidegate_server.loader import load_model
from tidegate_server.offline.oci import write_layer
from tidegate_server.offline.pack import ENGINE_FILE, Packed, pack
from tidegate_server.tensors import Columns

FIGURES = Timings(rows=(1, 16, 4096), compiled=(5.0, 6.0, 900.0), original=(100.0, 110.0, 400.0))


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    """A packed forest, and `model.skops` and `data.parquet` beside it."""
    folder = tmp_path_factory.mktemp("forest")
    model, frame = models.fitted(models.cases(trees=5)["random forest, three classes, gaps"], rows=200)
    skops.io.dump(model, folder / "model.skops")
    frame.to_parquet(folder / "data.parquet")
    return pack(folder / "model.skops", frame, folder / "bundle")


def copy(packed: Packed, out: Path, changes: dict[str, bytes] | None = None, **fields: Any) -> Path:
    """The bundle with other bytes in some files, under a manifest whose digests are right."""
    manifest = decode((packed.directory / MANIFEST_NAME).read_bytes())
    files = dict(manifest.files)
    out.mkdir()
    for path in (*files, TIMINGS_NAME):
        (out / path).write_bytes((changes or {}).get(path, (packed.directory / path).read_bytes()))
    for path in set(changes or {}) & set(files):
        content = (out / path).read_bytes()
        files[path] = FileEntry(hashlib.sha256(content).hexdigest(), len(content))
    (out / MANIFEST_NAME).write_bytes(encode(msgspec.structs.replace(manifest, files=files, **fields)))
    return out


def test_pack_records_what_was_compared(forest: Packed) -> None:
    assert forest.manifest.engines == (
        EngineRecord(kind="trees", file=ENGINE_FILE, reference_rows=200, perturbed_rows=10_000),
    )
    timings = verify(forest.directory, forest.digest).timings()
    assert timings is not None
    assert timings.rows == t.ROWS


def test_two_packings_differ_in_their_timings_alone(forest: Packed, tmp_path: Path) -> None:
    folder = forest.directory.parent
    import pandas as pd

    again = pack(folder / "model.skops", pd.read_parquet(folder / "data.parquet"), tmp_path / "b", name="model")
    assert again.digest == forest.digest
    assert TIMINGS_NAME not in again.manifest.files


def test_a_model_without_an_engine_is_packed_and_the_manifest_says_why(tmp_path: Path) -> None:
    frame = models.table(100)
    skops.io.dump(SVC().fit(frame[["x0", "x1"]], frame["two"]), tmp_path / "m.skops")
    packed = pack(tmp_path / "m.skops", frame, tmp_path / "b")
    assert [(r.kind, r.file, r.reason) for r in packed.manifest.engines] == [
        ("compiled", "", "there is no compiled engine for SVC")
    ]
    assert not (packed.directory / TIMINGS_NAME).exists()
    assert load_model(packed.directory, None, allow_pickle=False).engine_kind == "original"


def test_a_model_whose_engine_is_off_is_packed_without_it(
    forest: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def off(self: CompiledEngine, columns: Columns, outputs: Sequence[str]) -> Columns:
        return {name: array[::-1] for name, array in answer(self, columns, outputs).items()}

    answer = CompiledEngine.predict
    monkeypatch.setattr(CompiledEngine, "predict", off)
    folder = forest.directory.parent
    packed = pack(folder / "model.skops", folder / "data.parquet", tmp_path / "b")
    (record,) = packed.manifest.engines
    assert (record.kind, record.file) == ("trees", "")
    assert "rows of the data" in record.reason
    assert sorted(os.listdir(packed.directory)) == sorted([*packed.manifest.files, MANIFEST_NAME])
    assert ENGINE_FILE not in packed.manifest.files


def test_a_server_that_needs_no_original_imports_no_scikit_learn(forest: Packed) -> None:
    script = (
        "import sys; from pathlib import Path; from tidegate_server.loader import load_model;"
        "from tidegate_server.golden import check_golden;"
        "model = load_model(Path(sys.argv[1]), None, allow_pickle=False);"
        "print(model.engine_kind, sorted({'sklearn', 'scipy', 'pandas', 'skops', 'joblib'} & set(sys.modules)))"
    )
    said = subprocess.run(
        [sys.executable, "-c", script, str(forest.directory)], check=True, capture_output=True, text=True
    ).stdout
    assert said.strip() == "trees []"


def test_a_bundle_of_an_older_release_loads(forest: Packed, tmp_path: Path) -> None:
    old = copy(forest, tmp_path / "b", engines=())
    assert b'"engines"' not in (old / MANIFEST_NAME).read_bytes()
    assert load_model(old, None, allow_pickle=False).engine_kind == "original"


def test_an_engine_of_a_later_release_is_passed_over(forest: Packed, tmp_path: Path) -> None:
    later = copy(forest, tmp_path / "b", engines=(EngineRecord(kind="quantum", file=ENGINE_FILE),))
    assert load_model(later, None, allow_pickle=False).engine_kind == "original"


def test_a_manifest_whose_engine_is_not_among_the_files_is_refused(forest: Packed) -> None:
    lost = msgspec.structs.replace(forest.manifest, engines=(EngineRecord(kind="trees", file="lost"),))
    with pytest.raises(ManifestError, match="engines: 'lost' is not among the files"):
        decode(encode(lost))


def _other_answers(content: bytes) -> bytes:
    """The same trees with their leaves in another order."""
    program = msgspec.msgpack.decode(content)
    values = np.frombuffer(program["model"]["values"], "<f8").reshape(-1, 3)
    program["model"]["values"] = np.ascontiguousarray(values[:, ::-1]).tobytes()
    return msgspec.msgpack.encode(program)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        pytest.param(lambda content: content[:-9], "the file does not parse", id="a broken file"),
        pytest.param(_other_answers, "differs from the answer it was packed with", id="other answers"),
    ],
)
def test_an_engine_that_cannot_be_used_leaves_the_model_itself(
    change: Any, why: str, forest: Packed, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = change((forest.directory / ENGINE_FILE).read_bytes())
    with caplog.at_level(logging.WARNING):
        loaded = load_model(copy(forest, tmp_path / "b", {ENGINE_FILE: content}), None, allow_pickle=False)
    assert (loaded.engine_kind, type(loaded.engine)) == ("original", ScikitEngine)
    (record,) = caplog.records
    assert record.message == "the compiled engine is not used"
    assert why in vars(record)["why"]


def test_an_engine_that_memory_does_not_suffice_for_leaves_the_model_itself(
    forest: Packed, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("tidegate_server.engines.compiled.load", exhausted)
    with caplog.at_level(logging.WARNING):
        assert load_model(forest.directory, None, allow_pickle=False).engine_kind == "original"
    assert vars(caplog.records[0])["why"] == "there is not enough memory for it"


def test_an_engine_with_a_wrong_digest_is_refused_as_any_file_is(forest: Packed, tmp_path: Path) -> None:
    bundle = copy(forest, tmp_path / "b")
    (bundle / ENGINE_FILE).write_bytes(_other_answers((bundle / ENGINE_FILE).read_bytes()))
    with pytest.raises(BundleError) as caught:
        load_model(bundle, None, allow_pickle=False)
    assert caught.value.failure.reason is FailureReason.DIGEST_MISMATCH


def test_an_engine_that_was_never_faster_is_not_loaded(forest: Packed, tmp_path: Path) -> None:
    slow = t.encode(Timings(rows=(1, 2), compiled=(9.0, 9.0), original=(8.0, 8.0)))
    bundle = copy(forest, tmp_path / "b", {TIMINGS_NAME: slow})
    assert load_model(bundle, None, allow_pickle=False).engine_kind == "original"


class Named:
    """An engine that answers with its name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def predict(self, columns: Columns, outputs: Sequence[str]) -> Columns:
        return {"predict": np.array([self.name] * len(columns["x"]))}


def _answers(engine: ChosenEngine, rows: int) -> str:
    return str(engine.predict({"x": np.zeros(rows)}, ("predict",))["predict"][0])


def test_many_rows_go_to_the_original_once_it_is_there() -> None:
    loads: list[int] = []
    engine = ChosenEngine(Named("compiled"), 16, lambda: loads.append(1) or Named("original"))  # type: ignore[func-returns-value]
    assert (_answers(engine, 16), loads) == ("compiled", [])
    assert _answers(engine, 17) == "compiled", "nobody waits for scikit-learn"
    engine.wait()
    assert (_answers(engine, 17), _answers(engine, 16), loads) == ("original", "compiled", [1])


def test_an_engine_without_a_limit_never_loads_the_original() -> None:
    engine = ChosenEngine(Named("compiled"), None, lambda: pytest.fail("it was loaded"))
    assert _answers(engine, 100_000) == "compiled"


def test_an_original_for_which_there_is_no_thread_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    engine = ChosenEngine(Named("compiled"), 16, lambda: Named("original"))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert _answers(engine, 17) == "compiled"
        engine.wait()
    assert [vars(record)["why"] for record in caplog.records] == ["can't start new thread"]
    assert _answers(engine, 17) == "compiled"
    engine.wait()
    assert _answers(engine, 17) == "original"


@pytest.mark.parametrize("error", [BundleError(FailureReason.LOAD_FAILED, "no skops here"), RuntimeError("a bug")])
def test_an_original_that_does_not_load_is_asked_for_once(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    loads: list[int] = []

    def fail() -> Named:
        loads.append(1)
        raise error

    engine = ChosenEngine(Named("compiled"), 16, fail)
    for _ in range(3):
        assert _answers(engine, 17) == "compiled"
        engine.wait()
    assert (loads, len(caplog.records)) == ([1], 1)


def test_the_limit_is_the_last_number_of_rows_before_the_first_loss() -> None:
    assert limit_of(None) == 16
    assert FIGURES.limit == 16
    assert msgspec.structs.replace(FIGURES, original=(100.0, 5.0, 1000.0)).limit == 1
    assert msgspec.structs.replace(FIGURES, original=(1.0, 5.0, 1000.0)).limit == 0
    assert msgspec.structs.replace(FIGURES, original=(1.0, 6.0, 9000.0)).limit == 0


def test_more_rows_than_were_measured_are_for_an_engine_that_is_clearly_faster() -> None:
    assert msgspec.structs.replace(FIGURES, original=(100.0, 100.0, 900.0)).limit == 4096
    assert msgspec.structs.replace(FIGURES, original=(100.0, 100.0, 1799.0)).limit == 4096
    assert msgspec.structs.replace(FIGURES, original=(100.0, 100.0, 1800.0)).limit is None


@pytest.mark.parametrize(
    "change",
    [
        {"rows": [1, 1, 4096]},
        {"rows": [0, 1, 2]},
        {"rows": []},
        {"compiled": [5.0, 6.0]},
        {"original": [5.0, -6.0, 1.0]},
        {"original": [5.0, "6", 1.0]},
        {"processor": "x" * 201},
        {"rows": "many"},
    ],
    ids=str,
)
def test_timings_that_cannot_be_meant_are_no_timings(change: dict[str, Any], forest: Packed, tmp_path: Path) -> None:
    content = json.dumps({**json.loads(t.encode(FIGURES)), **change}).encode()
    assert t.decode(content) is None
    bundle = copy(forest, tmp_path / "b", {TIMINGS_NAME: content})
    assert verify(bundle, None).timings() is None
    assert load_model(bundle, None, allow_pickle=False).engine_kind == "trees"


def test_timings_behind_a_link_or_too_long_are_no_timings(forest: Packed, tmp_path: Path) -> None:
    bundle = verify(copy(forest, tmp_path / "b"), None)
    path = bundle.directory / TIMINGS_NAME
    path.write_bytes(path.read_bytes() + b" " * t.MAX_TIMINGS_BYTES)
    assert bundle.timings() is None
    path.unlink()
    path.symlink_to(forest.directory / TIMINGS_NAME)
    assert bundle.timings() is None


def test_timings_travel_in_an_image_and_through_the_fetcher(forest: Packed, tmp_path: Path) -> None:
    bundle = verify(copy(forest, tmp_path / "b"), None)
    file = io.BytesIO()
    write_layer(bundle, file)
    with tarfile.open(fileobj=io.BytesIO(file.getvalue())) as tar:
        tar.extractall(tmp_path / "mounted", filter="data")
    (tmp_path / "volume").mkdir()
    _move(bundle, tmp_path / "volume")
    for there in ("mounted", "volume"):
        assert verify(tmp_path / there, bundle.digest).timings() == verify(forest.directory, None).timings()
        assert sorted(os.listdir(tmp_path / there)) == sorted([*bundle.manifest.files, MANIFEST_NAME, TIMINGS_NAME])


def test_timings_that_cannot_be_used_stay_behind(forest: Packed, tmp_path: Path) -> None:
    bundle = verify(copy(forest, tmp_path / "b", {TIMINGS_NAME: b"{}"}), None)
    file = io.BytesIO()
    write_layer(bundle, file)
    with tarfile.open(fileobj=io.BytesIO(file.getvalue())) as tar:
        assert TIMINGS_NAME not in tar.getnames()
