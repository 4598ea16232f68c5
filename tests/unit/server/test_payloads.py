"""Sampled requests and answers as a sink gets them, and that nobody else notices."""

import json
import re
import signal
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from processes import BODY, INFER, Post, Process, Receiver, receiver
from tidegate_contract.counters import COUNTERS_PATH
from tidegate_server.http.app import make_app
from tidegate_server.http.payloads import (
    MAX_BODY_BYTES,
    MAX_WAITING,
    MAX_WAITING_BYTES,
    Event,
    Outbox,
    Sampled,
)
from tidegate_server.http.state import ServerState
from tidegate_server.metrics import Metrics
from tidegate_server.recorder import LINGER_SECONDS

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALLED = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


def events(posts: list[Post]) -> list[tuple[dict[str, str], bytes]]:
    """Everything of them but what HTTP itself needs."""
    own = {"host", "accept-encoding", "content-length", "user-agent"}
    return [({name: value for name, value in post.headers.items() if name not in own}, post.body) for post in posts]


def counted(metrics: Metrics) -> dict[str, int]:
    return {
        result: int(metrics.registry.get_sample_value("tidegate_payloads_total", {"result": result}) or 0)
        for result in ("sent", "failed", "dropped")
    }


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def sampling(stand_in: Any, url: str, **environ: str) -> Process:
    server: Process = stand_in(drain=0, TIDEGATE_PAYLOAD_SINK=url, TIDEGATE_PAYLOAD_SAMPLE="1", **environ)
    server.wait_for("/v2/health/ready")
    return server


def ended(server: Process) -> list[dict[str, Any]]:
    """The log, after SIGTERM."""
    server.process.send_signal(signal.SIGTERM)
    code, log = server.end(10)
    assert code == 0
    return log


def test_a_request_and_its_answer_are_two_events_with_nothing_of_the_clients_headers(
    stand_in: Any, sink: Receiver
) -> None:
    server = sampling(stand_in, f"{sink.url}/in?tenant=a")
    headers = CALLED | {"authorization": "secret", "content-type": "text/secret", "tracestate": "secret=1"}
    _, answer = server.ask("POST", INFER, BODY, headers=headers)
    assert ended(server)[-1]["message"] == "draining"
    (asked, request), (answered, response) = events(sink.posts)
    assert [post.path for post in sink.posts] == ["/in?tenant=a"] * 2
    assert (request, response) == (BODY.encode(), answer.encode())
    shared = asked["ce-requestid"]
    assert re.fullmatch("[0-9a-f]{32}", shared)
    for told in (asked, answered):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", told.pop("ce-time"))
        assert re.fullmatch("//.+/v2/models/flights/versions/abc123", told.pop("ce-source"))
    common = {
        "ce-specversion": "1.0",
        "ce-subject": "flights",
        "ce-revision": "abc123",
        "ce-requestid": shared,
        "ce-traceparent": CALLED["traceparent"],
        "content-type": "application/json",
    }
    assert asked == common | {"ce-id": f"{shared}-request", "ce-type": "dev.tidegate.infer.request"}
    assert answered == common | {
        "ce-id": f"{shared}-response",
        "ce-type": "dev.tidegate.infer.response",
        "ce-status": "200",
    }


