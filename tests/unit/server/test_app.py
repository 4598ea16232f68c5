"""The protocol over HTTP: which path answers what, and with which status."""

import asyncio
import json
import re
import struct
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import httpx2
import msgspec
import numpy as np
import pytest
from fastapi import FastAPI
from prometheus_client import generate_latest

from tidegate_contract.prediction_id import parse
from tidegate_server.http import infer
from tidegate_server.http.app import make_app
from tidegate_server.http.errors import OipError
from tidegate_server.http.infer import MAX_BODY_BYTES, SMALL_BODY_BYTES
from tidegate_server.http.state import ServerState, Serving
from tidegate_server.metrics import Metrics
from tidegate_server.offline.profile import build, score_of

INFER = "/v2/models/flights/infer"
BODY: dict[str, Any] = {
    "id": "7",
    "inputs": [
        {"name": "carrier", "shape": [1], "datatype": "BYTES", "data": ["UA"]},
        {"name": "delay", "shape": [1], "datatype": "FP64", "data": [2.5]},
    ],
}


class Server:
    """An application without a network, and what it looks like from outside."""

    def __init__(self, serving: Serving | None, timeout: float = 10.0) -> None:
        self.state = ServerState()
        self.state.serving = serving
        self.metrics = Metrics()
        transport = httpx2.ASGITransport(make_app(self.state, self.metrics, timeout), raise_app_exceptions=False)
        self.client = httpx2.AsyncClient(transport=transport, base_url="http://server")

    async def get(self, path: str) -> tuple[int, Any]:
        answer = await self.client.get(path)
        return answer.status_code, answer.json()

    async def infer(self, body: Any = BODY) -> tuple[int, Any]:
        answer = await self.client.post(INFER, json=body)
        return answer.status_code, answer.json()

    def metric(self, line: str) -> bool:
        return line in generate_latest(self.metrics.registry).decode().splitlines()


@pytest.fixture
def ready(make_serving: Any, fake_engine: Any) -> Server:
    return Server(make_serving(fake_engine()))


async def test_health_of_a_server_with_a_model(ready: Server) -> None:
    assert await ready.get("/v2/health/live") == (200, {"live": True})
    assert await ready.get("/v2/health/ready") == (200, {"ready": True})
    assert await ready.get("/v2/models/flights/ready") == (200, {"name": "flights", "ready": True})
    assert await ready.get("/v2/models/flights/versions/abc123/ready") == (200, {"name": "flights", "ready": True})


async def test_a_server_that_is_loading_is_alive_and_not_ready() -> None:
    loading = Server(None)
    refusal = (503, {"error": "the model is loading"})
    assert await loading.get("/v2/health/live") == (200, {"live": True})
    for path in ("/v2/health/ready", "/v2/models/flights", "/v2/models/flights/ready"):
        assert await loading.get(path) == refusal
    assert await loading.infer() == refusal


async def test_a_draining_server_is_not_ready_and_still_answers(ready: Server) -> None:
    ready.state.draining = True
    assert await ready.get("/v2/health/ready") == (503, {"error": "the server is shutting down"})
    answer = await ready.client.post(INFER, json=BODY)
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")


async def test_server_metadata(ready: Server) -> None:
    status, body = await ready.get("/v2")
    assert (status, body["name"], body["extensions"]) == (200, "tidegate", ["binary_tensor_data", "tidegate_explain"])


@pytest.mark.parametrize("path", ["/v2/models/flights", "/v2/models/flights/versions/abc123"])
async def test_model_metadata(path: str, ready: Server) -> None:
    status, body = await ready.get(path)
    assert (status, body["name"], body["versions"]) == (200, "flights", ["abc123"])


@pytest.mark.parametrize("path", [INFER, "/v2/models/flights/versions/abc123/infer"])
async def test_infer(path: str, ready: Server) -> None:
    answer = await ready.client.post(path, json=BODY)
    assert answer.json() == {
        "model_name": "flights",
        "model_version": "abc123",
        "id": "7",
        "parameters": {"prediction_id": answer.headers["tidegate-prediction-id"]},
        "outputs": [
            {"name": "predict", "shape": [1], "datatype": "INT64", "data": [1]},
            {"name": "predict_proba", "shape": [1, 2], "datatype": "FP64", "data": [0.25, 0.75]},
        ],
    }
    assert answer.headers["tidegate-revision"] == "abc123"


