"""The codec gives back what it was given, and answers nonsense with 400."""

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bundles import SIGNATURE
from tidegate_contract.bundle.datatypes import Datatype
from tidegate_server.http.binary import pack, unpack
from tidegate_server.http.codec import decode_request, decode_tensor, encode_response
from tidegate_server.http.errors import OipError
from tidegate_server.tensors import TensorError, conform, from_values, to_values

# A busy machine is no finding.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

_VALUES: dict[Datatype, st.SearchStrategy[Any]] = {
    Datatype.BOOL: st.booleans(),
    Datatype.BYTES: st.none() | st.text(),
    Datatype.FP32: st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False),
    Datatype.FP64: st.none() | st.floats(allow_nan=False, allow_infinity=False),
    **{
        datatype: st.integers(int(np.iinfo(datatype.dtype).min), int(np.iinfo(datatype.dtype).max))
        for datatype in Datatype
        if datatype.is_integer
    },
}


@st.composite
def _tensors(draw: st.DrawFn) -> tuple[Datatype, list[int], list[Any]]:
    datatype = draw(st.sampled_from(list(Datatype)))
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    size = int(np.prod(shape))
    return datatype, shape, draw(st.lists(_VALUES[datatype], min_size=size, max_size=size))


def _nested(values: list[Any], shape: list[int]) -> list[Any]:
    if len(shape) == 1:
        return values
    step = len(values) // shape[0]
    return [_nested(values[i * step : (i + 1) * step], shape[1:]) for i in range(shape[0])]


@patient
@given(_tensors(), st.booleans())
def test_values_come_back_as_they_were_sent(tensor: tuple[Datatype, list[int], list[Any]], flat: bool) -> None:
    datatype, shape, values = tensor
    data = msgspec.json.encode(values if flat else _nested(values, shape))
    array = decode_tensor("x", datatype, shape, data)
    assert (array.shape, array.dtype) == (tuple(shape), datatype.dtype)
    assert to_values(array.reshape(-1)) == values


@patient
@given(_tensors())
def test_values_come_back_as_raw_bytes_too(tensor: tuple[Datatype, list[int], list[Any]]) -> None:
    datatype, _, values = tensor
    values = [value for value in values if value is not None]  # a text has no way to be missing there
    array = from_values(datatype, values)
    found = unpack(datatype, len(values), memoryview(pack(array)))
    assert (found.dtype, found.tolist()) == (array.dtype, array.tolist())


@patient
@given(st.sampled_from([*Datatype, "FP16", "BF16"]), st.integers(0, 4), st.binary(max_size=40))
def test_any_bytes_are_a_tensor_or_an_error(datatype: str, count: int, data: bytes) -> None:
    try:
        found = unpack(datatype, count, memoryview(data))
    except TensorError:
        return
    assert found.shape == (count,)


@patient
@given(st.data())
def test_every_datatype_keeps_its_values_in_memory(data: st.DataObject) -> None:
    datatype = data.draw(st.sampled_from(list(Datatype)))
    values = data.draw(st.lists(_VALUES[datatype]))
    assert to_values(from_values(datatype, values)) == values


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)
_NAMES = st.sampled_from(["carrier", "delay", "predict", "other", ""])
_TENSORS = st.fixed_dictionaries(
    {},
    optional={
        "name": _NAMES | _JSON,
        "shape": st.lists(st.integers(-2, 3), max_size=3) | _JSON,
        "datatype": st.sampled_from([*Datatype, "FP16", "COMPLEX"]) | _JSON,
        "data": st.lists(st.none() | st.text(max_size=2) | st.floats() | st.integers()) | _JSON,
    },
)
_REQUESTS = st.fixed_dictionaries(
    {}, optional={"inputs": st.lists(_TENSORS, max_size=3) | _JSON, "id": _JSON, "outputs": st.lists(_TENSORS) | _JSON}
)


def _is_answered(body: bytes) -> None:
    """A request is taken apart, or refused with 400 or 413; nothing else comes out of the codec."""
    try:
        request = decode_request(body, SIGNATURE)
    except OipError as error:
        status = error.status
    else:
        status = 200
        assert {len(column) for column in request.table.values()} == {request.rows}
    assert status in (200, 400, 413)


