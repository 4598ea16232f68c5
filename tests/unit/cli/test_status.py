"""`tidegate status` against an API server that answers in plain JSON over HTTP."""

import json
from pathlib import Path
from typing import Any

import certifi
import pytest
from click.testing import CliRunner, Result

from pretended import Api, write_kubeconfig
from tidegate_cli.cluster import connect
from tidegate_cli.main import main
from tidegate_cli.view import ActionView, CandidateView, ConditionView, EventView, ModelView, view

MODEL: dict[str, Any] = {
    "metadata": {"namespace": "ml", "name": "flights", "uid": "u1", "generation": 3},
    "spec": {"model": {"uri": "oci://registry.example.com/flights:1"}},
    "status": {
        "observedGeneration": 3,
        "phase": "Idle",
        "url": "http://flights.ml.svc",
        "stable": {"revision": "abc123"},
        "revision": "def456",
        "replicas": 2,
        "conditions": [
            {
                "type": "Ready",
                "status": "False",
                "reason": "DigestMismatch",
                "message": "the bundle is sha256:1, and sha256:2 was asked for",
                "observedGeneration": 3,
                "lastTransitionTime": "2013-03-01T00:00:00Z",
            },
            {"type": "Degraded", "status": "True", "reason": "DigestMismatch", "message": "m", "observedGeneration": 2},
        ],
    },
}
EVENTS: list[dict[str, Any]] = [
    {"type": "Normal", "reason": "Later", "message": "b", "lastTimestamp": "2013-03-01T00:02:00Z", "count": 3},
    {"type": "Warning", "reason": "Sooner", "message": "a", "eventTime": "2013-03-01T00:01:00.000000Z"},
]


def test_a_view_says_all_that_the_object_says() -> None:
    assert view(MODEL, EVENTS) == ModelView(
        namespace="ml",
        name="flights",
        uri="oci://registry.example.com/flights:1",
        url="http://flights.ml.svc",
        phase="Idle",
        stable="abc123",
        revision="def456",
        replicas="2",
        ready="False",
        reason="DigestMismatch",
        observed=True,
        conditions=(
            ConditionView(
                "Ready",
                "False",
                "DigestMismatch",
                "the bundle is sha256:1, and sha256:2 was asked for",
                "2013-03-01T00:00:00Z",
                True,
            ),
            ConditionView("Degraded", "True", "DigestMismatch", "m", "?", False),
        ),
        events=(
            EventView("2013-03-01T00:01:00.000000Z", "Warning", "Sooner", "a", 1),
            EventView("2013-03-01T00:02:00Z", "Normal", "Later", "b", 3),
        ),
    )


@pytest.mark.parametrize(
    "model",
    [{}, {"metadata": {"name": "x"}}, {"status": None}, {"status": {"conditions": [None, {}, "?"]}}, {"spec": "?"}],
    ids=["empty", "just made", "null", "broken conditions", "a spec that is none"],
)
def test_what_is_absent_is_unknown_and_no_error(model: dict[str, Any]) -> None:
    seen = view(model)
    assert (seen.ready, seen.reason, seen.phase, seen.observed) == ("Unknown", "?", "?", False)


def _status(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["status", *arguments], env={"COLUMNS": "160"})


GROUP = "/apis/models.tidegate.dev/v1alpha1"


@pytest.fixture(autouse=True)
def _flights(api: Api) -> None:
    api.models["flights"] = MODEL
    api.events = EVENTS


def test_one_model_with_its_conditions_and_events(api: Api) -> None:
    result = _status("flights")
    assert result.exit_code == 0, result.output
    for words in ("ml/flights", "DigestMismatch", "abc123", "def456", "(of an older spec) m", "Sooner", "Later (x3)"):
        assert words in result.output
    assert api.asked == [
        f"{GROUP}/namespaces/ml/modeldeployments/flights",
        "/api/v1/namespaces/ml/events fieldSelector=involvedObject.kind=ModelDeployment,involvedObject.uid=u1",
    ]


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ((), f"{GROUP}/namespaces/ml/modeldeployments"),
        (("-n", "other"), f"{GROUP}/namespaces/other/modeldeployments"),
        (("-A",), f"{GROUP}/modeldeployments"),
        (("--context", "test"), f"{GROUP}/namespaces/ml/modeldeployments"),
    ],
    ids=["the context's namespace", "another namespace", "all namespaces", "a context by name"],
)
def test_a_list_of_models(arguments: tuple[str, ...], path: str, api: Api) -> None:
    result = _status(*arguments)
    assert result.exit_code == 0, result.output
    assert api.asked == [path]
    assert result.output.split() == [
        *("NAMESPACE", "NAME", "READY", "STABLE", "CANDIDATE", "PHASE", "REASON", "REPLICAS"),
        *("ml", "flights", "False", "abc123", "-", "Idle", "DigestMismatch", "2"),
    ]


