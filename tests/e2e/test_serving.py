"""The way of a model: it answers, it rolls over without a lost request, it is repaired, it never serves wrong bytes."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import models
from deployed import (
    Address,
    Caller,
    Figure,
    Pushed,
    changes,
    first_answer,
    is_ready,
    model,
    until_answer,
    until_drained,
    until_ready,
    until_reason,
)
from facts import Told
from kube import Kube, KubectlError, Object, conditions, message, wait_for

WRONG = "sha256:" + "0" * 64
BELOW, ABOVE = -1.5, 1.5
BETWEEN = 0.4
"""Above the first version's threshold, below the second's: its label tells which version answered."""


def test_an_applied_model_answers(
    kube: Kube, namespace: str, good: Pushed, address: Callable[..., Address], figure: Figure
) -> None:
    started = time.monotonic()
    kube.apply(model(namespace, good))
    wait_for("the Service", lambda: kube.find("service", "small", namespace))
    assert first_answer(address(namespace), [BELOW, ABOVE]) == [0, 1]
    seconds = time.monotonic() - started
    figure("kubectl apply of a small model to its first answer", f"{seconds:.1f} s", "<= 15 s")
    assert seconds <= 15


def test_the_status_says_what_is_true(kube: Kube, namespace: str, good: Pushed) -> None:
    kube.apply(model(namespace, good, scaling={"replicas": 2}))
    found = until_ready(kube, namespace)
    assert conditions(found) == {
        "Ready": ("True", "Serving"),
        "Progressing": ("False", "Complete"),
        "Degraded": ("False", "AsExpected"),
        "ArtifactAvailable": ("True", "Verified"),
        "SpecInSync": ("True", "InSync"),
        "NameConflict": ("False", "NoConflict"),
        "DeploymentAltered": ("False", "AsMade"),
    }
    status = found["status"]
    assert (status["phase"], status["replicas"]) == ("Idle", 2)
    assert status["stable"]["revision"] == status["revision"]
    assert status["url"] == f"http://small.{namespace}.svc"
    reasons = {event["reason"] for event in kube.items("events", namespace)}
    assert {"Serving", "Complete"} <= reasons


def test_the_users_object_stays_the_users(kube: Kube, namespace: str, good: Pushed, figure: Figure) -> None:
    def whole() -> Object:
        found: Object = json.loads(
            kube.run("get", "mdep", "small", "-n", namespace, "-o", "json", "--show-managed-fields")
        )
        return found

    kube.apply(model(namespace, good))
    before = whole()
    until_ready(kube, namespace)
    changed = changes(before, whole())
    figure("fields of spec and metadata that the operator changed", len(changed), "0")
    assert changed == []


def test_a_changed_model_rolls_over_and_no_request_is_lost(
    kube: Kube, namespace: str, good: Pushed, better: Pushed, address: Callable[..., Address], figure: Figure
) -> None:
    kube.apply(model(namespace, good, scaling={"replicas": 2}))
    until_ready(kube, namespace)
    with Caller(address(namespace), [BETWEEN]) as caller:
        kube.apply(model(namespace, better, scaling={"replicas": 2}))
        until_ready(kube, namespace)
        until_drained()
    figure("answers while a new version takes over", dict(caller.answers), "none lost")
    assert set(caller.answers) == {"[1]", "[0]"}


def test_an_onnx_version_takes_over_and_no_client_notices(
    kube: Kube,
    namespace: str,
    good: Pushed,
    pushed: Callable[[str, models.Bundle], Pushed],
    tmp_path: Path,
    address: Callable[..., Address],
    figure: Figure,
) -> None:
    converted = pushed("converted", models.converted(tmp_path))
    kube.apply(model(namespace, good, scaling={"replicas": 2}))
    before = until_ready(kube, namespace)["status"]["revision"]
    with Caller(address(namespace), [BELOW, ABOVE]) as caller:
        kube.apply(model(namespace, converted, scaling={"replicas": 2}))
        wait_for("the revision", lambda: kube.get("mdep", "small", namespace)["status"]["revision"] != before)
        until_ready(kube, namespace)
        until_drained()
    figure("answers while an ONNX version of the same model takes over", dict(caller.answers), "all alike")
    assert set(caller.answers) == {"[0, 1]"}


def test_a_wrong_digest_never_serves_and_the_last_good_version_does(
    kube: Kube, namespace: str, good: Pushed, better: Pushed, address: Callable[..., Address], told: Told
) -> None:
    kube.apply(model(namespace, good))
    serving = until_ready(kube, namespace)["status"]["stable"]["revision"]
    kube.apply(model(namespace, {"uri": better.uri, "digest": WRONG}))
    told("DigestMismatch")
    found = kube.get("mdep", "small", namespace)
    assert conditions(found)["ArtifactAvailable"] == ("False", "DigestMismatch")
    assert conditions(found)["Ready"] == ("True", "Serving")
    assert found["status"]["stable"]["revision"] == serving
    assert WRONG in message(found, "Degraded")
    assert {tuple(address(namespace).infer([BETWEEN])) for _ in range(20)} == {(1,)}
    kube.apply(model(namespace, better))
    assert conditions(until_ready(kube, namespace))["Degraded"] == ("False", "AsExpected")
    until_answer(address(namespace), [BETWEEN], [0])


@pytest.mark.parametrize("kind", ["deployment", "service", "serviceaccount", "networkpolicy", "poddisruptionbudget"])
def test_a_deleted_child_comes_back(kube: Kube, namespace: str, good: Pushed, kind: str) -> None:
    kube.apply(model(namespace, good, scaling={"replicas": 2}))
    until_ready(kube, namespace)
    uid = kube.get(kind, "small", namespace)["metadata"]["uid"]
    kube.delete(kind, "small", namespace, wait=False)

    def again() -> bool:
        found = kube.find(kind, "small", namespace)
        return found is not None and found["metadata"]["uid"] != uid

    wait_for(f"a new {kind}", again, 15)
    until_ready(kube, namespace)


def test_what_others_change_is_put_back(kube: Kube, namespace: str, good: Pushed) -> None:
    kube.apply(model(namespace, good))
    until_ready(kube, namespace)
    image = kube.get("deployment", "small", namespace)["spec"]["template"]["spec"]["containers"][0]["image"]

    def spec() -> tuple[str, int, str]:
        deployment = kube.get("deployment", "small", namespace)
        return (
            deployment["spec"]["template"]["spec"]["containers"][0]["image"],
            deployment["spec"]["replicas"],
            deployment["metadata"].get("labels", {}).get("models.tidegate.dev/model", ""),
        )

    kube.run("set", "image", "deployment/small", "server=wrong:1", "-n", namespace)
    wait_for("the image put back", lambda: spec() == (image, 1, "small"), 10)
    kube.run("scale", "deployment/small", "--replicas=3", "-n", namespace)
    wait_for("the replicas put back", lambda: spec() == (image, 1, "small"), 10)
    kube.run("label", "deployment/small", "models.tidegate.dev/model-", "-n", namespace)
    wait_for("the label put back", lambda: spec() == (image, 1, "small"), 10)
    selector = kube.get("service", "small", namespace)["spec"]["selector"]
    kube.patch("service", "small", {"spec": {"selector": {"models.tidegate.dev/model": "other"}}}, namespace)
    wait_for(
        "the selector put back",
        lambda: kube.get("service", "small", namespace)["spec"]["selector"] == selector,
        10,
    )
    edited = kube.get("deployment", "small", namespace)
    edited["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["periodSeconds"] = 9
    del edited["metadata"]["resourceVersion"]  # the controller still writes the status of what was put back before
    kube.run("replace", "-f", "-", stdin=json.dumps(edited))

    def period() -> int:
        containers = kube.get("deployment", "small", namespace)["spec"]["template"]["spec"]["containers"]
        found: int = containers[0]["readinessProbe"]["periodSeconds"]
        return found

    wait_for("the probe put back", lambda: period() == 1, 10)
    until_ready(kube, namespace)


def test_what_others_add_is_not_fought_over(kube: Kube, namespace: str, good: Pushed) -> None:
    """Two writers that undo each other would be an endless loop; a restart by hand must work."""
    kube.apply(model(namespace, good))
    until_ready(kube, namespace)
    kube.run("rollout", "restart", "deployment/small", "-n", namespace)
    kube.run("annotate", "service", "small", "team=x", "-n", namespace)
    kube.run("rollout", "status", "deployment/small", "-n", namespace, "--timeout=60s")
    until_ready(kube, namespace)
    before = {kind: kube.get(kind, "small", namespace)["metadata"]["generation"] for kind in ("deployment",)}
    time.sleep(3)
    after = {kind: kube.get(kind, "small", namespace)["metadata"]["generation"] for kind in ("deployment",)}
    assert after == before
    assert kube.get("service", "small", namespace)["metadata"]["annotations"]["team"] == "x"
    assert conditions(kube.get("mdep", "small", namespace))["DeploymentAltered"] == ("False", "AsMade")


def test_what_others_add_to_the_deployment_is_told_until_it_is_taken_out(
    kube: Kube, namespace: str, good: Pushed
) -> None:
    def until_altered(truth: str, reason: str) -> Object:
        def found() -> tuple[str, str]:
            return conditions(kube.get("mdep", "small", namespace))["DeploymentAltered"]

        wait_for(reason, lambda: found() == (truth, reason), 10)
        return kube.get("mdep", "small", namespace)

    kube.apply(model(namespace, good))
    until_ready(kube, namespace)
    kube.run("set", "env", "deployment/small", "DEBUG=1", "-c", "server", "-n", namespace)
    added = until_altered("True", "AddedByOthers")
    assert "spec.template.spec.containers[server].env[DEBUG] (by kubectl-set)" in message(added, "DeploymentAltered")
    kube.run("rollout", "status", "deployment/small", "-n", namespace, "--timeout=60s")
    kube.run("set", "env", "deployment/small", "DEBUG-", "-c", "server", "-n", namespace)
    until_altered("False", "AsMade")
    kube.run("rollout", "pause", "deployment/small", "-n", namespace)
    assert "spec.paused (by kubectl-rollout)" in message(until_altered("True", "AddedByOthers"), "DeploymentAltered")
    kube.run("rollout", "resume", "deployment/small", "-n", namespace)
    until_altered("False", "AsMade")
    until_ready(kube, namespace)


def test_replicas_follow_the_spec_up_down_and_to_zero(kube: Kube, namespace: str, good: Pushed) -> None:
    for replicas, budget in ((1, False), (3, True), (0, False)):
        kube.apply(model(namespace, good, scaling={"replicas": replicas}))
        found = until_ready(kube, namespace)
        assert kube.get("deployment", "small", namespace)["spec"]["replicas"] == replicas
        wait_for("the disruption budget", lambda: bool(kube.items("poddisruptionbudgets", namespace)) == budget, 10)  # noqa: B023
    assert conditions(found)["Ready"] == ("True", "ScaledToZero")


def test_the_modes_of_scaling_hand_the_replicas_over_without_a_jump(kube: Kube, namespace: str, good: Pushed) -> None:
    def counts() -> tuple[int, int]:
        found = kube.get("deployment", "small", namespace)["spec"]["replicas"]
        return found, kube.get("mdep", "small", namespace)["status"]["replicas"]

    def scaling(**found: object) -> None:
        kube.patch("mdep", "small", {"spec": {"scaling": found}}, namespace)
        until_ready(kube, namespace)

    kube.apply(model(namespace, good, scaling={"replicas": 2}))
    until_ready(kube, namespace)
    with pytest.raises(KubectlError, match="External needs replicas to start from"):
        scaling(mode="External", replicas=None)
    before = {pod["metadata"]["uid"] for pod in kube.items("pods", namespace)}
    scaling(mode="External")
    assert counts() == (2, 2)
    assert {pod["metadata"]["uid"] for pod in kube.items("pods", namespace)} == before
    kube.run("scale", "mdep/small", "--replicas=3", "-n", namespace)
    until_ready(kube, namespace)
    assert counts() == (3, 3)
    scaling(mode="Fixed", replicas=None)
    assert counts() == (3, 3), "Fixed, and nobody says how many: as many as there are"
    assert before <= {pod["metadata"]["uid"] for pod in kube.items("pods", namespace)}


def test_a_strangers_service_is_never_touched(kube: Kube, namespace: str, good: Pushed) -> None:
    mine = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "small", "namespace": namespace},
        "spec": {"ports": [{"port": 1234}]},
    }
    kube.apply(mine)
    before = kube.get("service", "small", namespace)
    kube.apply(model(namespace, good))
    found = until_reason(kube, namespace, "ForeignObject")
    assert conditions(found)["NameConflict"] == ("True", "ForeignObject")
    assert kube.get("service", "small", namespace) == before
    kube.delete("service", "small", namespace)
    assert conditions(until_ready(kube, namespace))["NameConflict"] == ("False", "NoConflict")


def test_a_model_that_is_made_again_over_its_orphans_keeps_their_pods(kube: Kube, namespace: str, good: Pushed) -> None:
    kube.apply(model(namespace, good))
    until_ready(kube, namespace)
    before = [pod["metadata"]["uid"] for pod in kube.items("pods", namespace)]
    kube.run("delete", "mdep", "small", "-n", namespace, "--cascade=orphan")
    kube.apply(model(namespace, good))
    uid = until_ready(kube, namespace)["metadata"]["uid"]

    def owned() -> bool:
        found = kube.items("deployment,service", namespace, "models.tidegate.dev/model")
        return all(item["metadata"].get("ownerReferences", [{}])[0].get("uid") == uid for item in found)

    wait_for("the children owned again", owned, 20)
    assert [pod["metadata"]["uid"] for pod in kube.items("pods", namespace)] == before


def test_a_deleted_model_takes_its_children_along(kube: Kube, namespace: str, good: Pushed) -> None:
    kube.apply(model(namespace, good, scaling={"replicas": 2}))
    until_ready(kube, namespace)
    kube.delete("mdep", "small", namespace)
    kinds = "deployment,service,serviceaccount,networkpolicy,poddisruptionbudget"

    def left() -> list[str]:
        return [found["kind"] for found in kube.items(kinds, namespace, "models.tidegate.dev/model")]

    wait_for("no child", lambda: not left(), 30)


def test_a_serving_pod_has_no_token_and_cannot_write(kube: Kube, namespace: str, good: Pushed) -> None:
    kube.apply(model(namespace, good))
    until_ready(kube, namespace)

    def inside(*command: str) -> str:
        return kube.run("exec", "deployment/small", "-n", namespace, "-c", "server", "--", *command)

    python = "import os; print(os.path.exists('/var/run/secrets/kubernetes.io/serviceaccount/token'), os.getuid())"
    assert inside("python", "-c", python).split() == ["False", "65532"]
    for path in ("/x", "/bundle/x", "/tmp/x"):
        with pytest.raises(KubectlError, match=r"Read-only file system|Permission denied"):
            inside("python", "-c", f"open('{path}', 'w')")
    assert is_ready(kube, namespace)
