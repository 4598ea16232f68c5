"""The server's OpenAPI document, for the model that it serves: what each path takes, and all that it can answer.

Pure. Built when it is asked for, and imported then. Names of operations, parameters and schemas are those of the
document that MLServer publishes, openapi/dataplane.yaml; what is stricter here is what `codec` refuses.
Source: Open Inference Protocol v2, "Inference REST API", and its binary tensor data extension.
"""

from collections.abc import Iterable, Sequence
from importlib.metadata import version
from math import prod

import numpy as np

from tidegate_contract.bundle.datatypes import Datatype
from tidegate_contract.bundle.manifest import Manifest, TensorSpec
from tidegate_contract.names import PREDICTION_ID_HEADER
from tidegate_contract.prediction_id import MAX_TEXT
from tidegate_server.http.codec import BINARY_SIZE, EXPLANATION, MAX_ROWS
from tidegate_server.http.infer import MAX_BODY_BYTES
from tidegate_server.tensors import conform

Json = dict[str, object]

_PREFIX = "#/components/schemas/"
_JSON_LENGTH = "Inference-Header-Content-Length"
_HALVES = ("FP16", "BF16")
_SIZE: Json = {"type": "integer", "minimum": 1, "maximum": MAX_ROWS}
_TEXT: Json = {"type": "string"}
_NUMBER: Json = {"type": "integer", "minimum": 0}
_STATUS = {
    "400": "Malformed, or not what the model's signature takes.",
    "404": "Another model or revision.",
    "408": "The body did not come before the deadline.",
    "413": f"More than {MAX_BODY_BYTES} bytes or {MAX_ROWS} rows.",
    "500": "The model raised, or answered what its signature does not promise.",
    "503": "Loading, draining, or the queue is full.",
    "504": "No answer before the deadline.",
}


def document(model: str, revision: str, manifest: Manifest) -> Json:
    """An OpenAPI 3.1 document as a value for JSON."""
    metadata = _answers("MetadataModelResponse", "404", "503")
    ready = _answers("ReadyModelResponse", "404", "503")
    paths: Json = {
        "/v2/health/live": _get("server-live", "Whether the process answers", _answers("LiveServerResponse")),
        "/v2/health/ready": _get(
            "server-ready", "Whether the model may be asked", _answers("ReadyServerResponse", "503")
        ),
        "/v2": _get("server-metadata", "Name, version and extensions", _answers("MetadataServerResponse")),
    }
    name = _in_path("model_name", model)
    for path, operation, parameters in (
        ("/v2/models/{model_name}", "model", [name]),
        (
            "/v2/models/{model_name}/versions/{model_version}",
            "model-version",
            [name, _in_path("model_version", revision)],
        ),
    ):
        shared: Json = {"parameters": parameters}
        paths[path] = shared | _get(f"{operation}-metadata", "Inputs and outputs of the model", metadata)
        paths[f"{path}/ready"] = shared | _get(f"{operation}-ready", "Whether this model may be asked", ready)
        paths[f"{path}/infer"] = shared | {"post": _infer(f"{operation}-inference", manifest)}
        told: Json = {"parameters": [*parameters, _PREDICTION]}
        paths[f"{path}/feedback/{{prediction_id}}"] = told | {"put": _feedback(f"{operation}-feedback")}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"tidegate: {model}",
            "version": version("tidegate"),
            "summary": "Open Inference Protocol v2",
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": _schemas(model, revision, manifest)},
    }


def _in_path(name: str, value: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "enum": [value]}}


def _get(operation: str, summary: str, responses: Json) -> Json:
    return {"get": {"operationId": operation, "summary": summary, "responses": responses}}


def _answers(schema: str, *refusals: str) -> Json:
    """What a path answers: 200 with a schema, and the refusals that it knows."""
    return {"200": {"description": "OK", "content": _json(_ref(schema))}} | {code: _refusal(code) for code in refusals}


def _refusal(status: str) -> Json:
    refusal: Json = {"description": _STATUS[status], "content": _json(_ref("ErrorResponse"))}
    if status != "503":
        return refusal
    seconds = {"description": "Seconds to wait", "required": True, "schema": _NUMBER}
    return refusal | {"headers": {"Retry-After": seconds}}


