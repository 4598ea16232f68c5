"""Open Inference Protocol v2 over HTTP: bytes to arrays and arrays to bytes, as JSON or raw beside it.

Pure, and apart from the transport: gRPC will bring another codec to the same columns.
Source: Open Inference Protocol v2, "Inference REST API", and its binary tensor data extension.
"""

import functools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec
import numpy as np

from tidegate_contract.bundle.datatypes import Datatype
from tidegate_contract.bundle.manifest import Manifest, Signature, TensorSpec
from tidegate_server.explain import Explained
from tidegate_server.http import binary
from tidegate_server.http.errors import OipError
from tidegate_server.outputs import InvalidOutputError, check_finite, check_form
from tidegate_server.tensors import Array, Columns, TensorError, as_table, conform, from_values, to_values

MAX_RANK = 8
MAX_ROWS = 65_536
"""Of one request: more would keep the others waiting."""
_NESTED = re.compile(rb"^\s*\[\s*\[")
_ELEMENT: dict[str, Any] = {"b": bool, "i": int, "u": int, "f": float | None, "O": str | None}
_NO_JSON = {name: f"{name} has no JSON form; send it as binary data, or FP32" for name in ("FP16", "BF16")}
BINARY_SIZE = "binary_data_size"
EXPLANATION = "attributions"


T = TypeVar("T")


class _Input(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw = msgspec.Raw()
    parameters: dict[str, msgspec.Raw] | None = None


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, msgspec.Raw] | None = None


class _Request(msgspec.Struct):
    inputs: list[_Input]
    id: str | None = None
    outputs: list[_Output] | None = None
    parameters: dict[str, msgspec.Raw] | None = None


_decode_request = msgspec.json.Decoder(_Request).decode


