"""`tidegate replay`: from a cluster or from a file, what was decided follows from what is kept, or it does not."""

import base64
import copy
import json
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from click.testing import CliRunner, Result

from pretended import Api, Object
from rollouts import NEW, OLD
from tidegate_cli.main import main
from tidegate_contract.evidence import Arm
from tidegate_operator.core.evidence.tally import Reading, Tally, begin, hear, meaning
from tidegate_operator.kept import Kept, packed

BEGAN = datetime(2026, 11, 24, 14, 0, tzinfo=UTC)


def trial(number: int, failed: int = 20) -> Tally:
    """All of its answers failed."""
    found = begin(NEW, OLD, number, 0.01, 0.005, [Reading("r", 0, Arm(0), Arm(0))])
    for look in range(1, failed + 1):
        found = hear(found, [Reading("r", 5, Arm(look, look), Arm(look * 19))])
    return found


def kept(tally: Tally) -> Object:
    return {"number": tally.trial, "against": OLD, "kept": packed(Kept("u1", tally, BEGAN))}


def decision(what: str, at: str, revision: str, why: str, tally: Tally | None) -> Object:
    told = {"at": f"2026-11-24T{at}Z", "what": what, "revision": revision, "by": "tidegate", "why": why}
    return told | ({"numbers": msgspec.to_builtins(meaning(tally).numbers)} if tally else {})


def revision(name: str, decisions: list[Object], trials: list[Object]) -> Object:
    return {
        "apiVersion": "models.tidegate.dev/v1alpha1",
        "kind": "ModelRevision",
        "metadata": {"name": f"flights-{name}"},
        "spec": {"model": "flights", "revision": name},
        "record": {"role": "Superseded", "since": "2026-11-24T14:00:00Z", "decisions": decisions},
        "trials": trials,
    }


FIRST, SECOND = trial(1), trial(2)
STRIKE = decision("Strike", "14:01:00", NEW, meaning(FIRST).harm, FIRST)
ROLLBACK = decision("Rollback", "14:02:00", OLD, f"{NEW} is rejected: {meaning(SECOND).harm}", SECOND)
BEGUN = decision("Rollout", "14:00:00", NEW, "spec asks for it", None)
EQUAL = [
    f"equal      2026-11-24T14:01:00Z  Strike {NEW}, from trial 1 of {NEW}, 20 entries",
    f"equal      2026-11-24T14:02:00Z  Rollback {OLD}, from trial 2 of {NEW}, 20 entries",
    "2 equal, 0 not equal, 0 not kept",
]


@pytest.fixture
def revisions() -> list[Object]:
    found = [revision(OLD, [ROLLBACK], []), revision(NEW, [BEGUN, STRIKE], [kept(FIRST), kept(SECOND)])]
    return copy.deepcopy(found)


def _replay(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["replay", "flights", *arguments])


def test_from_a_cluster(api: Api, revisions: list[Object]) -> None:
    api.revisions = revisions
    result = _replay()
    assert (result.exit_code, result.output.splitlines()) == (0, EQUAL)


