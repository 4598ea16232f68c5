"""Puts requests made up from the schema into a form that a model can answer; schemathesis loads it.

A schema cannot say that each input is given once, and all of them with as many values as their shapes say. Nearly
everything made up from one is refused for that: what the server answers would stay unseen, and so would what it takes
though the schema forbids it. So here every tensor gets a name of its own and one row, and what the schema forbids
stays as it is. What it allows is left alone where it has no id: to be refused, and to break nothing.
"""

from typing import Any

import jsonschema_rs
import schemathesis

LENGTH = "Inference-Header-Content-Length"


@schemathesis.hook
def before_call(_: schemathesis.HookContext, case: schemathesis.Case[Any], __: dict[str, Any]) -> None:
    body: Any = case.body
    allowed = case.meta is not None and case.meta.generation.mode.is_positive
    if not isinstance(body, dict) or not isinstance(body.get("inputs"), list) or (allowed and "id" not in body):
        return
    content = case.operation.definition.raw["requestBody"]["content"]["application/json"]
    schemas = case.operation.schema.raw_schema["components"]["schemas"]
    plain = {tensor["name"]: tensor for tensor in content["example"]["inputs"]}
    case.body = {**body, "inputs": _whole(body["inputs"], plain, schemas)}
    headers: Any = case.headers or {}
    if str(headers.get(LENGTH, "")).isdecimal():
        del headers[LENGTH]  # right for another body


def _whole(inputs: list[Any], plain: dict[str, Any], schemas: dict[str, Any]) -> list[Any]:
    """The same tensors, each of one row; `plain` has a right one of each name."""
    first: dict[str, int] = {}
    for at, tensor in enumerate(inputs):
        if isinstance(tensor, dict) and isinstance(name := tensor.get("name"), str) and name in plain:
            first.setdefault(name, at)
    unnamed = [tensor for name, tensor in plain.items() if name not in first]
    whole = []
    for at, tensor in enumerate(inputs):
        if isinstance(tensor, dict) and isinstance(name := tensor.get("name"), str) and name in first:
            if first[name] == at:
                known = schemas[f"RequestInput{plain[name]['datatype']}"]["properties"]
                tensor = {key: _one_row(key, value, plain[name], known) for key, value in tensor.items()}
            elif unnamed:
                tensor = unnamed.pop()
        whole.append(tensor)
    return whole


def _one_row(key: str, value: Any, plain: dict[str, Any], known: dict[str, Any]) -> Any:
    """A property of a tensor as one row has it, unless the schema forbids it as it is."""
    if key not in ("shape", "datatype", "data") or not jsonschema_rs.is_valid(known[key], value):
        return value
    if key != "data":
        return plain[key]
    width = len(plain["data"])
    return value[0] if isinstance(value[0], list) else (value * width)[:width]
