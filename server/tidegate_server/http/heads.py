"""Heads of requests: how large they may be, and how long they may take.

uvicorn limits how long a connection may be idle between requests, and the application what a body may be; what lies
between is nobody's. A look at all connections now and then costs requests nothing, where a timer for each would.
"""

import time
from collections.abc import Collection
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tidegate_server.http.errors import encode_error

MAX_HEAD_BYTES = 64 << 10
HEAD_SECONDS = 10.0
"""From the first byte of a head to its last; up to twice as long, as that is how often is looked."""
SILENT_SECONDS = 75.0
"""From a connection to its first byte: as long as an idle one is kept."""


class Connection(HttpToolsProtocol):
    """uvicorn's, with heads that end."""

    _head_bytes = 0

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