def test_an_event_belongs_to_the_span_of_its_request(stand_in: Any, sink: Receiver) -> None:
    with receiver() as collector:
        server = sampling(stand_in, sink.url, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
        server.ask("POST", INFER, BODY, headers=CALLED)
        ended(server)
        (sent,) = collector.posts
    (resource,) = ExportTraceServiceRequest.FromString(sent.body).resource_spans
    (span,) = resource.scope_spans[0].spans
    assert span.parent_span_id.hex() == PARENT
    told = {event["ce-traceparent"] for event, _ in events(sink.posts)}
    assert told == {f"00-{TRACE}-{span.span_id.hex()}-01"}


@pytest.mark.parametrize("away", ["refuses", "hangs", "is broken"])
def test_a_sink_that_is_away_costs_no_request_and_one_line(away: str, stand_in: Any) -> None:
    with receiver(status=500 if away == "is broken" else 200) as sink:
        if away == "refuses":
            sink.server.socket.close()
        if away == "hangs":
            sink.opened.clear()
        server = sampling(stand_in, sink.url)
        start = time.monotonic()
        for _ in range(20):
            assert server.ask("POST", INFER, BODY)[0] == 200
        assert time.monotonic() - start < 2
        if away != "hangs":
            failed = 'tidegate_payloads_total{result="failed"} 40.0'
            until(lambda: failed in server.ask("GET", "/metrics", port=server.metrics_port)[1])
        start = time.monotonic()
        log = ended(server)
        assert time.monotonic() - start < 4
    why = [line.get("why") for line in log if line["level"] == "warning"]
    assert why == {"refuses": ["NewConnectionError"], "hangs": [None], "is broken": ["status 500"]}[away]
    if away == "is broken":
        assert len(sink.posts) == 40  # each once


def test_sink_collector_and_the_last_reading_are_waited_for_at_once(stand_in: Any) -> None:
    with receiver() as sink, receiver() as collector:
        sink.opened.clear()
        collector.opened.clear()
        server = sampling(stand_in, sink.url, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
        assert server.ask("POST", INFER, BODY)[0] == 200
        assert server.ask("GET", COUNTERS_PATH, port=server.metrics_port)[0] == 200
        start = time.monotonic()
        log = ended(server)
        assert LINGER_SECONDS < time.monotonic() - start < 4
    assert sorted(line["message"] for line in log if line["level"] == "warning") == [
        "the last payloads were not taken in time",
        "the last spans were not taken in time",
    ]


class Server:
    """An application without a network whose requests are sampled."""

    def __init__(self, serving: Any, sink: Receiver, sample: float = 1.0, chance: float = 0.0) -> None:
        state = ServerState()
        state.serving = serving
        self.metrics = Metrics()
        self.outbox = Outbox(sink.url, self.metrics.payloads)
        app = make_app(state, self.metrics, 10.0)
        sampled = Sampled(app, state, self.outbox, sample, lambda: chance)
        transport = httpx2.ASGITransport(sampled, raise_app_exceptions=False)
        self.client = httpx2.AsyncClient(transport=transport, base_url="http://server")

    async def infer(self, body: str | bytes = BODY, path: str = INFER, **headers: str) -> int:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        return (await self.client.post(path, content=body, headers=told)).status_code


@pytest.fixture
def sampled(make_serving: Any, fake_engine: Any, sink: Receiver) -> Callable[..., Server]:
    return lambda **how: Server(make_serving(fake_engine()), sink, **how)


@pytest.mark.parametrize(("chance", "kept"), [(0.0, True), (0.2499, True), (0.25, False), (0.9999, False)])
async def test_the_share_of_requests_is_what_was_asked_for(
    chance: float, kept: bool, sampled: Callable[..., Server], sink: Receiver
) -> None:
    server = sampled(sample=0.25, chance=chance)
    assert await server.infer() == 200
    server.outbox.close(5)
    assert len(sink.posts) == (2 if kept else 0)


async def test_refusals_are_kept_if_the_request_was_read(sampled: Callable[..., Server], sink: Receiver) -> None:
    server = sampled()
    assert await server.infer("{}") == 400
    assert await server.infer(path="/v2/models/other/infer") == 404
    assert (await server.client.get("/v2/health/ready")).status_code == 200
    server.outbox.close(5)
    assert [(post.headers.get("ce-status"), post.body[:10]) for post in sink.posts] == [
        (None, b"{}"),
        ("400", b'{"error":"'),
    ]


async def test_of_binary_tensors_the_length_of_the_json_is_told(sampled: Callable[..., Server], sink: Receiver) -> None:
    server = sampled()
    body = json.dumps(json.loads(BODY) | {"parameters": {"binary_data_output": True}})
    assert await server.infer(body, inference_header_content_length=str(len(body))) == 200
    server.outbox.close(5)
    for post in sink.posts:
        assert post.headers["content-type"] == "application/octet-stream"
        json.loads(post.body[: int(post.headers["ce-jsonlength"])])
    assert len(sink.posts[1].body) > int(sink.posts[1].headers["ce-jsonlength"])


@pytest.mark.parametrize("told", ["00-x-y-01", f"00-{'0' * 32}-{PARENT}-01", "secret"])
async def test_what_is_no_traceparent_is_not_passed_on(
    told: str, sampled: Callable[..., Server], sink: Receiver
) -> None:
    server = sampled()
    assert await server.infer(traceparent=told) == 200
    server.outbox.close(5)
    assert ["ce-traceparent" in post.headers for post in sink.posts] == [False, False]


@pytest.mark.parametrize(("size", "kept"), [(MAX_BODY_BYTES, True), (MAX_BODY_BYTES + 1, False)])
async def test_a_body_above_a_mebibyte_is_counted_and_not_sent(
    size: int, kept: bool, sampled: Callable[..., Server], sink: Receiver
) -> None:
    server = sampled()
    assert await server.infer(BODY.ljust(size)) == 200
    server.outbox.close(5)
    assert [post.headers["ce-type"].rpartition(".")[2] for post in sink.posts] == ["request", "response"][not kept :]
    assert (len(sink.posts[0].body) == size) is kept
    assert counted(server.metrics) == {"sent": 1 + kept, "failed": 0, "dropped": 1 - kept}


@pytest.mark.parametrize(
    ("body", "fit"), [(b"x", MAX_WAITING), (bytes(MAX_BODY_BYTES), MAX_WAITING_BYTES // MAX_BODY_BYTES)]
)
def test_what_does_not_fit_is_dropped_and_what_waits_is_left_behind_in_time(
    body: bytes, fit: int, sink: Receiver
) -> None:
    metrics = Metrics()
    outbox = Outbox(sink.url, metrics.payloads)
    sink.opened.clear()
    outbox.put(Event({}, body))
    sink.wait_for(1)
    for _ in range(fit):
        outbox.put(Event({}, body))
    assert counted(metrics)["dropped"] == 0
    outbox.put(Event({}, body))
    assert counted(metrics)["dropped"] == 1
    start = time.monotonic()
    outbox.close(0.2)
    assert time.monotonic() - start < 1
    outbox.put(Event({}, b""))
    assert counted(metrics) == {"sent": 0, "failed": 0, "dropped": 1 + fit + 1}
