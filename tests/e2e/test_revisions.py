"""The versions of a model on the real cluster: resolved once, kept, gone back to, and found again after a restore."""

import json
import time
from datetime import UTC, datetime, timedelta

import pytest

from deployed import PLAIN_HTTP, Pushed, model, until_ready, until_reason
from kube import Kube, KubectlError, Object, conditions, message, wait_for
from tidegate_server.offline.push import push

ACTION = "models.tidegate.dev/action"


def act(kube: Kube, namespace: str, action: str, reason: str = "") -> Object:
    """Annotate as the test's own user does, wait for the answer, and return it."""
    user = json.loads(kube.run("auth", "whoami", "-o", "json"))["status"]["userInfo"]["username"]
    words = [f"{ACTION}={action}", f"{ACTION}-by={user}", f"{ACTION}-reason={reason}"]
    kube.run("annotate", "mdep", "small", "--overwrite", *words, "-n", namespace)

    def answer() -> Object | None:
        found: Object = kube.get("mdep", "small", namespace)["status"].get("action", {})
        return found if found.get("id") == action.split()[0] else None

    found: Object = wait_for(f"an answer to {action}", answer, 15)
    return found


def status(kube: Kube, namespace: str) -> Object:
    found: Object = kube.get("mdep", "small", namespace)["status"]
    return found


def roles(kube: Kube, namespace: str) -> dict[str, str]:
    return {found["spec"]["revision"]: found["record"]["role"] for found in kube.items("modelrevisions", namespace)}


def pods(kube: Kube, namespace: str) -> set[str]:
    return {pod["metadata"]["uid"] for pod in kube.items("pods", namespace, "models.tidegate.dev/component=server")}


def serves(kube: Kube, namespace: str, revision: str) -> None:
    """Wait until this revision is stable and no pod of another is left."""

    def alone() -> bool:
        found = status(kube, namespace)
        stable = found.get("stable", {}).get("revision")
        return stable == revision and conditions({"status": found})["Progressing"] == ("False", "Complete")

    wait_for(f"revision {revision} alone", alone, 60)


@pytest.fixture
def two(kube: Kube, namespace: str, good: Pushed, better: Pushed) -> tuple[str, str]:
    """A model whose second version has taken over: the revisions of both."""
    kube.apply(model(namespace, good))
    first = until_ready(kube, namespace)["status"]["revision"]
    kube.apply(model(namespace, better))
    second = until_ready(kube, namespace)["status"]["revision"]
    return first, second


def test_an_address_without_a_digest_is_read_once_and_stays_what_it_was(
    kube: Kube, namespace: str, registry: str, good: Pushed, better: Pushed
) -> None:
    """The tag moves; the model does not, until its owner asks for it."""
    reference = f"{registry}/tests/moving-{namespace}:1"
    tag = push(good.bundle.directory, reference, plain_http=PLAIN_HTTP).uri.partition("@")[0]
    kube.apply(model(namespace, {"uri": tag}))
    first = until_ready(kube, namespace)
    assert first["status"]["resolved"]["digest"] == good.digest
    wait_for("no resolver left", lambda: not kube.items("jobs", namespace), 15)
    push(better.bundle.directory, reference, plain_http=PLAIN_HTTP)
    before = pods(kube, namespace)
    kube.run("annotate", "mdep", "small", "touched=yes", "-n", namespace)
    time.sleep(3)
    assert pods(kube, namespace) == before
    kube.apply(model(namespace, {"uri": tag}, rollout={"retryToken": "again"}))
    wait_for("the new digest", lambda: status(kube, namespace)["resolved"]["digest"] == better.digest, 30)
    again = until_ready(kube, namespace)
    assert again["status"]["revision"] != first["status"]["revision"]
    card = kube.get("modelrevision", f"small-{again['status']['revision']}", namespace)["spec"]["card"]
    assert (card["name"], card["model"]) == ("small", "LogisticRegression")


