"""A class that its author wrote: pre- and post-processing, business rules, several models in one.

    class Model:
        def load(self, directory: Path) -> None: ...
        def predict(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]: ...

stands in model.py, in a folder of the bundle with whatever it reads.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tidegate_contract.bundle.datatypes import Datatype
from tidegate_contract.bundle.manifest import Signature
from tidegate_contract.bundle.verify import VerifiedBundle
from tidegate_contract.failure import BundleError, FailureReason
from tidegate_server.engines.errors import one_line
from tidegate_server.engines.modules import import_from
from tidegate_server.outputs import InvalidOutputError
from tidegate_server.tensors import Array, Columns, conform

FOLDER = "model"
CLASS = "Model"
MODEL_FILE = f"{FOLDER}/{FOLDER}.py"


class WrittenEngine:
    """An object of the class behind the names and types of a signature."""

    def __init__(self, model: Any, signature: Signature) -> None:
        self._model = model
        self._outputs = {spec.name: spec.datatype for spec in signature.outputs}

    def predict(self, columns: Columns, outputs: Sequence[str]) -> Columns:
        """See `Engine`. The model answers everything that it has.

        Raises InvalidOutputError for an answer of another type than the signature's.
        """
        found = answers(self._model, columns)
        return {name: _typed(name, found[name], self._outputs[name]) for name in outputs if name in found}


class NotAModelError(Exception):
    """There is no class as it must be; the message says what is missing."""


def load(bundle: VerifiedBundle) -> WrittenEngine:
    """Raises BundleError LOAD_FAILED for anything that the author's code raises."""
    manifest = bundle.manifest
    try:
        model = make(manifest.files, bundle.read, bundle.directory / FOLDER)
    except BundleError:
        raise
    except NotAModelError as error:
        raise BundleError(FailureReason.LOAD_FAILED, f"{error}; pack the model again") from error
    except Exception as error:
        raise BundleError(FailureReason.LOAD_FAILED, f"{MODEL_FILE} cannot be loaded: {one_line(error)}") from error
    return WrittenEngine(model, manifest.signature)


def make(files: Collection[str], read: Callable[[str], bytes], directory: Path) -> Any:
    """An object of the class, which has loaded what it needs from the directory.

    `files`: the paths inside a bundle, of which `read` gives the bytes.
    Raises NotAModelError, and whatever the author's code raises.
    """
    if MODEL_FILE not in files:
        raise NotAModelError(f"there is no {MODEL_FILE}")
    with _no_exit():
        module = import_from(FOLDER, FOLDER, files, read, directory)
        kind = getattr(module, CLASS, None)
        if not isinstance(kind, type):
            raise NotAModelError(f"{MODEL_FILE} has no class {CLASS}")
        model = kind()
        if missing := [name for name in ("load", "predict") if not callable(getattr(model, name, None))]:
            raise NotAModelError(f"the class {CLASS} in {MODEL_FILE} has no method {' and no method '.join(missing)}")
        model.load(directory)
    return model


def answers(model: Any, columns: Columns) -> Columns:
    """What an object of the class answers, by name: numbers, or objects of `str`.

    Inputs and answers are copied: the model may write into the one, and go on using the other.
    Raises InvalidOutputError, and whatever the model raises.
    """
    with _no_exit():
        found = model.predict({name: column.copy() for name, column in columns.items()})
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise InvalidOutputError("the model's answer is not a dict of arrays by name")
    return {name: _array(name, answer) for name, answer in found.items()}


@contextmanager
def _no_exit() -> Iterator[None]:
    """`sys.exit` in the author's code is an error of that code, and ends no thread of the server."""
    try:
        yield
    except SystemExit as error:
        raise RuntimeError("it called sys.exit") from error


def _array(name: str, answer: Any) -> Array:
    array = np.array(answer)
    if array.dtype.kind in "UT":
        array = array.astype(object)
    if array.dtype.kind != "O":
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    values = array.reshape(-1).tolist()
    if not all(isinstance(value, str) for value in values):
        raise InvalidOutputError(f"the model's answer {name!r} holds what is neither a number nor a text")
    texts = np.empty(len(values), object)
    texts[:] = [str(value) for value in values]  # not numpy's own kind of text
    return texts.reshape(array.shape)


def _typed(name: str, answer: Array, datatype: Datatype) -> Array:
    array = conform(answer, datatype)
    if array is None:
        raise InvalidOutputError(f"the model's answer {name!r} does not have the type of its signature")
    return array
