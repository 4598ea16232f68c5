"""Routers in a real cluster, made as the operator will make them; the test is the operator: it writes `status.route`.

Their pods are reached directly, so it takes the local cluster, whose pods are routed from here.
"""

import http.client
import json
import threading
import time
import urllib.request
from collections import Counter
from typing import Self

import pytest

from deployed import LOCAL, SYSTEM, Figure, Pushed, model, until_ready
from images.local import ENVOY_REFERENCE
from kube import Kube, Object, wait_for
from tidegate_contract import labels, router
from tidegate_contract.route import FIRST_PORT
from tidegate_operator.core.router import AGENT, ENVOY, NAME, SELECTED, Images, objects
from tidegate_operator.core.types import Identity

pytestmark = pytest.mark.skipif(not LOCAL, reason="the pods of another cluster cannot be reached from here")

TOKEN = "a token of this test"
ROUTED = "small-routed"
BODY = json.dumps(
    {"inputs": [{"name": name, "shape": [1], "datatype": "FP64", "data": [0.0]} for name in ("x", "y")]}
).encode()
PATH = "/v2/models/small/infer"


class Clients:
    """Eight of them ask without a pause, half of them by a new connection each time; none of them tries again."""

    def __init__(self, host: str) -> None:
        self.answers: Counter[str] = Counter()
        self._host = host
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(place % 2 == 0,)) for place in range(8)]

    def _ask(self, keeps: bool) -> None:
        connection = self._connect()
        while not self._stop.is_set():
            try:
                connection.request("POST", PATH, BODY, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                self.answers[str(answer.status)] += 1
                goes_on = keeps and not answer.will_close
            except (OSError, http.client.HTTPException) as error:
                self.answers[type(error).__name__] += 1
                goes_on = False
            if not goes_on:
                connection.close()
                connection = self._connect()
            self._stop.wait(0.02)
        connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._host, timeout=30)

    @property
    def lost(self) -> dict[str, int]:
        return {what: count for what, count in self.answers.items() if what != "200"}

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def tools_image(kube: Kube) -> str:
    """Of the release that is installed."""
    (operator,) = kube.get("deployment", "tidegate-operator", SYSTEM)["spec"]["template"]["spec"]["containers"]
    return str(next(found["value"] for found in operator["env"] if found["name"] == "TIDEGATE_TOOLS_IMAGE"))


def service(namespace: str, name: str, selector: Object, port: int, **spec: object) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace, "labels": selector},
        "spec": {"selector": selector, "ports": [{"name": "http", "port": 80, "targetPort": port}], **spec},
    }


def write_route(kube: Kube, namespace: str, generation: int, revision: str) -> None:
    slots = {"a": {"revision": revision, "weight": 100}}
    route = {"port": FIRST_PORT, "generation": generation, "stable": "a", "slots": slots, "timeoutSeconds": 10}
    patch = json.dumps({"status": {"route": route}})
    kube.run("patch", "mdep", "small", "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)


def routers(kube: Kube, namespace: str) -> list[Object]:
    """All pods, those that end among them."""
    return kube.items("pods", namespace, f"{labels.COMPONENT}={labels.ROUTER}")


def signals(pod: Object) -> Object:
    request = urllib.request.Request(
        f"http://{pod['status']['podIP']}:{router.AGENT_PORT}/signals", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        found: Object = json.load(answer)
    return found


def are_at(kube: Kube, namespace: str, generation: int, count: int = 2) -> bool:
    try:
        found = [signals(pod)["models"]["small"]["generation"] for pod in routers(kube, namespace)]
    except (OSError, KeyError):
        return False
    return found == [generation] * count


@pytest.fixture
def routed(kube: Kube, namespace: str, good: Pushed) -> str:
    """The address of a model behind two routers."""
    kube.apply(model(namespace, good, scaling={"replicas": 2}))
    found = until_ready(kube, namespace)
    revision = found["status"]["revision"]
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": NAME, "namespace": namespace}}
    owner = Identity(namespace, "small", found["metadata"]["uid"], 1)
    of_revision = {labels.MODEL: "small", labels.REVISION: revision}
    kube.apply(
        secret | {"stringData": {router.TOKEN_KEY: TOKEN}},
        *objects(namespace, [owner], Images(ENVOY_REFERENCE, tools_image(kube), "IfNotPresent")),
        service(namespace, f"small-{revision}", of_revision, 8080, clusterIP="None"),
        service(namespace, ROUTED, SELECTED, FIRST_PORT),
    )
    write_route(kube, namespace, 1, revision)
    wait_for("both routers run the route", lambda: are_at(kube, namespace, 1), 90)
    kube.run("rollout", "status", f"deployment/{NAME}", "-n", namespace, "--timeout=60s")
    return str(kube.get("service", ROUTED, namespace)["spec"]["clusterIP"])


def test_nothing_voluntary_loses_a_request(kube: Kube, namespace: str, routed: str, figure: Figure) -> None:
    revision = kube.get("mdep", "small", namespace)["status"]["revision"]
    serving = f"{labels.COMPONENT}={labels.SERVER}"
    with Clients(routed) as clients:
        wait_for("answers", lambda: clients.answers["200"] > 200, 30)
        began = time.monotonic()
        write_route(kube, namespace, 2, revision)
        wait_for("generation 2", lambda: are_at(kube, namespace, 2), 10, pause=0.02)
        figure("a route: written by kubectl until both routers said so", f"{time.monotonic() - began:.2f} s", "<= 1 s")
        # All pods at once: their requests wait until new ones are ready.
        kube.run("delete", "pods", "-n", namespace, "-l", serving)
        until_ready(kube, namespace)
        # A new image, or whatever makes new routers.
        kube.run("rollout", "restart", f"deployment/{NAME}", "-n", namespace)
        kube.run("rollout", "status", f"deployment/{NAME}", "-n", namespace, "--timeout=180s")
        wait_for("the old routers are gone", lambda: len(routers(kube, namespace)) == 2, 90)
        time.sleep(2)
    lost = f"{clients.lost or 'none'} of {clients.answers.total()}"
    figure("requests lost: all pods deleted, both routers replaced", lost, "none")
    assert not clients.lost
    assert clients.answers.total() > 2000


def test_what_a_router_takes(kube: Kube, namespace: str, routed: str, figure: Figure) -> None:
    with Clients(routed) as clients:
        wait_for("answers", lambda: clients.answers["200"] > 200, 30)
    pod = routers(kube, namespace)[0]["metadata"]["name"]
    for container in (AGENT, ENVOY):
        said = kube.run("exec", pod, "-n", namespace, "-c", container, "--", "cat", "/proc/1/status")
        kilobytes = int(said.partition("VmRSS:")[2].split()[0])
        what, bar = (
            f"resident memory of a router's {container}, one model",
            "<= 60 MiB" if container == AGENT else "published",
        )
        figure(what, f"{kilobytes / 1024:.0f} MiB", bar)
        assert container != AGENT or kilobytes <= 60 << 10


def test_the_last_model_takes_its_router_along(kube: Kube, namespace: str, routed: str) -> None:
    kube.delete("mdep", "small", namespace)
    wait_for("the router is gone", lambda: kube.find("deployment", NAME, namespace) is None, 60)
