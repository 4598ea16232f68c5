"""A model as plain arrays: the file of a compiled engine, and the engine that answers from it.

    columns -> matrix -> steps on it -> sums (trees or linear) -> answers

numpy is all that it needs. Reading a file runs nothing and trusts nothing: it is typed, and every size and index in
it is looked at. scikit-learn's rules of what it refuses are part of the file.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from itertools import groupby
from operator import itemgetter
from typing import Any, Literal

import msgspec
import numpy as np

from tidegate_contract.bundle.manifest import Signature, Value
from tidegate_server.engines.errors import EngineError
from tidegate_server.engines.linear import Linear, Sums
from tidegate_server.engines.trees import Forest, Trees
from tidegate_server.tensors import Array, Columns, TensorError, from_values

VERSION = 1
_PREDICT = "predict"


class Number(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="number"):
    """An input as it is."""

    input: int


class Code(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="code"):
    """An input of text as a number, its place in a list or whether it is one of them. A null code stands for NaN."""

    input: int
    codes: dict[str, float | None]
    missing: float | None
    unknown: float | None
    refuses: bool = False
    """Whether a value that is not among the codes is an error,"""
    takes_missing: bool = False
    """but for a missing one."""


class Operation(StrEnum):
    """What is done to a matrix, with one number per column of it."""

    ADD = "add"
    SUBTRACT = "subtract"
    MULTIPLY = "multiply"
    DIVIDE = "divide"
    FILL = "fill"
    """Missing values become the number; NaN leaves them."""


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    operation: Operation
    numbers: tuple[float | None, ...]
    """One per column; null is NaN."""


class Answer(StrEnum):
    """What becomes of the sums."""

    NUMBERS = "numbers"
    EXPONENTIALS = "exponentials"
    PROBABILITIES = "probabilities"
    """The sums are the probabilities of the classes."""
    LOGISTIC = "logistic"
    """One sum, the log odds of the second class."""
    SOFTMAX = "softmax"
    EACH_AGAINST_REST = "each-against-rest"
    """One logistic per class, divided by the sum of all."""
    SCORES = "scores"
    """Labels alone: the class with the largest sum, or the second where the only sum is positive."""


class Program(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    version: int
    features: tuple[Number | Code, ...]
    double: bool
    """The matrix and the steps are float64; otherwise float32."""
    steps: tuple[Step, ...]
    takes_nan: bool
    takes_infinity: bool
    model: Trees | Linear
    answer: Answer
    classes: tuple[Value, ...] = ()
    slope: float = 1.0
    """Of a logistic: what the sum is multiplied with."""
    zero_is_second: bool = False
    """Of a logistic: the class of a sum that is 0."""


def encode(program: Program) -> bytes:
    """The same program gives the same bytes."""
    return msgspec.msgpack.encode(program, order="deterministic")


def load(content: bytes, signature: Signature) -> "CompiledEngine":
    """An engine from the bytes of its file.

    Raises EngineError.
    """
    try:
        program = msgspec.msgpack.decode(content, type=Program)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise EngineError(f"the file does not parse: {error}") from error
    if program.version != VERSION:
        raise EngineError(f"the file has version {program.version}, and this release reads {VERSION}")
    return CompiledEngine(program, signature)


class CompiledEngine:
    """See `Engine`."""

    def __init__(self, program: Program, signature: Signature) -> None:
        """Raises EngineError for what does not fit together, or not the signature."""
        width = len(program.features)
        if any(not 0 <= feature.input < len(signature.inputs) for feature in program.features) or not width:
            raise EngineError("a feature is of no input")
        self._names = [spec.name for spec in signature.inputs]
        # Not the program, which holds the bytes of arrays that have been read.
        self._answer, self._slope, self._zero_is_second = program.answer, program.slope, program.zero_is_second
        self._takes_nan, self._takes_infinity = program.takes_nan, program.takes_infinity
        self._dtype: np.dtype[Any] = np.dtype(np.float64 if program.double else np.float32)
        self._readers = _readers(program.features, self._names)
        self._width = width
        self._steps = [_step(step, width, self._dtype) for step in program.steps]
        if isinstance(program.model, Trees):
            forest = Forest(program.model, width)
            self._raw, self._model_dtype = forest.raw, forest.dtype
        else:
            self._raw, self._model_dtype = Sums(program.model, width).raw, self._dtype
        self._order: Literal["C", "F"] = "C" if isinstance(program.model, Trees) else "F"  # as each reads it fastest
        self._datatypes = {spec.name: spec.datatype for spec in signature.outputs}
        self._classes = _classes(program, signature)
        self._check_outputs(program.model.outputs, signature)

    def predict(self, columns: Columns, outputs: Sequence[str]) -> Columns:
        """Raises ValueError for values that the original refuses."""
        with np.errstate(all="ignore"):
            raw = self._raw(self._matrix(columns))
            return {name: self._output(name, raw) for name in outputs}

    def _matrix(self, columns: Columns) -> Array:
        x = np.empty((len(columns[self._names[0]]), self._width), self._dtype, order=self._order)
        for place, read in self._readers:
            x[:, place] = read(columns)
        for step in self._steps:
            x = step(x)
        x = x.astype(self._model_dtype, copy=False)
        if not (self._takes_nan and self._takes_infinity) and not np.isfinite(x.sum()):
            if not self._takes_nan and np.isnan(x).any():
                raise ValueError("the model takes no missing values")
            if not self._takes_infinity and np.isinf(x).any():
                raise ValueError(f"the model takes no value that is infinite, or too large for {x.dtype}")
        return x

    def _output(self, name: str, raw: Array) -> Array:
        if self._classes is None:
            numbers = np.exp(raw) if self._answer is Answer.EXPONENTIALS else raw
            answer = numbers[:, 0] if numbers.shape[1] == 1 else numbers
        elif name == _PREDICT:
            return np.asarray(self._classes.take(self._labels(raw)))
        else:
            answer = self._probabilities(raw)
        return answer.astype(self._datatypes[name].dtype, copy=False)

    def _labels(self, raw: Array) -> Array:
        if raw.shape[1] > 1 or self._answer is Answer.PROBABILITIES:
            return np.asarray(np.argmax(raw, axis=1))
        score = raw[:, 0]
        return np.asarray(score >= 0 if self._zero_is_second else score > 0, np.intp)

    def _probabilities(self, raw: Array) -> Array:
        match self._answer:
            case Answer.PROBABILITIES:
                return raw
            case Answer.LOGISTIC:
                second = _logistic(raw[:, 0] * self._slope)
                return np.stack([1 - second, second], axis=1)
            case Answer.EACH_AGAINST_REST:
                each = _logistic(raw)
                each[each.sum(axis=1) == 0] = 1
                return np.asarray(each / each.sum(axis=1, keepdims=True))
            case _:
                grown = np.exp(raw - raw.max(axis=1, keepdims=True))
                return np.asarray(grown / grown.sum(axis=1, keepdims=True))

    def _check_outputs(self, outputs: int, signature: Signature) -> None:
        """Raises EngineError where the answers would not have the shapes of the signature."""
        answer = self._answer
        names = {spec.name for spec in signature.outputs}
        if self._classes is None:
            shapes = [(-1,) if outputs == 1 else (-1, outputs)]
            fits = names == {_PREDICT} and [spec.shape for spec in signature.outputs] == shapes
        else:
            classes = len(self._classes)
            single = answer is Answer.LOGISTIC or (answer is Answer.SCORES and outputs == 1)
            wide = [spec.shape for spec in signature.outputs if spec.name != _PREDICT]
            fits = (
                (outputs == 1 and classes == 2 if single else outputs == classes)
                and names <= {_PREDICT, "predict_proba"}
                and all(shape == (-1, classes) for shape in wide)
                and not (wide and answer is Answer.SCORES)
            )
        if not fits:
            raise EngineError("the answers have other shapes than the signature's")


def _logistic(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


_Reader = tuple[int | slice, Callable[[Columns], Array]]
"""Columns of the matrix, and what fills them."""


def _readers(features: Sequence[Number | Code], names: Sequence[str]) -> list[_Reader]:
    """In the order of the matrix; neighbours that are codes of one input are looked up together."""
    readers: list[_Reader] = []
    for (feature_type, number), group in groupby(enumerate(features), lambda item: (type(item[1]), item[1].input)):
        places, found = zip(*group, strict=True)
        if feature_type is Number:
            readers += [(place, itemgetter(names[number])) for place in places]
        else:
            readers.append((slice(places[0], places[-1] + 1), _coded(found, names[number])))
    return readers


def _coded(codes: Sequence[Code], name: str) -> Callable[[Columns], Array]:
    """A function from the columns to the codes of one of them, shape [n, codes]."""
    texts = dict.fromkeys(text for code in codes for text in code.codes)
    places: dict[str | None, int] = {text: place for place, text in enumerate(texts)}
    table = [[_number(code.codes.get(text, code.unknown)) for code in codes] for text in texts]
    places[None] = len(table)
    table.append([_number(code.missing) for code in codes])
    unknown = len(table)
    table.append([_number(code.unknown) for code in codes])
    rows = np.array(table, np.float64)
    taken = [{*code.codes, *([None] if code.takes_missing else [])} for code in codes if code.refuses]

    def read(columns: Columns) -> Array:
        values = columns[name].tolist()
        if taken and not all(keys >= set(values) for keys in taken):
            raise ValueError("the model takes no category that it was not trained on")
        return rows[[places.get(value, unknown) for value in values]]

    return read


def _step(step: Step, width: int, dtype: np.dtype[Any]) -> Callable[[Array], Array]:
    if len(step.numbers) != width:
        raise EngineError("a step has not one number per column")
    numbers = np.array([_number(number) for number in step.numbers], np.float64)
    match step.operation:
        case Operation.FILL:
            filled, numbers = ~np.isnan(numbers), numbers.astype(dtype)
            return lambda x: np.where(np.isnan(x) & filled, numbers, x)
        case Operation.ADD:
            return lambda x: np.add(x, numbers, out=x, casting="same_kind")
        case Operation.SUBTRACT:
            return lambda x: np.subtract(x, numbers, out=x, casting="same_kind")
        case Operation.MULTIPLY:
            return lambda x: np.multiply(x, numbers, out=x, casting="same_kind")
        case Operation.DIVIDE:
            return lambda x: np.divide(x, numbers, out=x, casting="same_kind")


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def _classes(program: Program, signature: Signature) -> Array | None:
    """The labels, as the signature types them; None for a model of numbers. Raises EngineError."""
    if program.answer in (Answer.NUMBERS, Answer.EXPONENTIALS):
        return None
    spec = signature.output(_PREDICT)
    if spec is None or not program.classes:
        raise EngineError("the classes, or the output of labels, are missing")
    try:
        return from_values(spec.datatype, program.classes)
    except TensorError as error:
        raise EngineError(f"the classes are not of the signature's type: {error}") from error
