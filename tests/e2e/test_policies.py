"""What the API server refuses people and the operator, beside the roles: with real users, in their own words.

The people's rights are those of the cluster's own roles. Most is asked with --dry-run=server, which passes admission
and leaves the object as it was.
"""

import json
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import deployed
from deployed import SYSTEM, model
from kube import Kube, KubectlError, Object, wait_for

CHART = Path(__file__).parents[2] / "charts" / "tidegate"
ALICE, BOB, VERA = "alice@example.com", "bob@example.com", "vera@example.com"
EDITORS = "ops-research"
ACTION, BY, REASON = (f"models.tidegate.dev/{name}" for name in ("action", "action-by", "action-reason"))
SIGNED = {ACTION: "a1 Pause", BY: ALICE, REASON: "a load test"}
"""What alice did last."""

Annotations = dict[str, str | None]
As = tuple[str, ...]


def editor(name: str) -> As:
    return (f"--as={name}", f"--as-group={EDITORS}")


@pytest.fixture(scope="module")
def space(kube: Kube) -> Iterator[str]:
    """A namespace in which a group may edit, and vera view."""
    name = f"t-policies-{uuid.uuid4().hex[:8]}"
    deployed.space(kube, name)
    try:
        kube.run("create", "rolebinding", "editors", "--clusterrole=edit", f"--group={EDITORS}", "-n", name)
        kube.run("create", "rolebinding", "viewers", "--clusterrole=view", f"--user={VERA}", "-n", name)
        yield name
    finally:
        kube.delete("namespace", name, wait=False)


def idle(space: str, name: str, annotations: dict[str, str] | None = None) -> Object:
    """A model without pods: nothing here looks at what it serves."""
    source = {"uri": "oci://registry.invalid/flights:1", "digest": "sha256:" + "0" * 64}
    found = model(space, source, scaling={"replicas": 0})
    found["metadata"] |= {"name": name, "annotations": annotations or {}}
    return found


def create(kube: Kube, found: Object, who: As = (), *more: str) -> None:
    kube.run("create", "-f", "-", *who, *more, stdin=json.dumps(found))


@pytest.fixture(scope="module")
def paused(kube: Kube, space: str) -> str:
    """A model on which alice has acted."""
    create(kube, idle(space, "paused"), editor(ALICE))
    patch(kube, space, "paused", editor(ALICE), dict(SIGNED), for_real=True)
    return "paused"


@pytest.fixture(scope="module")
def untouched(kube: Kube, space: str) -> str:
    """A model on which nobody has acted."""
    create(kube, idle(space, "untouched"), editor(ALICE))
    return "untouched"


def patch(
    kube: Kube, space: str, name: str, who: As, annotations: Annotations, *, for_real: bool = False, **rest: Any
) -> None:
    change = {"metadata": {"annotations": annotations}} | rest
    mode = () if for_real else ("--dry-run=server",)
    kube.run("patch", "mdep", name, "-n", space, "--type=merge", "-p", json.dumps(change), *mode, *who)


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(KubectlError) as error:
        act()
    return str(error.value)


def written(kube: Kube, space: str, name: str) -> dict[str, str]:
    """The annotations of an action, as they stand."""
    found = kube.get("mdep", name, space)["metadata"].get("annotations", {})
    return {key: value for key, value in found.items() if key in (ACTION, BY, REASON)}


# ---------------------------------------------------------------- who acts says who acts


ALLOWED: dict[str, tuple[str, Annotations]] = {
    "an own action with a new id": (BOB, {ACTION: "b2 Resume", BY: BOB, REASON: "it is over"}),
    "an own action without a reason": (BOB, {ACTION: "b2 Resume", BY: BOB, REASON: None}),
    "a second action of the same person": (ALICE, {ACTION: "a2 Resume"}),
    "an action with a revision": (BOB, {ACTION: "b2 Rollback paused-1a2b3c4d", BY: BOB}),
    "a verb that only the operator knows to refuse": (BOB, {ACTION: "b2 Dance", BY: BOB}),
    "the longest id": (BOB, {ACTION: "b" * 64 + " Resume", BY: BOB}),
    "an id of every kind of character": (BOB, {ACTION: "2026-11.b_Z Resume", BY: BOB}),
    "all three removed, by anybody": (BOB, {ACTION: None, BY: None, REASON: None}),
    "another annotation": (BOB, {"example.com/seen": "yes"}),
}


