"""One timer for the deadlines of all requests.

A timer for each, armed and disarmed, costs a short one a tenth of its time. All requests have the same time here, so
they end in the order in which they began, and one timer for the first of them is enough.
"""

import asyncio
from typing import Protocol


class Expires(Protocol):
    def expire(self) -> None:
        """The time is over. Raises nothing."""


class Deadlines:
    """On the event loop only."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._open: dict[Expires, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        """Kept: Python asks the system for the process's number whenever it is asked for the loop."""

    def begin(self, request: Expires) -> None:
        """It expires `seconds` from now, unless `end` comes first."""
        loop = self._loop = self._loop or asyncio.get_running_loop()
        self._open[request] = at = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_at(at, self._ring, loop)

    def end(self, request: Expires) -> None:
        self._open.pop(request, None)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        self._timer = None
        for request, at in list(self._open.items()):
            if at > now:
                self._timer = loop.call_at(at, self._ring, loop)
                break
            self.end(request)
            request.expire()
