"""What the ModelRevisions should say, and which of them have had their time."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from operator import attrgetter

from tidegate_contract.resolution import Card
from tidegate_operator.core.choice import BACK, Choice, is_rejected, newest_first
from tidegate_operator.core.guards import Guard, Guards
from tidegate_operator.core.revision import Asked
from tidegate_operator.core.types import (
    ABSENT,
    Decision,
    Desired,
    Forget,
    Identity,
    Keep,
    Observed,
    Record,
    Rejected,
    Revision,
    Role,
    Status,
    Verdict,
)

KEPT = 10
DECISIONS = 10
ORPHANED = timedelta(hours=24)
"""How long revisions outlive their ModelDeployment, so that deleting one by mistake loses no record."""


def object_name(model: str, revision: str) -> str:
    return f"{model}-{revision}"


def keeps(
    identity: Identity,
    desired: Desired,
    asked: Asked,
    choice: Choice,
    status: Status,
    observed: Observed,
    card: Card,
    now: datetime,
    guards: Guards,
) -> Iterable[Keep]:
    """The revision that spec asks for, if it is new, and every record that is out of date."""
    for revision in (*new(identity, asked, choice, observed, card, now), *observed.revisions):
        wanted = record(revision, desired, status, now)
        if guards.holds(Guard.RECORD_CHANGED, is_out_of_date(revision, wanted)) and guards.holds(
            Guard.NOT_GOING, not revision.deleting
        ):
            yield Keep(replace(revision, record=wanted))


def is_out_of_date(revision: Revision, wanted: Record) -> bool:
    return wanted != revision.record or not revision.uid or not revision.labelled


def new(
    identity: Identity, asked: Asked, choice: Choice, observed: Observed, card: Card, now: datetime
) -> list[Revision]:
    """What spec asks for, once it is accepted or rejected and not kept yet: of what only waits nothing is known."""
    kept = any(revision.name == asked.name for revision in observed.revisions)
    settled = choice.rejected or (choice.content is not None and choice.target == asked.name)
    if kept or not settled:
        return []
    born = Record(Role.CANDIDATE, now)
    made = Revision(asked.name, identity.name, asked.content, asked.request, asked.image_named, card, born)
    return [replace(made, version=ABSENT)]


def record(revision: Revision, desired: Desired, status: Status, now: datetime) -> Record:
    """What a revision's record should be; what it says already stays, as far as it is still true."""
    before = revision.record
    role = role_of(revision.name, desired, status, before)
    return Record(
        role=role,
        since=before.since if role == before.role else now,
        verdict=verdict(role, revision.name, status, before, now),
        decisions=merged(before.decisions, (d for d in status.decisions if d.revision == revision.name)),
        served=before.served or (status.stable is not None and status.stable.revision == revision.name),
    )


def role_of(name: str, desired: Desired, status: Status, before: Record) -> Role:
    stable = status.stable.revision if status.stable else ""
    if any(entry.revision == name for entry in status.rejected):
        return Role.REJECTED
    if name == status.revision:
        # While going back, the version that is left is stable in the status until the last pod is gone.
        proven = name == stable or is_rejected(stable, desired, status)
        return Role.STABLE if proven else Role.CANDIDATE
    if name == stable:
        return Role.STABLE
    if before.role == Role.REJECTED:
        return Role.REJECTED
    return Role.SUPERSEDED if before.served else Role.CANDIDATE


def verdict(role: Role, name: str, status: Status, before: Record, now: datetime) -> Verdict | None:
    if role == Role.REJECTED:
        entry = next((entry for entry in status.rejected if entry.revision == name), Rejected(name, ""))
        if before.verdict and before.verdict.result == role and before.verdict.retry_token == entry.retry_token:
            return before.verdict
        why = next((f"{d.what} by {d.by}: {d.why}" for d in reversed(status.decisions) if d.what in BACK), "")
        return Verdict(str(role), why, now, entry.retry_token)
    return before.verdict if role == before.role else None


def merged(before: Iterable[Decision], after: Iterable[Decision]) -> tuple[Decision, ...]:
    """Both, each once, in the order of their times; the last of them if they are many."""
    return tuple(
        sorted(dict.fromkeys((*before, *after)), key=attrgetter("at", "what", "revision", "by", "why"))[-DECISIONS:]
    )


def forgets(
    identity: Identity, asked: Asked, status: Status, observed: Observed, written: Iterable[Keep], guards: Guards
) -> Iterable[Forget]:
    """Revisions that are neither among the newest nor needed by anything.

    One that is `written` in the same look is another version then, and can go in the next.
    """
    busy = {keep.revision.name for keep in written}
    needed = {asked.name, status.revision, *(each.revision for each in (status.stable, status.baking) if each)}
    for place, revision in enumerate(newest_first(observed.revisions)):
        if (
            guards.holds(Guard.BEYOND_THE_LAST, place >= KEPT and revision.name not in busy)
            and guards.holds(Guard.UNREFERENCED, revision.name not in needed)
            and guards.holds(Guard.NOT_GOING, not revision.deleting)
        ):
            yield Forget(object_name(identity.name, revision.name), revision.uid, revision.version)


def orphaned(revisions: Iterable[Revision], now: datetime, guards: Guards) -> Iterable[Keep | Forget]:
    """What becomes of the revisions of a ModelDeployment that is gone: kept for a day, then forgotten."""
    now = now.replace(microsecond=0)
    for revision in revisions:
        since = revision.record.orphaned
        there = guards.holds(Guard.NOT_GOING, not revision.deleting)
        if there and guards.holds(Guard.RECORD_CHANGED, since is None):
            yield Keep(replace(revision, record=replace(revision.record, orphaned=since or now)))
        if there and guards.holds(Guard.A_DAY_ALONE, since is not None and now - since >= ORPHANED):
            yield Forget(object_name(revision.model, revision.name), revision.uid, revision.version)