def _infer(operation: str, manifest: Manifest) -> Json:
    length = "The bytes of JSON at the start of the body, where binary tensors follow it"
    answers = _answers("InferenceResponse", *_STATUS)
    revision = {"description": "The revision that answered", "required": True, "schema": _TEXT}
    json_length = {"description": length, "schema": _NUMBER}
    return {
        "operationId": operation,
        "tags": ["inference"],
        "summary": "Ask the model about rows",
        "parameters": [
            {
                "name": _JSON_LENGTH,
                "in": "header",
                "description": length,
                "schema": {"type": "integer", "minimum": 1, "maximum": MAX_BODY_BYTES},
            }
        ],
        "requestBody": {
            "required": True,
            "description": f"JSON, or JSON and binary tensors after it with the header {_JSON_LENGTH}; not compressed",
            "content": _json(_ref("InferenceRequest"), example=_example(manifest.signature.requested.values()))
            | _BINARY,
        },
        "responses": answers
        | {
            "200": {
                "description": "OK; with binary tensors after the JSON where they were asked for",
                "headers": {
                    "tidegate-revision": revision,
                    PREDICTION_ID_HEADER: {"description": "For feedback", "required": True, "schema": _TEXT},
                    _JSON_LENGTH: json_length,
                },
                "content": _json(_ref("InferenceResponse")) | _BINARY,
            }
        },
    }


def _feedback(operation: str) -> Json:
    return {
        "operationId": operation,
        "tags": ["feedback"],
        "summary": "Tell the server what was true",
        "requestBody": {"required": True, "content": _json(_ref("FeedbackRequest"))},
        "responses": _answers("FeedbackResponse", "400", "404", "408", "413", "503"),
    }


_PREDICTION: Json = {
    "name": "prediction_id",
    "in": "path",
    "required": True,
    "description": f"The header {PREDICTION_ID_HEADER} of an answer; with .K behind it, row K of a batch",
    "schema": {"type": "string", "pattern": r"^[A-Za-z0-9_-]+(\.[0-9]+)?$", "maxLength": MAX_TEXT},
}

_BINARY: Json = {"application/octet-stream": {}}


def _json(schema: Json, **more: object) -> Json:
    return {"application/json": {"schema": schema, **more}}


def _example(inputs: Iterable[TensorSpec]) -> Json:
    """A request of one row, of each type's plainest value."""
    plain: dict[str, object] = {"b": False, "i": 0, "u": 0, "f": 0.0, "O": ""}
    return {
        "inputs": [
            {
                "name": spec.name,
                "shape": [1, *spec.shape[1:]],
                "datatype": str(spec.datatype),
                "data": [plain[spec.datatype.dtype.kind]] * prod(spec.shape[1:]),
            }
            for spec in inputs
        ]
    }


def _schemas(model: str, revision: str, manifest: Manifest) -> Json:
    signature = manifest.signature
    requested = signature.requested.values()
    used = {datatype: [spec for spec in requested if spec.datatype is datatype] for datatype in Datatype}
    inputs = {_input_name(datatype): _input(datatype, specs) for datatype, specs in used.items() if specs}
    flag: Json = {"type": "boolean"}
    named: Json = {
        "name": _TEXT,
        "datatype": {"enum": [str(datatype) for datatype in Datatype]},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": -1}},
        "parameters": _object({"labels": {"type": "array"}}, required=["labels"]),
    }
    return {
        "LiveServerResponse": _object({"live": {"const": True}}),
        "ReadyServerResponse": _object({"ready": {"const": True}}),
        "ReadyModelResponse": _object({"name": {"const": model}, "ready": {"const": True}}),
        "MetadataServerResponse": _object(
            {"name": {"const": "tidegate"}, "version": _TEXT, "extensions": {"type": "array", "items": _TEXT}}
        ),
        "MetadataModelResponse": _object(
            {
                "name": {"const": model},
                "versions": {"type": "array", "items": {"const": revision}, "minItems": 1},
                "platform": {"const": str(manifest.format)},
                "inputs": {"type": "array", "items": _ref("MetadataTensor")},
                "outputs": {"type": "array", "items": _ref("MetadataTensor")},
            }
        ),
        "MetadataTensor": _object(named, required=["name", "datatype", "shape"]),
        "InferenceRequest": _object(
            {
                "id": {"type": ["string", "null"], "description": "Comes back in the answer"},
                "parameters": _parameters(
                    {"binary_data_output": flag, "explain": flag},
                    "Whether all outputs are wanted as binary tensors; whether the answer is to be explained",
                ),
                "inputs": {
                    "type": "array",
                    "description": "Each input of the model once, in any order, all of as many rows",
                    "items": {"anyOf": [_ref(name) for name in inputs]},
                    "minItems": len(requested),
                    "maxItems": len(requested),
                },
                "outputs": {
                    "type": ["array", "null"],
                    "description": "The outputs that are wanted; all of them if none is named",
                    "items": _ref("RequestOutput"),
                    "maxItems": len(signature.outputs),
                },
            },
            required=["inputs"],
        ),
        **inputs,
        "RequestOutput": _object(
            {
                "name": {"enum": [spec.name for spec in signature.outputs]},
                "parameters": _parameters({"binary_data": flag}, "Whether this output is wanted as a binary tensor"),
            },
            required=["name"],
        ),
        "InferenceResponse": _object(
            {
                "model_name": {"const": model},
                "model_version": {"const": revision},
                "id": _TEXT,
                "parameters": _object({"prediction_id": _TEXT}),
                "outputs": {
                    "type": "array",
                    "items": {
                        "anyOf": [*(_output(spec) for spec in signature.outputs), _explanation(signature.inputs)]
                    },
                    "minItems": 1,
                },
            },
            required=["model_name", "model_version", "parameters", "outputs"],
        ),
        "FeedbackRequest": {
            "type": "object",
            "properties": {
                "value": {"description": "Of one row: a label or a number, or a list of them"},
                "values": {"type": "array", "description": "Of a batch; null where it is not known yet"},
                "predictions": {
                    "type": "array",
                    "description": "What was answered, where the id is too short for it",
                },
            },
            "additionalProperties": False,
        },
        "FeedbackResponse": _object({"counted": _NUMBER, "repeated": _NUMBER}),
        "ErrorResponse": _object({"error": _TEXT}),
    }


