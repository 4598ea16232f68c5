"""The OpenAPI document is true: the server answers what it says, and refuses what it does not allow."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from schemathesis.checks import not_a_server_error

from bundles import SIGNATURE, manifest
from processes import REAL, SOURCES, STAND_IN, Process
from tidegate_contract.bundle.datatypes import Datatype
from tidegate_contract.bundle.manifest import Signature, SignatureKind, TensorSpec
from tidegate_server.http.codec import decode_request
from tidegate_server.http.openapi import document

HERE = Path(__file__).parent
VERSION = "/v2/models/{model_name}/versions/{model_version}"
OPERATIONS = {
    "server-live": "GET /v2/health/live",
    "server-ready": "GET /v2/health/ready",
    "server-metadata": "GET /v2",
    "model-metadata": "GET /v2/models/{model_name}",
    "model-ready": "GET /v2/models/{model_name}/ready",
    "model-inference": "POST /v2/models/{model_name}/infer",
    "model-version-metadata": f"GET {VERSION}",
    "model-version-ready": f"GET {VERSION}/ready",
    "model-version-inference": f"POST {VERSION}/infer",
}
"""As MLServer's openapi/dataplane.yaml names them; those of models that write texts are not served."""
OURS = {
    "model-feedback": "PUT /v2/models/{model_name}/feedback/{prediction_id}",
    "model-version-feedback": f"PUT {VERSION}/feedback/{{prediction_id}}",
}
ONE_ROW = json.dumps(
    {
        "inputs": [
            {"name": "carrier", "shape": [1], "datatype": "BYTES", "data": [None]},
            {"name": "delay", "shape": [1, 1], "datatype": "FP64", "data": [[2.5]]},
        ]
    }
).encode()


def described(signature: Signature = SIGNATURE) -> Any:
    return json.loads(json.dumps(document("flights", "abc123", manifest(signature=signature))))


def test_the_operations_are_those_that_mlserver_publishes() -> None:
    found = {
        operation["operationId"]: f"{method.upper()} {path}"
        for path, methods in described()["paths"].items()
        for method, operation in methods.items()
        if method != "parameters"
    }
    assert found == OPERATIONS | OURS


def test_the_document_is_an_openapi_document() -> None:
    schemathesis.openapi.from_dict(described()).validate()


def test_the_models_own_names_are_in_it() -> None:
    schemas = described()["components"]["schemas"]
    inputs = [ref["$ref"] for ref in schemas["InferenceRequest"]["properties"]["inputs"]["items"]["anyOf"]]
    assert inputs == ["#/components/schemas/RequestInputFP64", "#/components/schemas/RequestInputBYTES"]
    assert schemas["RequestInputFP64"]["properties"]["name"] == {"enum": ["delay"]}
    assert schemas["RequestInputBYTES"]["properties"]["name"] == {"enum": ["carrier"]}
    assert schemas["RequestOutput"]["properties"]["name"] == {"enum": ["predict", "predict_proba"]}
    version = described()["paths"][VERSION]["parameters"]
    assert [parameter["schema"]["enum"] for parameter in version] == [["flights"], ["abc123"]]


@pytest.mark.parametrize(
    ("datatype", "taken"),
    [
        ("BOOL", "BOOL"),
        ("INT16", "INT8 INT16 UINT8"),
        ("UINT8", "UINT8"),
        ("FP32", "INT8 INT16 UINT8 UINT16 FP32 FP64"),
        ("BYTES", "BYTES"),
    ],
)
def test_the_datatypes_of_an_input_are_those_that_the_server_takes(datatype: str, taken: str) -> None:
    signature = Signature((TensorSpec("x", Datatype(datatype), (-1,)),), SIGNATURE.outputs)
    schema = described(signature)["components"]["schemas"][f"RequestInput{datatype}"]
    assert schema["properties"]["datatype"] == {"enum": taken.split()}


def test_the_example_can_be_asked_for_every_datatype() -> None:
    inputs = tuple(TensorSpec(datatype.lower(), datatype, (-1,)) for datatype in Datatype)
    signature = Signature(inputs, SIGNATURE.outputs)
    body = described(signature)["paths"][f"{VERSION}/infer"]["post"]["requestBody"]["content"]["application/json"]
    request = decode_request(json.dumps(body["example"]).encode(), signature)
    assert (request.rows, list(request.table)) == (1, [datatype.lower() for datatype in Datatype])


