"""A sample of the requests to infer and of their answers, whole, as CloudEvents 1.0 for whoever keeps them.

Off unless a sink is named, and then no request waits for it: a thread of its own posts from a bounded queue, once each.
What does not fit, does not arrive or is too large is lost, and counted.

An event in HTTP binary mode is a body and nine headers, written here: a library would bring more than that.
"""

import datetime as dt
import logging
import random
import socket
import threading
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote

import urllib3
from opentelemetry.context import Context
from opentelemetry.trace import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import Counter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidegate_contract.logs import OncePerMinute
from tidegate_server.http.infer import JSON_LENGTH_HEADER
from tidegate_server.http.paths import infer_path
from tidegate_server.http.state import ServerState, Serving

MAX_BODY_BYTES = 1 << 20
MAX_WAITING = 256
MAX_WAITING_BYTES = 16 << 20
"""A second or two of a busy server; a sink that is slower than that gets a smaller sample."""
CONNECT_SECONDS, TIMEOUT_SECONDS = 2.0, 5.0

REQUEST_TYPE = "dev.tidegate.infer.request"
RESPONSE_TYPE = "dev.tidegate.infer.response"

_W3C = TraceContextTextMapPropagator()

_logger = logging.getLogger(__name__)
_logger.addFilter(OncePerMinute())


@dataclass(frozen=True, slots=True)
class Event:
    """A CloudEvent in HTTP binary mode, ready to be posted."""

    headers: dict[str, str]
    body: bytes


class Outbox:
    """A bounded queue and the thread that posts what is in it, one event after another."""

    def __init__(self, sink: str, counter: Counter) -> None:
        """`counter` has the label `result`: sent, failed (the sink was away or refused it), or dropped (not tried)."""
        self._sink = sink
        self._sent, self._failed, self._dropped = (counter.labels(result) for result in ("sent", "failed", "dropped"))
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, total=TIMEOUT_SECONDS), retries=False
        )
        self._changed = threading.Condition()
        self._waiting: deque[Event] = deque()
        self._bytes = 0
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="payloads", daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        """Queue it if it fits; never waits."""
        with self._changed:
            fits = len(self._waiting) < MAX_WAITING and self._bytes + len(event.body) <= MAX_WAITING_BYTES
            if fits and not self._closing:
                self._waiting.append(event)
                self._bytes += len(event.body)
                self._changed.notify()
                return
        self.drop()

    def drop(self) -> None:
        """Count one that is not sent."""
        self._dropped.inc()

    def close(self, seconds: float) -> None:
        """Send what waits, and leave behind what cannot be sent in time."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(seconds)
        with self._changed:
            left = len(self._waiting)
            self._waiting.clear()
        if left:
            self._dropped.inc(left)
            _logger.warning("the last payloads were not taken in time", extra={"count": left})

    def _work(self) -> None:
        while (event := self._next()) is not None:
            try:
                answer = self._pool.request("POST", self._sink, body=event.body, headers=event.headers)
            except urllib3.exceptions.HTTPError as error:
                self._lost(type(error).__name__)
            else:
                if 200 <= answer.status < 300:
                    self._sent.inc()
                else:
                    self._lost(f"status {answer.status}")
        self._pool.clear()

    def _next(self) -> Event | None:
        """The next one, as soon as there is one; None when there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            if not self._waiting:
                return None
            event = self._waiting.popleft()
            self._bytes -= len(event.body)
            return event

    def _lost(self, why: str) -> None:
        self._failed.inc()
        _logger.warning("a payload did not reach its sink", extra={"why": why})


@dataclass(slots=True)
class _Copy:
    """A body as it passes by, until it is too large."""

    chunks: list[bytes] = field(default_factory=list)
    size: int = 0
    whole: bool = False
    time: str = ""
    status: int | None = None
    json_length: int | None = None

    def add(self, message: Message) -> None:
        chunk = message.get("body", b"")
        self.size += len(chunk)
        if self.size > MAX_BODY_BYTES:
            self.chunks.clear()
        else:
            self.chunks.append(chunk)
        if not message.get("more_body", False):
            self.whole = True
            self.time = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")


class Sampled:
    """Around the application: of some requests to infer it keeps what passes by, once it has been answered.

    Only what was read to its end and answered to its end is kept, a refusal by the model's side included.
    """

    def __init__(
        self,
        app: ASGIApp,
        state: ServerState,
        outbox: Outbox,
        sample: float,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`sample` is the share of requests, above 0 and at most 1; `chance` is below 1."""
        self._app = app
        self._state = state
        self._outbox = outbox
        self._sample = sample
        self._chance = chance
        self._host = socket.gethostname()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if infer_path(scope) is None or self._chance() >= self._sample:
            await self._app(scope, receive, send)
            return
        asked, answered = _Copy(json_length=_json_length(scope["headers"])), _Copy()

        async def copy_asked() -> Message:
            message = await receive()
            if message["type"] == "http.request" and not asked.whole:
                asked.add(message)
            return message

        async def copy_answered(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered.status = message["status"]
                answered.json_length = _json_length(message["headers"])
            elif message["type"] == "http.response.body":
                answered.add(message)
            await send(message)

        try:
            await self._app(scope, copy_asked, copy_answered)
        finally:
            if asked.whole and answered.whole and self._state.serving is not None:
                self._keep(self._state.serving, scope, asked, answered)

    def _keep(self, serving: Serving, scope: Scope, asked: _Copy, answered: _Copy) -> None:
        request = uuid.uuid4().hex
        model, revision = quote(serving.model), quote(serving.revision)
        common = {
            "ce-specversion": "1.0",
            "ce-source": f"//{self._host}/v2/models/{model}/versions/{revision}",
            "ce-subject": model,
            "ce-requestid": request,
            "ce-revision": revision,
            **_traceparent(scope),
        }
        for kind, copy in ((REQUEST_TYPE, asked), (RESPONSE_TYPE, answered)):
            if copy.size > MAX_BODY_BYTES:
                self._outbox.drop()
                continue
            headers = common | {
                "ce-id": f"{request}-{kind.rpartition('.')[2]}",  # source and id name one event alone
                "ce-type": kind,
                "ce-time": copy.time,
                "content-type": "application/json" if copy.json_length is None else "application/octet-stream",
            }
            if copy.json_length is not None:
                headers["ce-jsonlength"] = str(copy.json_length)
            if copy.status is not None:
                headers["ce-status"] = str(copy.status)
            self._outbox.put(Event(headers, b"".join(copy.chunks)))


def _json_length(headers: list[tuple[bytes, bytes]]) -> int | None:
    """How much of a body is JSON, before binary tensors; None where all of it is."""
    for name, value in headers:
        if name == JSON_LENGTH_HEADER and value.isdigit() and len(value) < 10:
            return int(value)
    return None


def _traceparent(scope: Scope) -> dict[str, str]:
    """That of the span of the request, or else the caller's if it is one."""
    carrier: dict[str, str] = {}
    if get_current_span().get_span_context().is_valid:
        _W3C.inject(carrier)
    else:
        told = [value.decode("latin-1") for name, value in scope["headers"] if name == b"traceparent"]
        _W3C.inject(carrier, _W3C.extract({"traceparent": told}, Context()))
    return {"ce-traceparent": carrier["traceparent"]} if carrier else {}
