"""Facts in the status of pods, and how soon the object tells of them."""

import time
from collections.abc import Callable

from deployed import Figure
from kube import Kube, Object, conditions, wait_for

LIMIT = 10.0
"""Seconds from the fact in a pod's status to the condition and the Event."""
STARTING = ("ContainerCreating", "PodInitializing")


def is_fact(pod: Object) -> bool:
    """Whether the pod's status says that something is wrong."""
    status = pod.get("status", {})
    if any(c["type"] == "PodScheduled" and c["status"] == "False" for c in status.get("conditions", [])):
        return True
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        state, last = container.get("state", {}), container.get("lastState", {})
        if state.get("waiting", {}).get("reason", STARTING[0]) not in STARTING:
            return True
        if any(ended.get("terminated", {}).get("exitCode", 0) for ended in (state, last)):
            return True
    return False


def said(kube: Kube, namespace: str, reason: str) -> bool:
    """Whether the object says so, in its condition and in an Event."""
    in_condition = conditions(kube.get("mdep", "small", namespace)).get("Degraded") == ("True", reason)
    events = kube.run("get", "events", "-n", namespace, "-o", "jsonpath={.items[*].reason}").split()
    return in_condition and reason in events


Told = Callable[[str], None]
"""Waits for a fact in a pod's status, then for the object to say so, in time."""


def in_time(kube: Kube, namespace: str, reason: str, figure: Figure) -> None:
    """The fact is there: the object says so within LIMIT."""
    seen = time.monotonic()
    wait_for(f"condition and Event {reason}", lambda: said(kube, namespace, reason), 30, 0.1)
    seconds = time.monotonic() - seen
    figure(f"from the fact to condition and Event: {reason}", f"{seconds:.1f} s", f"<= {LIMIT:g} s")
    assert seconds <= LIMIT
