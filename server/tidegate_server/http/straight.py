"""The usual request, without a task: the connection drives its exchange, and its answer is one write.

What is usual shows in the head alone: a path of the model's infer as it is usually written, and the length of a small
body. Everything else is a matter for ASGI, from its head on.
"""

import asyncio
import logging

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from tidegate_server.http.errors import ClientGoneError
from tidegate_server.http.infer import GONE, SMALL_BODY_BYTES, Exchange, Headers, Infer, Outcome, Reply, headers_of

_logger = logging.getLogger(__name__)


def small(headers: Headers) -> bool:
    """Whether they announce a body that is small."""
    for name, value in headers:
        if name == b"content-length":
            return value.isdigit() and len(value) < 10 and int(value) <= SMALL_BODY_BYTES
    return False


class Straight(Exchange):
    """An exchange in the place of uvicorn's cycle, of which the connection looks at the public attributes here."""

    message_event = asyncio.Event()
    """Nobody waits for it."""
    __slots__ = ("_connection", "_reply", "keep_alive", "response_complete", "scope")

    def __init__(self, infer: Infer, connection: HttpToolsProtocol) -> None:
        super().__init__(infer)
        parser = connection.parser
        self.scope = connection.scope
        self.keep_alive: bool = parser.get_http_version() != "1.0" and parser.should_keep_alive()
        self.response_complete = False
        self._connection = connection
        self._reply: Reply | None = None

    def tell(self, outcome: Outcome) -> None:
        if isinstance(outcome, ClientGoneError):
            self._close(GONE)
            return
        try:
            reply = self._reply = self._infer.reply(outcome)
            if reply.bug is not None:
                _logger.error("answering failed in an unforeseen way", exc_info=reply.bug)
            if not self._connection.flow.write_paused:
                self.write()
        except Exception:  # and those who were folded with it are to be told too
            _logger.exception("answering failed in an unforeseen way")
            self._connection.transport.abort()
            self._close(500)

    def write(self) -> None:
        """Send the answer, if there is one that has not been sent: a client must read before it is sent more."""
        reply = self._reply
        if reply is None:
            return
        connection, state = self._connection, self._infer.state
        parts = [STATUS_LINE[reply.status]]
        for name, value in (*connection.server_state.default_headers, *headers_of(state, reply)):
            parts += (name, b": ", value, b"\r\n")
        if not (self.keep_alive or state.draining):  # of a draining server all answers say so
            parts.append(b"connection: close\r\n")
        parts += (b"\r\n", reply.answer.body)
        connection.transport.write(b"".join(parts))
        if state.draining or not self.keep_alive:
            connection.transport.close()
        self._close(reply.status)
        connection.on_response_complete()

    def lost(self) -> None:
        """The connection is."""
        self.gone()
        if self._reply is not None:
            self._close(self._reply.status)

    def _close(self, status: int) -> None:
        self.response_complete, self._reply = True, None
        self.count(status)
