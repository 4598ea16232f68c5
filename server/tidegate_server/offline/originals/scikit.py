"""A scikit-learn model that is to be packed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tidegate_contract.bundle.manifest import Format, Signature, TensorSpec
from tidegate_server.engines import PREDICT, PREDICT_PROBA
from tidegate_server.engines.trust import forbidden, unknown
from tidegate_server.offline.errors import ModelError
from tidegate_server.offline.originals import counted, named, specs_of, without
from tidegate_server.offline.table import signature_of
from tidegate_server.tensors import Columns, to_values

_LIBRARIES = ("numpy", "pandas", "scikit-learn", "scipy")


class Estimator:
    """See `Original`."""

    inner_names: Mapping[str, str] = {}

    def __init__(self, content: bytes, model_format: Format, trust: Sequence[str]) -> None:
        """Raises ModelError."""
        saved_by = "skops" if model_format is Format.SKLEARN_SKOPS else "joblib"
        self.format = model_format
        self.model_file = f"model.{saved_by}"
        self.contents = {self.model_file: content}
        self.trusted_types = types_to_allow(content, trust) if model_format is Format.SKLEARN_SKOPS else ()
        self.libraries = (*_LIBRARIES, saved_by)
        self.estimator = read_model(content, model_format, self.trusted_types)

    def features(self, frame: pd.DataFrame, target: str | None) -> pd.DataFrame:
        rest = without(frame, target)
        names = getattr(self.estimator, "feature_names_in_", None)
        if names is not None:
            return named(frame, list(map(str, names)))
        return counted(rest, getattr(self.estimator, "n_features_in_", len(rest.columns)))

    def signature(self, rows: pd.DataFrame, tensor: str) -> Signature:
        return signature_of(rows, tensor)

    def ask(self, rows: pd.DataFrame, signature: Signature) -> Columns:
        return ask(self.estimator, rows)

    def outputs(self, answers: Columns) -> tuple[TensorSpec, ...]:
        return output_specs(self.estimator, answers)

    def describe(self) -> str:
        return describe(self.estimator)


def types_to_allow(content: bytes, trusted: Sequence[str]) -> tuple[str, ...]:
    """The types of a skops file that the manifest has to allow, sorted.

    Raises ModelError for one that is neither ordinary nor among `trusted`, or that nobody may trust.
    """
    import skops.io

    try:
        types = skops.io.get_untrusted_types(data=content)
    except Exception as error:
        raise ModelError(f"this is not a skops file: {type(error).__name__}") from error
    if refused := forbidden(types):
        raise ModelError(f"the model uses {', '.join(refused)}, which no model may use; save it without")
    if left := sorted(set(unknown(types)) - set(trusted)):
        flags = " ".join(f"--trust {name}" for name in left)
        raise ModelError(f"the model uses types that are not known to be safe; if you know them, add {flags}")
    return tuple(sorted(types))


def read_model(content: bytes, model_format: Format, trusted: Sequence[str]) -> Any:
    """The estimator. Raises ModelError."""
    import io

    import joblib
    import skops.io

    try:
        if model_format is Format.SKLEARN_JOBLIB:
            model = joblib.load(io.BytesIO(content))
        else:
            model = skops.io.loads(content, trusted=list(trusted))
    except Exception as error:
        raise ModelError(f"the model cannot be read: {type(error).__name__}: {error}") from error
    if not callable(getattr(model, PREDICT, None)):
        raise ModelError(f"a {type(model).__name__} has no predict; pack an estimator or a pipeline that ends in one")
    return model


def ask(model: Any, rows: pd.DataFrame) -> Columns:
    """The model's own answers: `predict`, and `predict_proba` if it has one matrix of them.

    Raises ModelError if the model raises.
    """
    given: Any = rows if getattr(model, "feature_names_in_", None) is not None else rows.to_numpy()
    try:
        answers = {PREDICT: np.asarray(model.predict(given))}
        if callable(getattr(model, PREDICT_PROBA, None)):
            matrix = model.predict_proba(given)
            if isinstance(matrix, np.ndarray):
                answers[PREDICT_PROBA] = matrix
    except Exception as error:
        raise ModelError(f"the model cannot answer the data: {type(error).__name__}: {error}") from error
    return answers


def output_specs(model: Any, answers: Columns) -> tuple[TensorSpec, ...]:
    """The outputs that the answers stand for. Raises ModelError for a type that JSON has no form for."""
    labels = to_values(np.asarray(model.classes_)) if PREDICT_PROBA in answers else []
    return specs_of(answers, labels)


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
