"""The server as a process: when it is ready, how it ends, and that nobody notices when it does."""

import http.client
import json
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient import utils as triton_utils

from bundles import SIGNATURE
from processes import BODY, INFER, REAL, STAND_IN, Process
from tidegate_contract.bundle.datatypes import Datatype
from tidegate_contract.counters import COUNTERS_PATH, Counters
from tidegate_contract.counters import decode as decode_counters
from tidegate_contract.failure import decode
from tidegate_contract.prediction_id import PredictionIds


def test_liveness_answers_while_the_model_loads_and_readiness_does_not(stand_in: Any) -> None:
    server = stand_in(load=1.5)
    server.wait_for("/v2/health/live")
    assert server.ask("GET", "/v2/health/ready") == (503, '{"error":"the model is loading"}')
    assert server.ask("POST", INFER, BODY)[0] == 503
    server.wait_for("/v2/health/ready")
    assert server.ask("POST", INFER, BODY)[0] == 200


TURNS = """
import asyncio, os, socket, sys, time
from tidegate_server import serve as module
from tidegate_server.settings import Settings
port, metrics, crowd = map(int, sys.argv[1:])
vars(module)["load_model"] = lambda *_, **__: time.sleep(60)
begin = module.TidegateServer.startup

def turn(loop, files, turns):
    if len(os.listdir("/proc/self/fd")) >= files + 2 * crowd:  # both ends of each
        print(turns, file=sys.stderr, flush=True)
        os._exit(0)
    loop.call_soon(turn, loop, files, turns + 1)

async def startup(server, sockets=None):
    await begin(server, sockets)
    files = len(os.listdir("/proc/self/fd"))
    server.crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(crowd)]
    turn(asyncio.get_running_loop(), files, 0)

module.TidegateServer.startup = startup
module.serve(Settings(host="127.0.0.1", http_port=port, metrics_port=metrics))
"""


def test_a_turn_of_the_loop_takes_in_many_connections(start: Any) -> None:
    server = start("-c", TURNS, "{port}", "{metrics}", "160")
    assert server.end()[1][0] <= 20


def test_sigterm_drains_without_losing_a_request(stand_in: Any) -> None:
    server = stand_in(predict=0.02)
    server.wait_for("/v2/health/ready")
    lost: list[object] = []
    answered = [0]
    stop_at = [float("inf")]

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        while time.monotonic() < stop_at[0]:
            try:
                connection.request("POST", INFER, BODY)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                lost.append(error)
                return
            if answer.status != 200:
                lost.append(answer.status)
            answered[0] += 1
        connection.close()

    clients = [threading.Thread(target=client) for _ in range(4)]
    for thread in clients:
        thread.start()
    time.sleep(0.3)
    before = answered[0]
    server.process.send_signal(signal.SIGTERM)
    stop_at[0] = time.monotonic() + 0.5
    server.wait_for("/v2/health/ready", status=503, seconds=0.4)
    assert server.ask("GET", "/v2/health/live")[0] == 200
    for thread in clients:
        thread.join()
    assert lost == []
    assert answered[0] > before > 0
    code, log = server.end()
    assert code == 0
    assert [line["message"] for line in log] == ["listening", "ready", "draining"]


def test_what_is_in_flight_when_the_drain_ends_is_finished(stand_in: Any) -> None:
    server = stand_in(predict=1.5)
    server.wait_for("/v2/health/ready")
    answers: list[int] = []
    client = threading.Thread(target=lambda: answers.append(server.ask("POST", INFER, BODY)[0]))
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    client.start()
    client.join()
    assert answers == [200]
    assert server.end()[0] == 0


def test_a_predict_that_hangs_does_not_hold_up_the_end(stand_in: Any) -> None:
    server = stand_in(predict=60, drain=0.2, timeout=1)
    server.wait_for("/v2/health/ready")
    answers: list[int] = []
    client = threading.Thread(target=lambda: answers.append(server.ask("POST", INFER, BODY)[0]))
    client.start()
    time.sleep(0.3)
    server.process.send_signal(signal.SIGTERM)
    code, log = server.end(seconds=4)
    client.join()
    assert (answers, code) == ([504], 0)
    assert [line["message"] for line in log] == ["listening", "ready", "draining"]