class Wanted(Protocol):
    """What a request says of its answer."""

    @property
    def id(self) -> str | None: ...
    @property
    def outputs(self) -> tuple[str, ...]: ...
    @property
    def rows(self) -> int: ...
    @property
    def raw(self) -> frozenset[str]: ...


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A request that matches a signature."""

    id: str | None
    table: Columns
    """Every input of the signature, of its type, shape [rows]."""
    outputs: tuple[str, ...]
    """The wanted outputs, in the order asked for; all of them if none was named."""
    rows: int
    raw: frozenset[str] = frozenset()
    """The outputs that are wanted as binary data."""
    explain: bool = False
    """Whether it is to be said what each column has to do with the answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The body of an answer; where binary data follow its JSON, the length of that."""

    body: bytes
    prediction_id: str = ""
    json_length: int | None = None


class _Tail:
    """The binary data after the JSON of a request, in the order of the inputs that have any."""

    def __init__(self, data: memoryview) -> None:
        self._rest = data

    def take(self, where: str, size: int) -> memoryview:
        """The next bytes. Raises OipError 400 if there are not so many."""
        if not 0 <= size <= len(self._rest):
            raise OipError(400, f"{where}: {BINARY_SIZE} says more bytes than follow the JSON of the request")
        found, self._rest = self._rest[:size], self._rest[size:]
        return found

    def expect_end(self) -> None:
        if self._rest:
            raise OipError(
                400, f"{len(self._rest)} bytes follow the JSON of the request that no {BINARY_SIZE} speaks of"
            )


def decode_request(body: bytes, signature: Signature, json_length: int | None = None) -> InferRequest:
    """Take a request apart and hold it against the signature.

    `json_length`: bytes of its JSON where binary data follow it, as the header says.
    Raises OipError 400, or 413 for too many rows, with a sentence that names the tensor and not its values.
    """
    if json_length is not None and json_length > len(body):
        raise OipError(400, "Inference-Header-Content-Length says more bytes than the body has")
    tail = _Tail(memoryview(body)[len(body) if json_length is None else json_length :])
    try:
        request = _decode_request(memoryview(body)[:json_length])
    except msgspec.ValidationError as error:
        raise OipError(400, f"the request is not of the protocol's form: {error}") from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise OipError(400, f"the body is not JSON: {error}") from error
    tensors: Columns = {}
    rows = -1
    for tensor in request.inputs:
        spec = signature.requested.get(tensor.name)
        if spec is None:
            takes = ", ".join(signature.requested)
            raise OipError(400, f"the model has no input {_short(tensor.name)}; it takes {takes}")
        if tensor.name in tensors:
            raise OipError(400, f"input {tensor.name!r} is given twice")
        try:
            array = _tensor(tensor, spec, tail)
            if rows not in (-1, len(array)):
                raise OipError(400, f"input {tensor.name!r} has {len(array)} rows and an input before it has {rows}")
        except OipError as error:
            error.column = spec.name
            raise
        rows = len(array)
        tensors[tensor.name] = array
    missing = [name for name in signature.requested if name not in tensors]
    if missing:
        raise OipError(400, f"inputs are missing: {', '.join(missing)}", column=missing[0])
    if rows < 1:
        raise OipError(400, "a request needs at least one row")
    tail.expect_end()
    wanted = _wanted(request.outputs, signature)
    explain = _flag(request.parameters, "explain", otherwise=False)
    table = as_table(tensors, signature)
    return InferRequest(request.id, table, wanted, rows, _raw(request, wanted), explain)


def _raw(request: _Request, wanted: Sequence[str]) -> frozenset[str]:
    """The outputs to send as binary data: as each says itself, else as the request says for all."""
    for_all = _flag(request.parameters, "binary_data_output", otherwise=False)
    said = {output.name: _flag(output.parameters, "binary_data", otherwise=for_all) for output in request.outputs or ()}
    return frozenset(name for name in wanted if said.get(name, for_all))


def _flag(parameters: dict[str, msgspec.Raw] | None, name: str, *, otherwise: bool) -> bool:
    return _parameter(parameters, name, bool) if parameters and name in parameters else otherwise


def _parameter(parameters: dict[str, msgspec.Raw], name: str, type: type[T]) -> T:
    try:
        return msgspec.json.decode(parameters[name], type=type)
    except msgspec.DecodeError as error:
        raise OipError(400, f"parameter {name}: {error}") from error


def _wanted(outputs: list[_Output] | None, signature: Signature) -> tuple[str, ...]:
    if not outputs:
        return tuple(spec.name for spec in signature.outputs)
    names = [output.name for output in outputs]
    for name in names:
        if signature.output(name) is None:
            raise OipError(400, f"the model has no output {_short(name)}; it gives {_names(signature.outputs)}")
    if len(set(names)) != len(names):
        raise OipError(400, "an output is asked for twice")
    return tuple(names)


def _tensor(tensor: _Input, spec: TensorSpec, tail: _Tail) -> Array:
    """The tensor as the signature has it; a column is also taken as [n, 1]."""
    if tensor.shape and tensor.shape[0] > MAX_ROWS:
        raise OipError(413, f"a request may have {MAX_ROWS} rows; send fewer at a time")
    if tensor.parameters and BINARY_SIZE in tensor.parameters:
        given = _raw_tensor(tensor, _parameter(tensor.parameters, BINARY_SIZE, int), tail)
    else:
        given = decode_tensor(tensor.name, tensor.datatype, tensor.shape, bytes(tensor.data))
    if given.ndim == 2 and given.shape[1] == 1 == len(spec.shape):
        given = given[:, 0]
    if given.shape[1:] != spec.shape[1:]:
        shapes = f"[n, {spec.shape[1]}]" if len(spec.shape) == 2 else "[n] or [n, 1]"
        raise OipError(400, f"input {tensor.name!r} must have the shape {shapes}")
    array = conform(given, spec.datatype)
    if array is None:
        raise OipError(400, f"input {tensor.name!r} is {spec.datatype} and {tensor.datatype} was given")
    if array.dtype.kind == "f" and bool(np.isinf(array).any()):
        raise OipError(400, f"input {tensor.name!r}: {spec.datatype} holds a number that is out of range")
    return array


def decode_tensor(name: str, datatype: str, shape: Sequence[int], data: bytes) -> Array:
    """A tensor's JSON data, flat or nested, as an array of the given shape.

    Raises OipError 400.
    """
    where = f"input {_short(name)}"
    if not data:
        raise OipError(400, f"{where} has neither data nor a parameter {BINARY_SIZE}")
    try:
        known = Datatype(datatype)
    except ValueError as error:
        reason = _NO_JSON.get(datatype, f"{_short(datatype)} is no datatype of the protocol")
        raise OipError(400, f"{where}: {reason}") from error
    size = _size(where, shape)
    if (least := _least(known, data)) > max(size, 1):
        raise _miscounted(where, shape, f"at least {least}")
    nested = len(shape) > 1 and _NESTED.match(data) is not None
    try:
        values = _value_decoder(known.dtype.kind, len(shape) if nested else 1).decode(data)
        if nested:
            values = _flatten(values, shape)
        if len(values) != size:
            raise _miscounted(where, shape, str(len(values)))
        array = from_values(known, values)
    except TensorError as error:
        raise OipError(400, f"{where}: {error}") from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise OipError(400, f"{where}: the data is not {datatype} of {len(shape)} dimensions: {error}") from error
    return _shaped(where, array, shape)


def _raw_tensor(tensor: _Input, size: int, tail: _Tail) -> Array:
    where = f"input {_short(tensor.name)}"
    if tensor.data:
        raise OipError(400, f"{where} has data and a parameter {BINARY_SIZE}; send one of them")
    data = tail.take(where, size)
    try:
        return _shaped(where, binary.unpack(tensor.datatype, _size(where, tensor.shape), data), tensor.shape)
    except TensorError as error:
        raise OipError(400, f"{where}: {error}") from error


def _size(where: str, shape: Sequence[int]) -> int:
    """How many elements a shape says."""
    if not 1 <= len(shape) <= MAX_RANK or any(size < 0 for size in shape):
        raise OipError(400, f"{where}: a shape is 1 to {MAX_RANK} sizes, none of them negative")
    return math.prod(shape)


def _shaped(where: str, array: Array, shape: Sequence[int]) -> Array:
    try:
        return array.reshape(tuple(shape))
    except (ValueError, OverflowError) as error:  # no values at all, and [0, 2**63]
        raise OipError(400, f"{where}: the shape has a size that no array has") from error


def _least(datatype: Datatype, data: bytes) -> int:
    """How many values JSON data have, or some fewer: seen without making millions of them, which stops all the rest."""
    if datatype is Datatype.BYTES:
        return (data.count(b'"') - data.count(b'\\"')) // 2
    return data.count(b",") + 1


def _miscounted(where: str, shape: Sequence[int], count: str) -> OipError:
    return OipError(400, f"{where}: the shape says {_count(shape)} values, and the data has {count}")


@functools.cache
def _value_decoder(kind: str, depth: int) -> msgspec.json.Decoder[Any]:
    form: Any = _ELEMENT[kind]
    for _ in range(depth):
        form = list[form]
    return msgspec.json.Decoder(form)


def _flatten(values: list[Any], shape: Sequence[int]) -> list[Any]:
    """Row-major values of nested lists whose lengths are those of the shape."""
    level = [values]
    for size in shape:
        if any(len(part) != size for part in level):
            raise TensorError("the nesting of the data does not follow the shape")
        level = [item for part in level for item in part]
    return level


def encode_response(
    model: str,
    version: str,
    request: Wanted,
    answers: Columns,
    signature: Signature,
    prediction_id: str = "",
    explained: Explained | None = None,
) -> Answer:
    """The answer to a request; data flat in row-major order. An explanation is one output more, always as JSON.

    Raises InvalidOutputError for an answer that the signature does not promise.
    """
    check_form(answers, request.outputs, request.rows, signature)
    outputs: list[dict[str, object]] = []
    tail: list[bytes] = []
    datatypes = {spec.name: spec.datatype for spec in signature.outputs}
    for name in request.outputs:
        array = answers[name]
        check_finite(name, array)
        output: dict[str, object] = {"name": name, "shape": list(array.shape), "datatype": str(datatypes[name])}
        if name in request.raw:
            tail.append(binary.pack(array))
            outputs.append(output | {"parameters": {BINARY_SIZE: len(tail[-1])}})
        else:
            outputs.append(output | {"data": to_values(array.reshape(-1))})
    if explained is not None:
        outputs.append(_explanation(explained))
    answer: dict[str, object] = {"model_name": model, "model_version": version}
    if request.id is not None:
        answer["id"] = request.id
    if prediction_id:
        answer["parameters"] = {"prediction_id": prediction_id}
    document = msgspec.json.encode({**answer, "outputs": outputs}, enc_hook=str)
    if not request.raw:
        return Answer(document, prediction_id)
    return Answer(b"".join((document, *tail)), prediction_id, len(document))


def _explanation(explained: Explained) -> dict[str, object]:
    found = explained.attributions
    if not bool(np.isfinite(found).all()):
        raise InvalidOutputError("the model's answer without one of its columns is not finite")
    return {
        "name": EXPLANATION,
        "shape": list(found.shape),
        "datatype": str(Datatype.FP64),
        "parameters": {"of": explained.of, "columns": list(explained.columns)},
        "data": found.reshape(-1).tolist(),
    }


def encode_metadata(model: str, version: str, manifest: Manifest) -> bytes:
    """The model's metadata: names, datatypes and shapes, and of probabilities which class each column is."""
    return msgspec.json.encode(
        {
            "name": model,
            "versions": [version],
            "platform": str(manifest.format),
            "inputs": [_describe(spec) for spec in manifest.signature.requested.values()],
            "outputs": [_describe(spec) for spec in manifest.signature.outputs],
        }
    )


def _describe(spec: TensorSpec) -> dict[str, object]:
    described: dict[str, object] = {
        "name": spec.name,
        "datatype": str(spec.datatype),
        "shape": list(spec.shape),
    }
    return {**described, "parameters": {"labels": list(spec.labels)}} if spec.labels else described


def _short(name: str) -> str:
    return repr(name if len(name) <= 100 else name[:97] + "...")


def _names(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(spec.name for spec in specs)


def _count(shape: Sequence[int]) -> str:
    count = math.prod(shape)
    return str(count) if count < 10**15 else "far too many"
