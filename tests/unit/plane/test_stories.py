"""The pure parts of the bench: what it tells, what it compares, what it calculates."""

import doctest
import random
from types import ModuleType
from typing import Any

import pytest

from bench.scenarios import report, states, trouble, world
from plane.proxy import Incoming

OWNED = {"uid": "5f1c1d3e-0000-4000-8000-000000000001", "name": "m"}


@pytest.mark.parametrize("module", [report, states])
def test_the_examples_are_true(module: ModuleType) -> None:
    result = doctest.testmod(module)
    assert (result.failed, result.attempted > 0) == (0, True)


def test_the_same_seed_tells_the_same_story() -> None:
    assert trouble.story(50, 7) == trouble.story(50, 7)
    assert trouble.points(50, 7) == trouble.points(50, 7)
    assert trouble.story(50, 7) != trouble.story(50, 8)


def test_a_story_touches_only_what_is_there_and_nothing_twice_in_a_chapter() -> None:
    alive = set(trouble.FIRST)
    for chapter in trouble.story(200, 1):
        names = [deed.name for deed in chapter]
        assert len(names) == len(set(names))
        for deed in chapter:
            assert (deed.name in alive) == (deed.kind != "create")
        alive |= {deed.name for deed in chapter if deed.kind == "create"}
        alive -= {deed.name for deed in chapter if deed.kind == "delete"}
    assert len(alive) == trouble.left(trouble.story(200, 1))


def test_two_hundred_kills_meet_every_write_of_a_creation_and_of_an_edit_on_both_sides() -> None:
    told = zip(trouble.story(200, 1), trouble.points(200, 1), strict=True)
    met = {(chapter[0].kind, point.write, point.forwarded) for chapter, point in told if point.write}
    sides = {(write, forwarded) for write in range(1, trouble.DEPTH + 1) for forwarded in (False, True)}
    for kind in ("create", "edit"):
        assert sides <= {(write, forwarded) for found, write, forwarded in met if found == kind}, kind


READ = {"400", "401", "410", "nonsense"}


@pytest.mark.parametrize(
    ("incoming", "share", "wanted"),
    [
        pytest.param(Incoming("PATCH", "/", False, 1), 0.2, {"409", "cut after", "delayed"}, id="a write"),
        pytest.param(Incoming("GET", "/", False, 0), 0.2, READ | {"cut after", "delayed"}, id="a read"),
        pytest.param(
            Incoming("GET", "/", False, 0, is_list=True), 0.5, READ | {"404", "cut after", "delayed"}, id="a list"
        ),
        pytest.param(
            Incoming("GET", "/", True, 0),
            0.5,
            READ | {"404", "410 in a watch", "500 in a watch", "cut later"},
            id="a watch",
        ),
    ],
)
def test_a_request_meets_the_faults_that_fit_it(incoming: Incoming, share: float, wanted: set[str]) -> None:
    """A write that is answered 400 is refused, and an object whose read says 404 is gone: those would be no faults."""
    answers: list[str] = []
    script = trouble.at_random(random.Random(1), answers)
    met = [script(incoming) for _ in range(5000)]
    assert set(answers) == wanted | {"429", "500", "503", "cut before"}
    assert len(answers) == sum(action is not None for action in met)
    assert len(answers) / 5000 == pytest.approx(share, abs=0.04)


def child(**metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "m", "ownerReferences": [OWNED], **metadata}, "spec": {"port": 80}, "status": {"x": 1}}


def test_a_new_telling_of_the_same_story_ends_in_the_same_state() -> None:
    other = child(uid="x", resourceVersion="9", ownerReferences=[OWNED | {"uid": OWNED["uid"][:-1] + "2"}])
    other["status"] = {"x": 2}
    assert states.stripped(other, with_status=False) == states.stripped(child(), with_status=False)


def test_what_differs_is_named() -> None:
    one = {"services/m": states.stripped(child(), with_status=False), "services/n": {}}
    other = {"services/m": states.stripped(child() | {"spec": {"port": 81}}, with_status=False), "services/o": {}}
    assert states.differences(one, other) == [
        "services/n is missing",
        "services/o is too much",
        "services/m differs at .spec.port: '80' against '81'",
    ]


def test_a_model_is_settled_when_its_latest_spec_is_seen_and_nothing_is_on_its_way() -> None:
    def model(seen: int, progressing: str) -> dict[str, Any]:
        status = {"observedGeneration": seen, "conditions": [{"type": "Progressing", "status": progressing}]}
        return {"metadata": {"generation": 2}, "status": status}

    assert [world.is_settled(model(*case)) for case in ((2, "False"), (1, "False"), (2, "True"))] == [
        True,
        False,
        False,
    ]
    assert not world.is_settled({"metadata": {"generation": 1}})
