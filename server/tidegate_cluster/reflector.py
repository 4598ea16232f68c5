"""Keeps a store equal to a collection of the API server: list, watch, and again, for ever.

Nothing ends it but cancellation. An API server that is away, that has forgotten where
the watch stood, or that answers nonsense, costs time, never a change.
"""

import asyncio
import itertools
import logging
import random
from collections.abc import Callable, Iterator
from typing import Any

from tidegate_cluster.api import TRANSIENT, Api, ApiError, Forbidden, Gone
from tidegate_cluster.resource import Resource
from tidegate_cluster.store import Store

log = logging.getLogger(__name__)

LONGEST_ASKED = 30.0
"""Of the pauses that an API server asks for."""
SHORT_SECONDS = 5.0
"""A watch that ended sooner, and without an event, was hung up on."""


def backoffs() -> Iterator[float]:
    """Seconds between tries, jittered so that a hundred watches do not come back as one, without end."""
    for seconds in itertools.chain((0.1, 0.2, 0.5, 1.0), itertools.repeat(2.0)):
        yield seconds * random.uniform(0.5, 1.0)


def pause(waits: Iterator[float], error: Exception) -> float:
    """Seconds to wait after an error: the next of `waits`, or what the API server asks for."""
    asked = error.retry_after if isinstance(error, ApiError) else 0.0
    return max(min(asked, LONGEST_ASKED), next(waits))


class Reflector:
    """One collection in one namespace (empty: in all of them)."""

    def __init__(
        self,
        api: Api,
        resource: Resource[Any],
        store: Store[Any],
        *,
        namespace: str,
        selector: str,
        restarted: Callable[[str], None],
    ) -> None:
        self._api = api
        self._resource = resource
        self._store = store
        self._namespace = namespace
        self._selector = selector
        self._restarted = restarted
        self._waits = backoffs()
        """Starts anew with each event: a list that succeeds says nothing about the watch."""
        self.listed = asyncio.Event()
        """Set after the first complete list."""
        self.synced = asyncio.Event()
        """Set then too, and where one namespace of many may not be read: nothing of it is known, nor will be soon."""

    async def run(self) -> None:
        while True:
            try:
                version = await self._list()
                while True:
                    version = await self._watch(version)
            except Gone as error:
                log.info("the watch of %s is too old, listing again", self._resource.plural)
                wait = pause(self._waits, error)
            except TRANSIENT as error:
                if isinstance(error, Forbidden) and self._namespace:
                    # A namespace that was deleted, or whose Role is missing, must not hold up the others.
                    self.synced.set()
                wait = pause(self._waits, error)
                log.warning("the watch of %s broke: %s: %s", self._resource.plural, type(error).__name__, error)
            self._restarted(self._resource.plural)
            await asyncio.sleep(wait)

    async def _list(self) -> str:
        path = self._resource.path(self._namespace)
        known = self._store.newest(self._namespace)
        listed = await self._api.list(path, self._resource.type, selector=self._selector)
        at = int(listed.resource_version)
        # A list is never older than what was known when it was asked for, unless etcd was restored.
        self._store.replace(listed.items, self._namespace, at, put_back=at < known)
        self.listed.set()
        self.synced.set()
        return listed.resource_version

    async def _watch(self, version: str) -> str:
        """Follow one watch to its end; returns where the next one goes on."""
        path = self._resource.path(self._namespace)
        started = asyncio.get_running_loop().time()
        async for seen in self._api.watch(path, self._resource.type, version, selector=self._selector):
            version = seen.resource_version
            self._waits = backoffs()
            if seen.item is None:
                continue
            if seen.type == "DELETED":
                self._store.remove(seen.item)
            else:
                self._store.put(seen.item)
        if asyncio.get_running_loop().time() - started < SHORT_SECONDS:
            await asyncio.sleep(next(self._waits))
        return version
