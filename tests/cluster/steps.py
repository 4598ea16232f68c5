"""Shows what is being done and how long it took: one line a step, ending in seconds.

Steps may overlap. A long one says so when it begins; on a terminal the last line counts those that are under way.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class ClusterError(Exception):
    """Something is missing or failed, in words for the person at the terminal."""


class Steps:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active: dict[str, float] = {}
        self._tty = sys.stdout.isatty()
        self._painter: threading.Thread | None = None

    @contextmanager
    def step(self, what: str, *, long: str = "") -> Iterator[None]:
        """Time a step. `long` says how long it may take, shown when it begins."""
        start = time.monotonic()
        with self._lock:
            self._active[what] = start
            if long:
                self._line(f"  {what}: a long one, {long} ...")
            if self._tty and self._painter is None:
                self._painter = threading.Thread(target=self._paint, daemon=True)
                self._painter.start()
        mark = "FAILED after"
        try:
            yield
            mark = ""
        finally:
            with self._lock:
                del self._active[what]
                self._line(f"  {what:<58} {mark}{time.monotonic() - start:>8.1f} s")

    def say(self, text: str) -> None:
        with self._lock:
            self._line(text)

    def _line(self, text: str) -> None:
        print(f"\r\x1b[K{text}" if self._tty else text, flush=True)

    def _paint(self) -> None:
        while True:
            time.sleep(0.5)
            with self._lock:
                if not self._active:
                    self._painter = None
                    return
                now = time.monotonic()
                parts = [f"{what} {now - start:.0f} s" for what, start in self._active.items() if now - start > 0.5]
                if parts:
                    print(f"\r\x1b[K  ... {' | '.join(parts)}"[:180], end="", flush=True)
