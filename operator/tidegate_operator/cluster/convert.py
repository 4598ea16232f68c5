"""From what the API server says to the core's frozen types."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tidegate_contract import labels
from tidegate_operator.cluster import resources as r
from tidegate_operator.core import types as core
from tidegate_operator.core.reasons import Type


def child(kind: core.Kind, item: r.Child | r.Deployment) -> core.Child:
    metadata = item.metadata
    ours = (m for m in metadata.managedFields if (m.manager, m.operation, m.subresource) == (r.MANAGER, "Apply", ""))
    return core.Child(
        kind=kind,
        name=metadata.name,
        uid=metadata.uid,
        owner_uid=next((owner.uid for owner in metadata.ownerReferences if owner.controller), None),
        applied=metadata.annotations.get(labels.APPLIED),
        fields=bytes(next((m.fieldsV1 for m in ours), b"")),
        deleting=metadata.deletionTimestamp is not None,
    )


def workload(item: r.Deployment) -> core.Workload:
    status = item.status
    return core.Workload(
        generation=item.metadata.generation,
        observed_generation=status.observedGeneration,
        wanted=item.spec.replicas,
        total=status.replicas,
        updated=status.updatedReplicas,
        available=status.availableReplicas,
        refused=next((c.message for c in status.conditions if c.type == "ReplicaFailure" and c.status == "True"), ""),
    )


SETTLE = timedelta(seconds=30)
"""How long after a crash a pod may take to lose its readiness."""


def pod(item: r.Pod) -> core.Pod:
    conditions = {condition.type: condition for condition in item.status.conditions}
    scheduled, ready = conditions.get("PodScheduled"), conditions.get("Ready")
    unschedulable = scheduled is not None and scheduled.status == "False" and scheduled.reason == "Unschedulable"
    unready_since = _time(ready.lastTransitionTime) if ready and ready.lastTransitionTime else None
    statuses = (*item.status.initContainerStatuses, *item.status.containerStatuses)
    return core.Pod(
        name=item.metadata.name,
        revision=item.metadata.labels.get(labels.REVISION, ""),
        ready=ready is not None and ready.status == "True",
        deleting=item.metadata.deletionTimestamp is not None,
        unschedulable=scheduled.message if scheduled and unschedulable else "",
        containers=tuple(_container(status, unready_since) for status in statuses),
    )


def _container(status: r.ContainerStatus, unready_since: datetime | None) -> core.Container:
    """A container, with the run that ended last; a crash that the pod has been ready after is history."""
    ended = status.state.terminated or status.lastState.terminated
    if ended and ended is status.lastState.terminated and unready_since and ended.finishedAt:
        ended = ended if unready_since <= _time(ended.finishedAt) + SETTLE else None
    waiting = status.state.waiting
    return core.Container(
        name=status.name,
        ready=status.ready,
        waiting=waiting.reason if waiting else "",
        waiting_message=waiting.message if waiting else "",
        exit_code=ended.exitCode if ended else None,
        exit_reason=ended.reason if ended else "",
        exit_message=ended.message if ended else "",
    )


def identity(item: r.ModelDeployment) -> core.Identity:
    metadata = item.metadata
    return core.Identity(metadata.namespace, metadata.name, metadata.uid, metadata.generation)


def status(body: Mapping[str, Any]) -> core.Status:
    """The status that stands in the object, as far as it is ours; empty before the first decision."""
    stable = body.get("stable")
    return core.Status(
        observed_generation=body.get("observedGeneration", 0),
        phase=body.get("phase", ""),
        url=body.get("url", ""),
        revision=body.get("revision", ""),
        stable=core.Stable(stable["revision"], _time(stable["since"])) if stable else None,
        replicas=body.get("replicas", 0),
        conditions=tuple(
            core.Condition(
                type=condition["type"],
                status=core.Truth(condition["status"]),
                reason=condition["reason"],
                message=condition.get("message", ""),
                observed_generation=condition["observedGeneration"],
                since=_time(condition["lastTransitionTime"]),
            )
            for condition in body.get("conditions", ())
            if condition["type"] in set(Type)
        ),
    )


def status_body(status: core.Status) -> dict[str, Any]:
    """The inverse of `status`; the conditions are always complete, as server-side apply demands."""
    body: dict[str, Any] = {
        "observedGeneration": status.observed_generation,
        "phase": status.phase,
        "url": status.url,
        "revision": status.revision,
        "replicas": status.replicas,
        "conditions": [
            {
                "type": str(condition.type),
                "status": str(condition.status),
                "reason": str(condition.reason),
                "message": condition.message,
                "observedGeneration": condition.observed_generation,
                "lastTransitionTime": timestamp(condition.since),
            }
            for condition in status.conditions
        ],
    }
    if status.stable:
        body["stable"] = {"revision": status.stable.revision, "since": timestamp(status.stable.since)}
    return body


def timestamp(moment: datetime) -> str:
    """
    >>> timestamp(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    '2026-01-02T03:04:05Z'
    """
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