@pytest.mark.parametrize(
    "write",
    [
        lambda items: json.dumps({"apiVersion": "v1", "kind": "List", "items": items}),
        lambda items: json.dumps({"revisions": items}),
        lambda items: yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": items}),
        yaml.safe_dump_all,
    ],
    ids=["kubectl's JSON", "history's JSON", "kubectl's YAML", "one after another"],
)
def test_from_a_file_without_any_cluster(
    write: Any, revisions: list[Object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    other = revision(THIRD, [STRIKE], [])
    other["spec"]["model"] = "trains"
    (tmp_path / "record").write_text(write([*revisions, other]))
    result = _replay("--file", str(tmp_path / "record"))
    assert (result.exit_code, result.output.splitlines()) == (0, EQUAL)


THIRD = "0a1b2c3d"


def test_one_object_alone_is_a_file_too(revisions: list[Object], tmp_path: Path) -> None:
    (tmp_path / "record").write_text(json.dumps(revisions[1]))
    result = _replay("--file", str(tmp_path / "record"))
    assert (result.exit_code, result.output.splitlines()) == (0, [EQUAL[0], "1 equal, 0 not equal, 0 not kept"])


@pytest.mark.parametrize(("name", "lines"), [(NEW, EQUAL[:2]), (OLD, EQUAL[1:2])])
def test_one_revision_is_what_was_decided_about_it_and_from_it(
    name: str, lines: list[str], api: Api, revisions: list[Object]
) -> None:
    api.revisions = revisions
    assert _replay("--revision", name).output.splitlines()[:-1] == lines


def test_a_number_that_was_altered_is_not_equal_with_both_numbers(api: Api, revisions: list[Object]) -> None:
    revisions[1]["record"]["decisions"][1]["numbers"]["errors"]["tried"]["events"] = 19
    api.revisions = revisions
    result = _replay()
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        f"not equal  2026-11-24T14:01:00Z  Strike {NEW}, from trial 1 of {NEW}, 20 entries",
        "           errors.tried.events: the decision says 19, the record 20",
        EQUAL[1],
        "1 equal, 1 not equal, 0 not kept",
    ]


def test_a_decision_that_its_record_does_not_allow_is_not_equal(api: Api, revisions: list[Object]) -> None:
    revisions[1]["record"]["decisions"] = [decision("Strike", "14:01:00", NEW, "it failed", trial(1, failed=2))]
    api.revisions = revisions
    result = _replay("--revision", NEW)
    assert (result.exit_code, result.output.splitlines()[0]) == (
        1,
        f"not equal  2026-11-24T14:01:00Z  Strike {NEW}, from trial 1 of {NEW}, 2 entries: "
        "the record has not so much evidence of harm",
    )


def test_a_record_that_was_altered_is_not_equal(api: Api, revisions: list[Object]) -> None:
    found = json.loads(zlib.decompress(base64.b64decode(revisions[1]["trials"][0]["kept"])))
    assert found["tally"]["entries"][3] == ["errors", 5, 5, 1, 1, 19, 0]
    found["tally"]["entries"][3][4] = 0
    revisions[1]["trials"][0]["kept"] = base64.b64encode(zlib.compress(json.dumps(found).encode())).decode()
    api.revisions = revisions
    result = _replay()
    assert result.exit_code == 1
    assert "errors.tried.events: the decision says 20, the record 19" in result.output


def test_what_is_not_kept_is_said_and_no_failure(api: Api, revisions: list[Object]) -> None:
    revisions[1]["trials"] = [kept(trial(1, failed=5))]
    api.revisions = revisions
    result = _replay()
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        f"not kept   2026-11-24T14:01:00Z  Strike {NEW}, from trial 1 of {NEW}, 20 entries: the record ends after 5 of "
        "20 entries: the operator ended before it could keep the rest",
        f"not kept   2026-11-24T14:02:00Z  Rollback {OLD}, from trial 2 of {NEW}, 20 entries: trial 2 of {NEW} is not "
        "there: only the last three of a version are kept, and none that had no requests",
        "0 equal, 0 not equal, 2 not kept",
    ]


def test_a_record_that_cannot_be_read_is_not_equal(api: Api, revisions: list[Object]) -> None:
    revisions[1]["trials"][0]["kept"] = "????"
    api.revisions = revisions
    result = _replay()
    assert (result.exit_code, "the record of trial 1 cannot be read: " in result.output) == (1, True)


def test_a_decision_that_cannot_be_read_is_not_equal(api: Api, revisions: list[Object]) -> None:
    revisions[0]["record"]["decisions"] = [{**ROLLBACK, "numbers": {"revision": NEW}}]
    api.revisions = revisions
    result = _replay()
    assert result.exit_code == 1
    assert "not equal  2026-11-24T14:02:00Z Rollback: Object missing required field" in result.output
    assert result.output.splitlines()[-1] == "1 equal, 1 not equal, 0 not kept"


def test_decisions_without_numbers_are_none_to_calculate(api: Api) -> None:
    api.revisions = [revision(NEW, [BEGUN], [])]
    result = _replay()
    assert (result.exit_code, result.output) == (0, "no decision has numbers: no requests were compared\n")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "neither JSON nor YAML"),
        ("a: [", "neither JSON nor YAML"),
        ("{}", "there are no ModelRevisions of flights in"),
    ],
    ids=["broken JSON", "broken YAML", "nothing"],
)
def test_a_file_that_is_none_is_said(content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "record").write_text(content)
    result = _replay("--file", str(tmp_path / "record"))
    assert (result.exit_code, words in result.output) == (1, True), result.output


def test_a_file_needs_no_cluster(tmp_path: Path) -> None:
    (tmp_path / "record").write_text("{}")
    assert _replay("--file", str(tmp_path / "record"), "--context", "kind").exit_code == 2


def test_a_file_of_several_namespaces_is_asked_for_one_of_them(revisions: list[Object], tmp_path: Path) -> None:
    here = [{**item, "metadata": {**item["metadata"], "namespace": "ml"}} for item in revisions]
    there = [{**item, "metadata": {**item["metadata"], "namespace": "shop"}, "trials": []} for item in revisions]
    (tmp_path / "record").write_text(json.dumps({"items": [*here, *there]}))
    result = _replay("--file", str(tmp_path / "record"))
    assert (result.exit_code, "in ml, shop" in result.output) == (1, True)
    result = _replay("--file", str(tmp_path / "record"), "-n", "ml")
    assert (result.exit_code, result.output.splitlines()) == (0, EQUAL)


def test_a_model_without_revisions_is_a_failure(api: Api) -> None:
    result = _replay()
    assert (result.exit_code, result.output) == (1, "Error: there are no ModelRevisions of flights\n")
