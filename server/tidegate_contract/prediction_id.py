"""The prediction id: what a server must know when the truth comes, given to the client to keep.

Nothing is stored and there is no key: the id itself says which revision answered, under which weight step, when, and
what. Whoever learns the truth sends it with the id to any pod. The checksum finds ids that were cut or mistyped; it
proves nothing about who made them.

base64url without padding of, big-endian:

    1   version: 1                          4n  codes of the labels; where n is 255, one of the whole list
    1   bytes of the revision               1   flags: evidence 1, number 2, hashed 4, probabilities 8
    r   revision, UTF-8                     12  generation, seconds since 1970, counter
    4   random bytes of the process         4   rows
    1   n labels; 0 if none are known       m   predictions
                                            4   CRC-32 of all before it

Predictions are columns. Numbers: 8 bytes each (binary64). Labels: 1 byte each, the place in the list, 255 for a label
outside it; or 4 bytes each, the label's code, where the list is not in the id. Then the probabilities, [rows, n],
4 bytes each (binary32). What would take more than 512 bytes, or is more than one number or label for each row, is a
hash of 8 bytes instead, and whoever gives the truth sends the predictions back.

A label's code is 4 bytes of its hash. By codes, any pod can tell whether two labels are the same without knowing the
labels of the revision that answered, whose list may be another one.
"""

import binascii
import itertools
import math
import os
import re
import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any
from zlib import crc32

import msgspec
import numpy as np

from tidegate_contract.bundle.manifest import Signature
from tidegate_contract.names import MAX_REVISION_BYTES

MAX_LISTED = 16
"""Labels whose codes, and probabilities, an id carries."""
MAX_PREDICTION_BYTES = 512
MAX_TEXT = 1024
"""Characters of the longest id, and some more."""

_VERSION = 1
_UNLISTED = 255
_OTHER = 255
_EVIDENCE, _NUMBER, _HASHED, _PROBABILITIES = 1, 2, 4, 8
_HEAD = ">BIIII"
_HASH_BYTES = 8
_LARGEST = 0xFFFFFFFF
_LARGEST_SHARE = 1e38
"""What is no probability may not even be a binary32."""
_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_", b"+/")
_TEXT = re.compile(r"[A-Za-z0-9_-]+")

_head = struct.Struct(_HEAD)
_one_number = struct.Struct(_HEAD + "d")
_one_label = struct.Struct(_HEAD + "B")

Array = np.ndarray[Any, np.dtype[Any]]
Answers = Mapping[str, Array]
"""Outputs by name: `predict`, shape [rows] or [rows, k], and `predict_proba`, shape [rows, classes]."""


class PredictionIdError(ValueError):
    """A text that is no prediction id, or not a whole one; the message says nothing of the text."""


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """What an id says."""

    revision: str
    generation: int
    """The weight step; 0 without a router."""
    evidence: bool
    """A randomised first attempt."""
    time: int
    """Seconds since 1970."""
    rows: int
    number: bool
    """Each prediction is a number, else a label."""
    labels: tuple[int, ...] = ()
    """The codes of the labels, in the order of the probabilities; empty if the id does not list them."""
    list_code: int = 0
    """Of the whole list; 0 if no labels are known."""
    predictions: tuple[float, ...] | tuple[int | None, ...] = ()
    """For each row the number or the label's code (None: a label outside the list); empty where there is a hash."""
    probabilities: tuple[tuple[float, ...], ...] = ()
    """For each row and label; empty if the answer had none."""
    hash: bytes = b""
    """`hash_of` the predictions, instead of them."""


def generation_of(header: bytes) -> int:
    """The weight step that a request names; 0 for what is no number of 32 bits.

    >>> generation_of(b"17"), generation_of(b"-1"), generation_of(b"4294967296"), generation_of(b"")
    (17, 0, 0, 0)
    """
    found = int(header) if len(header) <= 10 and header.isdigit() else 0
    return found if found <= _LARGEST else 0


def canonical(label: Any) -> Any:
    """A label as JSON has it: 1 and 1.0 are the same there, 1, true and "1" are not.

    >>> canonical(1.0), canonical(1.5), canonical("1"), canonical(True)
    (1, 1.5, '1', True)
    """
    return int(label) if isinstance(label, float) and label.is_integer() else label


def label_code(label: Any) -> int:
    """32 bits that stand for a label: a bool, a number, a text or None.

    >>> label_code(1) == label_code(1.0), label_code(1) == label_code("1"), label_code(1) == label_code(True)
    (True, False, False)
    """
    return _code(canonical(label))


