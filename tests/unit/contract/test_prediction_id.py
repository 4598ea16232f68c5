"""An id says what was answered, and its text is the same in every release that reads version 1."""

import binascii
import itertools
import struct
from typing import Any
from zlib import crc32

import numpy as np
import pytest

from tidegate_contract.bundle.datatypes import Datatype
from tidegate_contract.bundle.manifest import Signature, TensorSpec
from tidegate_contract.prediction_id import (
    MAX_TEXT,
    Prediction,
    PredictionIdError,
    PredictionIds,
    hash_of,
    label_code,
    list_code,
    parse,
)

NOW = 1_800_000_000.75
INPUTS = (TensorSpec("x", Datatype.FP64, (-1,)),)


def classes(labels: tuple[Any, ...], datatype: Datatype = Datatype.INT64) -> Signature:
    proba = TensorSpec("predict_proba", Datatype.FP64, (-1, len(labels)), labels)
    return Signature(INPUTS, (TensorSpec("predict", datatype, (-1,)), proba))


def only(datatype: Datatype, *more: int) -> Signature:
    return Signature(INPUTS, (TensorSpec("predict", datatype, (-1, *more)),))


BINARY = classes((0, 1))
ZERO, ONE = label_code(0), label_code(1)


def said(signature: Signature, rows: int = 1, evidence: bool = True, **answers: Any) -> Prediction:
    """What the id of an answer says."""
    made = {name: np.array(values) for name, values in answers.items()}
    return parse(PredictionIds("0a1b2c3d4e", signature, b"abcd").make(made, rows, 17, evidence, NOW))


def prediction(**changes: Any) -> Prediction:
    fields: dict[str, Any] = {
        "revision": "0a1b2c3d4e",
        "generation": 17,
        "evidence": True,
        "time": 1_800_000_000,
        "rows": 1,
        "number": False,
    }
    return Prediction(**{**fields, **changes})


LISTED: dict[str, Any] = {"labels": (ZERO, ONE), "list_code": list_code((ZERO, ONE))}
MANY = tuple(range(17))
MANY_CODE = list_code([label_code(label) for label in MANY])


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(
            said(BINARY, predict=[1], predict_proba=[[0.25, 0.75]]),
            prediction(**LISTED, predictions=(ONE,), probabilities=((0.25, 0.75),)),
            id="a label and the probabilities",
        ),
        pytest.param(said(BINARY, predict=[1]), prediction(**LISTED, predictions=(ONE,)), id="a label alone"),
        pytest.param(
            said(BINARY, predict=[7]), prediction(**LISTED, predictions=(None,)), id="a label outside the list"
        ),
        pytest.param(
            said(BINARY, predict_proba=[[0.25, 0.75]]),
            prediction(**LISTED, predictions=(ONE,), probabilities=((0.25, 0.75),)),
            id="probabilities alone stand for the label of the largest",
        ),
        pytest.param(
            said(BINARY, rows=2, evidence=False, predict=[1, 0], predict_proba=[[0.25, 0.75], [1, 0]]),
            prediction(
                **LISTED, rows=2, evidence=False, predictions=(ONE, ZERO), probabilities=((0.25, 0.75), (1.0, 0.0))
            ),
            id="a batch that is no evidence",
        ),
        pytest.param(
            said(only(Datatype.FP64), predict=[-1.1]), prediction(number=True, predictions=(-1.1,)), id="a number"
        ),
        pytest.param(
            said(only(Datatype.FP64), rows=2, predict=[1e300, 0.0]),
            prediction(number=True, rows=2, predictions=(1e300, 0.0)),
            id="numbers",
        ),
        pytest.param(
            said(only(Datatype.INT64), predict=[-5]),
            prediction(predictions=(label_code(-5),)),
            id="a label of a model that lists none",
        ),
        pytest.param(
            said(classes(MANY), predict=[16], predict_proba=[[0.0] * 16 + [1.0]]),
            prediction(list_code=MANY_CODE, predictions=(label_code(16),)),
            id="one of too many labels to list",
        ),
        pytest.param(
            said(classes((0.0, 1.0), Datatype.FP64), predict=[1.0]),
            prediction(**LISTED, predictions=(ONE,)),
            id="labels that are written as fractions",
        ),
        pytest.param(
            said(BINARY, rows=513, predict=[1] * 513),
            prediction(**LISTED, rows=513, hash=hash_of([1] * 513, number=False)),
            id="a hash of many labels",
        ),
        pytest.param(
            said(only(Datatype.FP64), rows=65, predict=[0.5] * 65),
            prediction(number=True, rows=65, hash=hash_of([0.5] * 65, number=True)),
            id="a hash of many numbers",
        ),
        pytest.param(
            said(only(Datatype.FP64, 2), predict=[[1.0, 2.0]]),
            prediction(number=True, hash=hash_of([[1, 2]], number=True)),
            id="a hash of several numbers for one row",
        ),
    ],
)
def test_an_id_says_what_was_answered(found: Prediction, expected: Prediction) -> None:
    assert found == expected


def test_512_bytes_of_predictions_fit_and_one_more_is_a_hash() -> None:
    assert [bool(said(BINARY, rows=rows, predict=[1] * rows).hash) for rows in (512, 513)] == [False, True]
    assert [bool(said(only(Datatype.FP64), rows=rows, predict=[1.0] * rows).hash) for rows in (64, 65)] == [False, True]