def test_an_address_that_cannot_be_read_is_said_while_the_old_version_serves(
    kube: Kube, namespace: str, registry: str, good: Pushed
) -> None:
    kube.apply(model(namespace, good))
    first = until_ready(kube, namespace)["status"]["revision"]
    kube.apply(model(namespace, {"uri": f"oci://{registry}/tests/nothing:1"}))
    found = until_reason(kube, namespace, "ArtifactPullFailed")
    assert conditions(found)["Ready"] == ("True", "Serving")
    assert found["status"]["revision"] == first
    assert roles(kube, namespace) == {first: "Stable"}
    kube.apply(model(namespace, good))
    assert until_ready(kube, namespace)["status"]["revision"] == first
    wait_for("no resolver left", lambda: not kube.items("jobs", namespace), 15)


def test_a_revision_never_changes(kube: Kube, namespace: str, two: tuple[str, str]) -> None:
    with pytest.raises(KubectlError, match="a revision never changes"):
        kube.patch("modelrevision", f"small-{two[0]}", {"spec": {"image": "other:1"}}, namespace)


def test_a_rollback_goes_back_stays_back_and_says_how_to_mend_git(
    kube: Kube, namespace: str, two: tuple[str, str], better: Pushed
) -> None:
    first, second = two
    assert roles(kube, namespace) == {first: "Superseded", second: "Stable"}
    assert act(kube, namespace, "r1 Rollback", "numbers look odd")["outcome"] == "Obeyed"
    serves(kube, namespace, first)
    assert roles(kube, namespace) == {first: "Stable", second: "Rejected"}
    kube.apply(model(namespace, better))  # Git says it again, and again
    time.sleep(3)
    found = kube.get("mdep", "small", namespace)
    assert found["status"]["revision"] == first
    assert conditions(found)["SpecInSync"] == ("False", "RevisionRejected")
    decision = found["status"]["decisions"][-1]
    assert (decision["what"], decision["revision"]) == ("Rollback", first)
    assert "numbers look odd" in decision["why"]
    said = message(found, "SpecInSync")
    patch = json.loads(said[said.index("-p '") + 4 : said.rindex("'")])
    kube.patch("mdep", "small", patch, namespace)
    found = until_ready(kube, namespace)
    assert conditions(found)["SpecInSync"] == ("True", "InSync")
    assert found["status"]["revision"] == first


def test_a_rejected_version_is_tried_again_with_another_retry_token(
    kube: Kube, namespace: str, two: tuple[str, str], better: Pushed
) -> None:
    first, second = two
    act(kube, namespace, f"r1 Rollback {first}")
    serves(kube, namespace, first)
    kube.apply(model(namespace, better, rollout={"retryToken": "once-more"}))
    serves(kube, namespace, second)
    assert roles(kube, namespace) == {first: "Superseded", second: "Stable"}


def test_an_action_is_obeyed_once_and_a_wrong_one_is_answered(
    kube: Kube, namespace: str, two: tuple[str, str], good: Pushed
) -> None:
    assert act(kube, namespace, "a Rollback 00000000")["outcome"] == "Refused"
    assert "not kept" in status(kube, namespace)["action"]["message"]
    assert act(kube, namespace, "b Explode")["outcome"] == "Refused"
    assert act(kube, namespace, "c Rollback")["outcome"] == "Obeyed"
    serves(kube, namespace, two[0])
    kube.apply(model(namespace, good))
    until_ready(kube, namespace)
    assert [d["what"] for d in status(kube, namespace)["decisions"]] == ["Rollout", "Rollout", "Rollback"]


def test_a_pause_holds_another_version_and_nothing_else(
    kube: Kube, namespace: str, good: Pushed, better: Pushed
) -> None:
    kube.apply(model(namespace, good))
    first = until_ready(kube, namespace)["status"]["revision"]
    assert act(kube, namespace, "p Pause")["outcome"] == "Obeyed"
    kube.apply(model(namespace, better, scaling={"replicas": 2}))
    wait_for("two pods", lambda: len(pods(kube, namespace)) == 2, 30)
    kube.delete("service", "small", namespace, wait=False)
    wait_for("the Service again", lambda: kube.find("service", "small", namespace), 15)
    found = kube.get("mdep", "small", namespace)
    assert found["status"]["revision"] == first
    assert conditions(found)["SpecInSync"] == ("False", "Paused")
    assert act(kube, namespace, "q Resume")["outcome"] == "Obeyed"
    wait_for("the other version", lambda: status(kube, namespace)["revision"] != first, 15)
    until_ready(kube, namespace)


