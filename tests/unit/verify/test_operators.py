"""The simulated caches fall behind, and catch up, as the real ones do."""

from verify.operators import Feed, Gone, Lost, Put
from verify.themes import serving
from verify.values import Model, Spec

OLD, NEW, NEWER = (Model(0, Spec("A"), generation=generation) for generation in (1, 2, 3))


def test_equal_values_are_one_object() -> None:
    assert OLD.but(generation=2) is NEW
    assert serving("A").but(day=1).but(day=0) is serving("A")


def test_a_cache_is_never_more_than_two_events_behind() -> None:
    feed = Feed((OLD,)).hear(Put(NEW), ()).hear(Put(NEWER), ()).hear(Gone("", 0), ())
    assert feed == Feed((NEW,), (Put(NEWER), Gone("", 0)))


def test_the_answer_to_a_write_is_newer_than_the_news_on_their_way() -> None:
    assert Feed((OLD,), (Put(NEW),)).wrote(NEWER) is Feed((NEWER,))


def test_the_deletion_of_another_object_takes_nothing_away() -> None:
    assert Feed((OLD,), (Gone("", 7),)).deliver(1, ()) is Feed((OLD,))


def test_a_watch_that_broke_lists_everything_anew() -> None:
    broken = Feed((OLD,), (Lost(),)).hear(Put(NEW), (NEW,))
    assert broken.deliver(1, (NEWER,)) is Feed((NEWER,))


def test_the_feed_of_models_never_makes_up_a_deletion() -> None:
    broken = Feed((OLD,), (Lost(),))
    assert broken.deliver(1, (), evicts=False) is Feed((OLD,))
    assert broken.deliver(1, ()) is Feed()
