"""What the protocol's requests mean, and what is said of those that mean nothing."""

import json
import re
from typing import Any

import numpy as np
import pytest

from bundles import SIGNATURE, manifest
from tidegate_contract.bundle.datatypes import Datatype
from tidegate_contract.bundle.manifest import Signature, SignatureKind, TensorSpec
from tidegate_server.http.codec import (
    MAX_ROWS,
    InferRequest,
    decode_request,
    decode_tensor,
    encode_metadata,
    encode_response,
)
from tidegate_server.http.errors import OipError
from tidegate_server.outputs import InvalidOutputError

CARRIER = {"name": "carrier", "shape": [2], "datatype": "BYTES", "data": ["UA", None]}
DELAY = {"name": "delay", "shape": [2], "datatype": "FP64", "data": [1.5, None]}


def _request(*inputs: dict[str, Any], **fields: Any) -> bytes:
    return json.dumps({"inputs": list(inputs), **fields}).encode()


def _plain(request: InferRequest) -> dict[str, list[Any]]:
    return {
        name: [None if value != value else value for value in column.tolist()] for name, column in request.table.items()
    }


ACCEPTED: dict[str, bytes] = {
    "one input per column": _request(CARRIER, DELAY),
    "columns in another order": _request(DELAY, CARRIER),
    "a column of shape [n, 1], nested": _request(CARRIER, {**DELAY, "shape": [2, 1], "data": [[1.5], [None]]}),
    "a column of shape [n, 1], flat": _request(CARRIER, {**DELAY, "shape": [2, 1]}),
    "a smaller float": _request(CARRIER, {**DELAY, "datatype": "FP32"}),
    "parameters that mean nothing here": _request({**CARRIER, "parameters": {"content_type": "str"}}, DELAY),
    "fields of a later protocol": _request(CARRIER, DELAY, later={"a": 1}),
}


@pytest.mark.parametrize("body", ACCEPTED.values(), ids=ACCEPTED)
def test_accepted(body: bytes) -> None:
    request = decode_request(body, SIGNATURE)
    assert _plain(request) == {"carrier": ["UA", None], "delay": [1.5, None]}
    assert (request.rows, request.outputs, request.id) == (2, ("predict", "predict_proba"), None)


def test_whole_numbers_are_taken_for_floats() -> None:
    body = _request({**CARRIER, "data": ["UA", "AA"]}, {**DELAY, "datatype": "INT64", "data": [1, 2]})
    assert _plain(decode_request(body, SIGNATURE)) == {"carrier": ["UA", "AA"], "delay": [1.0, 2.0]}


def test_the_id_and_the_wanted_outputs_are_kept() -> None:
    request = decode_request(_request(CARRIER, DELAY, id="42", outputs=[{"name": "predict_proba"}]), SIGNATURE)
    assert (request.id, request.outputs) == ("42", ("predict_proba",))