@patient
@given(_REQUESTS | _JSON)
@example({"inputs": [{"name": "delay", "shape": [1], "datatype": "FP64", "data": [10**400]}]})
@example({"inputs": [{"name": "delay", "shape": [10**30], "datatype": "FP64", "data": []}]})
@example({"inputs": [{"name": "delay", "shape": [2**63, 2], "datatype": "FP64", "data": [1]}]})
@example({"inputs": [{"name": "delay", "shape": [0, 2**63 - 1], "datatype": "FP64", "data": []}]})
@example({"inputs": [{"name": "delay", "shape": [0, 2**70], "datatype": "FP64", "data": []}]})
def test_any_document_is_taken_or_refused(document: object) -> None:
    _is_answered(json.dumps(document).encode())


@patient
@given(st.binary())
@example(b"[" * 200_000)
@example(b'{"inputs":' + b"[" * 200_000)
@example(b'{"inputs":[{"name":"delay","shape":[1],"datatype":"FP64","data":' + b"[" * 200_000 + b"]" * 200_000 + b"}]}")
@example(b'{"inputs":[{"name":"carrier","shape":[1],"datatype":"BYTES","data":["\\ud800"]}]}')
@example(b'{"inputs":[{"name":"delay","shape":[1],"datatype":"FP64","data":[1e999]}]}')
@example(b'{"inputs":[{"name":"carrier","shape":[1],"datatype":"BYTES","data":["\xff"]}]}')
def test_any_bytes_are_taken_or_refused(body: bytes) -> None:
    _is_answered(body)


@patient
@given(st.binary(max_size=60), st.integers(0, 300))
def test_a_damaged_request_is_taken_or_refused(noise: bytes, place: int) -> None:
    good = (
        b'{"id":"1","inputs":[{"name":"carrier","shape":[2],"datatype":"BYTES","data":["UA",null]},'
        b'{"name":"delay","shape":[2,1],"datatype":"FP32","data":[[1.5],[null]]}],"outputs":[{"name":"predict"}]}'
    )
    _is_answered(good[:place] + noise + good[place:])
    _is_answered(good[:place] + noise)


@patient
@given(st.integers(1, 5), st.data())
def test_an_answer_holds_what_the_engine_gave(rows: int, data: st.DataObject) -> None:
    finite = st.floats(0, 1)
    labels = data.draw(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=rows, max_size=rows))
    chances = data.draw(st.lists(finite, min_size=2 * rows, max_size=2 * rows))
    body = {
        "inputs": [
            {"name": "carrier", "shape": [rows], "datatype": "BYTES", "data": ["UA"] * rows},
            {"name": "delay", "shape": [rows], "datatype": "FP64", "data": [1] * rows},
        ]
    }
    request = decode_request(json.dumps(body).encode(), SIGNATURE)
    answers = {"predict": np.array(labels), "predict_proba": np.array(chances).reshape(rows, 2)}
    answer = json.loads(encode_response("m", "r", request, answers, SIGNATURE).body)
    assert answer == {
        "model_name": "m",
        "model_version": "r",
        "outputs": [
            {"name": "predict", "shape": [rows], "datatype": "INT64", "data": labels},
            {"name": "predict_proba", "shape": [rows, 2], "datatype": "FP64", "data": chances},
        ],
    }


@pytest.mark.parametrize("given_type", list(Datatype))
@pytest.mark.parametrize("wanted", list(Datatype))
def test_a_number_that_conforms_keeps_its_value(given_type: Datatype, wanted: Datatype) -> None:
    array = from_values(given_type, ["1"] if given_type is Datatype.BYTES else [given_type is Datatype.BOOL or 1])
    conformed = conform(array, wanted)
    if Datatype.BYTES in (given_type, wanted) or Datatype.BOOL in (given_type, wanted):
        assert (conformed is None) == (given_type is not wanted)
    assert conformed is None or (conformed.dtype == wanted.dtype and conformed.tolist() == array.tolist())


VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3)
)
LARGE_VALUES = st.sampled_from([1e39, -1e39, 3.4028235e38, 1.7976931348623157e308, 128, -129, 2**63, 2**64, 0.5])
