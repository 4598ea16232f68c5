"""`tidegate history` against an API server that answers in plain JSON over HTTP."""

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pretended import Api, Object
from tidegate_cli.decisions import DecisionView
from tidegate_cli.main import main
from tidegate_cli.view import RevisionView, revision_view

PATH = "/apis/models.tidegate.dev/v1alpha1/namespaces/ml/modelrevisions labelSelector=models.tidegate.dev/model=flights"
DIGEST = "sha256:" + "5f" * 32


def _revision(name: str, made: str, role: str = "Superseded", **record: Any) -> Object:
    return {
        "metadata": {"name": f"flights-{name}", "creationTimestamp": made},
        "spec": {"revision": name, "digest": DIGEST, "image": "tidegate-server:0.1.0", "uri": "oci://r/flights:1"},
        "record": {"role": role, "since": "2013-03-05T00:00:00Z", **record},
    }


OLD = _revision("0a1b2c3d", "2013-03-01T00:00:00Z", "Stable")
NEW = _revision(
    "4e5f6a7b",
    "2013-03-02T00:00:00Z",
    "Rejected",
    verdict={"result": "Rejected", "reason": "GoldenMismatch", "at": "2013-03-02T00:10:00Z"},
    decisions=[
        {"at": "2013-03-02T00:00:30Z", "what": "Prepare", "revision": "4e5f6a7b", "by": "operator", "why": "spec"},
        {"at": "2013-03-02T00:10:00Z", "what": "Rollback", "revision": "0a1b2c3d", "by": "ada", "why": "late [/x]"},
    ],
)


def _history(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["history", *arguments], env={"COLUMNS": "40"})


def test_a_view_says_all_that_the_object_says() -> None:
    assert revision_view(NEW) == RevisionView(
        revision="4e5f6a7b",
        role="Rejected",
        since="2013-03-05T00:00:00Z",
        digest=DIGEST,
        image="tidegate-server:0.1.0",
        verdict="Rejected at 2013-03-02T00:10:00Z: GoldenMismatch",
        decisions=(
            DecisionView("2013-03-02T00:00:30Z", "Prepare", "4e5f6a7b", "operator", "spec"),
            DecisionView("2013-03-02T00:10:00Z", "Rollback", "0a1b2c3d", "ada", "late [/x]"),
        ),
        known_since="2013-03-02T00:00:00Z",
    )


@pytest.mark.parametrize(
    "item",
    [
        {},
        {"record": None, "spec": "?"},
        {"record": {"verdict": "?", "decisions": None}},
        {"record": {"decisions": [0]}, "trials": 7},
    ],
    ids=["empty", "broken", "half", "broken decisions"],
)
def test_what_is_absent_is_unknown_and_no_error(item: Object) -> None:
    assert revision_view(item) == RevisionView("?", "?", "?", "?", "?", "", (), "")


def test_the_newest_revision_is_first_with_all_that_was_decided(api: Api) -> None:
    api.revisions = [OLD, NEW]
    result = _history("flights")
    assert result.exit_code == 0, result.output
    assert api.asked == [PATH]
    assert result.output.splitlines() == [
        "4e5f6a7b  Rejected since 2013-03-05T00:00:00Z",
        f"      digest   {DIGEST}",
        "      image    tidegate-server:0.1.0",
        "      verdict  Rejected at 2013-03-02T00:10:00Z: GoldenMismatch",
        "      2013-03-02T00:00:30Z  Prepare by operator: spec",
        "      2013-03-02T00:10:00Z  Rollback to 0a1b2c3d by ada: late [/x]",
        "0a1b2c3d  Stable since 2013-03-05T00:00:00Z",
        f"      digest   {DIGEST}",
        "      image    tidegate-server:0.1.0",
    ]


def test_after_a_restore_the_order_is_the_old_one(api: Api) -> None:
    restored = "2013-04-01T00:00:0{}Z"
    first = _revision("ffffffff", restored.format(2), since="2013-03-01T00:00:00Z")
    second = _revision("00000000", restored.format(1), since="2013-03-02T00:00:00Z")
    api.revisions = [first, second]
    found = json.loads(_history("flights", "-o", "json").stdout)
    assert found == {"revisions": [second, first]}


def test_a_model_without_revisions_is_said(api: Api) -> None:
    result = _history("flights")
    assert result.output == "no ModelRevisions of ml/flights; `tidegate status -n ml` lists the models\n"


@pytest.mark.parametrize(
    ("status", "words"), [(403, "may not read ModelRevisions"), (404, "does not know ModelRevisions")]
)
def test_a_refusal_of_the_api_server_is_one_sentence(status: int, words: str, api: Api) -> None:
    api.refused = {"modelrevisions": (status, "")}
    result = _history("flights")
    assert (result.exit_code, words in result.output, len(result.output.splitlines())) == (1, True, 1)
