"""One look, driven by hand: what is read, what is written, in which order, and what ends it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

import worlds
from routed_worlds import ROUTED, Cluster
from tidegate_contract.actions import Action
from tidegate_operator.core.guards import ALL, Guard, Guards
from tidegate_operator.core.look import (
    Found,
    Fresh,
    Known,
    Looked,
    ReadChild,
    ReadModel,
    ReadRevision,
    ReadRouters,
    Step,
    Steps,
    Tell,
    Together,
    WriteStatus,
    look,
    look_around,
    sent,
)
from tidegate_operator.core.types import (
    ABSENT,
    Apply,
    Child,
    Desired,
    Forget,
    Keep,
    Kind,
    Observed,
    Ref,
    Refusals,
    Remove,
    Role,
    Scale,
    Status,
    Unusable,
    Workload,
)
from worlds import FLIGHTS, ME, NOW, RELEASE, asking, kept, serving, wanted

Answer = Callable[[Step], Any]
ALIVE = Fresh("uid-1")
SERVICE = (Kind.SERVICE, "flights")
DEPLOYMENT = (Kind.DEPLOYMENT, "flights")


def known(observed: Observed, status: Status = Status(), desired: Desired | Unusable = FLIGHTS) -> Known:  # noqa: B008
    return Known(ME, "41", desired, status, observed, RELEASE, NOW)


def settled(desired: Desired = FLIGHTS) -> Status:
    *_, written = (s for s in drive(look(known(serving(desired), desired=desired)))[0] if isinstance(s, WriteStatus))
    return written.status


def drive(steps: Steps, answer: Answer | None = None) -> tuple[list[Step], Looked]:
    """Every step, answered by `answer`, or as by a server in which everything is fine; and how it ended."""
    taken: list[Step] = []
    given: Any = None
    while True:
        try:
            step = steps.send(given)
        except StopIteration as end:
            looked: Looked = end.value
            return taken, looked
        if isinstance(step, Together):
            taken += step.steps
            given = tuple(answer(each) if answer else None for each in step.steps)
            continue
        taken.append(step)
        given = answer(step) if answer else None
        if isinstance(step, ReadModel) and answer is None:
            given = ALIVE


def server(
    found: Mapping[Ref, Found] = {}, model: Fresh | None = ALIVE, refuse: Mapping[tuple[str, str], str] = {}
) -> Answer:
    def answer(step: Step) -> Any:
        match step:
            case ReadModel():
                return model
            case ReadChild():
                return found.get((step.kind, step.name))
            case Apply():
                return refuse.get((step.kind, step.manifest["metadata"]["name"]))
        return None

    return answer


def kinds(steps: list[Step]) -> list[str]:
    return [type(step).__name__ for step in steps]


def there(ref: Ref, **changes: Any) -> Found:
    numbers = Workload(1, 1, 2, 2, 2, 2) if ref == DEPLOYMENT else None
    return Found(worlds.child(ref[0], wanted()[ref], **changes), numbers)


# ---------------------------------------------------------------- the order of the steps


def test_what_the_caches_lack_is_read_then_the_status_is_written_then_everything_else_in_order() -> None:
    steps, looked = drive(look(known(Observed())))
    created = [ref for ref in wanted() if ref != DEPLOYMENT]
    reads = [*(ReadChild(*ref) for ref in sorted(created)), ReadRevision(f"flights-{worlds.name()}")]
    assert steps[:6] == [ReadModel("flights"), *reads]
    status, keep, *applies = steps[6:]
    assert isinstance(status, WriteStatus)
    assert status.version == "41"
    assert isinstance(keep, Keep)
    assert [(step.kind, step.uid) for step in applies if isinstance(step, Apply)] == [
        (kind, None) for kind, _ in created
    ]
    assert len(applies) == len(created)
    assert looked == Looked({}, None)


def test_where_nothing_is_to_be_made_nothing_is_read() -> None:
    assert drive(look(known(serving(), settled()))) == ([], Looked({}, None))


def test_a_repair_reads_nothing_and_names_the_object_it_is_for() -> None:
    world = serving()
    broken = replace(world.children[SERVICE], fields=b"")
    steps, _ = drive(look(known(replace(world, children={**world.children, SERVICE: broken}), settled())))
    (step,) = steps
    assert isinstance(step, Apply)
    assert (step.kind, step.uid) == (Kind.SERVICE, "Service-uid")


def test_events_are_told_before_the_status_that_remembers_them_is_written() -> None:
    """The other way round, an operator that ends in between would never tell them."""
    world = serving(action=Action("1", "Pause", by="ada"))
    steps, _ = drive(look(known(world, settled())))
    assert kinds(steps) == ["Tell", "WriteStatus", "Keep"]


def test_the_status_is_written_before_its_consequences() -> None:
    new = asking(digest="sha256:" + "6" * 64)
    steps, _ = drive(look(known(serving(revisions=(kept(), kept(new, Role.CANDIDATE))), settled(), new)))
    assert kinds(steps) == ["Tell", "WriteStatus", "Keep", "Apply"]


def test_the_status_and_the_record_of_a_new_version_wait_for_nothing_but_the_reads() -> None:
    steps = look(known(serving(), settled(), asking(digest="sha256:" + "6" * 64)))
    step = next(steps)
    while not isinstance(step, Together):
        step = steps.send(ALIVE if isinstance(step, ReadModel) else None)
    assert kinds(list(step.steps)) == ["WriteStatus", "Keep"]


def test_a_record_that_is_refused_is_named_whatever_goes_out_with_it() -> None:
    def refuses(step: Step) -> Any:
        return ALIVE if isinstance(step, ReadModel) else "no" if isinstance(step, Keep) else None

    new = asking(digest="sha256:" + "6" * 64)
    steps, looked = drive(look(known(serving(), settled(), new)), refuses)
    (keep,) = (step for step in steps if isinstance(step, Keep))
    assert looked.refused == {("ModelRevision", f"flights-{keep.revision.name}"): "no"}


def test_replicas_come_after_children_and_removals_at_the_end() -> None:
    one = replace(FLIGHTS, replicas=1)
    world = serving()
    broken = replace(world.children[SERVICE], fields=b"")
    steps, _ = drive(look(known(replace(world, children={**world.children, SERVICE: broken}), settled(), one)))
    assert kinds(steps)[-3:] == ["Apply", "Scale", "Remove"]


def test_a_spec_that_means_nothing_is_said_and_nothing_else_is_done() -> None:
    steps, looked = drive(look(known(Observed(), desired=Unusable("no such port"))))
    assert kinds(steps) == ["Tell", "WriteStatus"]
    assert looked == Looked({}, None)


# ---------------------------------------------------------------- the owner


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(None, id="gone"),
        pytest.param(Fresh("uid-2"), id="another one of the same name"),
        pytest.param(Fresh("uid-1", deleting=True), id="going"),
    ],
)
def test_an_owner_that_is_gone_stops_everything(model: Fresh | None) -> None:
    assert drive(look(known(Observed())), server(model=model)) == ([ReadModel("flights")], Looked({}))


def test_without_the_guard_a_child_would_be_made_for_an_owner_that_is_gone() -> None:
    steps, _ = drive(look(known(Observed()), Guards(frozenset({Guard.OWNER_LIVES}))), server(model=None))
    assert "Apply" in kinds(steps)


# ---------------------------------------------------------------- names


def test_a_name_that_is_found_taken_is_not_written_and_is_named() -> None:
    stranger = Found(Child(Kind.SERVICE, "flights", "theirs", None, None, b""))
    steps, looked = drive(look(known(Observed())), server({SERVICE: stranger}))
    assert Kind.SERVICE not in [step.kind for step in steps if isinstance(step, Apply)]
    (status,) = (step.status for step in steps if isinstance(step, WriteStatus))
    assert ("NameConflict", "True") in [(c.type, c.status) for c in status.conditions]
    assert looked.look_again == 10.0


def test_without_the_guard_a_strangers_object_would_be_overwritten() -> None:
    stranger = Found(Child(Kind.SERVICE, "flights", "theirs", None, None, b""))
    guards = Guards(frozenset({Guard.NAME_FREE}))
    steps, _ = drive(look(known(Observed()), guards), server({SERVICE: stranger}))
    assert Kind.SERVICE in [step.kind for step in steps if isinstance(step, Apply)]


def test_a_child_of_ours_that_the_caches_lack_is_not_made_again() -> None:
    left = {ref: child for ref, child in serving().children.items() if ref != SERVICE}
    steps, _ = drive(look(known(serving(children=left), settled())), server({SERVICE: there(SERVICE)}))
    assert steps == [ReadModel("flights"), ReadChild(*SERVICE)]


def test_a_child_of_ours_that_the_caches_lack_is_repaired_by_its_uid() -> None:
    left = {ref: child for ref, child in serving().children.items() if ref != SERVICE}
    found = there(SERVICE, uid="fresh", fields=b"")
    steps, _ = drive(look(known(serving(children=left), settled())), server({SERVICE: found}))
    assert [(step.kind, step.uid) for step in steps if isinstance(step, Apply)] == [(Kind.SERVICE, "fresh")]


def test_a_deployment_that_the_caches_lack_brings_its_numbers() -> None:
    world = serving()
    left = {ref: child for ref, child in world.children.items() if ref != DEPLOYMENT}
    lagging = known(replace(world, children=left, workload=None), settled())
    found = Found(world.children[DEPLOYMENT], Workload(1, 1, 7, 7, 7, 7))
    steps, _ = drive(look(lagging), server({DEPLOYMENT: found}))
    assert [step for step in steps if isinstance(step, Scale)] == [Scale("flights", 2, "Deployment-uid")]


def test_no_name_is_taken_that_was_not_read() -> None:
    """Status and cache are lost, spec leaves the replicas open: what is read first says that a budget is wanted too."""
    open_ = replace(FLIGHTS, replicas=None)
    lost = known(Observed(revisions=(kept(),)), Status(), open_)
    steps, _ = drive(look(lost), server({DEPLOYMENT: Found(there(DEPLOYMENT).child, Workload(1, 1, 3, 3, 3, 3))}))
    read = {(step.kind, step.name) for step in steps if isinstance(step, ReadChild)}
    made = {(step.kind, step.manifest["metadata"]["name"]) for step in steps if isinstance(step, Apply) if not step.uid}
    assert made <= read


# ---------------------------------------------------------------- refusals


def test_refusals_are_reported_and_the_rest_is_done_all_the_same() -> None:
    refuse: Refusals = {SERVICE: "exceeded quota"}
    steps, looked = drive(look(known(Observed(revisions=(kept(),)))), server(refuse=refuse))
    assert looked == Looked(refuse, None)
    assert [step.kind for step in steps if isinstance(step, Apply)] == [ref[0] for ref in wanted()]


def test_what_was_refused_is_tried_again() -> None:
    refused: Refusals = {SERVICE: "exceeded quota"}
    left = {ref: child for ref, child in serving().children.items() if ref != SERVICE}
    world = serving(children=left, refused=refused, workload=Workload())
    steps, looked = drive(look(known(world, settled())), server(refuse=refused))
    assert looked == Looked(refused, None)
    assert Kind.SERVICE in [step.kind for step in steps if isinstance(step, Apply)]


# ---------------------------------------------------------------- preconditions


def test_every_precondition_goes_along_and_each_can_be_taken_away() -> None:
    apply, remove, forget = (
        Apply(Kind.SERVICE, {}, "a"),
        Remove(Kind.JOB, "j", "r"),
        Forget("flights-0", "f", "8"),
    )
    keep, scale = Keep(kept(version="7")), Scale("flights", 1, "s")
    create, begin = Apply(Kind.SERVICE, {}, None, ABSENT), Keep(kept(uid=None, version=ABSENT))
    writes = (apply, remove, forget, keep, scale, create, begin)
    for write in writes:
        assert sent(write, ALL) == write
    preconditions = {Guard.UPDATE_UID, Guard.DELETE_UID, Guard.RECORD_VERSION, Guard.ONLY_IF_ABSENT}
    assert [sent(write, Guards(frozenset(preconditions))) for write in writes] == [
        replace(apply, uid=None),
        replace(remove, uid=None),
        replace(forget, uid=None, version=None),
        Keep(kept(uid=None)),
        replace(scale, uid=None),
        replace(create, version=None),
        Keep(kept(uid=None)),
    ]


def test_a_status_is_written_on_the_version_that_it_was_decided_on() -> None:
    steps, _ = drive(look(known(serving())))
    assert [step.version for step in steps if isinstance(step, WriteStatus)] == ["41"]
    blind = Guards(frozenset({Guard.STATUS_VERSION}))
    steps, _ = drive(look(known(serving()), blind))
    assert [step.version for step in steps if isinstance(step, WriteStatus)] == [None]


# ---------------------------------------------------------------- the namespace


def test_the_revisions_of_a_model_are_orphans_only_when_the_api_server_says_that_it_is_gone() -> None:
    mine, theirs = kept(), kept(asking(digest="sha256:" + "6" * 64), model="other")
    answers: dict[str, Fresh | None] = {"flights": None, "other": Fresh("uid-9", deleting=True)}

    def answer(step: Step) -> Any:
        return answers[step.name] if isinstance(step, ReadModel) else None

    steps, looked = drive(look_around([mine, theirs, mine], NOW.replace(microsecond=5)), answer)
    marked = Keep(replace(mine, record=replace(mine.record, orphaned=NOW)))
    assert steps == [ReadModel("flights"), marked, marked, ReadModel("other")]
    assert looked == Looked({})


def test_an_orphan_is_forgotten_after_a_day_by_its_uid() -> None:
    alone = kept(record=worlds.recorded(Role.STABLE, orphaned=NOW))
    steps, _ = drive(look_around([alone], NOW + timedelta(days=1)), server(model=None))
    assert steps == [ReadModel("flights"), Forget(f"flights-{alone.name}", alone.uid, None)]


def test_a_namespace_without_revisions_asks_nothing() -> None:
    assert drive(look_around([], NOW)) == ([], Looked({}))


def test_tell_is_one_step_for_each_happening() -> None:
    world = serving(action=Action("1", "dance"))
    steps, _ = drive(look(known(world, settled())))
    assert [step.happening.reason for step in steps if isinstance(step, Tell)] == ["ActionRefused"]


# ---------------------------------------------------------------- where requests come through routers


def on_its_way(reached: Callable[[Cluster], bool]) -> Known:
    """A model that moves from its pods to routers, which all know as much as is needed for the next step."""
    cluster = Cluster(FLIGHTS).settle()
    cluster.desired = ROUTED
    cluster.until(reached)
    return known(cluster.observed(), cluster.status, ROUTED)


@pytest.mark.parametrize(
    ("reached", "step"),
    [
        pytest.param(lambda c: c.routers["r1"] and c.pods_of(worlds.name()) == 4, Apply, id="they are sent there"),
        pytest.param(
            lambda c: c.children[SERVICE] != worlds.child(Kind.SERVICE, wanted()[SERVICE]), Remove, id="pods go"
        ),
    ],
)
def test_routers_are_asked_for_afresh_before(reached: Callable[[Cluster], bool], step: type[Step]) -> None:
    def there(uids: frozenset[str]) -> Answer:
        return lambda asked: uids if isinstance(asked, ReadRouters) else server()(asked)

    begun = on_its_way(reached)
    steps, _ = drive(look(begun), there(frozenset(begun.observed.routers)))
    assert kinds(steps)[0] == "ReadRouters"
    assert step.__name__ in kinds(steps)
    steps, _ = drive(look(begun), there(frozenset({*begun.observed.routers, "one that started"})))
    assert step.__name__ not in kinds(steps)
