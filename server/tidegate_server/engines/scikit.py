"""scikit-learn itself: the engine that is right by definition.

The only module of the server that imports scikit-learn, pandas, skops or joblib, and it
does so when a model is loaded: importing them takes longer than everything else at start-up.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tidegate_contract.bundle.datatypes import Datatype
from tidegate_contract.bundle.manifest import Format, Signature
from tidegate_contract.bundle.verify import VerifiedBundle
from tidegate_contract.failure import BundleError, FailureReason
from tidegate_server.engines.errors import one_line
from tidegate_server.engines.trust import forbidden
from tidegate_server.tensors import Array, Columns


class ScikitEngine:
    """An estimator behind the names and types of a signature."""

    def __init__(self, model: Any, signature: Signature) -> None:
        self._model = model
        self._inputs = signature.inputs
        self._outputs = {spec.name: spec for spec in signature.outputs}
        self._frame = frame_builder({spec.name: spec.datatype for spec in signature.inputs}, named=_takes_names(model))

    def predict(self, columns: Columns, outputs: Sequence[str]) -> Columns:
        """See `Engine`. `predict` and `predict_proba` are two calls of the model, and only those wanted are made."""
        rows = self._frame([columns[spec.name] for spec in self._inputs])
        return {name: as_tensor(getattr(self._model, name)(rows), self._outputs[name].datatype) for name in outputs}


def load(bundle: VerifiedBundle) -> ScikitEngine:
    """Read the model out of a verified bundle.

    Raises BundleError LOAD_FAILED for anything the libraries refuse.
    """
    manifest = bundle.manifest
    content = bundle.read(manifest.model_file)
    if manifest.format is Format.SKLEARN_JOBLIB:
        model = _read_joblib(content)
    else:
        model = _read_skops(content, manifest.trusted_types)
    missing = [spec.name for spec in manifest.signature.outputs if not callable(getattr(model, spec.name, None))]
    if missing:
        raise BundleError(
            FailureReason.LOAD_FAILED, f"a {type(model).__name__} has no {', '.join(missing)}; pack the model again"
        )
    return ScikitEngine(model, manifest.signature)


def _read_skops(content: bytes, trusted: Sequence[str]) -> Any:
    if refused := forbidden(trusted):
        raise BundleError(
            FailureReason.LOAD_FAILED,
            f"the manifest allows {', '.join(refused)}, which no model may use; pack the model again without it",
        )
    import skops.io

    try:
        untrusted = set(skops.io.get_untrusted_types(data=content)) - set(trusted)
        if not untrusted:
            return skops.io.loads(content, trusted=list(trusted))
    except Exception as error:
        raise BundleError(FailureReason.LOAD_FAILED, f"skops cannot read the model: {one_line(error)}") from error
    raise BundleError(
        FailureReason.LOAD_FAILED,
        f"the model uses types that its manifest does not allow: {', '.join(sorted(untrusted))}; "
        "pack it again with --trust for each that you know",
    )


def _read_joblib(content: bytes) -> Any:
    import joblib

    try:
        return joblib.load(io.BytesIO(content))
    except Exception as error:
        raise BundleError(FailureReason.LOAD_FAILED, f"joblib cannot read the model: {one_line(error)}") from error


def _takes_names(model: Any) -> bool:
    """Whether the model was fitted on a data frame. One that was not warns about every named column."""
    return getattr(model, "feature_names_in_", None) is not None


def frame_builder(datatypes: Mapping[str, Datatype], *, named: bool) -> Callable[[Sequence[Array]], Any]:
    """A function from the columns, in the signature's order, to what the model was fitted on.

    `named`: a data frame, with text as pandas' own `str` type; otherwise an array of shape [n, columns],
    of floats unless there is text.
    """
    import numpy as np
    import pandas as pd

    names = list(datatypes)
    text = [datatype is Datatype.BYTES for datatype in datatypes.values()]

    def frame(columns: Sequence[Array]) -> Any:
        # Copies: a model may write into what it is given, and these are counted afterwards.
        typed = [pd.array(c, dtype="str") if is_text else c.copy() for c, is_text in zip(columns, text, strict=True)]
        return pd.DataFrame(dict(zip(names, typed, strict=True)), copy=False)

    def matrix(columns: Sequence[Array]) -> Any:
        return np.column_stack(columns) if any(text) else np.column_stack([c.astype(np.float64) for c in columns])

    return frame if named else matrix


def as_tensor(answer: Any, datatype: Datatype) -> Array:
    """A model's answer as an array of the signature's type."""
    import numpy as np

    array = np.asarray(answer)
    return array if array.dtype == datatype.dtype else array.astype(datatype.dtype)
