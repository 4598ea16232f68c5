"""JSON values to numpy arrays and back, one datatype at a time.

Pure. The request codec, the golden rows and `pack` all go through here, so that a value
means the same thing on the wire, in a manifest and inside an engine:

    FP32, FP64      null is NaN
    BYTES           an object array of str; null is None
    INT*, UINT*     exact, in range; no null (a column with missing values is FP64)
    BOOL            true or false
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from tidegate_contract.bundle.datatypes import Datatype
from tidegate_contract.bundle.manifest import Signature, SignatureKind

Array = np.ndarray[Any, np.dtype[Any]]
Columns = dict[str, Array]
"""Tensors by name: inputs of shape [n], outputs of shape [n] or [n, k]."""


Table = Mapping[str, Array | list[Any]]
"""Columns, or their values as plain lists: of a few rows those are a tenth of the work."""


def gather(tables: Sequence[Table], dtypes: Mapping[str, np.dtype[Any]]) -> Columns:
    """One table of all of them, one after another. Each has all the columns of `dtypes`, with values of that type."""
    return {name: _gathered([table[name] for table in tables], dtype) for name, dtype in dtypes.items()}


def _gathered(parts: Sequence[Array | list[Any]], dtype: np.dtype[Any]) -> Array:
    first = parts[0]
    if len(parts) == 1:
        return np.array(first, dtype) if isinstance(first, list) else first
    lists = [part for part in parts if isinstance(part, list)]
    if len(lists) == len(parts):
        return np.array(list(chain.from_iterable(lists)), dtype)
    return np.concatenate([np.asarray(part, dtype) for part in parts])


def as_table(tensors: Columns, signature: Signature) -> Columns:
    """The columns of a request's tensors, each of shape [n]."""
    if signature.kind is SignatureKind.COLUMNS:
        return tensors
    by_column = np.ascontiguousarray(tensors[signature.tensor].T)
    return {spec.name: column for spec, column in zip(signature.inputs, by_column, strict=True)}


def rows_of(columns: Columns) -> int:
    """How many rows a table of at least one column has."""
    return len(next(iter(columns.values())))


class TensorError(ValueError):
    """Values that are not of their datatype; the message names neither the values nor the column."""


_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "b": (bool,),
    "i": (int,),
    "u": (int,),
    "f": (int, float, type(None)),
    "O": (str, type(None)),
}


def from_values(datatype: Datatype, values: Sequence[object]) -> Array:
    """A flat array of shape [len(values)].

    Raises TensorError for a value of another type or out of range.
    """
    kind = datatype.dtype.kind
    allowed = _PYTHON_TYPES[kind]
    for value in values:
        if not isinstance(value, allowed) or (isinstance(value, bool) and kind != "b"):
            raise TensorError(_explain(datatype, value))
    if kind == "O":
        array = np.empty(len(values), dtype=np.object_)
        array[:] = values
        return array
    try:
        with np.errstate(over="ignore"):
            array = np.array(values, dtype=datatype.dtype)
    except OverflowError as error:
        raise TensorError(f"{datatype} holds a number that is out of range") from error
    if kind == "f" and bool(np.isinf(array).any()):
        raise TensorError(f"{datatype} holds a number that is out of range")
    return array


def _explain(datatype: Datatype, value: object) -> str:
    if value is None:
        return f"{datatype} has no missing values, and null was given; null is for FP32, FP64 and BYTES"
    names = {"b": "true or false", "i": "whole numbers", "u": "whole numbers", "f": "numbers or null", "O": "strings"}
    found = {bool: "a boolean", int: "a number", float: "a fraction", str: "a string"}
    return f"{datatype} takes {names[datatype.dtype.kind]}, and {found.get(type(value), 'something else')} was given"


def to_values(array: Array) -> list[Any]:
    """Python values of an array, nested as the array is, ready for JSON.

    NaN becomes None. Infinities stay; whoever must not send them checks first.
    """
    if array.dtype.kind == "f":
        missing = np.isnan(array)
        if bool(missing.any()):
            boxed = array.astype(np.object_)
            boxed[missing] = None
            return boxed.tolist()  # type: ignore[no-any-return]
    return array.tolist()  # type: ignore[no-any-return]


def conform(array: Array, datatype: Datatype) -> Array | None:
    """The array in the type that a signature asks for; None where that could change a value's meaning.

    What numpy casts safely is fine (INT32 for INT64, whole numbers for FP64), and so is any float for any float.
    """
    if array.dtype == datatype.dtype:
        return array
    if datatype is Datatype.BYTES:
        return None  # numpy would call it safe to cast a number to an object
    both_float = array.dtype.kind == "f" and datatype.is_float
    if array.dtype.kind in "iuf" and (both_float or np.can_cast(array.dtype, datatype.dtype, "safe")):
        with np.errstate(over="ignore"):
            return array.astype(datatype.dtype)
    return None
