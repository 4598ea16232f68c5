"""Traffic moves one change at a time and waits for the slowest router; what goes wrong is for `make verify` to find."""

from collections.abc import Mapping

import pytest

from tidegate_contract.route import Route, Share, Slot
from tidegate_operator.core.traffic import Aim, Fleet, Step, first, step
from tidegate_operator.core.types import Router

READY = {"old": Fleet(2, 2), "new": Fleet(2, 2)}
OLD, BOTH = first(Aim("old"), 10000, 10.0), Route(10000, 4, Slot.A, {Slot.A: Share("old", 95), Slot.B: Share("new", 5)})


def router(route: Route, *, pods: int = 2, leaving: int = 0) -> Router:
    """One that runs this route."""
    return Router(route.generation, dict.fromkeys(route.slots, pods), leaving)


def moves(aim: Aim, route: Route, fleets: Mapping[str, Fleet] = READY) -> list[tuple[str, int, str]]:
    """Stable, weight of the other and who that is, of every route on the way, its routers following at once."""
    found: list[tuple[str, int, str]] = []
    while True:
        after = step(route, aim, fleets, [router(route)]).route
        if after == route:
            return found
        route = after
        other = [share for slot, share in route.slots.items() if slot != route.stable]
        weight, revision = (other[0].weight, other[0].revision) if other else (0, "")
        found.append((route.slots[route.stable].revision, weight, revision))


def test_a_candidate_gets_a_slot_and_then_its_weight() -> None:
    assert moves(Aim("old", "new", 5), OLD) == [("old", 0, "new"), ("old", 5, "new")]


def test_a_promotion_moves_all_requests_then_the_title_and_then_the_old_version_leaves() -> None:
    assert moves(Aim("new"), BOTH) == [("old", 100, "new"), ("new", 0, "old"), ("new", 0, "")]


def test_a_candidate_that_is_not_wanted_any_more_loses_its_weight_and_then_its_slot() -> None:
    assert moves(Aim("old"), BOTH) == [("old", 0, "new"), ("old", 0, "")]


def test_another_candidate_waits_until_the_one_before_is_out() -> None:
    fleets = {**READY, "third": Fleet(1, 1)}
    found = moves(Aim("old", "third", 1), BOTH, fleets)
    assert found == [("old", 0, "new"), ("old", 0, ""), ("old", 0, "third"), ("old", 1, "third")]


LAGGING = router(OLD)
WAITS: list[tuple[str, Aim, Route, Mapping[str, Fleet], list[Router], str]] = [
    (
        "pods are not ready",
        Aim("old", "new", 5),
        OLD,
        {"old": Fleet(2, 2), "new": Fleet(1, 2)},
        [router(OLD)],
        "2 pods of new to be ready",
    ),
    (
        "a router lags behind",
        Aim("old", "new", 50),
        BOTH,
        READY,
        [router(BOTH), LAGGING],
        "every router to run generation 4 of the route",
    ),
    (
        "a router does not know the pods",
        Aim("old", "new", 50),
        BOTH,
        READY,
        [router(BOTH), router(BOTH, pods=1)],
        "every router to know 2 pods of new",
    ),
    (
        "a router has a request at a version that is out",
        Aim("old"),
        OLD,
        READY,
        [router(OLD, leaving=3)],
        "the last requests to a version that has left the route",
    ),
]


@pytest.mark.parametrize(
    ("aim", "route", "fleets", "routers", "said"), [row[1:] for row in WAITS], ids=[row[0] for row in WAITS]
)
def test_nothing_moves_while(
    aim: Aim, route: Route, fleets: Mapping[str, Fleet], routers: list[Router], said: str
) -> None:
    acknowledged = all(router.generation == route.generation for router in routers)
    assert step(route, aim, fleets, routers) == Step(route, f"waiting for {said}", acknowledged)


def test_a_version_that_serves_keeps_its_weight_while_the_other_has_no_pod() -> None:
    down = {"old": Fleet(0, 2), "new": Fleet(2, 2)}
    found = step(BOTH, Aim("old"), down, [router(BOTH)])
    assert found.route == BOTH
    assert found.waits == "waiting for a pod of old to be ready: it would get all requests"
    assert step(BOTH, Aim("old"), {"old": Fleet(0, 2), "new": Fleet(0, 2)}, []).route.slots[Slot.B].weight == 0


def test_without_a_router_nothing_is_taken_away() -> None:
    assert not step(OLD, Aim("old"), READY, []).free


def test_less_weight_waits_for_nobody() -> None:
    assert step(BOTH, Aim("old"), READY, [LAGGING]).route.slots[Slot.B].weight == 0


def test_pods_may_go_when_their_version_is_out_of_every_router() -> None:
    assert step(OLD, Aim("old"), READY, [router(OLD)]).free == {"new"}
    assert not step(OLD, Aim("old"), READY, [router(OLD), Router()]).free
    assert not step(OLD, Aim("old", "new", 5), {"old": Fleet(2, 2), "new": Fleet(0, 2)}, [router(OLD)]).free


def test_a_shadow_leaves_before_it_gets_requests_of_its_own() -> None:
    copied = step(OLD, Aim("old", "new", copies=True), READY, [router(OLD)]).route
    assert copied.slots == {Slot.A: Share("old", 100), Slot.SHADOW: Share("new")}
    out = step(copied, Aim("new"), READY, [router(copied)]).route
    assert out.slots == OLD.slots
    assert step(out, Aim("new"), READY, [router(out)]).route.slots[Slot.B] == Share("new")


def test_a_candidate_with_requests_loses_them_before_it_is_sent_copies() -> None:
    assert moves(Aim("old", "new", copies=True), BOTH)[:2] == [("old", 0, "new"), ("old", 0, "")]
