"""What people ask for by annotation, well or badly spelt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate_contract.actions import (
    ACTION,
    ACTION_BY,
    ACTION_REASON,
    BY_LIMIT,
    REASON_LIMIT,
    Action,
    ActionError,
    Verb,
    annotations,
    check,
    parse,
)


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("1 Pause", Action("1", "Pause")),
        ("20261124-101500-ab12 Resume", Action("20261124-101500-ab12", "Resume")),
        ("a.b_c Rollback", Action("a.b_c", "Rollback")),
        ("1 Approve", Action("1", "Approve")),
        ("1 Promote", Action("1", "Promote")),
        ("1 Abort", Action("1", "Abort")),
        ("1 Rollback 0a1b2c3d", Action("1", "Rollback", "0a1b2c3d")),
        ("  1   Rollback  0a1b2c3d  ", Action("1", "Rollback", "0a1b2c3d")),
        (f"{'i' * 64} Pause", Action("i" * 64, "Pause")),
    ],
)
def test_an_action_that_can_be_meant(text: str, action: Action) -> None:
    found = parse({ACTION: text})
    assert found == action
    assert check(found) is Verb(action.verb)


@pytest.mark.parametrize(
    ("text", "action", "words"),
    [
        ("", Action("", ""), "the id is ''"),
        ("Pause", Action("Pause", ""), "the verb is ''"),
        ("a/b Pause", Action("a/b", "Pause"), "the id is 'a/b'"),
        (f"{'i' * 65} Pause", Action("i" * 63 + "…", "Pause"), "1 to 64 letters"),
        ("1 pause", Action("1", "pause"), "must be Pause, Resume, Approve, Promote, Abort or Rollback"),
        ("1 Retry", Action("1", "Retry"), "the verb is 'Retry'"),
        (f"1 {'v' * 65}", Action("1", "v" * 63 + "…"), "must be Pause"),
        ("1 Pause 0a1b2c3d", Action("1", "Pause", "0a1b2c3d"), "Pause takes no revision"),
        ("1 Approve 0a1b2c3d", Action("1", "Approve", "0a1b2c3d"), "Approve takes no revision"),
        ("1 Promote 0a1b2c3d", Action("1", "Promote", "0a1b2c3d"), "Promote takes no revision"),
        ("1 Abort 0a1b2c3d", Action("1", "Abort", "0a1b2c3d"), "Abort takes no revision"),
        ("1 Rollback 0A1B2C3D", Action("1", "Rollback", "0A1B2C3D"), "eight hex digits"),
        ("1 Rollback flights-0a1b2c3d", Action("1", "Rollback", "flights-0a1b2c3d"), "`tidegate history`"),
        ("1 Rollback 0a1b2c3d now", Action("1", "Rollback", "0a1b2c3d now"), "eight hex digits"),
        ("1 Rollback 0a1b2c3d\n", Action("1", "Rollback", "0a1b2c3d"), ""),
    ],
)
def test_an_action_that_cannot_be_meant_is_read_as_far_as_it_goes(text: str, action: Action, words: str) -> None:
    found = parse({ACTION: text})
    assert found == action
    if not words:
        assert check(found) is Verb.ROLLBACK
        return
    with pytest.raises(ActionError) as caught:
        check(found)
    assert words in str(caught.value)
    assert caught.value.action == action


def test_without_the_annotation_there_is_no_action() -> None:
    assert parse({ACTION_BY: "ada", ACTION_REASON: "?"}) is None


def test_name_and_reason_are_cut() -> None:
    found = parse({ACTION: "1 Pause", ACTION_BY: "a" * 254, ACTION_REASON: "b" * 2000})
    assert found is not None
    assert (len(found.by), found.by[-2:]) == (BY_LIMIT, "a…")
    assert (len(found.reason), found.reason[-2:]) == (REASON_LIMIT, "b…")


@pytest.mark.parametrize(
    "action",
    [Action("1", Verb.PAUSE), Action("1", Verb.ROLLBACK, "0a1b2c3d", "system:serviceaccount:ml:bot", " why?\nso ")],
)
def test_what_is_written_is_read_back(action: Action) -> None:
    written = annotations(action)
    assert set(written) == {ACTION, ACTION_BY, ACTION_REASON}
    assert parse(written) == action


@given(st.dictionaries(st.sampled_from([ACTION, ACTION_BY, ACTION_REASON]), st.text()))
def test_nothing_that_people_write_is_an_error(written: dict[str, str]) -> None:
    found = parse(written)
    assert (found is None) == (ACTION not in written)
    if found is not None:
        assert max(map(len, (found.id, found.verb, found.revision))) <= 64
