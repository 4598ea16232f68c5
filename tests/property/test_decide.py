"""Whatever the world looks like, a few passes lead to an end, and none of them does what must never happen."""

import json
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import worlds
from tidegate_contract import labels, resolution
from tidegate_contract.actions import Action, Outcome
from tidegate_contract.resolution import Card, Resolution
from tidegate_operator.core.children import resolver_name
from tidegate_operator.core.choice import REJECTED
from tidegate_operator.core.claim import Claim, claim
from tidegate_operator.core.decide import decide
from tidegate_operator.core.look import Found, Fresh, Known, ReadChild, ReadModel, Together, look
from tidegate_operator.core.revision import name_of, request_of
from tidegate_operator.core.trial import DECISIONS
from tidegate_operator.core.types import (
    Answer,
    Apply,
    Child,
    Container,
    Desired,
    Forget,
    Keep,
    Kind,
    Manifest,
    Observed,
    Plan,
    Pod,
    Record,
    Ref,
    Rejected,
    Remove,
    Resolved,
    Revision,
    Role,
    Scale,
    Stable,
    Status,
    Verdict,
    Workload,
)
from worlds import FLIGHTS, ME, NOW, RELEASE, asking, in_force, name, straight

SPECS = tuple(asking(digest="sha256:" + digit * 64) for digit in "567")
LOOSE = asking(digest=None)
READ = "sha256:" + "9" * 64
NAMES = [name(spec) for spec in (*SPECS, asking(digest=READ))]
TOKENS = ["", "again"]
DEPLOYMENT = (Kind.DEPLOYMENT, "flights")


PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""How long a machine takes that does other things as well says nothing about the plan."""


@dataclass(frozen=True)
class World:
    desired: Desired
    status: Status
    observed: Observed


@st.composite
def desires(draw: st.DrawFn) -> Desired:
    return replace(
        draw(st.sampled_from([*SPECS, LOOSE])),
        replicas=draw(st.none() | st.integers(0, 4)),
        paused=draw(st.booleans()),
        retry_token=draw(st.sampled_from(TOKENS)),
    )


@st.composite
def revisions(draw: st.DrawFn) -> tuple[Revision, ...]:
    """Any of the versions, each in any role, some of them going."""
    found = []
    for spec in (*SPECS, asking(digest=READ)):
        role = draw(st.none() | st.sampled_from(Role))
        if role is None:
            continue
        since = NOW - timedelta(minutes=draw(st.integers(0, 3)))
        verdict = Verdict("Rejected", "", since, draw(st.sampled_from(TOKENS))) if role == Role.REJECTED else None
        orphaned = draw(st.sampled_from([None, NOW]))
        request = draw(st.sampled_from(["", request_of(LOOSE)])) if spec.content.digest == READ else ""
        record = Record(role, since, verdict, orphaned=orphaned, served=draw(st.booleans()))
        found.append(worlds.kept(spec, record=record, request=request, deleting=draw(st.integers(0, 5)) == 0))
    return tuple(found)


STATES: dict[str, dict[str, Any]] = {
    "intact": {},
    "changed": {"fields": b'{"f:metadata":{"f:x":{}}}'},
    "going": {"deleting": True},
    "stranger": {"owner_uid": "somebody", "applied": None},
    "left behind": {"owner_uid": "predecessor"},
    "ended": {"ended": True},
}


@st.composite
def worlds_(draw: st.DrawFn) -> World:
    """Children missing, intact, changed, going or a stranger's; pods of any revision in any state; any past."""
    desired, other = draw(desires()), draw(st.sampled_from(SPECS))
    found: dict[Ref, Child] = {}
    resolve = replace(desired, content=LOOSE.content)
    for ref, manifest in straight(resolve, in_force(other), LOOSE.content, 2).items():
        state = draw(st.sampled_from(["missing", *STATES]))
        if state != "missing":
            found[ref] = worlds.child(ref[0], manifest, uid=f"{ref[0]}-uid", **STATES[state])
    numbers = st.integers(0, 4)
    workload = draw(st.builds(Workload, *[numbers] * 6)) if DEPLOYMENT in found else None
    pods = tuple(
        Pod(f"p{n}", revision, ready=draw(st.booleans()), deleting=draw(st.booleans()))
        for n, revision in enumerate(draw(st.lists(st.sampled_from([*NAMES, "0ld"]), max_size=3)))
    )
    if draw(st.booleans()):
        answer = resolution.encode(Resolution(READ, Card(name="flights")))
        said = Container("resolve", exit_code=draw(st.sampled_from([None, 0, 1])), exit_message=answer)
        pods += (Pod("r", "", request_of(resolve), containers=(said,)),)
    verbs = st.sampled_from(["Pause", "Resume", "Rollback", "dance"])
    action = draw(
        st.none() | st.builds(Action, st.sampled_from("12"), verbs, st.sampled_from(["", *NAMES]), st.just("ada"))
    )
    status = draw(
        st.just(Status())
        | st.builds(
            Status,
            observed_generation=st.just(1),
            revision=st.sampled_from(["", *NAMES]),
            stable=st.none() | st.builds(Stable, st.sampled_from(NAMES), st.just(NOW)),
            resolved=st.none() | st.just(Resolved(request_of(resolve), worlds.URI, READ)),
            rejected=st.lists(
                st.builds(Rejected, st.sampled_from(NAMES), st.sampled_from(TOKENS)),
                max_size=3,
                unique_by=lambda entry: entry.revision,
            ).map(tuple),
            paused=st.booleans(),
            action=st.none() | st.just(Answer("1", "Pause", Outcome.OBEYED, "")),
            replicas=st.integers(0, 4),
        )
    )
    observed = Observed(found, workload, pods, draw(revisions()), action)
    return World(desired, status, observed)


