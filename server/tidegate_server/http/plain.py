"""The usual request, at a tenth of the work: a few rows as JSON in the signature's own types, and nothing special.

What it takes it takes as the codec would, and its answers are those of the codec; whatever it does not know, or is
wrong, it leaves to the codec, which has the words for that. Values stay plain lists until a predict wants them as
arrays, and all who were answered by one predict share the work of making lists of its answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from tidegate_contract.bundle.datatypes import Datatype
from tidegate_contract.bundle.manifest import Signature, TensorSpec
from tidegate_server.batch import Share
from tidegate_server.outputs import check_finite
from tidegate_server.tensors import Table

MAX_ROWS = 64
_INT64 = np.iinfo(np.int64)
_ELEMENTS: dict[str, Any] = {
    "f": float | None,
    "i": Annotated[int, msgspec.Meta(ge=int(_INT64.min), le=int(_INT64.max))],
    "b": bool,
    "O": str | None,
}
_TYPES: dict[str, frozenset[type]] = {
    "f": frozenset({float, int, type(None)}),
    "i": frozenset({int}),
    "b": frozenset({bool}),
    "O": frozenset({str, type(None)}),
}
_encode = msgspec.json.Encoder(enc_hook=str).encode


@dataclass(frozen=True, slots=True)
class PlainRequest:
    """A request that matches the signature; every input of it as a list of values."""

    id: str | None
    table: Table
    outputs: tuple[str, ...]
    rows: int
    raw: frozenset[str] = frozenset()
    explain: bool = False
    """As of any request; one that asks for either is not usual."""


class Plain:
    """Both ways for one model."""

    def __init__(self, model: str, version: str, signature: Signature) -> None:
        self._wants = {spec.name: _Want(spec) for spec in signature.inputs}
        self._names = list(self._wants)
        self._tensor = signature.tensor
        self._decode = _decoder(list(self._wants.values()), in_one=bool(self._tensor)).decode
        self._table = self._of_one_tensor if self._tensor else self._of_columns
        kinds = {want.kind for want in self._wants.values()}
        self._unsure = [
            (name, want.takes) for name, want in self._wants.items() if len(kinds) > 1 or want.low is not None
        ]
        """Columns whose values the decoder alone does not vouch for."""
        self._datatypes = {name: want.datatype for name, want in self._wants.items()}
        self._one_datatype = len(set(self._datatypes.values())) == 1
        self._all = tuple(spec.name for spec in signature.outputs)
        self._outputs = {spec.name: spec for spec in signature.outputs}
        self.values = sum(prod(spec.shape[1:]) for spec in signature.outputs)
        """Of all outputs, for each row."""
        self._head = _encode({"model_name": model, "model_version": version})[:-1]
        self._before: dict[tuple[str, int], bytes] = {}

    def decode(self, body: bytes) -> PlainRequest | None:
        """None for everything that is not usual, and for whatever is wrong."""
        try:
            request = self._decode(body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return None
        table, outputs = self._table(request.inputs), self._all
        if table is None or (self._unsure and not all(takes(table[name]) for name, takes in self._unsure)):
            return None
        if request.outputs:
            outputs = tuple(output.name for output in request.outputs)
            if len(set(outputs)) != len(outputs) or not self._outputs.keys() >= set(outputs):
                return None
        return PlainRequest(request.id, table, outputs, len(table[self._names[0]]))

    def _of_columns(self, inputs: Sequence[Any]) -> dict[str, list[Any]] | None:
        """The table of an input for each column."""
        rows = len(inputs[0].data)
        flat, tall = [rows], [rows, 1]
        table: dict[str, list[Any]] = {}
        for tensor in inputs:
            data, shape = tensor.data, tensor.shape
            if len(data) != rows or (shape != flat and shape != tall):
                return None
            table[tensor.name] = data
        if len(table) != len(inputs) or table.keys() != self._wants.keys():
            return None
        if not self._one_datatype and {tensor.name: tensor.datatype for tensor in inputs} != self._datatypes:
            return None
        return table

    def _of_one_tensor(self, inputs: Sequence[Any]) -> dict[str, list[Any]] | None:
        """The table of one input for all columns, flat or a list for each row."""
        tensor, width = inputs[0], len(self._names)
        data: list[Any] = tensor.data
        if len(inputs) > 1 or tensor.name != self._tensor or len(tensor.shape) != 2 or tensor.shape[1] != width:
            return None
        rows, kinds = tensor.shape[0], set(map(type, data))
        if rows > MAX_ROWS:
            return None
        if list not in kinds and len(data) == rows * width:
            return {name: data[place::width] for place, name in enumerate(self._names)}
        if kinds == {list} and len(data) == rows and all(len(row) == width for row in data):
            return {name: list(column) for name, column in zip(self._names, zip(*data, strict=True), strict=True)}
        return None

    def encode(self, request: PlainRequest, share: Share, prediction_id: str = "") -> bytes:
        """The answer to a request. Raises InvalidOutputError for a number that is not finite."""
        parts = [self._head]
        if request.id is not None:
            parts += (b',"id":', _encode(request.id))
        if prediction_id:
            parts += (b',"parameters":{"prediction_id":"', prediction_id.encode(), b'"}')
        between = b',"outputs":['
        for name in request.outputs:
            parts += (between, self._beginning(name, request.rows), _encode(_values(share, name)))
            between = b"},"
        parts.append(b"}]}")
        return b"".join(parts)

    def _beginning(self, name: str, rows: int) -> bytes:
        """What comes before an output's data."""
        found = self._before.get((name, rows))
        if found is None:
            spec = self._outputs[name]
            told = {"name": name, "shape": [rows, *spec.shape[1:]], "datatype": str(spec.datatype)}
            found = self._before[name, rows] = _encode(told)[:-1] + b',"data":'
        return found


