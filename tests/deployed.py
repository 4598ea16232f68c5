"""Models on the real cluster: the object, its address, and waiting until it is as it should be."""

import json
import os
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import models
from kube import Kube, Object, conditions, wait_for


@dataclass(frozen=True)
class Pushed:
    """A bundle where the cluster can pull it."""

    uri: str
    digest: str
    bundle: models.Bundle

    @property
    def tag(self) -> str:
        """The address without the digest: what a later push can move."""
        return self.uri.partition("@")[0]


SYSTEM = os.environ.get("NAMESPACE", "tidegate-system")
"""Where the operator is installed."""
LOCAL = os.environ.get("CLUSTER", "local") == "local"
"""Whether the cluster is the one of `make cluster`, and not the reader's own."""
PLAIN_HTTP = LOCAL or bool(os.environ.get("PLAIN_HTTP"))
"""Whether the registry of the tests has no TLS."""

Figure = Callable[[str, object, str], None]
"""Notes what was measured, its value, and the bar it must reach; the run prints them all at its end."""


def space(kube: Kube, name: str) -> None:
    """Make a namespace, with Pod Security `restricted` enforced as in every namespace of ours."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})


SMALL = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}


def model(namespace: str, source: Pushed | dict[str, Any], **spec: Any) -> Object:
    """A ModelDeployment named `small`, straight in front of its pods; keyword arguments replace parts of its spec."""
    found = {"uri": source.uri, "digest": source.digest} if isinstance(source, Pushed) else source
    return {
        "apiVersion": "models.tidegate.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "small", "namespace": namespace},
        "spec": {"model": found, "server": {"resources": SMALL}, "traffic": {"via": "Service"}} | spec,
    }


def changes(created: Object, now: Object) -> list[str]:
    """What of the user's part of an object is no longer as it was answered to the user who created it.

    The operator writes to `/status` alone: no finalizer, no annotation, no label, and the spec as it came.
    """
    before, after = _of_the_user(created), _of_the_user(now)
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def _of_the_user(found: Object) -> dict[str, Any]:
    metadata: dict[str, Any] = {f"metadata.{name}": value for name, value in found["metadata"].items()}
    del metadata["metadata.resourceVersion"]  # a write to the status counts it up
    owned = [entry for entry in metadata["metadata.managedFields"] if entry.get("subresource") != "status"]
    return metadata | {"metadata.managedFields": owned, "spec": found["spec"]}


def is_ready(kube: Kube, namespace: str, name: str = "small") -> bool:
    """Whether what spec asks for now serves, completely."""
    found = kube.get("mdep", name, namespace)
    status = found.get("status", {})
    return (
        status.get("observedGeneration") == found["metadata"]["generation"]
        and conditions(found)["Ready"][0] == "True"
        and conditions(found)["Progressing"] == ("False", "Complete")
    )


def until_ready(kube: Kube, namespace: str, name: str = "small", seconds: float = 90.0) -> Object:
    wait_for(f"{namespace}/{name} ready", lambda: is_ready(kube, namespace, name), seconds)
    return kube.get("mdep", name, namespace)


def until_reason(kube: Kube, namespace: str, reason: str, seconds: float = 60.0) -> Object:
    """Wait until Degraded says this reason, and return the object."""
    wait_for(
        f"Degraded={reason}",
        lambda: conditions(kube.get("mdep", "small", namespace)).get("Degraded") == ("True", reason),
        seconds,
    )
    return kube.get("mdep", "small", namespace)


@dataclass(frozen=True)
class Address:
    """Where a model answers, for a caller outside the cluster."""

    url: str

    def infer(self, x: list[float], name: str = "small") -> list[int]:
        """The model's labels for some rows; raises OSError for anything but an answer."""
        rows = [
            {"name": column, "shape": [len(x)], "datatype": "FP64", "data": data}
            for column, data in (("x", x), ("y", [0.0] * len(x)))
        ]
        request = urllib.request.Request(
            f"{self.url}/v2/models/{name}/infer",
            json.dumps({"inputs": rows}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            outputs = json.load(response)["outputs"]
        return next(output["data"] for output in outputs if output["name"] == "predict")


class Caller:
    """Asks without a pause while the context is open, and counts the answers; what is no answer counts as `lost`."""

    def __init__(self, there: Address, x: list[float]) -> None:
        self.answers: Counter[str] = Counter()
        self._there, self._x = there, x
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def _ask(self) -> None:
        while not self._stop.is_set():
            try:
                self.answers[str(self._there.infer(self._x))] += 1
            except OSError as error:
                self.answers[f"lost: {error}"] += 1
            self._stop.wait(0.02)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def first_answer(there: Address, x: list[float], seconds: float = 30.0) -> list[int]:
    """The first answer, however long the way to it takes to be set up."""
    end = time.monotonic() + seconds
    while True:
        try:
            return there.infer(x)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def until_drained() -> None:
    """Wait while the last old pod of a rollover goes on answering."""
    time.sleep(7)


def until_answer(there: Address, x: list[float], labels: list[int]) -> None:
    """Wait for these labels: for a moment after a rollover the way to the old pods is still open."""
    wait_for(f"the answer {labels}", lambda: first_answer(there, x) == labels, 10)