def test_the_longest_id_is_read() -> None:
    labels = tuple(range(16))
    rows = 7
    answers = {"predict": np.zeros(rows, np.int64), "predict_proba": np.full((rows, 16), 0.0625)}
    longest = PredictionIds("r" * 63, classes(labels)).make(answers, rows, 2**32 - 1, True, NOW)
    assert 800 < len(longest) <= MAX_TEXT
    assert len(parse(longest).probabilities) == rows


def test_the_form_of_an_id_is_fixed() -> None:
    """Ids outlive the release that made them: truths come months later."""
    answers = {"predict": np.array([1]), "predict_proba": np.array([[0.25, 0.75]])}
    made = PredictionIds("0a1b2c3d4e", BINARY, b"abcd").make(answers, 1, 17, True, NOW)
    assert made == "AQowYTFiMmMzZDRlYWJjZAI0BpIk_JQsBwkAAAARa0nSAAAAAAAAAAABAT6AAAA_QAAAFhT6DQ"


def test_the_quick_way_and_the_general_one_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(signature: Signature, **answers: Any) -> str:
        values = {name: np.array(value) for name, value in answers.items()}
        return PredictionIds("r", signature, b"abcd").make(values, 1, 17, True, NOW)

    cases: list[tuple[Signature, dict[str, Any]]] = [
        (BINARY, {"predict": [1], "predict_proba": [[0.1, 0.9]]}),
        (BINARY, {"predict": [1]}),
        (BINARY, {"predict": [7], "predict_proba": [[0.1, 0.9]]}),
        (only(Datatype.FP64), {"predict": [0.1]}),
    ]
    quick = [made(signature, **answers) for signature, answers in cases]
    monkeypatch.setattr(PredictionIds, "_one", lambda *_: None)
    assert [made(signature, **answers) for signature, answers in cases] == quick


def test_no_two_answers_have_the_same_id() -> None:
    answers = {"predict": np.array([1])}
    makers = [PredictionIds("r", BINARY) for _ in range(2)]
    made = [ids.make(answers, 1, 0, False, NOW) for ids, _ in itertools.product(makers, range(3))]
    assert len(set(made)) == 6


@pytest.mark.parametrize("revision", ["", "r" * 64, "a\nb"], ids=["none", "too long", "not printable"])
def test_a_revision_that_an_id_cannot_carry_is_refused(revision: str) -> None:
    with pytest.raises(ValueError, match="a revision is 1 to 63 bytes of printable text"):
        PredictionIds(revision, BINARY)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("", "this is no prediction id", id="nothing"),
        pytest.param("a b", "this is no prediction id", id="other characters"),
        pytest.param("A" * (MAX_TEXT + 1), "this is no prediction id", id="endless"),
        pytest.param("AAAAA", "not whole", id="a length that base64 does not have"),
        pytest.param("AAAAAAAA", "not whole, or was changed", id="a wrong checksum"),
    ],
)
def test_what_is_no_id_is_refused_in_words(text: str, why: str) -> None:
    with pytest.raises(PredictionIdError, match=why):
        parse(text)


def forged(count: int, codes: int, flags: int, rows: int, predictions: bytes) -> str:
    """An id with a right checksum."""
    content = b"\x01\x01rabcd" + bytes([count]) + b"code" * codes + struct.pack(">BIIII", flags, 1, 2, 3, rows)
    data = content + predictions
    return binascii.b2a_base64(data + crc32(data).to_bytes(4), newline=False).translate(TO_URL).rstrip(b"=").decode()


TO_URL = bytes.maketrans(b"+/", b"-_")
NUMBER, HASHED, SHARES = 2, 4, 8
NAN = struct.pack(">d", float("nan"))


def test_what_the_next_test_forges_would_be_read_if_it_were_right() -> None:
    assert parse(forged(2, 2, SHARES, 1, b"\x01" + struct.pack(">2f", 0.25, 0.75))).probabilities == ((0.25, 0.75),)
    assert parse(forged(0, 0, NUMBER, 1, struct.pack(">d", 1.5))).predictions == (1.5,)
    assert parse(forged(16, 16, 0, 1, b"\x0f")).predictions == (int.from_bytes(b"code"),)
    assert parse(forged(0, 0, HASHED, 600, b"12345678")).hash == b"12345678"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(forged(0, 0, NUMBER, 1, NAN), id="a number that is none"),
        pytest.param(forged(1, 1, SHARES, 1, b"\x00" + struct.pack(">f", float("inf"))), id="an endless probability"),
        pytest.param(forged(2, 2, 0, 1, b"\x02"), id="a place that the list does not have"),
        pytest.param(forged(17, 17, 0, 1, b"\x00"), id="a list that is too long"),
        pytest.param(forged(1, 1, 0, 0, b""), id="no rows"),
        pytest.param(forged(1, 1, 0, 513, b"\x00" * 513), id="too many rows without a hash"),
        pytest.param(forged(1, 1, 0, 1, b"\x00\x00"), id="something behind the predictions"),
        pytest.param(forged(0, 0, SHARES, 1, b"code"), id="probabilities of no labels"),
        pytest.param(forged(1, 1, SHARES | NUMBER, 1, b"\x00" * 12), id="probabilities of numbers"),
        pytest.param(forged(0, 0, 16, 1, b"code"), id="a flag that there is not"),
    ],
)
def test_a_right_checksum_over_what_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(PredictionIdError, match="means nothing"):
        parse(text)
