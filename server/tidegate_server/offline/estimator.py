"""The model that is to be packed: read, and asked what it takes and gives."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tidegate_contract.bundle.datatypes import datatype_of
from tidegate_contract.bundle.manifest import Format, TensorSpec
from tidegate_server.engines import PREDICT, PREDICT_PROBA
from tidegate_server.engines.trust import forbidden, unknown
from tidegate_server.offline.errors import EstimatorError
from tidegate_server.tensors import Columns, to_values

_PICKLES = (".joblib", ".pkl", ".pickle")


def format_of(path: Path, *, allow_pickle: bool) -> Format:
    """The format that a file name stands for. Raises EstimatorError."""
    suffix = path.suffix.lower()
    if suffix == ".skops":
        return Format.SKLEARN_SKOPS
    if suffix not in _PICKLES:
        raise EstimatorError(f"{path.name}: give a model as .skops, or as .joblib with --allow-pickle")
    if not allow_pickle:
        raise EstimatorError(
            f"{path.name} is a pickle, and reading one runs code of its author: either save the model with "
            "skops.io.dump and pack that, or add --allow-pickle if you trust every writer of it"
        )
    return Format.SKLEARN_JOBLIB


def types_to_allow(content: bytes, trusted: Sequence[str]) -> tuple[str, ...]:
    """The types of a skops file that the manifest has to allow, sorted.

    Raises EstimatorError for one that is neither ordinary nor among `trusted`, or that nobody may trust.
    """
    import skops.io

    try:
        types = skops.io.get_untrusted_types(data=content)
    except Exception as error:
        raise EstimatorError(f"this is not a skops file: {type(error).__name__}") from error
    if refused := forbidden(types):
        raise EstimatorError(f"the model uses {', '.join(refused)}, which no model may use; save it without")
    if left := sorted(set(unknown(types)) - set(trusted)):
        flags = " ".join(f"--trust {name}" for name in left)
        raise EstimatorError(f"the model uses types that are not known to be safe; if you know them, add {flags}")
    return tuple(sorted(types))


def read_model(content: bytes, model_format: Format, trusted: Sequence[str]) -> Any:
    """The estimator. Raises EstimatorError."""
    import io

    import joblib
    import skops.io

    try:
        if model_format is Format.SKLEARN_JOBLIB:
            model = joblib.load(io.BytesIO(content))
        else:
            model = skops.io.loads(content, trusted=list(trusted))
    except Exception as error:
        raise EstimatorError(f"the model cannot be read: {type(error).__name__}: {error}") from error
    if not callable(getattr(model, PREDICT, None)):
        raise EstimatorError(
            f"a {type(model).__name__} has no predict; pack an estimator or a pipeline that ends in one"
        )
    return model


def features(model: Any, frame: pd.DataFrame, target: str | None) -> pd.DataFrame:
    """The columns that the model takes, in its order.

    Raises EstimatorError if the data lacks one.
    """
    if target is not None and target not in frame.columns:
        raise EstimatorError(f"the data has no column {target!r}; it has {', '.join(map(str, frame.columns))}")
    names = getattr(model, "feature_names_in_", None)
    if names is not None:
        if missing := [str(name) for name in names if name not in frame.columns]:
            raise EstimatorError(f"the model was trained on columns that the data lacks: {', '.join(missing)}")
        return frame[list(names)]
    rest = frame.drop(columns=[target] if target is not None else [])
    wanted = getattr(model, "n_features_in_", len(rest.columns))
    if wanted != len(rest.columns):
        raise EstimatorError(
            f"the model takes {wanted} columns and the data has {len(rest.columns)}; "
            "name the column to predict with --target, and leave out what the model was not trained on"
        )
    return rest


def ask(model: Any, rows: pd.DataFrame) -> Columns:
    """The model's own answers: `predict`, and `predict_proba` if it has one matrix of them.

    Raises EstimatorError if the model raises.
    """
    given: Any = rows if getattr(model, "feature_names_in_", None) is not None else rows.to_numpy()
    try:
        answers = {PREDICT: np.asarray(model.predict(given))}
        if callable(getattr(model, PREDICT_PROBA, None)):
            matrix = model.predict_proba(given)
            if isinstance(matrix, np.ndarray):
                answers[PREDICT_PROBA] = matrix
    except Exception as error:
        raise EstimatorError(f"the model cannot answer the data: {type(error).__name__}: {error}") from error
    return answers


def output_specs(model: Any, answers: Columns) -> tuple[TensorSpec, ...]:
    """The outputs that the answers stand for. Raises EstimatorError for a type that JSON has no form for."""
    specs = []
    for name, array in answers.items():
        datatype = datatype_of(array.dtype)
        if datatype is None or array.ndim > 2:
            raise EstimatorError(f"{name} answers with {array.dtype}, which an answer cannot carry")
        labels = to_values(np.asarray(model.classes_)) if name == PREDICT_PROBA else []
        specs.append(TensorSpec(name, datatype, (-1, *array.shape[1:]), tuple(labels)))
    return tuple(specs)


def describe(model: Any) -> str:
    """The class of a model, or of each step of a pipeline.

    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn.linear_model import Ridge
    >>> describe(make_pipeline(StandardScaler(), Ridge()))
    'StandardScaler -> Ridge'
    """
    steps = getattr(model, "steps", None)
    if not steps:
        return type(model).__name__
    return " -> ".join(step if isinstance(step, str) else type(step).__name__ for _, step in steps)