def _large(values: bytes, shape: list[int], datatype: str = "FP64") -> bytes:
    """A request of 16 MiB, most of it the data of one column."""
    head = json.dumps({"name": "delay" if datatype == "FP64" else "carrier", "shape": shape, "datatype": datatype})
    head = '{"inputs":[' + head[:-1] + ', "data":['
    room = (16 << 20) - len(head) - 10
    return head.encode() + (values * (room // len(values)))[:-1] + b"]}]}"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(_large(b"0,", [1]), 400, id="more numbers than the shape says"),
        pytest.param(_large(b"0,", [8 << 20]), 413, id="too many rows"),
        pytest.param(_large(b'"a",', [1], "BYTES"), 400, id="more texts than the shape says"),
        pytest.param(b'{"id":[' + b"0," * (8 << 20), 400, id="what is not of the protocol"),
    ],
)
def test_probes_are_answered_while_a_large_body_is_looked_at(body: bytes, status: int, stand_in: Any) -> None:
    server = stand_in()
    server.wait_for("/v2/health/ready")
    answers: list[int] = []
    client = threading.Thread(target=lambda: answers.append(server.ask("POST", INFER, body[: 16 << 20])[0]))
    client.start()
    slowest = 0.0
    while client.is_alive():
        start = time.monotonic()
        assert server.ask("GET", "/v2/health/live")[0] == 200
        slowest = max(slowest, time.monotonic() - start)
    assert answers == [status]
    assert slowest < 1


def test_a_client_that_goes_away_is_counted_as_499(stand_in: Any) -> None:
    server = stand_in(predict=0.5)
    server.wait_for("/v2/health/ready")
    head = f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(BODY)}\r\n\r\n"
    for request in (head + BODY[:9], head + BODY):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(request.encode())
            time.sleep(0.1)
    time.sleep(0.2)
    metrics = server.ask("GET", "/metrics", port=server.metrics_port)[1]
    assert [line for line in metrics.splitlines() if line.startswith("tidegate_requests_total")] == [
        'tidegate_requests_total{code="499"} 2.0'
    ]
    server.process.send_signal(signal.SIGTERM)
    code, log = server.end()
    assert (code, [line["message"] for line in log]) == (0, ["listening", "ready", "draining"])


def test_sigterm_while_loading_ends_at_once(stand_in: Any) -> None:
    server = stand_in(load=60)
    server.wait_for("/v2/health/live")
    server.process.send_signal(signal.SIGTERM)
    assert server.end(seconds=5)[0] == 0


