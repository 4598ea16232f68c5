"""Bad input on the real cluster: the object says what is wrong within 10 s, and heals when the cause goes."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import models
from deployed import SYSTEM, Address, Figure, Pushed, first_answer, model, until_answer, until_ready, until_reason
from facts import Told, in_time
from kube import Kube, Object, conditions, message, wait_for
from tidegate_contract import labels


@pytest.fixture
def serving(kube: Kube, namespace: str, good: Pushed, address: Callable[..., Address]) -> Callable[[], None]:
    """A good revision that serves; calling it asserts that it still does."""
    kube.apply(model(namespace, good))
    until_ready(kube, namespace)
    there = address(namespace)

    def check() -> None:
        assert conditions(kube.get("mdep", "small", namespace))["Ready"] == ("True", "Serving")
        assert there.infer([0.4]) == [1]

    return check


def test_an_address_that_does_not_exist(
    kube: Kube, namespace: str, registry: str, good: Pushed, serving: Callable[[], None], told: Told
) -> None:
    kube.apply(model(namespace, {"uri": f"oci://{registry}/tests/nothing:1"}))
    told("ArtifactPullFailed")
    assert conditions(kube.get("mdep", "small", namespace))["ArtifactAvailable"] == ("False", "ArtifactPullFailed")
    serving()
    kube.apply(model(namespace, good))
    until_ready(kube, namespace)


def test_an_image_of_the_server_that_cannot_be_pulled(
    kube: Kube, namespace: str, registry: str, good: Pushed, serving: Callable[[], None], told: Told
) -> None:
    broken = model(namespace, good)
    broken["spec"]["server"]["image"] = f"{registry}/tests/no-server:1"
    kube.apply(broken)
    told("ImagePullFailed")
    serving()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (models.that_cannot_be_loaded, "LoadFailed"),
        (models.with_wrong_golden_answer, "GoldenMismatch"),
        (lambda _good, folder: models.pickled(folder), "PickleRefused"),
        (lambda _good, folder: models.written(folder), "PickleRefused"),
    ],
    ids=[
        "a model that cannot load",
        "a wrong golden answer",
        "a pickle without permission",
        "a class without permission",
    ],
)
def test_a_model_that_must_not_serve(
    kube: Kube,
    namespace: str,
    good: Pushed,
    pushed: Callable[[str, models.Bundle], Pushed],
    tmp_path: Path,
    serving: Callable[[], None],
    told: Told,
    make: Any,
    reason: str,
) -> None:
    kube.apply(model(namespace, pushed(reason.lower(), make(good.bundle, tmp_path / "bad"))))
    told(reason)
    serving()


def test_a_candidate_with_a_wrong_golden_answer_is_rejected_before_its_first_request(
    kube: Kube, namespace: str, good: Pushed, pushed: Callable[[str, models.Bundle], Pushed], tmp_path: Path
) -> None:
    """It takes no trial to know: its pods go, spec is told that it was rejected, and nobody has met it."""
    canary = {"strategy": "Canary", "steps": [{"weight": 5}]}
    routed = {"traffic": {"via": "Router"}, "rollout": canary}
    kube.apply(model(namespace, good, **routed))
    stable = until_ready(kube, namespace)["status"]["stable"]["revision"]
    bad = pushed("refuted", models.with_wrong_golden_answer(good.bundle, tmp_path / "bad"))
    kube.apply(model(namespace, bad, **routed))

    def status() -> Object:
        found: Object = kube.get("mdep", "small", namespace)["status"]
        return found

    wait_for("a rejection", lambda: bool(status().get("rejected")), 60)
    decision = status()["decisions"][-1]
    assert (decision["what"], decision["revision"], decision["by"]) == ("Rollback", stable, "tidegate")
    assert "none of its pods can serve it" in decision["why"]
    assert [each["what"] for each in status()["decisions"] if each["what"] in ("Strike", "Step")] == []
    wait_for("stable alone", lambda: len(kube.items("pods", namespace, f"{labels.COMPONENT}={labels.SERVER}")) == 1, 60)
    assert conditions(kube.get("mdep", "small", namespace))["SpecInSync"] == ("False", "RevisionRejected")


@pytest.mark.parametrize("make", [models.pickled, models.written])
def test_what_runs_code_serves_with_its_owners_permission(
    kube: Kube,
    namespace: str,
    pushed: Callable[[str, models.Bundle], Pushed],
    tmp_path: Path,
    address: Callable[..., Address],
    make: Callable[[Path], models.Bundle],
) -> None:
    found = pushed(make.__name__, make(tmp_path))
    kube.apply(model(namespace, {"uri": found.uri, "digest": found.digest, "allowPickle": True}))
    until_ready(kube, namespace)
    assert first_answer(address(namespace), [-1.5, 1.5]) == [0, 1]


def test_pods_that_do_not_fit(
    kube: Kube, namespace: str, good: Pushed, serving: Callable[[], None], told: Told
) -> None:
    big = {"requests": {"cpu": "50m", "memory": "900Gi"}, "limits": {"memory": "900Gi"}}
    kube.apply(model(namespace, good, server={"resources": big}))
    told("Unschedulable")
    serving()


def forbid_pods(kube: Kube, namespace: str) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": namespace},
        "spec": {"hard": {"pods": "0"}},
    }
    kube.apply(quota)
    wait_for("the quota", lambda: "status" in kube.get("resourcequota", "none", namespace), 15)


def test_pods_that_the_quota_refuses_come_when_it_is_raised(
    kube: Kube, namespace: str, good: Pushed, figure: Figure
) -> None:
    forbid_pods(kube, namespace)
    kube.apply(model(namespace, good))

    def failed() -> bool:
        found = kube.find("deployment", "small", namespace) or {}
        return any(c["type"] == "ReplicaFailure" for c in found.get("status", {}).get("conditions", []))

    wait_for("the Deployment's own words", failed, 60, 0.1)
    in_time(kube, namespace, "PodsRefused", figure)
    kube.delete("resourcequota", "none", namespace)
    until_ready(kube, namespace, seconds=120)


def test_a_quota_that_refuses_even_the_pod_that_reads_the_digest_is_told(
    kube: Kube, namespace: str, good: Pushed
) -> None:
    """A Job's status says nothing about it: the operator waits a while, and then says where to look."""
    forbid_pods(kube, namespace)
    kube.apply(model(namespace, {"uri": good.tag}))
    found = until_reason(kube, namespace, "PodsRefused", 40)
    assert "kubectl describe job small-resolve-" in message(found, "Degraded")
    kube.delete("resourcequota", "none", namespace)
    until_ready(kube, namespace, seconds=120)


