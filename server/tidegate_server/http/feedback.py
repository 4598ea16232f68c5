"""`PUT /v2/models/NAME/feedback/ID`: what was true, for a prediction that somebody remembers by its id.

    {"value": 1}                            the id of one row, or ID.K: row K of a batch
    {"values": [1, null, 0]}                a whole batch, null where it is not known yet
    {"values": [...], "predictions": [...]} where the id has no room for its predictions

Nothing of a request is counted unless all of it can be.
"""

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from tidegate_contract.prediction_id import Prediction, PredictionIdError, hash_of, parse
from tidegate_server.feedback import Labels, Loss, Taken, TruthError, loss_of
from tidegate_server.http.errors import OipError
from tidegate_server.http.infer import RETRY_AFTER_SECONDS, serving_of
from tidegate_server.http.state import ServerState, Serving
from tidegate_server.metrics import Metrics

MAX_BODY_BYTES = 1 << 20
MAX_AT_ONCE = 64
"""Requests whose bodies are held."""
SLICE_ROWS = 256
"""What is done before others have their turn on the loop: about a millisecond of it."""
_ID = re.compile(r"(?P<id>[^.]*)(\.(?P<row>0|[1-9][0-9]{0,8}))?")
_NOTHING: Any = msgspec.UNSET

Given = list[tuple[int, Any]]
"""Rows and what was true of them."""


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    value: Any = _NOTHING
    values: list[Any] | msgspec.UnsetType = msgspec.UNSET
    predictions: list[Any] | msgspec.UnsetType = msgspec.UNSET


_decode = msgspec.json.Decoder(_Body).decode