@pytest.mark.parametrize("rule", ALLOWED)
def test_is_allowed(kube: Kube, space: str, paused: str, rule: str) -> None:
    who, change = ALLOWED[rule]
    patch(kube, space, paused, editor(who), change)


OWN_NAME = "set models.tidegate.dev/action-by to your own user name, {}, and give the action a new id"
FORMAT = 'models.tidegate.dev/action must be "<id> <verb> [<revision>]" with a new id of 1 to 64 letters'

REFUSED: dict[str, tuple[str, Annotations, str]] = {
    "an action in the name of another": (BOB, {ACTION: "b2 Resume"}, OWN_NAME),
    "an action in nobody's name": (BOB, {ACTION: "b2 Resume", BY: None}, OWN_NAME),
    "the id of the action before": (BOB, {ACTION: "a1 Resume", BY: BOB}, OWN_NAME),
    "the own action changed under its id": (ALICE, {ACTION: "a1 Resume"}, "(a1 is the old one)"),
    "the reason alone": (ALICE, {REASON: "another"}, OWN_NAME),
    "the name alone": (BOB, {BY: BOB}, OWN_NAME),
    "the reason taken away alone": (ALICE, {REASON: None}, OWN_NAME),
    "the name taken away alone": (ALICE, {BY: None}, OWN_NAME),
    "the action taken away alone": (ALICE, {ACTION: None}, FORMAT),
    "a reason left behind": (ALICE, {ACTION: None, BY: None}, FORMAT),
    "an empty action": (BOB, {ACTION: "", BY: BOB}, FORMAT),
    "an id after a space": (BOB, {ACTION: " b2 Resume", BY: BOB}, FORMAT),
    "an id before a tab": (BOB, {ACTION: "b2\tResume", BY: BOB}, FORMAT),
    "an id before a new line": (BOB, {ACTION: "b2\nResume", BY: BOB}, FORMAT),
    "an id with a slash": (BOB, {ACTION: "b/2 Resume", BY: BOB}, FORMAT),
    "an id too long": (BOB, {ACTION: "b" * 65 + " Resume", BY: BOB}, FORMAT),
}


@pytest.mark.parametrize("rule", REFUSED)
def test_is_refused_in_words(kube: Kube, space: str, paused: str, rule: str) -> None:
    who, change, words = REFUSED[rule]
    said = refusal(lambda: patch(kube, space, paused, editor(who), change))
    assert words.format(who) in said
    assert "`tidegate pause paused` does both" in said


def test_the_first_action_is_signed_as_every_other(kube: Kube, space: str, untouched: str) -> None:
    patch(kube, space, untouched, editor(BOB), {ACTION: "b1 Pause", BY: BOB})
    said = refusal(lambda: patch(kube, space, untouched, editor(BOB), {ACTION: "b1 Pause", BY: ALICE}))
    assert OWN_NAME.format(BOB) in said
    assert FORMAT in refusal(lambda: patch(kube, space, untouched, editor(BOB), {REASON: "why not"}))


def test_an_admin_of_the_cluster_signs_too(kube: Kube, space: str, paused: str) -> None:
    who = json.loads(kube.run("auth", "whoami", "-o", "json"))["status"]["userInfo"]["username"]
    assert OWN_NAME.format(who) in refusal(lambda: patch(kube, space, paused, (), {ACTION: "x2 Resume"}))
    patch(kube, space, paused, (), {ACTION: "x2 Resume", BY: who})


def test_a_change_of_spec_and_labels_asks_for_no_name(kube: Kube, space: str, paused: str) -> None:
    patch(kube, space, paused, editor(BOB), {}, spec={"scaling": {"replicas": 3}})
    kube.run("label", "mdep", paused, "-n", space, "stage=test", "--dry-run=server", *editor(BOB))


def test_with_a_change_of_spec_the_action_is_still_looked_at(kube: Kube, space: str, paused: str) -> None:
    spec = {"scaling": {"replicas": 3}}
    said = refusal(lambda: patch(kube, space, paused, editor(BOB), {ACTION: "b2 Resume"}, spec=spec))
    assert OWN_NAME.format(BOB) in said


def test_the_status_takes_no_action(kube: Kube, space: str, untouched: str) -> None:
    """The way around the policy: a write to the status is not looked at, and leaves metadata alone."""
    change = json.dumps({"metadata": {"annotations": {ACTION: "x1 Pause"}}, "status": {"phase": "Idle"}})
    kube.run("patch", "mdep", untouched, "-n", space, "--subresource=status", "--type=merge", "-p", change)
    assert written(kube, space, untouched) == {}


