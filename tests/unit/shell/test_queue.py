"""No mark is lost, no key is worked on twice at once, and a broken key does not come sooner for being marked."""

import asyncio

import pytest

from tidegate_operator.queue import BACKOFF_AWAY, Queue

A, B = ("ml", "a"), ("ml", "b")


@pytest.fixture
def queue() -> Queue:
    return Queue(lambda: 0.0, lambda: 1.0)


async def taken(queue: Queue) -> tuple[str, str] | None:
    try:
        async with asyncio.timeout(0.02):
            return (await queue.take())[0]
    except TimeoutError:
        return None


async def test_a_key_is_taken_once_however_often_it_is_marked(queue: Queue) -> None:
    queue.mark(A)
    queue.mark(A)
    assert await taken(queue) == A
    assert await taken(queue) is None


async def test_a_mark_during_the_work_brings_the_key_again_afterwards(queue: Queue) -> None:
    queue.mark(A)
    await taken(queue)
    queue.mark(A)
    assert await taken(queue) is None
    queue.done(A)
    assert await taken(queue) == A


async def test_keys_come_in_the_order_of_their_marks(queue: Queue) -> None:
    queue.mark(A)
    queue.mark(B)
    await taken(queue)
    queue.mark(A)
    queue.done(A)
    assert [await taken(queue), await taken(queue)] == [B, A]


async def test_a_failed_key_waits_twice_as_long_each_time(queue: Queue) -> None:
    waits = []
    for _ in range(9):
        queue.mark(A)
        waits.append(queue.failed(A))
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0]


async def test_events_do_not_shorten_the_pause_of_a_failed_key(queue: Queue) -> None:
    queue.mark(A)
    await taken(queue)
    queue.failed(A)
    queue.mark(A)
    assert await taken(queue) is None
    await asyncio.sleep(0.25)
    assert await taken(queue) == A


async def test_a_success_forgets_the_failures(queue: Queue) -> None:
    queue.mark(A)
    queue.failed(A)
    queue.failed(A)
    queue.done(A)
    assert queue.failed(A) == 0.2


async def test_a_later_look_comes_by_itself_and_sooner_if_marked(queue: Queue) -> None:
    queue.mark_later(A, 0.01)
    assert await taken(queue) == A
    queue.done(A, look_again=60)
    queue.mark(A)
    assert await taken(queue) == A


async def test_an_api_server_that_is_away_is_tried_often(queue: Queue) -> None:
    """Nothing is wrong with the object: a pause of half a minute would be half a minute without repairs."""
    waits = [queue.failed(A, BACKOFF_AWAY) for _ in range(7)]
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.0, 3.0, 3.0]


async def test_however_often_a_key_has_failed_its_pause_is_a_number(queue: Queue) -> None:
    waits = [queue.failed(A) for _ in range(2000)]
    assert waits[-1] == 30.0


async def test_an_owner_who_mends_the_object_is_not_made_to_wait(queue: Queue) -> None:
    queue.mark(A)
    await taken(queue)
    for _ in range(9):
        queue.failed(A)
    queue.forgive(A)
    assert await taken(queue) == A
    assert queue.failed(A) == 0.2, "and the failures are forgotten"


async def test_a_key_that_has_not_failed_needs_no_forgiving(queue: Queue) -> None:
    queue.forgive(A)
    assert await taken(queue) is None


async def test_a_key_that_is_forgiven_while_it_is_worked_on_comes_again_afterwards(queue: Queue) -> None:
    queue.mark(A)
    queue.failed(A)
    await asyncio.sleep(0.25)
    assert await taken(queue) == A
    queue.forgive(A)
    assert await taken(queue) is None
    queue.done(A)
    assert await taken(queue) == A


async def test_after_the_lease_was_lost_nothing_is_left_of_pauses_and_marks(queue: Queue) -> None:
    """The workers that had a key are gone: it must not count as worked on for ever."""
    for key in (A, B):
        queue.mark(key)
    assert await taken(queue) == A
    queue.mark(A)
    queue.failed(B)
    queue.mark_later(("ml", "c"), 0.01)
    queue.clear()
    assert len(queue) == 0
    await asyncio.sleep(0.03)
    assert await taken(queue) is None, "neither a timer nor a mark"
    queue.mark(A)
    assert await taken(queue) == A
    assert queue.failed(B) == 0.2


async def test_a_pause_of_one_key_is_none_of_another(queue: Queue) -> None:
    queue.failed(A)
    queue.mark(B)
    assert await taken(queue) == B


async def test_what_fails_together_does_not_come_back_together() -> None:
    waits = {Queue(lambda: 0.0).failed(A) for _ in range(20)}
    assert len(waits) > 1
    assert all(0.15 <= wait <= 0.2 for wait in waits)


async def test_a_pause_that_the_api_server_asks_for_is_kept_within_reason(queue: Queue) -> None:
    assert queue.failed(A, asked=5.0) == 5.0
    assert queue.failed(A, asked=0.1) == 0.4, "its own is longer"
    assert queue.failed(A, asked=3600.0) == 30.0
