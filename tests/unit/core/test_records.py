"""What the ModelRevisions say through the life of a model, and when they go."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

import worlds
from tidegate_contract.actions import Action
from tidegate_operator.core.decide import decide
from tidegate_operator.core.guards import ALL
from tidegate_operator.core.records import forgets, merged, orphaned
from tidegate_operator.core.types import (
    Decision,
    Desired,
    Forget,
    Keep,
    Observed,
    Plan,
    Record,
    Rejected,
    Revision,
    Role,
    Stable,
    Status,
    Verdict,
)
from worlds import ME, NOW, RELEASE, asking, name, serving

OLD, NEW, NEWER = (asking(digest="sha256:" + digit * 64) for digit in "567")


def at(minutes: int) -> datetime:
    return NOW + timedelta(minutes=minutes)


class Life:
    """One model whose looks are carried out as far as the revisions go; pods follow at once where they are told to."""

    def __init__(self) -> None:
        self.status = Status()
        self.revisions: dict[str, Revision] = {}
        self.minute = 0
        self.written: list[str] = []

    def look(self, desired: Desired, pods: Desired | None, action: Action | None = None) -> Plan:
        """One look at `desired` while the pods of another spec serve."""
        world = serving(pods) if pods else Observed()
        world = replace(world, revisions=tuple(self.revisions.values()), action=action)
        plan = decide(ME, desired, self.status, world, RELEASE, at(self.minute))
        self.status = plan.status or self.status
        self.written = []
        for write in plan.writes:
            if isinstance(write, Keep):
                self.revisions[write.revision.name] = replace(
                    write.revision, uid=f"{write.revision.name}-uid", version=None
                )
                self.written.append(write.revision.name)
            elif isinstance(write, Forget):
                del self.revisions[write.name.removeprefix("flights-")]
        self.minute += 1
        return plan

    def settle(self, desired: Desired, action: Action | None = None) -> None:
        """Looks until the revision has taken over and nothing is left to write."""
        target = desired
        for _ in range(3):
            self.look(desired, target, action)
            target = next(spec for spec in (OLD, NEW, NEWER) if name(spec) == self.status.revision)
        assert self.look(desired, target, action) == Plan(), "a fixed point"
        assert self.written == []

    def roles(self) -> dict[str, Role]:
        words = {name(OLD): "old", name(NEW): "new", name(NEWER): "newer"}
        return {words[found.name]: found.record.role for found in self.revisions.values()}

    def record(self, desired: Desired) -> Record:
        return self.revisions[name(desired)].record


@pytest.fixture
def life() -> Life:
    return Life()


def test_a_revision_is_born_a_candidate_and_whole(life: Life) -> None:
    life.look(OLD, None)
    asked_for = Decision(NOW, "Rollout", name(OLD), "tidegate", "spec asks for it")
    assert list(life.revisions.values()) == [
        worlds.kept(OLD, record=Record(Role.CANDIDATE, NOW, decisions=(asked_for,)))
    ]


def test_it_is_stable_from_the_look_that_sees_it_take_over(life: Life) -> None:
    life.look(OLD, None)
    life.look(OLD, OLD)
    assert (life.record(OLD).role, life.record(OLD).since) == (Role.STABLE, at(1))


def test_what_was_stable_is_superseded_by_the_look_that_sees_the_next_one_take_over(life: Life) -> None:
    life.settle(OLD)
    life.look(NEW, OLD)
    assert life.roles() == {"old": Role.STABLE, "new": Role.CANDIDATE}
    life.look(NEW, NEW)
    assert life.roles() == {"old": Role.SUPERSEDED, "new": Role.STABLE}
    assert life.record(OLD).verdict is None


def test_a_rollback_rejects_the_version_in_its_record_with_who_and_why(life: Life) -> None:
    life.settle(OLD)
    life.settle(NEW)
    began = life.minute
    life.look(NEW, NEW, Action("1", "Rollback", by="ada", reason="wrong answers"))
    assert life.roles() == {"old": Role.STABLE, "new": Role.REJECTED}
    why = f"Rollback by ada: back to it from {name(NEW)}: wrong answers"
    assert life.record(NEW).verdict == Verdict("Rejected", why, at(began), "")
    assert life.record(OLD).decisions[-1] == Decision(
        at(began), "Rollback", name(OLD), "ada", f"back to it from {name(NEW)}: wrong answers"
    )


def test_a_verdict_does_not_change_when_looked_at_again(life: Life) -> None:
    life.settle(OLD)
    life.settle(NEW)
    action = Action("1", "Rollback", by="ada")
    life.settle(NEW, action)
    before = life.record(NEW)
    life.settle(NEW, action)
    assert life.record(NEW) == before


def test_another_retry_token_makes_a_rejected_revision_a_candidate_without_a_verdict(life: Life) -> None:
    life.settle(OLD)
    life.settle(NEW)
    action = Action("1", "Rollback", by="ada")
    life.settle(NEW, action)
    life.look(replace(NEW, retry_token="again"), OLD, action)
    assert (life.record(NEW).role, life.record(NEW).verdict) == (Role.CANDIDATE, None)
    life.settle(replace(NEW, retry_token="again"), action)
    assert life.roles() == {"old": Role.SUPERSEDED, "new": Role.STABLE}


def test_a_rejected_revision_stays_rejected_when_spec_moves_on(life: Life) -> None:
    life.settle(OLD)
    life.settle(NEW)
    action = Action("1", "Rollback", by="ada")
    life.settle(NEW, action)
    life.settle(NEWER, action)
    assert life.roles() == {"old": Role.SUPERSEDED, "new": Role.REJECTED, "newer": Role.STABLE}


def test_a_restore_of_the_records_alone_leads_to_the_same_version_and_changes_no_record(life: Life) -> None:
    life.settle(OLD)
    life.settle(NEW)
    life.settle(NEW, Action("1", "Rollback", by="ada"))
    before = dict(life.revisions)
    life.status = Status()
    life.look(NEW, OLD)
    assert life.status.revision == name(OLD)
    assert life.status.rejected == (Rejected(name(NEW), ""),)
    assert life.revisions == before


def test_what_has_served_once_is_not_forgotten_to_have_served(life: Life) -> None:
    """It is asked for again, and spec moves on before it has taken over: a Rollback may still go back to it."""
    life.settle(OLD)
    life.settle(NEW)
    life.look(OLD, NEW)
    life.look(NEWER, NEW)
    assert life.roles() == {"old": Role.SUPERSEDED, "new": Role.STABLE, "newer": Role.CANDIDATE}


def test_what_never_served_is_not_superseded_but_given_up(life: Life) -> None:
    life.settle(OLD)
    life.look(NEW, OLD)
    life.look(NEWER, OLD)
    assert life.roles() == {"old": Role.STABLE, "new": Role.CANDIDATE, "newer": Role.CANDIDATE}


def test_what_is_rejected_before_it_was_accepted_is_recorded_too(life: Life) -> None:
    """Paused in front of NEW, a person goes back from OLD: a restore must know of both."""
    life.settle(NEWER)
    life.settle(OLD)
    life.look(replace(NEW, paused=True), OLD, Action("1", "Rollback", by="ada"))
    assert life.roles() == {"newer": Role.STABLE, "old": Role.REJECTED, "new": Role.REJECTED}


def test_what_only_waits_for_the_end_of_a_pause_is_not_recorded(life: Life) -> None:
    life.settle(OLD)
    life.look(replace(NEW, paused=True), OLD)
    assert life.roles() == {"old": Role.STABLE}


def test_a_second_rejection_under_another_retry_token_survives_a_restore(life: Life) -> None:
    """NEW was rejected, its next try was paused before it began and rejected again."""
    life.settle(NEWER)
    life.settle(OLD)
    life.settle(NEW)
    life.settle(NEW, Action("1", "Rollback", by="ada"))
    again = replace(NEW, retry_token="again", paused=True)
    life.settle(again, Action("2", "Rollback", by="ada"))
    assert life.status.revision == name(NEWER)
    life.status = Status()
    life.look(replace(again, paused=False), NEWER)
    assert life.status.revision == name(NEWER)


def test_a_model_that_comes_back_takes_its_orphaned_revisions_back(life: Life) -> None:
    life.settle(OLD)
    one = life.revisions[name(OLD)]
    life.revisions[name(OLD)] = replace(one, record=replace(one.record, orphaned=at(5)))
    life.status = Status()
    life.look(OLD, OLD)
    assert life.revisions[name(OLD)] == one


def test_a_record_that_is_being_deleted_is_not_written() -> None:
    stale = worlds.kept(OLD, Role.CANDIDATE, deleting=True)
    plan = decide(ME, OLD, Status(), serving(OLD, revisions=(stale,)), RELEASE, NOW)
    assert [write for write in plan.writes if isinstance(write, Keep)] == []


def test_a_record_remembers_its_last_ten_decisions_each_once_and_in_order() -> None:
    all_of_them = [Decision(at(n), "Rollout", "r", "tidegate", str(n)) for n in range(12)]
    assert merged(all_of_them[:7], all_of_them[5:][::-1]) == tuple(all_of_them[2:])
    assert merged(merged(all_of_them[:7], all_of_them[5:]), all_of_them) == tuple(all_of_them[2:])


def test_decisions_of_one_second_have_one_order() -> None:
    """Two processes that read the same record must not each write it anew."""
    same = [Decision(NOW, "Pause", "r", by, why) for by in "abcde" for why in "xyz"][:9]
    assert merged(same, ()) == merged(same[::-1], ()) == merged((), same)


# ---------------------------------------------------------------- how many are kept


def many(count: int) -> list[Revision]:
    """Superseded revisions, the oldest first."""
    found = [asking(digest="sha256:" + f"{n:02d}" * 32) for n in range(count)]
    return [worlds.kept(desired, record=worlds.recorded(Role.SUPERSEDED, at(n))) for n, desired in enumerate(found)]


def forgotten(revisions: list[Revision], status: Status, asked: str = "") -> list[Forget]:
    world = Observed(revisions=tuple(revisions))
    return list(forgets(ME, replace(worlds.asked_for(), name=asked), status, world, (), ALL))


def test_the_last_ten_are_kept() -> None:
    found = many(12)
    assert forgotten(found[2:], Status()) == []
    assert forgotten(found, Status()) == [
        Forget(f"flights-{found[1].name}", found[1].uid, None),
        Forget(f"flights-{found[0].name}", found[0].uid, None),
    ]


def test_what_serves_should_serve_or_is_asked_for_is_never_forgotten_however_old() -> None:
    found = many(14)
    status = Status(1, revision=found[0].name, stable=Stable(found[1].name, NOW))
    assert [forget.name for forget in forgotten(found, status, found[2].name)] == [f"flights-{found[3].name}"]


def test_what_is_going_is_not_forgotten_again() -> None:
    found = many(11)
    assert forgotten([replace(found[0], deleting=True), *found[1:]], Status()) == []


# ---------------------------------------------------------------- without their model


def test_the_revisions_of_a_model_that_is_gone_are_marked_then_kept_a_day_then_forgotten() -> None:
    (one,) = many(1)
    since = at(5)
    marked = replace(one, record=replace(one.record, orphaned=since))
    assert list(orphaned([one], since, ALL)) == [Keep(marked)]
    assert list(orphaned([marked], since + timedelta(hours=23, minutes=59, seconds=59), ALL)) == []
    assert list(orphaned([marked], since + timedelta(hours=24), ALL)) == [Forget(f"flights-{one.name}", one.uid, None)]


def test_a_day_is_counted_in_the_whole_seconds_that_the_record_keeps() -> None:
    (one,) = many(1)
    (keep,) = orphaned([one], NOW.replace(microsecond=900_000), ALL)
    assert isinstance(keep, Keep)
    assert keep.revision.record.orphaned == NOW


def test_an_orphan_that_is_going_is_not_forgotten_again() -> None:
    (one,) = many(1)
    going = replace(one, deleting=True, record=replace(one.record, orphaned=NOW))
    assert list(orphaned([going], at(9000), ALL)) == []
