"""Identity: what makes another revision, and which one a spec asks for when it leaves something open."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

import worlds
from tidegate_contract.source import HttpsSource
from tidegate_operator.core.revision import Asked, asked, name_of, request_of
from tidegate_operator.core.types import (
    Content,
    Desired,
    Owner,
    Release,
    Resolved,
    Revision,
    Role,
    Stable,
    Status,
    Toleration,
)
from worlds import FLIGHTS, NOW, RELEASE, URI, asked_for, asking, in_force, name

LOOSE = asking(digest=None)
REQUEST = request_of(LOOSE)
FIRST, MOVED = ("sha256:" + digit * 64 for digit in "12")
NEXT = Release(server_image="registry.example/tidegate-server:2", tools_image="registry.example/tidegate-tools:2")


def kept(desired: Desired, minutes: int = 0, **changes: Any) -> Revision:
    return worlds.kept(desired, record=worlds.recorded(Role.SUPERSEDED, NOW + timedelta(minutes=minutes)), **changes)


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "sha256:" + "7" * 64},
        {"source": HttpsSource("https://example.com/x.tar", 443)},
        {"image": "other:1"},
        {"allow_pickle": True},
        {"env": (("A", "b"),)},
        {"requests": (("cpu", "1"),)},
        {"limits": (("memory", "2Gi"),)},
        {"timeout": 1.0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_can_change_an_answer_makes_a_revision(change: dict[str, Any]) -> None:
    assert name_of(replace(in_force(), **change)) != name()


@pytest.mark.parametrize(
    "change", [{"pull_secrets": ("s",)}, {"secret_name": "s"}, {"tools": "t"}], ids=lambda change: next(iter(change))
)
def test_what_only_fetches_makes_none(change: dict[str, Any]) -> None:
    assert name_of(replace(in_force(), **change)) == name()


@pytest.mark.parametrize(
    "change",
    [
        {"replicas": 9},
        {"owner": Owner("x")},
        {"node_selector": (("a", "b"),)},
        {"tolerations": (Toleration("a", "Exists", "", "", None),)},
        {"paused": True},
        {"retry_token": "t"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_where_and_how_often_it_runs_makes_none(change: dict[str, Any]) -> None:
    assert asked(replace(FLIGHTS, **change), Status(), (), RELEASE, None).name == name()


def test_every_field_of_a_content_is_part_of_its_name_or_said_not_to_be() -> None:
    """A field that is added must be put on one side or the other."""
    fetching = {"uri", "secret_name", "pull_secrets", "tools"}
    answering = {"source", "digest", "image", "allow_pickle", "requests", "limits", "timeout", "env"}
    assert set(Content.__slots__) == fetching | answering


def test_a_digest_in_spec_asks_nobody() -> None:
    assert request_of(FLIGHTS) == ""
    assert asked(FLIGHTS, Status(), (), RELEASE, None) == asked_for()


def test_the_question_is_the_address_and_the_retry_token() -> None:
    assert request_of(replace(LOOSE, replicas=9)) == REQUEST
    assert len({REQUEST, request_of(replace(LOOSE, retry_token="t")), request_of(asking(LOOSE, uri="oci://a/b"))}) == 3


def test_without_an_answer_there_is_a_question_and_no_name() -> None:
    assert asked(LOOSE, Status(), (), RELEASE, None) == Asked(
        REQUEST, replace(LOOSE.content, image=RELEASE.server_image), False, ""
    )


def test_what_a_resolver_has_read_is_what_spec_asks_for() -> None:
    pinned = asking(digest=FIRST)
    found = asked(LOOSE, Status(), (), RELEASE, Resolved(REQUEST, URI, FIRST))
    assert found == replace(asked_for(pinned), request=REQUEST)


def test_a_tag_is_resolved_once_wherever_it_moves() -> None:
    status = Status(1, resolved=Resolved(REQUEST, URI, FIRST))
    assert asked(LOOSE, status, (), RELEASE, Resolved(REQUEST, URI, MOVED)).content.digest == FIRST


def test_another_retry_token_asks_again() -> None:
    again = replace(LOOSE, retry_token="again")
    status = Status(1, resolved=Resolved(REQUEST, URI, FIRST))
    kept_one = kept(asking(digest=FIRST), request=REQUEST)
    assert asked(again, status, [kept_one], RELEASE, None).name == ""
    read = asked(again, status, [kept_one], RELEASE, Resolved(request_of(again), URI, MOVED))
    assert read.name == name(asking(digest=MOVED))


def test_the_answer_to_another_question_is_none() -> None:
    stale = Resolved("00000000", URI, FIRST)
    assert asked(LOOSE, Status(1, resolved=stale), (), RELEASE, stale).name == ""


def test_after_a_restore_a_kept_revision_answers_although_the_tag_has_moved() -> None:
    kept_one = kept(asking(digest=FIRST), request=REQUEST)
    found = asked(LOOSE, Status(), [kept_one], RELEASE, None)
    assert found == replace(asked_for(asking(digest=FIRST)), request=REQUEST)


def test_a_revision_that_spec_pinned_answers_no_question() -> None:
    assert asked(LOOSE, Status(), [kept(asking(digest=FIRST), request="")], RELEASE, None).name == ""


def test_a_new_release_of_the_operator_keeps_the_image_and_the_fetcher_of_the_kept_revision() -> None:
    assert asked(FLIGHTS, Status(), [kept(FLIGHTS)], NEXT, None) == asked_for()


def test_a_new_release_gives_its_images_to_what_is_new() -> None:
    new = asking(digest=FIRST)
    content = replace(new.content, image=NEXT.server_image, tools=NEXT.tools_image)
    assert asked(new, Status(), [kept(FLIGHTS)], NEXT, None) == Asked("", content, False, name_of(content))


def test_an_image_in_spec_is_what_spec_asks_for() -> None:
    own = asking(image="own:1")
    assert asked(own, Status(), [kept(FLIGHTS)], RELEASE, None).content.image == "own:1"


def test_an_image_that_is_taken_out_of_spec_is_left_to_the_operator_again() -> None:
    own = kept(asking(image="own:1"), 5, image_named=True)
    assert asked(FLIGHTS, Status(1, revision=own.name), [own], RELEASE, None) == asked_for()
    assert asked(FLIGHTS, Status(1, revision=own.name), [own, kept(FLIGHTS)], NEXT, None) == asked_for(), (
        "the one it had"
    )


@pytest.mark.parametrize(
    ("status", "image"),
    [
        pytest.param(Status(1, revision=name(asking(image="a:1"))), "a:1", id="what should serve first"),
        pytest.param(
            Status(1, revision="00000000", stable=Stable(name(asking(image="a:1")), NOW)), "a:1", id="then what serves"
        ),
        pytest.param(Status(), "b:1", id="then the newest"),
    ],
)
def test_of_several_images_that_are_kept_the_nearest_to_what_is_in_force_counts(status: Status, image: str) -> None:
    world = [kept(asking(image="a:1"), 0), kept(asking(image="b:1"), 1)]
    for revisions in (world, world[::-1]):
        assert asked(FLIGHTS, status, revisions, RELEASE, None).content.image == image
