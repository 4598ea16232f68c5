"""The Open Inference Protocol's datatypes, as numpy sees them.

Source: Open Inference Protocol v2, section "Tensor Data Types". FP16 and BF16 are left out
on purpose: the protocol gives them no JSON form, so nobody could send them.
"""

from enum import StrEnum

import numpy as np


class Datatype(StrEnum):
    """A tensor's element type, spelled as on the wire."""

    BOOL = "BOOL"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"
    """Text or a category: a JSON string. A missing one is null."""

    @property
    def dtype(self) -> np.dtype:
        """The numpy type of an array of this datatype; BYTES is an object array of str and None."""
        return _DTYPES[self]

    @property
    def is_integer(self) -> bool:
        return _DTYPES[self].kind in "iu"

    @property
    def is_float(self) -> bool:
        return _DTYPES[self].kind == "f"


_DTYPES = {
    Datatype.BOOL: np.dtype(np.bool_),
    Datatype.INT8: np.dtype(np.int8),
    Datatype.INT16: np.dtype(np.int16),
    Datatype.INT32: np.dtype(np.int32),
    Datatype.INT64: np.dtype(np.int64),
    Datatype.UINT8: np.dtype(np.uint8),
    Datatype.UINT16: np.dtype(np.uint16),
    Datatype.UINT32: np.dtype(np.uint32),
    Datatype.UINT64: np.dtype(np.uint64),
    Datatype.FP32: np.dtype(np.float32),
    Datatype.FP64: np.dtype(np.float64),
    Datatype.BYTES: np.dtype(np.object_),
}


def datatype_of(dtype: np.dtype) -> Datatype | None:
    """The datatype of a numpy type; None where JSON has no faithful form for it.

    >>> datatype_of(np.dtype("int64")), datatype_of(np.dtype("<U3")), datatype_of(np.dtype("complex64"))
    (<Datatype.INT64: 'INT64'>, <Datatype.BYTES: 'BYTES'>, None)
    """
    if dtype.kind in "OUST":
        return Datatype.BYTES
    for datatype, known in _DTYPES.items():
        if known == dtype:
            return datatype
    return None