REFUSED: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"carrier=UA", "not JSON"),
    "an empty body": (b"", "not JSON"),
    "NaN, which JSON does not have": (_request(CARRIER, {**DELAY, "data": [float("nan"), 1]}), "not JSON"),
    "no inputs": (b"{}", "missing required field `inputs`"),
    "an empty list of inputs": (_request(), "inputs are missing: carrier, delay"),
    "an input too few": (_request(CARRIER), "inputs are missing: delay"),
    "an input that the model has not": (_request(CARRIER, DELAY, {**DELAY, "name": "x"}), "the model has no input 'x'"),
    "an input given twice": (_request(CARRIER, CARRIER), "'carrier' is given twice"),
    "columns of different lengths": (
        _request(CARRIER, {**DELAY, "shape": [1], "data": [1]}),
        "'delay' has 1 rows and an input before it has 2",
    ),
    "no rows": (
        _request({**CARRIER, "shape": [0], "data": []}, {**DELAY, "shape": [0], "data": []}),
        "at least one row",
    ),
    "fewer values than the shape says": (_request({**CARRIER, "shape": [3]}), "says 3 values, and the data has 2"),
    "a shape that overflows": (_request({**CARRIER, "shape": [2, 2**60]}), "far too many values"),
    "a shape of nothing that overflows": (_request({**CARRIER, "shape": [0, 2**63 - 1], "data": []}), "no array has"),
    "more values than the shape says": (_request(CARRIER, {**DELAY, "data": [1, 2, 3]}), "and the data has at least 3"),
    "more texts than the shape says, some with quotes": (
        _request({**CARRIER, "data": ['"' * 9, "\\", '\\"', None]}),
        "and the data has 4",
    ),
    "more texts than the shape says": (_request({**CARRIER, "data": ["a", "b", "c"]}), "and the data has at least 3"),
    "a shape with a negative size": (_request({**CARRIER, "shape": [-2, -1]}), "none of them negative"),
    "no shape": (_request({**CARRIER, "shape": []}), "1 to 8 sizes"),
    "two columns in one input": (_request({**CARRIER, "shape": [1, 2]}), r"shape [n] or [n, 1]"),
    "nesting that is not the shape": (
        _request({**CARRIER, "shape": [2, 1], "data": [["UA", "AA"], []]}),
        "nesting of the data does not follow",
    ),
    "a column of another type": (_request({**CARRIER, "datatype": "INT64", "data": [1, 2]}), "is BYTES and INT64 was"),
    "a fraction in an integer": (
        _request(CARRIER, {**DELAY, "datatype": "INT64", "data": [1.5, 2]}),
        "the data is not INT64",
    ),
    "an integer out of range": (
        _request(CARRIER, {**DELAY, "datatype": "INT8", "data": [128, 2]}),
        "INT8 holds a number that is out of range",
    ),
    "a float out of range": (
        _request(CARRIER, {**DELAY, "datatype": "FP32", "data": [1e300, 2]}),
        "FP32 holds a number that is out of range",
    ),
    "a missing integer": (
        _request(CARRIER, {**DELAY, "datatype": "INT64", "data": [None, 2]}),
        "the data is not INT64",
    ),
    "text for a number": (_request(CARRIER, {**DELAY, "data": ["1", "2"]}), "the data is not FP64"),
    "a number for text": (_request({**CARRIER, "data": [1, 2]}), "the data is not BYTES"),
    "half floats": (
        _request(CARRIER, {**DELAY, "datatype": "FP16"}),
        "FP16 has no JSON form; send it as binary data, or FP32",
    ),
    "a datatype that does not exist": (_request(CARRIER, {**DELAY, "datatype": "FLOAT"}), "is no datatype"),
    "no data": (_request(CARRIER, {"name": "delay", "shape": [2], "datatype": "FP64"}), "neither data nor a parameter"),
    "binary data that do not come": (
        _request(CARRIER, {"name": "delay", "shape": [2], "datatype": "FP64", "parameters": {"binary_data_size": 16}}),
        "more bytes than follow the JSON",
    ),
    "a size of binary data that is no number": (
        _request(CARRIER, {**DELAY, "parameters": {"binary_data_size": "16"}}),
        "parameter binary_data_size: Expected `int`",
    ),
    "a negative size of binary data": (
        _request(CARRIER, {"name": "delay", "shape": [2], "datatype": "FP64", "parameters": {"binary_data_size": -16}}),
        "more bytes than follow the JSON",
    ),
    "data and binary data": (
        _request(CARRIER, {**DELAY, "parameters": {"binary_data_size": 0}}),
        "send one of them",
    ),
    "a wish for binary data that is no truth": (
        _request(CARRIER, DELAY, parameters={"binary_data_output": 1}),
        "parameter binary_data_output: Expected `bool`",
    ),
    "an output that the model has not": (
        _request(CARRIER, DELAY, outputs=[{"name": "x"}]),
        "the model has no output 'x'",
    ),
    "an output asked for twice": (
        _request(CARRIER, DELAY, outputs=[{"name": "predict"}, {"name": "predict"}]),
        "asked for twice",
    ),
    "an id that is no text": (_request(CARRIER, DELAY, id=7), "not of the protocol's form"),
}


