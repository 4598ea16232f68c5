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

import aiohttp
import msgspec

from tidegate_operator.cluster.api import Api, ApiError, Gone
from tidegate_operator.cluster.resources import Resource
from tidegate_operator.cluster.store import Store

log = logging.getLogger(__name__)

TRANSIENT = (ApiError, aiohttp.ClientError, TimeoutError, msgspec.DecodeError, OSError)
"""Everything that another try may mend."""


def backoffs() -> Iterator[float]:
    """Seconds between tries, jittered so that a hundred watches do not come back as one, without end."""
    for seconds in itertools.chain((0.1, 0.2, 0.5, 1.0, 2.0), itertools.repeat(5.0)):
        yield seconds * random.uniform(0.5, 1.0)


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
        self.synced = asyncio.Event()
        """Set after the first complete list."""

    async def run(self) -> None:
        waits = backoffs()
        while True:
            try:
                version = await self._list()
                waits = backoffs()
                while True:
                    version = await self._watch(version)
            except Gone:
                log.info("the watch of %s is too old, listing again", self._resource.plural)
            except TRANSIENT as error:
                wait = next(waits)
                log.warning("the watch of %s broke, again in %.1f s: %s", self._resource.plural, wait, error)
                await asyncio.sleep(wait)
            self._restarted(self._resource.plural)

    async def _list(self) -> str:
        path = self._resource.path(self._namespace)
        listed = await self._api.list(path, self._resource.type, selector=self._selector)
        self._store.replace(listed.items, self._namespace)
        self.synced.set()
        return listed.resource_version

    async def _watch(self, version: str) -> str:
        path = self._resource.path(self._namespace)
        async for seen in self._api.watch(path, self._resource.type, version, selector=self._selector):
            version = seen.resource_version
            if seen.item is None:
                continue
            if seen.type == "DELETED":
                self._store.remove(seen.item)
            else:
                self._store.put(seen.item)
        return version
