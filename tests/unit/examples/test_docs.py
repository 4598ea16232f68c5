"""The documentation holds what the code has: fields, reasons and runbooks, conditions, actions, metrics, commands.

Its links lead somewhere."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidegate_cli.main import main
from tidegate_contract.actions import Outcome, Verb
from tidegate_contract.bundle.manifest import Manifest
from tidegate_contract.failure import FailureReason
from tidegate_operator.api import crd, v1alpha1
from tidegate_operator.core.reasons import Reason, Type
from tidegate_operator.metrics import Metrics as OperatorMetrics
from tidegate_server.metrics import Metrics as ServerMetrics

ROOT = Path(__file__).parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
RUNBOOKS = ROOT / "docs/runbooks"
REASONS = {*map(str, Reason), *map(str, FailureReason)}


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


@pytest.mark.parametrize(
    ("page", "definition", "part"),
    [
        ("docs/modeldeployment.md", crd.definition(), "spec"),
        ("docs/modeldeployment.md", crd.definition(), "status"),
        ("docs/modelrevision.md", crd.revision_definition(), "spec"),
        ("docs/modelrevision.md", crd.revision_definition(), "record"),
    ],
    ids=["spec of a ModelDeployment", "its status", "spec of a ModelRevision", "its record"],
)
def test_every_field_is_documented_and_every_documented_field_exists(
    page: str, definition: dict[str, Any], part: str
) -> None:
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][part]
    text = (ROOT / page).read_text()
    (section,) = re.findall(rf"^## {part}\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE)
    assert {word for row in rows for word in re.findall(r"`([^`]+)`", row)} == set(leaves(schema))


@pytest.mark.parametrize(
    "definition", [crd.definition(), crd.revision_definition()], ids=["of a ModelDeployment", "of a ModelRevision"]
)
def test_every_printer_column_is_documented(definition: dict[str, Any]) -> None:
    text = (ROOT / f"docs/{definition['spec']['names']['singular']}.md").read_text()
    columns = {column["name"].upper() for column in definition["spec"]["versions"][0]["additionalPrinterColumns"]}
    assert {column for column in columns if not re.search(rf"\b{column}\b", text)} == set()


def test_every_condition_is_documented() -> None:
    assert set(map(str, Type)) - first_cells("docs/modeldeployment.md") == set()


def test_every_verb_and_outcome_of_an_action_is_documented() -> None:
    assert set(map(str, Verb)) - first_cells("docs/modeldeployment.md") == set()
    text = (ROOT / "docs/modeldeployment.md").read_text()
    assert {outcome for outcome in map(str, Outcome) if f"`{outcome}`" not in text} == set()


def test_every_reason_is_documented_and_leads_to_its_runbook_and_every_documented_reason_exists() -> None:
    text = (ROOT / "docs/modeldeployment.md").read_text()
    (section,) = re.findall(r"^### Reasons\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    documented = re.findall(r"^\| \[`(\w+)`\]\(runbooks/(\w+)\.md\) \|", section, re.MULTILINE)
    assert sorted(documented) == [(reason, reason) for reason in sorted(REASONS)]


def test_every_reason_has_a_runbook_and_every_runbook_has_a_reason() -> None:
    assert {page.stem for page in RUNBOOKS.glob("*.md")} - {"README"} == REASONS


def test_the_index_of_the_runbooks_leads_to_each_of_them() -> None:
    listed = re.findall(r"^\| \[(\w+)\]\((\w+)\.md\) \|", (RUNBOOKS / "README.md").read_text(), re.MULTILINE)
    assert set(listed) == {(reason, reason) for reason in REASONS}


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_a_runbook_is_headed_by_its_reason_and_short(reason: str) -> None:
    lines = (RUNBOOKS / f"{reason}.md").read_text().splitlines()
    assert lines[0] == f"# {reason}"
    assert len(lines) <= 40


def test_every_field_of_the_manifest_is_documented() -> None:
    fields = set(Manifest.__struct_fields__)
    documented = {word.partition(".")[0] for word in first_cells("docs/bundle.md")}
    assert documented == fields


@pytest.mark.parametrize(
    "metrics",
    [OperatorMetrics(depth=lambda: 0, models=lambda: 0, states=lambda: ()), ServerMetrics()],
    ids=["of the operator", "of the server"],
)
def test_every_metric_is_documented(metrics: OperatorMetrics | ServerMetrics) -> None:
    found = {metric.name for metric in metrics.registry.collect() if metric.name.startswith("tidegate_")}
    documented = {re.sub(r"(_total)?(\{.*)?$", "", word) for word in first_cells("docs/operations.md")}
    assert found - documented == set()


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_command_that_is_shown_exists(page: Path) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)
    shown = {word for block in blocks for word in re.findall(r"^tidegate ([a-z]+)", block, re.MULTILINE)}
    assert shown - set(main.commands) == set()


def test_every_command_is_documented() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    assert {name for name in main.commands if f"tidegate {name}" not in text} == set()


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
