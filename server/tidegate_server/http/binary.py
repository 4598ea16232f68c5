"""Tensors as raw bytes beside the JSON of a request or an answer.

Pure. Source: the protocol's binary tensor data extension. Little-endian, row-major; BOOL is a byte of 0 or 1, an
element of BYTES its length in four bytes and then UTF-8. FP16 and BF16, which have no JSON form, come in here alone.
"""

import struct

import numpy as np

from tidegate_contract.bundle.datatypes import Datatype
from tidegate_server.tensors import Array, TensorError

_LENGTH = struct.Struct("<I")


def unpack(datatype: str, count: int, data: memoryview) -> Array:
    """A flat array of `count` elements; FP16 and BF16 as FP32.

    Raises TensorError for bytes that are not so many elements of that type.
    """
    match datatype:
        case "FP16":
            return _numbers(np.dtype("<f2"), count, data).astype(np.float32)
        case "BF16":
            # The upper half of an FP32.
            return (_numbers(np.dtype("<u2"), count, data).astype(np.uint32) << 16).view(np.float32)
        case "BYTES":
            return _texts(count, data)
        case "BOOL":
            found = _numbers(np.dtype("u1"), count, data)
            if bool((found > 1).any()):
                raise TensorError("a byte of BOOL is 0 or 1")
            return found.astype(np.bool_)
    try:
        dtype = Datatype(datatype).dtype
    except ValueError as error:
        raise TensorError("that is no datatype of the protocol") from error
    return _numbers(dtype.newbyteorder("<"), count, data).astype(dtype)


def pack(array: Array) -> bytes:
    """The bytes of an array of a signature's type; the other way of `unpack`.

    >>> pack(np.array([1, -1], np.int16)), pack(np.array(["UA"], object))
    (b'\\x01\\x00\\xff\\xff', b'\\x02\\x00\\x00\\x00UA')
    """
    if array.dtype.kind != "O":
        return array.astype(array.dtype.newbyteorder("<")).tobytes()
    texts = [str(element).encode() for element in array.reshape(-1)]
    return b"".join(_LENGTH.pack(len(text)) + text for text in texts)


def _numbers(dtype: np.dtype, count: int, data: memoryview) -> Array:
    if len(data) != count * dtype.itemsize:
        raise TensorError(f"the shape needs {count * dtype.itemsize} bytes, and there are {len(data)}")
    return np.frombuffer(data, dtype)


def _texts(count: int, data: memoryview) -> Array:
    if len(data) < count * _LENGTH.size:
        raise TensorError("there are fewer elements than the shape says")
    found = np.empty(count, dtype=np.object_)
    at = 0
    for place in range(count):
        start = at + _LENGTH.size
        at = start + _LENGTH.unpack_from(data, at)[0] if start <= len(data) else len(data) + 1
        if at > len(data):
            raise TensorError("an element ends beyond the data")
        try:
            found[place] = str(data[start:at], "utf-8")
        except UnicodeDecodeError as error:
            raise TensorError("an element is not UTF-8") from error
    if at != len(data):
        raise TensorError("there are more elements than the shape says")
    return found
