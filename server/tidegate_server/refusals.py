"""Refusals of a full queue, at a pace.

A client that is refused at once comes back at once, and a server that refuses as fast as it can answers nobody: under
twice the load it could answer, nine of ten answers were lost to it. Those who are refused wait here for it, the first
first, and answers keep their time.
"""

import asyncio
from itertools import islice
from typing import Protocol

TURN_SECONDS = 0.01
EACH_TURN = 20
"""2,000 refusals a second take about a tenth of the loop."""
MOST_SECONDS = 1.0
"""Nobody is held longer than Retry-After would have kept them away."""


class Refused(Protocol):
    def refuse(self) -> None:
        """The wait is over. Raises nothing."""


class Refusals:
    """On the event loop only."""

    def __init__(self) -> None:
        self._held: dict[Refused, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def hold(self, request: Refused) -> None:
        """It is refused in its turn, unless `leave` comes first."""
        loop = asyncio.get_running_loop()
        self._held[request] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(TURN_SECONDS, self._turn, loop)

    def leave(self, request: Refused) -> None:
        self._held.pop(request, None)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        long_ago = loop.time() - MOST_SECONDS
        late = sum(since < long_ago for since in self._held.values())
        for request in list(islice(self._held, max(late, EACH_TURN))):
            self.leave(request)
            request.refuse()
        self._timer = loop.call_later(TURN_SECONDS, self._turn, loop) if self._held else None
