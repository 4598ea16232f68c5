"""The one path that is asked all the time: from the head of a request to its answer.

    Exchange   what a request goes through, told by calls: its head, parts of its body, its end, that its client left
    Straight   an exchange that a connection drives by itself, see there
    Infer      an ASGI application that drives an exchange by a task, for whatever is not usual

Small requests are taken apart and answered on the event loop, and folded with others while they wait for the model.
Large ones, and those that want an explanation, are a work of their own beside the loop.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from time import perf_counter, time
from typing import Any

from starlette.types import Receive, Scope, Send

from tidegate_contract import names
from tidegate_contract.prediction_id import generation_of
from tidegate_server.batch import Place, QueueFullError, Share
from tidegate_server.deadlines import Deadlines
from tidegate_server.explain import ExplanationError, explain
from tidegate_server.http.codec import Answer, InferRequest, decode_request, encode_response
from tidegate_server.http.errors import (
    ClientGoneError,
    ModelRaisedError,
    OipError,
    a_bug,
    encode_error,
    invalid_output,
    the_model_raised,
)
from tidegate_server.http.plain import PlainRequest
from tidegate_server.http.state import Header, ServerState, Serving
from tidegate_server.metrics import Requests
from tidegate_server.outputs import InvalidOutputError, check_form
from tidegate_server.recorder import Marked
from tidegate_server.refusals import Refusals

MAX_BODY_BYTES = 16 << 20
RETRY_AFTER_SECONDS = 1
GONE = 499
"""The status that is counted where a client went away: nothing was answered."""
JSON_LENGTH_HEADER = b"inference-header-content-length"
EVIDENCE_HEADER = names.EVIDENCE_HEADER.encode()
GENERATION_HEADER = names.GENERATION_HEADER.encode()
PREDICTION_ID_HEADER = names.PREDICTION_ID_HEADER.encode()
READ_HEADERS = frozenset(
    {b"content-length", b"content-encoding", JSON_LENGTH_HEADER, EVIDENCE_HEADER, GENERATION_HEADER}
)
SMALL_BODY_BYTES = 16 << 10
SMALL_ANSWER_VALUES = 4096
"""What is taken apart and put together on the loop: at most about a millisecond of it."""

Headers = Iterable[tuple[bytes, bytes]]
Outcome = Answer | BaseException


@dataclass(frozen=True, slots=True)
class Reply:
    """What a client is told."""

    status: int
    answer: Answer
    retry_after: int | None = None
    bug: BaseException | None = None
    """What nobody foresaw; for the log."""


class Infer:
    """What all exchanges of a server share; and the ASGI application of one path, whose parameters are the model and,
    if it names one, the version."""

    def __init__(self, state: ServerState, requests: Requests, timeout_seconds: float) -> None:
        self.state = state
        self.requests = requests
        self.deadlines = Deadlines(timeout_seconds)
        self.refusals = Refusals()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        exchange = _Awaited(self, loop)
        path = scope["path_params"]
        exchange.begin(path["model"], path.get("version"), scope["headers"])
        feed = None if exchange.ended else loop.create_task(_feed(exchange, receive))
        status = GONE
        try:
            outcome = await exchange.outcome
            del exchange.outcome  # an error would keep all of it alive, by way of its own traceback
            if not isinstance(outcome, ClientGoneError):
                reply = self.reply(outcome)
                status = reply.status
                await send_reply(self.state, send, reply)
                if reply.bug is not None:
                    raise reply.bug
        finally:
            if feed is not None:
                feed.cancel()
            exchange.gone()
            exchange.count(status)

    def reply(self, outcome: Outcome) -> Reply:
        """What a client is told of what became of its request; an error is counted."""
        if isinstance(outcome, Answer):
            return Reply(200, outcome)
        known = _refusal(outcome)
        error = known or a_bug(outcome)
        self.requests.refused(error.kind, error.column)
        return _refused(error, None if known else outcome)


def _refusal(error: BaseException) -> OipError | None:
    """The refusal that an error stands for; None for one that nobody foresaw."""
    if isinstance(error, OipError):
        return error
    if isinstance(error, QueueFullError):
        return OipError(503, "the queue is full", RETRY_AFTER_SECONDS, kind="queue_full")
    if isinstance(error, InvalidOutputError):
        return invalid_output(error)
    if isinstance(error, ModelRaisedError):
        return the_model_raised(error.why)
    return None


def _refused(error: OipError, bug: BaseException | None = None) -> Reply:
    return Reply(error.status, Answer(encode_error(error.message)), error.retry_after, bug)


async def refuse(state: ServerState, send: Send, error: OipError) -> None:
    """Answer with an error."""
    await send_reply(state, send, _refused(error))


async def send_reply(state: ServerState, send: Send, reply: Reply) -> None:
    """Answer, with the headers of every answer."""
    await send({"type": "http.response.start", "status": reply.status, "headers": headers_of(state, reply)})
    await send({"type": "http.response.body", "body": reply.answer.body})


def headers_of(state: ServerState, reply: Reply) -> list[Header]:
    """Those of an answer, all but the date."""
    answer = reply.answer
    kind = b"application/json" if answer.json_length is None else b"application/octet-stream"
    told = [(b"content-length", b"%d" % len(answer.body)), (b"content-type", kind), *state.headers]
    if reply.retry_after is not None:
        told.append((b"retry-after", b"%d" % reply.retry_after))
    if answer.json_length is not None:
        told.append((JSON_LENGTH_HEADER, b"%d" % answer.json_length))
    if answer.prediction_id:
        told.append((PREDICTION_ID_HEADER, answer.prediction_id.encode()))
    return told


@dataclass(slots=True)
class _Asked:
    """What the headers of a request say."""

    json_length: int | None = None
    """How much of the body is JSON; None where all of it is."""
    evidence: bool = False
    """A router assigned it at random; whatever the header says, as only routers may set it."""
    generation: int = 0
    """The weight step that a router gave it."""
    size: int = 0
    """Bytes of its body."""

    def read(self, headers: Headers) -> None:
        """Raises OipError 400 or 413 for what is not to be read."""
        for name, value in headers:
            if name not in READ_HEADERS:
                continue
            if name == b"content-length" and _size(value) is None:
                raise _too_large()
            if name == b"content-encoding" and value != b"identity":
                raise OipError(400, "a compressed body is not supported; send it plain")
            if name == EVIDENCE_HEADER:
                self.evidence = True
            if name == GENERATION_HEADER:
                self.generation = generation_of(value)
            if name == JSON_LENGTH_HEADER:
                self.json_length = _size(value)
                if self.json_length is None:
                    raise OipError(400, "Inference-Header-Content-Length is a number of bytes")


def loaded(state: ServerState) -> Serving:
    """The model. Raises OipError 503 while none is loaded."""
    if state.serving is None:
        raise OipError(503, "the model is loading", RETRY_AFTER_SECONDS)
    return state.serving


def serving_of(state: ServerState, model: str, version: str | None) -> Serving:
    """The model that a path names. Raises OipError 503 while none is loaded, 404 for another one."""
    serving = loaded(state)
    if model != serving.model:
        raise OipError(404, f"there is no such model here; this server has {serving.model}")
    if version not in (None, serving.revision):
        raise OipError(404, f"there is no such version here; this server has {serving.revision}")
    return serving


def _size(value: bytes) -> int | None:
    """The bytes that a header speaks of; None where no body can have so many."""
    found = int(value) if value.isdigit() and len(value) < 20 else None  # int refuses thousands of digits
    return found if found is not None and found <= MAX_BODY_BYTES else None


def _too_large() -> OipError:
    return OipError(413, f"a request body may have {MAX_BODY_BYTES} bytes; send fewer rows at a time")


class Exchange(ABC):
    """One request. On the event loop only.

    begin, add for each part of the body, complete; `tell` is called once, in one of them or later. Nothing raises.
    """

    __slots__ = ("_arrived", "_asked", "_chunks", "_finish", "_infer", "_place", "_serving", "_start", "ended")

    def __init__(self, infer: Infer) -> None:
        self._infer = infer
        self._asked = _Asked()
        self._chunks: list[bytes] = []
        self._arrived = False
        self._serving: Serving | None = None
        self._place: Place | None = None
        self._finish: Callable[[Share], Answer] | None = None
        self.ended = False

    @abstractmethod
    def tell(self, outcome: Outcome) -> None:
        """What became of it."""

    def begin(self, model: str, version: str | None, headers: Headers) -> None:
        """The head is here."""
        self._start = perf_counter()
        self._infer.requests.in_flight += 1
        try:
            self._serving = serving_of(self._infer.state, model, version)
            self._place = self._serving.predictor.place()
            self._infer.deadlines.begin(self)
            self._asked.read(headers)
        except QueueFullError:
            self._infer.refusals.hold(self)
        except Exception as error:  # noqa: BLE001 - it is told
            self.end(error)

    def add(self, chunk: bytes) -> None:
        """A part of the body is here."""
        if self._place is None:
            return
        asked = self._asked
        asked.size += len(chunk)
        try:
            if asked.size > MAX_BODY_BYTES:
                raise _too_large()
            self._place.hold(len(chunk))
        except Exception as error:  # noqa: BLE001 - it is told
            self.end(error)
        else:
            self._chunks.append(chunk)

    def complete(self) -> None:
        """All of the body is here."""
        if self._serving is None or self._place is None:
            return
        self._arrived = True
        chunks = self._chunks
        try:
            self._ask(self._serving, self._place, chunks[0] if len(chunks) == 1 else b"".join(chunks))
        except Exception as error:  # noqa: BLE001 - it is told
            self.end(error)

    def gone(self) -> None:
        """Nobody waits for the answer any more."""
        if not self.ended:
            self.end(ClientGoneError())

    def count(self, status: int) -> None:
        """The answer has gone out, or nobody is there to have it; to be called once."""
        seconds = perf_counter() - self._start
        self._infer.requests.in_flight -= 1
        self._infer.requests.saw(status, seconds)
        if status == 200 and self._serving is not None:
            self._serving.recorder.answered(seconds, evidence=self._asked.evidence)

    def expire(self) -> None:
        """The deadline is over."""
        if self._arrived:
            self.end(OipError(504, "the model did not answer before the deadline of the request"))
        else:
            self.end(OipError(408, "the request body did not arrive in time"))

    def refuse(self) -> None:
        """The queue was full, and it is its turn to be told."""
        self.end(QueueFullError())

    def answered(self, result: Any) -> None:
        """By the model: with a share of its answer, or with all of the request's by a work of its own."""
        if self._finish is not None:
            try:
                result = self._finish(result)
            except Exception as error:  # noqa: BLE001 - it is told
                result = error
        self.end(result)

    def failed(self, error: BaseException) -> None:
        """The model raised, or a work of its own did."""
        folded = self._finish is not None and not isinstance(error, InvalidOutputError)
        self.end(ModelRaisedError(error) if folded else error)

    def end(self, outcome: Outcome) -> None:
        """Leave everything and tell; only the first time."""
        if self.ended:
            return
        self.ended = True
        if self._place is None:
            self._infer.refusals.leave(self)
        else:
            self._infer.deadlines.end(self)
            self._place.leave()
            self._place = None
        self._chunks, self._finish = [], None
        self.tell(outcome)

    def _ask(self, serving: Serving, place: Place, body: bytes) -> None:
        """Raises OipError."""
        asked = self._asked
        if len(body) > SMALL_BODY_BYTES:
            place.run(self, lambda: _whole(serving, body, asked))
            return
        plain = None if asked.json_length is not None else serving.plain.decode(body)
        request = plain or decode_request(body, serving.manifest.signature, asked.json_length)
        if serving.door:
            serving.door.check(request.table)
        if request.explain or request.rows * serving.plain.values > SMALL_ANSWER_VALUES:
            place.run(self, lambda: _finished(serving, request, asked))
            return
        self._finish = partial(_folded, serving, request, asked)
        place.predict(self, request.table, request.outputs, request.rows, evidence=asked.evidence)