def apply(kube: Kube, found: Object, *how: str) -> None:
    kube.run("apply", *how, "-f", "-", *editor(BOB), stdin=json.dumps(found))


@pytest.mark.parametrize(
    "how", [("--server-side", "--field-manager=argocd", "--force-conflicts"), ()], ids=["server-side", "client-side"]
)
def test_an_apply_from_git_leaves_the_action_as_it_is(kube: Kube, space: str, how: tuple[str, ...]) -> None:
    name = "applied" + "-here" * (not how)
    wanted = idle(space, name)
    del wanted["metadata"]["annotations"]
    apply(kube, wanted, *how)
    patch(kube, space, name, editor(ALICE), dict(SIGNED), for_real=True)
    wanted["metadata"]["labels"] = {"commit": "2"}
    apply(kube, wanted, *how)
    assert kube.get("mdep", name, space)["metadata"]["labels"] == {"commit": "2"}
    assert written(kube, space, name) == SIGNED


def test_a_replace_without_them_takes_all_three_away(kube: Kube, space: str, paused: str) -> None:
    found = idle(space, paused)
    kube.run("replace", "--dry-run=server", "-f", "-", *editor(BOB), stdin=json.dumps(found))


def test_a_creation_may_bring_an_action_along(kube: Kube, space: str) -> None:
    """As from a backup, with the names of those who acted then."""
    create(kube, idle(space, "restored", SIGNED), editor(BOB))
    assert written(kube, space, "restored") == SIGNED
    assert OWN_NAME.format(BOB) in refusal(lambda: patch(kube, space, "restored", editor(BOB), {REASON: "another"}))


def test_an_action_that_came_with_the_creation_in_any_shape_can_be_followed_by_one(kube: Kube, space: str) -> None:
    create(kube, idle(space, "odd", {ACTION: "  b1\tPause", BY: "", REASON: "\n"}), editor(BOB))
    patch(kube, space, "odd", editor(BOB), {ACTION: "b2 Resume", BY: BOB})
    said = refusal(lambda: patch(kube, space, "odd", editor(BOB), {ACTION: "b1 Resume", BY: BOB}))
    assert "(b1 is the old one)" in said


def test_the_api_server_finds_no_fault_in_the_expressions(kube: Kube) -> None:
    found = kube.get("validatingadmissionpolicy", "tidegate-actions")
    assert found["status"]["typeChecking"] == {}


# ---------------------------------------------------------------- what people may do


def allowed(kube: Kube, space: str, resource: str, user: str, *groups: str) -> set[str]:
    """The verbs that the API server's authorizer allows."""
    verbs = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
    name, _, subresource = resource.partition("/")
    about = {"namespace": space, "group": "models.tidegate.dev", "resource": name, "subresource": subresource}
    reviews = [
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": user, "groups": groups, "resourceAttributes": about | {"verb": verb}},
        }
        for verb in verbs
    ]
    listed = {"apiVersion": "v1", "kind": "List", "items": reviews}
    answers = kube.run("create", "-f", "-", "-o", 'jsonpath={.status.allowed}{"\\n"}', stdin=json.dumps(listed)).split()
    return {verb for verb, answer in zip(verbs, answers, strict=True) if answer == "true"}


READ, WRITE = {"get", "list", "watch"}, {"create", "update", "patch", "delete", "deletecollection"}
ROLES = [
    # resource, what a viewer may, what an editor may besides
    ("modeldeployments", READ, WRITE),
    ("modeldeployments/status", READ, set[str]()),
    ("modeldeployments/scale", {"get"}, {"update", "patch"}),
    ("modelrevisions", READ, set[str]()),
]


@pytest.mark.parametrize(("resource", "read", "write"), ROLES, ids=[row[0] for row in ROLES])
def test_the_clusters_own_roles_reach_models(
    kube: Kube, space: str, resource: str, read: set[str], write: set[str]
) -> None:
    assert allowed(kube, space, resource, VERA) == read
    assert allowed(kube, space, resource, ALICE, EDITORS) == read | write


def test_an_autoscaler_may_scale_a_model(kube: Kube, space: str) -> None:
    controller = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
    assert {"get", "update"} <= allowed(kube, space, "modeldeployments/scale", controller)


