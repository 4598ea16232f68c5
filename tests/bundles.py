"""Bundles for tests: one of bytes alone for what looks at bytes, and small real models for what runs them."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tidegate_contract.bundle.datatypes import Datatype
from tidegate_contract.bundle.manifest import (
    MANIFEST_NAME,
    SCHEMA_VERSION,
    Environment,
    FileEntry,
    Format,
    GoldenRows,
    Manifest,
    Signature,
    TensorSpec,
    digest_of,
    encode,
)

SIGNATURE = Signature(
    inputs=(TensorSpec("carrier", Datatype.BYTES, (-1,)), TensorSpec("delay", Datatype.FP64, (-1,))),
    outputs=(
        TensorSpec("predict", Datatype.INT64, (-1,)),
        TensorSpec("predict_proba", Datatype.FP64, (-1, 2), labels=(0, 1)),
    ),
)

GOLDEN = GoldenRows(
    inputs={"carrier": ("UA", "AA", None, "DL", "UA"), "delay": (1.5, None, 30.0, -4.0, 0.0)},
    outputs={
        "predict": (0, 0, 1, 0, 0),
        "predict_proba": ((0.9, 0.1), (0.8, 0.2), (0.25, 0.75), (1.0, 0.0), (0.5, 0.5)),
    },
)

FILES = {"model.skops": b"not a model, only bytes", "extra/notes.txt": b"a second file"}


def manifest(**changes: Any) -> Manifest:
    """A manifest of FILES in which everything is right, except for what is changed."""
    fields: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "name": "flights",
        "format": Format.SKLEARN_SKOPS,
        "model_file": "model.skops",
        "files": {
            path: FileEntry(hashlib.sha256(content).hexdigest(), len(content)) for path, content in FILES.items()
        },
        "signature": SIGNATURE,
        "golden": GOLDEN,
        "environment": Environment("3.11.0", {"scikit-learn": "1.9.0"}, "Linux", "x86_64"),
    }
    return Manifest(**{**fields, **changes})


def write_bundle(directory: Path, content: bytes | None = None) -> str:
    """Write FILES and a manifest (that of `manifest()`, or the given bytes); the bundle's digest."""
    for path, data in FILES.items():
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    content = encode(manifest()) if content is None else content
    (directory / MANIFEST_NAME).write_bytes(content)
    return digest_of(content)


def flights(rows: int = 200) -> pd.DataFrame:
    """A table of every kind of column, some of them with missing values, and two targets."""
    random = np.random.default_rng(7)
    frame = pd.DataFrame(
        {
            "carrier": random.choice(["AA", "DL", "UA"], rows),
            "delay": random.normal(10, 20, rows).round(1),
            "hour": random.integers(0, 24, rows),
            "weekend": random.integers(0, 2, rows) > 0,
        }
    )
    frame.loc[::17, "delay"] = np.nan
    frame.loc[5::31, "carrier"] = None
    frame["late"] = np.where(frame["delay"].fillna(0) > 15, "late", "in time")
    frame["minutes"] = frame["delay"].fillna(0) * 1.5 + frame["hour"]
    return frame


def classifier(frame: pd.DataFrame) -> Any:
    """A pipeline over text, numbers and booleans that predicts `late`."""
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["carrier"]),
        (make_pipeline(SimpleImputer(), StandardScaler()), ["delay", "hour"]),
        ("passthrough", ["weekend"]),
    )
    features = frame[["carrier", "delay", "hour", "weekend"]]
    return make_pipeline(columns, LogisticRegression()).fit(features, frame["late"])


def regressor(frame: pd.DataFrame) -> Any:
    """A boosting model over numbers that predicts `minutes`; it takes missing values as they are."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(max_iter=5).fit(frame[["delay", "hour"]], frame["minutes"])
