"""What people see of the operator and of a serving pod: probes, metrics, logs, the command line."""

import json
import subprocess
import sys
from pathlib import Path

from deployed import SYSTEM, Pushed, model, until_ready
from kube import Kube, wait_for


def metrics(text: str) -> dict[str, float]:
    """Samples by their name and labels."""
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, value in lines}


def test_the_operator_leads_and_counts(kube: Kube, namespace: str, good: Pushed) -> None:
    kube.apply(model(namespace, good))
    until_ready(kube, namespace)
    path = f"/api/v1/namespaces/{SYSTEM}/services/tidegate-operator-metrics:metrics/proxy"
    assert kube.run("get", "--raw", f"{path}/readyz") == "ok"

    def leads() -> dict[str, float] | None:
        found = metrics(kube.run("get", "--raw", f"{path}/metrics"))
        return found if found["tidegate_leader"] == 1.0 else None

    found = wait_for("the leader", leads, 30)
    assert found["tidegate_modeldeployments"] >= 1
    assert found['tidegate_reconciles_total{result="done"}'] > 0
    assert found.get('tidegate_reconciles_total{result="bug"}', 0) == 0
    assert found['tidegate_api_requests_total{code="200",verb="patch"}'] > 0


def test_the_operators_logs_are_json_lines_without_a_traceback(kube: Kube) -> None:
    lines = kube.run("logs", "-n", SYSTEM, "deployment/tidegate-operator").splitlines()
    records = [json.loads(line) for line in lines]
    assert all({"time", "level", "logger", "message"} <= record.keys() for record in records)
    assert [record for record in records if "exc_info" in record] == []


def test_a_serving_pod_counts_its_answers(kube: Kube, namespace: str, good: Pushed) -> None:
    kube.apply(model(namespace, good))
    until_ready(kube, namespace)
    pod = kube.items("pods", namespace)[0]["metadata"]["name"]
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}:9090/proxy/metrics"
    found = metrics(kube.run("get", "--raw", path))
    assert found["tidegate_in_flight"] == 0.0
    info = next(name for name in found if name.startswith("tidegate_model_info{"))
    assert good.digest in info


def test_the_command_line_says_how_the_model_is(kube: Kube, namespace: str, good: Pushed) -> None:
    kube.apply(model(namespace, good))
    stable = until_ready(kube, namespace)["status"]["stable"]["revision"]
    tidegate = str(Path(sys.executable).parent / "tidegate")
    said = subprocess.run(
        [tidegate, "status", "small", "-n", namespace], capture_output=True, text=True, check=True
    ).stdout
    for words in (f"{namespace}/small", stable, "Serving", "ArtifactAvailable", "Verified", good.uri):
        assert words in said