class _Want:
    """What a column takes."""

    def __init__(self, spec: TensorSpec) -> None:
        dtype = spec.datatype.dtype
        self.datatype = str(spec.datatype)
        self.kind = "i" if dtype.kind == "u" else dtype.kind
        self._types = _TYPES[self.kind]
        self.low: float | None = None
        """Where a range has to be looked at."""
        self._high: float = 0
        if self.kind == "i" and spec.datatype is not Datatype.INT64:
            self.low, self._high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
        elif spec.datatype is Datatype.FP32:
            self.low, self._high = float(np.finfo(dtype).min), float(np.finfo(dtype).max)

    def takes(self, data: list[Any]) -> bool:
        if not self._types.issuperset(map(type, data)):
            return False
        return self.low is None or all(value is None or self.low <= value <= self._high for value in data)


def _decoder(wants: Sequence[_Want], *, in_one: bool) -> msgspec.json.Decoder[Any]:
    """Of requests whose data are lists of any type that a column has: which of them belongs where is seen afterwards.

    `in_one`: all columns in one tensor, whose rows may be lists too. Parameters of any kind are not usual: it refuses
    them.
    """
    element: Any = None
    for kind in sorted({want.kind for want in wants}):
        element = _ELEMENTS[kind] if element is None else element | _ELEMENTS[kind]
    datatypes: Any = Literal[tuple(sorted({want.datatype for want in wants}))]
    if in_one:
        element = element | list[element]
    most = MAX_ROWS * len(wants) if in_one else MAX_ROWS
    values: Any = Annotated[list[element], msgspec.Meta(min_length=1, max_length=most)]
    parameters: tuple[str, Any, Any] = ("parameters", None, None)
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = [
        ("name", str),
        ("shape", list[int]),
        ("datatype", datatypes),
        ("data", values),
        parameters,
    ]
    tensor: Any = msgspec.defstruct("Input", fields)
    output: Any = msgspec.defstruct("Output", [("name", str), parameters])
    inputs: Any = Annotated[list[tensor], msgspec.Meta(min_length=1)]
    request = msgspec.defstruct(
        "Request", [("inputs", inputs), ("id", str | None, None), ("outputs", list[output] | None, None), parameters]
    )
    return msgspec.json.Decoder(request)


def _values(share: Share, name: str) -> list[Any]:
    """An output's values of one request's rows, flat. Raises InvalidOutputError."""
    lists = share.of.plain.get(name)
    if lists is None:
        array = share.of.columns[name]
        if array.dtype.kind == "f" and not bool(np.isfinite(array).all()):
            own = array[share.start : share.end]
            check_finite(name, own)  # it may be that of another who was answered together with this one
            return own.reshape(-1).tolist()
        lists = share.of.plain[name] = (array if array.ndim == 1 else array.reshape(len(array), -1)).tolist()
    rows = lists[share.start : share.end]
    if not isinstance(rows[0], list):
        return rows
    return rows[0] if len(rows) == 1 else [value for row in rows for value in row]