def plan(world: World) -> Plan:
    return decide(ME, world.desired, world.status, world.observed, RELEASE, NOW)


def applied(kind: Kind, manifest: Manifest) -> Child:
    """A child as the API server has it after an apply."""
    metadata = manifest["metadata"]
    return Child(
        kind,
        metadata["name"],
        f"{kind}-uid",
        ME.uid,
        metadata["annotations"][labels.APPLIED],
        json.dumps(worlds.fields_of(manifest)).encode(),
    )


def carried_out(world: World, found: Plan) -> World:
    """The world after the API server has done what the plan says, and everything that was going is gone."""
    observed = world.observed
    after = {ref: child for ref, child in observed.children.items() if not child.deleting}
    kept = {revision.name: revision for revision in observed.revisions if not revision.deleting}
    workload = observed.workload
    for write in found.writes:
        match write:
            case Apply(kind=kind, manifest=manifest):
                after[kind, manifest["metadata"]["name"]] = applied(kind, manifest)
            case Remove(kind=kind, name=gone):
                after.pop((kind, gone), None)
            case Scale(replicas=replicas):
                workload = replace(workload or Workload(), wanted=replicas)
            case Keep(revision=revision):
                kept[revision.name] = replace(revision, uid=f"{revision.name}-uid")
            case Forget(name=gone):
                del kept[gone.removeprefix("flights-")]
    if DEPLOYMENT not in after:
        workload = None
    elif workload is None:
        workload = Workload(wanted=1)
    observed = replace(observed, children=after, workload=workload, revisions=tuple(kept.values()))
    return World(world.desired, found.status or world.status, observed)


def passes(world: World, count: int = 6) -> list[tuple[World, Plan]]:
    """A few passes, each in the world that the one before has left."""
    found = []
    for _ in range(count):
        found.append((world, plan(world)))
        world = carried_out(*found[-1])
    return found


@PATIENT
@given(worlds_())
def test_after_a_few_passes_there_is_nothing_left_to_do(world: World) -> None:
    *_, (_, last) = passes(world, 8)
    assert last == Plan(look_again=last.look_again)


