"""A class that its author wrote: pre- and post-processing, business rules, several models in one.

    class Model:
        def load(self, directory: Path) -> None: ...
        def predict(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]: ...

stands in model.py, in a folder of the bundle with whatever it reads. That folder is one package, of a name that no
other has: two versions can be loaded beside each other. Its modules are those that the manifest lists, each read with
its hash checked; what else lies there cannot be imported.
"""

import importlib
import sys
from collections.abc import Callable, Collection, Sequence
from importlib.abc import ExecutionLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tidegate_contract.bundle.datatypes import Datatype
from tidegate_contract.bundle.manifest import Signature
from tidegate_contract.bundle.verify import VerifiedBundle
from tidegate_contract.failure import BundleError, FailureReason
from tidegate_server.engines.errors import one_line
from tidegate_server.outputs import InvalidOutputError
from tidegate_server.tensors import Array, Columns, conform

FOLDER = "model"
CLASS = "Model"
MODEL_FILE = f"{FOLDER}/{FOLDER}.py"
_numbers = count(1)


class WrittenEngine:
    """An object of the class behind the names and types of a signature."""

    def __init__(self, model: Any, signature: Signature) -> None:
        self._model = model
        self._outputs = {spec.name: spec.datatype for spec in signature.outputs}

    def predict(self, columns: Columns, outputs: Sequence[str]) -> Columns:
        """See `Engine`. The model is given copies, as it may write into them, and answers everything that it has.

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
    package = f"tidegate_model_{next(_numbers)}"
    finder = _Finder(package, files, read)
    sys.meta_path.insert(0, finder)
    module = importlib.import_module(f"{package}.{FOLDER}")
    kind = getattr(module, CLASS, None)
    if not isinstance(kind, type):
        raise NotAModelError(f"{MODEL_FILE} has no class {CLASS}")
    model = kind()
    if missing := [name for name in ("load", "predict") if not callable(getattr(model, name, None))]:
        raise NotAModelError(f"the class {CLASS} in {MODEL_FILE} has no method {' and no method '.join(missing)}")
    model.load(directory)
    return model


def answers(model: Any, columns: Columns) -> Columns:
    """What an object of the class answers, by name. Raises InvalidOutputError, and whatever the model raises."""
    found = model.predict({name: column.copy() for name, column in columns.items()})
    if not isinstance(found, dict):
        raise InvalidOutputError("the model's answer is not a dict of arrays")
    return {name: np.asarray(answer) for name, answer in found.items()}


def _typed(name: str, answer: Array, datatype: Datatype) -> Array:
    if answer.dtype.kind == "U" and datatype is Datatype.BYTES:
        return answer.astype(object)
    array = conform(answer, datatype)
    if array is None:
        raise InvalidOutputError(f"the model's answer {name!r} does not have the type of its signature")
    return array


class _Finder(MetaPathFinder, ExecutionLoader):
    """Modules of one package, out of the files of a bundle."""

    def __init__(self, package: str, files: Collection[str], read: Callable[[str], bytes]) -> None:
        self._package = package
        self._files = files
        self._read = read

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._package and not fullname.startswith(f"{self._package}."):
            return None
        if not self._source(fullname) and not self.is_package(fullname):
            return None
        return spec_from_loader(fullname, self, origin=self._source(fullname))

    def is_package(self, fullname: str) -> bool:
        folder = f"{self._path(fullname)}/"
        return any(file.startswith(folder) for file in self._files)

    def get_filename(self, fullname: str) -> str:
        return self._source(fullname) or self._path(fullname)

    def get_source(self, fullname: str) -> str:
        source = self._source(fullname)
        return self._read(source).decode() if source else ""

    def _path(self, fullname: str) -> str:
        return FOLDER + fullname.removeprefix(self._package).replace(".", "/")

    def _source(self, fullname: str) -> str | None:
        path = self._path(fullname)
        return next((file for file in (f"{path}/__init__.py", f"{path}.py") if file in self._files), None)