def _input_name(datatype: Datatype) -> str:
    return f"RequestInput{datatype}"


def _input(datatype: Datatype, specs: Sequence[TensorSpec]) -> Json:
    """What is taken for the inputs of one type, which are columns, or one tensor of all columns."""
    taken = [str(given) for given in Datatype if conform(np.empty(0, given.dtype), datatype) is not None]
    wide = specs[0].shape[1:]
    width = prod(wide)
    row = {"type": "array", "items": _value(datatype), "minItems": width, "maxItems": width}
    columns: Json = {"items": _SIZE, "minItems": 1, "maxItems": 2}
    matrix: Json = {"prefixItems": [_SIZE, {"const": width}], "minItems": 2, "maxItems": 2}
    return _object(
        {
            "name": {"enum": [spec.name for spec in specs]},
            "datatype": {"enum": taken},
            "shape": {
                "type": "array",
                "description": f"[rows, {width}]" if wide else "[rows] or [rows, 1]",
                **(matrix if wide else columns),
            },
            "parameters": _parameters({}, _binary_form(datatype)),
            "data": {
                "type": "array",
                "description": f"Flat, row by row; or nested as the shape [rows, {width}] is",
                "items": {"anyOf": [_value(datatype), row]},
                "minItems": 1,
                "maxItems": MAX_ROWS * width,
            },
        },
        required=["name", "shape", "datatype", "data"],
    )


def _binary_form(datatype: Datatype) -> str:
    halves = f", of {' and '.join(_HALVES)} too" if datatype.is_float else ""
    return f"Of a tensor that follows the JSON: {BINARY_SIZE} instead of data{halves}"


def _output(spec: TensorSpec) -> Json:
    return _answered(spec.name, spec.datatype, len(spec.shape))


def _explanation(inputs: tuple[TensorSpec, ...]) -> Json:
    parameters = _object({"of": _TEXT, "columns": {"const": [spec.name for spec in inputs]}})
    return _answered(EXPLANATION, Datatype.FP64, 2, parameters=parameters)


def _answered(name: str, datatype: Datatype, rank: int, **more: Json) -> Json:
    shape = {"type": "array", "items": _SIZE, "minItems": rank, "maxItems": rank}
    data = {"type": "array", "description": "Flat, row by row", "items": _value(datatype, answered=True)}
    return _object(
        {"name": {"const": name}, "shape": shape, "datatype": {"const": str(datatype)}, "data": data, **more}
    )


def _value(datatype: Datatype, *, answered: bool = False) -> Json:
    """A value in JSON. A missing one is null; the model does not answer a missing number."""
    match datatype.dtype.kind:
        case "b":
            return {"type": "boolean"}
        case "i" | "u":
            bounds = np.iinfo(datatype.dtype)
            return {"type": "integer", "minimum": int(bounds.min), "maximum": int(bounds.max)}
        case "f":
            return {"type": "number"} if answered else {"type": ["number", "null"]}
    return {"type": ["string", "null"]}


def _parameters(known: Json, description: str) -> Json:
    return {"type": ["object", "null"], "description": description, "properties": known}


def _object(properties: Json, required: list[str] | None = None) -> Json:
    """An object of these properties, all of them required unless some are named."""
    return {"type": "object", "properties": properties, "required": list(properties) if required is None else required}


def _ref(schema: str) -> Json:
    return {"$ref": _PREFIX + schema}
