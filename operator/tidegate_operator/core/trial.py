"""What a version's own requests say about its rollout: whether it goes on, has to go, or is tried once more. Pure.

A version has two strikes. The first time that its requests speak against it, it gets none any more, and new pods of it
are tried afresh: one pod's bad minute rejects nobody. The second time it is rejected. Nothing that is not heard is good
news: without numbers nothing goes on.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeGuard

from tidegate_contract.actions import Verb
from tidegate_operator.core.evidence.policy import STEP_REQUESTS, STEP_SECONDS, STRIKES, Cause, strike
from tidegate_operator.core.failures import Failure
from tidegate_operator.core.types import (
    Baking,
    Candidate,
    Decision,
    Desired,
    Evidence,
    NextCheck,
    Overdue,
    Rejected,
    Stable,
    Standing,
    Status,
    Strategy,
)

OPERATOR = "tidegate"
"""Who decides what nobody asked for."""
STRIKE, HELD, INCONCLUSIVE, AGAIN, IMPOSSIBLE = "Strike", "Held", "Inconclusive", "Again", "RollbackImpossible"
UNDECIDED, LATCHED = "nothing is decided after", "a router has found by itself"
REFUTED = "none of its pods can serve it"
"""Why a version goes, where it is not by what the operator has counted."""
DECISIONS = 20
STALE, LOST = timedelta(seconds=5), timedelta(minutes=5)
"""Older numbers move nothing forward; without any for longer the candidate gets no requests."""
ROUGHLY, NEAR_SECONDS, SAID_AGAIN = 1.5, 5.0, timedelta(seconds=10)
"""What was said of the next check stands as long as it is right by this factor, or within so much; and for so long."""
FAR = timedelta(days=30).total_seconds()
PATIENCE = 2
"""So many times as long as it should a bake lasts at the most, while it is in doubt."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Whose requests are held against whose."""

    revision: str
    against: str
    number: int
    began: datetime | None = None
    """When its rollout did: a version that is asked for again is tried anew."""


def trial_of(status: Status) -> Trial | None:
    """The trial that a status speaks of; None if nothing is compared."""
    candidate, baking, stable = status.candidate, status.baking, status.stable
    if stable is None:
        return None
    if baking is not None:
        return Trial(stable.revision, baking.revision, baking.trial, baking.began)
    if candidate is None or candidate.standing is Standing.SUSPECT or candidate.revision == stable.revision:
        return None
    return Trial(candidate.revision, stable.revision, candidate.trial, candidate.began)


def heard_of(status: Status, evidence: Evidence | None) -> Evidence | None:
    """What is known of the trial that the status speaks of; what is known of another one counts for nothing."""
    trial = trial_of(status)
    known = trial and evidence and (evidence.revision, evidence.trial) == (trial.revision, trial.number)
    return evidence if known else None


def goes_on(before_uid: str, before: Trial, uid: str, trial: Trial | None) -> bool:
    """Whether a trial is the one before, going on: that of another ModelDeployment of the same name is nobody's."""
    return (before_uid, before) == (uid, trial)


def is_heard(found: Evidence | None, now: datetime) -> TypeGuard[Evidence]:
    """Whether both versions have been heard from every router just now."""
    return found is not None and found.heard is not None and now - found.heard < STALE


def gist(found: Evidence) -> tuple[bool, ...]:
    """What of it may change a decision."""
    words = (found.suspicion, found.harm, found.proof, found.broken)
    return (*map(bool, words), found.requests >= STEP_REQUESTS)