@pytest.mark.parametrize(("body", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(body: bytes, message: str) -> None:
    with pytest.raises(OipError) as caught:
        decode_request(body, SIGNATURE)
    assert caught.value.status == 400
    assert message in caught.value.message


def test_too_many_rows_are_413_whatever_the_data() -> None:
    with pytest.raises(OipError) as caught:
        decode_request(_request({**CARRIER, "shape": [MAX_ROWS + 1]}), SIGNATURE)
    assert (caught.value.status, caught.value.message) == (413, "a request may have 65536 rows; send fewer at a time")


def test_numbers_that_the_shape_does_not_count_are_not_even_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate_server.http.codec._value_decoder", lambda *_: pytest.fail("they were made"))
    with pytest.raises(OipError, match="says 1 values, and the data has at least 9"):
        decode_tensor("delay", "FP64", [1], b"[0,0,0,0,0,0,0,0,0]")


def test_a_refusal_repeats_no_value() -> None:
    with pytest.raises(OipError) as caught:
        decode_request(_request({**CARRIER, "datatype": "FP64", "data": ["secret", "secret"]}), SIGNATURE)
    assert "secret" not in caught.value.message


ONE = Signature(
    tuple(TensorSpec(name, Datatype.FP64, (-1,)) for name in ("a", "b", "c")),
    SIGNATURE.outputs,
    SignatureKind.TENSOR,
    "X",
)
"""Three columns as one tensor."""
X = {"name": "X", "shape": [2, 3], "datatype": "FP64", "data": [1, 2, None, 4, 5, 6]}
NUMBERS_OF_X = np.array([[1, 2, np.nan], [4, 5, 6]])


def _raw(array: np.ndarray[Any, Any], datatype: str) -> tuple[bytes, int]:
    tensor = {"name": "X", "shape": [2, 3], "datatype": datatype, "parameters": {"binary_data_size": array.nbytes}}
    head = _request(tensor)
    return head + array.tobytes(), len(head)


TENSORS: dict[str, tuple[bytes, int | None]] = {
    "flat": (_request(X), None),
    "a list for each row": (_request({**X, "data": [[1, 2, None], [4, 5, 6]]}), None),
    "a smaller float": (_request({**X, "datatype": "FP32"}), None),
    "binary": _raw(NUMBERS_OF_X, "FP64"),
    "binary, a smaller float": _raw(NUMBERS_OF_X.astype(np.float32), "FP32"),
}


@pytest.mark.parametrize(("body", "length"), TENSORS.values(), ids=TENSORS)
def test_all_columns_come_as_one_tensor_where_the_signature_says_so(body: bytes, length: int | None) -> None:
    request = decode_request(body, ONE, length)
    assert (_plain(request), request.rows) == ({"a": [1, 4], "b": [2, 5], "c": [None, 6]}, 2)
    assert all(column.flags.c_contiguous for column in request.table.values())


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        ({**X, "name": "a"}, "the model has no input 'a'; it takes X"),
        ({**X, "shape": [6], "data": [1] * 6}, "'X' must have the shape [n, 3]"),
        ({**X, "shape": [3, 2]}, "'X' must have the shape [n, 3]"),
        ({**X, "shape": [2, 3, 1]}, "'X' must have the shape [n, 3]"),
        ({**X, "shape": [0, 3], "data": []}, "at least one row"),
        ({**X, "datatype": "BYTES", "data": ["a"] * 6}, "'X' is FP64 and BYTES was given"),
    ],
)
def test_a_tensor_of_another_form_is_refused(tensor: dict[str, Any], message: str) -> None:
    with pytest.raises(OipError, match=re.escape(message)) as caught:
        decode_request(_request(tensor), ONE)
    assert caught.value.status == 400


def test_the_metadata_of_one_tensor_names_its_columns() -> None:
    described = json.loads(encode_metadata("m", "r", manifest(signature=ONE)))
    assert described["inputs"] == [
        {"name": "X", "datatype": "FP64", "shape": [-1, 3], "parameters": {"labels": ["a", "b", "c"]}}
    ]


REQUEST = InferRequest("7", {}, ("predict_proba",), 2)


def test_an_answer_has_the_wanted_outputs_flat_and_the_id() -> None:
    answers = {"predict_proba": np.array([[0.25, 0.75], [1.0, 0.0]])}
    found = encode_response("flights", "abc", REQUEST, answers, SIGNATURE)
    assert found.json_length is None
    assert json.loads(found.body) == {
        "model_name": "flights",
        "model_version": "abc",
        "id": "7",
        "outputs": [{"name": "predict_proba", "shape": [2, 2], "datatype": "FP64", "data": [0.25, 0.75, 1.0, 0.0]}],
    }


