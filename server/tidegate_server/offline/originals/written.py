"""A class that is to be packed, with everything that lies in its folder."""

import ast
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tidegate_contract.bundle.manifest import Format, Signature, TensorSpec, Value
from tidegate_server.engines import PREDICT, PREDICT_PROBA
from tidegate_server.engines.errors import one_line
from tidegate_server.engines.written import CLASS, FOLDER, MODEL_FILE, NotAModelError, answers, make
from tidegate_server.offline.errors import ModelError, PackError
from tidegate_server.offline.originals import checked, specs_of, without
from tidegate_server.offline.table import signature_of, to_columns
from tidegate_server.tensors import Columns


class Written:
    """See `Original`."""

    format = Format.PYTHON
    model_file = MODEL_FILE
    trusted_types: tuple[str, ...] = ()
    inner_names: Mapping[str, str] = {}
    estimator: Any = None

    def __init__(self, folder: Path) -> None:
        """Raises ModelError for a folder without such a class, PackError for files that cannot be read."""
        self.contents = _contents(folder)
        if MODEL_FILE not in self.contents:
            raise ModelError(f"{folder} has no model.py with a class {CLASS}, whose methods are load and predict")
        self.libraries = ("numpy", *_distributions(self.contents))
        try:
            self._model = make(self.contents, self.contents.__getitem__, folder)
        except NotAModelError as error:
            raise ModelError(str(error)) from error
        except Exception as error:
            raise ModelError(f"{MODEL_FILE} cannot be loaded: {one_line(error)}") from error

    def features(self, frame: pd.DataFrame, target: str | None) -> pd.DataFrame:
        return without(frame, target)

    def signature(self, rows: pd.DataFrame, tensor: str) -> Signature:
        return signature_of(rows, tensor)

    def ask(self, rows: pd.DataFrame, signature: Signature) -> Columns:
        try:
            found = answers(self._model, to_columns(rows, signature.inputs))
        except Exception as error:
            raise ModelError(f"the model cannot answer the data: {one_line(error)}") from error
        if PREDICT not in found:
            raise ModelError(f"the model answers {', '.join(found) or 'nothing'}, and needs an output {PREDICT!r}")
        return checked(found, len(rows))

    def outputs(self, answers: Columns) -> tuple[TensorSpec, ...]:
        return specs_of(answers, self._labels(answers))

    def describe(self) -> str:
        said = (type(self._model).__doc__ or "").strip()
        return said.splitlines()[0] if said else CLASS

    def _labels(self, found: Columns) -> Sequence[Value]:
        """Raises ModelError where probabilities have no names."""
        if PREDICT_PROBA not in found:
            return ()
        labels: list[Value] = [_plain(label) for label in getattr(self._model, "classes_", ())]
        if found[PREDICT_PROBA].ndim != 2 or len(labels) != found[PREDICT_PROBA].shape[1]:
            raise ModelError(f"{PREDICT_PROBA} needs a column for each of the labels in the attribute classes_")
        return labels


def _plain(label: Any) -> Value:
    """A label as JSON has it. Raises ModelError."""
    label = label.item() if isinstance(label, np.generic) else label
    if not isinstance(label, bool | int | float | str):
        raise ModelError(f"classes_ holds a {type(label).__name__}, and labels are numbers or texts")
    return label


def _contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder by their paths in the bundle, but for hidden ones and Python's own."""
    found = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if "__pycache__" in inside.parts or any(part.startswith(".") for part in inside.parts):
            continue
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise PackError(f"{path} is not a plain file; copy what it stands for into the folder")
        if path.is_dir():
            continue
        try:
            found[f"{FOLDER}/{inside.as_posix()}"] = path.read_bytes()
        except OSError as error:
            raise PackError(f"{path} cannot be read: {error.strerror}") from error
    return found


def _distributions(contents: Mapping[str, bytes]) -> Iterable[str]:
    """The installed packages that the modules import, sorted."""
    known = packages_distributions()
    roots = {root for path, content in contents.items() if path.endswith(".py") for root in _imported(content)}
    return sorted({distribution for root in roots for distribution in known.get(root, ())} - {"numpy", "tidegate"})


def _imported(content: bytes) -> Iterable[str]:
    """Roots of what a module imports; nothing of one that is not Python and may never be imported."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".", 1)[0] for alias in node.names)
        if isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.split(".", 1)[0]
