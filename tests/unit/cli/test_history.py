"""`tidegate history` against an API server that answers in plain JSON over HTTP."""

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pretended import Api, Object
from tidegate_cli.decisions import DecisionView
from tidegate_cli.main import main
from tidegate_cli.view import RevisionView, revision_view
from tidegate_contract.evidence import Arm
from tidegate_operator.core.evidence.tally import Reading, begin, hear
from tidegate_operator.kept import Kept, packed

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


JUDGED: Object = {
    "at": "2013-03-02T00:10:00Z",
    "what": "Rollback",
    "revision": "0a1b2c3d",
    "by": "tidegate",
    "why": "4e5f6a7b is rejected: 7 of 9 answers failed",
    "numbers": {
        "revision": "4e5f6a7b",
        "against": "0a1b2c3d",
        "trial": 2,
        "weight": 5,
        "errors": {
            "tried": {"requests": 9, "events": 7},
            "against": {"requests": 171, "events": 1},
            "harm": 5.41,
            "proof": -0.001,
        },
        "slow": {"tried": {"requests": 9}, "against": {"requests": 171, "events": 2}, "harm": 0.0, "proof": 0.3},
        "limits": {"harm": 5.298317, "proof": 2.995732},
    },
}
COUNTED = (
    "trial 2 at 5 of 100: 7 of 9 failed against 1 of 171 (harm 5.41 of 5.30, proof 0.00 of 3.00); "
    "? of 9 slow against 2 of 171 (harm 0.00 of 5.30, proof 0.30 of 3.00)"
)


def _trial(number: int, requests: int) -> Object:
    found = begin("4e5f6a7b", "0a1b2c3d", number, 0.01, 0.005, [])
    for look in range(1, requests + 1):
        found = hear(found, [Reading("r", 5, Arm(look, look), Arm(0))])
    return {"number": number, "against": "0a1b2c3d", "kept": packed(Kept("u1", found))}


def _judged() -> list[Object]:
    """The rollback is recorded where it led to, and also belongs to what was judged."""
    old = _revision("0a1b2c3d", "2013-03-01T00:00:00Z", "Stable", decisions=[JUDGED])
    begun = {"at": "2013-03-02T00:00:30Z", "what": "Rollout", "revision": "4e5f6a7b", "by": "tidegate", "why": "spec"}
    paused = {**begun, "at": "2013-03-02T00:05:00Z", "what": "Pause", "by": "ada", "why": "until Resume: lunch"}
    new = _revision("4e5f6a7b", "2013-03-02T00:00:00Z", "Rejected", decisions=[begun, paused])
    new["trials"] = [_trial(1, 1), _trial(2, 20), {"number": 3, "against": "0a1b2c3d", "kept": "?"}]
    return [old, new]


def test_what_was_decided_from_a_revisions_requests_is_told_with_it_and_its_numbers(api: Api) -> None:
    api.revisions = _judged()
    assert _history("flights").output.splitlines() == [
        "4e5f6a7b  Rejected since 2013-03-05T00:00:00Z",
        f"      digest   {DIGEST}",
        "      image    tidegate-server:0.1.0",
        "      trials   1 against 0a1b2c3d, 1 entry; 2 against 0a1b2c3d, 20 entries; 3 against 0a1b2c3d, which cannot "
        "be read",
        "      2013-03-02T00:00:30Z  Rollout by tidegate: spec",
        "      2013-03-02T00:05:00Z  Pause by ada: until Resume: lunch",
        "      2013-03-02T00:10:00Z  Rollback to 0a1b2c3d by tidegate: 4e5f6a7b is rejected: 7 of 9 answers failed",
        f"          {COUNTED}",
        "0a1b2c3d  Stable since 2013-03-05T00:00:00Z",
        f"      digest   {DIGEST}",
        "      image    tidegate-server:0.1.0",
        "      2013-03-02T00:10:00Z  Rollback by tidegate: 4e5f6a7b is rejected: 7 of 9 answers failed",
        f"          4e5f6a7b, {COUNTED}",
    ]


def test_one_revision_alone(api: Api) -> None:
    api.revisions = found = _judged()
    assert json.loads(_history("flights", "--revision", "4e5f6a7b", "-o", "json").stdout) == {"revisions": [found[1]]}
    text = _history("flights", "--revision", "4e5f6a7b").output
    assert "Rollback to 0a1b2c3d" in text, "it is recorded with the other one"
    assert "Stable since" not in text


def test_a_revision_that_is_not_kept_is_said(api: Api) -> None:
    api.revisions = _judged()
    result = _history("flights", "--revision", "99999999")
    assert result.exit_code == 1
    assert result.output == "Error: no ModelRevision 99999999 of ml/flights: `tidegate history flights` has all\n"
