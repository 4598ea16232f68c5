"""Keys that want a look, each at most once, each worked on by at most one worker at a time."""

import asyncio
import random
from collections.abc import Callable

from tidegate_cluster.store import Key

BACKOFF_FIRST = 0.2
BACKOFF_LAST = 30.0
BACKOFF_AWAY = 3.0
"""The longest pause where nothing is wrong with the object: the API server was away."""


class Queue:
    """Marks and takes keys.

    A key that is marked while it is worked on comes again afterwards, so no change is
    lost. Keys come in the order of their marks, so none can starve another.
    """

    def __init__(
        self, monotonic: Callable[[], float], jitter: Callable[[], float] = lambda: random.uniform(0.75, 1.0)
    ) -> None:
        self._monotonic = monotonic
        self._jitter = jitter
        """What a pause is multiplied by, so that what has failed together does not come back together."""
        self._waiting: dict[Key, float] = {}
        """Ordered; the value is when the key was marked."""
        self._working: set[Key] = set()
        self._again: set[Key] = set()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self._arrived = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def mark(self, key: Key) -> None:
        """This key wants a look now; if its last look failed, when its pause is over."""
        if key in self._failures and key in self._timers:
            return
        if timer := self._timers.pop(key, None):
            timer.cancel()
        if key in self._working:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting[key] = self._monotonic()
            self._arrived.set()

    def mark_later(self, key: Key, seconds: float) -> None:
        """This key wants a look then, or earlier if something else marks it."""
        if timer := self._timers.pop(key, None):
            timer.cancel()
        self._timers[key] = asyncio.get_running_loop().call_later(seconds, self._due, key)

    def _due(self, key: Key) -> None:
        del self._timers[key]
        self.mark(key)

    async def take(self) -> tuple[Key, float]:
        """The next key and the seconds that it has waited; give it back by `done` or `failed`."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        key = next(iter(self._waiting))
        marked = self._waiting.pop(key)
        self._working.add(key)
        return key, self._monotonic() - marked

    def done(self, key: Key, look_again: float | None = None) -> None:
        """The look is over and went well."""
        self._failures.pop(key, None)
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.mark(key)
        if look_again is not None and key not in self._waiting:
            self.mark_later(key, look_again)

    def failed(self, key: Key, longest: float = BACKOFF_LAST, *, asked: float = 0.0) -> float:
        """The look failed; the key comes again after a while that doubles each time. Returns that while in seconds.

        `asked`: what the API server wants it to be at least. Events do not shorten it: a broken object that changes
        all the time must not cost the others theirs.
        """
        count = self._failures[key] = self._failures.get(key, 0) + 1
        doubled: float = min(longest, BACKOFF_FIRST * 2.0 ** min(count - 1, 16)) * self._jitter()
        wait = max(doubled, min(asked, BACKOFF_LAST))
        self._working.discard(key)
        self._again.discard(key)
        self.mark_later(key, wait)
        return wait

    def forgive(self, key: Key) -> None:
        """What made its looks fail may be mended: the owner has changed the object."""
        if self._failures.pop(key, None):
            self.mark(key)

    def clear(self) -> None:
        """Forget every key, pause and failure; whoever had a key is gone."""
        for timer in self._timers.values():
            timer.cancel()
        for kept in (self._timers, self._waiting, self._working, self._again, self._failures):
            kept.clear()