def test_a_model_is_shown_to_who_may_not_read_events(api: Api) -> None:
    api.refused = {"events": (403, "")}
    result = _status("flights")
    assert result.exit_code == 0, result.output
    assert "DigestMismatch" in result.output
    assert "events unknown: these credentials may not read Events" in result.output
    assert json.loads(_status("flights", "-o", "json").output) == {"model": MODEL, "events": None}


def test_in_a_pod_the_namespace_is_that_of_its_service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in {"token": "t0", "ca.crt": Path(certifi.where()).read_text(), "namespace": "ml\n"}.items():
        (tmp_path / name).write_text(content)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    monkeypatch.setattr("kubernetes.config.incluster_config.SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr("kubernetes.config.incluster_config.SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    monkeypatch.setattr("tidegate_cli.cluster._POD_NAMESPACE", tmp_path / "namespace")
    assert connect(None).namespace == "ml"


def test_json_is_the_objects_own(api: Api) -> None:
    assert json.loads(_status("flights", "-o", "json").output) == {"model": MODEL, "events": EVENTS}
    assert json.loads(_status("-o", "json").output) == {"models": [MODEL]}


def test_no_models_is_said(api: Api) -> None:
    api.models = {}
    assert _status().output == "no ModelDeployments in namespace ml\n"


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "renew the kubeconfig"), (403, "may not read"), (404, "install tidegate"), (500, "answered 500")],
)
def test_a_refusal_of_the_api_server_is_one_sentence(status: int, words: str, api: Api) -> None:
    api.refused = {"": (status, "")}
    result = _status()
    assert (result.exit_code, words in result.output, len(result.output.splitlines())) == (1, True, 1)


def test_a_model_that_is_not_there_is_said(api: Api) -> None:
    result = _status("other")
    assert (result.exit_code, "no ModelDeployment ml/other" in result.output) == (1, True)


def test_a_context_that_is_not_there_is_said(api: Api) -> None:
    result = _status("--context", "nope")
    assert (result.exit_code, "no context 'nope'" in result.output) == (1, True)


def test_a_server_that_does_not_answer_is_said(api: Api, tmp_path: Path) -> None:
    write_kubeconfig(tmp_path / "config", "http://127.0.0.1:1")
    result = _status()
    assert (result.exit_code, "cannot be reached" in result.output) == (1, True)


def test_no_kubeconfig_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    result = _status()
    assert (result.exit_code, "no usable kubeconfig" in result.output) == (1, True)


SYNC: dict[str, Any] = {
    "type": "SpecInSync",
    "status": "False",
    "reason": "RolledBack",
    "message": 'set spec.model.uri to "oci://r/flights:1" [/x]',
    "observedGeneration": 3,
}
DECISIONS = [
    {"at": "2013-03-01T00:00:00Z", "what": "Promote", "revision": "def456", "by": "operator", "why": "ready"},
    {"at": "2013-03-02T00:00:00Z", "what": "Rollback", "revision": "abc123", "by": "ada", "why": "late [/x]"},
]
ANSWER = {"id": "7", "verb": "Rollback", "outcome": "Refused", "message": "nothing to go back to"}


def _with(**status: Any) -> dict[str, Any]:
    return {**MODEL, "status": {**MODEL["status"], **status}}


def test_a_view_says_what_people_did_and_what_git_does_not_know() -> None:
    seen = view(_with(paused=True, decisions=DECISIONS, conditions=[SYNC], action=ANSWER))
    assert (seen.paused, seen.turning, seen.decision, seen.action, seen.out_of_sync) == (
        True,
        True,
        "Rollback abc123 by ada at 2013-03-02T00:00:00Z: late [/x]",
        ActionView("7", "Rollback", "Refused", "nothing to go back to"),
        ConditionView("SpecInSync", "False", "RolledBack", SYNC["message"], "?", True),
    )


@pytest.mark.parametrize(
    ("status", "turning"),
    [({"revision": "abc123"}, False), ({"revision": None}, False), ({"stable": None}, False), ({}, True)],
    ids=["what is wanted serves", "nothing is known to be wanted", "nothing serves", "another one serves"],
)
def test_only_a_known_difference_is_one(status: dict[str, Any], turning: bool) -> None:
    assert view(_with(**status)).turning is turning


def test_one_model_with_what_people_did(api: Api) -> None:
    api.models["flights"] = _with(paused=True, decisions=DECISIONS, conditions=[SYNC], action=ANSWER)
    result = _status("flights")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert [line for line in lines if line.startswith(("wanted", "paused", "in sync", "decision", "action"))] == [
        "wanted    def456 (not what serves)",
        "paused    by an action; `tidegate resume` ends it",
        'in sync   False RolledBack: set spec.model.uri to "oci://r/flights:1" [/x]',
        "decision  Rollback abc123 by ada at 2013-03-02T00:00:00Z: late [/x]",
        "action    Rollback Refused (7): nothing to go back to",
    ]
    assert result.output.count("RolledBack") == 1