@PATIENT
@given(worlds_())
def test_an_object_that_is_not_ours_is_never_written_to(world: World) -> None:
    for before, found in passes(world):
        for write in found.writes:
            match write:
                case Apply(kind=kind, manifest=manifest):
                    there = before.observed.children.get((kind, manifest["metadata"]["name"]))
                case Remove(kind=kind, name=at):
                    there = before.observed.children[kind, at]
                case Scale(name=at):
                    there = before.observed.children[Kind.DEPLOYMENT, at]
                case _:
                    continue
            assert there is None or claim(ME, there) == Claim.OURS


@PATIENT
@given(worlds_())
def test_every_write_to_an_existing_object_names_its_uid(world: World) -> None:
    for before, found in passes(world):
        there: dict[Any, str | None] = {ref: child.uid for ref, child in before.observed.children.items()}
        there |= {f"flights-{revision.name}": revision.uid for revision in before.observed.revisions}
        for write in found.writes:
            match write:
                case Apply(kind=kind, manifest=manifest, uid=uid):
                    assert uid == there.get((kind, manifest["metadata"]["name"]))
                case Remove(kind=kind, name=at, uid=uid):
                    assert uid == there[kind, at]
                case Scale(name=at, uid=uid):
                    assert uid == there[Kind.DEPLOYMENT, at]
                case Keep(revision=revision):
                    assert revision.uid == there.get(f"flights-{revision.name}")
                case Forget(name=at, uid=uid):
                    assert uid == there[at]


@PATIENT
@given(worlds_())
def test_pods_are_made_only_of_a_revision_that_is_kept_and_only_of_known_bytes(world: World) -> None:
    for before, found in passes(world):
        kept = {revision.name: revision for revision in before.observed.revisions}
        for write in found.writes:
            if isinstance(write, Apply) and write.kind == Kind.DEPLOYMENT:
                template = write.manifest["spec"]["template"]
                revision = kept[template["metadata"]["labels"][labels.REVISION]]
                (server,) = template["spec"]["containers"]
                assert server["image"] == revision.content.image
                assert {"name": "TIDEGATE_BUNDLE_DIGEST", "value": revision.content.digest} in server["env"]
            if isinstance(write, Keep):
                content = write.revision.content
                assert (content.digest, content.image, content.tools) != (None, None, None)
                assert name_of(content) == write.revision.name


@PATIENT
@given(worlds_())
def test_what_is_rejected_is_never_the_target(world: World) -> None:
    for before, found in passes(world):
        after = found.status or before.status
        if not after.observed_generation:
            continue
        if Rejected(after.revision, before.desired.retry_token) in after.rejected:
            # A record says it late, and there is nothing to go back to: what runs is left running.
            assert after.revision == before.status.revision
            rejected = {entry.revision for entry in after.rejected if entry.retry_token == before.desired.retry_token}
            served = (r.name for r in before.observed.revisions if r.record.served and not r.deleting)
            assert not set(served) - rejected


@PATIENT
@given(worlds_())
def test_while_paused_nothing_but_a_rollback_or_a_recorded_rejection_changes_the_target(world: World) -> None:
    for before, found in passes(world):
        after = found.status or before.status
        paused = before.desired.paused or (before.status.paused and after.paused)
        # One that has chosen nothing yet takes up what its revisions recorded.
        if paused and before.status.revision and after.revision != before.status.revision:
            records = {revision.name: revision.record for revision in before.observed.revisions}
            left = records.get(before.status.revision)
            assert (left and left.role == Role.REJECTED) or after.decisions[-1].what == "Rollback"


@PATIENT
@given(worlds_())
def test_only_budgets_and_resolvers_are_ever_removed(world: World) -> None:
    for _, found in passes(world):
        removed = {write.kind for write in found.writes if isinstance(write, Remove)}
        assert removed <= {Kind.JOB, Kind.POD_DISRUPTION_BUDGET}