class FeedbackRoute:
    """Takes feedback for any revision of the model that this server has one of."""

    def __init__(
        self,
        state: ServerState,
        metrics: Metrics,
        timeout_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._state = state
        self._results = {name: metrics.feedback.labels(name) for name in ("counted", "repeated", "refused")}
        self._timeout = timeout_seconds
        self._clock = clock
        self._held = 0
        self._labels: tuple[Serving, Labels] | None = None

    async def put(self, request: Request) -> Response:
        """Raises OipError."""
        try:
            taken = await self._take(request)
        except OipError:
            self._results["refused"].inc()
            raise
        except ClientDisconnect:
            return Response(status_code=499)  # nobody is there to be told
        self._results["counted"].inc(taken.counted)
        self._results["repeated"].inc(taken.repeated)
        said = msgspec.json.encode({"counted": taken.counted, "repeated": taken.repeated})
        return Response(said, media_type="application/json")

    async def _take(self, request: Request) -> Taken:
        """Raises OipError, ClientDisconnect."""
        path = request.path_params
        serving = serving_of(self._state, path["model"], path.get("version"))
        text, prediction, row = _read_id(path["id"])
        if self._held >= MAX_AT_ONCE:
            raise OipError(503, "too much feedback comes at the same time", RETRY_AFTER_SECONDS)
        self._held += 1
        try:
            content = await _read_body(request, self._timeout)
            losses = await _losses(prediction, row, _read(content), self._labels_of(serving))
            return await self._count(text, prediction, losses)
        except TruthError as error:
            raise OipError(400, str(error)) from error
        finally:
            self._held -= 1

    def _labels_of(self, serving: Serving) -> Labels:
        if self._labels is None or self._labels[0] is not serving:
            self._labels = serving, Labels(serving.manifest.signature)
        return self._labels[1]

    async def _count(self, text: str, prediction: Prediction, losses: Sequence[tuple[int, Loss]]) -> Taken:
        feedback, now = self._state.feedback, self._clock()
        feedback.make_room()
        counted = repeated = 0
        for start in range(0, len(losses), SLICE_ROWS):
            taken = feedback.count(text, prediction, losses[start : start + SLICE_ROWS], now)
            counted, repeated = counted + taken.counted, repeated + taken.repeated
            await asyncio.sleep(0)
        return Taken(counted, repeated)


def _read_id(text: str) -> tuple[str, Prediction, int | None]:
    """The id without the row, what it says, and the row if one is named. Raises OipError 400."""
    parts = _ID.fullmatch(text)
    if parts is None:
        raise OipError(400, "the path ends with a prediction id, or with ID.K for row K of a batch, from 0")
    try:
        prediction = parse(parts["id"])
    except PredictionIdError as error:
        raise OipError(400, f"{error}; send it as the answer had it") from error
    row = None if parts["row"] is None else int(parts["row"])
    if row is not None and row >= prediction.rows:
        raise OipError(400, "the prediction id names a row that its batch does not have; the first one is 0")
    return parts["id"], prediction, row


async def _read_body(request: Request, timeout_seconds: float) -> bytes:
    """Raises OipError 400, 408 or 413, ClientDisconnect."""
    if request.headers.get("content-encoding", "identity") != "identity":
        raise OipError(400, "a compressed body is not supported; send it plain")
    content = bytearray()
    try:
        async with asyncio.timeout(timeout_seconds):
            async for chunk in request.stream():
                content += chunk
                if len(content) > MAX_BODY_BYTES:
                    raise OipError(413, f"feedback may have {MAX_BODY_BYTES} bytes")
    except TimeoutError as error:
        raise OipError(408, "the request body did not arrive in time") from error
    return bytes(content)


def _read(content: bytes) -> _Body:
    """Raises OipError 400."""
    try:
        body = _decode(content)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise OipError(400, _form()) from error
    if (body.value is _NOTHING) == (body.values is msgspec.UNSET):
        raise OipError(400, _form())
    return body


def _form() -> str:
    return 'feedback is JSON: {"value": TRUE VALUE} for one row, {"values": [...]} for all rows of a batch'


async def _losses(prediction: Prediction, row: int | None, body: _Body, labels: Labels) -> list[tuple[int, Loss]]:
    """The loss of each row whose truth is given. Raises TruthError."""
    sent_back = _sent_back(prediction, row, body)
    given = _given(prediction, row, body)
    losses: list[tuple[int, Loss]] = []
    for start in range(0, len(given), SLICE_ROWS):
        for place, truth in given[start : start + SLICE_ROWS]:
            losses.append((place, loss_of(prediction, place, truth, labels, sent_back[place] if sent_back else None)))
        await asyncio.sleep(0)
    return losses


def _given(prediction: Prediction, row: int | None, body: _Body) -> Given:
    if isinstance(body.values, list):
        if row is not None:
            raise TruthError('an id with a row takes one true value: {"value": ...}')
        if len(body.values) != prediction.rows:
            raise TruthError("values has one true value for each row of the batch, null where it is not known yet")
        return [(place, truth) for place, truth in enumerate(body.values) if truth is not None]
    if row is None and prediction.rows > 1:
        raise TruthError('this id is of a batch: send {"values": [...]}, or name the row as ID.K')
    if body.value is None:
        raise TruthError("value is the true value; send it when it is known")
    return [(row or 0, body.value)]


def _sent_back(prediction: Prediction, row: int | None, body: _Body) -> list[Any]:
    """The predictions, if the id has only a hash of them."""
    if not prediction.hash:
        return []
    if row is not None or not isinstance(body.predictions, list):
        raise TruthError(
            "this id has only a hash of its predictions: send feedback for all rows at once, "
            'with the predictions as they were answered: {"values": [...], "predictions": [...]}'
        )
    if len(body.predictions) != prediction.rows:
        raise TruthError("predictions has as many rows as the answer had")
    try:
        same = hash_of(body.predictions, number=prediction.number) == prediction.hash
    except (ValueError, OverflowError, RecursionError):
        same = False
    if not same:
        raise TruthError("the predictions are not those of this id; send them as they were answered")
    return body.predictions
