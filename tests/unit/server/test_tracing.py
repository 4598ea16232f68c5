"""Spans as a collector gets them, and that nobody else notices."""

import json
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from processes import BODY, INFER, STAND_IN, Process, Receiver, receiver
from tidegate_server.http.app import Front
from tidegate_server.serve import TidegateServer
from tidegate_server.settings import Settings

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALLED = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
ROUTE = "/v2/models/{model}/infer"
LARGE = BODY.replace("UA", "U" * 20_000)


def spans(collector: Receiver) -> list[Span]:
    found = []
    for post in collector.posts:
        assert post.path == "/v1/traces"
        for resource in ExportTraceServiceRequest.FromString(post.body).resource_spans:
            found += [span for scope in resource.scope_spans for span in scope.spans]
    return found


def attributes(span: Any) -> dict[str, Any]:
    return {kv.key: getattr(kv.value, kv.value.WhichOneof("value")) for kv in span.attributes}


def ended(server: Process, seconds: float = 10) -> list[dict[str, Any]]:
    """The log, after SIGTERM."""
    server.process.send_signal(signal.SIGTERM)
    code, log = server.end(seconds)
    assert code == 0
    return log


def traced(stand_in: Any, collector: Receiver, **how: Any) -> Process:
    server: Process = stand_in(drain=0, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **how)
    server.wait_for("/v2/health/ready")
    return server


def test_a_span_is_the_callers_child_and_is_sent_at_the_end_at_the_latest(stand_in: Any, sink: Receiver) -> None:
    server = traced(stand_in, sink)
    before = time.time_ns()
    assert server.ask("POST", f"{INFER}?token=secret", BODY, headers=CALLED | {"tracestate": "a=1"})[0] == 200
    ended(server)
    (span,) = spans(sink)
    assert (span.trace_id.hex(), span.parent_span_id.hex(), span.trace_state) == (TRACE, PARENT, "a=1")
    assert (span.name, span.kind, span.status.code) == (
        f"POST {ROUTE}",
        Span.SPAN_KIND_SERVER,
        Status.STATUS_CODE_UNSET,
    )
    assert before < span.start_time_unix_nano < span.end_time_unix_nano < time.time_ns()
    assert attributes(span) == {
        "http.request.method": "POST",
        "http.route": ROUTE,
        "http.response.status_code": 200,
        "url.scheme": "http",
        "url.path": INFER,
        "tidegate.model": "flights",
        "tidegate.revision": "abc123",
    }
    (resource,) = ExportTraceServiceRequest.FromString(sink.posts[0].body).resource_spans
    assert {"service.name": "flights"}.items() <= attributes(resource.resource).items()