def judged(
    status: Status,
    desired: Desired,
    evidence: Evidence | None,
    refuted: Failure | None,
    kept: Collection[str],
    now: datetime,
) -> Status:
    """The status after what the requests of a trial say against its version, and after the end of its time.

    `refuted`: what shows that the candidate can never serve. `kept`: the revisions that can be gone back to.
    """
    trial, tried, found = trial_of(status), status.baking or status.candidate, heard_of(status, evidence)
    harm, cause = found.harm if found else "", Cause.HARM
    if refuted and not status.baking and desired.strategy is not Strategy.IMMEDIATE:
        harm, cause = f"{REFUTED}: {refuted.message}", Cause(refuted.reason)
    if trial and harm and status.baking and trial.against not in kept:
        why = f"{trial.against} is not kept any more, so it stays: {harm}"
        return decided(replace(status, baking=None), Decision(now, IMPOSSIBLE, trial.revision, OPERATOR, why))
    if trial and tried and harm:
        return _struck(status, trial, tried, desired, cause, harm, now)
    if status.candidate is not None:
        return _overdue(_heard(status, status.candidate, found, now), desired, now)
    return status


def _struck(
    status: Status, trial: Trial, tried: Candidate | Baking, desired: Desired, cause: Cause, why: str, now: datetime
) -> Status:
    """A strike against what is under trial."""
    strikes, bad, back = strike(tried.strikes, cause), trial.revision, trial.against
    if status.baking:
        status = replace(status, stable=Stable(back, now), baking=None)
    if strikes >= STRIKES:
        return _rejected(status, bad, back, desired, why, now)
    began = tried.began or now
    ramp = tried.ramp if isinstance(tried, Candidate) else ()
    suspect = Candidate(bad, 0, 0, now, began, None, Standing.SUSPECT, strikes, tried.trial, ramp)
    said = f"{why}; it gets no requests until new pods of it are tried"
    return decided(replace(status, candidate=suspect), Decision(now, STRIKE, bad, OPERATOR, said))


def _rejected(status: Status, bad: str, back: str, desired: Desired, why: str, now: datetime) -> Status:
    rejected = (*without(status.rejected, bad), Rejected(bad, desired.retry_token))
    status = replace(status, revision=back, candidate=None, rejected=rejected)
    return decided(status, Decision(now, Verb.ROLLBACK, back, OPERATOR, f"{bad} is rejected: {why}"))


def without(rejected: Iterable[Rejected], *names: str) -> tuple[Rejected, ...]:
    """The rejections of others."""
    return tuple(entry for entry in rejected if entry.revision not in names)


def _heard(status: Status, candidate: Candidate, found: Evidence | None, now: datetime) -> Status:
    """A candidate of which nothing is heard for too long, or something again."""
    heard = found.heard if found else None
    lasts = heard is not None and now - heard < LOST
    if candidate.standing is Standing.INCONCLUSIVE and is_heard(found, now):
        status = replace(status, candidate=replace(candidate, standing=Standing.TRIED, since=now, reached=None))
        return decided(status, Decision(now, AGAIN, candidate.revision, OPERATOR, "its routers are heard again"))
    if candidate.standing is not Standing.TRIED or not candidate.weight or lasts:
        return status
    if heard is None and now - candidate.since < LOST:
        return status  # a process that has just begun to lead asks first
    status = replace(status, candidate=replace(candidate, standing=Standing.INCONCLUSIVE, since=now, reached=None))
    why = (
        f"nothing was heard of its requests for {LOST.total_seconds() / 60:g} minutes: it gets none until something is"
    )
    return decided(status, Decision(now, INCONCLUSIVE, candidate.revision, OPERATOR, why))


def _overdue(status: Status, desired: Desired, now: datetime) -> Status:
    """A rollout that nobody has decided in its time."""
    candidate, stable, deadline = status.candidate, status.stable, desired.deadline
    if candidate is None or stable is None or deadline is None or candidate.step >= len(desired.steps):
        return status
    if candidate.standing is Standing.HELD or now - candidate.began < timedelta(seconds=deadline.seconds):
        return status
    why = f"{UNDECIDED} {duration(deadline.seconds)}"
    if deadline.then is Overdue.ROLLBACK:
        return _rejected(status, candidate.revision, stable.revision, desired, why, now)
    if candidate.standing is not Standing.TRIED:
        return status
    status = replace(status, candidate=replace(candidate, standing=Standing.HELD))
    said = f"{why}: it stays where it is until a person says something"
    return decided(status, Decision(now, HELD, candidate.revision, OPERATOR, said))


