"""Changes of a model behind routers, each under a load that must not lose a request: `make soak` in its short form."""

import time
from collections.abc import Iterator
from functools import partial

import pytest

from bench.scenarios.report import Report
from bench.soak import COSTLY, LOSSLESS, ROUTERS, Change, Stage, no_operator, run, staged
from deployed import LOCAL, Figure, Pushed, model, until_ready, until_reason
from kube import Kube, message, wait_for
from tidegate_contract.route import FIRST_PORT
from tidegate_operator.core.router import AGENT, ENVOY, NAME

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
    assert load.asked >= REQUESTS


@pytest.mark.parametrize("change", COSTLY, ids=lambda change: str(change.__name__))
def test_what_is_killed_costs_what_it_had(change: Change, stage: Stage, figure: Figure) -> None:
    load = run(change, stage)
    figure(f"{change.__name__}: requests lost", f"{load.lost.total()} of {load.asked}", "published")
    assert load.lost.total() < load.asked / 10


def is_gone(kube: Kube, kind: str, namespace: str) -> bool:
    return kube.find(kind, NAME, namespace) is None


@pytest.mark.parametrize(("container", "most"), [(AGENT, 60), (ENVOY, 0)])
def test_what_a_router_takes(stage: Stage, figure: Figure, container: str, most: int) -> None:
    pod = stage.pods(ROUTERS)[0]["metadata"]["name"]
    said = stage.kube.run("exec", pod, "-n", stage.namespace, "-c", container, "--", "cat", "/proc/1/status")
    kilobytes = int(said.partition("VmRSS:")[2].split()[0])
    bar = f"<= {most} MiB" if most else "published"
    figure(f"resident memory of a router's {container}, one model", f"{kilobytes / 1024:.0f} MiB", bar)
    assert not most or kilobytes <= most << 10


def test_the_last_models_take_their_routers_along_while_no_operator_is_there(
    kube: Kube, namespace: str, good: Pushed
) -> None:
    names = ("one", "two", "three")
    for name in names:
        found = model(namespace, good, traffic={"via": "Router"})
        kube.apply(found | {"metadata": {"name": name, "namespace": namespace}})
    for name in names:
        until_ready(kube, namespace, name)
    ports = [kube.get("mdep", name, namespace)["status"]["route"]["port"] for name in names]
    assert sorted(ports) == [FIRST_PORT, FIRST_PORT + 1, FIRST_PORT + 2]
    with no_operator(kube):
        for name in names[1:]:
            kube.delete("mdep", name, namespace)
        time.sleep(5)
        assert kube.find("deployment", NAME, namespace), "one model is left"
        kube.delete("mdep", names[0], namespace)
        for kind in ("deployment", "serviceaccount", "rolebinding", "poddisruptionbudget", "secret"):
            wait_for(f"no {kind}", partial(is_gone, kube, kind, namespace), 60)
        wait_for("no router", lambda: not kube.items("pods", namespace), 90)


def test_a_strangers_secret_is_told_and_not_touched(kube: Kube, namespace: str, good: Pushed) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": NAME, "namespace": namespace}}
    kube.apply(secret | {"stringData": {"password": "theirs"}})
    kube.apply(model(namespace, good, traffic={"via": "Router"}))
    found = until_reason(kube, namespace, "RoutersBlocked")
    assert f"Secret {namespace}/{NAME} is not the operator's" in message(found, "Degraded")
    assert set(kube.get("secret", NAME, namespace)["data"]) == {"password"}
    kube.delete("secret", NAME, namespace)
    until_ready(kube, namespace)
