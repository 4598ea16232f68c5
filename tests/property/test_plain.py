"""The short way of the usual request says what the codec says, and leaves to it whatever it does not know."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate_contract.bundle.datatypes import Datatype
from tidegate_contract.bundle.manifest import Signature, SignatureKind, TensorSpec
from tidegate_server.batch import Answers, Share
from tidegate_server.http.codec import InferRequest, decode_request, encode_response
from tidegate_server.http.errors import OipError
from tidegate_server.http.plain import Plain, PlainRequest
from tidegate_server.outputs import InvalidOutputError
from tidegate_server.tensors import gather

TYPES = tuple(Datatype)
FITTING: dict[str, st.SearchStrategy[Any]] = {
    "f": st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70),
    "i": st.integers(-(2**63), 2**63 - 1) | st.integers(-130, 130),
    "u": st.integers(0, 2**64 - 1) | st.integers(0, 300),
    "b": st.booleans(),
    "O": st.none() | st.text(max_size=4),
}
EDGES = st.sampled_from([1e39, -1e39, 3.4028235e38, 3.5e38, 1.7976931348623157e308, 128, -129, 2**63, 2**64, 0.5, 1.0])
ANY = st.one_of(*FITTING.values()) | EDGES
OUTPUTS = (
    TensorSpec("predict", Datatype.INT64, (-1,)),
    TensorSpec("name", Datatype.BYTES, (-1,)),
    TensorSpec("predict_proba", Datatype.FP64, (-1, 2)),
    TensorSpec("deep", Datatype.FP32, (-1, 2, 2)),
)


@st.composite
def requests(draw: st.DrawFn) -> tuple[Signature, bytes]:
    """A signature and a request that mostly fits it."""
    types = draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=3))
    specs = tuple(TensorSpec(f"x{place}", datatype, (-1,)) for place, datatype in enumerate(types))
    rows = draw(st.integers(1, 3))
    often = st.sampled_from([False] * 9 + [True])
    inputs = []
    for spec in specs:
        element = ANY if draw(often) else FITTING[spec.datatype.dtype.kind]
        data = draw(st.lists(element, min_size=rows, max_size=rows + draw(often)))
        shape = draw(st.sampled_from([[rows]] * 5 + [[rows, 1], [rows + 1], [1, rows], [], [-rows]]))
        said = draw(st.sampled_from(TYPES)) if draw(often) else spec.datatype
        tensor: dict[str, Any] = {"name": spec.name, "shape": shape, "datatype": said, "data": data}
        if draw(often):
            tensor["parameters"] = draw(st.sampled_from([{}, {"binary_data_size": 8}, {"x": 1}, None]))
        inputs.append(tensor)
    if draw(often):
        inputs.append(draw(st.sampled_from([inputs[0], {**inputs[0], "name": "other"}])))
    if draw(often):
        inputs.pop(0)
    body: dict[str, Any] = {"inputs": inputs}
    if draw(st.booleans()):
        body["id"] = draw(st.text(max_size=3) | st.integers())
    if draw(st.booleans()):
        names = st.sampled_from([*(spec.name for spec in OUTPUTS), "predict", "other"])
        body["outputs"] = [{"name": name} for name in draw(st.lists(names, max_size=3))]
        if body["outputs"] and draw(often):
            body["outputs"][0]["parameters"] = draw(st.sampled_from([{"binary_data": True}, {}, None]))
    if draw(often):
        body["parameters"] = draw(st.sampled_from([{}, None, {"explain": True}, {"binary_data_output": True}]))
    return Signature(specs, OUTPUTS), msgspec.json.encode(body)


@st.composite
def requests_of_one_tensor(draw: st.DrawFn) -> tuple[Signature, bytes]:
    """A signature whose columns come as one tensor, and a request that mostly fits it."""
    datatype, width, rows = draw(st.sampled_from(TYPES)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    often = st.sampled_from([False] * 9 + [True])
    element = ANY if draw(often) else FITTING[datatype.dtype.kind]
    table = [draw(st.lists(element, min_size=width, max_size=width + draw(often))) for _ in range(rows)]
    if draw(often):
        table.append([])
    data: list[Any] = table if draw(st.booleans()) else [value for row in table for value in row]
    if draw(often):
        data = [*data, draw(element)]
    shape = draw(
        st.sampled_from([[rows, width]] * 5 + [[rows], [width, rows], [rows, width, 1], [rows + 1, width], []])
    )
    said = draw(st.sampled_from(TYPES)) if draw(often) else datatype
    tensor = {"name": draw(st.sampled_from(["X"] * 5 + ["x0"])), "shape": shape, "datatype": said, "data": data}
    specs = tuple(TensorSpec(f"x{place}", datatype, (-1,)) for place in range(width))
    body = msgspec.json.encode({"inputs": [tensor, tensor] if draw(often) else [tensor]})
    return Signature(specs, OUTPUTS, SignatureKind.TENSOR, "X"), body


@given(requests() | requests_of_one_tensor())
@settings(max_examples=1000, deadline=None)
def test_what_it_takes_it_takes_as_the_codec_does(made: tuple[Signature, bytes]) -> None:
    signature, body = made
    found = Plain("m", "r", signature).decode(body)
    try:
        expected = decode_request(body, signature)
    except OipError:
        assert found is None
        return
    if found is None:
        return
    assert (found.id, found.outputs, found.rows) == (expected.id, expected.outputs, expected.rows)
    assert not expected.raw
    assert not expected.explain
    columns = gather([found.table], {spec.name: spec.datatype.dtype for spec in signature.inputs})
    assert columns.keys() == expected.table.keys()
    for name, column in columns.items():
        assert column.dtype == expected.table[name].dtype
        np.testing.assert_array_equal(column, expected.table[name])


def test_it_takes_the_usual_request_of_every_type() -> None:
    signature = Signature(tuple(TensorSpec(str(kind), kind, (-1,)) for kind in TYPES), OUTPUTS)
    values = {"f": [1.5, None], "i": [1, 2], "u": [1, 2], "b": [True, False], "O": ["a", None]}
    inputs = [{"name": str(kind), "shape": [2], "datatype": kind, "data": values[kind.dtype.kind]} for kind in TYPES]
    body = msgspec.json.encode({"id": "7", "inputs": inputs, "outputs": [{"name": "predict"}]})
    found = Plain("m", "r", signature).decode(body)
    assert found is not None
    assert (found.id, found.outputs, found.rows, len(found.table)) == ("7", ("predict",), 2, len(TYPES))


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("nested", [True, False])
def test_it_takes_the_usual_tensor_of_every_type(kind: Datatype, nested: bool) -> None:
    one, other = {"f": (1.5, None), "i": (1, 2), "u": (1, 2), "b": (True, False), "O": ("a", None)}[kind.dtype.kind]
    specs = tuple(TensorSpec(name, kind, (-1,)) for name in "abc")
    data = [[one, one, other], [other, one, other]]
    tensor = {"name": "X", "shape": [2, 3], "datatype": kind, "data": data if nested else [*data[0], *data[1]]}
    signature = Signature(specs, OUTPUTS, SignatureKind.TENSOR, "X")
    found = Plain("m", "r", signature).decode(msgspec.json.encode({"inputs": [tensor]}))
    assert found is not None
    assert (found.table, found.rows) == ({"a": [one, other], "b": [one, one], "c": [other, other]}, 2)


@given(
    data=st.data(),
    rows=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    id=st.none() | st.text(max_size=3),
    prediction_id=st.sampled_from(["", "abc"]),
)
@settings(max_examples=200, deadline=None)
def test_its_answers_are_those_of_the_codec(
    data: st.DataObject, rows: list[int], id: str | None, prediction_id: str
) -> None:
    signature = Signature((TensorSpec("x", Datatype.FP64, (-1,)),), OUTPUTS)
    total = sum(rows)
    numbers = st.lists(
        st.floats(width=32) if data.draw(st.booleans()) else st.floats(0, 1, width=32),
        min_size=4 * total,
        max_size=4 * total,
    )
    found = np.array(data.draw(numbers), np.float64)
    columns = {
        "predict": np.arange(total),
        "name": np.array(data.draw(st.lists(st.text(max_size=2), min_size=total, max_size=total)), np.object_),
        "predict_proba": found[: 2 * total].reshape(total, 2),
        "deep": found.astype(np.float32).reshape(total, 2, 2),
    }
    outputs = tuple(data.draw(st.permutations(sorted(columns)))[: data.draw(st.integers(1, 4))])
    plain, answers, end = Plain("m", "r", signature), Answers(columns), 0
    for count in rows:
        start, end = end, end + count
        share = Share(answers, start, end)
        request = InferRequest(id, {}, outputs, count)
        try:
            expected = encode_response("m", "r", request, share.columns, signature, prediction_id=prediction_id).body
        except InvalidOutputError as error:
            expected = str(error).encode()
        try:
            said = plain.encode(PlainRequest(id, {}, outputs, count), share, prediction_id)
        except InvalidOutputError as error:
            said = str(error).encode()
        assert said == expected