RAW_CARRIER = {"name": "carrier", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": 11}}
RAW_DELAY = {"name": "delay", "shape": [2, 1], "datatype": "FP64", "parameters": {"binary_data_size": 16}}
TEXTS = b"\x02\x00\x00\x00UA\x01\x00\x00\x00A"
NUMBERS = np.array([1.5, np.nan]).tobytes()


@pytest.mark.parametrize(
    ("inputs", "tail"),
    [
        pytest.param((RAW_CARRIER, RAW_DELAY), TEXTS + NUMBERS, id="both"),
        pytest.param((RAW_DELAY, RAW_CARRIER), NUMBERS + TEXTS, id="in the order of the inputs"),
        pytest.param(({**CARRIER, "data": ["UA", "A"]}, RAW_DELAY), NUMBERS, id="beside JSON"),
    ],
)
def test_binary_data_follow_the_json(inputs: tuple[dict[str, Any], ...], tail: bytes) -> None:
    head = _request(*inputs)
    assert _plain(decode_request(head + tail, SIGNATURE, len(head))) == {"carrier": ["UA", "A"], "delay": [1.5, None]}


@pytest.mark.parametrize(
    ("tail", "length", "message"),
    [
        pytest.param(NUMBERS + b"\x00", 0, "1 bytes follow the JSON", id="more than anybody speaks of"),
        pytest.param(NUMBERS[:-1], 0, "more bytes than follow", id="fewer"),
        pytest.param(NUMBERS, 17, "more bytes than the body has", id="a JSON longer than the body"),
        pytest.param(NUMBERS, -1, "not JSON", id="a JSON that is cut"),
        pytest.param(np.array([np.inf, 1.0]).tobytes(), 0, "out of range", id="an infinity"),
    ],
)
def test_binary_data_that_do_not_fit_are_refused(tail: bytes, length: int, message: str) -> None:
    head = _request(CARRIER, RAW_DELAY)
    with pytest.raises(OipError, match=message) as caught:
        decode_request(head + tail, SIGNATURE, len(head) + length)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("fields", "raw"),
    [
        ({}, set()),
        ({"parameters": {"binary_data_output": True}}, {"predict", "predict_proba"}),
        (
            {"parameters": {"binary_data_output": True, "later": {"a": 1}}, "outputs": [{"name": "predict"}]},
            {"predict"},
        ),
        (
            {
                "parameters": {"binary_data_output": True},
                "outputs": [{"name": "predict", "parameters": {"binary_data": False}}, {"name": "predict_proba"}],
            },
            {"predict_proba"},
        ),
        ({"outputs": [{"name": "predict", "parameters": {"binary_data": True}}]}, {"predict"}),
    ],
)
def test_each_output_comes_as_it_was_asked_for(fields: dict[str, Any], raw: set[str]) -> None:
    assert decode_request(_request(CARRIER, DELAY, **fields), SIGNATURE).raw == raw


def test_binary_data_of_an_answer_follow_its_json() -> None:
    request = InferRequest(None, {}, ("predict", "predict_proba"), 1, frozenset({"predict_proba"}))
    answers = {"predict": np.array([1]), "predict_proba": np.array([[0.25, 0.75]])}
    found = encode_response("flights", "abc", request, answers, SIGNATURE)
    assert json.loads(found.body[: found.json_length])["outputs"] == [
        {"name": "predict", "shape": [1], "datatype": "INT64", "data": [1]},
        {"name": "predict_proba", "shape": [1, 2], "datatype": "FP64", "parameters": {"binary_data_size": 16}},
    ]
    assert found.body[found.json_length :] == np.array([0.25, 0.75]).tobytes()


BROKEN: dict[str, tuple[Any, str]] = {
    "not a number": (np.array([[np.nan, 1.0], [0.0, 1.0]]), "not finite"),
    "infinite": (np.array([[np.inf, 1.0], [0.0, 1.0]]), "not finite"),
    "a row too few": (np.array([[0.0, 1.0]]), "shape and type"),
    "a column too many": (np.zeros((2, 3)), "shape and type"),
    "of another type": (np.zeros((2, 2), np.int64), "shape and type"),
}


@pytest.mark.parametrize(("answer", "message"), BROKEN.values(), ids=BROKEN)
def test_an_answer_that_the_signature_does_not_promise_is_an_error(answer: Any, message: str) -> None:
    with pytest.raises(InvalidOutputError, match=message):
        encode_response("flights", "abc", REQUEST, {"predict_proba": answer}, SIGNATURE)


def test_metadata_names_the_class_of_each_probability() -> None:
    assert json.loads(encode_metadata("flights", "abc", manifest())) == {
        "name": "flights",
        "versions": ["abc"],
        "platform": "sklearn-skops",
        "inputs": [
            {"name": "carrier", "datatype": "BYTES", "shape": [-1]},
            {"name": "delay", "datatype": "FP64", "shape": [-1]},
        ],
        "outputs": [
            {"name": "predict", "datatype": "INT64", "shape": [-1]},
            {"name": "predict_proba", "datatype": "FP64", "shape": [-1, 2], "parameters": {"labels": [0, 1]}},
        ],
    }
