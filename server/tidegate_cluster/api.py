"""Reading from the API server: GET, LIST in pages, WATCH. Writing is `writer.py`'s alone."""

import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

import aiohttp
import msgspec

from tidegate_cluster.connection import Connection

log = logging.getLogger(__name__)

PAGE = 100
"""Objects a page of a list: 500 use a third more memory and are no faster."""
INACTIVITY_SECONDS = 130.0
"""Bookmarks come about every minute, sometimes later; a watch that misses two is dead."""


T = TypeVar("T")


class ApiError(Exception):
    """An answer of the API server that is not a success.

    ├── Gone           410: the place where a watch would go on is no longer known
    ├── Conflict       409: the object has changed since it was read
    ├── NotFound       404
    ├── Forbidden      403: a right is missing, or a quota or an admission policy refuses
    └── Invalid        422: the object's own kind refuses what it says
    """

    def __init__(self, status: int, message: str, retry_after: float = 0.0) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message
        self.retry_after = retry_after
        """Seconds that the API server asks to be left alone for."""


class Gone(ApiError):  # noqa: N818 - named for what the server says
    pass


class Conflict(ApiError):  # noqa: N818
    pass


class NotFound(ApiError):  # noqa: N818
    pass


class Forbidden(ApiError):  # noqa: N818
    pass


class Invalid(ApiError):  # noqa: N818
    pass


RETRY_AFTER = "Retry-After"
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)
"""An answer that is not what the API server says: what msgspec raises for text that is no JSON, or no text."""
TRANSIENT = (ApiError, aiohttp.ClientError, TimeoutError, OSError, *UNREADABLE)
"""Everything that another try may mend."""


def is_away(error: BaseException) -> bool:
    """Whether an error says nothing about what was asked: the API server was not reached, or not able to answer."""
    if isinstance(error, ApiError):
        return error.status in (401, 408, 429) or error.status >= 500
    return not isinstance(error, UNREADABLE)


_ERRORS: dict[int, type[ApiError]] = {
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
}


class _StatusBody(msgspec.Struct):
    message: str = ""
    code: int = 0


def error_of(status: int, body: bytes, retry_after: str = "") -> ApiError:
    """The exception for an unsuccessful answer; `retry_after` is its header of that name."""
    try:
        message = msgspec.json.decode(body, type=_StatusBody).message
    except UNREADABLE:
        message = body[:500].decode(errors="replace")
    message = message or f"HTTP {status} without a word"  # a refusal is known by its words
    # A date, as HTTP allows, the API server never sends.
    return _ERRORS.get(status, ApiError)(status, message, float(retry_after) if retry_after.isdecimal() else 0.0)


VersionText = Annotated[str, msgspec.Meta(pattern="^[0-9]+$")]


class _Continue(msgspec.Struct):
    resourceVersion: VersionText  # noqa: N815 - the API's own spelling
    """Where a watch would go on. One that went on from nowhere would be told of no deletion before it."""
    continue_: str = msgspec.field(default="", name="continue")


class _Page(msgspec.Struct):
    items: list[msgspec.Raw]
    metadata: _Continue


_PAGE = msgspec.json.Decoder(_Page)
Count = Callable[[str, int | None], None]
"""Is told the verb of a request and the code of its answer; None if none came, or not whole."""


def _readable(raw: msgspec.Raw, decoder: msgspec.json.Decoder[T]) -> T | None:
    """The object, or None if it says what this release does not know: one such object must not hide all the others."""
    try:
        return decoder.decode(raw)
    except UNREADABLE as error:
        log.warning(
            "an object is left out, it cannot be read: %s: %s", error, bytes(raw)[:200].decode(errors="replace")
        )
        return None


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Bookmark(msgspec.Struct):
    metadata: _Continue


def page_of(body: bytes) -> _Page:
    """One page of a list.

    Raises UNREADABLE.
    """
    return _PAGE.decode(body)


