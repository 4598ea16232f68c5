"""A wrong value is refused before anything reaches the cluster, and the refusal names it."""

import json
from typing import Any

import pytest
import yaml

from .conftest import CHART

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown name": ({"replicaCount": 2}, "additional properties 'replicaCount' not allowed"),
    "an unknown name further down": ({"image": {"repository": "x"}}, "'/image': additional properties 'repository'"),
    "a tag that no image can have": ({"image": {"tag": "https://x"}}, "'/image/tag': 'https://x' does not match"),
    "a policy that Kubernetes lacks": (
        {"image": {"pullPolicy": "Sometimes"}},
        "'/image/pullPolicy': value must be one",
    ),
    "no Envoy at all": ({"image": {"envoy": ""}}, "'/image/envoy': minLength: got 0, want 1"),
    "a way to models that there is not": (
        {"traffic": {"via": "Gateway"}},
        "'/traffic/via': value must be one of 'Router', 'Service'",
    ),
    "words for a number": ({"replicas": "two"}, "'/replicas': got string, want integer"),
    "more operators than make sense": ({"replicas": 9}, "'/replicas': maximum: got 9, want 5"),
    "a namespace that cannot be": ({"watchNamespaces": ["Not_One"]}, "'/watchNamespaces/0': 'Not_One' does not match"),
    "a namespace twice": ({"watchNamespaces": ["a", "a"]}, "'/watchNamespaces': items at 0 and 1 are equal"),
    "a level that logging lacks": ({"logLevel": "LOUD"}, "'/logLevel': value must be one of 'DEBUG', 'INFO'"),
    "a resync every second": ({"resyncSeconds": 1}, "'/resyncSeconds': minimum: got 1, want 10"),
    "a Lease with room for two leaders": ({"lease": {"deadline": 20}}, "renew < deadline < duration must hold"),
    "a policy that the chart lacks": (
        {"policies": {"action": True}},
        "'/policies': additional properties 'action' not allowed",
    ),
    "a word for yes": ({"policies": {"actions": "yes"}}, "'/policies/actions': got string, want boolean"),
    "no account at all": ({"serviceAccount": {"create": False}}, "serviceAccount.name is needed when"),
}


@pytest.mark.parametrize("rule", REFUSED)
def test_is_refused_in_words(template: Any, rule: str) -> None:
    values, words = REFUSED[rule]
    done = template(values)
    assert done.returncode != 0
    assert words in done.stderr


def test_a_registry_with_a_scheme_is_refused(template: Any) -> None:
    done = template(registry="https://r.example/")
    assert "'/image/registry': 'https://r.example/' does not match pattern" in done.stderr


def test_without_a_registry_the_refusal_says_how_to_set_it(template: Any) -> None:
    done = template(registry="")
    assert done.returncode != 0
    assert "image.registry is not set" in done.stderr
    assert "make images CLUSTER=current REGISTRY=" in done.stderr
    assert "--set image.registry=" in done.stderr


def test_the_defaults_pass_and_a_part_of_another_chart_may_have_globals(render: Any) -> None:
    assert render({"global": {"anything": 1}})


def test_every_value_stands_in_the_schema_and_the_other_way_round() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())

    def check(values: dict[str, Any], schema: dict[str, Any], path: str) -> None:
        assert schema["additionalProperties"] is False, path
        assert values.keys() == schema["properties"].keys() - {"global", "claims"}, path
        for name, value in values.items():
            if isinstance(value, dict) and "properties" in schema["properties"][name]:
                check(value, schema["properties"][name], f"{path}.{name}")

    check(values, schema, "values")
