"""Heads of requests: how large they may be, how long they may take, and which of them go straight to the model.

uvicorn limits how long a connection may be idle between requests, and the application what a body may be; what lies
between is nobody's. A look at all connections now and then costs requests nothing, where a timer for each would.
"""

import time
from collections.abc import Collection
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tidegate_server.http.app import Front
from tidegate_server.http.errors import encode_error
from tidegate_server.http.straight import Straight, small

MAX_HEAD_BYTES = 64 << 10
HEAD_SECONDS = 10.0
"""From the first byte of a head to its last; up to twice as long, as that is how often is looked."""
SILENT_SECONDS = 75.0
"""From a connection to its first byte: as long as an idle one is kept."""


class Connection(HttpToolsProtocol):
    """uvicorn's, with heads that end, and a shorter way for usual requests."""

    _head_bytes = 0
    _straight: Straight | None = None
    """The last that went straight; others may wait behind it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._infer = self.app.infer if isinstance(self.app, Front) else None  # whatever is around it wants a task

    def on_message_begin(self) -> None:
        self._unset_keepalive_if_required()  # it may follow one that was answered before it was looked at
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self.scope = {}  # type: ignore[typeddict-item] # only a task needs more of it

    def on_headers_complete(self) -> None:
        if self._straight is not None and self.transport.is_closing():
            return  # it follows one that was the last
        names = self._straight_names()
        if names is None or self._infer is None:
            url, headers, asks_first = self.url, self.headers, self.expect_100_continue
            super().on_message_begin()
            self.url, self.expect_100_continue = url, asks_first
            self.headers += headers
            super().on_headers_complete()
            return
        self._straight = straight = Straight(self._infer, self)
        self.cycle = straight  # type: ignore[assignment]
        straight.begin(*names, self.headers)

    def _straight_names(self) -> tuple[str, str | None] | None:
        """The names in the path of a request that may go straight; None for any other."""
        if self._infer is None or (serving := self._infer.state.serving) is None:
            return None
        names = serving.infer_paths.get(self.url)
        usual = names is not None and self.parser.get_method() == b"POST" and small(self.headers)
        alone = self.cycle is None or self.cycle.response_complete
        asks_more = self.expect_100_continue or self.parser.should_upgrade()
        return names if usual and alone and not asks_more else None

    def on_body(self, body: bytes) -> None:
        cycle: object = self.cycle
        if type(cycle) is Straight:
            cycle.add(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        cycle: object = self.cycle
        if type(cycle) is Straight:
            cycle.complete()
            if cycle.response_complete and self.timeout_keep_alive_task is None and not self.transport.is_closing():
                # It was answered before its body came, and is idle now.
                self.timeout_keep_alive_task = self.loop.call_later(
                    self.timeout_keep_alive, self.timeout_keep_alive_handler
                )
        else:
            super().on_message_complete()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._straight is not None:
            self._straight.write()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._straight is not None:
            self._straight.lost()
        super().connection_lost(exc)
        if self.cycle is self._straight:  # type: ignore[comparison-overlap]
            self.cycle = None  # type: ignore[assignment]
        self._straight = None  # they hold each other

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.in_head:
            self._head_bytes = 0
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.give_up("431 Request Header Fields Too Large", f"a head may have {MAX_HEAD_BYTES} bytes")

    @property
    def in_head(self) -> bool:
        """Whether a head has begun and not ended: its scope is new, and no request has it yet."""
        return self.scope is not None and (self.cycle is None or self.cycle.scope is not self.scope)

    @property
    def waits(self) -> bool:
        """Whether it is neither idle nor has a request: its next head is yet to come, or has begun; or what comes is
        the body of a request that was answered without it."""
        idle = self.timeout_keep_alive_task is not None or self.transport.is_closing()
        return not idle and (self.cycle is None or self.cycle.response_complete)

    def give_up(self, status: str, message: str) -> None:
        """Answer in the middle of a head, and close."""
        body = encode_error(message)
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(f"{head}connection: close\r\n\r\n".encode() + body)
        self.transport.close()


class Watch:
    """Closes connections whose head does not come to its end. On the event loop only."""

    def __init__(self, connections: Collection[Any]) -> None:
        """`connections`: uvicorn's, each a `Connection`."""
        self._connections = connections
        self._since: dict[Connection, tuple[object, float]] = {}

    def look(self) -> None:
        """Close those that have waited too long. To be called every HEAD_SECONDS."""
        now = time.monotonic()
        waiting: dict[Connection, tuple[object, float]] = {}
        for connection in list(self._connections):
            if not connection.waits:
                continue
            scope: object = connection.scope  # another one for each request; none before the first
            before, since = self._since.get(connection, (scope, now))
            since = since if before is scope else now
            if now - since < (SILENT_SECONDS if scope is None else HEAD_SECONDS):
                waiting[connection] = (scope, since)
            elif connection.in_head:
                connection.give_up("408 Request Timeout", "the head of the request did not arrive in time")
            else:
                connection.transport.close()
        self._since = waiting
