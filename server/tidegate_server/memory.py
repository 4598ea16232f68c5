"""What large bodies leave behind in memory: nothing.

Pieces above a limit get pages of their own, and the system has these back when they are freed. glibc moves this limit
up to the largest piece that it has seen, and keeps from then on what bodies of 16 MiB leave between others. A limit
that was set stays.
"""

from contextlib import suppress
from ctypes import CDLL

_M_MMAP_THRESHOLD = -3
OWN_PAGES_BYTES = 1 << 20


def give_back_large_pieces() -> None:
    """Of the whole process, from now on. A C library without mallopt has no such limit."""
    with suppress(AttributeError):
        CDLL(None).mallopt(_M_MMAP_THRESHOLD, OWN_PAGES_BYTES)
