"""What kopf gets to see of the API server: nothing that would end it, once it has found out what there is.

kopf is the one feed of ModelDeployments, and takes most of what it does not know for the end of the process. What our
own reflectors survive it survives behind this middleware, which says the same in the two ways to which kopf answers by
going on: a connection that broke, and a watch that is too old.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import msgspec

from tidegate_cluster.api import (
    RETRY_AFTER,
    UNREADABLE,
    ApiError,
    Count,
    VersionText,
    error_of,
    event_of,
    is_away,
    lines,
    page_of,
)
from tidegate_cluster.reflector import backoffs, pause
from tidegate_contract import names

log = logging.getLogger(__name__)

TOO_OLD = b'{"type": "ERROR", "object": {"code": 410}}\n'
"""After it kopf lists anew; after a watch that broke it goes on from where that one stood."""
BROKEN = (aiohttp.ClientPayloadError, aiohttp.ClientResponseError, ApiError, *UNREADABLE)


class _Kind(msgspec.Struct):
    """What kopf takes for granted of a list, beside what `page_of` does."""

    kind: str = ""


class _Metadata(msgspec.Struct):
    resourceVersion: VersionText  # noqa: N815 - the API's own spelling
    uid: str = ""


class _Item(msgspec.Struct):
    """And of an object."""

    metadata: _Metadata


class Feed:
    """A middleware for kopf's sessions. There is one: its pauses outlive a session, and kopf makes one a login."""

    def __init__(self, count: Count) -> None:
        self._count = count
        self._waits: defaultdict[str, Iterator[float]] = defaultdict(backoffs)
        """By path; anew with each event, as a reflector's."""

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        path, is_watch = request.url.path, "watch" in request.url.query
        if not path.endswith(f"/{names.PLURAL}"):  # what kopf asks at its start
            response = await self._ask("get", request, handler)
            if response.status == 401:  # kopf makes a new session at once, and asks again
                await self._pause(path, error_of(401, await response.read()))
            return response
        try:
            response = await self._ask("watch" if is_watch else "list", request, handler)
            if is_watch and response.status == 200:
                return _with(response, self._events(path, response.content))
            await _check(response)
        except BROKEN as error:
            await self._pause(path, error)
            if is_watch and isinstance(error, ApiError) and not is_away(error):
                return _with(response, _once(TOO_OLD))
            # After the one kopf asks for the same page or the same place in the watch, after the other it begins anew.
            broke = aiohttp.ClientConnectionError if is_away(error) else aiohttp.ClientPayloadError
            raise broke(str(error)) from error
        return response

    async def _ask(
        self, verb: str, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        code = None
        try:
            response = await handler(request)
            code = response.status
        finally:
            self._count(verb, code)
        return response

    async def _events(self, path: str, stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
        """The lines of a watch, each of them an event; the last one may be that it is too old."""
        try:
            async for line in lines(stream):
                line.decode()  # as in `_check`
                _, item, _ = event_of(line)
                msgspec.json.decode(item, type=_Item)
                self._waits.pop(path, None)
                yield line + b"\n"
        except (ApiError, *UNREADABLE) as error:
            await self._pause(path, error)
            yield TOO_OLD
        except aiohttp.ClientError:
            await asyncio.sleep(next(self._waits[path]))
            raise
        else:
            await asyncio.sleep(next(self._waits[path]))  # kopf would open the next one at once

    async def _pause(self, path: str, error: Exception) -> None:
        log.warning("the feed of %s broke: %s: %s", path, type(error).__name__, error)
        await asyncio.sleep(pause(self._waits[path], error))


async def _check(response: aiohttp.ClientResponse) -> None:
    """Whether an answer is a list that kopf can go on from.

    Raises BROKEN.
    """
    status, body = response.status, await response.read()
    if status == 200 and response.get_encoding() != "utf-8":
        raise aiohttp.ClientPayloadError(f"the list is said to be {response.get_encoding()}")
    if status != 200:
        raise error_of(status, body, response.headers.get(RETRY_AFTER, ""))
    await response.text()  # kopf decodes all of it, msgspec only what it is asked for
    msgspec.json.decode(body, type=_Kind)
    for item in page_of(body).items:
        msgspec.json.decode(item, type=_Item)
    if response.content_type != "application/json":
        raise aiohttp.ClientPayloadError(f"the list is said to be {response.content_type}")


def _with(response: aiohttp.ClientResponse, events: AsyncIterator[bytes]) -> aiohttp.ClientResponse:
    """A watch that went well and has these events."""
    response.status = 200
    response.content = _Content(response.content, events)  # type: ignore[assignment]
    return response


class _Content:
    """The body of a watch, as kopf reads it; to aiohttp it is what it was."""

    def __init__(self, stream: aiohttp.StreamReader, events: AsyncIterator[bytes]) -> None:
        self._stream = stream
        self._events = events

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def iter_chunked(self, _: int) -> AsyncIterator[bytes]:
        return self._events


async def _once(line: bytes) -> AsyncIterator[bytes]:
    yield line
