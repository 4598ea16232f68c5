"""Which version should serve: what spec asks for, what was decided before, and what people say."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

import worlds
from tidegate_contract.actions import Action, Outcome
from tidegate_operator.core.choice import Choice, choose, remembered
from tidegate_operator.core.decide import decide, invalid
from tidegate_operator.core.guards import ALL
from tidegate_operator.core.records import record
from tidegate_operator.core.revision import Asked
from tidegate_operator.core.types import (
    Answer,
    Apply,
    Decision,
    Desired,
    Identity,
    Kind,
    Observed,
    Plan,
    Rejected,
    Revision,
    Role,
    Scale,
    Stable,
    Status,
    Verdict,
)
from worlds import FLIGHTS, ME, NOW, RELEASE, asking, in_force, name, serving

OLD, NEW, NEWER, OLDEST = (asking(digest="sha256:" + digit * 64) for digit in "5678")
SERVED = Status(observed_generation=1, revision=name(OLD), stable=Stable(name(OLD), NOW))
"""After OLD has taken over."""


def at(minutes: int) -> datetime:
    return NOW + timedelta(minutes=minutes)


def kept(
    desired: Desired, role: Role, minutes: int = 0, *, token: str = "", decisions: tuple[Decision, ...] = ()
) -> Revision:
    verdict = Verdict("Rejected", "why", at(minutes), token) if role == Role.REJECTED else None
    return worlds.kept(desired, record=worlds.recorded(role, at(minutes), verdict, decisions))


def chosen(
    desired: Desired, before: Status, *revisions: Revision, action: Action | None = None, minutes: int = 10
) -> Choice:
    return choose(
        desired, worlds.asked_for(desired), before, Observed(revisions=revisions, action=action), at(minutes), ALL
    )


def memory(status: Status, desired: Desired, world: Observed) -> Status:
    return remembered(status, desired, world, at(10), ALL)


def rollout(desired: Desired, why: str, minutes: int = 10) -> Decision:
    return Decision(at(minutes), "Rollout", name(desired), "tidegate", why)


# ---------------------------------------------------------------- where there is no status


def test_a_status_is_its_own_memory() -> None:
    world = Observed(revisions=(kept(NEW, Role.STABLE),), action=Action("7", "Pause"))
    assert memory(SERVED, OLD, world) == SERVED


def test_without_a_status_the_revisions_say_what_served_what_was_rejected_and_whether_it_was_paused() -> None:
    paused = Decision(at(2), "Pause", name(OLD), "ada", "wait")
    resumed = Decision(at(1), "Resume", name(OLD), "ada", "go on")
    world = Observed(
        revisions=(
            kept(OLDEST, Role.SUPERSEDED, 3),
            kept(OLD, Role.STABLE, 1, decisions=(resumed, paused)),
            kept(NEW, Role.REJECTED, 2, token="t"),
            kept(NEWER, Role.CANDIDATE, 4),
        )
    )
    assert memory(Status(), OLD, world) == Status(
        revision=name(OLD), stable=Stable(name(OLD), at(1)), rejected=(Rejected(name(NEW), "t"),), paused=True
    )


def test_a_pause_that_was_taken_back_does_not_come_back_with_a_restore() -> None:
    decisions = (Decision(at(1), "Pause", name(OLD), "ada", ""), Decision(at(2), "Resume", name(OLD), "ada", ""))
    world = Observed(revisions=(kept(OLD, Role.STABLE, decisions=decisions),))
    assert not memory(Status(), OLD, world).paused


def test_of_two_that_call_themselves_stable_the_younger_is_believed() -> None:
    world = Observed(revisions=(kept(OLD, Role.STABLE, 1), kept(NEW, Role.STABLE, 2)))
    assert memory(Status(), OLD, world).stable == Stable(name(NEW), at(2))


def test_a_restored_object_does_not_serve_what_was_rejected_although_git_still_asks_for_it() -> None:
    world = (kept(OLD, Role.STABLE), kept(NEW, Role.REJECTED))
    found = chosen(NEW, memory(Status(), NEW, Observed(revisions=world)), *world)
    assert (found.target, found.content, found.rejected) == (name(OLD), in_force(OLD), True)


def test_a_restored_object_of_which_only_the_rejected_version_is_kept_serves_nothing() -> None:
    world = (kept(NEW, Role.REJECTED),)
    found = chosen(NEW, memory(Status(), NEW, Observed(revisions=world)), *world)
    assert (found.target, found.content) == ("", None)


@pytest.mark.parametrize("verb", ["Pause", "Rollback", "dance"])
def test_an_action_that_comes_with_an_object_without_a_status_is_history(verb: str) -> None:
    world = serving(OLD, action=Action("7", verb, by="ada"))
    first = decide(ME, OLD, Status(), world, RELEASE, NOW).status
    assert first is not None
    said = "it came with the object, so it is taken as history; ask again with a new id"
    assert (first.action, first.paused, first.revision) == (
        Answer("7", verb, Outcome.IGNORED, said),
        False,
        name(OLD),
    )
    assert decide(ME, OLD, first, world, RELEASE, at(1)) == Plan(), "and it stays history"


def test_an_object_that_was_unusable_at_first_starts_from_its_records_too() -> None:
    world = serving(OLD, revisions=(kept(OLD, Role.STABLE), kept(NEW, Role.REJECTED)))
    first = invalid(ME, "no", Status(), world, NOW).status
    assert first is not None
    assert (first.revision, first.stable) == (name(OLD), Stable(name(OLD), NOW))
    corrected = decide(ME, NEW, first, world, RELEASE, at(1)).status
    assert corrected is not None
    assert (corrected.revision, corrected.rejected) == (name(OLD), (Rejected(name(NEW), ""),))


def test_a_rejection_counts_although_its_record_was_restored_after_the_model() -> None:
    """NEW is on its way already when the revisions come back from the backup."""
    world = Observed(revisions=(kept(OLD, Role.STABLE), kept(NEW, Role.REJECTED)))
    after = decide(ME, NEW, Status(1, revision=name(NEW)), world, RELEASE, at(1)).status
    assert after is not None
    assert (after.revision, after.rejected) == (name(OLD), (Rejected(name(NEW), ""),))


def test_a_rejection_that_is_found_late_is_a_decision_that_people_can_read() -> None:
    world = Observed(revisions=(kept(OLD, Role.STABLE), kept(NEW, Role.REJECTED)))
    plan = decide(ME, NEW, Status(1, revision=name(NEW)), world, RELEASE, at(1))
    assert plan.status is not None
    why = f"the record of {name(NEW)}, which came back later, says that it was rejected"
    assert plan.status.decisions == (Decision(at(1), "Rollback", name(OLD), "tidegate", why),)
    assert [(h.warning, h.reason) for h in plan.happenings] == [(False, "Rollback")]
    assert not held(NEW, replace(plan.status, paused=True), world), "and a pause does not stop the way back"


def test_a_rejection_that_is_found_late_is_not_forgotten_where_nothing_else_can_serve() -> None:
    world = Observed(revisions=(kept(NEW, Role.REJECTED),))
    after = decide(ME, NEW, Status(1, revision=name(NEW)), world, RELEASE, at(1)).status
    assert after is not None
    assert after.rejected == (Rejected(name(NEW), ""),)


# ---------------------------------------------------------------- what spec asks for


def test_the_first_version_is_taken_because_spec_asks_for_it() -> None:
    assert chosen(OLD, Status()) == Choice(
        Status(revision=name(OLD), decisions=(rollout(OLD, "spec asks for it"),)),
        name(OLD),
        in_force(OLD),
        False,
        False,
    )


def test_another_version_takes_over_and_the_decision_says_from_what() -> None:
    found = chosen(NEW, SERVED, kept(OLD, Role.STABLE))
    assert found.status.decisions == (rollout(NEW, f"spec asks for it instead of {name(OLD)}"),)
    assert (found.target, found.content) == (name(NEW), in_force(NEW))


def test_what_is_in_force_is_no_new_decision() -> None:
    assert chosen(OLD, SERVED, kept(OLD, Role.STABLE)) == Choice(SERVED, name(OLD), in_force(OLD), False, False)


def test_spec_goes_back_to_what_serves_in_the_middle_of_a_rollout() -> None:
    midway = replace(SERVED, revision=name(NEW))
    found = chosen(OLD, midway, kept(OLD, Role.STABLE), kept(NEW, Role.CANDIDATE))
    assert (found.target, found.status.stable, found.status.rejected) == (name(OLD), SERVED.stable, ())
    assert found.status.decisions == (rollout(OLD, f"spec asks for it instead of {name(NEW)}"),)


def test_as_long_as_the_digest_is_unknown_what_served_goes_on() -> None:
    asked = Asked("request", replace(in_force(), digest=None), False, "")
    world = Observed(revisions=(kept(OLD, Role.STABLE),))
    assert choose(FLIGHTS, asked, SERVED, world, NOW, ALL) == Choice(SERVED, name(OLD), in_force(OLD), False, False)


def test_a_digest_that_is_not_known_has_no_content_to_make_pods_of() -> None:
    asked = Asked("request", replace(in_force(), digest=None), False, "")
    assert choose(FLIGHTS, asked, Status(), Observed(), NOW, ALL) == Choice(Status(), "", None, False, False)


def test_what_serves_and_is_kept_nowhere_has_no_content() -> None:
    found = chosen(replace(NEW, paused=True), SERVED)
    assert (found.target, found.content) == (name(OLD), None)


def test_the_last_twenty_decisions_are_kept() -> None:
    many = tuple(Decision(at(n), "Rollout", "0", "tidegate", "") for n in range(20))
    found = chosen(NEW, replace(SERVED, decisions=many)).status.decisions
    assert found == (*many[1:], rollout(NEW, f"spec asks for it instead of {name(OLD)}"))


# ---------------------------------------------------------------- pause


@pytest.mark.parametrize(
    ("desired", "before"),
    [
        pytest.param(replace(NEW, paused=True), SERVED, id="by spec"),
        pytest.param(NEW, replace(SERVED, paused=True), id="by a person"),
    ],
)
def test_while_paused_another_version_does_not_take_over(desired: Desired, before: Status) -> None:
    found = chosen(desired, before, kept(OLD, Role.STABLE))
    assert found == Choice(before, name(OLD), in_force(OLD), True, False)


def test_while_paused_the_version_that_is_half_way_goes_on_being_the_target() -> None:
    midway = replace(SERVED, revision=name(NEW), paused=True)
    assert chosen(NEW, midway, kept(OLD, Role.STABLE), kept(NEW, Role.CANDIDATE)).target == name(NEW)


def test_while_paused_replicas_and_repairs_go_on() -> None:
    status = decide(ME, OLD, Status(), serving(OLD), RELEASE, NOW).status
    assert status is not None
    world = serving(OLD)
    service = world.children[Kind.SERVICE, "flights"]
    broken = replace(world, children={**world.children, (Kind.SERVICE, "flights"): replace(service, fields=b"")})
    wish = replace(NEW, replicas=5, paused=True)
    writes = decide(ME, wish, status, broken, RELEASE, at(1)).writes
    assert [type(write) for write in writes] == [Apply, Scale]
    assert writes[0] == Apply(Kind.SERVICE, writes[0].manifest, "Service-uid")  # type: ignore[union-attr]
    assert writes[1] == Scale("flights", 5, "Deployment-uid")


def held(desired: Desired, status: Status, world: Observed) -> bool:
    """Whether the Deployment is told to stop where it is."""
    (apply,) = (
        write
        for write in decide(ME, desired, status, world, RELEASE, at(9)).writes
        if isinstance(write, Apply) and write.kind == Kind.DEPLOYMENT
    )
    return bool(apply.manifest["spec"].get("paused"))


def test_a_pause_stops_a_rollover_where_it_is_and_its_end_lets_it_go_on() -> None:
    midway = replace(SERVED, revision=name(NEW))
    world = Observed(revisions=(kept(OLD, Role.STABLE), kept(NEW, Role.CANDIDATE)))
    assert held(NEW, replace(midway, paused=True), world)
    assert held(replace(NEW, paused=True), midway, world)
    assert not held(NEW, midway, world)


@pytest.mark.parametrize(
    "moved",
    [
        pytest.param(NEWER, id="to a third version"),
        pytest.param(asking(digest=None), id="to a tag that nobody has read"),
        pytest.param(OLD, id="back to what serves"),
    ],
)
def test_a_pause_goes_on_holding_what_is_half_way_when_spec_moves_on(moved: Desired) -> None:
    midway = replace(SERVED, revision=name(NEW), paused=True)
    world = Observed(revisions=(kept(OLD, Role.STABLE), kept(NEW, Role.CANDIDATE)))
    assert held(moved, midway, world)


def test_a_pause_holds_neither_the_first_version_nor_the_one_that_serves_nor_the_way_back() -> None:
    world = Observed(revisions=(kept(OLD, Role.STABLE), kept(NEW, Role.REJECTED)))
    assert not held(OLD, Status(1, revision=name(OLD), paused=True), world)
    assert not held(OLD, replace(SERVED, paused=True), world)
    back = chosen(NEW, TOOK_OVER, *LIFE, action=Action("1", "Rollback")).status
    for desired in (NEW, NEWER, asking(digest=None)):
        assert not held(desired, replace(back, paused=True), world)


# ---------------------------------------------------------------- actions


def answered(found: Choice) -> tuple[str, str]:
    assert found.status.action is not None
    return str(found.status.action.outcome), found.status.action.message


def test_pause_is_decided_recorded_and_answered() -> None:
    found = chosen(NEW, SERVED, kept(OLD, Role.STABLE), action=Action("1", "Pause", by="ada", reason="holidays"))
    said = "no other version takes over until Resume"
    assert found.status == replace(
        SERVED,
        paused=True,
        action=Answer("1", "Pause", Outcome.OBEYED, said),
        decisions=(Decision(at(10), "Pause", name(OLD), "ada", f"{said}: holidays"),),
    )


def test_a_second_pause_changes_nothing_but_the_answer() -> None:
    paused = replace(SERVED, paused=True)
    found = chosen(OLD, paused, kept(OLD, Role.STABLE), action=Action("2", "Pause"))
    assert found.status == replace(paused, action=Answer("2", "Pause", Outcome.OBEYED, "it was paused already"))


def test_resume_lets_what_spec_asks_for_take_over() -> None:
    paused = replace(SERVED, paused=True)
    found = chosen(NEW, paused, kept(OLD, Role.STABLE), action=Action("2", "Resume", by="ada"))
    assert found.target == name(NEW)
    assert found.status.decisions == (
        Decision(at(10), "Resume", name(OLD), "ada", "other versions may take over again"),
        rollout(NEW, f"spec asks for it instead of {name(OLD)}"),
    )
    assert answered(found) == ("Obeyed", "what spec asks for takes over, unless it was rejected")


def test_resume_does_not_undo_the_owners_own_pause() -> None:
    paused = replace(SERVED, paused=True)
    found = chosen(replace(NEW, paused=True), paused, kept(OLD, Role.STABLE), action=Action("2", "Resume"))
    assert (found.target, found.status.paused, found.paused) == (name(OLD), False, True)
    assert answered(found) == ("Obeyed", "spec.rollout.paused is still true, and only its owner can change that")


def test_an_action_is_obeyed_once_whatever_becomes_of_its_words() -> None:
    resumed = replace(SERVED, action=Answer("1", "Pause", Outcome.OBEYED, ""))
    for action in (Action("1", "Pause"), Action("1", "Rollback"), Action("1", "Pause", reason="another")):
        assert chosen(OLD, resumed, kept(OLD, Role.STABLE), action=action).status == resumed


def test_the_answer_stays_when_the_annotation_goes() -> None:
    told = replace(SERVED, action=Answer("1", "Pause", Outcome.OBEYED, ""))
    assert chosen(OLD, told, kept(OLD, Role.STABLE)).status == told


FORM = "an action is written <id> <verb> [<revision>]"


@pytest.mark.parametrize(
    ("action", "said"),
    [
        pytest.param(
            Action("", ""),
            f"the id is '' and must be 1 to 64 letters, digits, '.', '_' or '-'; {FORM}",
            id="nothing at all",
        ),
        pytest.param(
            Action("pause!", ""),
            f"the id is 'pause!' and must be 1 to 64 letters, digits, '.', '_' or '-'; {FORM}",
            id="no id",
        ),
        pytest.param(
            Action("1", "pause"),
            f"the verb is 'pause' and must be Pause, Resume, Approve, Promote, Abort or Rollback; {FORM}",
            id="no verb of ours",
        ),
        pytest.param(
            Action("1", "Pause", "0a1b2c3d"), "Pause takes no revision; leave '0a1b2c3d' out", id="a revision too many"
        ),
        pytest.param(
            Action("1", "Rollback", "v1"),
            "the revision is 'v1' and must be eight hex digits, as `tidegate history` lists them",
            id="no revision",
        ),
    ],
)
def test_what_nobody_can_obey_is_refused_in_words_and_does_nothing(action: Action, said: str) -> None:
    found = chosen(OLD, SERVED, kept(OLD, Role.STABLE), action=action)
    assert found.status == replace(SERVED, action=Answer(action.id, action.verb, Outcome.REFUSED, said))


def test_a_refusal_is_an_event_and_an_obeyed_action_is_one_by_its_decision() -> None:
    status = decide(ME, OLD, Status(), serving(OLD), RELEASE, NOW).status
    assert status is not None
    refused = decide(ME, OLD, status, serving(OLD, action=Action("1", "dance")), RELEASE, NOW)
    assert [(h.warning, h.reason) for h in refused.happenings] == [(True, "ActionRefused")]
    obeyed = decide(ME, OLD, status, serving(OLD, action=Action("1", "Pause", by="ada")), RELEASE, NOW)
    assert [(h.warning, h.reason, h.message) for h in obeyed.happenings] == [
        (False, "Pause", f"revision {name(OLD)}: no other version takes over until Resume (ada)")
    ]


# ---------------------------------------------------------------- rollback

TOOK_OVER = Status(observed_generation=1, revision=name(NEW), stable=Stable(name(NEW), at(1)))
"""After NEW has taken over from OLD."""
LIFE = (kept(OLDEST, Role.SUPERSEDED, 0), kept(OLD, Role.SUPERSEDED, 1), kept(NEW, Role.STABLE, 1))


def test_a_rollback_goes_to_what_served_before_and_rejects_what_it_leaves() -> None:
    found = chosen(NEW, TOOK_OVER, *LIFE, action=Action("1", "Rollback", by="ada", reason="wrong"))
    assert found == Choice(
        replace(
            TOOK_OVER,
            revision=name(OLD),
            rejected=(Rejected(name(NEW), ""),),
            action=Answer("1", "Rollback", Outcome.OBEYED, f"going back to revision {name(OLD)}"),
            decisions=(Decision(at(10), "Rollback", name(OLD), "ada", f"back to it from {name(NEW)}: wrong"),),
        ),
        name(OLD),
        in_force(OLD),
        False,
        True,
    )


def test_a_rollback_goes_to_the_revision_that_is_named() -> None:
    found = chosen(NEW, TOOK_OVER, *LIFE, action=Action("1", "Rollback", name(OLDEST)))
    assert (found.target, found.content) == (name(OLDEST), in_force(OLDEST))
    assert found.status.rejected == (Rejected(name(NEW), ""),)


def test_a_rollback_rejects_both_what_served_and_what_spec_asks_for() -> None:
    """Else what spec asks for would take over at the next look, or at Resume."""
    found = chosen(replace(NEWER, paused=True, retry_token="t"), TOOK_OVER, *LIFE, action=Action("1", "Rollback"))
    assert found.target == name(OLD)
    assert found.status.rejected == (Rejected(name(NEW), "t"), Rejected(name(NEWER), "t"))


def test_a_rollback_goes_on_although_paused() -> None:
    found = chosen(NEW, replace(TOOK_OVER, paused=True), *LIFE, action=Action("1", "Rollback"))
    assert (found.target, found.paused) == (name(OLD), True)


@pytest.mark.parametrize(("older", "stable"), [(OLD, OLDEST), (OLDEST, OLD)], ids=["by name", "against the name"])
def test_a_rollback_out_of_a_rollout_goes_to_what_serves_and_not_to_what_it_took_over_from(
    older: Desired, stable: Desired
) -> None:
    """Both have had their role since the very second in which the one took over from the other."""
    midway = Status(1, revision=name(NEW), stable=Stable(name(stable), at(1)))
    world = (kept(older, Role.SUPERSEDED, 1), kept(stable, Role.STABLE, 1), kept(NEW, Role.CANDIDATE, 2))
    assert chosen(NEW, midway, *world, action=Action("1", "Rollback")).target == name(stable)


def test_a_rollback_never_goes_to_a_candidate_that_was_given_up_before_it_served() -> None:
    """OLD serves, NEW is broken, NEWER is pushed over it and is broken too."""
    midway = replace(SERVED, revision=name(NEWER))
    world = (kept(OLD, Role.STABLE, 0), kept(NEW, Role.CANDIDATE, 1))
    status = chosen(NEWER, replace(SERVED, revision=name(NEW)), *world).status
    given_up = replace(world[1], record=record(world[1], NEWER, status, at(2)))
    found = chosen(NEWER, midway, world[0], given_up, kept(NEWER, Role.CANDIDATE, 2), action=Action("1", "Rollback"))
    assert found.target == name(OLD)


@pytest.mark.parametrize(
    ("revision", "said"),
    [
        pytest.param(
            "00000000",
            f"revision 00000000 is not kept: kept are {name(OLD)}, {name(OLDEST)}",
            id="one that nobody knows",
        ),
        pytest.param(name(NEW), f"revision {name(NEW)} is the one that should serve already", id="the current one"),
        pytest.param(
            name(NEWER),
            f"revision {name(NEWER)} was rejected; to try it again change spec.rollout.retryToken "
            "and ask for it in spec",
            id="a rejected one",
        ),
    ],
)
def test_a_rollback_to_what_cannot_serve_is_refused_in_words(revision: str, said: str) -> None:
    before = replace(TOOK_OVER, rejected=(Rejected(name(NEWER), ""),))
    world = (*LIFE, kept(NEWER, Role.REJECTED, 5))
    found = chosen(NEW, before, *world, action=Action("1", "Rollback", revision))
    assert found.status == replace(before, action=Answer("1", "Rollback", Outcome.REFUSED, said))


def test_with_nothing_to_go_back_to_a_rollback_is_refused() -> None:
    found = chosen(OLD, SERVED, kept(OLD, Role.STABLE), action=Action("1", "Rollback"))
    assert answered(found) == (
        "Refused",
        "no other revision has served, so one must be named: no other revision is kept",
    )


def test_a_rollback_does_not_go_to_a_revision_that_is_being_deleted() -> None:
    going = replace(LIFE[1], deleting=True)
    assert chosen(NEW, TOOK_OVER, LIFE[0], going, LIFE[2], action=Action("1", "Rollback")).target == name(OLDEST)


def test_a_rejected_revision_is_not_served_by_asking_for_it_again() -> None:
    back = replace(SERVED, rejected=(Rejected(name(NEW), ""),))
    assert chosen(NEW, back, kept(OLD, Role.STABLE), kept(NEW, Role.REJECTED)) == Choice(
        back, name(OLD), in_force(OLD), False, True
    )


def test_another_retry_token_lets_a_rejected_revision_try_again_and_takes_it_off_the_list() -> None:
    back = replace(SERVED, rejected=(Rejected(name(NEW), ""), Rejected(name(NEWER), "")))
    found = chosen(replace(NEW, retry_token="again"), back, kept(OLD, Role.STABLE), kept(NEW, Role.REJECTED))
    assert (found.target, found.rejected) == (name(NEW), False)
    assert found.status.rejected == (Rejected(name(NEWER), ""),)


def test_a_third_version_takes_over_although_the_second_was_rejected() -> None:
    back = replace(SERVED, rejected=(Rejected(name(NEW), ""),))
    found = chosen(NEWER, back, kept(OLD, Role.STABLE), kept(NEW, Role.REJECTED))
    assert (found.target, found.status.rejected) == (name(NEWER), back.rejected)


def test_a_rollback_to_what_was_rejected_under_another_token_takes_it_off_the_list() -> None:
    before = replace(TOOK_OVER, rejected=(Rejected(name(OLD), ""),))
    world = (kept(OLD, Role.REJECTED), kept(NEW, Role.STABLE, 1))
    found = chosen(replace(NEW, retry_token="t"), before, *world, action=Action("1", "Rollback", name(OLD)))
    assert (found.target, found.status.rejected) == (name(OLD), (Rejected(name(NEW), "t"),))


def test_a_second_rollback_rejects_what_git_still_asks_for_no_second_time() -> None:
    back = Status(1, revision=name(OLD), stable=Stable(name(OLD), NOW), rejected=(Rejected(name(NEW), ""),))
    world = (kept(OLDEST, Role.SUPERSEDED), kept(OLD, Role.STABLE, 5), kept(NEW, Role.REJECTED, 5))
    found = chosen(NEW, back, *world, action=Action("2", "Rollback"))
    assert found.target == name(OLDEST)
    assert sorted(entry.revision for entry in found.status.rejected) == sorted([name(OLD), name(NEW)])


def test_a_rollback_to_a_named_revision_is_not_held_by_a_pause() -> None:
    """OLD serves, NEW is half way, a person pauses and then names OLDEST."""
    world = Observed(
        revisions=(kept(OLD, Role.STABLE), kept(OLDEST, Role.SUPERSEDED), kept(NEW, Role.CANDIDATE, 1)),
        action=Action("2", "Rollback", name(OLDEST)),
    )
    assert not held(NEW, replace(SERVED, revision=name(NEW), paused=True), world)


def test_another_generation_of_the_object_is_no_other_decision() -> None:
    status = decide(ME, OLD, Status(), serving(OLD), RELEASE, NOW).status
    assert status is not None
    after = decide(
        Identity("ml", "flights", "uid-1", 2), replace(OLD, replicas=3), status, serving(OLD), RELEASE, at(1)
    )
    assert after.status is not None
    assert after.status.decisions == status.decisions
