"""From what the API server says to the core's frozen types."""

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from tidegate_contract import labels, source
from tidegate_contract.actions import Outcome
from tidegate_contract.route import Route, RouteError, route_of
from tidegate_operator.cluster import resources as r
from tidegate_operator.core import types as core
from tidegate_operator.core.reasons import Type


def child(kind: core.Kind, item: r.AnyChild) -> core.Child:
    metadata = item.metadata
    job = item.status if isinstance(item, r.Job) else r.JobStatus()
    return core.Child(
        kind=kind,
        name=metadata.name,
        uid=metadata.uid,
        owner_uid=next((owner.uid for owner in metadata.ownerReferences if owner.controller), None),
        applied=metadata.annotations.get(labels.APPLIED),
        fields=next((bytes(entry.fieldsV1) for entry in metadata.managedFields if entry.is_ours), b""),
        others=tuple((entry.manager, bytes(entry.fieldsV1)) for entry in metadata.managedFields if not entry.is_ours),
        deleting=metadata.deletionTimestamp is not None,
        ended=any(c.type in ("Complete", "Failed") and c.status == "True" for c in job.conditions),
        succeeded_at=_time(job.completionTime) if job.completionTime else None,
        podless_since=_time(job.startTime)
        if job.startTime and not (job.active or job.failed or job.succeeded)
        else None,
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
        request=item.metadata.labels.get(labels.REQUEST, ""),
        ready=ready is not None and ready.status == "True",
        deleting=item.metadata.deletionTimestamp is not None,
        ended=item.status.phase in ("Failed", "Succeeded"),
        unschedulable=scheduled.message if scheduled and unschedulable else "",
        containers=tuple(_container(status, unready_since) for status in statuses),
    )


def made_at(item: r.Pod) -> datetime:
    """When a pod was made."""
    return _time(item.metadata.creationTimestamp)


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


def revision(item: r.ModelRevision) -> core.Revision:
    """A stored ModelRevision.

    Raises SourceError if its address means nothing, which only a hand can have written.
    """
    spec, record = item.spec, item.record
    verdict = record.verdict
    return core.Revision(
        name=spec.revision,
        model=spec.model,
        content=core.Content(
            uri=spec.uri,
            source=source.parse(spec.uri),
            digest=spec.digest,
            image=spec.image,
            allow_pickle=spec.allowPickle,
            requests=tuple(sorted(spec.resources.requests.items())),
            limits=tuple(sorted(spec.resources.limits.items())),
            timeout=spec.timeoutSeconds,
            env=tuple((variable.name, variable.value) for variable in spec.env),
            secret_name=spec.secretName or None,
            pull_secrets=tuple(spec.imagePullSecrets),
            tools=spec.tools or None,
        ),
        request=spec.request,
        image_named=spec.imageNamed,
        card=spec.card,
        record=core.Record(
            role=record.role,
            since=record.since,
            verdict=core.Verdict(verdict.result, verdict.reason, verdict.at, verdict.retryToken) if verdict else None,
            decisions=tuple(map(_decision, record.decisions)),
            served=record.served,
            orphaned=record.orphaned,
        ),
        uid=item.metadata.uid,
        version=item.metadata.resourceVersion,
        labelled=item.metadata.labels.get(labels.MODEL) == spec.model,
        deleting=item.metadata.deletionTimestamp is not None,
    )


def revision_body(revision: core.Revision) -> dict[str, Any]:
    """The inverse of `revision`: spec and record of a ModelRevision."""
    content, record = revision.content, revision.record
    body: dict[str, Any] = {
        "role": str(record.role),
        "since": timestamp(record.since),
        "decisions": [decision_body(decision) for decision in record.decisions],
        "served": record.served,
    }
    if record.verdict:
        body["verdict"] = {
            "result": record.verdict.result,
            "reason": record.verdict.reason,
            "at": timestamp(record.verdict.at),
            "retryToken": record.verdict.retry_token,
        }
    if record.orphaned:
        body["orphaned"] = timestamp(record.orphaned)
    return {
        "spec": {
            "model": revision.model,
            "revision": revision.name,
            "request": revision.request,
            "uri": content.uri,
            "digest": content.digest,
            "allowPickle": content.allow_pickle,
            "image": content.image,
            "imageNamed": revision.image_named,
            "tools": content.tools or "",
            "resources": {"requests": dict(content.requests), "limits": dict(content.limits)},
            "timeoutSeconds": content.timeout,
            "env": [{"name": name, "value": value} for name, value in content.env],
            "secretName": content.secret_name or "",
            "imagePullSecrets": list(content.pull_secrets),
            "card": msgspec.to_builtins(revision.card),
        },
        "record": body,
    }


def _decision(body: r.DecisionBody) -> core.Decision:
    return core.Decision(body.at, body.what, body.revision, body.by, body.why, body.numbers)


def decision_body(decision: core.Decision) -> dict[str, Any]:
    """The inverse."""
    body = {
        "at": timestamp(decision.at),
        "what": decision.what,
        "revision": decision.revision,
        "by": decision.by,
        "why": decision.why,
    }
    return body | ({"numbers": msgspec.to_builtins(decision.numbers)} if decision.numbers else {})


class _Stable(msgspec.Struct):
    revision: str
    since: datetime


class _Candidate(msgspec.Struct):
    revision: str
    step: int
    weight: int
    since: datetime
    began: datetime | None = None
    reached: datetime | None = None
    standing: core.Standing = core.Standing.TRIED
    strikes: int = 0
    trial: int = 1
    ramp: list[int] = []
    passed: bool = False


