"""What is kept of large pieces of memory."""

import platform
import subprocess
import sys

import pytest

FREED = """
from ctypes import CDLL, c_size_t, Structure
from tidegate_server.memory import give_back_large_pieces

class Mallinfo(Structure):
    _fields_ = [(f"field{place}", c_size_t) for place in range(10)]  # the fifth: bytes of pages of their own

give_back_large_pieces()
look = CDLL(None).mallinfo2
look.restype = Mallinfo
bytes(24 << 20)
before = look().field4
body = bytes(24 << 20)
print(look().field4 - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the limit is glibc's")
def test_a_second_large_body_has_pages_of_its_own_too() -> None:
    said = subprocess.run([sys.executable, "-c", FREED], check=True, stdout=subprocess.PIPE, text=True).stdout
    assert int(said) >= 24 << 20, "it came from the heap, whose pages are kept"
