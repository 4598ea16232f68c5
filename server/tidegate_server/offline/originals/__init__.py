"""The model that is to be packed: read, and asked what it takes and gives. One file for each kind of model.

scikit.py     an estimator or a pipeline, saved by skops or joblib
onnx.py       an .onnx file
written.py    a folder with a class in model.py
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from tidegate_contract.bundle.datatypes import datatype_of
from tidegate_contract.bundle.manifest import Format, Signature, TensorSpec, Value
from tidegate_server.engines import PREDICT_PROBA
from tidegate_server.offline.errors import ModelError, PackError
from tidegate_server.tensors import Columns

PICKLES = (".joblib", ".pkl", ".pickle")


class Original(Protocol):
    """A model in memory."""

    @property
    def format(self) -> Format: ...
    @property
    def model_file(self) -> str: ...
    @property
    def contents(self) -> Mapping[str, bytes]:
        """The files of the bundle that it is read from, by their paths there."""
        ...

    @property
    def trusted_types(self) -> tuple[str, ...]: ...
    @property
    def inner_names(self) -> Mapping[str, str]: ...
    @property
    def libraries(self) -> tuple[str, ...]:
        """What it was packed with."""
        ...

    @property
    def estimator(self) -> Any:
        """What an engine may be compiled from; None if there is no such thing."""
        ...

    def features(self, frame: pd.DataFrame, target: str | None) -> pd.DataFrame:
        """The columns that the model takes, in its order. Raises ModelError if the data lacks one."""
        ...

    def signature(self, rows: pd.DataFrame, tensor: str) -> Signature:
        """The inputs, without outputs. `tensor`: the name of one input for all columns; empty to leave it to the model.

        Raises ModelError, TableError.
        """
        ...

    def ask(self, rows: pd.DataFrame, signature: Signature) -> Columns:
        """The model's own answers. Raises ModelError if it cannot answer."""
        ...

    def outputs(self, answers: Columns) -> tuple[TensorSpec, ...]:
        """The outputs that the answers stand for. Raises ModelError for what an answer cannot carry."""
        ...

    def describe(self) -> str:
        """What kind of a model it is, in a few words."""
        ...


def read(path: Path, *, allow_pickle: bool, trust: Sequence[str]) -> Original:
    """The model in a file or a folder. Raises ModelError, PackError."""
    suffix = path.suffix.lower()
    if path.is_dir():
        from tidegate_server.offline.originals.written import Written

        return Written(path)
    if suffix == ".onnx":
        from tidegate_server.offline.originals.onnx import Onnx

        return Onnx(_content(path))
    if suffix in PICKLES and not allow_pickle:
        raise ModelError(
            f"{path.name} is a pickle, and reading one runs code of its author: either save the model with "
            "skops.io.dump and pack that, or add --allow-pickle if you trust every writer of it"
        )
    if suffix not in (".skops", *PICKLES):
        raise ModelError(
            f"{path.name}: give a model as .skops or .onnx, as .joblib with --allow-pickle, or as a folder with a "
            "class in model.py"
        )
    from tidegate_server.offline.originals.scikit import Estimator

    return Estimator(_content(path), Format.SKLEARN_JOBLIB if suffix in PICKLES else Format.SKLEARN_SKOPS, trust)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PackError(f"{path} cannot be read: {error.strerror}") from error


def without(frame: pd.DataFrame, target: str | None) -> pd.DataFrame:
    """All columns but the one that is predicted. Raises ModelError if there is no such column."""
    if target is not None and target not in frame.columns:
        raise ModelError(f"the data has no column {target!r}; it has {', '.join(map(str, frame.columns))}")
    rest = frame.drop(columns=[target] if target is not None else [])
    if not len(rest.columns):
        raise ModelError("the data has no column for the model to take")
    return rest


def named(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """These columns. Raises ModelError if one is not there."""
    if missing := [name for name in names if name not in frame.columns]:
        raise ModelError(f"the model was trained on columns that the data lacks: {', '.join(missing)}")
    return frame[list(names)]


def counted(frame: pd.DataFrame, wanted: int) -> pd.DataFrame:
    """The same. Raises ModelError for another number of columns than the model takes."""
    if wanted != len(frame.columns):
        raise ModelError(
            f"the model takes {wanted} columns and the data has {len(frame.columns)}; "
            "name the column to predict with --target, and leave out what the model was not trained on"
        )
    return frame


def checked(answers: Columns, rows: int) -> Columns:
    """The same. Raises ModelError for one that has not a row for each that was asked, or that no answer can carry."""
    if wrong := [name for name, array in answers.items() if array.ndim < 1 or len(array) != rows]:
        raise ModelError(f"the model's answer {wrong[0]!r} has not one row for each row that it was asked")
    specs_of(answers, ())
    return answers


def specs_of(answers: Columns, labels: Sequence[Value]) -> tuple[TensorSpec, ...]:
    """The outputs that answers stand for; the labels are those of `predict_proba`.

    Raises ModelError for what an answer cannot carry.
    """
    specs = []
    for name, array in answers.items():
        datatype = datatype_of(array.dtype)
        if datatype is None or not 1 <= array.ndim <= 2:
            said = f"{array.dtype}" if datatype is None else f"an array of {array.ndim} dimensions"
            raise ModelError(f"{name} answers with {said}, which an answer cannot carry")
        specs.append(TensorSpec(name, datatype, (-1, *array.shape[1:]), tuple(labels) if name == PREDICT_PROBA else ()))
    return tuple(specs)