def test_of_what_nobody_did_nothing_is_said(api: Api) -> None:
    api.models["flights"] = _with(revision="abc123", conditions=[{**SYNC, "status": "True", "reason": "InSync"}])
    result = _status("flights")
    assert result.exit_code == 0, result.output
    assert not [word for word in ("paused", "in sync", "decision", "action", "not what") if word in result.output]
    assert "SpecInSync" in result.output


CANDIDATE: dict[str, Any] = {"revision": "def456", "step": 3, "weight": 5, "since": "2013-03-02T00:00:00Z"}
APPROVE = {"type": "Progressing", "status": "True", "reason": "AwaitingApproval", "message": "m"}


def _rolling(rollout: Any, candidate: dict[str, Any], **status: Any) -> dict[str, Any]:
    spec = {**MODEL["spec"], "rollout": rollout}
    return {**_with(candidate=candidate, **status), "spec": spec}


@pytest.mark.parametrize(
    ("rollout", "steps"),
    [
        ({"strategy": "Canary", "steps": [{"weight": 5}, {"approval": {}}]}, 2),
        ({"strategy": "Canary"}, 3),
        ({"strategy": "Auto"}, None),
        ({"strategy": "BlueGreen"}, 1),
        ({"strategy": "Later"}, None),
        ({"strategy": ["Canary"], "steps": "7"}, None),
        ({}, None),
        (None, None),
    ],
    ids=[
        "as written",
        "by default",
        "of Auto, where none were chosen yet",
        "of BlueGreen",
        "of a later strategy",
        "of something else",
        "of none",
        "null",
    ],
)
def test_how_many_steps_there_are_is_known_where_spec_says_it(rollout: Any, steps: int | None) -> None:
    found = view(_rolling(rollout, CANDIDATE)).candidate
    assert found == CandidateView("def456", "5", 3, steps, "2013-03-02T00:00:00Z")


@pytest.mark.parametrize(
    ("behind", "steps", "at"),
    [
        (0, 8, "at step 1 of 8"),
        (7, 8, "at step 8 of 8"),
        (8, 8, "past its last step"),
        (3, None, "at step 4"),
        (None, 8, "at an unknown step"),
    ],
)
def test_how_far_a_candidate_is_in_words(behind: int | None, steps: int | None, at: str) -> None:
    assert CandidateView("def456", "5", behind, steps, "?").at == at


def test_a_candidate_that_says_little_is_no_error() -> None:
    assert view(_rolling("?", {"revision": "def456"})).candidate == CandidateView("def456", "?", None, None, "?")


@pytest.mark.parametrize(
    ("conditions", "goes_on"),
    [([APPROVE], "; `tidegate approve flights -n ml` goes on"), ([{**APPROVE, "reason": "ShiftingTraffic"}], "")],
    ids=["waiting for a person", "on its way"],
)
def test_one_model_with_a_candidate_and_how_it_goes_on(
    conditions: list[dict[str, Any]], goes_on: str, api: Api
) -> None:
    steps = [{"weight": 5}, {"approval": {}}] * 4
    api.models["flights"] = _rolling({"strategy": "Canary", "steps": steps}, CANDIDATE, conditions=conditions)
    result = _status("flights")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert [line for line in lines if line.startswith(("stable", "candidate", "wanted"))] == [
        "stable    abc123",
        f"candidate def456 gets 5 of 100 requests, at step 4 of 8 since 2013-03-02T00:00:00Z{goes_on}",
        "wanted    def456 (the candidate)",
    ]


@pytest.mark.parametrize(
    ("requests", "more"),
    [(1310, ", 1,310 more requests of its own"), (0, ""), ("many", "")],
    ids=["that many", "time alone", "nobody knows how many"],
)
def test_one_model_with_when_its_step_will_have_seen_enough(requests: Any, more: str, api: Api) -> None:
    due = {"at": "2013-03-02T00:09:00Z", "requests": requests, "asOf": "2013-03-02T00:01:00Z"}
    api.models["flights"] = _rolling({"strategy": "Canary"}, CANDIDATE, nextCheck=due)
    line = next(line for line in _status("flights").output.splitlines() if line.startswith("next"))
    assert line == f"next      it has seen enough at about 2013-03-02T00:09:00Z{more}; as of 2013-03-02T00:01:00Z"


def test_a_list_shows_candidates_and_their_weights(api: Api) -> None:
    api.models["flights"] = _rolling({"strategy": "Canary"}, CANDIDATE)
    assert _status().output.splitlines()[1].split() == (
        ["ml", "flights", "False", "abc123", "def456", "5%", "Idle", "DigestMismatch", "2"]
    )
