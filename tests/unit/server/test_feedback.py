"""The true value of a prediction: what it costs, that it counts once, and what a client is told."""

import asyncio
import json
import threading
import time
from typing import Any

import httpx2
import numpy as np
import pytest
from prometheus_client import generate_latest

from bundles import SIGNATURE
from tidegate_contract.bundle.datatypes import Datatype
from tidegate_contract.bundle.manifest import Signature, TensorSpec
from tidegate_contract.losses import Arm, ArmLosses, Losses, LossReport, error_cell
from tidegate_contract.prediction_id import Prediction, PredictionIds, parse
from tidegate_server.feedback import Feedback, Labels, Loss, Taken, TruthError, loss_of
from tidegate_server.http import feedback as http
from tidegate_server.http.app import make_app
from tidegate_server.http.state import ServerState, Serving
from tidegate_server.metrics import Metrics

INPUTS = (TensorSpec("x", Datatype.FP64, (-1,)),)
NUMBER = Signature(INPUTS, (TensorSpec("predict", Datatype.FP64, (-1,)),))
NUMBERS = Signature(INPUTS, (TensorSpec("predict", Datatype.FP64, (-1, 2)),))
UNNAMED = Signature(INPUTS, (TensorSpec("predict", Datatype.INT64, (-1,)),))
PAIRS = Signature(INPUTS, (TensorSpec("predict", Datatype.INT64, (-1, 2)),))


def classes(*labels: int) -> Signature:
    proba = TensorSpec("predict_proba", Datatype.FP64, (-1, len(labels)), labels)
    return Signature(INPUTS, (TensorSpec("predict", Datatype.INT64, (-1,)), proba))


def made(signature: Signature, rows: int = 1, **answers: Any) -> str:
    columns = {name: np.array(values) for name, values in answers.items()}
    return PredictionIds("abc123", signature).make(columns, rows, 17, True, time.time())


def cost(signature: Signature, truth: object, here: Signature = SIGNATURE, **answers: Any) -> Loss:
    """What the first row cost, told to a server whose model has the signature `here`."""
    prediction = parse(made(signature, **answers))
    sent_back = answers["predict"][0] if prediction.hash else None
    return loss_of(prediction, 0, truth, Labels(here), sent_back)


# ---------------------------------------------------------------- what a prediction cost

SHARES = [[0.25, 0.75]]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(cost(SIGNATURE, 1, predict=[1]), Loss(right=True), id="the label that was answered"),
        pytest.param(cost(SIGNATURE, 0, predict=[1]), Loss(right=False), id="another label"),
        pytest.param(cost(SIGNATURE, 1.0, predict=[1]), Loss(right=True), id="1.0 is 1"),
        pytest.param(
            cost(SIGNATURE, 1, predict=[1], predict_proba=SHARES), Loss(True, 0.0625), id="a Brier score, right"
        ),
        pytest.param(
            cost(SIGNATURE, 0, predict=[1], predict_proba=SHARES), Loss(False, 0.5625), id="a Brier score, wrong"
        ),
        pytest.param(
            cost(SIGNATURE, 2, classes(0, 1, 2), predict=[1], predict_proba=SHARES),
            Loss(False, 0.8125),
            id="a label that only another revision knows had the probability 0",
        ),
        pytest.param(
            cost(classes(0, 1, 2), 2, predict=[2], predict_proba=[[0.25, 0.25, 0.5]]),
            Loss(True, 0.1875),
            id="a label that only the revision of the id knows",
        ),
        pytest.param(cost(classes(*range(17)), 99, predict=[1]), Loss(right=False), id="of a list that is not here"),
        pytest.param(cost(UNNAMED, 99, UNNAMED, predict=[99]), Loss(right=True), id="a model that lists no labels"),
        pytest.param(cost(NUMBER, 3, predict=[1.5]), Loss(error=1.5), id="an error"),
        pytest.param(cost(NUMBERS, [3, 4], predict=[[1.0, 3.0]]), Loss(error=1.5), id="the mean of several"),
        pytest.param(cost(PAIRS, [3, 4], predict=[[3, 4]]), Loss(right=True), id="several labels, all right"),
        pytest.param(cost(PAIRS, [3, 5], predict=[[3, 4]]), Loss(right=False), id="several labels, one wrong"),
    ],
)
def test_a_loss(found: Loss, expected: Loss) -> None:
    assert found == expected