@pytest.mark.parametrize("kinds", [("modelrevisions", "mdep"), ("mdep", "modelrevisions")], ids=" first, then ".join)
def test_a_restored_backup_serves_the_same_model_and_not_the_rejected_one(
    kube: Kube, namespace: str, two: tuple[str, str], better: Pushed, kinds: tuple[str, str]
) -> None:
    """Everything comes back without its status and with new uids; spec still asks for what was rejected."""
    first, second = two
    act(kube, namespace, "r1 Rollback", "numbers look odd")
    serves(kube, namespace, first)
    backup = [[bare(found) for found in kube.items(kind, namespace)] for kind in kinds]
    kube.delete("mdep", "small", namespace)
    kube.run("delete", "modelrevisions", "--all", "-n", namespace)
    wait_for("nothing left", lambda: not kube.items("deployments,services,pods", namespace), 60)
    for objects in backup:
        kube.apply(*objects)
        time.sleep(1)
    serves(kube, namespace, first)
    found = kube.get("mdep", "small", namespace)
    assert found["spec"]["model"]["uri"] == better.uri
    assert conditions(found)["SpecInSync"] == ("False", "RevisionRejected")
    assert found["status"]["action"]["outcome"] == "Ignored"
    assert roles(kube, namespace) == {first: "Stable", second: "Rejected"}


def bare(found: Object) -> Object:
    """An object as a backup keeps it: no status, nothing that the API server gave it."""
    metadata = {key: found["metadata"].get(key, {}) for key in ("name", "namespace", "labels", "annotations")}
    return {key: value for key, value in found.items() if key != "status"} | {"metadata": metadata}


def test_revisions_outlive_their_model_by_a_day(kube: Kube, namespace: str, two: tuple[str, str]) -> None:
    kube.delete("mdep", "small", namespace)

    def orphaned() -> bool:
        return all("orphaned" in found["record"] for found in kube.items("modelrevisions", namespace))

    wait_for("the revisions marked", orphaned, 30)
    assert set(roles(kube, namespace)) == set(two)
    # Yesterday, as far as one of them can tell; its model's namespace is looked at again when another model goes.
    yesterday = (datetime.now(UTC) - timedelta(hours=25)).strftime("%Y-%m-%dT%H:%M:%SZ")
    kube.patch("modelrevision", f"small-{two[0]}", {"record": {"orphaned": yesterday}}, namespace)
    other = model(namespace, {"uri": "oci://registry.invalid/x:1", "digest": "sha256:" + "0" * 64})
    kube.apply(other | {"metadata": {"name": "other", "namespace": namespace}})
    kube.delete("mdep", "other", namespace)
    wait_for("the old one gone", lambda: two[0] not in roles(kube, namespace), 30)
    assert two[1] in roles(kube, namespace)


def test_an_apply_that_makes_something_never_changes_what_is_there(kube: Kube, namespace: str) -> None:
    """What the operator relies on when it makes an object: a resourceVersion that nothing has (decision 0022)."""
    found = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": namespace}}
    asked = found | {"metadata": found["metadata"] | {"resourceVersion": "1"}, "data": {"by": "us"}}  # type: ignore[operator]
    apply = ("apply", "--server-side", "--force-conflicts", "--field-manager=us", "-f", "-")
    kube.run(*apply, stdin=json.dumps(asked))
    kube.delete("configmap", "x", namespace)
    kube.apply(found | {"data": {"by": "them"}})
    with pytest.raises(KubectlError, match="the object has been modified"):
        kube.run(*apply, stdin=json.dumps(asked))
    assert kube.get("configmap", "x", namespace)["data"] == {"by": "them"}
