"""Weighted sums, by the same expression as scikit-learn's."""

import msgspec
import numpy as np

from tidegate_server.engines.errors import EngineError
from tidegate_server.engines.trees import read_array
from tidegate_server.tensors import Array


class Linear(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="linear"):
    """`rows @ weights.T + intercept`, of `outputs` numbers a row."""

    double: bool
    """The weights are float64; otherwise float32."""
    weights: bytes
    """Shape [outputs, columns], little-endian."""
    intercept: bytes
    """Shape [outputs], little-endian float64, or float32 as the weights are."""
    outputs: int


class Sums:
    """Weights that are ready to be used."""

    def __init__(self, linear: Linear, columns: int) -> None:
        """Raises EngineError for arrays that do not fit each other."""
        if linear.outputs < 1:
            raise EngineError("a linear model without outputs")
        dtype = "<f8" if linear.double else "<f4"
        self._weights = read_array(linear.weights, dtype, linear.outputs * columns).reshape(linear.outputs, columns).T
        self._intercept = read_array(linear.intercept, dtype, linear.outputs)

    def raw(self, x: Array) -> Array:
        """The sums of shape [n, outputs] for rows of shape [n, columns]."""
        return np.asarray(x @ self._weights + self._intercept)
