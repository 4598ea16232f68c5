"""With `scaling.mode: External` the number of pods is somebody else's: a person's by `kubectl scale`, an autoscaler's.

The load is sized in CPU, not in requests: a pod asks for so little of it that some hundred small requests a second are
too many for one pod, and a machine of two cores hardly feels them. What a request costs depends on the machine, so the
autoscaler's target is set by what the steady ones are seen to cost.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Self

import pytest

from audit import requests, writes
from deployed import LOCAL, SMALL, Address, Figure, Pushed, first_answer, is_ready, model, until_ready
from kube import Kube, Object, wait_for

pytestmark = pytest.mark.skipif(not LOCAL, reason="needs pod metrics, and puts load on the cluster")

STEADY = 50.0
"""Requests a second that go on all the time. One pod spends some 130m of CPU on them, or 210m on a slower machine."""
LOAD = 250.0
"""Requests a second on top of those while there is load: together nearly five times the work."""
REQUESTED = 50
"""Thousandths of a core, of `SMALL`."""
ROOM = 1.55
"""The target, of what the steady requests cost: those are one pod's work, all of them that of at least three."""
MOST = 3
AT_ONCE = 16
"""Requests of one stream under way. Two streams stay below the 64 that a pod lets wait: a busy machine loses none."""
WINDOW = 15
"""Seconds for which the autoscaler must have wanted fewer pods before it takes any."""
IN_TIME = 90.0
AUTOSCALER = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"


class Stream:
    """Asks at a fixed rate while the context is open, however long the answers take; all but the right one is lost."""

    def __init__(self, there: Address, rate: float) -> None:
        self.sent, self.seconds, self.slowest = 0, 0.0, 0.0
        self.lost: Counter[str] = Counter()
        self._there, self._pause = there, 1 / rate
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        began = due = time.monotonic()
        with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
            while not self._stop.wait(max(0.0, due - time.monotonic())):
                pool.submit(self._ask)
                self.sent += 1
                # What a busy machine made late is left out: a burst is not what this is about.
                due = max(due + self._pause, time.monotonic())
            self.seconds = time.monotonic() - began

    def _ask(self) -> None:
        asked = time.monotonic()
        try:
            answer = self._there.infer([1.5])
        except Exception as error:  # noqa: BLE001 - whatever it is, it was no answer
            self.lost[f"{type(error).__name__}: {error}"] += 1
        else:
            if answer != [1]:
                self.lost[f"answered {answer}"] += 1
        self.slowest = max(self.slowest, time.monotonic() - asked)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def autoscaler(namespace: str, target: dict[str, str], percent: int) -> Object:
    utilization = {"type": "Utilization", "averageUtilization": percent}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "small", "namespace": namespace},
        "spec": {
            "scaleTargetRef": target,
            "minReplicas": 1,
            "maxReplicas": MOST,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": utilization}}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": WINDOW}},
        },
    }


def until_measured(kube: Kube, namespace: str) -> None:
    """Wait until the autoscaler knows what the pods use: two looks of metrics-server at a new pod, 10 s apart."""

    def measured() -> Any:
        found = kube.get("hpa", "small", namespace).get("status", {})
        return any(metric.get("resource", {}).get("current") for metric in found.get("currentMetrics") or [])

    wait_for("the pods' CPU", measured, IN_TIME, 1.0)


def spent(kube: Kube, namespace: str) -> int:
    """Thousandths of a core that the model's one pod was seen to spend."""
    (line,) = kube.run("top", "pods", "-n", namespace, "--no-headers").splitlines()
    name, cpu, _ = line.split()
    assert name.startswith("small-")
    return int(cpu.removesuffix("m"))


def seconds_until_serving(kube: Kube, namespace: str, replicas: int) -> float:
    """How long it takes until so many pods serve, and no other is there."""
    began = time.monotonic()

    def serving() -> bool:
        status = kube.get("deployment", "small", namespace)["status"]
        pods = len(kube.items("pods", namespace))
        return (status.get("replicas"), status.get("availableReplicas"), pods) == (replicas, replicas, replicas)

    wait_for(f"{replicas} pods", serving, IN_TIME, 1.0)
    return time.monotonic() - began