def test_a_port_that_is_taken_is_said(start: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = start(STAND_IN, str(taken.getsockname()[1]), "{metrics}", "0", "0", "0", "10")
        _, errors = server.process.communicate(timeout=20)
    assert (server.process.returncode, "Address already in use" in errors) == (1, True)


def test_a_real_bundle_is_served_and_measured(start: Any, bundle: Path, tmp_path: Path) -> None:
    server = start("-c", REAL, "{port}", "{metrics}", str(bundle), "", str(tmp_path / "log"))
    server.wait_for("/v2/health/ready")
    golden = json.loads((bundle / "manifest.json").read_text())["golden"]
    types = {"carrier": "BYTES", "delay": "FP64", "hour": "INT64", "weekend": "BOOL"}
    inputs = [
        {"name": name, "shape": [20], "datatype": datatype, "data": golden["inputs"][name]}
        for name, datatype in types.items()
    ]
    status, body = server.ask("POST", INFER, json.dumps({"inputs": inputs}))
    assert status == 200
    predict, proba = json.loads(body)["outputs"]
    assert predict["data"] == golden["outputs"]["predict"]
    assert proba["data"] == pytest.approx([p for row in golden["outputs"]["predict_proba"] for p in row])
    metrics = server.ask("GET", "/metrics", port=server.metrics_port)[1]
    assert 'tidegate_requests_total{code="200"} 1.0' in metrics
    assert 'model="flights"' in metrics
    assert "tidegate_predict_seconds_count 1.0" in metrics
    assert "tidegate_load_seconds" in metrics
    assert "tidegate_recorded_rows_total 20.0" in metrics
    missing = golden["inputs"]["carrier"].count(None)
    assert f'tidegate_quality_total{{feature="carrier",kind="missing"}} {missing}.0' in metrics
    server.process.send_signal(signal.SIGTERM)
    assert server.end()[0] == 0


def read_counters(server: Process) -> Counters:
    status, body = server.ask("GET", COUNTERS_PATH, port=server.metrics_port)
    assert status == 200
    return decode_counters(body.encode())


def test_the_operator_reads_counters_and_the_last_of_them_at_the_end(start: Any, bundle: Path, tmp_path: Path) -> None:
    server = start("-c", REAL, "{port}", "{metrics}", str(bundle), "", str(tmp_path / "log"))
    server.wait_for("/v2/health/ready")
    golden = json.loads((bundle / "manifest.json").read_text())["golden"]["inputs"]
    types = {"carrier": "BYTES", "delay": "FP64", "hour": "INT64", "weekend": "BOOL"}
    inputs = [
        {"name": name, "shape": [5], "datatype": datatype, "data": golden[name][:5]} for name, datatype in types.items()
    ]
    body = json.dumps({"inputs": inputs})
    first = read_counters(server)
    assert (first.rows, first.sequence, sum(first.features["delay"])) == (0, 1, 0)
    for _ in range(3):
        assert server.ask("POST", INFER, body)[0] == 200
    second = read_counters(server)
    assert (second.rows, second.sequence, second.epoch) == (15, 2, first.epoch)
    assert (sum(second.features["delay"]), sum(second.score)) == (15, 15)
    server.process.send_signal(signal.SIGTERM)
    assert server.ask("POST", INFER, body)[0] == 200  # still served
    last = second
    while server.process.poll() is None:
        try:
            last = read_counters(server)
        except OSError:
            break
        time.sleep(0.3)
    assert last.rows == 20
    assert server.end()[0] == 0


@pytest.mark.parametrize("raw", [True, False], ids=["binary data", "JSON"])
def test_tritons_client_works_unchanged(start: Any, bundle: Path, tmp_path: Path, raw: bool) -> None:
    server = start("-c", REAL, "{port}", "{metrics}", str(bundle), "", str(tmp_path / "log"))
    server.wait_for("/v2/health/ready")
    golden = json.loads((bundle / "manifest.json").read_text())["golden"]
    whole = [row for row, cells in enumerate(zip(*golden["inputs"].values(), strict=True)) if None not in cells]
    inputs = []
    types = {"carrier": Datatype.BYTES, "delay": Datatype.FP64, "hour": Datatype.INT64, "weekend": Datatype.BOOL}
    for name, datatype in types.items():
        column = np.array([golden["inputs"][name][row] for row in whole], datatype.dtype)
        inputs.append(triton.InferInput(name, [len(whole)], str(datatype)))
        inputs[-1].set_data_from_numpy(column, binary_data=raw)
    outputs = [triton.InferRequestedOutput(name, binary_data=raw) for name in ("predict_proba", "predict")]
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("flights")
        assert client.get_server_metadata()["name"] == "tidegate"
        assert [spec["name"] for spec in client.get_model_metadata("flights")["inputs"]] == list(types)
        (revision,) = client.get_model_metadata("flights")["versions"]
        assert client.is_model_ready("flights", revision)
        assert not client.is_model_ready("flights", "another")
        assert client.get_model_metadata("flights", revision) == client.get_model_metadata("flights")
        found = client.infer("flights", inputs, request_id="7", outputs=outputs)
        by_version = client.infer("flights", inputs, model_version=revision, outputs=outputs)
        with pytest.raises(triton_utils.InferenceServerException, match="no such version"):
            client.infer("flights", inputs, model_version="another")
        all_raw = client.infer("flights", inputs)  # without a wish for outputs it asks for all as binary data
        with pytest.raises(triton_utils.InferenceServerException, match="the model has no input"):
            client.infer("flights", [*inputs, triton.InferInput("x", [1], "FP64")])
    assert found.get_response()["id"] == "7"
    assert by_version.get_response()["outputs"] == found.get_response()["outputs"]
    assert by_version.get_response()["model_version"] == revision
    labels = [golden["outputs"]["predict"][row] for row in whole]
    assert found.as_numpy("predict").tolist() == [label.encode() if raw else label for label in labels]
    expected = [golden["outputs"]["predict_proba"][row] for row in whole]
    assert np.allclose(found.as_numpy("predict_proba"), expected, rtol=0, atol=1e-12)
    assert np.array_equal(all_raw.as_numpy("predict_proba"), found.as_numpy("predict_proba"))


@pytest.mark.parametrize("raw", [True, False], ids=["binary data", "JSON"])
def test_tritons_client_asks_by_one_tensor(start: Any, one_tensor: Path, tmp_path: Path, raw: bool) -> None:
    server = start("-c", REAL, "{port}", "{metrics}", str(one_tensor), "", str(tmp_path / "log"))
    server.wait_for("/v2/health/ready")
    golden = json.loads((one_tensor / "manifest.json").read_text())["golden"]
    rows = np.array(list(golden["inputs"].values()), np.float32).T
    tensor = triton.InferInput("rows", list(rows.shape), "FP32")
    tensor.set_data_from_numpy(np.ascontiguousarray(rows), binary_data=raw)
    wanted = [triton.InferRequestedOutput("predict_proba", binary_data=raw)]
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        described = client.get_model_metadata("flights")["inputs"]
        found = client.infer("flights", [tensor], outputs=wanted)
    assert described == [
        {"name": "rows", "datatype": "FP32", "shape": [-1, 3], "parameters": {"labels": ["a", "b", "c"]}}
    ]
    assert np.allclose(found.as_numpy("predict_proba"), golden["outputs"]["predict_proba"], rtol=0, atol=1e-6)
    answer = found.get_response()["parameters"]["prediction_id"] + ".0"
    body = json.dumps({"value": golden["outputs"]["predict"][0]})
    assert server.ask("PUT", f"/v2/models/flights/feedback/{answer}", body) == (200, '{"counted":1,"repeated":0}')
    features = json.loads(server.ask("GET", "/counters", port=server.metrics_port)[1])["features"]
    assert {name: sum(cells) for name, cells in features.items()} == dict.fromkeys("abc", len(rows))


def test_a_refused_bundle_is_3_with_the_reason_for_the_kubelet(start: Any, bundle: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    server = start("-c", REAL, "{port}", "{metrics}", str(bundle), "sha256:" + "0" * 64, str(log))
    code, lines = server.end()
    failure = decode(log.read_text())
    assert failure is not None
    assert (code, failure.reason) == (3, "DigestMismatch")
    assert lines[-1]["reason"] == "DigestMismatch"


def test_a_wrong_environment_is_2_and_names_the_variable(start: Any) -> None:
    code, lines = start("-m", "tidegate_server", TIDEGATE_ALLOW_PICKLE="maybe").end()
    assert code == 2
    assert lines[-1]["why"] == "TIDEGATE_ALLOW_PICKLE must be true or false, and is 'maybe'"


def test_feedback_is_counted_and_left_in_the_log_at_the_end(stand_in: Any) -> None:
    """Of predictions that another process made: the id is all that is needed."""
    server = stand_in(drain=0.2)
    server.wait_for("/v2/health/ready")
    answers = {"predict": np.array([1]), "predict_proba": np.array([[0.25, 0.75]])}
    ids = PredictionIds("def456", SIGNATURE)
    one, other = (ids.make(answers, 1, 17, True, time.time()) for _ in range(2))
    path = "/v2/models/flights/feedback"
    assert server.ask("PUT", f"{path}/{one}", '{"value": 1}') == (200, '{"counted":1,"repeated":0}')
    assert server.ask("PUT", f"{path}/{one}", '{"value": 1}') == (200, '{"counted":0,"repeated":1}')
    assert server.ask("PUT", f"{path}/{one[:-1]}", '{"value": 1}')[0] == 400
    metrics = server.ask("GET", "/metrics", port=server.metrics_port)[1]
    assert [line for line in metrics.splitlines() if line.startswith("tidegate_feedback_total")] == [
        f'tidegate_feedback_total{{result="{result}"}} 1.0' for result in ("counted", "repeated", "refused")
    ]
    server.process.send_signal(signal.SIGTERM)
    server.wait_for("/v2/health/ready", status=503)
    assert server.ask("PUT", f"{path}/{other}", '{"value": 0}')[0] == 200  # a draining server still takes it
    code, log = server.end()
    assert (code, [line["message"] for line in log]) == (0, ["listening", "ready", "draining", "feedback"])
    (found,) = log[-1]["losses"]["arms"]
    assert found["arm"] == {"revision": "def456", "generation": 17, "evidence": True}
    assert (found["losses"]["right"], found["losses"]["wrong"]) == (1, 1)
    assert found["losses"]["brier"] == {"2": 1, "18": 1}
