"""Whether a loaded model still gives the answers it was packed with."""

from collections.abc import Sequence

import numpy as np

from tidegate_contract.bundle.manifest import GoldenRows, Manifest, Value
from tidegate_contract.failure import BundleError, FailureReason
from tidegate_server.engines import Engine
from tidegate_server.outputs import InvalidOutputError, check_form
from tidegate_server.tensors import Array, Columns, TensorError, from_values


def golden_columns(manifest: Manifest) -> Columns:
    """The golden inputs as an engine takes them.

    Raises BundleError BUNDLE_INVALID where a value is not of its column's type.
    """
    try:
        return {s.name: from_values(s.datatype, manifest.golden.inputs[s.name]) for s in manifest.signature.inputs}
    except TensorError as error:
        raise BundleError(FailureReason.BUNDLE_INVALID, f"golden rows: {error}; pack the model again") from error


def check_golden(engine: Engine, manifest: Manifest) -> None:
    """Ask the engine for the golden rows, all at once and then the first one alone.

    Labels must be equal, floats within the manifest's tolerance; a model whose answer to a row depends on
    the other rows is refused here.

    Raises BundleError: GOLDEN_MISMATCH, LOAD_FAILED if the model raises.
    """
    columns = golden_columns(manifest)
    names = [spec.name for spec in manifest.signature.outputs]
    for rows in (manifest.golden.rows, 1):
        part = {name: column[:rows] for name, column in columns.items()}
        try:
            answers = engine.predict(part, names)
            check_form(answers, names, rows, manifest.signature)
        except InvalidOutputError as error:
            raise BundleError(FailureReason.GOLDEN_MISMATCH, f"golden rows: {error}; pack the model again") from error
        except Exception as error:
            raise BundleError(
                FailureReason.LOAD_FAILED,
                f"the model raised {type(error).__name__} on its golden rows; {_environment(manifest)}",
            ) from error
        for name in names:
            _compare(name, answers[name], manifest.golden, rows, manifest)


def _compare(name: str, answer: Array, golden: GoldenRows, rows: int, manifest: Manifest) -> None:
    expected = golden.outputs[name][:rows]
    wrong = differing_rows(answer, expected, golden.tolerance)
    if wrong:
        raise BundleError(
            FailureReason.GOLDEN_MISMATCH,
            f"{name} differs from the answer it was packed with in {len(wrong)} of {rows} golden rows "
            f"(the first is row {wrong[0]}); {_environment(manifest)}",
        )


def _environment(manifest: Manifest) -> str:
    libraries = ", ".join(f"{name} {version}" for name, version in sorted(manifest.environment.libraries.items()))
    return (
        f"it was packed with Python {manifest.environment.python}, {libraries} on {manifest.environment.arch}: "
        "serve it with the same libraries, or pack it again with the server's"
    )


def differing_rows(answer: Array, expected: Sequence[Value | tuple[Value, ...]], tolerance: float) -> list[int]:
    """Indices of the rows whose answer is not the expected one.

    Floats: |answer - expected| <= tolerance * (1 + |expected|), and NaN equals a missing value.
    Everything else: equal. Another number of rows or of columns differs everywhere.
    """
    rows = range(len(expected))
    if answer.dtype.kind != "f":
        given = answer.tolist()
        return list(rows) if len(given) != len(expected) else [i for i in rows if given[i] != _plain(expected[i])]
    try:
        wanted = np.array([_plain(cell) for cell in expected], dtype=np.float64)
    except (TypeError, ValueError):
        return list(rows)
    if wanted.shape != answer.shape:
        return list(rows)
    close = np.isclose(answer.astype(np.float64), wanted, rtol=tolerance, atol=tolerance, equal_nan=True)
    return np.flatnonzero(~close.reshape(len(expected), -1).all(axis=1)).tolist()


def _plain(cell: Value | tuple[Value, ...]) -> object:
    return list(cell) if isinstance(cell, tuple) else cell