LABEL, FINITE = "one of the model's labels", "a number"


@pytest.mark.parametrize(
    ("signature", "truth", "answers", "why"),
    [
        pytest.param(SIGNATURE, 2, {"predict": [1]}, "none of the model's labels", id="no label"),
        pytest.param(SIGNATURE, "1", {"predict": [1]}, "none of the model's labels", id="a text for a number"),
        pytest.param(SIGNATURE, True, {"predict": [1]}, "none of the model's labels", id="true for 1"),
        pytest.param(SIGNATURE, {}, {"predict": [1]}, LABEL, id="an object"),
        pytest.param(SIGNATURE, [1], {"predict": [1]}, "one number or one label", id="a list"),
        pytest.param(NUMBER, "1", {"predict": [1.5]}, FINITE, id="a text"),
        pytest.param(NUMBER, True, {"predict": [1.5]}, FINITE, id="a boolean"),
        pytest.param(NUMBER, 10**400, {"predict": [1.5]}, "a double can hold", id="a number that no double holds"),
        pytest.param(NUMBERS, [1], {"predict": [[1.5, 2.0]]}, "as many parts", id="too few parts"),
        pytest.param(NUMBERS, [], {"predict": [[1.5, 2.0]]}, "as many parts", id="no parts"),
        pytest.param(PAIRS, [1], {"predict": [[1, 2]]}, "as many parts", id="too few labels"),
    ],
)
def test_a_truth_that_cannot_be_meant(signature: Signature, truth: object, answers: Any, why: str) -> None:
    with pytest.raises(TruthError, match=why):
        cost(signature, truth, **answers)


# ---------------------------------------------------------------- counting


def prediction(revision: str = "a", at: int = 0) -> Prediction:
    return Prediction(revision=revision, generation=1, evidence=True, time=at, rows=1, number=False)


RIGHT = [(0, Loss(right=True))]


def test_counts_by_arm_loss_and_delay() -> None:
    feedback = Feedback()
    feedback.count("1", prediction(), [(0, Loss(True, 0.5)), (1, Loss(False, 0.5))], now=5.0)
    feedback.count("2", prediction(), [(0, Loss(error=0.0)), (1, Loss(error=2.0))], now=9.0)
    arm = Arm("a", 1, True)
    expected = Losses(1, 1, {16: 2}, 1, {error_cell(2.0): 1}, {3: 2, 4: 2})
    assert feedback.snapshot() == LossReport((ArmLosses(arm, expected),))


def test_the_same_row_counts_once_and_the_first_value_stays() -> None:
    feedback = Feedback()
    assert feedback.count("1", prediction(), RIGHT, 0.0) == Taken(1, 0)
    assert feedback.count("1", prediction(), [(0, Loss(right=False)), (1, Loss(right=True))], 0.0) == Taken(1, 1)
    assert feedback.count("2", prediction(), RIGHT, 0.0) == Taken(1, 0)
    assert feedback.snapshot().arms[0].losses == Losses(right=3, delays={0: 3})


def test_the_memory_holds_what_was_counted_last_and_is_bounded() -> None:
    feedback = Feedback(remembered=10)

    def tell(text: str) -> int:
        feedback.make_room()
        return feedback.count(text, prediction(), RIGHT, 0.0).repeated

    assert [tell(str(number)) for number in range(100)] == [0] * 100
    assert [tell(str(number)) for number in range(90, 100)] == [1] * 10
    assert tell("0") == 0  # forgotten long ago


def test_a_batch_larger_than_the_memory_counts_once() -> None:
    feedback = Feedback(remembered=10)
    batch = [(row, Loss(right=True)) for row in range(100)]
    for taken in (Taken(100, 0), Taken(0, 100)):
        feedback.make_room()
        assert feedback.count("1", prediction(), batch, 0.0) == taken