async def test_binary_data_go_in_and_come_out(ready: Server) -> None:
    head = json.dumps(
        {
            "inputs": [
                BODY["inputs"][0],
                {"name": "delay", "shape": [1], "datatype": "FP64", "parameters": {"binary_data_size": 8}},
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    answer = await ready.client.post(
        INFER, content=head + struct.pack("<d", 2.5), headers={"Inference-Header-Content-Length": str(len(head))}
    )
    length = int(answer.headers["inference-header-content-length"])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/octet-stream")
    sizes = [output["parameters"]["binary_data_size"] for output in json.loads(answer.content[:length])["outputs"]]
    assert len(answer.content) == length + sum(sizes)


async def test_an_answer_is_explained_where_that_is_asked_for(make_serving: Any, fake_engine: Any) -> None:
    engine = fake_engine()
    profile = build({"carrier": np.array(["AA"], dtype=object), "delay": np.array([1.0])})
    server = Server(make_serving(engine, profile=profile))
    status, body = await server.infer({**BODY, "parameters": {"explain": True}, "outputs": [{"name": "predict"}]})
    assert status == 200
    assert [output["name"] for output in body["outputs"]] == ["predict", "attributions"]
    assert body["outputs"][1] == {
        "name": "attributions",
        "shape": [1, 2],
        "datatype": "FP64",
        "parameters": {"of": "predict_proba", "columns": ["carrier", "delay"]},
        "data": [0.0, 0.0],
    }
    assert engine.calls == [("predict", "predict_proba")]


async def test_what_cannot_be_explained_is_400_and_says_why(ready: Server) -> None:
    status, body = await ready.infer({**BODY, "parameters": {"explain": True}})
    assert (status, "has no profile" in body["error"]) == (400, True)


@pytest.mark.parametrize("length", ["", "x", "-1", "1e3", "99999999999999999999"])
async def test_a_length_of_the_json_that_is_none_is_refused(ready: Server, length: str) -> None:
    answer = await ready.client.post(INFER, json=BODY, headers={"Inference-Header-Content-Length": length})
    assert (answer.status_code, "Inference-Header-Content-Length" in answer.json()["error"]) == (400, True)


async def test_only_the_wanted_outputs_are_computed(make_serving: Any, fake_engine: Any) -> None:
    engine = fake_engine()
    await Server(make_serving(engine)).infer({**BODY, "outputs": [{"name": "predict"}]})
    assert engine.calls == [("predict",)]


NOWHERE: dict[str, tuple[str, str, int, str]] = {
    "another model": ("GET", "/v2/models/other", 404, "no such model"),
    "another model's infer": ("POST", "/v2/models/other/infer", 404, "no such model"),
    "another version": ("GET", "/v2/models/flights/versions/x", 404, "no such version"),
    "another version's infer": ("POST", "/v2/models/flights/versions/x/infer", 404, "no such version"),
    "no path of the protocol": ("GET", "/", 404, "nothing at this path"),
    "the documents of FastAPI": ("GET", "/docs", 404, "nothing at this path"),
    "another method": ("PUT", INFER, 405, "PUT is not possible here"),
    "a broken body": ("POST", INFER, 400, "not JSON"),
}


@pytest.mark.parametrize(("method", "path", "status", "message"), NOWHERE.values(), ids=NOWHERE)
async def test_refused(method: str, path: str, status: int, message: str, ready: Server) -> None:
    answer = await ready.client.request(method, path)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert message in answer.json()["error"]
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("length", [str(MAX_BODY_BYTES + 1), "9" * 5000])
async def test_a_body_that_says_it_is_too_large_is_not_read(ready: Server, length: str) -> None:
    answer = await ready.client.post(INFER, content=b"x", headers={"content-length": length})
    assert (answer.status_code, list(answer.json())) == (413, ["error"])


@pytest.mark.parametrize("length", [str(MAX_BODY_BYTES + 1), "9" * 5000, "-1", "x", ""])
async def test_a_length_of_json_that_no_body_has_is_a_clear_error(ready: Server, length: str) -> None:
    answer = await ready.client.post(INFER, content=b"x", headers={"inference-header-content-length": length})
    assert (answer.status_code, list(answer.json())) == (400, ["error"])


async def test_a_body_that_says_nothing_is_counted(ready: Server) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY_BYTES // (1 << 20) + 1):
            yield b" " * (1 << 20)

    answer = await ready.client.post(INFER, content=endless())
    assert (answer.status_code, list(answer.json())) == (413, ["error"])


async def test_a_compressed_body_is_refused(ready: Server) -> None:
    answer = await ready.client.post(INFER, content=b"x", headers={"content-encoding": "gzip"})
    assert answer.status_code == 400


async def test_a_body_that_does_not_come_is_given_up(make_serving: Any, fake_engine: Any) -> None:
    async def stuck() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(30)

    answer = await Server(make_serving(fake_engine()), timeout=0.05).client.post(INFER, content=stuck())
    assert answer.status_code == 408


async def test_a_model_that_raises_is_500_without_what_was_sent(make_serving: Any, fake_engine: Any) -> None:
    def behave(columns: Any) -> None:
        raise ValueError(f"cannot digest {columns['carrier'][0]}")

    status, body = await Server(make_serving(fake_engine(behave))).infer()
    assert (status, body) == (500, {"error": "the model raised ValueError"})


async def test_an_error_is_answered_to_the_request_that_caused_it(make_serving: Any, fake_engine: Any) -> None:
    def behave(columns: Any) -> None:
        if "XX" in columns["carrier"]:
            raise ValueError("no such carrier")

    engine = fake_engine(behave)
    server = Server(make_serving(engine))
    bodies = [{**BODY, "inputs": [{**BODY["inputs"][0], "data": [name]}, BODY["inputs"][1]]} for name in ("UA", "XX")]
    found = await asyncio.gather(*(server.infer(body) for body in (bodies * 2)))
    assert [status for status, _ in found] == [200, 500, 200, 500]
    assert len(engine.calls) == 5, "all at once, and then each"


async def test_a_slow_model_is_504_at_the_deadline(make_serving: Any, fake_engine: Any, gate: Any) -> None:
    server = Server(make_serving(fake_engine(gate)), timeout=0.05)
    assert (await server.infer())[0] == 504
    gate.opened.set()


async def test_a_full_queue_is_503_with_retry_after_and_health_is_answered_meanwhile(
    make_serving: Callable[..., Serving], fake_engine: Any, gate: Any
) -> None:
    server = Server(make_serving(fake_engine(gate), max_waiting=2))
    waiting = [asyncio.create_task(server.infer()) for _ in range(2)]
    await asyncio.to_thread(gate.entered.wait)
    await asyncio.sleep(0.02)
    refused = await server.client.post(INFER, json=BODY)
    assert (refused.status_code, refused.json(), refused.headers["retry-after"]) == (
        503,
        {"error": "the queue is full"},
        "1",
    )
    assert await server.get("/v2/health/ready") == (200, {"ready": True})
    assert server.metric("tidegate_in_flight 2.0")
    gate.opened.set()
    assert [status for status, _ in await asyncio.gather(*waiting)] == [200, 200]
    assert (await server.infer())[0] == 200


LARGE = {"inputs": [], "id": "x" * SMALL_BODY_BYTES}
SPECIAL = {**BODY, "parameters": {"explain": False}}
MANY = {
    "inputs": [
        {"name": "carrier", "shape": [3], "datatype": "BYTES", "data": ["UA"] * 3},
        {"name": "delay", "shape": [3], "datatype": "FP64", "data": [2.5] * 3},
    ]
}


@pytest.mark.parametrize(
    ("body", "step", "beside"),
    [
        pytest.param(LARGE, "decode_request", True, id="a large request"),
        pytest.param(SPECIAL, "decode_request", False, id="a small request"),
        pytest.param(BODY, "Plain.decode", False, id="a usual request"),
        pytest.param(MANY, "encode_response", True, id="a large answer"),
        pytest.param(SPECIAL, "encode_response", False, id="a small answer"),
        pytest.param(BODY, "Plain.encode", False, id="a usual answer"),
    ],
)
async def test_what_is_large_is_taken_apart_and_put_together_beside_the_event_loop(
    ready: Server, monkeypatch: pytest.MonkeyPatch, body: Any, step: str, beside: bool
) -> None:
    monkeypatch.setattr(infer, "SMALL_ANSWER_VALUES", 8)
    found: list[bool] = []

    def watch(*_: object) -> None:
        found.append(threading.current_thread() is not threading.main_thread())
        raise OipError(400, "seen")

    monkeypatch.setattr(f"tidegate_server.http.{'plain' if 'Plain' in step else 'infer'}.{step}", watch)
    assert await ready.infer(body) == (400, {"error": "seen"})
    assert found == [beside]


class SameId:
    """Gives every answer the same id."""

    def make(self, *_: object) -> str:
        return "x"


async def test_infer_does_not_go_through_fastapi(ready: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FastAPI, "__call__", lambda *_: pytest.fail("it did"))
    assert (await ready.infer())[0] == 200


@pytest.mark.parametrize("path", [INFER, "/v2/models/other/infer", "/v2/models/flights/versions/x/infer"])
@pytest.mark.parametrize("content", [json.dumps(BODY), "{", json.dumps({**BODY, "parameters": {"explain": True}})])
async def test_the_route_of_fastapi_answers_the_same(
    ready: Server, monkeypatch: pytest.MonkeyPatch, path: str, content: str
) -> None:
    ready.state.serving.__dict__["ids"] = SameId()
    straight = await ready.client.post(path, content=content)
    monkeypatch.setattr("tidegate_server.http.paths.INFER_PATH", re.compile("nothing"))
    routed = await ready.client.post(path, content=content)
    assert (routed.status_code, routed.content, routed.headers) == (
        straight.status_code,
        straight.content,
        straight.headers,
    )
    assert ready.metric(f'tidegate_requests_total{{code="{straight.status_code}"}} 2.0')


async def test_the_body_of_a_request_that_has_no_place_is_not_read(make_serving: Any, fake_engine: Any) -> None:
    async def unread() -> AsyncIterator[bytes]:
        pytest.fail("it was read")
        yield b""

    answer = await Server(make_serving(fake_engine(), max_waiting=0)).client.post(INFER, content=unread())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_bodies_that_are_too_many_bytes_together_are_503(make_serving: Any, fake_engine: Any) -> None:
    server = Server(make_serving(fake_engine(), max_bytes=200))
    assert (await server.infer())[0] == 200
    assert await server.infer({**BODY, "parameters": {"x": "x" * 200}}) == (503, {"error": "the queue is full"})
    assert (await server.infer())[0] == 200


async def test_infer_requests_are_counted_by_status_and_probes_are_not(ready: Server) -> None:
    await ready.infer()
    await ready.infer({})
    await ready.get("/v2/health/live")
    assert ready.metric('tidegate_requests_total{code="200"} 1.0')
    assert ready.metric('tidegate_requests_total{code="400"} 1.0')
    assert ready.metric("tidegate_request_seconds_count 2.0")
    assert ready.metric("tidegate_in_flight 0.0")


async def test_a_bug_is_500_in_the_same_form(ready: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate_server.http.plain.Plain.decode", lambda *_: 1 / 0)
    assert await ready.infer() == (500, {"error": "the server has a bug: ZeroDivisionError"})


async def test_errors_are_counted_by_their_class_and_by_the_input_that_was_wrong(
    make_serving: Any, fake_engine: Any
) -> None:
    def behave(columns: Any) -> None:
        if columns["delay"][0] == 1:
            raise ValueError("secret")

    server = Server(make_serving(fake_engine(behave)))
    wrong = [
        {**BODY, "inputs": BODY["inputs"][:1]},
        {**BODY, "inputs": [{**BODY["inputs"][0], "shape": [2]}, BODY["inputs"][1]]},
        {"inputs": [BODY["inputs"][0], {"name": "delay", "shape": [1], "datatype": "FP64", "data": [1.0]}]},
        {},
    ]
    assert [(await server.infer(body))[0] for body in wrong] == [400, 400, 500, 400]
    assert server.metric('tidegate_errors_total{class="bad_request"} 3.0')
    assert server.metric('tidegate_errors_total{class="model_raised"} 1.0')
    assert server.metric('tidegate_refused_inputs_total{feature="delay"} 1.0')
    assert server.metric('tidegate_refused_inputs_total{feature="carrier"} 1.0')


async def test_an_answer_that_breaks_the_signature_is_500_of_its_own_class_and_spoils_no_other(
    make_serving: Any,
) -> None:
    class Odd:
        def predict(self, columns: Any, outputs: Any) -> Any:
            proba = np.tile([0.5, 0.5], (len(columns["delay"]), 1))
            proba[columns["delay"] == 7] = np.nan
            return {"predict": np.ones(len(proba), np.int64), "predict_proba": proba}

    server = Server(make_serving(Odd()))
    odd = {"inputs": [BODY["inputs"][0], {"name": "delay", "shape": [1], "datatype": "FP64", "data": [7.0]}]}
    found = await asyncio.gather(*(server.infer(odd if place == 2 else BODY) for place in range(5)))
    assert [status for status, _ in found] == [200, 200, 500, 200, 200]
    assert found[2][1] == {"error": "the model's answer 'predict_proba' holds a number that is not finite"}
    assert server.metric('tidegate_errors_total{class="invalid_output"} 1.0')


async def test_a_strict_column_is_refused_before_the_model_is_asked(make_serving: Any, fake_engine: Any) -> None:
    engine = fake_engine()
    profile = build({"carrier": np.array(["UA", "AA"], np.object_), "delay": np.array([0.0, 10.0])})
    serving = make_serving(engine, profile=profile)
    strict = replace(serving, manifest=msgspec.structs.replace(serving.manifest, strict=("carrier",)))
    server = Server(strict)
    other = {**BODY["inputs"][0], "data": ["XX"]}
    for extra in ({}, {"parameters": {"explain": False}}, {"id": "x" * SMALL_BODY_BYTES}):
        status, body = await server.infer({"inputs": [other, BODY["inputs"][1]], **extra})
        assert status == 400
        assert body["error"].startswith("input 'carrier', row 0: a value that the model has never seen")
    assert engine.calls == []
    assert (await server.infer())[0] == 200
    assert server.metric('tidegate_errors_total{class="strict"} 3.0')


async def test_every_answered_row_is_recorded_and_evidence_apart(make_serving: Any, fake_engine: Any) -> None:
    profile = build({"delay": np.array([0.0, 10.0])}, score_of({"predict": np.array([0, 1])}))
    serving = make_serving(fake_engine(), profile=profile)
    server = Server(serving)
    extras: list[Any] = [{}, *({"parameters": {"explain": explain}} for explain in (False, True))]
    for extra in (*extras, {"id": "x" * SMALL_BODY_BYTES}):
        assert (await server.infer({**BODY, **extra}))[0] == 200
    marked = await server.client.post(INFER, json=BODY, headers={"tidegate-evidence": "1"})
    assert marked.status_code == 200
    assert (await server.infer({}))[0] == 400
    found = serving.recorder.read()
    assert (found.rows, sum(found.features["delay"]), sum(found.score)) == (5, 5, 5)
    assert (found.evidence.requests, sum(found.evidence.score)) == (1, 1)


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"parameters": {"explain": False}},
        {"parameters": {"binary_data_output": True}},
        {"id": "x" * SMALL_BODY_BYTES},
    ],
    ids=["usual", "special", "binary", "large"],
)
async def test_the_truth_of_an_answer_is_counted_under_what_its_id_says(ready: Server, extra: dict[str, Any]) -> None:
    headers = {"tidegate-generation": "17", "tidegate-evidence": "1"}
    answer = await ready.client.post(INFER, json={**MANY, **extra}, headers=headers)
    name = answer.headers["tidegate-prediction-id"]
    length = int(answer.headers.get("inference-header-content-length", len(answer.content)))
    assert json.loads(answer.content[:length])["parameters"] == {"prediction_id": name}
    found = parse(name)
    assert (found.revision, found.generation, found.evidence, found.rows) == ("abc123", 17, True, 3)
    path = f"/v2/models/flights/feedback/{name}"
    assert (await ready.client.put(f"{path}.0", json={"value": 1})).json() == {"counted": 1, "repeated": 0}
    assert (await ready.client.put(path, json={"values": [1, 0, 0]})).json() == {"counted": 2, "repeated": 1}
    (told,) = ready.state.feedback.snapshot().arms
    assert (told.arm.generation, told.arm.evidence, told.losses.right, told.losses.wrong) == (17, True, 1, 2)


async def test_a_malformed_generation_counts_as_none(ready: Server) -> None:
    answer = await ready.client.post(INFER, json=BODY, headers={"tidegate-generation": "x"})
    found = parse(answer.headers["tidegate-prediction-id"])
    assert (found.generation, found.evidence) == (0, False)


def test_a_start_does_not_wait_for_fastapi() -> None:
    said = (
        "import sys, tidegate_server.serve; print(sorted({'fastapi', 'pydantic', 'opentelemetry'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", said], check=True, stdout=subprocess.PIPE).stdout == b"[]\n"
