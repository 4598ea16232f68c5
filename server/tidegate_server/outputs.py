"""Whether an answer is what its signature promises."""

from collections.abc import Sequence

import numpy as np

from tidegate_contract.bundle.manifest import Signature
from tidegate_server.tensors import Array, Columns


class InvalidOutputError(ValueError):
    """An answer that breaks the signature; the message names the output and none of its values."""


def check_form(answers: Columns, outputs: Sequence[str], rows: int, signature: Signature) -> None:
    """Raises InvalidOutputError where an output is missing, or of another shape or type."""
    for name in outputs:
        spec, array = signature.output(name), answers.get(name)
        if (
            spec is None
            or array is None
            or array.dtype != spec.datatype.dtype
            or array.shape != (rows, *spec.shape[1:])
        ):
            raise InvalidOutputError(f"the model's answer {name!r} does not have the shape and type of its signature")


def check_finite(name: str, array: Array) -> None:
    """Raises InvalidOutputError for NaN and infinities, which JSON does not have."""
    if array.dtype.kind == "f" and not bool(np.isfinite(array).all()):
        raise InvalidOutputError(f"the model's answer {name!r} holds a number that is not finite")