def duration(seconds: float) -> str:
    """In the largest unit that it is a whole number of.

    >>> duration(86400), duration(90)
    ('24 h', '90 s')
    """
    size, unit = next((each for each in ((3600, "h"), (60, "min")) if seconds % each[0] == 0), (1, "s"))
    return f"{seconds / size:g} {unit}"


def step_waits(candidate: Candidate, found: Evidence | None, now: datetime, *, last: bool) -> str:
    """What a step still needs before its end, in words; empty if nothing. `last`: a version takes over behind it."""
    if candidate.standing is Standing.HELD:
        return "a person: its time is over"
    if candidate.reached is None:
        return "every router to send it what the step says"
    if not is_heard(found, now):
        return "every router to say how its requests ended"
    if found.requests < STEP_REQUESTS:
        return f"{STEP_REQUESTS} requests, it had {found.requests}"
    if now - candidate.reached < timedelta(seconds=STEP_SECONDS):
        return f"{STEP_SECONDS:g} s to pass"
    if found.suspicion:
        return f"more requests: {found.suspicion}"
    if last and found.broken:
        return found.broken
    if last and not found.proof:
        return f"proof that it is no worse{f', {found.needs}' if found.needs else ''}"
    return ""


def is_baked(baking: Baking, desired: Desired, found: Evidence | None, now: datetime) -> bool:
    """Whether the version that was stable before may go: in time, or later as long as the other one is in doubt."""
    lasts, bake = now - baking.since, desired.bake
    if bake is None or lasts >= timedelta(seconds=bake.seconds * PATIENCE):
        return True
    in_doubt = not is_heard(found, now) or found.suspicion
    return lasts >= timedelta(seconds=bake.seconds) and not in_doubt


def next_check(candidate: Candidate, found: Evidence | None, now: datetime, *, last: bool) -> NextCheck | None:
    """When its step will have seen enough, if requests go on as they did. `last`: a version takes over behind it."""
    if candidate.reached is None or candidate.standing is not Standing.TRIED:
        return None
    if found is None or not found.requests or found.suspicion or (last and found.broken):
        return None
    needed = found.needed if last and not found.proof else 0
    if needed is None:
        return None
    lasted = (now - candidate.reached).total_seconds()
    more = max(needed, STEP_REQUESTS - found.requests, 0)
    seconds = max(more * lasted / found.requests, STEP_SECONDS - lasted)
    return NextCheck((now + timedelta(seconds=min(seconds, FAR))).replace(microsecond=0), more, now)


def expected(before: NextCheck | None, found: NextCheck | None, now: datetime) -> NextCheck | None:
    """What to say of the next check: what was said, as long as it is about right. A status does not tick."""
    if before is None or found is None:
        return found
    said, is_now = (max(0.0, (each.at - now).total_seconds()) for each in (before, found))
    near = abs(said - is_now) <= NEAR_SECONDS or is_now / ROUGHLY <= said <= is_now * ROUGHLY
    return before if near or now - before.as_of < SAID_AGAIN else found


def numbered(before: Status, after: Status, evidence: Evidence | None) -> Status:
    """With what the trial had counted, at each decision that was made while it was on."""
    found = heard_of(before, evidence)
    if found is None or found.numbers is None or after.decisions == before.decisions:
        return after
    told = (each if each in before.decisions else replace(each, numbers=found.numbers) for each in after.decisions)
    return replace(after, decisions=tuple(told))


def decided(status: Status, decision: Decision) -> Status:
    return replace(status, decisions=(*status.decisions, decision)[-DECISIONS:])
