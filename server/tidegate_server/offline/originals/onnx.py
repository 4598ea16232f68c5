"""An ONNX model that is to be packed.

What it calls its outputs is up to whoever converted it. In the bundle they have the names that every model's have,
where it can be told which they are: an ONNX version of a model takes the place of the model itself, and no client
notices.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pandas as pd

from tidegate_contract.bundle.manifest import Format, Signature, SignatureKind, TensorSpec, Value
from tidegate_server.engines import PREDICT, PREDICT_PROBA
from tidegate_server.engines.errors import one_line
from tidegate_server.engines.onnx import DATATYPES, feeder, flat, open_session
from tidegate_server.offline.errors import ModelError
from tidegate_server.offline.originals import checked, counted, named, specs_of, without
from tidegate_server.offline.table import ASKED_AT_ONCE, spread, to_columns
from tidegate_server.tensors import Array, Columns

_CLASSES = ("classlabels_int64s", "classlabels_ints", "classlabels_strings")
"""The attributes of operators that name classes."""
_SLACK = 1e-3
"""By how much probabilities of single precision may be off."""


class Onnx:
    """See `Original`."""

    format = Format.ONNX
    model_file = "model.onnx"
    trusted_types: tuple[str, ...] = ()
    libraries = ("numpy", "onnxruntime")
    estimator: Any = None

    def __init__(self, content: bytes) -> None:
        """Raises ModelError for what no bundle can hold."""
        self.contents = {self.model_file: content}
        try:
            self._graph = onnx.load_from_string(content)
            if _names_files(self._graph):
                raise ModelError("its numbers are in other files: save it whole, as one file")
            self._session = open_session(content)
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(f"this is no model that ONNX Runtime can read: {one_line(error)}") from error
        self._inputs = self._session.get_inputs()
        for given in self._inputs:
            if given.type not in DATATYPES or not 1 <= len(given.shape) <= 2:
                raise ModelError(f"its input {given.name} is {_said(given)}; {_WRAP}")
        for given in self._session.get_outputs():
            if given.type.startswith("seq"):
                raise ModelError(
                    f"its output {given.name} is a list of maps, which no array holds: convert the model again with "
                    'the option {"zipmap": False}'
                )
            if given.type not in DATATYPES or not 1 <= len(given.shape) <= 2:
                raise ModelError(f"its output {given.name} is {_said(given)}; {_WRAP}")
        several = [given.name for given in self._inputs if not _is_one_column(given)]
        if len(self._inputs) > 1 and several:
            raise ModelError(f"it has several inputs, and {several[0]} is more than a column; {_WRAP}")
        self._wide = False
        """Whether all columns are one input."""
        self.inner_names: Mapping[str, str] = {}
        self._labels: Sequence[Value] = ()

    def features(self, frame: pd.DataFrame, target: str | None) -> pd.DataFrame:
        rest = without(frame, target)
        first = self._inputs[0]
        is_a_column = _is_one_column(first) and first.name in rest.columns
        self._wide = len(self._inputs) == 1 and len(first.shape) == 2 and not is_a_column
        if not self._wide:
            return named(rest, [given.name for given in self._inputs])
        width = self._inputs[0].shape[1]
        return counted(rest, width) if isinstance(width, int) else rest

    def signature(self, rows: pd.DataFrame, tensor: str) -> Signature:
        if tensor and not self._wide:
            raise ModelError("it has an input for each column, and takes no one tensor")
        if self._wide:
            datatype = DATATYPES[self._inputs[0].type]
            specs = tuple(TensorSpec(name, datatype, (-1,)) for name in rows.columns)
            signature = Signature(specs, (), SignatureKind.TENSOR, tensor or self._inputs[0].name)
        else:
            specs = tuple(TensorSpec(given.name, DATATYPES[given.type], (-1,)) for given in self._inputs)
            signature = Signature(specs, ())
        some = rows.iloc[spread(len(rows), ASKED_AT_ONCE)]
        self.inner_names, self._labels = self._told_apart(self._answers(some, signature))
        return signature

    def ask(self, rows: pd.DataFrame, signature: Signature) -> Columns:
        answers = self._answers(rows, signature)
        return {name: answers[inside] for name, inside in self.inner_names.items()}

    def outputs(self, answers: Columns) -> tuple[TensorSpec, ...]:
        return specs_of(answers, self._labels)

    def describe(self) -> str:
        """Who made the file, and the versions of the operators that it needs."""
        opsets = ", ".join(f"{item.domain or 'ai.onnx'} {item.version}" for item in self._graph.opset_import)
        made_by = f"{self._graph.producer_name} {self._graph.producer_version}".strip()
        return f"{made_by or 'ONNX'} ({opsets})"

    def _answers(self, rows: pd.DataFrame, signature: Signature) -> Columns:
        """By the graph's own names."""
        feed = feeder(self._session, signature)(to_columns(rows, signature.inputs))
        try:
            found = self._session.run(None, feed)
        except Exception as error:
            raise ModelError(f"the model cannot answer the data: {one_line(error)}") from error
        inner = [given.name for given in self._session.get_outputs()]
        return checked({name: flat(answer) for name, answer in zip(inner, found, strict=True)}, len(rows))

    def _told_apart(self, answers: Columns) -> tuple[dict[str, str], Sequence[Value]]:
        """The outputs' names in the bundle with those in the model, and the classes of probabilities, if there are any.

        `predict` is the output that the model calls so, else the one of labels, else the first.
        """
        labels = [name for name, answer in answers.items() if answer.ndim == 1 and answer.dtype.kind not in "bf"]
        predict = PREDICT if PREDICT in answers else (labels or list(answers))[0]
        names = {PREDICT: predict, **{name: name for name in answers if name != predict}}
        for name in [PREDICT_PROBA] if PREDICT_PROBA in answers else answers if predict in labels else ():
            if _are_chances(answers[name]) and (classes := self._classes(answers[predict], answers[name])):
                return {PREDICT_PROBA if outer == name else outer: inner for outer, inner in names.items()}, classes
        if PREDICT_PROBA in answers:
            raise ModelError(f"its output {PREDICT_PROBA} is no matrix of probabilities of known classes; rename it")
        return names, ()

    def _classes(self, labels: Array, chances: Array) -> Sequence[Value]:
        """The class of each column: as an operator of the graph names them, else as the answers show; () if neither
        does, or the answers contradict it."""
        shown = _classes_seen(labels, chances)
        for node in reversed(self._graph.graph.node):
            for attribute in node.attribute:
                if attribute.name in _CLASSES and (found := onnx.helper.get_attribute_value(attribute)):
                    named = [label.decode() if isinstance(label, bytes) else int(label) for label in found]
                    fits = len(named) == chances.shape[1]
                    if fits and all(label in (None, other) for label, other in zip(shown, named, strict=True)):
                        return named
        return shown if None not in shown and len(set(shown)) == len(shown) else ()


