"""The documentation holds what the code has: fields, reasons, conditions, metrics, and links that lead somewhere."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidegate_contract.bundle.manifest import Manifest
from tidegate_contract.failure import FailureReason
from tidegate_operator.api import crd, v1alpha1
from tidegate_operator.core.reasons import Reason, Type
from tidegate_operator.metrics import Metrics as OperatorMetrics
from tidegate_server.metrics import Metrics as ServerMetrics

ROOT = Path(__file__).parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])


def first_cells(page: str) -> set[str]:
    """Every `word` in the first column of a page's tables."""
    rows = re.findall(r"^\| ([^|]+) \|", (ROOT / page).read_text(), re.MULTILINE)
    return {word for row in rows for word in re.findall(r"`([^`]+)`", row)}


def leaves(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """The paths of a schema's fields; lists, maps and CPU with memory count as one."""
    for name, child in schema.get("properties", {}).items():
        below = set(child.get("properties", {}))
        if below and below != {"cpu", "memory"}:
            yield from leaves(child, f"{path}{name}.")
        else:
            yield f"{path}{name}"


@pytest.mark.parametrize("part", ["spec", "status"])
def test_every_field_is_documented_and_every_documented_field_exists(part: str) -> None:
    schema = crd.definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][part]
    text = (ROOT / "docs/modeldeployment.md").read_text()
    (section,) = re.findall(rf"^## {part}\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE)
    assert {word for row in rows for word in re.findall(r"`([^`]+)`", row)} == set(leaves(schema))


def test_every_reason_and_condition_is_documented() -> None:
    words = {*map(str, Reason), *map(str, FailureReason), *map(str, Type)}
    assert words - first_cells("docs/modeldeployment.md") == set()


def test_every_documented_reason_exists() -> None:
    text = (ROOT / "docs/modeldeployment.md").read_text()
    (section,) = re.findall(r"^### Reasons\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    documented = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    assert documented == {*map(str, Reason), *map(str, FailureReason)}


def test_every_field_of_the_manifest_is_documented() -> None:
    fields = set(Manifest.__struct_fields__)
    documented = {word.partition(".")[0] for word in first_cells("docs/bundle.md")}
    assert documented == fields


@pytest.mark.parametrize(
    "metrics",
    [OperatorMetrics(depth=lambda: 0, models=lambda: 0), ServerMetrics()],
    ids=["of the operator", "of the server"],
)
def test_every_metric_is_documented(metrics: OperatorMetrics | ServerMetrics) -> None:
    found = {metric.name for metric in metrics.registry.collect() if metric.name.startswith("tidegate_")}
    documented = {re.sub(r"(_total)?(\{.*)?$", "", word) for word in first_cells("docs/operations.md")}
    assert found - documented == set()


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked.read_text()), target


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_a_model_deployment_that_is_shown_means_something(page: Path) -> None:
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL):
        document = yaml.safe_load(block.replace("sha256:...", "sha256:" + "0" * 64))
        if document.get("kind") == "ModelDeployment":
            v1alpha1.parse(document["spec"])
