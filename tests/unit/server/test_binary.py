"""Tensors as raw bytes: what they mean, and what is said of those that mean nothing."""

import numpy as np
import pytest

from tidegate_server.http.binary import pack, unpack
from tidegate_server.tensors import TensorError

UA = b"\x02\x00\x00\x00UA"


def read(datatype: str, count: int, data: bytes) -> list[object]:
    found: list[object] = unpack(datatype, count, memoryview(data)).tolist()
    return found


@pytest.mark.parametrize(
    ("datatype", "data", "values"),
    [
        ("BOOL", b"\x01\x00", [True, False]),
        ("INT8", b"\xff\x02", [-1, 2]),
        ("UINT16", b"\x01\x00\x00\x01", [1, 256]),
        ("INT64", b"\xfe" + b"\xff" * 7, [-2]),
        ("FP32", b"\x00\x00\x80\x3f", [1.0]),
        ("FP64", b"\x00" * 6 + b"\xf0\xbf", [-1.0]),
        ("FP16", b"\x00\x3c\x00\xc0", [1.0, -2.0]),
        ("BF16", b"\x80\x3f\x00\xc0", [1.0, -2.0]),
        ("BYTES", UA + b"\x00\x00\x00\x00" + "\x03\x00\x00\x00€".encode(), ["UA", "", "€"]),
        ("FP64", b"", []),
        ("BYTES", b"", []),
    ],
)
def test_bytes_are_read_as_the_extension_has_them(datatype: str, data: bytes, values: list[object]) -> None:
    assert read(datatype, len(values), data) == values


@pytest.mark.parametrize(
    ("datatype", "count", "data", "message"),
    [
        pytest.param("FP64", 2, b"\x00" * 15, "needs 16 bytes, and there are 15", id="a byte too few"),
        pytest.param("FP64", 2, b"\x00" * 24, "needs 16 bytes, and there are 24", id="an element too many"),
        pytest.param("BOOL", 1, b"\x02", "0 or 1", id="a truth that is none"),
        pytest.param("BYTES", 2, UA, "fewer elements", id="an element too few"),
        pytest.param("BYTES", 1, UA + UA, "more elements", id="a text too many"),
        pytest.param("BYTES", 1, b"\x03\x00\x00\x00UA", "beyond the data", id="a text that is cut"),
        pytest.param("BYTES", 1, b"\xff\xff\xff\xffUA", "beyond the data", id="a text of four gigabytes"),
        pytest.param("BYTES", 2, b"\x06\x00\x00\x00" + UA, "beyond the data", id="a length that is cut"),
        pytest.param("BYTES", 1, b"\x01\x00\x00\x00\xff", "not UTF-8", id="a text in another encoding"),
        pytest.param("BYTES", 2**62, UA, "fewer elements", id="a count that no memory holds"),
        pytest.param("COMPLEX", 1, b"\x00" * 16, "no datatype", id="a type of somebody else's"),
    ],
)
def test_bytes_that_mean_nothing_are_an_error(datatype: str, count: int, data: bytes, message: str) -> None:
    with pytest.raises(TensorError, match=message):
        read(datatype, count, data)


def test_an_array_of_any_layout_is_packed_row_by_row() -> None:
    table = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert pack(np.asfortranarray(table)) == pack(table) == table.tobytes()


def test_what_is_packed_can_be_written_to_after_it_was_read() -> None:
    """An engine may work in place; the bytes of the request are not its to change."""
    found = unpack("FP64", 1, memoryview(pack(np.array([1.0]))))
    found[0] = 2.0
