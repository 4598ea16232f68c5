"""The newest version wins, whichever feed brings it, and a list synthesises the deletions that nobody saw."""

import pytest

from tidegate_cluster.resource import Metadata
from tidegate_cluster.store import Key, Store
from tidegate_contract import labels
from tidegate_operator.cluster.resources import Meta


def item(name: str, version: int, uid: str = "", namespace: str = "ml", model: str = "flights") -> Meta:
    return Meta(Metadata(name, uid or name, namespace, str(version), labels={labels.MODEL: model}))


class World:
    def __init__(self) -> None:
        self.marked: list[Key] = []
        self.store: Store[Meta] = Store(self.marked.append)


@pytest.fixture
def world() -> World:
    return World()


def test_a_change_marks_the_model_that_owns_the_object(world: World) -> None:
    world.store.put(item("a", 1))
    assert world.marked == [("ml", "flights")]
    assert world.store.of(("ml", "flights")) == [item("a", 1)]


def test_an_older_version_changes_nothing(world: World) -> None:
    world.store.put(item("a", 5))
    world.store.put(item("a", 4))
    world.store.put(item("a", 5))
    assert world.store.get(("ml", "a")) == item("a", 5)
    assert len(world.marked) == 1


def test_what_is_assumed_of_a_version_gives_way_to_that_version(world: World) -> None:
    told, assumed = item("a", 5, "told"), item("a", 5, "assumed")
    world.store.assume(assumed)
    world.store.put(item("a", 4))
    assert world.store.get(("ml", "a")) is assumed
    world.store.put(told)
    world.store.put(item("a", 5, "again"))
    assert world.store.get(("ml", "a")) is told
    world.store.assume(assumed)
    assert world.store.get(("ml", "a")) is told, "what was told is not replaced by what is assumed"


def test_an_answer_that_is_older_than_the_deletion_does_not_bring_the_object_back(world: World) -> None:
    world.store.put(item("a", 5))
    world.store.remove(item("a", 7))
    world.store.put(item("a", 6))
    assert world.store.get(("ml", "a")) is None


def test_a_new_object_of_the_same_name_replaces_the_old_one(world: World) -> None:
    world.store.put(item("a", 5, "old"))
    world.store.put(item("a", 9, "new"))
    world.store.remove(item("a", 8, "old"))
    assert world.store.get(("ml", "a")) == item("a", 9, "new")


def test_a_list_deletes_what_it_does_not_hold(world: World) -> None:
    world.store.put(item("a", 1))
    world.store.put(item("b", 1, model="other"))
    world.store.replace([item("a", 1)], "", 2)
    assert list(world.store) == [("ml", "a")]
    assert world.marked[-1] == ("ml", "other")


def test_a_list_of_one_namespace_says_nothing_about_another(world: World) -> None:
    world.store.put(item("a", 1, "x", "one"))
    world.store.put(item("a", 1, "y", "two"))
    world.store.replace([], "one", 2)
    assert list(world.store) == [("two", "a")]


def test_a_relabelled_object_marks_the_owner_that_lost_it(world: World) -> None:
    world.store.put(item("a", 1))
    world.store.put(item("a", 2, model="thief"))
    assert world.marked == [("ml", "flights"), ("ml", "flights"), ("ml", "thief")]
    assert world.store.of(("ml", "flights")) == []


def test_an_object_that_was_made_after_the_list_stays(world: World) -> None:
    """The answer to our own write can overtake a list that was asked for before it."""
    world.store.put(item("a", 9))
    world.store.replace([], "", 5)
    assert list(world.store) == [("ml", "a")]


def test_a_deletion_that_nobody_saw_is_not_undone_by_a_late_answer(world: World) -> None:
    world.store.put(item("a", 3))
    world.store.replace([], "", 5)
    world.store.put(item("a", 4))
    assert list(world.store) == []


def test_after_a_restore_only_the_list_counts(world: World) -> None:
    world.store.put(item("a", 90))
    world.store.put(item("b", 91))
    assert world.store.newest("") == 91
    world.store.replace([item("a", 10)], "", 20, put_back=True)
    assert world.store.get(("ml", "a")) == item("a", 10)
    assert list(world.store) == [("ml", "a")]