@lru_cache(4096, typed=True)
def _code(label: Any) -> int:
    return int.from_bytes(blake2b(msgspec.json.encode(label, enc_hook=str), digest_size=4).digest())


def list_code(codes: Sequence[int]) -> int:
    """32 bits that stand for a list of labels, given by their codes; 0 for none, and for nothing else."""
    return crc32(struct.pack(f">{len(codes)}I", *codes)) or 1 if codes else 0


def labels_of(signature: Signature) -> tuple[Any, ...]:
    """The labels that a model answers with; none if it has no probabilities to name them by."""
    spec = signature.output("predict_proba")
    return spec.labels if spec else ()


def hash_of(predictions: Sequence[Any], *, number: bool) -> bytes:
    """8 bytes that stand for the predictions of all rows, each a number or a label, or a list of them.

    Raises ValueError for what is not of that form; OverflowError for an integer that is no float.

    >>> hash_of([0, 2.5], number=True) == hash_of([-0.0, 2.5], number=True)
    True
    """
    if number:
        try:
            content = (np.asarray(predictions, dtype="<f8") + 0.0).tobytes()  # -0.0 is 0
        except TypeError as error:
            raise ValueError("these are no numbers") from error
    else:
        content = msgspec.json.encode(
            [[canonical(part) for part in row] if isinstance(row, list) else canonical(row) for row in predictions],
            enc_hook=str,
        )
    return blake2b(content, digest_size=_HASH_BYTES).digest()


class PredictionIds:
    """Makes the ids of one revision in one process. Made once, asked for every answer, from any thread."""

    def __init__(self, revision: str, signature: Signature, nonce: bytes | None = None) -> None:
        """`nonce`: 4 bytes that no other process has; random ones if not given.

        Raises ValueError for a revision that an id cannot carry.
        """
        name = revision.encode()
        if not 1 <= len(name) <= MAX_REVISION_BYTES or not revision.isprintable():
            raise ValueError(f"a revision is 1 to {MAX_REVISION_BYTES} bytes of printable text")
        spec, self._labels = signature.output("predict"), labels_of(signature)
        self._number = bool(spec and spec.datatype.is_float and not signature.output("predict_proba"))
        self._codes = tuple(map(label_code, self._labels))
        self._listed = 1 <= len(self._labels) <= MAX_LISTED
        self._places = {label: place for place, label in enumerate(self._labels)}
        listed = self._codes if self._listed else (list_code(self._codes),) if self._codes else ()
        count = _UNLISTED if self._codes and not self._listed else len(listed)
        nonce = os.urandom(4) if nonce is None else nonce
        self._prefix = b"%c%c%b%b%c" % (_VERSION, len(name), name, nonce, count)
        self._prefix += struct.pack(f">{len(listed)}I", *listed)
        self._checked = crc32(self._prefix)
        self._one_with = struct.Struct(f"{_HEAD}B{len(self._labels) if self._listed else 0}f")
        self._shape = (1, len(self._labels))
        self._count = itertools.count().__next__

    def make(self, answers: Answers, rows: int, generation: int, evidence: bool, now: float) -> str:
        """The id of one answer. `now`: seconds since 1970."""
        flags = _EVIDENCE if evidence else 0
        second, count = int(now) & _LARGEST, self._count() & _LARGEST
        body = self._one(answers, flags, generation, second, count) if rows == 1 else None
        if body is None:
            more, predictions = self._many(answers, rows)
            body = _head.pack(flags | more, generation, second, count, rows) + predictions
        data = self._prefix + body + crc32(body, self._checked).to_bytes(4)
        return binascii.b2a_base64(data, newline=False).translate(_TO_URL).rstrip(b"=").decode()

    def _one(self, answers: Answers, flags: int, generation: int, second: int, count: int) -> bytes | None:
        """What `_many` says of one row in the usual cases, at a fraction of the cost; else None."""
        predict = answers.get("predict")
        if predict is None or predict.shape != (1,):
            return None
        if self._number:
            return _one_number.pack(flags | _NUMBER, generation, second, count, 1, predict.item())
        if not self._listed:
            return None
        place = self._places.get(predict.item(), _OTHER)
        proba = answers.get("predict_proba")
        if proba is None:
            return _one_label.pack(flags, generation, second, count, 1, place)
        if proba.shape != self._shape:
            return None
        try:
            return self._one_with.pack(flags | _PROBABILITIES, generation, second, count, 1, place, *proba.tolist()[0])
        except OverflowError:  # no probability, whatever it is
            return None

    def _many(self, answers: Answers, rows: int) -> tuple[int, bytes]:
        """Flags and predictions of any answer."""
        predict, proba, number = answers.get("predict"), answers.get("predict_proba"), self._number
        fits = proba is not None and proba.shape == (rows, len(self._labels))
        if predict is None and proba is not None and fits:
            values: list[Any] = [self._labels[place] for place in proba.argmax(axis=1).tolist()]
        else:
            if predict is None:
                predict = next(iter(answers.values()))
                number = predict.dtype.kind == "f"
            values = predict.tolist()
        kind = _NUMBER if number else 0
        shares = proba if self._listed and fits and not number else None
        if shares is not None and not bool((np.abs(shares) <= _LARGEST_SHARE).all()):
            shares = None
        width = 8 if number else 4 if not self._listed else 1 if shares is None else 1 + 4 * len(self._labels)
        if rows * width > MAX_PREDICTION_BYTES or isinstance(values[0], list):
            return kind | _HASHED, hash_of(values, number=number)
        if number:
            return kind, struct.pack(f">{rows}d", *values)
        if not self._listed:
            return kind, struct.pack(f">{rows}I", *map(label_code, values))
        places = bytes(self._places.get(value, _OTHER) for value in values)
        return (kind, places) if shares is None else (kind | _PROBABILITIES, places + shares.astype(">f4").tobytes())