def test_the_arm_untouched_for_longest_makes_room() -> None:
    feedback = Feedback(max_arms=2)
    for number, revision in enumerate(["a", "b", "a", "c"]):
        feedback.count(str(number), prediction(revision), RIGHT, 0.0)
    report = feedback.snapshot()
    assert ([each.arm.revision for each in report.arms], report.dropped) == (["a", "c"], 1)


def test_a_snapshot_from_another_thread_waits_for_the_rows_that_are_being_counted() -> None:
    feedback, halfway, go_on = Feedback(), threading.Event(), threading.Event()

    def rows() -> Any:
        yield 0, Loss(right=True)
        halfway.set()
        assert go_on.wait(20)
        yield 1, Loss(right=True)

    counting = threading.Thread(target=lambda: feedback.count("1", prediction(), rows(), 0.0))
    counting.start()
    assert halfway.wait(20)
    found: list[LossReport] = []
    looking = threading.Thread(target=lambda: found.append(feedback.snapshot()))
    looking.start()
    looking.join(0.2)
    assert found == []
    go_on.set()
    counting.join()
    looking.join()
    assert found[0].arms[0].losses.right == 2


# ---------------------------------------------------------------- over HTTP


class Server:
    """An application without a network."""

    def __init__(self, serving: Serving | None) -> None:
        self.state = ServerState()
        self.state.serving = serving
        self.metrics = Metrics()
        app = make_app(self.state, self.metrics, 10.0)
        self.client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://server")

    async def put(self, id: str, body: Any, model: str = "flights", **how: Any) -> tuple[int, Any]:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = await self.client.put(f"/v2/models/{model}/feedback/{id}", content=content, **how)
        return answer.status_code, answer.json()

    def losses(self) -> Losses:
        (only,) = self.state.feedback.snapshot().arms
        return only.losses

    def total(self, result: str) -> float:
        line = f'tidegate_feedback_total{{result="{result}"}} '
        (found,) = [x for x in generate_latest(self.metrics.registry).decode().splitlines() if x.startswith(line)]
        return float(found.removeprefix(line))


@pytest.fixture
def ready(make_serving: Any, fake_engine: Any) -> Server:
    return Server(make_serving(fake_engine()))


ONE: dict[str, Any] = {"predict": [1], "predict_proba": SHARES}
TWO: dict[str, Any] = {"predict": [1, 0], "predict_proba": [[0.25, 0.75], [1.0, 0.0]]}


async def test_one_row_counts_once_and_a_version_in_the_path_is_the_same(ready: Server) -> None:
    id = made(SIGNATURE, **ONE)
    assert await ready.put(id, {"value": 1}) == (200, {"counted": 1, "repeated": 0})
    assert await ready.put(id, {"value": 0}, "flights/versions/abc123") == (200, {"counted": 0, "repeated": 1})
    assert await ready.put(f"{id}.0", {"value": 1}) == (200, {"counted": 0, "repeated": 1})
    assert ready.losses() == Losses(right=1, brier={2: 1}, delays={0: 1})
    assert [ready.total(result) for result in ("counted", "repeated", "refused")] == [1, 2, 0]


async def test_a_batch_by_rows_and_as_a_whole(ready: Server) -> None:
    id = made(SIGNATURE, rows=2, **TWO)
    assert await ready.put(id, {"values": [None, 0]}) == (200, {"counted": 1, "repeated": 0})
    assert await ready.put(f"{id}.1", {"value": 0}) == (200, {"counted": 0, "repeated": 1})
    assert await ready.put(id, {"values": [0, 0]}) == (200, {"counted": 1, "repeated": 1})
    assert ready.losses() == Losses(right=1, wrong=1, brier={0: 1, 18: 1}, delays={0: 2})


async def test_a_batch_with_a_hash_needs_its_predictions(ready: Server) -> None:
    predict = [row % 2 for row in range(600)]
    id = made(SIGNATURE, rows=600, predict=predict)
    answer = await ready.put(id, {"values": [1] * 600, "predictions": predict})
    assert answer == (200, {"counted": 600, "repeated": 0})
    assert ready.losses() == Losses(right=300, wrong=300, delays={0: 600})
    assert await ready.put(id, {"values": [1] * 600, "predictions": predict}) == (200, {"counted": 0, "repeated": 600})


