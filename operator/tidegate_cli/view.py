"""What a ModelDeployment says of itself, read tolerantly: a field that is not there is unknown, never an error."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

UNKNOWN = "?"


@dataclass(frozen=True, slots=True)
class ConditionView:
    """One condition; `current` is False where it speaks of an older generation of the spec."""

    type: str
    status: str
    reason: str
    message: str
    since: str
    current: bool


@dataclass(frozen=True, slots=True)
class EventView:
    """One Event of the object."""

    time: str
    type: str
    reason: str
    message: str
    count: int


@dataclass(frozen=True, slots=True)
class ModelView:
    """One ModelDeployment at a glance. Unknown texts are `?`."""

    namespace: str
    name: str
    uri: str
    url: str
    phase: str
    stable: str
    """The revision that serves."""
    revision: str
    """The revision that the spec asks for."""
    replicas: str
    """The number of pods that is wanted."""
    ready: str
    """True, False or Unknown, as conditions have it."""
    reason: str
    """Why it is degraded, or that it is as expected; what `kubectl get` shows too."""
    observed: bool
    """Whether the status speaks of the spec as it is now."""
    conditions: tuple[ConditionView, ...]
    events: tuple[EventView, ...] | None
    """None: unknown."""


def view(model: Mapping[str, Any], events: Sequence[Mapping[str, Any]] | None = (), limit: int = 10) -> ModelView:
    """A ModelDeployment and its Events (of which the latest are kept, oldest first; None: unknown), as plain JSON."""
    metadata = _mapping(model.get("metadata"))
    spec = _mapping(model.get("spec"))
    status = _mapping(model.get("status"))
    generation = metadata.get("generation")
    conditions = tuple(
        _condition(item, generation) for item in status.get("conditions") or () if isinstance(item, Mapping)
    )
    found = {condition.type: condition for condition in conditions}
    return ModelView(
        namespace=_text(metadata.get("namespace")),
        name=_text(metadata.get("name")),
        uri=_text(_mapping(spec.get("model")).get("uri")),
        url=_text(status.get("url")),
        phase=_text(status.get("phase")),
        stable=_text(_mapping(status.get("stable")).get("revision")),
        revision=_text(status.get("revision")),
        replicas=_text(status.get("replicas")),
        ready=found["Ready"].status if "Ready" in found else "Unknown",
        reason=found["Degraded"].reason if "Degraded" in found else UNKNOWN,
        observed=generation is not None and status.get("observedGeneration") == generation,
        conditions=conditions,
        events=None if events is None else tuple(map(_event, sorted(events, key=_event_time)[-limit:])),
    )


def _condition(item: Mapping[str, Any], generation: object) -> ConditionView:
    return ConditionView(
        type=_text(item.get("type")),
        status=_text(item.get("status")),
        reason=_text(item.get("reason")),
        message=str(item.get("message") or ""),
        since=_text(item.get("lastTransitionTime")),
        current=item.get("observedGeneration", generation) == generation,
    )


def _event(item: Mapping[str, Any]) -> EventView:
    series = _mapping(item.get("series"))
    return EventView(
        time=_event_time(item) or UNKNOWN,
        type=_text(item.get("type")),
        reason=_text(item.get("reason")),
        message=str(item.get("message") or item.get("note") or ""),
        count=int(series.get("count") or item.get("count") or 1),
    )


def _event_time(item: Mapping[str, Any]) -> str:
    series = _mapping(item.get("series"))
    times = (
        series.get("lastObservedTime"),
        item.get("lastTimestamp"),
        item.get("eventTime"),
        item.get("firstTimestamp"),
    )
    created = _mapping(item.get("metadata")).get("creationTimestamp")
    return next((str(time) for time in (*times, created) if time), "")


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return UNKNOWN if value is None or value == "" else str(value)