class _Awaited(Exchange):
    """An exchange that a task waits for."""

    __slots__ = ("outcome",)

    def __init__(self, infer: Infer, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(infer)
        self.outcome: asyncio.Future[Outcome] = loop.create_future()

    def tell(self, outcome: Outcome) -> None:
        if not self.outcome.done():  # it is if the task was cancelled
            self.outcome.set_result(outcome)


async def _feed(exchange: Exchange, receive: Receive) -> None:
    """Tell an exchange what comes of its body, and that its client went away."""
    try:
        more = True
        while (message := await receive())["type"] != "http.disconnect":
            if more:
                exchange.add(message.get("body", b""))
                more = message.get("more_body", False)
                if not more:
                    exchange.complete()
        exchange.gone()
    except Exception as error:  # noqa: BLE001 - it is told
        exchange.end(error)


def _folded(serving: Serving, request: InferRequest | PlainRequest, asked: _Asked, share: Share) -> Answer:
    """The answer to one of those that were folded. Raises InvalidOutputError."""
    answers = share.columns
    prediction_id = serving.ids.make(answers, request.rows, asked.generation, asked.evidence, time())
    if isinstance(request, PlainRequest):
        return Answer(serving.plain.encode(request, share, prediction_id), prediction_id)
    signature = serving.manifest.signature
    return encode_response(serving.model, serving.revision, request, answers, signature, prediction_id)


def _whole(serving: Serving, body: bytes, asked: _Asked) -> Answer:
    """Decode, predict, encode; in the thread of the model. Raises OipError, InvalidOutputError."""
    request = decode_request(body, serving.manifest.signature, asked.json_length)
    if serving.door:
        serving.door.check(request.table)
    return _finished(serving, request, asked)


def _finished(serving: Serving, request: InferRequest | PlainRequest, asked: _Asked) -> Answer:
    """Predict, encode; in the thread of the model. Raises OipError, InvalidOutputError."""
    signature = serving.manifest.signature
    columns = serving.predictor.columns(request.table)
    predict, explained = serving.predictor.predict, None
    try:
        if request.explain:
            explained = explain(predict, columns, request.outputs, signature, serving.profile)
        answers = explained.answers if explained else predict(columns, request.outputs)
    except ExplanationError as error:
        raise OipError(400, str(error)) from error
    except Exception as error:
        raise the_model_raised(error) from error
    check_form(answers, request.outputs, request.rows, signature)
    marks = [Marked(request.rows, evidence=True)] if asked.evidence else ()
    serving.recorder.add(columns, answers, request.rows, marks, asked.size)
    prediction_id = serving.ids.make(answers, request.rows, asked.generation, asked.evidence, time())
    return encode_response(serving.model, serving.revision, request, answers, signature, prediction_id, explained)
