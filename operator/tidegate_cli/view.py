"""What a ModelDeployment and its ModelRevisions say of themselves, read tolerantly: a field that is not there is
unknown, never an error."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidegate_cli.decisions import DecisionView, decisions_of
from tidegate_cli.tolerant import UNKNOWN, count, mapping, mappings, text


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
    standing: str = "Tried"
    """Tried, Suspect, Held or Inconclusive."""

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
    decisions: tuple[DecisionView, ...] = ()
    """The last ones, oldest first."""
    action: ActionView | None = None
    """None: nobody acted."""
    candidate: CandidateView | None = None
    """None: nothing is on its way step by step."""
    baking: str = ""
    """The revision that was stable before, while what is stable now is compared with it; empty if it is not."""
    next_check: str = ""
    """When the requests of a candidate will be enough for its step, about; empty if nobody can tell."""
    rejected: tuple[str, ...] = ()
    """Revisions that were rejected under the retry token that spec has now."""

    @property
    def decision(self) -> str:
        """The last one in one line; empty if there is none."""
        return self.decisions[-1].line if self.decisions else ""

    def condition(self, type: str) -> ConditionView | None:
        """None: the operator says nothing of it."""
        return next((item for item in self.conditions if item.type == type), None)

    @property
    def out_of_sync(self) -> ConditionView | None:
        """The condition SpecInSync, if it has something to say: its message tells how to put Git back in step."""
        found = self.condition("SpecInSync")
        return found if found and found.status != "True" else None

    @property
    def waits_for_approval(self) -> bool:
        """Whether the rollout goes on as soon as somebody approves."""
        found = self.condition("Progressing")
        return found is not None and found.reason == "AwaitingApproval"

    @property
    def turning(self) -> bool:
        """Whether another revision is wanted than the one that serves."""
        return UNKNOWN not in (self.stable, self.revision) and self.stable != self.revision


@dataclass(frozen=True, slots=True)
class RevisionView:
    """One ModelRevision at a glance. Unknown texts are `?`; the verdict is empty where there is none."""

    revision: str
    role: str
    since: str
    """When it took that role."""
    digest: str
    image: str
    verdict: str
    decisions: tuple[DecisionView, ...]
    """About it, oldest first."""
    known_since: str
    """The earliest time of all that it tells: a backup that is restored makes every object anew."""


def view(model: Mapping[str, Any], events: Sequence[Mapping[str, Any]] | None = (), limit: int = 10) -> ModelView:
    """A ModelDeployment and its Events (of which the latest are kept, oldest first; None: unknown), as plain JSON."""
    metadata = mapping(model.get("metadata"))
    spec = mapping(model.get("spec"))
    status = mapping(model.get("status"))
    rollout = mapping(spec.get("rollout"))
    generation = metadata.get("generation")
    conditions = tuple(_condition(item, generation) for item in mappings(status.get("conditions")))
    found = {condition.type: condition for condition in conditions}
    return ModelView(
        namespace=text(metadata.get("namespace")),
        name=text(metadata.get("name")),
        uri=text(mapping(spec.get("model")).get("uri")),
        url=text(status.get("url")),
        phase=text(status.get("phase")),
        stable=text(mapping(status.get("stable")).get("revision")),
        revision=text(status.get("revision")),
        replicas=text(status.get("replicas")),
        ready=found["Ready"].status if "Ready" in found else "Unknown",
        reason=found["Degraded"].reason if "Degraded" in found else UNKNOWN,
        observed=generation is not None and status.get("observedGeneration") == generation,
        conditions=conditions,
        events=None if events is None else tuple(map(_event, sorted(events, key=_event_time)[-limit:])),
        paused=status.get("paused") is True,
        decisions=decisions_of(status),
        action=_action(mapping(status.get("action"))),
        candidate=_candidate(mapping(status.get("candidate")), rollout),
        baking=str(mapping(status.get("baking")).get("revision") or ""),
        next_check=_next_check(mapping(status.get("nextCheck"))),
        rejected=_rejected(status, rollout),
    )


def revision_view(item: Mapping[str, Any]) -> RevisionView:
    """A ModelRevision as plain JSON."""
    metadata = mapping(item.get("metadata"))
    spec = mapping(item.get("spec"))
    record = mapping(item.get("record"))
    decisions = decisions_of(record)
    times = (metadata.get("creationTimestamp"), record.get("since"), *(made.at for made in decisions))
    return RevisionView(
        revision=text(spec.get("revision") or metadata.get("name")),
        role=text(record.get("role")),
        since=text(record.get("since")),
        digest=text(spec.get("digest")),
        image=text(spec.get("image")),
        verdict=_verdict(mapping(record.get("verdict"))),
        decisions=decisions,
        known_since=min((str(time) for time in times if time and time != UNKNOWN), default=""),
    )


def _verdict(item: Mapping[str, Any]) -> str:
    if not item:
        return ""
    reason = f": {item['reason']}" if item.get("reason") else ""
    return f"{text(item.get('result'))} at {text(item.get('at'))}{reason}"


def _action(item: Mapping[str, Any]) -> ActionView | None:
    if not item:
        return None
    return ActionView(
        id=str(item.get("id") or ""),
        verb=text(item.get("verb")),
        outcome=text(item.get("outcome")),
        message=str(item.get("message") or ""),
    )


def _next_check(item: Mapping[str, Any]) -> str:
    if not item:
        return ""
    more = count(item.get("requests"))
    needs = f", {more:,} more requests of its own" if more else ""
    return f"it has seen enough at about {text(item.get('at'))}{needs}; as of {text(item.get('asOf'))}"


def _candidate(item: Mapping[str, Any], rollout: Mapping[str, Any]) -> CandidateView | None:
    if not item:
        return None
    steps = steps_of(rollout, item)
    return CandidateView(
        revision=text(item.get("revision")),
        weight=text(item.get("weight")),
        steps_behind=count(item.get("step")),
        steps=None if steps is None else len(steps),
        since=text(item.get("since")),
        standing=str(item.get("standing") or "Tried"),
    )


def steps_of(rollout: Mapping[str, Any], candidate: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The steps that spec says a rollout has, or that were chosen for its candidate, in a word each; None: unknown.

    >>> steps_of({"steps": [{"weight": 5}, {"approval": {}}]}, {})
    ('5', 'approval')
    >>> steps_of({"strategy": "Auto"}, {"ramp": [10, 50]})
    ('10', '50')
    """
    if isinstance(steps := rollout.get("steps"), list):
        return tuple(str(mapping(step).get("weight") or APPROVAL) for step in steps)
    from tidegate_operator.api.v1alpha1 import STEPS
    from tidegate_operator.core.types import Strategy, Weight

    strategy = text(rollout.get("strategy"))
    if strategy == Strategy.AUTO:
        ramp = candidate.get("ramp")
        return tuple(map(str, ramp)) if isinstance(ramp, list) and ramp else None
    if strategy not in STEPS:
        return None
    return tuple(str(step.percent) if isinstance(step, Weight) else APPROVAL for step in STEPS[strategy])