def test_the_example_of_one_tensor_can_be_asked() -> None:
    inputs = tuple(TensorSpec(name, Datatype.FP32, (-1,)) for name in "abc")
    signature = Signature(inputs, SIGNATURE.outputs, SignatureKind.TENSOR, "X")
    document = described(signature)
    body = document["paths"][f"{VERSION}/infer"]["post"]["requestBody"]["content"]["application/json"]
    request = decode_request(json.dumps(body["example"]).encode(), signature)
    assert (request.rows, list(request.table)) == (1, ["a", "b", "c"])
    tensor = document["components"]["schemas"]["RequestInputFP32"]["properties"]
    assert (tensor["name"], tensor["shape"]["prefixItems"][1]) == ({"enum": ["X"]}, {"const": 3})


@pytest.mark.parametrize("packed", ["bundle", "one_tensor"])
def test_schemathesis_finds_nothing(packed: str, start: Any, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    bundle = request.getfixturevalue(packed)
    server = start("-c", REAL, "{port}", "{metrics}", str(bundle), "", str(tmp_path / "log"))
    server.wait_for("/v2/health/ready")
    settings, address = HERE / "schemathesis.toml", f"http://127.0.0.1:{server.port}/openapi.json"
    found = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "--config-file", settings, "run", address],
        cwd=tmp_path,
        env={"PATH": "", "PYTHONPATH": SOURCES, "no_proxy": "*"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    metrics = server.ask("GET", "/metrics", port=server.metrics_port)[1]
    answered = dict(re.findall(r'tidegate_requests_total\{code="(\d+)"\} (\d+)', metrics))
    assert set(answered) >= {"200", "400", "404"}
    assert int(answered["200"]) > 50  # else most of what was asked never came to the model


@pytest.fixture
def ask() -> Callable[..., int]:
    """Asks a server, and holds the answer against the document; the status."""
    schema = schemathesis.openapi.from_dict(described())

    def ask(server: Process, operation: str, body: bytes | None = None, **headers: str) -> int:
        found = schema.find_operation_by_id(operation)
        names = {"model_name": "flights", "model_version": "abc123"}
        case = found.Case(path_parameters={name: names[name] for name in re.findall(r"{(\w+)}", found.path)})
        address = f"http://127.0.0.1:{server.port}{found.path.format(**names)}"
        with requests.Session() as session:
            answer = session.request(found.method, address, data=body, headers=headers, timeout=10)
        case.validate_response(answer, excluded_checks=[not_a_server_error])  # a 503 may be right
        return answer.status_code

    return ask


def test_a_server_that_is_loading_says_so_as_the_document_has_it(start: Any, ask: Any) -> None:
    server = start(STAND_IN, "{port}", "{metrics}", "60", "0", "0", "10")
    server.wait_for("/v2/health/live")
    free = {"server-live": 200, "server-metadata": 200}
    assert {name: ask(server, name) for name in OPERATIONS} == dict.fromkeys(OPERATIONS, 503) | free


def test_a_deadline_is_as_the_document_has_it(start: Any, ask: Any) -> None:
    server = start(STAND_IN, "{port}", "{metrics}", "0", "5", "0", "0.3")
    server.wait_for("/v2/health/ready")
    assert ask(server, "model-inference", ONE_ROW) == 504
    head = "POST /v2/models/flights/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(head.encode())
        status = connection.recv(1 << 16).split()[1].decode()
    assert status == "408"
    assert status in described()["paths"][f"{VERSION}/infer"]["post"]["responses"]


@pytest.mark.parametrize(
    "parameters",
    [
        pytest.param({"binary_data_output": True}, id="binary tensors"),
        pytest.param({"binary_data_output": False}, id="JSON"),
    ],
)
@pytest.mark.parametrize("operation", ["model-inference", "model-version-inference"])
def test_answers_are_as_the_document_has_them(operation: str, parameters: Any, start: Any, ask: Any) -> None:
    server = start(STAND_IN, "{port}", "{metrics}", "0", "0", "0", "10")
    server.wait_for("/v2/health/ready")
    assert ask(server, operation, json.dumps({**json.loads(ONE_ROW), "parameters": parameters}).encode()) == 200


def test_there_is_no_document_before_there_is_a_model(start: Any) -> None:
    server = start(STAND_IN, "{port}", "{metrics}", "60", "0", "0", "10")
    server.wait_for("/v2/health/live")
    assert server.ask("GET", "/openapi.json") == (503, '{"error":"the model is loading"}')


def test_a_server_that_nobody_asks_does_not_even_import_it() -> None:
    code = "import sys, tidegate_server.serve; sys.exit('tidegate_server.http.openapi' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": SOURCES}).returncode == 0
