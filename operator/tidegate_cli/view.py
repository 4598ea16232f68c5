"""What a ModelDeployment and its ModelRevisions say of themselves, read tolerantly: a field that is not there is
unknown, never an error."""

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
class ActionView:
    """The last action that somebody took, and what became of it."""

    id: str
    verb: str
    outcome: str
    """Obeyed, Refused or Ignored."""
    message: str


@dataclass(frozen=True, slots=True)
class CandidateView:
    """The revision that is to take over step by step. Unknown texts are `?`."""

    revision: str
    weight: str
    """Of 100 requests."""
    steps_behind: int | None
    """None: unknown."""
    steps: int | None
    """All of its rollout, as spec says them now; None: unknown."""
    since: str
    """When it began with the step that it is at."""

    @property
    def at(self) -> str:
        """How far it is, in words."""
        if self.steps_behind is None:
            return "at an unknown step"
        if self.steps is None:
            return f"at step {self.steps_behind + 1}"
        if self.steps_behind >= self.steps:
            return "past its last step"
        return f"at step {self.steps_behind + 1} of {self.steps}"


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
    paused: bool = False
    """By an action of somebody; `spec.rollout.paused` is another matter."""
    decision: str = ""
    """The last one in one line; empty if there is none."""
    action: ActionView | None = None
    """None: nobody acted."""
    candidate: CandidateView | None = None
    """None: nothing is on its way step by step."""

    @property
    def out_of_sync(self) -> ConditionView | None:
        """The condition SpecInSync, if it has something to say: its message tells how to put Git back in step."""
        return next((item for item in self.conditions if item.type == "SpecInSync" and item.status != "True"), None)

    @property
    def waits_for_approval(self) -> bool:
        """Whether the rollout goes on as soon as somebody approves."""
        return any((item.type, item.reason) == ("Progressing", "AwaitingApproval") for item in self.conditions)

    @property
    def turning(self) -> bool:
        """Whether another revision is wanted than the one that serves."""
        return UNKNOWN not in (self.stable, self.revision) and self.stable != self.revision


@dataclass(frozen=True, slots=True)
class RevisionView:
    """One ModelRevision at a glance. Unknown texts are `?`; verdict and decision are empty where there is none."""

    revision: str
    role: str
    since: str
    """When it took that role."""
    digest: str
    image: str
    verdict: str
    decision: str
    """The last one: what, by whom, when and why."""
    known_since: str
    """The earliest time of all that it tells: a backup that is restored makes every object anew."""


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
        paused=status.get("paused") is True,
        decision=_decision(status),
        action=_action(_mapping(status.get("action"))),
        candidate=_candidate(_mapping(status.get("candidate")), _mapping(spec.get("rollout"))),
    )


def revision_view(item: Mapping[str, Any]) -> RevisionView:
    """A ModelRevision as plain JSON."""
    metadata = _mapping(item.get("metadata"))
    spec = _mapping(item.get("spec"))
    record = _mapping(item.get("record"))
    times = (metadata.get("creationTimestamp"), record.get("since"), *(made.get("at") for made in _decisions(record)))
    return RevisionView(
        revision=_text(spec.get("revision") or metadata.get("name")),
        role=_text(record.get("role")),
        since=_text(record.get("since")),
        digest=_text(spec.get("digest")),
        image=_text(spec.get("image")),
        verdict=_verdict(_mapping(record.get("verdict"))),
        decision=_decision(record),
        known_since=min((str(time) for time in times if time), default=""),
    )


def _verdict(item: Mapping[str, Any]) -> str:
    if not item:
        return ""
    reason = f": {item['reason']}" if item.get("reason") else ""
    return f"{_text(item.get('result'))} at {_text(item.get('at'))}{reason}"


def _decision(item: Mapping[str, Any]) -> str:
    """The last decision of a status or a record."""
    last = next(reversed(_decisions(item)), None)
    if last is None:
        return ""
    revision = f" {last['revision']}" if last.get("revision") else ""
    why = f": {last['why']}" if last.get("why") else ""
    return f"{_text(last.get('what'))}{revision} by {_text(last.get('by'))} at {_text(last.get('at'))}{why}"


def _decisions(item: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [_mapping(made) for made in item.get("decisions") or () if isinstance(made, Mapping)]


def _action(item: Mapping[str, Any]) -> ActionView | None:
    if not item:
        return None
    return ActionView(
        id=str(item.get("id") or ""),
        verb=_text(item.get("verb")),
        outcome=_text(item.get("outcome")),
        message=str(item.get("message") or ""),
    )


def _candidate(item: Mapping[str, Any], rollout: Mapping[str, Any]) -> CandidateView | None:
    if not item:
        return None
    behind = item.get("step")
    return CandidateView(
        revision=_text(item.get("revision")),
        weight=_text(item.get("weight")),
        steps_behind=behind if isinstance(behind, int) else None,
        steps=_steps(rollout),
        since=_text(item.get("since")),
    )


def _steps(rollout: Mapping[str, Any]) -> int | None:
    """How many steps spec says that a rollout has."""
    if isinstance(steps := rollout.get("steps"), list):
        return len(steps)
    from tidegate_operator.api.v1alpha1 import STEPS

    strategy = _text(rollout.get("strategy"))
    return len(STEPS[strategy]) if strategy in STEPS else None


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