@PATIENT
@given(worlds_())
def test_no_revision_that_serves_or_should_serve_is_forgotten(world: World) -> None:
    for before, found in passes(world):
        after = found.status or before.status
        forgotten = {write.name for write in found.writes if isinstance(write, Forget)}
        needed = {after.revision, after.stable.revision if after.stable else ""}
        assert not forgotten & {f"flights-{one}" for one in needed}


@PATIENT
@given(worlds_())
def test_what_is_remembered_is_bounded(world: World) -> None:
    for _, found in passes(world):
        if found.status:
            assert len(found.status.decisions) <= DECISIONS
            assert len(found.status.rejected) <= REJECTED
            assert all(len(condition.message) <= 4096 for condition in found.status.conditions)
        for write in found.writes:
            if isinstance(write, Keep):
                assert len(write.revision.record.decisions) <= 10


@PATIENT
@given(worlds_())
def test_only_a_version_that_has_taken_over_completely_is_called_stable(world: World) -> None:
    for before, found in passes(world):
        after, observed = found.status, before.observed
        if after is None or after.stable is None or not before.status.revision:
            continue
        if after.stable != before.status.stable:
            assert after.stable == Stable(after.revision, NOW)
            assert after.replicas > 0
            assert claim(ME, observed.children[DEPLOYMENT]) == Claim.OURS
            assert observed.workload is not None
            assert observed.workload.available == after.replicas
            assert all(pod.revision == after.revision for pod in observed.pods if pod.revision and not pod.deleting)
            assert after.revision in {revision.name for revision in observed.revisions}


@PATIENT
@given(worlds_())
def test_a_restore_of_the_revisions_alone_serves_nothing_that_was_rejected(world: World) -> None:
    """Status, children and pods are lost; what is kept must know of every rejection of what spec asks for."""
    *_, (settled, last) = passes(world, 8)
    settled = carried_out(settled, last)
    revision, token = settled.status.revision, settled.desired.retry_token
    lost = World(settled.desired, Status(), Observed(revisions=settled.observed.revisions))
    after = plan(lost).status
    assert after is not None
    kept = {found.name for found in settled.observed.revisions}
    for rejected in settled.status.rejected:
        if rejected.revision in kept and rejected.retry_token == token:
            assert after.revision != rejected.revision
    assert revision is not None


@PATIENT
@given(worlds_(), st.data())
def test_a_name_that_is_taken_is_never_taken_again_however_much_the_caches_lack(
    world: World, data: st.DataObject
) -> None:
    """The caches show some of what stands in the cluster; the look reads the rest before it makes anything."""
    there = world.observed.children
    seen = {ref: child for ref, child in there.items() if data.draw(st.booleans())}
    numbers = world.observed.workload if DEPLOYMENT in seen else None
    observed = replace(world.observed, children=seen, workload=numbers)
    steps = look(Known(ME, "1", world.desired, world.status, observed, RELEASE, NOW))
    answer: Any = None
    while True:
        try:
            step = steps.send(answer)
        except StopIteration:
            return
        answer = None
        match step:
            case ReadModel():
                answer = Fresh(ME.uid)
            case ReadChild(kind=kind, name=at):
                child = there.get((kind, at))
                of_deployment = world.observed.workload if kind == Kind.DEPLOYMENT else None
                answer = Found(child, of_deployment) if child else None
            case Together(steps=written):
                answer = (None,) * len(written)
            case Apply(kind=kind, manifest=manifest, uid=uid):
                stands = there.get((kind, manifest["metadata"]["name"]))
                assert uid == (stands.uid if stands else None)
                assert stands is None or claim(ME, stands) == Claim.OURS


def test_the_job_of_these_worlds_is_the_one_that_is_looked_for() -> None:
    """Else no world would ever hold a resolver."""
    assert (Kind.JOB, resolver_name(ME, request_of(LOOSE))) in straight(LOOSE, None, LOOSE.content, 2)
    assert FLIGHTS.content.digest is not None