APPROVAL = "approval"


def _rejected(status: Mapping[str, Any], rollout: Mapping[str, Any]) -> tuple[str, ...]:
    token = rollout.get("retryToken") or ""
    entries = mappings(status.get("rejected"))
    return tuple(text(entry.get("revision")) for entry in entries if (entry.get("retryToken") or "") == token)


def _condition(item: Mapping[str, Any], generation: object) -> ConditionView:
    return ConditionView(
        type=text(item.get("type")),
        status=text(item.get("status")),
        reason=text(item.get("reason")),
        message=str(item.get("message") or ""),
        since=text(item.get("lastTransitionTime")),
        current=item.get("observedGeneration", generation) == generation,
    )


def _event(item: Mapping[str, Any]) -> EventView:
    series = mapping(item.get("series"))
    return EventView(
        time=_event_time(item) or UNKNOWN,
        type=text(item.get("type")),
        reason=text(item.get("reason")),
        message=str(item.get("message") or item.get("note") or ""),
        count=int(series.get("count") or item.get("count") or 1),
    )


def _event_time(item: Mapping[str, Any]) -> str:
    series = mapping(item.get("series"))
    times = (
        series.get("lastObservedTime"),
        item.get("lastTimestamp"),
        item.get("eventTime"),
        item.get("firstTimestamp"),
    )
    created = mapping(item.get("metadata")).get("creationTimestamp")
    return next((str(time) for time in (*times, created) if time), "")
