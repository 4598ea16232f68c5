"""The CRD: small, structural, bounded everywhere, and current."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tidegate_operator.api import crd

ROOT = Path(__file__).parents[3]
SCHEMA = crd.definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def nodes(schema: dict[str, Any], path: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = [(path, schema)]
    for name, child in schema.get("properties", {}).items():
        found += nodes(child, f"{path}.{name}")
    if "items" in schema:
        found += nodes(schema["items"], f"{path}[]")
    return found


SPEC = nodes(SCHEMA["properties"]["spec"], "spec")
STATUS = nodes(SCHEMA["properties"]["status"], "status")


@pytest.mark.parametrize("file", ["manifests/crd.yaml", "charts/tidegate/files/crd.yaml"])
def test_the_written_definition_is_current(file: str) -> None:
    assert (ROOT / file).read_text() == crd.render()


def test_it_is_well_below_the_size_that_the_api_server_takes() -> None:
    assert len(crd.render().encode()) < 100_000


@pytest.mark.parametrize(("path", "schema"), SPEC + STATUS, ids=[path for path, _ in SPEC + STATUS])
def test_every_field_is_described_and_bounded(path: str, schema: dict[str, Any]) -> None:
    if not path.endswith("[]"):
        assert schema.get("description"), "no description"
    match schema.get("type"):
        case "string":
            assert "maxLength" in schema or "enum" in schema, "a string without a bound"
        case "array":
            assert "maxItems" in schema, "a list without a bound"
        case "integer":
            assert "minimum" in schema, "a number without a bound"


def test_the_address_alone_is_a_working_object() -> None:
    assert SCHEMA["properties"]["spec"]["required"] == ["model"]
    assert SCHEMA["properties"]["spec"]["properties"]["model"]["required"] == ["uri"]


def test_no_rule_stands_on_the_address_itself() -> None:
    """The API server prints the value that a rule stands on, and an address may hold a password."""
    uri = dict(SPEC)["spec.model.uri"]
    assert "x-kubernetes-validations" not in uri
    assert "pattern" not in uri


def test_a_union_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="a union cannot be a structural schema"):
        crd.structural({"anyOf": [{"type": "string"}, {"type": "integer"}]}, {})


def test_nulls_inside_defaults_are_left_out() -> None:
    assert crd.without_nulls({"a": None, "b": {"c": None, "d": 1}}) == {"b": {"d": 1}}


def test_the_rendered_file_is_yaml_of_the_definition() -> None:
    assert yaml.safe_load(crd.render()) == crd.definition()
