"""The CustomResourceDefinition, made from the pydantic models.

pydantic writes JSON Schema; the API server takes a *structural* schema, a stricter
dialect. `structural` translates the one into the other and refuses what it cannot.
Run as a program it writes the definition, or with `--check` says whether the file is current.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

from tidegate_contract import names
from tidegate_operator.api.v1alpha1 import Api, ModelDeployment, ModelRevision

Schema = dict[str, Any]

HEADER = "# Generated from operator/tidegate_operator/api/v1alpha1.py by `make generate`; do not edit.\n"

_DROPPED = {"title", "$defs", "propertyNames", "additionalProperties", "const", "anyOf", "$ref", "default", "type"}
"""Keys that are handled by name, or that a structural schema does not know."""


def structural(schema: Schema, definitions: Schema) -> Schema:
    """A structural schema that accepts what `schema` accepts.

    Raises ValueError for a union that is not "this or null".
    """
    if "$ref" in schema:
        siblings = {key: value for key, value in schema.items() if key != "$ref"}
        return structural(definitions[schema["$ref"].rsplit("/", 1)[1]] | siblings, definitions)
    if "anyOf" in schema:
        kept = [option for option in schema["anyOf"] if option.get("type") != "null"]
        if len(kept) != 1:
            raise ValueError(f"a union cannot be a structural schema: {schema}")
        siblings = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
        return structural(kept[0] | siblings, definitions)
    found = {key: value for key, value in schema.items() if key not in _DROPPED}
    if "const" in schema:
        found["enum"] = [schema["const"]]
    if "type" in schema and not schema.get("x-kubernetes-int-or-string"):
        found["type"] = schema["type"]
    if (default := without_nulls(schema.get("default"))) is not None:
        found["default"] = default
    if "properties" in schema:
        found["properties"] = {name: structural(child, definitions) for name, child in schema["properties"].items()}
    elif isinstance(schema.get("additionalProperties"), dict):
        found["additionalProperties"] = structural(schema["additionalProperties"], definitions)
    if "items" in schema:
        found["items"] = structural(schema["items"], definitions)
    return found


def without_nulls(value: Any) -> Any:
    """The API server refuses a null inside a default."""
    if isinstance(value, dict):
        return {key: without_nulls(child) for key, child in value.items() if child is not None}
    return value


def _with_object_defaults(schema: Schema) -> Schema:
    """Give every optional object its fields' defaults as its own, so that leaving it out means the same as `{}`.

    They are written out, because the API server checks a default against the rules
    before it fills in what is missing in it.
    """
    required = schema.get("required", [])
    for name, child in schema.get("properties", {}).items():
        _with_object_defaults(child)
        if "properties" in child and name not in required:
            fields = child["properties"].items()
            child.setdefault("default", {key: field["default"] for key, field in fields if "default" in field})
    return schema


def schema_of(model: type[Api]) -> Schema:
    """The structural schema of a whole object."""
    generated = model.model_json_schema(by_alias=True)
    schema = structural(generated, generated["$defs"])
    schema["properties"] = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
    } | schema["properties"]
    return schema


def definition() -> Schema:
    """The CustomResourceDefinition of ModelDeployment as plain data."""
    schema = schema_of(ModelDeployment)
    _with_object_defaults(schema["properties"]["spec"])
    scale = {
        "specReplicasPath": ".spec.scaling.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    return _definition(
        names.KIND, names.PLURAL, "mdep", schema, printer_columns(), {"subresources": {"status": {}, "scale": scale}}
    )


def revision_definition() -> Schema:
    """That of ModelRevision: no status subresource, because a restore from a backup would lose what stands there."""
    return _definition(
        names.REVISION_KIND, names.REVISION_PLURAL, "mrev", schema_of(ModelRevision), revision_columns(), {}
    )


def _definition(kind: str, plural: str, short: str, schema: Schema, columns: list[Schema], more: Schema) -> Schema:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short],
                "categories": ["all", "tidegate"],
            },
            "versions": [
                {
                    "name": names.VERSION,
                    "served": True,
                    "storage": True,
                    **more,
                    "additionalPrinterColumns": columns,
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def column(name: str, path: str, kind: str = "string", priority: int = 0) -> Schema:
    return {"name": name, "type": kind, "jsonPath": path, "priority": priority}


def printer_columns() -> list[Schema]:
    """What `kubectl get mdep` shows: is it well, what serves, what is to, and if not, why."""
    return [
        column("Ready", ".status.conditions[?(@.type=='Ready')].status"),
        column("Stable", ".status.stable.revision"),
        column("Candidate", ".status.candidate.revision"),
        column("Weight", ".status.candidate.weight", "integer"),
        column("Phase", ".status.phase"),
        column("Reason", ".status.conditions[?(@.type=='Degraded')].reason"),
        column("Replicas", ".status.replicas", "integer", priority=1),
        column("URL", ".status.url", priority=1),
        column("Age", ".metadata.creationTimestamp", "date"),
    ]


def revision_columns() -> list[Schema]:
    """What `kubectl get mrev` shows: of which model, what it is to it, and since when."""
    return [
        column("Model", ".spec.model"),
        column("Role", ".record.role"),
        column("Since", ".record.since", "date"),
        column("Digest", ".spec.digest", priority=1),
        column("Image", ".spec.image", priority=1),
        column("Age", ".metadata.creationTimestamp", "date"),
    ]


def render() -> str:
    return HEADER + "---\n".join(
        yaml.safe_dump(found, sort_keys=False, width=110, allow_unicode=True)
        for found in (definition(), revision_definition())
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the CRD, or check that the written one is current.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is not current")
    parser.add_argument("files", nargs="+", type=Path)
    options = parser.parse_args()
    rendered = render()
    for file in options.files:
        if not options.check:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(rendered)
        elif not file.exists() or file.read_text() != rendered:
            sys.stderr.write(f"{file} is not what the models say: run `make generate`\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