def event_of(line: bytes) -> tuple[str, msgspec.Raw, str]:
    """One event of a watch: its type, its object, and the version from which a watch goes on after it.

    Raises ApiError if that is what it says, and UNREADABLE.
    """
    event = msgspec.json.decode(line, type=_Event)
    if event.type == "ERROR":
        body = bytes(event.object)
        raise error_of(msgspec.json.decode(body, type=_StatusBody).code, body)
    return event.type, event.object, version_of(event.object)


def version_of(raw: msgspec.Raw) -> str:
    """The resourceVersion of an object.

    Raises UNREADABLE.
    """
    return msgspec.json.decode(raw, type=_Bookmark).metadata.resourceVersion


@dataclass(frozen=True, slots=True)
class Listed(Generic[T]):
    items: tuple[T, ...]
    resource_version: str


@dataclass(frozen=True, slots=True)
class Seen(Generic[T]):
    """One event of a watch; `item` is None in a bookmark, and where it cannot be read."""

    type: str
    item: T | None
    resource_version: str


class Api:
    """Reads through one session."""

    def __init__(self, connection: Connection, count: Count) -> None:
        self._connection = connection
        self._count = count

    async def get(self, path: str, type: type[T], *, accept: str = "application/json") -> T:
        """One object.

        Raises ApiError, aiohttp.ClientError, TimeoutError.
        """
        return msgspec.json.decode(await self._read("get", path, {}, accept), type=type)

    async def list(
        self, path: str, type: type[T], *, selector: str = "", accept: str = "application/json"
    ) -> Listed[T]:
        """All objects of a collection, page by page.

        Raises Gone if it changed too much in between, and what `get` raises.
        """
        decoder = msgspec.json.Decoder(type)
        parameters = {"limit": str(PAGE)} | ({"labelSelector": selector} if selector else {})
        items: list[T] = []
        while True:
            page = page_of(await self._read("list", path, parameters, accept))
            items += [item for raw in page.items if (item := _readable(raw, decoder)) is not None]
            if not page.metadata.continue_:
                return Listed(tuple(items), page.metadata.resourceVersion)
            parameters["continue"] = page.metadata.continue_

    async def watch(
        self, path: str, type: type[T], resource_version: str, *, selector: str = ""
    ) -> AsyncIterator[Seen[T]]:
        """Every change since a resource version; ends when the server ends it.

        Raises Gone when that version is no longer known, TimeoutError after
        INACTIVITY_SECONDS of silence, and what `get` raises.
        """
        decoder = msgspec.json.Decoder(type)
        parameters = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": "600",
        } | ({"labelSelector": selector} if selector else {})
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=INACTIVITY_SECONDS)
        try:
            response = await self._connection.session.get(
                f"{self._connection.server}{path}", params=parameters, timeout=timeout
            )
        except BaseException:  # a request that is given up is one without an answer too
            self._count("watch", None)
            raise
        self._count("watch", response.status)
        async with response:
            if response.status != 200:
                raise error_of(response.status, await response.read(), response.headers.get(RETRY_AFTER, ""))
            async for line in lines(response.content):
                kind, raw, version = event_of(line)
                yield Seen(kind, None if kind == "BOOKMARK" else _readable(raw, decoder), version)

    async def _read(self, verb: str, path: str, parameters: dict[str, str], accept: str) -> bytes:
        try:
            async with self._connection.session.get(
                f"{self._connection.server}{path}", params=parameters, headers={"Accept": accept}
            ) as response:
                status, headers, body = response.status, response.headers, await response.read()
        except BaseException:
            self._count(verb, None)
            raise
        self._count(verb, status)
        if status != 200:
            raise error_of(status, body, headers.get(RETRY_AFTER, ""))
        return body


async def lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length; the stream's own iterator gives up at 64 KiB, and an object can be larger."""
    rest = b""
    async for chunk in stream.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line:
                yield line
