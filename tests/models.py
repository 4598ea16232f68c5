"""Small real models for tests: trained, packed and pushed in a second."""

import hashlib
import json
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import skops.io
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from tidegate_server.offline.pack import pack

RULE = """
class Model:
    def load(self, directory):
        self.threshold = 0.1

    def predict(self, inputs):
        return {"predict": (inputs["x"] > self.threshold).astype(int)}
"""
FAULTY = """
import os
import random
import time

class Model:
    def load(self, directory):
        self.fails, self.takes = float(os.environ.get("FAILS", 0)), float(os.environ.get("TAKES", 0))
        self.begins = time.monotonic() + float(os.environ.get("AFTER", 0))

    def predict(self, inputs):
        if (inputs["x"] == -9.0).all():
            raise RuntimeError("an outage")
        if (inputs["x"] == 0.0).all() and time.monotonic() >= self.begins:
            time.sleep(self.takes)
            if random.random() < self.fails:
                raise RuntimeError("as it should")
        return {"predict": (inputs["x"] > 0.1).astype(int)}
"""
"""Answers its golden rows, none of which has x 0 or -9. From AFTER seconds on it takes TAKES seconds for those with 0,
and fails for a share FAILS of them; for those with -9 it fails always, and so does every other version of it."""
ROWS = pd.DataFrame({"x": np.linspace(-2.0, 2.0, 40), "y": np.tile([0.0, 1.0], 20)})


@dataclass(frozen=True)
class Bundle:
    directory: Path
    digest: str


def trained(threshold: float) -> LogisticRegression:
    """A classifier that says 1 where x is above a threshold."""
    found = LogisticRegression(C=1000.0)
    return found.fit(ROWS, (threshold < ROWS["x"]).astype(int))


def bundle(folder: Path, threshold: float = 0.1) -> Bundle:
    """A bundle of a classifier; another threshold is another version of it."""
    folder.mkdir(parents=True, exist_ok=True)
    skops.io.dump(trained(threshold), folder / "model.skops")
    packed = pack(folder / "model.skops", ROWS, folder / "bundle", name="small")
    return Bundle(packed.directory, packed.digest)


def pickled(folder: Path) -> Bundle:
    """A bundle that needs pickle."""
    folder.mkdir(parents=True, exist_ok=True)
    joblib.dump(trained(0.1), folder / "model.joblib")
    packed = pack(folder / "model.joblib", ROWS, folder / "bundle", name="small", allow_pickle=True)
    return Bundle(packed.directory, packed.digest)


def written(folder: Path, source: str = RULE) -> Bundle:
    """A bundle of a class with a rule instead of a model."""
    (folder / "small").mkdir(parents=True)
    (folder / "small" / "model.py").write_text(source)
    packed = pack(folder / "small", ROWS, folder / "bundle")
    return Bundle(packed.directory, packed.digest)


def converted(folder: Path) -> Bundle:
    """The bundle of the classifier as ONNX."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = ColumnTransformer([("all", "passthrough", list(ROWS))])  # ONNX has an input for each
    found = make_pipeline(columns, trained(0.1)).fit(ROWS, (ROWS["x"] > 0.1).astype(int))
    types = [(name, FloatTensorType([None, 1])) for name in ROWS]
    graph = to_onnx(found, initial_types=types, options={id(found): {"zipmap": False}})
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    packed = pack(folder / "model.onnx", ROWS, folder / "bundle", name="small")
    return Bundle(packed.directory, packed.digest)


def with_wrong_golden_answer(good: Bundle, folder: Path) -> Bundle:
    """A bundle whose digests are all right and whose model does not give the answers it was packed with."""

    def lie(manifest: dict[str, object]) -> None:
        golden = manifest["golden"]
        assert isinstance(golden, dict)
        answers = golden["outputs"]["predict"]
        golden["outputs"]["predict"] = [1 - answer for answer in answers]

    return _changed(good, folder, lie)


def that_cannot_be_loaded(good: Bundle, folder: Path) -> Bundle:
    """A bundle whose bytes are exactly those it names, and no model, nor an engine that could answer for it."""
    garbage = b"this is no model"

    def swap(manifest: dict[str, object]) -> None:
        files = manifest["files"]
        assert isinstance(files, dict)
        files["model.skops"] = {"sha256": hashlib.sha256(garbage).hexdigest(), "size": len(garbage)}
        del manifest["engines"]

    changed = _changed(good, folder, swap)
    _write(changed.directory / "model.skops", garbage)
    return changed


def _changed(good: Bundle, folder: Path, change: object) -> Bundle:
    assert callable(change)
    shutil.copytree(good.directory, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    text = json.dumps(manifest).encode()
    _write(folder / "manifest.json", text)
    return Bundle(folder, "sha256:" + hashlib.sha256(text).hexdigest())


def _write(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


def archive(found: Bundle, path: Path) -> Path:
    """The bundle as the tar that an https source holds."""
    with tarfile.open(path, "w:gz") as tar:
        for file in sorted(found.directory.rglob("*")):
            tar.add(file, file.relative_to(found.directory))
    return path