def writers(found: Object) -> set[tuple[str, str]]:
    """Who has set `spec.scaling.replicas`, and by which subresource."""
    return {
        (entry["manager"], entry.get("subresource", ""))
        for entry in found["metadata"]["managedFields"]
        if "f:replicas" in entry["fieldsV1"].get("f:spec", {}).get("f:scaling", {})
    }


def whole(kube: Kube, namespace: str) -> Object:
    found: Object = json.loads(kube.run("get", "mdep", "small", "-n", namespace, "-o", "json", "--show-managed-fields"))
    return found


def external(namespace: str, source: Pushed) -> Object:
    return model(namespace, source, scaling={"mode": "External", "replicas": 1}, server={"resources": SMALL})


def test_kubectl_scale_sets_the_number_of_pods(kube: Kube, namespace: str, good: Pushed) -> None:
    kube.apply(external(namespace, good))
    until_ready(kube, namespace)
    kube.run("scale", "mdep/small", "--replicas=2", "-n", namespace)
    found = until_ready(kube, namespace)
    assert found["spec"]["scaling"] == {"mode": "External", "replicas": 2}
    assert kube.get("deployment", "small", namespace)["status"]["availableReplicas"] == 2
    path = f"/apis/models.tidegate.dev/v1alpha1/namespaces/{namespace}/modeldeployments/small/scale"
    scale = json.loads(kube.run("get", "--raw", path))
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (2, 2)
    assert len(kube.items("pods", namespace, scale["status"]["selector"])) == 2
    assert ("kubectl", "scale") in writers(whole(kube, namespace))


def test_an_autoscaler_follows_the_load_and_no_request_is_lost(
    kube: Kube, namespace: str, good: Pushed, address: Callable[..., Address], figure: Figure
) -> None:
    began = datetime.now(UTC)
    kube.apply(external(namespace, good))
    created = until_ready(kube, namespace)
    there = address(namespace)
    first_answer(there, [1.5])
    with Stream(there, STEADY) as steady:
        target = {key: created[key] for key in ("apiVersion", "kind")} | {"name": "small"}
        kube.apply(autoscaler(namespace, target, percent=10_000))
        until_measured(kube, namespace)
        time.sleep(25)  # the first measurement holds the start of the pod
        steadily = spent(kube, namespace)
        kube.apply(autoscaler(namespace, target, percent=round(ROOM * steadily / REQUESTED * 100)))
        assert kube.get("mdep", "small", namespace)["spec"]["scaling"]["replicas"] == 1
        with Stream(there, LOAD) as load:
            up = seconds_until_serving(kube, namespace, MOST)
        down = seconds_until_serving(kube, namespace, 1)
        wait_for("the model as it should be", lambda: is_ready(kube, namespace), 10, 1.0)
    kube.delete("hpa", "small", namespace)

    lost = dict(steady.lost + load.lost)
    figure(f"CPU of one pod for {STEADY:g} requests a second", f"{steadily}m", "")
    figure(f"from load to {MOST} pods that serve", f"{up:.0f} s", f"<= {IN_TIME:g} s")
    figure("from the end of the load to 1 pod", f"{down:.0f} s", f"<= {IN_TIME:g} s")
    figure("requests while an autoscaler moves the pods", steady.sent + load.sent, "")
    figure("of these lost", lost or 0, "0")
    # No bar: a busy machine alone takes a second. Several would be connections that met nobody and were tried again.
    figure("the slowest answer of them", f"{max(steady.slowest, load.slowest):.2f} s", "")
    assert lost == {}
    assert steady.sent >= 0.9 * STEADY * steady.seconds

    found = whole(kube, namespace)
    # What it sends at the moment of another write is refused, and sent again.
    moves = [
        request
        for request in requests(began, AUTOSCALER)
        if (request.verb, request.resource) == ("update", "modeldeployments/scale")
        and (request.namespace, request.code) == (namespace, 200)
    ]
    assert len(moves) >= 2
    assert found["metadata"]["generation"] == created["metadata"]["generation"] + len(moves)
    assert found["spec"] == created["spec"]
    assert ("kube-controller-manager", "scale") in writers(found)
    own = {request.resource for request in writes(began) if request.namespace == namespace}
    assert {resource for resource in own if resource.startswith("modeldeployments")} == {"modeldeployments/status"}
    assert not any(manager.startswith("tidegate") for manager, _ in writers(found))
