"""Which admission policies the chart installs, and for whom. What they refuse is asked in tests/e2e."""

import subprocess
from typing import Any

import pytest

from .conftest import CHART, Document


def named(documents: list[Document], kind: str) -> dict[str, Document]:
    return {found["metadata"]["name"]: found["spec"] for found in documents if found["kind"] == kind}


@pytest.mark.parametrize(
    ("policies", "names"),
    [
        pytest.param({}, {"tidegate-actions"}, id="by default actions are signed"),
        pytest.param({"actions": False}, set(), id="none where none is wanted"),
        pytest.param(
            {"operatorStatusOnly": True}, {"tidegate-actions", "tidegate-operator-status-only"}, id="both side by side"
        ),
        pytest.param(
            {"actions": False, "operatorStatusOnly": True}, {"tidegate-operator-status-only"}, id="the second alone"
        ),
    ],
)
def test_each_policy_is_bound_and_denies(render: Any, policies: dict[str, bool], names: set[str]) -> None:
    documents = render({"policies": policies})
    assert set(named(documents, "ValidatingAdmissionPolicy")) == names
    assert named(documents, "ValidatingAdmissionPolicyBinding") == {
        name: {"policyName": name, "validationActions": ["Deny"]} for name in names
    }


def test_actions_are_looked_at_in_updates_of_the_object_itself_in_every_namespace(render: Any) -> None:
    found = named(render({"watchNamespaces": ["a"]}), "ValidatingAdmissionPolicy")["tidegate-actions"]
    assert found["failurePolicy"] == "Fail"
    assert found["matchConstraints"] == {
        "resourceRules": [
            {
                "apiGroups": ["models.tidegate.dev"],
                "apiVersions": ["*"],
                "operations": ["UPDATE"],
                "resources": ["modeldeployments"],
            }
        ]
    }
    assert "matchConditions" not in found


@pytest.mark.parametrize(
    ("account", "name"),
    [({}, "tidegate-operator"), ({"name": "other"}, "other"), ({"create": False, "name": "theirs"}, "theirs")],
)
def test_the_operator_that_is_held_to_the_status_is_the_one_that_runs(
    render: Any, account: dict[str, Any], name: str
) -> None:
    documents = render({"policies": {"operatorStatusOnly": True}, "serviceAccount": account})
    found = named(documents, "ValidatingAdmissionPolicy")["tidegate-operator-status-only"]
    assert found["failurePolicy"] == "Fail"
    assert [condition["expression"] for condition in found["matchConditions"]] == [
        f"request.userInfo.username == 'system:serviceaccount:tidegate-system:{name}'"
    ]
    assert named(documents, "Deployment")["tidegate-operator"]["template"]["spec"]["serviceAccountName"] == name


def test_two_releases_have_policies_of_two_names(helm: str) -> None:
    command = [helm, "template", "second", str(CHART), "--set", "image.registry=r.example/t"]
    done = subprocess.run([*command, "--kube-version", "1.37.0"], check=True, capture_output=True, text=True)
    assert "name: second-tidegate-actions" in done.stdout
    assert "name: tidegate-actions" not in done.stdout


def test_a_cluster_without_the_policies_of_v1_is_refused_in_words(helm: str) -> None:
    command = [helm, "template", "tidegate", str(CHART), "--set", "image.registry=r.example/t"]
    done = subprocess.run([*command, "--kube-version", "1.29.0"], check=False, capture_output=True, text=True)
    assert "chart requires kubeVersion: >=1.31" in done.stderr
