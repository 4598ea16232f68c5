"""The one path that is asked all the time, in plain ASGI: from a request's first byte to its answer.

Small requests are taken apart and answered on the event loop, and folded with others while they wait for the model.
Large ones, and those that want an explanation, are a work of their own beside the loop.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from time import perf_counter, time
from typing import TypeVar

from starlette.types import Receive, Scope, Send

from tidegate_contract import names
from tidegate_contract.prediction_id import generation_of
from tidegate_server.batch import Place, QueueFullError, Share
from tidegate_server.deadlines import Deadlines
from tidegate_server.explain import ExplanationError, explain
from tidegate_server.http.codec import Answer, InferRequest, decode_request, encode_response
from tidegate_server.http.errors import (
    ClientGoneError,
    OipError,
    a_bug,
    encode_error,
    invalid_output,
    the_model_raised,
)
from tidegate_server.http.plain import PlainRequest
from tidegate_server.http.state import ServerState, Serving
from tidegate_server.metrics import Requests
from tidegate_server.outputs import InvalidOutputError, check_form
from tidegate_server.recorder import Marked

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

T = TypeVar("T")
Headers = Iterable[tuple[bytes, bytes]]


class Infer:
    """The ASGI application of one path, whose parameters are the model and, if it names one, the version."""

    def __init__(self, state: ServerState, requests: Requests, timeout_seconds: float) -> None:
        self._state = state
        self._requests = requests
        self._deadlines = Deadlines(timeout_seconds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = perf_counter()
        asked = _Asked()
        self._requests.in_flight += 1
        status = GONE
        try:
            answer = await self._answer(scope, receive, asked)
            status = 200
            await send_answer(self._state, send, 200, answer)
        except ClientGoneError:
            pass  # nobody is there to be told
        except OipError as error:
            status = error.status
            await self._refuse(send, error)
        except Exception as error:
            status = 500
            await self._refuse(send, a_bug(error))
            raise
        finally:
            seconds = perf_counter() - start
            self._requests.in_flight -= 1
            self._requests.saw(status, seconds)
            if self._state.serving is not None and status == 200:
                self._state.serving.recorder.answered(seconds, evidence=asked.evidence)

    async def _answer(self, scope: Scope, receive: Receive, asked: "_Asked") -> Answer:
        """Raises OipError, ClientGoneError."""
        path = scope["path_params"]
        serving = serving_of(self._state, path["model"], path.get("version"))
        arrived = False
        try:
            with self._deadlines.begin(), serving.predictor.place() as place:
                asked.read(scope["headers"])
                body = await _read_body(receive, place)
                arrived = True
                return await _predict(serving, place, body, asked, receive)
        except QueueFullError as error:
            raise OipError(503, "the queue is full", RETRY_AFTER_SECONDS, kind="queue_full") from error
        except InvalidOutputError as error:
            raise invalid_output(error) from error
        except TimeoutError as error:
            if arrived:
                raise OipError(504, "the model did not answer before the deadline of the request") from error
            raise OipError(408, "the request body did not arrive in time") from error

    async def _refuse(self, send: Send, error: OipError) -> None:
        self._requests.refused(error.kind, error.column)
        await refuse(self._state, send, error)


async def refuse(state: ServerState, send: Send, error: OipError) -> None:
    """Answer with an error."""
    headers = [] if error.retry_after is None else [(b"retry-after", str(error.retry_after).encode())]
    await send_answer(state, send, error.status, Answer(encode_error(error.message)), headers)


async def send_answer(state: ServerState, send: Send, status: int, answer: Answer, headers: Headers = ()) -> None:
    """Answer with a body, and the headers of every answer."""
    kind = b"application/json"
    if answer.json_length is not None:
        kind = b"application/octet-stream"
        headers = ((JSON_LENGTH_HEADER, str(answer.json_length).encode()),)
    length = b"%d" % len(answer.body)
    told = [(b"content-length", length), (b"content-type", kind), *state.headers, *headers]
    if answer.prediction_id:
        told.append((PREDICTION_ID_HEADER, answer.prediction_id.encode()))
    await send({"type": "http.response.start", "status": status, "headers": told})
    await send({"type": "http.response.body", "body": answer.body})


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


async def _read_body(receive: Receive, place: Place) -> bytes:
    """The whole body, counted while it arrives. Raises OipError 413, QueueFullError, ClientGoneError."""
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise _too_large()
        place.hold(len(chunk))
        chunks.append(chunk)
        more = message.get("more_body", False)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _predict(serving: Serving, place: Place, body: bytes, asked: _Asked, receive: Receive) -> Answer:
    """Raises OipError, InvalidOutputError, ClientGoneError."""
    asked.size = len(body)
    if len(body) > SMALL_BODY_BYTES:
        return await _unless_gone(serving, receive, place.run(lambda: _whole(serving, body, asked)))
    signature = serving.manifest.signature
    plain = None if asked.json_length is not None else serving.plain.decode(body)
    request = plain or decode_request(body, signature, asked.json_length)
    if serving.door:
        serving.door.check(request.table)
    if request.explain or request.rows * serving.plain.values > SMALL_ANSWER_VALUES:
        return await _unless_gone(serving, receive, place.run(lambda: _finished(serving, request, asked)))
    prompt = serving.predictor.prompt(request.rows)
    answering = _folded(place, request, asked)
    share = await (answering if prompt else _unless_gone(serving, receive, answering))
    answers = share.columns
    prediction_id = serving.ids.make(answers, request.rows, asked.generation, asked.evidence, time())
    if isinstance(request, PlainRequest):
        return Answer(serving.plain.encode(request, share, prediction_id), prediction_id)
    return encode_response(serving.model, serving.revision, request, answers, signature, prediction_id)


async def _folded(place: Place, request: InferRequest | PlainRequest, asked: _Asked) -> Share:
    try:
        return await place.predict(request.table, request.outputs, request.rows, evidence=asked.evidence)
    except InvalidOutputError:
        raise
    except Exception as error:
        raise the_model_raised(error) from error


async def _unless_gone(serving: Serving, receive: Receive, answer: Coroutine[None, None, T]) -> T:
    """The answer, if somebody still waits for it. Raises ClientGoneError, and what the answer raises."""
    loop = serving.predictor.loop
    task: asyncio.Task[object] = asyncio.current_task(loop)  # type: ignore[assignment] # a coroutine runs in one
    waiting, gone = True, False

    def leave(_: "asyncio.Task[None]") -> None:
        nonlocal gone
        if waiting:
            gone = True
            task.cancel()

    watch = loop.create_task(_disconnect(receive))
    watch.add_done_callback(leave)
    try:
        return await answer
    except asyncio.CancelledError:
        if not gone:
            raise
        task.uncancel()
        raise ClientGoneError from None
    finally:
        waiting = False
        watch.cancel()


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


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