def test_a_child_that_the_api_server_refuses_is_named_and_the_rest_is_made(
    kube: Kube, namespace: str, good: Pushed, figure: Figure
) -> None:
    """No schema of ours knows every rule of a Deployment."""
    broken = model(namespace, good)
    broken["spec"]["server"]["template"] = {"nodeSelector": {"no label!": "x"}}
    kube.apply(broken)
    in_time(kube, namespace, "ChildRefused", figure)
    assert kube.find("service", "small", namespace)
    kube.apply(model(namespace, good))
    kube.patch("mdep", "small", {"spec": {"server": {"template": {"nodeSelector": None}}}}, namespace)
    until_ready(kube, namespace)


@pytest.fixture
def broken_webhook(kube: Kube, namespace: str) -> Iterator[str]:
    """A webhook for NetworkPolicies of the namespace that nobody answers: the API server's answer is 500."""
    name = f"nobody-{namespace}"
    kube.apply(
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [
                {
                    "name": "nobody.example.com",
                    "clientConfig": {"service": {"namespace": namespace, "name": "nobody"}},
                    "rules": [
                        {
                            "apiGroups": ["networking.k8s.io"],
                            "apiVersions": ["v1"],
                            "operations": ["*"],
                            "resources": ["networkpolicies"],
                        }
                    ],
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                    "failurePolicy": "Fail",
                    "sideEffects": "None",
                    "admissionReviewVersions": ["v1"],
                }
            ],
        }
    )
    yield name
    kube.delete("validatingwebhookconfiguration", name)


def test_a_webhook_that_nobody_answers_is_told_holds_up_nothing_else_and_is_not_told_again_by_a_new_process(
    kube: Kube, namespace: str, good: Pushed, broken_webhook: str, address: Callable[..., Address]
) -> None:
    kube.apply(model(namespace, good))
    found = until_reason(kube, namespace, "ChildRefused", 30)
    assert "refuses the NetworkPolicy" in message(found, "Degraded")
    assert "nobody.example.com" in message(found, "Degraded")
    assert first_answer(address(namespace), [-1.5, 1.5]) == [0, 1]
    wait_for("it is ready", lambda: conditions(kube.get("mdep", "small", namespace))["Ready"][0] == "True", 30)

    def told() -> tuple[str, set[str]]:
        """The versions of the object, and of each Event: one that is told again is a newer version of itself."""
        model = kube.get("mdep", "small", namespace)
        events = [e for e in kube.items("events", namespace) if e["reason"] == "ChildRefused"]
        return model["metadata"]["resourceVersion"], {event["metadata"]["resourceVersion"] for event in events}

    before = told()
    kube.run("rollout", "restart", "deployment/tidegate-operator", "-n", SYSTEM)
    kube.run("rollout", "status", "deployment/tidegate-operator", "-n", SYSTEM, "--timeout=90s")
    time.sleep(25)  # the new leader has looked, and tried for longer than its Lease lasts
    assert told() == before
    kube.delete("validatingwebhookconfiguration", broken_webhook)
    kube.patch("mdep", "small", {"spec": {"scaling": {"replicas": 1}}}, namespace)
    until_ready(kube, namespace)
    assert kube.find("networkpolicy", "small", namespace)
    assert conditions(kube.get("mdep", "small", namespace))["Degraded"] == ("False", "AsExpected")


def test_a_bundle_that_is_mended_under_its_tag_serves_when_it_is_asked_for_again(
    kube: Kube,
    namespace: str,
    good: Pushed,
    pushed: Callable[[str, models.Bundle], Pushed],
    tmp_path: Path,
    address: Callable[..., Address],
    told: Told,
) -> None:
    bad = pushed(namespace, models.that_cannot_be_loaded(good.bundle, tmp_path / "bad"))
    kube.apply(model(namespace, {"uri": bad.tag}))
    told("LoadFailed")
    pushed(namespace, good.bundle)
    kube.apply(model(namespace, {"uri": bad.tag}, rollout={"retryToken": "mended"}))
    until_ready(kube, namespace)
    until_answer(address(namespace), [-1.5, 1.5], [0, 1])
