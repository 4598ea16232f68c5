"""A table of examples: read from a file, and turned into the columns of a signature."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tidegate_contract.bundle.datatypes import Datatype, datatype_of
from tidegate_contract.bundle.manifest import Signature, SignatureKind, TensorSpec
from tidegate_server.offline.errors import ModelError, TableError
from tidegate_server.tensors import Array, Columns, TensorError, from_values

ASKED_AT_ONCE = 10_000


def read_table(path: Path) -> pd.DataFrame:
    """A .parquet or .csv file. Raises TableError."""
    try:
        match path.suffix.lower():
            case ".parquet":
                return pd.read_parquet(path)
            case ".csv":
                return pd.read_csv(path)
    except FileNotFoundError as error:
        raise TableError(f"there is no file {path}") from error
    except (ValueError, OSError) as error:
        raise TableError(f"{path.name} cannot be read: {' '.join(str(error).split())[:300]}") from error
    raise TableError(f"{path.name}: give the data as .parquet or .csv")


def spread(count: int, at_most: int) -> Array:
    """So many positions of `count` rows, from the first to the last in even steps, ascending."""
    return np.linspace(0, count - 1, min(count, at_most)).astype(int)


def ask_in_parts(
    rows: pd.DataFrame, ask: Callable[[pd.DataFrame], Columns], progress: Callable[[float], None] = lambda share: None
) -> Columns:
    """The answers to all rows, of which no more than ASKED_AT_ONCE are asked together.

    `progress` is told the share that is answered. Raises ModelError where they do not have the same
    outputs, and whatever `ask` raises.
    """
    parts = []
    for start in range(0, len(rows), ASKED_AT_ONCE):
        progress(start / len(rows))
        parts.append(ask(rows.iloc[start : start + ASKED_AT_ONCE]))
        if parts[-1].keys() != parts[0].keys():
            raise ModelError("the model has other outputs for some rows than for others")
    return {output: np.concatenate([part[output] for part in parts]) for output in parts[0]}


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def column_specs(frame: pd.DataFrame) -> tuple[TensorSpec, ...]:
    """The inputs that the columns of a data frame stand for.

    Raises TableError for a type that JSON has no form for.
    """
    return tuple(TensorSpec(str(name), _datatype(frame[name]), (-1,)) for name in frame.columns)


def signature_of(frame: pd.DataFrame, tensor: str = "") -> Signature:
    """The inputs that a data frame stands for, without outputs; all in one of a name, if `tensor` gives it.

    Raises TableError, also for columns that no one tensor can hold.
    """
    specs = column_specs(frame)
    if not tensor:
        return Signature(specs, ())
    text = [spec.name for spec in specs if spec.datatype is Datatype.BYTES]
    if text and len(text) < len(specs):
        raise TableError(f"column {text[0]!r} is text and others are not, which no one tensor can hold")
    common = datatype_of(np.result_type(*(spec.datatype.dtype for spec in specs)))
    if common is None:
        raise TableError("the columns have no common type that a tensor could have")
    return Signature(tuple(TensorSpec(spec.name, common, (-1,)) for spec in specs), (), SignatureKind.TENSOR, tensor)


def _datatype(series: "pd.Series[Any]") -> Datatype:
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype | pd.StringDtype) or dtype == np.dtype(object):
        return _text(series)
    kind = getattr(dtype, "kind", "")
    if isinstance(dtype, pd.api.extensions.ExtensionDtype):
        if kind == "b" and not series.hasnans:
            return Datatype.BOOL
        if kind in "iu":
            return Datatype.FP64 if series.hasnans else Datatype(str(dtype.name).upper())
        if kind == "f":
            return Datatype.FP64
    known = datatype_of(dtype) if isinstance(dtype, np.dtype) else None
    if known is None:
        raise TableError(
            f"column {series.name!r} is {dtype}, which a request cannot carry; turn it into numbers or text "
            "before the model is trained"
        )
    return known


def _text(series: "pd.Series[Any]") -> Datatype:
    present = series[~series.isna()]
    if not present.map(lambda value: isinstance(value, str)).all():
        raise TableError(
            f"column {series.name!r} mixes text with something else; make it all text or all numbers "
            "before the model is trained"
        )
    return Datatype.BYTES


def to_columns(frame: pd.DataFrame, specs: Sequence[TensorSpec]) -> Columns:
    """The columns as an engine takes them, shape [rows] each.

    Raises TableError for a value that its column's type cannot hold.
    """
    return {spec.name: _array(frame[spec.name], spec) for spec in specs}


def _numbers(series: "pd.Series[Any]", spec: TensorSpec) -> Array:
    """Numbers or truth values, each of them the same as in the series; to FP32 they may be rounded."""
    given = series.to_numpy()
    if given.dtype.kind == "O" and pd.api.types.is_numeric_dtype(series):  # with missing values in pandas' own types
        given = series.to_numpy(dtype=np.float64, na_value=np.nan)
    dtype = spec.datatype.dtype
    said = f"column {spec.name!r} holds a value that is no {spec.datatype}, which the model takes"
    if given.dtype.kind not in "biuf":
        raise TableError(f"{said}; turn it into numbers")
    with np.errstate(invalid="ignore", over="ignore"):
        array = given.astype(dtype)
        if dtype.kind != "f":
            same = bool((array == given).all())
        else:
            same = given.dtype.kind == "f" or dtype == np.float32 or bool((array.astype(given.dtype) == given).all())
    if not same:
        raise TableError(f"{said}; fill in what is missing, or correct it")
    return array


def _array(series: "pd.Series[Any]", spec: TensorSpec) -> Array:
    if spec.datatype is not Datatype.BYTES:
        return _numbers(series, spec)
    try:
        return from_values(Datatype.BYTES, [None if pd.isna(value) else value for value in series.tolist()])
    except TensorError as error:
        raise TableError(f"column {spec.name!r}: {error}") from error