def test_what_goes_wrong_here_is_an_error_and_what_the_client_does_wrong_is_none(stand_in: Any, sink: Receiver) -> None:
    server = traced(stand_in, sink, predict=0.6, timeout=0.3)
    assert server.ask("POST", INFER, "{}")[0] == 400
    assert server.ask("POST", "/v2/models/flights/versions/old/infer", BODY)[0] == 404
    assert server.ask("POST", INFER, BODY)[0] == 504
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{{".encode())
        time.sleep(0.1)
    assert server.ask("GET", "/v2/health/ready")[0] == 200
    ended(server)
    told = [(attributes(span), span.status.code, span.parent_span_id) for span in spans(sink)]
    seen = [
        (span.get("http.route"), span.get("http.response.status_code"), span.get("error.type"), status, parent)
        for span, status, parent in told
    ]
    assert seen == [
        (ROUTE, 400, None, Status.STATUS_CODE_UNSET, b""),
        ("/v2/models/{model}/versions/{version}/infer", 404, None, Status.STATUS_CODE_UNSET, b""),
        (ROUTE, 504, "504", Status.STATUS_CODE_ERROR, b""),
        (ROUTE, None, "client_disconnected", Status.STATUS_CODE_UNSET, b""),
    ]


@pytest.mark.parametrize("body", [BODY, LARGE], ids=["on the loop", "in the thread of the model"])
def test_lines_of_a_request_have_its_trace_and_others_none(body: str, stand_in: Any, sink: Receiver) -> None:
    server = traced(stand_in, sink, predict=-1)  # nobody can sleep so long
    assert server.ask("POST", INFER, body, headers=CALLED)[0] == 500
    log = ended(server)
    assert [(line["message"], line.get("trace_id")) for line in log] == [
        ("listening", None),
        ("ready", None),
        ("the model raised", TRACE),
        ("draining", None),
    ]


def test_a_bug_is_told_with_its_trace_and_without_its_text(start: Any, sink: Receiver) -> None:
    script = f"""
import runpy
from tidegate_server.http import infer
def read(*_): raise KeyError("what was sent")
infer._Asked.read = read
runpy.run_path({STAND_IN!r}, run_name="__main__")
"""
    server = start("-c", script, "{port}", "{metrics}", "0", "0", "0", "10", OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)
    server.wait_for("/v2/health/ready")
    assert server.ask("POST", INFER, BODY, headers=CALLED)[0] == 500
    log = ended(server)
    assert [line["trace_id"] for line in log if line.get("exception") == "KeyError"] == [TRACE]
    (span,) = spans(sink)
    assert (attributes(span)["error.type"], span.status.code) == ("KeyError", Status.STATUS_CODE_ERROR)
    assert not span.events
    assert b"what was sent" not in sink.posts[0].body


def test_a_trace_that_the_caller_does_not_sample_is_not_sent(stand_in: Any, sink: Receiver) -> None:
    server = traced(stand_in, sink, predict=-1)
    assert server.ask("POST", INFER, BODY, headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})[0] == 500
    assert [line.get("trace_id") for line in ended(server)] == [None, None, TRACE, None]
    assert sink.posts == []


@pytest.mark.parametrize(
    "environ", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}, {"OTEL_TRACES_SAMPLER": "always_off"}]
)
def test_the_standard_switches_work(environ: dict[str, str], stand_in: Any, sink: Receiver) -> None:
    server = traced(stand_in, sink, **environ)
    assert server.ask("POST", INFER, BODY)[0] == 200
    ended(server)
    assert sink.posts == []


@pytest.mark.parametrize("away", ["refuses", "hangs", "is broken"])
def test_a_collector_that_is_away_costs_no_request_and_one_line(away: str, stand_in: Any) -> None:
    with receiver(status=503 if away == "is broken" else 200) as collector:
        if away == "refuses":
            collector.server.socket.close()
        if away == "hangs":
            collector.opened.clear()
        server = traced(stand_in, collector, OTEL_BSP_SCHEDULE_DELAY="20")
        start = time.monotonic()
        for _ in range(60):
            assert server.ask("POST", INFER, BODY)[0] == 200
            time.sleep(0.02)
        assert time.monotonic() - start < 4
        start = time.monotonic()
        log = ended(server)
        assert time.monotonic() - start < 4
    told = [line["logger"].split(".")[0] for line in log if line["level"] != "info"]
    assert told.count("opentelemetry") == (0 if away == "hangs" else 1)
    assert len(told) <= 2


def test_without_a_collector_nothing_of_it_is_there() -> None:
    server = TidegateServer(Settings(), lambda _: None)
    assert type(server.config.app) is Front
    script = """
import sys
from tidegate_server.serve import TidegateServer
from tidegate_server.settings import Settings
TidegateServer(Settings(), print)
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter", "urllib3"))])
"""
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "[]\n"


def test_the_log_says_nothing_of_a_trace_when_tracing_is_off(stand_in: Any) -> None:
    server = stand_in(drain=0, predict=-1)
    server.wait_for("/v2/health/ready")
    assert server.ask("POST", INFER, BODY, headers=CALLED)[0] == 500
    assert "trace_id" not in json.dumps(ended(server))