@pytest.mark.parametrize(
    ("suffix", "body"),
    [
        pytest.param("", {"values": [1] * 600}, id="no predictions"),
        pytest.param(".3", {"value": 1}, id="one row"),
        pytest.param("", {"values": [1] * 600, "predictions": [1] * 600}, id="other predictions"),
        pytest.param("", {"values": [1] * 600, "predictions": [{}] * 600}, id="objects"),
        pytest.param("", {"values": [1] * 600, "predictions": [1]}, id="too few predictions"),
        pytest.param("", {"values": [1], "predictions": [0] * 600}, id="too few values"),
    ],
)
@pytest.mark.parametrize("signature", [SIGNATURE, NUMBER], ids=["labels", "numbers"])
async def test_a_hash_is_refused_what_does_not_fit_it(
    ready: Server, suffix: str, body: Any, signature: Signature
) -> None:
    id = made(signature, rows=600, predict=[0] * 600 if signature is SIGNATURE else [0.0] * 600)
    status, said = await ready.put(id + suffix, body)
    assert (status, "predictions" in said["error"] or "values has" in said["error"]) == (400, True)
    assert ready.state.feedback.snapshot() == LossReport()


@pytest.mark.parametrize(
    ("rows", "suffix", "body", "why"),
    [
        pytest.param(1, "x", {"value": 1}, "not whole", id="a broken id"),
        pytest.param(1, "..", {"value": 1}, "the path ends with a prediction id", id="dots"),
        pytest.param(1, ".01", {"value": 1}, "the path ends with a prediction id", id="a row written oddly"),
        pytest.param(2, ".2", {"value": 1}, "a row that its batch does not have", id="a row too many"),
        pytest.param(2, "", {"value": 1}, "this id is of a batch", id="one value for a batch"),
        pytest.param(2, ".0", {"values": [1, 0]}, "an id with a row takes one", id="values for one row"),
        pytest.param(2, "", {"values": [1]}, "one true value for each row", id="too few values"),
        pytest.param(1, "", {"value": None}, "send it when it is known", id="nothing known"),
        pytest.param(1, "", {"value": 77077}, "none of the model's labels", id="no label"),
        pytest.param(2, "", {"values": [1, 77077]}, "none of the model's labels", id="no label in a batch"),
        pytest.param(1, "", {}, "feedback is JSON", id="nothing"),
        pytest.param(1, "", {"value": 1, "values": [1]}, "feedback is JSON", id="both"),
        pytest.param(1, "", {"vaule": 77077}, "feedback is JSON", id="a field that there is not"),
        pytest.param(1, "", b"77077", "feedback is JSON", id="no object"),
        pytest.param(1, "", b'{"value": "\xff"}', "feedback is JSON", id="no UTF-8"),
        pytest.param(1, "", b'{"value": ' + b"[" * 10_000, "feedback is JSON", id="too deep"),
    ],
)
async def test_what_cannot_be_meant_is_400_and_counts_nothing(
    ready: Server, rows: int, suffix: str, body: Any, why: str
) -> None:
    status, said = await ready.put(made(SIGNATURE, rows=rows, **(ONE if rows == 1 else TWO)) + suffix, body)
    assert status == 400
    assert why in said["error"]
    assert "77077" not in said["error"]
    assert ready.state.feedback.snapshot() == LossReport()
    assert ready.total("refused") == 1


