"""`tidegate pause`, `approve`, `rollback` and the like against an API server that answers in plain JSON over HTTP."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pretended import Api, Object
from tidegate_cli.act import _fresh_id
from tidegate_cli.main import main
from tidegate_contract.actions import ACTION, ACTION_BY, ACTION_REASON, parse

MODEL_PATH = "/apis/models.tidegate.dev/v1alpha1/namespaces/ml/modeldeployments/flights"
REVIEW_PATH = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
POLICY = "x is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' denied request: a new id"
ID = r"\d{8}-\d{6}-[0-9a-f]{4}"


@pytest.fixture(autouse=True)
def model(api: Api, monkeypatch: pytest.MonkeyPatch) -> Object:
    monkeypatch.setattr("tidegate_cli.act._WAIT_SECONDS", 0.3)
    monkeypatch.setattr("tidegate_cli.act._POLL_SECONDS", 0.02)
    api.models["flights"] = {"metadata": {"namespace": "ml", "name": "flights"}}
    return api.models["flights"]


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def _operator(outcome: str, message: str) -> Callable[[Object], None]:
    def answer(model: Object) -> None:
        action = parse(model["metadata"]["annotations"])
        assert action is not None
        model["status"] = {"action": {"id": action.id, "verb": action.verb, "outcome": outcome, "message": message}}

    return answer


@pytest.mark.parametrize(
    ("arguments", "action"),
    [
        (("pause", "flights"), "Pause"),
        (("resume", "flights"), "Resume"),
        (("approve", "flights"), "Approve"),
        (("promote", "flights"), "Promote"),
        (("abort", "flights"), "Abort"),
        (("rollback", "flights"), "Rollback"),
        (("rollback", "flights", "0a1b2c3d"), "Rollback 0a1b2c3d"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_an_action_is_three_annotations_in_the_name_of_the_caller(
    arguments: tuple[str, ...], action: str, api: Api
) -> None:
    api.on_patch = _operator("Obeyed", "done")
    result = _run(*arguments, "--reason", "late by an hour")
    assert result.exit_code == 0, result.output
    assert api.asked == [f"POST {REVIEW_PATH}", f"PATCH {MODEL_PATH} fieldManager=tidegate-cli", MODEL_PATH]
    [(content_type, body)] = api.patches
    written = body["metadata"]["annotations"]
    assert content_type == "application/merge-patch+json"
    assert body == {"metadata": {"annotations": written}}
    assert re.fullmatch(f"{ID} {action}", written[ACTION])
    assert written == {ACTION: written[ACTION], ACTION_BY: "ada", ACTION_REASON: "late by an hour"}
    verb, action_id = action.split()[0], written[ACTION].split()[0]
    assert result.stdout == f"ml/flights: {verb} asked for by ada, id {action_id}\nObeyed: done\n"


def test_a_reason_that_is_not_given_leaves_none_of_an_earlier_action(api: Api) -> None:
    _run("pause", "flights", "--no-wait")
    assert api.patches[0][1]["metadata"]["annotations"][ACTION_REASON] == ""


@pytest.mark.parametrize("outcome", ["Refused", "Ignored"])
def test_what_is_not_obeyed_is_1_with_the_operators_words(outcome: str, api: Api) -> None:
    api.on_patch = _operator(outcome, "there is nothing to go back to; see `tidegate history flights`")
    result = _run("rollback", "flights")
    assert result.exit_code == 1
    assert result.stderr == f"Error: {outcome}: there is nothing to go back to; see `tidegate history flights`\n"


def test_the_answer_to_another_action_is_not_taken_for_this_ones(api: Api, model: Object) -> None:
    model["status"] = {"action": {"id": "1", "verb": "Pause", "outcome": "Obeyed", "message": "long ago"}}
    result = _run("pause", "flights")
    assert (result.exit_code, "long ago" in result.output) == (1, False)


def test_an_operator_that_does_not_answer_is_said_and_the_action_stands(api: Api, model: Object) -> None:
    result = _run("pause", "flights")
    assert result.exit_code == 1
    assert "has not answered within 0.3 s" in result.stderr
    assert ACTION in model["metadata"]["annotations"]


@pytest.mark.parametrize("other", [{ACTION: "2 Resume"}, {}], ids=["another action", "a withdrawal"])
def test_an_action_that_was_replaced_is_not_waited_for(other: dict[str, str], api: Api) -> None:
    def replace(model: Object) -> None:
        model["metadata"]["annotations"] = other

    api.on_patch = replace
    result = _run("pause", "flights")
    assert (result.exit_code, "took the place of this one" in result.stderr) == (1, True)


def test_without_waiting_nothing_is_read(api: Api) -> None:
    result = _run("pause", "flights", "-n", "other", "--no-wait")
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in api.asked] == ["POST", "PATCH"]
    assert api.asked[1].startswith(f"PATCH {MODEL_PATH.replace('/ml/', '/other/')} ")
    assert "`tidegate status flights -n other` shows what becomes of it" in result.stdout


def test_a_revision_that_is_none_is_2_and_nobody_is_asked(api: Api) -> None:
    result = _run("rollback", "flights", "v1")
    assert (result.exit_code, "must be eight hex digits" in result.stderr, api.asked) == (2, True, [])


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        ({"selfsubjectreviews": (403, "")}, "may not ask who they are"),
        ({"selfsubjectreviews": (404, "")}, "older than Kubernetes 1.28"),
        ({"PATCH": (403, 'modeldeployments "flights" is forbidden: User "ada" cannot patch')}, "right to patch them"),
        (
            {"PATCH": (403, POLICY)},
            "policy of the cluster forbids it: a new id\n",
        ),
        (
            {"PATCH": (422, POLICY)},
            "policy of the cluster forbids it: a new id\n",
        ),
        ({"PATCH": (400, 'admission webhook "w" denied the request: not on Fridays')}, ": not on Fridays\n"),
        ({"PATCH": (500, "")}, "answered 500"),
        ({"": (401, "")}, "renew the kubeconfig"),
    ],
    ids=[
        "no review",
        "old",
        "no right",
        "a policy",
        "a policy, invalid",
        "a webhook",
        "broken",
        "expired",
    ],
)
def test_a_refusal_of_the_api_server_is_one_sentence(refused: dict[str, Any], words: str, api: Api) -> None:
    api.refused = refused
    result = _run("pause", "flights")
    assert (result.exit_code, words in result.stderr, len(result.output.splitlines())) == (1, True, 1), result.output


def test_who_has_no_name_cannot_act(api: Api) -> None:
    api.user = {}
    result = _run("pause", "flights")
    assert (result.exit_code, "does not say who you are" in result.stderr, api.patches) == (1, True, [])


def test_a_model_that_is_not_there_is_said(api: Api) -> None:
    result = _run("pause", "other")
    assert (result.exit_code, "no ModelDeployment ml/other" in result.stderr) == (1, True)


def test_two_ids_of_the_same_second_differ_and_have_the_form_that_is_taken() -> None:
    found = {_fresh_id() for _ in range(5)}
    assert len(found) == 5
    assert all(re.fullmatch(ID, one) for one in found)
