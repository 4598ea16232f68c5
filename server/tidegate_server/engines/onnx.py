"""An ONNX model, by ONNX Runtime.

A file of ONNX holds numbers and operators that the runtime knows, and no code. It can name other files that numbers are
read from: not here.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime

from tidegate_contract.bundle.datatypes import Datatype
from tidegate_contract.bundle.manifest import Signature, SignatureKind
from tidegate_contract.bundle.verify import VerifiedBundle
from tidegate_contract.failure import BundleError, FailureReason
from tidegate_server.engines.errors import one_line
from tidegate_server.tensors import Array, Columns

_ERRORS_ONLY = 3
_OTHER_FILES = "session.model_external_initializers_file_folder_path"
DATATYPES = {
    "tensor(bool)": Datatype.BOOL,
    "tensor(int8)": Datatype.INT8,
    "tensor(int16)": Datatype.INT16,
    "tensor(int32)": Datatype.INT32,
    "tensor(int64)": Datatype.INT64,
    "tensor(uint8)": Datatype.UINT8,
    "tensor(uint16)": Datatype.UINT16,
    "tensor(uint32)": Datatype.UINT32,
    "tensor(uint64)": Datatype.UINT64,
    "tensor(float)": Datatype.FP32,
    "tensor(double)": Datatype.FP64,
    "tensor(string)": Datatype.BYTES,
}
"""The runtime's names."""


class OnnxEngine:
    """A session behind the names and types of a signature."""

    def __init__(self, session: Any, signature: Signature, inner_names: Mapping[str, str]) -> None:
        """`inner_names`: the model's own names of outputs, where the signature has others."""
        self._session = session
        self._feed = feeder(session, signature)
        self._inner = {spec.name: inner_names.get(spec.name, spec.name) for spec in signature.outputs}
        self._flat = {spec.name for spec in signature.outputs if len(spec.shape) == 1}

    def predict(self, columns: Columns, outputs: Sequence[str]) -> Columns:
        """See `Engine`."""
        found = self._session.run([self._inner[name] for name in outputs], self._feed(columns))
        named = zip(outputs, found, strict=True)
        return {name: flat(array) if name in self._flat else array for name, array in named}


def load(bundle: VerifiedBundle) -> OnnxEngine:
    """Raises BundleError LOAD_FAILED for anything that the runtime refuses."""
    manifest = bundle.manifest
    try:
        session = open_session(bundle.read(manifest.model_file))
        return OnnxEngine(session, manifest.signature, manifest.inner_names)
    except BundleError:
        raise
    except Exception as error:
        said = f"ONNX Runtime {onnxruntime.__version__} cannot read the model: {one_line(error)}"
        raise BundleError(FailureReason.LOAD_FAILED, said) from error


def open_session(content: bytes) -> Any:
    """A session of one thread (decision 0011). Raises whatever the runtime raises."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry(_OTHER_FILES, os.devnull)  # which is no folder: nothing is found there
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def feeder(session: Any, signature: Signature) -> Callable[[Columns], dict[str, Array]]:
    """A function from the columns to what the session takes.

    ONNX has no missing text: the model is given an empty one.
    """
    inputs = session.get_inputs()
    names = [spec.name for spec in signature.inputs]
    is_text = signature.inputs[0].datatype is Datatype.BYTES

    def one_tensor(columns: Columns) -> dict[str, Array]:
        matrix = np.column_stack([columns[name] for name in names])
        return {inputs[0].name: without_missing(matrix) if is_text else matrix}

    shapes = {given.name: (-1, 1) if len(given.shape) == 2 else (-1,) for given in inputs}

    def of_columns(columns: Columns) -> dict[str, Array]:
        given = {name: columns[name].reshape(shape) for name, shape in shapes.items()}
        return {name: without_missing(column) if column.dtype.kind == "O" else column for name, column in given.items()}

    return one_tensor if signature.kind is SignatureKind.TENSOR else of_columns


def flat(answer: Array) -> Array:
    """An answer of shape [n] or [n, 1] as [n]."""
    return answer[:, 0] if answer.ndim == 2 and answer.shape[1] == 1 else answer


def without_missing(texts: Array) -> Array:
    """Texts, with empty ones for those that are missing."""
    return np.where(texts == None, "", texts)  # noqa: E711 - of each element
