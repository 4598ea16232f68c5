"""Changes of a model behind routers, each under a load that must not lose a request: `make soak` in its short form."""

from collections.abc import Iterator

import pytest

from bench.scenarios.report import Report
from bench.soak import COSTLY, LOSSLESS, Change, Stage, run, staged
from deployed import LOCAL, Figure
from kube import Kube

pytestmark = pytest.mark.skipif(not LOCAL, reason="stops processes of the cluster's node")

REQUESTS = 2_000
AWAY_SECONDS = 15.0


@pytest.fixture(scope="module")
def stage(kube: Kube, registry: str) -> Iterator[Stage]:
    with staged(kube, registry, Report(short=True), REQUESTS, AWAY_SECONDS) as found:
        yield found


@pytest.mark.parametrize("change", LOSSLESS, ids=lambda change: str(change.__name__))
def test_what_is_done_in_good_order_costs_no_request(change: Change, stage: Stage, figure: Figure) -> None:
    load = run(change, stage)
    figure(f"{change.__name__}: requests lost", f"{load.lost.total()} of {load.asked}", "none")
    assert not load.lost
    assert load.asked >= REQUESTS * 0.9


@pytest.mark.parametrize("change", COSTLY, ids=lambda change: str(change.__name__))
def test_what_is_killed_costs_what_it_had(change: Change, stage: Stage, figure: Figure) -> None:
    load = run(change, stage)
    figure(f"{change.__name__}: requests lost", f"{load.lost.total()} of {load.asked}", "published")
    assert load.lost.total() < load.asked / 10