async def test_a_forged_hash_over_anything_is_no_bug(ready: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    forged = parse(made(PAIRS, predict=[[1, 2]]))
    monkeypatch.setattr(http, "parse", lambda _: forged)
    monkeypatch.setattr(http, "hash_of", lambda *_, **__: forged.hash)
    assert (await ready.put("A", {"values": [[1, 2]], "predictions": [{}]}))[0] == 400
    assert (await ready.put("A", {"values": [[1, 2]], "predictions": [[[1], 2]]}))[0] == 400


async def test_a_forged_hash_of_other_rows_is_no_bug(ready: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hash is right, as whoever forges an id can make it; the rows are fewer than the id says."""
    forged = parse(made(SIGNATURE, rows=600, predict=[0] * 600))
    monkeypatch.setattr(http, "parse", lambda _: forged)
    monkeypatch.setattr(http, "hash_of", lambda *_, **__: forged.hash)
    status, said = await ready.put("A", {"values": [1] * 600, "predictions": [0]})
    assert (status, said) == (400, {"error": "predictions has as many rows as the answer had"})


async def test_an_empty_row_under_a_forged_id_is_no_bug(ready: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    forged = parse(made(NUMBERS, predict=[[1.0, 2.0]]))
    monkeypatch.setattr(http, "parse", lambda _: forged)
    monkeypatch.setattr(http, "hash_of", lambda *_, **__: forged.hash)
    assert (await ready.put("A", {"values": [[]], "predictions": [[]]}))[0] == 400


async def test_the_memory_makes_room_before_each_feedback(ready: Server) -> None:
    ready.state.feedback = Feedback(remembered=1)
    ids = [made(SIGNATURE, **ONE) for _ in range(3)]
    taken = [(await ready.put(id, {"value": 1}))[1]["repeated"] for id in (*ids, ids[2], ids[0])]
    assert taken == [0, 0, 0, 1, 0]


async def test_other_models_and_a_model_that_loads(ready: Server) -> None:
    id = made(SIGNATURE, **ONE)
    assert (await ready.put(id, {"value": 1}, "other"))[0] == 404
    assert (await ready.put(id, {"value": 1}, "flights/versions/other"))[0] == 404
    assert (await Server(None).put(id, {"value": 1}))[0] == 503


async def test_only_put_is_possible(ready: Server) -> None:
    answer = await ready.client.post("/v2/models/flights/feedback/x", json={"value": 1})
    assert (answer.status_code, answer.json()) == (405, {"error": "POST is not possible here"})


async def test_a_body_too_large_or_compressed_or_slow(ready: Server, make_serving: Any, fake_engine: Any) -> None:
    id = made(SIGNATURE, **ONE)
    assert (await ready.put(id, b" " * (1 << 20)))[0] == 400
    assert (await ready.put(id, b" " * (1 << 20) + b" "))[0] == 413
    assert (await ready.put(id, b"{}", headers={"content-encoding": "gzip"}))[0] == 400

    assert await _half_put(Server(make_serving(fake_engine())), id) == 408


async def _half_put(server: Server, id: str) -> int:
    """The status of a request whose body begins and does not go on."""
    statuses: list[int] = []
    begun = False

    async def receive() -> Any:
        nonlocal begun
        if begun:
            await asyncio.sleep(60)
        begun = True
        return {"type": "http.request", "body": b"{", "more_body": True}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    app = make_app(server.state, server.metrics, 0.05)
    path = f"/v2/models/flights/feedback/{id}"
    scope = {
        "type": "http",
        "method": "PUT",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [],
    }
    await app(scope, receive, send)
    (status,) = statuses
    return status


async def test_too_many_at_once_are_503(ready: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_AT_ONCE", 0)
    answer = await ready.client.put(f"/v2/models/flights/feedback/{made(SIGNATURE, **ONE)}", json={"value": 1})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_a_place_is_given_back_after_a_refusal(ready: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_AT_ONCE", 1)
    id = made(SIGNATURE, **ONE)
    assert [(await ready.put(id, body))[0] for body in ({}, {"value": 7}, {"value": 1})] == [400, 400, 200]


async def test_a_large_batch_lets_others_have_their_turn(ready: Server) -> None:
    predict = [0] * 20_000
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    others = asyncio.create_task(count())
    answer = await ready.put(made(SIGNATURE, 20_000, predict=predict), {"values": predict, "predictions": predict})
    others.cancel()
    assert answer == (200, {"counted": 20_000, "repeated": 0})
    assert turns > 2 * 20_000 / http.SLICE_ROWS