def parse(text: str) -> Prediction:
    """What an id says.

    Raises PredictionIdError, for every text that `PredictionIds.make` cannot have made.
    """
    if len(text) > MAX_TEXT or not _TEXT.fullmatch(text):
        raise PredictionIdError("this is no prediction id")
    try:
        data = binascii.a2b_base64(text.encode().translate(_FROM_URL) + b"=" * (-len(text) % 4))
    except binascii.Error as error:
        raise PredictionIdError("the prediction id is not whole") from error
    whole = binascii.b2a_base64(data, newline=False).translate(_TO_URL).rstrip(b"=").decode() == text
    if not whole or len(data) < 5 or crc32(data[:-4]).to_bytes(4) != data[-4:]:
        raise PredictionIdError("the prediction id is not whole, or was changed")
    if data[0] != _VERSION:
        raise PredictionIdError("the prediction id is of another release; this one cannot read it")
    try:
        return _read(data[1:-4])
    except (struct.error, UnicodeDecodeError, IndexError) as error:
        raise _meaningless() from error


def _meaningless() -> PredictionIdError:
    return PredictionIdError("the prediction id means nothing")


def _read(data: bytes) -> Prediction:
    """Raises PredictionIdError, struct.error, UnicodeDecodeError, IndexError."""
    at = 1 + data[0]
    revision = data[1:at].decode()
    count = data[at + 4]
    at += 5
    listed = count != _UNLISTED
    codes = struct.unpack_from(f">{count if listed else 1}I", data, at)
    at += 4 * len(codes)
    flags, generation, time, _, rows = _head.unpack_from(data, at)
    rest = data[at + _head.size :]
    number, hashed, with_shares = bool(flags & _NUMBER), bool(flags & _HASHED), bool(flags & _PROBABILITIES)
    if (
        not (1 <= data[0] <= MAX_REVISION_BYTES and revision.isprintable() and rows)
        or (listed and count > MAX_LISTED)
        or flags > (_EVIDENCE | _NUMBER | _HASHED | _PROBABILITIES)
        or (with_shares and (number or hashed or not listed or not count))
        or (not hashed and rows > MAX_PREDICTION_BYTES)
    ):
        raise _meaningless()
    labels = codes if listed else ()
    predictions: tuple[Any, ...] = ()
    probabilities: tuple[tuple[float, ...], ...] = ()
    form = "d" if number else "B" if labels else "I"
    size = _HASH_BYTES if hashed else struct.calcsize(f">{rows}{form}")
    if len(rest) != size + (4 * rows * count if with_shares else 0):
        raise _meaningless()
    if not hashed:
        predictions = struct.unpack_from(f">{rows}{form}", rest)
        if form == "d" and not all(map(math.isfinite, predictions)):
            raise _meaningless()
        if form == "B":
            predictions = tuple(None if place == _OTHER else labels[place] for place in predictions)
    if with_shares:
        shares = struct.unpack_from(f">{rows * count}f", rest, size)
        if not all(map(math.isfinite, shares)):
            raise _meaningless()
        probabilities = tuple(tuple(shares[row * count : (row + 1) * count]) for row in range(rows))
    return Prediction(
        revision=revision,
        generation=generation,
        evidence=bool(flags & _EVIDENCE),
        time=time,
        rows=rows,
        number=number,
        labels=labels,
        list_code=list_code(codes) if listed else codes[0],
        predictions=predictions,
        probabilities=probabilities,
        hash=rest if hashed else b"",
    )
