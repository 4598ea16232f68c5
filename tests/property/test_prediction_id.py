"""An id is read as it was made, or refused; whatever the text, nothing else happens."""

import binascii
import struct
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate_contract.bundle.datatypes import Datatype
from tidegate_contract.bundle.manifest import Signature, TensorSpec
from tidegate_contract.prediction_id import PredictionIdError, PredictionIds, hash_of, label_code, parse

INPUTS = (TensorSpec("x", Datatype.FP64, (-1,)),)
CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
patient = settings(deadline=None)

labels = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20, unique=True),
    st.lists(st.text(max_size=8), min_size=1, max_size=20, unique=True),
    st.just([False, True]),
)
revisions = st.text("abcdef0123456789-.ü", min_size=1, max_size=20)
words = st.integers(0, 2**32 - 1)


@st.composite
def _made(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """An id, and what it has to say."""
    rows = draw(st.sampled_from([1, 1, 2, 5, 64, 600]))
    told: dict[str, Any] = {"revision": draw(revisions), "generation": draw(words), "evidence": draw(st.booleans())}
    told |= {"time": draw(words), "rows": rows}
    outputs: list[TensorSpec]
    answers: dict[str, Any]
    if draw(st.booleans()):
        outputs = [TensorSpec("predict", Datatype.FP64, (-1,))]
        values: list[Any] = draw(
            st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=rows, max_size=rows)
            if rows < 10
            else st.just([0.5] * rows)
        )
        answers = {"predict": np.array(values)}
        told |= {"number": True, "predicted": values, "width": 8}
    else:
        listed = draw(labels)
        kind = Datatype.BYTES if isinstance(listed[0], str) else Datatype.BOOL
        kind = Datatype.INT64 if isinstance(listed[0], int) and not isinstance(listed[0], bool) else kind
        outputs = [
            TensorSpec("predict", kind, (-1,)),
            TensorSpec("predict_proba", Datatype.FP64, (-1, len(listed)), tuple(listed)),
        ]
        places = [draw(st.integers(0, len(listed) - 1)) for _ in range(min(rows, 5))] * (rows // min(rows, 5) + 1)
        values = [listed[place] for place in places[:rows]]
        predict = np.empty(rows, kind.dtype)
        predict[:] = values
        answers = {"predict": predict}
        shares = draw(st.booleans())
        if shares:
            answers["predict_proba"] = np.full((rows, len(listed)), 1 / len(listed))
        width = 4 if len(listed) > 16 else 1 + 4 * len(listed) * shares
        told |= {"number": False, "predicted": values, "width": width}
    signature = Signature(INPUTS, tuple(outputs))
    ids = PredictionIds(told["revision"], signature)
    return ids.make(answers, rows, told["generation"], told["evidence"], told["time"]), told


made = _made()


@patient
@given(made)
def test_an_id_is_read_as_it_was_made(case: tuple[str, dict[str, Any]]) -> None:
    text, told = case
    found = parse(text)
    for name in ("revision", "generation", "evidence", "time", "rows", "number"):
        assert getattr(found, name) == told[name]
    if told["rows"] * told["width"] > 512:
        assert (found.predictions, found.hash) == ((), hash_of(told["predicted"], number=told["number"]))
    elif told["number"]:
        assert list(found.predictions) == told["predicted"]
    else:
        assert list(found.predictions) == [label_code(label) for label in told["predicted"]]


@patient
@given(made, st.data())
def test_one_changed_character_is_refused(case: tuple[str, dict[str, Any]], data: st.DataObject) -> None:
    text = case[0]
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from(CHARACTERS.replace(text[place], "")) | st.characters().filter(text[place].__ne__))
    with pytest.raises(PredictionIdError):
        parse(text[:place] + other + text[place + 1 :])


def test_every_other_last_character_is_refused() -> None:
    """It has bits that no byte needs, which base64 would pass over."""
    for revision in ("r", "rr", "rrr"):
        ids = PredictionIds(revision, Signature(INPUTS, (TensorSpec("predict", Datatype.FP64, (-1,)),)))
        text = ids.make({"predict": np.array([1.5])}, 1, 0, False, 0.0)
        for last in CHARACTERS.replace(text[-1], ""):
            with pytest.raises(PredictionIdError):
                parse(text[:-1] + last)


@patient
@given(made, st.data())
def test_an_id_that_was_cut_is_refused(case: tuple[str, dict[str, Any]], data: st.DataObject) -> None:
    text = case[0]
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    if end - start < len(text):
        with pytest.raises(PredictionIdError):
            parse(text[start:end])


@patient
@given(st.text() | st.text(CHARACTERS))
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(PredictionIdError):
        parse(text)


def signed(content: bytes) -> str:
    data = content + crc32(content).to_bytes(4)
    return binascii.b2a_base64(data, newline=False).decode().rstrip("=").replace("+", "-").replace("/", "_")


@st.composite
def _forged(draw: st.DrawFn) -> bytes:
    """Content with a right checksum, whose parts need not fit each other."""
    revision = draw(st.binary(max_size=4))
    count = draw(st.sampled_from([0, 1, 2, 16, 17, 255]))
    codes = draw(st.sampled_from([0, 1, 2, 16]))
    head = struct.pack(">BIII", draw(st.integers(0, 31)), 1, 2, 3)
    rows = struct.pack(">I", draw(st.sampled_from([0, 1, 2, 512, 513, 2**32 - 1])))
    rest = draw(st.binary(max_size=40))
    length = draw(st.just(len(revision)) | st.integers(0, 255))
    return bytes([1, length]) + revision + b"abcd" + bytes([count]) + b"abcd" * codes + head + rows + rest


@settings(deadline=None, max_examples=500)
@given(_forged() | st.binary(max_size=80))
def test_a_forged_id_means_something_or_is_refused(content: bytes) -> None:
    try:
        found = parse(signed(content))
    except PredictionIdError:
        return
    assert found.rows >= 1
    assert len(found.predictions) == (0 if found.hash else found.rows)
    assert len(found.probabilities) in (0, found.rows)