class _Baking(msgspec.Struct):
    revision: str
    since: datetime
    strikes: int = 0
    trial: int = 1
    began: datetime | None = None


class _Resolved(msgspec.Struct):
    request: str
    uri: str
    digest: str


class _Rejected(msgspec.Struct):
    revision: str
    retryToken: str = ""  # noqa: N815 - the API's own spelling


class _Answer(msgspec.Struct):
    id: str
    outcome: Outcome
    verb: str = ""
    message: str = ""


class _Condition(msgspec.Struct):
    type: str
    status: core.Truth
    reason: str
    observedGeneration: int  # noqa: N815
    lastTransitionTime: datetime  # noqa: N815
    message: str = ""


class _NextCheck(msgspec.Struct, rename="camel"):
    at: datetime
    requests: int
    as_of: datetime


class _Status(msgspec.Struct, rename="camel"):
    observed_generation: int = 0
    phase: str = ""
    url: str = ""
    revision: str = ""
    stable: _Stable | None = None
    candidate: _Candidate | None = None
    baking: _Baking | None = None
    next_check: _NextCheck | None = None
    route: object = None
    resolved: _Resolved | None = None
    rejected: list[_Rejected] = []
    paused: bool = False
    action: _Answer | None = None
    decisions: list[r.DecisionBody] = []
    replicas: int = 0
    selector: str = ""
    conditions: list[_Condition] = []


_STATUS = msgspec.json.Decoder(_Status)


def states(body: msgspec.Raw) -> list[tuple[str, str]]:
    """Type and status of each condition."""
    return [(condition.type, str(condition.status)) for condition in _status(body).conditions]


def _status(body: msgspec.Raw) -> _Status:
    """Empty where it cannot be read: a later release wrote it, and what matters stands in the revisions as well."""
    try:
        return _STATUS.decode(body)
    except msgspec.ValidationError:
        return _Status()


def _route(told: object) -> Route | None:
    """None where it means nothing, as the routers take it: only a hand can have written it, and another one follows."""
    try:
        return None if told is None else route_of(told)  # most have none, and an error each time takes its time
    except RouteError:
        return None


def _candidate(found: _Candidate) -> core.Candidate:
    """One of a release before trials began with the step that it is at."""
    return core.Candidate(
        revision=found.revision,
        step=found.step,
        weight=found.weight,
        since=found.since,
        began=found.began or found.since,
        reached=found.reached,
        standing=found.standing,
        strikes=found.strikes,
        trial=found.trial,
        ramp=tuple(found.ramp),
        passed=found.passed,
    )


def status(body: msgspec.Raw) -> core.Status:
    """The status that stands in the object, as far as it is ours; empty before the first decision."""
    found = _status(body)
    stable, baking, resolved, action = found.stable, found.baking, found.resolved, found.action
    check = found.next_check
    return core.Status(
        observed_generation=found.observed_generation,
        phase=found.phase,
        url=found.url,
        revision=found.revision,
        stable=core.Stable(stable.revision, stable.since) if stable else None,
        candidate=_candidate(found.candidate) if found.candidate else None,
        baking=core.Baking(baking.revision, baking.since, baking.strikes, baking.trial, baking.began)
        if baking
        else None,
        next_check=core.NextCheck(check.at, check.requests, check.as_of) if check else None,
        route=_route(found.route),
        resolved=core.Resolved(resolved.request, resolved.uri, resolved.digest) if resolved else None,
        rejected=tuple(core.Rejected(entry.revision, entry.retryToken) for entry in found.rejected),
        paused=found.paused,
        action=core.Answer(action.id, action.verb, action.outcome, action.message) if action else None,
        decisions=tuple(map(_decision, found.decisions)),
        replicas=found.replicas,
        selector=found.selector,
        conditions=tuple(
            core.Condition(c.type, c.status, c.reason, c.message, c.observedGeneration, c.lastTransitionTime)
            for c in found.conditions
            if c.type in set(Type)
        ),
    )


def _body(value: core.Candidate | core.Baking) -> dict[str, Any]:
    """What is None is left out."""
    found = {field.name: getattr(value, field.name) for field in fields(value)}
    return {
        name: timestamp(each) if isinstance(each, datetime) else str(each) if isinstance(each, core.Standing) else each
        for name, each in found.items()
        if each is not None
    }


def status_body(status: core.Status) -> dict[str, Any]:
    """The inverse of `status`; the conditions are always complete, as server-side apply demands."""
    body: dict[str, Any] = {
        "observedGeneration": status.observed_generation,
        "phase": status.phase,
        "url": status.url,
        "revision": status.revision,
        "rejected": [{"revision": entry.revision, "retryToken": entry.retry_token} for entry in status.rejected],
        "paused": status.paused,
        "decisions": [decision_body(decision) for decision in status.decisions],
        "replicas": status.replicas,
        "selector": status.selector,
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
    if status.candidate:
        body["candidate"] = _body(status.candidate)
    if status.baking:
        body["baking"] = _body(status.baking)
    if check := status.next_check:
        body["nextCheck"] = {
            "at": timestamp(check.at),
            "requests": check.requests,
            "asOf": timestamp(check.as_of),
        }
    if status.route:
        body["route"] = msgspec.to_builtins(status.route)
    if status.resolved:
        body["resolved"] = msgspec.to_builtins(status.resolved)
    if status.action:
        body["action"] = msgspec.to_builtins(status.action)
    return body


def timestamp(moment: datetime) -> str:
    """
    >>> timestamp(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    '2026-01-02T03:04:05Z'
    """
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