_WRAP = "give a folder with a class in model.py that takes columns and asks it"


def _names_files(part: Any) -> bool:
    """Whether a tensor anywhere in a graph is kept in another file."""
    if isinstance(part, onnx.TensorProto):
        return part.data_location == onnx.TensorProto.EXTERNAL
    return any(
        _names_files(inner)
        for field, value in part.ListFields()
        if field.message_type is not None
        for inner in (value if field.is_repeated else [value])
    )


def _is_one_column(given: Any) -> bool:
    return given.shape[1:] in ([], [1])


def _said(given: Any) -> str:
    return f"{given.type} of {len(given.shape)} dimensions"


def _are_chances(answer: Array) -> bool:
    """Whether rows are probabilities of several classes."""
    if answer.dtype.kind != "f" or answer.ndim != 2 or answer.shape[1] < 2:
        return False
    whole = np.abs(answer.sum(axis=1) - 1) <= _SLACK
    return bool(((answer >= -_SLACK) & (answer <= 1 + _SLACK)).all() and whole.all())


def _classes_seen(labels: Array, chances: Array) -> list[Value]:
    """For each column the label of the rows in which its chance is the highest by far; None where none shows it."""
    ordered = np.sort(chances, axis=1)
    clear = ordered[:, -1] - ordered[:, -2] > _SLACK
    best = chances.argmax(axis=1)
    found: list[Value] = []
    for place in range(chances.shape[1]):
        said = set(labels[clear & (best == place)].tolist())
        found.append(said.pop() if len(said) == 1 else None)
    return found
