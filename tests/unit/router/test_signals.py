"""From Envoy's counters to what the operator is told."""

import re

import pytest

from tidegate_contract.route import Share, Slot
from tidegate_contract.signals import Counts, SlotSignals
from tidegate_router.signals import PATTERN, counts, failures_of, of_slot

STATS = {
    "cluster.flights/a.upstream_rq_completed": 10,
    "cluster.flights/a.upstream_rq_2xx": 7,
    "cluster.flights/a.upstream_rq_4xx": 1,
    "cluster.flights/a.upstream_rq_5xx": 2,
    "cluster.flights/a.upstream_rq_timeout": 1,
    "cluster.flights/a.upstream_rq_retry_success": 3,
    "cluster.flights/a.retry.upstream_rq_completed": 2,
    "cluster.flights/a.upstream_rq_active": 4,
    "cluster.flights/a.upstream_rq_pending_active": 5,
    "cluster.flights/a/named.upstream_rq_completed": 100,
    "cluster.flights/b.upstream_rq_completed": 1000,
    "cluster.flight/a.upstream_rq_completed": 10000,
}
DIVIDED = Counts(answered=10, ok=7, refused=1, failed=2, unanswered=1, again=3, sent_on=2, active=4, pending=5)


def test_each_count_has_envoys_name() -> None:
    assert counts(STATS, "flights/a") == DIVIDED


def test_what_never_happened_is_zero() -> None:
    assert counts(STATS, "flights/shadow") == Counts()


def test_of_a_version_evidence_and_the_rest_are_told_apart() -> None:
    found = of_slot("flights", Slot.A, Share("0a0a0a0a", 95), 2, STATS)
    named = Counts(answered=100)
    assert found == SlotSignals(revision="0a0a0a0a", weight=95, pods=2, divided=DIVIDED, named=named)


def test_why_a_version_gets_nothing_is_told() -> None:
    found = of_slot("flights", Slot.B, Share("0b0b0b0b"), 1, {}, "7 of 7 answers failed")
    assert found == SlotSignals(revision="0b0b0b0b", weight=0, pods=1, latched="7 of 7 answers failed")


@pytest.mark.parametrize(
    ("told", "failures"),
    [
        pytest.param(Counts(), 0, id="nothing"),
        pytest.param(Counts(answered=10, ok=10), 0, id="all is well"),
        pytest.param(Counts(answered=10, ok=7, refused=1, failed=2), 3, id="what is not ok"),
        pytest.param(Counts(answered=10, ok=10, again=2), 2, id="what a second pod answered"),
        pytest.param(Counts(answered=10, ok=10, again=2, sent_on=2), 0, id="what had waited for a pod has not failed"),
        pytest.param(Counts(answered=10, ok=10, again=1, sent_on=2), 0, id="what was sent on and is not answered yet"),
    ],
)
def test_a_first_attempt_has_failed(told: Counts, failures: int) -> None:
    assert told.first_failures == failures


@pytest.mark.parametrize("name", STATS)
def test_every_count_is_asked_for(name: str) -> None:
    assert re.search(PATTERN, name)


@pytest.mark.parametrize(
    "name",
    [
        "cluster.flights/a.upstream_rq_200",
        "cluster.flights/a.external.upstream_rq_2xx",
        "cluster.agent.upstream_rq_completed",
        "http.clients/flights.downstream_rq_active",
    ],
)
def test_nothing_else_is_asked_for(name: str) -> None:
    assert not re.search(PATTERN, name)


# ---------------------------------------------------------------- how the requests of some models end


def test_what_tells_first_failures_is_asked_for() -> None:
    asked = {name: count for name, count in STATS.items() if re.search(failures_of(["flights"]), name)}
    found, all_of_it = counts(asked, "flights/a"), counts(STATS, "flights/a")
    assert (found.answered, found.first_failures) == (all_of_it.answered, all_of_it.first_failures) == (10, 4)
    assert counts(asked, "flights/b").answered == 1000


@pytest.mark.parametrize(
    "name",
    [
        "cluster.flights/a.upstream_rq_active",
        "cluster.flights/a/named.upstream_rq_completed",
        "cluster.flights/shadow.upstream_rq_completed",
        "cluster.flight/a.upstream_rq_completed",
        "cluster.more-flights/a.upstream_rq_completed",
        "cluster.third/a.upstream_rq_completed",
    ],
)
def test_and_of_other_requests_and_models_nothing(name: str) -> None:
    assert not re.search(failures_of(["flights", "second"]), name)


def test_models_are_asked_for_together() -> None:
    for model in ("flights", "second"):
        assert re.search(failures_of(["flights", "second"]), f"cluster.{model}/b.upstream_rq_completed")
