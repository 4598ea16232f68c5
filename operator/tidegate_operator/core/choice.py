"""Which version should serve: from what spec asks for, what was decided before, and what people say.

The status is the memory of the decisions, the ModelRevisions are its copy that outlives
it: an object without a status, as after a restore, starts from what they remember.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from tidegate_contract.actions import Action, ActionError, Outcome, Verb, check
from tidegate_operator.core.failures import Failure, refutation
from tidegate_operator.core.guards import Guard, Guards
from tidegate_operator.core.revision import Asked
from tidegate_operator.core.trial import OPERATOR, decided, judged, without
from tidegate_operator.core.types import (
    Answer,
    Approval,
    Candidate,
    Content,
    Decision,
    Desired,
    Observed,
    Rejected,
    Resolved,
    Revision,
    Role,
    Stable,
    Standing,
    Status,
)

ROLLOUT = "Rollout"
"""What is decided where spec asks for another version."""
BACK = (Verb.ROLLBACK, Verb.ABORT)
MOVES = (ROLLOUT, *BACK)
"""The decisions that change what should serve."""
RESTORED = "which came back later"
"""Why what should serve goes back without a trial."""
REJECTED = 20


@dataclass(frozen=True, slots=True)
class Choice:
    """The version that should serve, and the status that remembers why."""

    status: Status
    target: str
    """Its name; empty as long as there is none."""
    content: Content | None
    """None: it is not kept anywhere, so its pods can be neither made nor changed."""
    paused: bool
    """Nothing new may begin."""
    rejected: bool
    """What spec asks for was rejected."""


def remembered(status: Status, desired: Desired, observed: Observed, now: datetime, guards: Guards) -> Status:
    """The status to go on from: the object's own, or, where it has none, what its revisions recorded.

    A rejection counts wherever it stands: a restore may bring the revisions back after their
    model, when another version is on its way already.
    """
    by_age = newest_first(observed.revisions)
    status = restored(status, observed, guards)
    status = replace(status, rejected=_rejections(status, by_age))
    if not guards.holds(Guard.NOT_REJECTED, not is_rejected(status.revision, desired, status)):
        there = (r for r in by_age if r.record.served and not r.deleting)
        served = [revision.name for revision in there if not is_rejected(revision.name, desired, status)]
        for to in served[:1]:
            why = f"the record of {status.revision}, {RESTORED}, says that it was rejected"
            status = decided(replace(status, revision=to), Decision(now, Verb.ROLLBACK, to, OPERATOR, why))
    return status


def restored(status: Status, observed: Observed, guards: Guards) -> Status:
    """The status of an object that has chosen nothing yet, from what its revisions recorded; another one as it is.

    An action that came with the object is history: a backup holds the last one, and nobody vouches for its name.
    """
    if not status.observed_generation:
        said = "it came with the object, so it is taken as history; ask again with a new id"
        history = Answer(observed.action.id, observed.action.verb, Outcome.IGNORED, said) if observed.action else None
        status = replace(status, action=guards.keep(Guard.SEEN_BEFORE, history))
    proven = (revision for revision in newest_first(observed.revisions) if revision.record.served)
    rejected = {entry.revision for entry in status.rejected}
    served = [r for r in proven if r.record.role != Role.REJECTED and r.name not in rejected]
    if status.revision or status.stable or not served:
        return status
    stable = next((revision for revision in served if revision.record.role == Role.STABLE), served[0])
    recorded = (decision for revision in served for decision in revision.record.decisions)
    pauses = sorted((d.at, d.what) for d in (*status.decisions, *recorded) if d.what in (Verb.PAUSE, Verb.RESUME))
    return replace(
        status,
        revision=stable.name,
        stable=Stable(stable.name, stable.record.since),
        paused=bool(pauses) and pauses[-1][1] == Verb.PAUSE,
    )


def _rejections(status: Status, by_age: list[Revision]) -> tuple[Rejected, ...]:
    known = {entry.revision for entry in status.rejected}
    recorded = (
        Rejected(revision.name, revision.record.verdict.retry_token)
        for revision in by_age
        if revision.record.role == Role.REJECTED and revision.record.verdict and revision.name not in known
    )
    return (*status.rejected, *recorded)


def newest_first(revisions: Iterable[Revision]) -> list[Revision]:
    """By the time since which each has its role; that time is in the record, so it survives a restore."""
    return sorted(revisions, key=lambda revision: (revision.record.since, revision.name), reverse=True)


def choose(desired: Desired, asked: Asked, before: Status, observed: Observed, now: datetime, guards: Guards) -> Choice:
    """The version that should serve from now on. `before` is what `remembered` gave."""
    status = act(desired, asked, before, observed, now, guards)
    kept = {revision.name for revision in observed.revisions if not revision.deleting}
    status = judged(status, desired, observed.evidence, _refuted(status, asked, observed), kept, now)
    paused = desired.paused or status.paused
    rejected = is_rejected(asked.name, desired, status)
    target = status.revision
    known = guards.holds(Guard.RESOLVED, asked.name != "")
    if (
        known
        and guards.holds(Guard.NOT_REJECTED, not rejected)
        and guards.holds(Guard.NOT_PAUSED, not paused or asked.name == target)
    ):
        target = asked.name
    if target != status.revision:
        why = f"spec asks for it{f' instead of {status.revision}' if status.revision else ''}"
        status = decided(status, Decision(now, ROLLOUT, target, OPERATOR, why))
    status = replace(
        status,
        revision=target,
        rejected=_still_rejected(status, target, desired)[-REJECTED:],
        resolved=_resolved(asked, status),
    )
    of_target = next((revision for revision in observed.revisions if revision.name == target), None)
    content = asked.content if known and target == asked.name else of_target.content if of_target else None
    return Choice(status, target, content, paused, rejected)


def goes_back(status: Status) -> bool:
    """Whether what should serve was chosen by a rollback, and not by spec."""
    chosen = (d.what for d in reversed(status.decisions) if d.revision == status.revision and d.what in MOVES)
    return next(chosen, "") in BACK


def _refuted(status: Status, asked: Asked, observed: Observed) -> Failure | None:
    """What the pods of the candidate have found that takes no requests to know."""
    if status.candidate is None:
        return None
    name = status.candidate.revision
    contents = {revision.name: revision.content for revision in observed.revisions} | {asked.name: asked.content}
    pods = (pod for pod in observed.pods if pod.revision == name)
    return refutation(contents[name], pods) if name in contents else None


def is_rejected(name: str, desired: Desired, status: Status) -> bool:
    """Whether a revision was rejected under the retry token that spec has now."""
    return Rejected(name, desired.retry_token) in status.rejected


def _still_rejected(status: Status, target: str, desired: Desired) -> tuple[Rejected, ...]:
    """Without what should serve now; unless there was nothing else to go back to."""
    return status.rejected if is_rejected(target, desired, status) else without(status.rejected, target)


def _resolved(asked: Asked, status: Status) -> Resolved | None:
    if not asked.request or not asked.content.digest:
        return status.resolved
    return Resolved(asked.request, asked.content.uri, asked.content.digest)


def act(desired: Desired, asked: Asked, status: Status, observed: Observed, now: datetime, guards: Guards) -> Status:
    """The status after what a person has asked for by annotation; each id is answered once."""
    action = observed.action
    if action is None or not guards.holds(Guard.NEW_ACTION, status.action is None or status.action.id != action.id):
        return status
    try:
        verb = check(action)
    except ActionError as error:
        return _answered(status, action, Outcome.REFUSED, str(error))
    match verb:
        case Verb.PAUSE:
            return _pause(status, action, now)
        case Verb.RESUME:
            return _resume(desired, status, action, now)
        case Verb.APPROVE:
            return _approve(desired, status, action, now)
        case Verb.PROMOTE:
            return _promote(desired, status, action, now)
        case Verb.ABORT if status.candidate is None:
            return _answered(status, action, Outcome.REFUSED, NO_CANDIDATE)
        case Verb.ABORT:
            return _rollback(desired, asked, status, observed, action, now, guards)
        case Verb.ROLLBACK:
            return _rollback(desired, asked, status, observed, action, now, guards)


NO_CANDIDATE = "there is no candidate: no other version is on its way through routers"


def refused(status: Status, observed: Observed, message: str, guards: Guards) -> Status:
    """The status after an action that nobody can carry out now."""
    action = observed.action
    if action is None or not guards.holds(Guard.NEW_ACTION, status.action is None or status.action.id != action.id):
        return status
    return _answered(status, action, Outcome.REFUSED, message)


def _answered(status: Status, action: Action, outcome: Outcome, message: str) -> Status:
    return replace(status, action=Answer(action.id, action.verb, outcome, message))


def _by(action: Action, now: datetime, revision: str, why: str) -> Decision:
    return Decision(now, action.verb, revision, action.by, f"{why}: {action.reason}" if action.reason else why)


def _pause(status: Status, action: Action, now: datetime) -> Status:
    if status.paused:
        return _answered(status, action, Outcome.OBEYED, "it was paused already")
    status = decided(
        replace(status, paused=True), _by(action, now, status.revision, "no other version takes over until Resume")
    )
    return _answered(status, action, Outcome.OBEYED, "no other version takes over until Resume")


def _resume(desired: Desired, status: Status, action: Action, now: datetime) -> Status:
    if status.paused:
        status = decided(
            replace(status, paused=False), _by(action, now, status.revision, "other versions may take over again")
        )
    said = "what spec asks for takes over, unless it was rejected"
    if desired.paused:
        said = "spec.rollout.paused is still true, and only its owner can change that"
    return _answered(status, action, Outcome.OBEYED, said)


def _approve(desired: Desired, status: Status, action: Action, now: datetime) -> Status:
    """The step that waits for a person is behind the candidate."""
    candidate, steps = status.candidate, desired.steps
    if candidate is None:
        return _answered(status, action, Outcome.REFUSED, NO_CANDIDATE)
    at = f"step {candidate.step + 1} of {len(steps)}"
    if candidate.step >= len(steps):
        return _answered(status, action, Outcome.REFUSED, f"{candidate.revision} takes over already")
    if not isinstance(steps[candidate.step], Approval):
        said = f"it is at {at}, which waits for the routers and not for a person: ask again when it says so"
        return _answered(status, action, Outcome.REFUSED, said)
    step = candidate.step + 1
    approved = replace(candidate, step=step, passed=step == len(steps))
    return _goes_on(status, approved, action, now, f"{at} is approved")


def _promote(desired: Desired, status: Status, action: Action, now: datetime) -> Status:
    """All steps are behind the candidate."""
    candidate, steps = status.candidate, desired.steps
    if candidate is None:
        return _answered(status, action, Outcome.REFUSED, NO_CANDIDATE)
    skipped = len(steps) - candidate.step
    if skipped <= 0:
        return _answered(status, action, Outcome.REFUSED, f"{candidate.revision} takes over already")
    if candidate.standing is Standing.SUSPECT:
        said = f"the requests of {candidate.revision} have spoken against it: new pods of it are tried first"
        return _answered(status, action, Outcome.REFUSED, said)
    past = replace(candidate, step=len(steps), passed=True)
    return _goes_on(status, past, action, now, f"it takes over without the {skipped} steps left")


def _goes_on(status: Status, candidate: Candidate, action: Action, now: datetime, why: str) -> Status:
    """So many of its steps are behind the candidate now."""
    status = replace(status, candidate=replace(candidate, since=now))
    return _answered(decided(status, _by(action, now, candidate.revision, why)), action, Outcome.OBEYED, why)


def _rollback(
    desired: Desired,
    asked: Asked,
    status: Status,
    observed: Observed,
    action: Action,
    now: datetime,
    guards: Guards,
) -> Status:
    """To a revision that is kept; everything that was under way or asked for is rejected, or it would come back."""
    kept = {revision.name: revision for revision in newest_first(observed.revisions) if not revision.deleting}
    left = tuple(dict.fromkeys(name for name in (status.revision, asked.name) if name))
    names = [name for name in kept if name not in left and not is_rejected(name, desired, status)]
    stable = [status.stable.revision] if status.stable and status.stable.revision in names else []
    served = stable + [name for name in names if kept[name].record.served]
    to = action.revision or next(iter(served), "")
    if to == status.revision and to:
        return _answered(status, action, Outcome.REFUSED, f"revision {to} is the one that should serve already")
    if is_rejected(to, desired, status):
        said = f"revision {to} was rejected; to try it again change spec.rollout.retryToken and ask for it in spec"
        return _answered(status, action, Outcome.REFUSED, said)
    if not guards.holds(Guard.KEPT, to in kept):
        choice = f"kept are {', '.join(names)}" if names else "no other revision is kept"
        wrong = f"revision {to} is not kept" if to else "no other revision has served, so one must be named"
        return _answered(status, action, Outcome.REFUSED, f"{wrong}: {choice}")
    rejected = tuple(Rejected(name, desired.retry_token) for name in left if name != to)
    status = replace(status, revision=to, rejected=(*without(status.rejected, *left), *rejected))
    status = decided(status, _by(action, now, to, f"back to it from {left[0] if left else 'nothing'}"))
    return _answered(status, action, Outcome.OBEYED, f"going back to revision {to}")