def test_an_editor_scales_a_model_with_kubectl_and_a_viewer_does_not(kube: Kube, space: str, paused: str) -> None:
    """Neither asks for a signed action."""
    scale = ("scale", "mdep", paused, "--replicas=2", "-n", space, "--dry-run=server")
    kube.run(*scale, *editor(BOB))
    assert 'cannot patch resource "modeldeployments/scale"' in refusal(lambda: kube.run(*scale, f"--as={VERA}"))


# ---------------------------------------------------------------- the operator, with more rights than its own


@pytest.fixture(scope="module")
def operator(kube: Kube, space: str) -> Iterator[As]:
    """An operator's account that may do everything with models, and the policy that holds it to the status.

    The policy is the chart's, rendered for a release of another name, whose account this is.
    """
    release = f"t-{uuid.uuid4().hex[:8]}"
    account = f"{release}-tidegate-operator"
    who = (f"--as=system:serviceaccount:{space}:{account}",)
    settings = ["image.registry=registry.invalid", "policies.actions=false", "policies.operatorStatusOnly=true"]
    command = ["helm", "template", release, str(CHART), "--namespace", space, "--kube-version", "1.37.0"]
    command += ["--show-only", "templates/policies.yaml", *(f"--set={setting}" for setting in settings)]
    policy = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    kube.run("create", "serviceaccount", account, "-n", space)
    kube.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "too-much", "namespace": space},
            "rules": [{"apiGroups": ["models.tidegate.dev"], "resources": ["*"], "verbs": ["*"]}],
        }
    )
    kube.run("create", "rolebinding", "too-much", "--role=too-much", f"--serviceaccount={space}:{account}", "-n", space)
    create(kube, idle(space, "watched"))
    try:
        kube.run("apply", "-f", "-", stdin=policy)
        wait_for("the policy in force", lambda: is_held(kube, space, who), 30)
        yield who
    finally:
        kube.run("delete", "--ignore-not-found", "-f", "-", stdin=policy)


STATUS_ONLY = "the operator may write the status of a ModelDeployment and nothing else of it"


def is_held(kube: Kube, space: str, who: As) -> bool:
    try:
        kube.run("label", "mdep", "watched", "-n", space, "a=b", "--dry-run=server", *who)
    except KubectlError as error:
        return STATUS_ONLY in str(error)
    return False


@pytest.mark.parametrize(
    "change",
    [
        {"spec": {"scaling": {"replicas": 1}}},
        {"metadata": {"labels": {"a": "b"}}},
        {"metadata": {"annotations": {"a": "b"}}},
        {"metadata": {"finalizers": ["example.com/stay"]}},
    ],
    ids=["spec", "labels", "annotations", "finalizers"],
)
def test_the_operator_is_refused_everything_but_the_status(
    kube: Kube, space: str, operator: As, change: dict[str, Any]
) -> None:
    wanted = json.dumps(change)
    said = refusal(lambda: kube.run("patch", "mdep", "watched", "-n", space, "--type=merge", "-p", wanted, *operator))
    assert STATUS_ONLY in said


def test_the_operator_may_neither_create_apply_nor_delete(kube: Kube, space: str, operator: As) -> None:
    assert STATUS_ONLY in refusal(lambda: create(kube, idle(space, "new"), operator))
    found = idle(space, "watched")
    found["metadata"]["labels"] = {"a": "b"}
    how = ("--server-side", "--force-conflicts", "-f", "-")
    assert STATUS_ONLY in refusal(lambda: kube.run("apply", *how, *operator, stdin=json.dumps(found)))
    assert STATUS_ONLY in refusal(lambda: kube.run("delete", "mdep", "watched", "-n", space, *operator))
    every = f"/apis/models.tidegate.dev/v1alpha1/namespaces/{space}/modeldeployments"
    assert STATUS_ONLY in refusal(lambda: kube.run("delete", "--raw", every, *operator))
    assert kube.find("mdep", "watched", space)


def test_the_operator_may_write_the_status(kube: Kube, space: str, operator: As) -> None:
    change = json.dumps({"status": {"phase": "Idle"}})
    how = ("--subresource=status", "--type=merge", "-p", change)
    kube.run("patch", "mdep", "watched", "-n", space, *how, *operator)


@pytest.mark.usefixtures("operator")
def test_nobody_else_is_held_to_the_status(kube: Kube, space: str) -> None:
    kube.run("label", "mdep", "watched", "-n", space, "a=b", *editor(BOB))
    operators = f"--as=system:serviceaccount:{SYSTEM}:tidegate-operator"
    assert STATUS_ONLY not in refusal(lambda: kube.run("label", "mdep", "watched", "-n", space, "c=d", operators))
