"""The CRD: small, structural, bounded everywhere, and current."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tidegate_contract import actions, resolution
from tidegate_operator.api import crd
from tidegate_operator.core import choice, conditions, records, router, trial
from tidegate_operator.core.types import Role

ROOT = Path(__file__).parents[3]
SCHEMA = crd.definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def nodes(schema: dict[str, Any], path: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = [(path, schema)]
    for name, child in schema.get("properties", {}).items():
        found += nodes(child, f"{path}.{name}")
    if "items" in schema:
        found += nodes(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        found += nodes(schema["additionalProperties"], f"{path}[]")
    return found


REVISION = crd.revision_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
SPEC = nodes(SCHEMA["properties"]["spec"], "spec")
STATUS = nodes(SCHEMA["properties"]["status"], "status")
KEPT = [node for part in ("spec", "record") for node in nodes(REVISION["properties"][part], f"ModelRevision.{part}")]
EVERY = SPEC + STATUS + KEPT


@pytest.mark.parametrize("file", ["manifests/crd.yaml", "charts/tidegate/files/crd.yaml"])
def test_the_written_definition_is_current(file: str) -> None:
    assert (ROOT / file).read_text() == crd.render()


def test_it_is_well_below_the_size_that_the_api_server_takes() -> None:
    assert len(crd.render().encode()) < 100_000


@pytest.mark.parametrize(("path", "schema"), EVERY, ids=[path for path, _ in EVERY])
def test_every_field_is_described_and_bounded(path: str, schema: dict[str, Any]) -> None:
    if not path.endswith("[]"):
        assert schema.get("description"), "no description"
    match schema.get("type"):
        case "string":
            assert "maxLength" in schema or "enum" in schema, "a string without a bound"
        case "array":
            assert "maxItems" in schema, "a list without a bound"
        case "object" if "additionalProperties" in schema:
            assert "maxProperties" in schema, "a map without a bound"
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
    assert list(yaml.safe_load_all(crd.render())) == [crd.definition(), crd.revision_definition()]


def test_a_revision_never_changes_but_its_record_does() -> None:
    rules = REVISION["properties"]["spec"]["x-kubernetes-validations"]
    assert rules == [{"rule": "self == oldSelf", "message": "a revision never changes; make another one"}]
    assert "x-kubernetes-validations" not in REVISION["properties"]["record"]


def test_a_restore_loses_nothing_of_a_revision() -> None:
    """Backups leave the status subresource out."""
    version = crd.revision_definition()["spec"]["versions"][0]
    assert "subresources" not in version
    assert "status" not in REVISION["properties"]


def test_the_columns_answer_at_a_glance() -> None:
    columns = [column for column in crd.printer_columns() if not column["priority"]]
    names = "READY STABLE CANDIDATE WEIGHT PHASE REASON AGE"
    assert " ".join(column["name"].upper() for column in columns) == names
    for column in columns:
        if column["jsonPath"].startswith(".status.") and "[" not in column["jsonPath"]:
            assert column["jsonPath"].strip(".") in dict(STATUS)


def test_autoscalers_find_the_replicas_and_the_pods() -> None:
    version = crd.definition()["spec"]["versions"][0]
    paths = version["subresources"]["scale"]
    for path in paths.values():
        schema: dict[str, Any] = SCHEMA
        for field in path.strip(".").split("."):
            schema = schema["properties"][field]
        assert schema["type"] in ("integer", "string")
    assert set(paths) == {"specReplicasPath", "statusReplicasPath", "labelSelectorPath"}


def test_the_core_keeps_no_more_than_the_schema_takes() -> None:
    """A list that is one too long makes every later write of the object fail."""
    fields = dict(EVERY)
    assert fields["status.decisions"]["maxItems"] >= trial.DECISIONS
    assert fields["status.rejected"]["maxItems"] >= choice.REJECTED
    assert fields["ModelRevision.record.decisions"]["maxItems"] >= records.DECISIONS
    assert fields["status.conditions[].message"]["maxLength"] >= conditions.MESSAGE_LIMIT
    assert len(conditions.CHECKS) <= fields["status.conditions"]["maxItems"]
    assert fields["status.decisions[].by"]["maxLength"] >= actions.BY_LIMIT
    assert fields["status.decisions[].why"]["maxLength"] > actions.REASON_LIMIT
    assert fields["ModelRevision.spec.card.metrics"]["maxProperties"] >= resolution.ENTRIES_LIMIT
    assert fields["ModelRevision.spec.card.model"]["maxLength"] >= resolution.LONG_LIMIT
    assert set(fields["ModelRevision.record.role"]["enum"]) == set(Role)


def test_a_revision_has_room_for_whatever_a_spec_may_say() -> None:
    """Else a spec that the API server takes makes a revision that it refuses, and no pod."""
    fields = dict(EVERY)
    same = {
        "model.uri": "uri",
        "model.digest": "digest",
        "model.secretName": "secretName",
        "server.image": "image",
        "server.template.env[].name": "env[].name",
        "server.template.env[].value": "env[].value",
        "server.template.imagePullSecrets[].name": "imagePullSecrets[]",
    }
    for spec, kept in same.items():
        assert fields[f"ModelRevision.spec.{kept}"]["maxLength"] >= fields[f"spec.{spec}"]["maxLength"], spec
    for spec, kept in {"env": "env", "imagePullSecrets": "imagePullSecrets"}.items():
        assert fields[f"ModelRevision.spec.{kept}"]["maxItems"] >= fields[f"spec.server.template.{spec}"]["maxItems"]


def test_no_model_has_the_name_of_the_routers() -> None:
    """Their objects would be taken for the model's: they have no controller and are ours."""
    rules = [each["rule"] for each in SCHEMA["x-kubernetes-validations"]]
    assert f"self.metadata.name != '{router.NAME}'" in rules
