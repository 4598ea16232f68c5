"""What is decided: the plan for each small world, as a whole."""

from dataclasses import replace
from typing import TypeVar

import pytest

import worlds
from tidegate_operator.core.children import seal
from tidegate_operator.core.decide import STRANGER_SECONDS, decide, invalid
from tidegate_operator.core.types import (
    ABSENT,
    Apply,
    Child,
    Condition,
    Container,
    Decision,
    Desired,
    Happening,
    Keep,
    Kind,
    Observed,
    Owner,
    Plan,
    Record,
    Ref,
    Remove,
    Role,
    Scale,
    Stable,
    Status,
    Truth,
    Workload,
    Write,
)
from worlds import FLIGHTS, LATER, ME, NOW, RELEASE, asking, name, serving, wanted

REVISION = name()
W = TypeVar("W", bound=Write)
SERVICE = (Kind.SERVICE, "flights")
DEPLOYMENT = (Kind.DEPLOYMENT, "flights")
EVERY = list(wanted())
NEW = (worlds.kept(role=Role.CANDIDATE),)
"""The revision, kept, before it has served."""
kinds = pytest.mark.parametrize("ref", EVERY, ids=lambda ref: str(ref[0]))


def plan(observed: Observed, status: Status = Status(), desired: Desired = FLIGHTS, now: object = NOW) -> Plan:  # noqa: B008
    return decide(ME, desired, status, observed, RELEASE, now)  # type: ignore[arg-type]


def settled(desired: Desired = FLIGHTS, observed: Observed | None = None) -> Status:
    """The status of a model that serves."""
    found = plan(observed or serving(desired), desired=desired).status
    assert found is not None
    return found


def of(type: type[W], found: Plan) -> tuple[W, ...]:
    """The writes of one type."""
    return tuple(write for write in found.writes if isinstance(write, type))


def condition(found: Plan, type: str) -> tuple[str, str]:
    assert found.status is not None
    return next((str(c.status), str(c.reason)) for c in found.status.conditions if c.type == type)


def message(found: Plan, type: str) -> str:
    assert found.status is not None
    return next(c.message for c in found.status.conditions if c.type == type)


def test_nothing_there_keeps_the_revision_and_makes_every_child_in_order_but_the_pods() -> None:
    first = plan(Observed())
    assert first.writes == (
        Keep(
            worlds.kept(
                role=Role.CANDIDATE,
                uid=None,
                version=ABSENT,
                record=Record(
                    Role.CANDIDATE, NOW, decisions=(Decision(NOW, "Rollout", REVISION, "tidegate", "spec asks for it"),)
                ),
            )
        ),
        *(
            Apply(ref[0], seal(manifest), None, ABSENT)
            for ref, manifest in wanted().items()
            if ref[0] != Kind.DEPLOYMENT
        ),
    )
    assert first.look_again is None


def test_pods_are_made_when_their_revision_is_kept() -> None:
    found = plan(Observed(revisions=(worlds.kept(),)))
    assert of(Apply, found) == tuple(Apply(ref[0], seal(manifest), None, ABSENT) for ref, manifest in wanted().items())


def test_the_first_status_says_what_is_known_and_no_more() -> None:
    found = plan(Observed())
    assert found.status == Status(
        observed_generation=1,
        phase="Preparing",
        url="http://flights.ml.svc",
        revision=REVISION,
        decisions=(Decision(NOW, "Rollout", REVISION, "tidegate", "spec asks for it"),),
        replicas=2,
        selector="models.tidegate.dev/model=flights,models.tidegate.dev/component=server",
        conditions=(
            Condition("Ready", Truth.FALSE, "NoReadyPod", "no pod is ready yet", 1, NOW),
            Condition(
                "Progressing", Truth.TRUE, "RollingOver", f"revision {REVISION} is taking over pod by pod", 1, NOW
            ),
            Condition("Degraded", Truth.FALSE, "AsExpected", "nothing is known to stand in the way", 1, NOW),
            Condition(
                "ArtifactAvailable",
                Truth.UNKNOWN,
                "Pending",
                "no pod has read oci://registry.example/flights:1 yet",
                1,
                NOW,
            ),
            Condition("SpecInSync", Truth.TRUE, "InSync", f"spec asks for revision {REVISION}", 1, NOW),
            Condition("NameConflict", Truth.FALSE, "NoConflict", "all names are free or ours", 1, NOW),
            Condition("DeploymentAltered", Truth.FALSE, "AsMade", "the Deployment is as it was made", 1, NOW),
        ),
    )
    assert found.happenings == ()


def test_a_world_that_is_right_needs_nothing() -> None:
    assert plan(serving(), settled(), now=LATER) == Plan()


def test_a_served_model_says_so_once() -> None:
    found = plan(serving(), settled(observed=worlds.failing()))
    assert found.happenings == (
        Happening(False, "Serving", "the model answers"),
        Happening(False, "Complete", f"revision {REVISION} has taken over"),
    )
    assert found.status is not None
    assert found.status.stable == Stable(REVISION, NOW)
    assert found.status.phase == "Idle"


def test_children_come_in_the_order_of_their_kinds() -> None:
    loose = asking(digest=None)
    found = worlds.straight(loose, worlds.in_force(), loose.content, 2)
    assert [kind for kind, _ in found] == [kind for kind in Kind if kind != Kind.ROLE_BINDING]  # of routers alone


@kinds
def test_a_deleted_child_comes_back_alone(ref: Ref) -> None:
    world = serving()
    left = {k: c for k, c in world.children.items() if k != ref}
    found = plan(replace(world, children=left), settled())
    assert of(Apply, found) == (Apply(ref[0], seal(wanted()[ref]), None, ABSENT),)


@kinds
def test_a_changed_child_is_repaired_alone_and_by_its_uid(ref: Ref) -> None:
    world = serving()
    changed = {**world.children, ref: replace(world.children[ref], fields=b'{"f:metadata":{"f:x":{}}}')}
    found = plan(replace(world, children=changed), settled())
    assert of(Apply, found) == (Apply(ref[0], seal(wanted()[ref]), uid=f"{ref[0]}-uid"),)


def test_replicas_move_by_scale_and_by_nothing_else() -> None:
    more = replace(FLIGHTS, replicas=5)
    found = plan(serving(), settled(), more)
    assert found.writes == (Scale("flights", 5, "Deployment-uid"),)
    assert all("replicas" not in manifest.get("spec", {}) for manifest in wanted(more).values())


def test_replicas_that_somebody_changed_are_put_back() -> None:
    world = serving()
    assert world.workload is not None
    found = plan(replace(world, workload=replace(world.workload, wanted=7)), settled())
    assert found.writes == (Scale("flights", 2, "Deployment-uid"),)


def test_a_single_replica_has_no_disruption_budget() -> None:
    one = replace(FLIGHTS, replicas=1)
    found = plan(serving(), settled(), one)
    assert of(Remove, found) == (Remove(Kind.POD_DISRUPTION_BUDGET, "flights", "PodDisruptionBudget-uid"),)


def test_a_strangers_object_is_left_alone_and_named() -> None:
    world = serving()
    stranger = Child(Kind.SERVICE, "flights", "other", None, None, b"")
    found = plan(replace(world, children={**world.children, SERVICE: stranger}), settled())
    assert of(Apply, found) == ()
    assert found.look_again == STRANGER_SECONDS
    assert condition(found, "NameConflict") == ("True", "ForeignObject")
    assert condition(found, "Degraded") == ("True", "ForeignObject")
    assert "Service flights exists and does not belong to this ModelDeployment" in message(found, "NameConflict")


def test_what_a_deleted_owner_left_to_nobody_is_taken_over() -> None:
    """`kubectl delete --cascade=orphan`, then the same object again: the pods go on."""
    world = serving()
    orphans = {kind: replace(child, owner_uid=None) for kind, child in world.children.items()}
    found = plan(replace(world, children=orphans), settled())
    assert [(apply.kind, apply.uid) for apply in of(Apply, found)] == [(kind, f"{kind}-uid") for kind, _ in EVERY]
    assert found.look_again is None


def test_what_the_garbage_collector_is_about_to_take_is_waited_for() -> None:
    """An object that is deleted and made again at once meets its predecessor's children."""
    world = serving()
    left = {kind: replace(child, owner_uid="uid-0") for kind, child in world.children.items()}
    found = plan(replace(world, children=left), settled())
    assert found.writes == ()
    assert found.look_again == STRANGER_SECONDS
    assert condition(found, "NameConflict") == ("False", "NoConflict")
    assert condition(found, "Ready") == ("False", "NoReadyPod"), "pods that are about to go are no promise"


def test_a_strangers_deployment_is_never_scaled_and_never_believed() -> None:
    stranger = Child(Kind.DEPLOYMENT, "flights", "other", "somebody", None, b"")
    numbers = Workload(wanted=2, total=2, updated=2, available=2)
    found = plan(serving(children={DEPLOYMENT: stranger}, workload=numbers, pods=(), revisions=NEW))
    assert (of(Scale, found), of(Remove, found)) == ((), ())
    assert condition(found, "Ready") == ("False", "ForeignObject")
    assert found.status is not None
    assert found.status.stable is None


def test_a_strangers_service_leads_nobody_to_us() -> None:
    world = serving()
    stranger = Child(Kind.SERVICE, "flights", "other", None, None, b"")
    found = plan(replace(world, children={**world.children, SERVICE: stranger}), settled())
    assert condition(found, "Ready") == ("False", "ForeignObject")


def test_a_child_that_the_api_server_refuses_is_a_condition_and_stays_in_the_plan() -> None:
    world = serving()
    left = dict(world.children)
    del left[SERVICE]
    found = plan(replace(world, children=left, refused={SERVICE: "exceeded quota"}, workload=Workload()))
    assert [apply.kind for apply in of(Apply, found)] == [Kind.SERVICE]
    assert condition(found, "Degraded") == ("True", "ChildRefused")


def test_a_version_that_never_ran_is_not_stable() -> None:
    none = replace(FLIGHTS, replicas=0)
    found = plan(serving(none, revisions=NEW), desired=none)
    assert condition(found, "Progressing") == ("False", "Complete")
    assert found.status is not None
    assert found.status.stable is None


def test_a_deployment_that_is_still_to_be_changed_is_not_complete() -> None:
    world = serving()
    changed = {**world.children, DEPLOYMENT: replace(world.children[DEPLOYMENT], applied="old")}
    found = plan(replace(world, children=changed, revisions=NEW))
    assert condition(found, "Progressing") == ("True", "RollingOver")


def test_a_model_that_served_and_has_no_pod_now_still_has_its_bundle() -> None:
    none = replace(FLIGHTS, replicas=0)
    found = plan(serving(none), settled(), none)
    assert condition(found, "ArtifactAvailable") == ("True", "Verified")


def test_another_spec_with_the_same_failure_says_its_own_words() -> None:
    def world(secret: str) -> Observed:
        waiting = Container(
            "fetch", waiting="CreateContainerConfigError", waiting_message=f'secret "{secret}" not found'
        )
        return worlds.failing(asking(secret_name=secret), waiting)

    first = plan(world("a"), desired=asking(secret_name="a")).status
    assert first is not None
    second = decide(replace(ME, generation=2), asking(secret_name="b"), first, world("b"), RELEASE, LATER)
    assert "create the Secret b" in message(second, "Degraded")


def test_a_message_is_never_longer_than_the_schema_allows() -> None:
    found = plan(worlds.failing(FLIGHTS, Container("server", exit_code=1, exit_message="x" * 9000)))
    assert found.status is not None
    assert {len(c.message) <= 4096 for c in found.status.conditions} == {True}
    assert (
        plan(worlds.failing(FLIGHTS, Container("server", exit_code=1, exit_message="x" * 9000)), found.status).status
        is None
    )


def test_a_new_version_rolls_over_while_the_old_one_serves() -> None:
    new = asking(digest="sha256:" + "6" * 64)
    world = serving()
    assert world.workload is not None
    rolling = replace(
        world,
        children={ref: worlds.child(ref[0], manifest) for ref, manifest in wanted(new).items()},
        workload=replace(world.workload, generation=2, observed_generation=2, total=3, updated=1, available=2),
        pods=(*world.pods, *worlds.pods(new, 1, ready=False)),
        revisions=(worlds.kept(), worlds.kept(new, Role.CANDIDATE)),
    )
    found = plan(rolling, settled(), new)
    assert condition(found, "Ready") == ("True", "Serving")
    assert condition(found, "Progressing") == ("True", "RollingOver")
    assert condition(found, "ArtifactAvailable") == ("Unknown", "Pending")
    assert found.status is not None
    assert found.status.stable == Stable(REVISION, NOW)
    assert found.status.revision == name(new)
    assert found.status.phase == "Preparing"


def test_a_new_version_that_fails_leaves_the_old_one_serving_and_says_why() -> None:
    new = replace(asking(digest="sha256:" + "6" * 64), owner=Owner("ops", "ops@example.com", "https://runbook.example"))
    world = serving()
    assert world.workload is not None
    said = '{"reason": "DigestMismatch", "message": "want sha256:66, got sha256:55"}'
    broken = worlds.pods(
        new, 1, ready=False, containers=(Container("server", exit_code=3, exit_reason="Error", exit_message=said),)
    )
    found = plan(
        replace(world, pods=(*world.pods, *broken), workload=replace(world.workload, total=3, updated=1)),
        settled(),
        new,
    )
    assert condition(found, "Ready") == ("True", "Serving")
    assert condition(found, "Degraded") == ("True", "DigestMismatch")
    assert condition(found, "ArtifactAvailable") == ("False", "DigestMismatch")
    assert condition(found, "Progressing") == ("True", "Blocked")
    assert message(found, "Degraded") == (
        "oci://registry.example/flights:1: want sha256:66, got sha256:55. Owner: ops ops@example.com. Runbook: https://runbook.example"
    )
    assert Happening(True, "DigestMismatch", message(found, "Degraded")) in found.happenings


def test_an_old_pod_in_the_way_keeps_the_new_version_from_being_stable() -> None:
    world = serving()
    old = replace(world.pods[0], revision="0ld", name="old")
    found = plan(replace(world, pods=(*world.pods, old), revisions=NEW))
    assert found.status is not None
    assert found.status.stable is None


def test_a_controller_that_lags_behind_is_not_believed() -> None:
    world = serving()
    assert world.workload is not None
    found = plan(replace(world, workload=replace(world.workload, generation=2), revisions=NEW))
    assert found.status is not None
    assert found.status.stable is None


def test_a_new_version_of_a_model_with_zero_replicas_is_as_ready_as_the_old_one() -> None:
    """Nothing is wanted to answer before, during and after the change, so nobody is told that nothing does."""
    none = replace(FLIGHTS, replicas=0)
    world = serving(none)
    before = plan(world, desired=none).status
    assert before is not None
    found = plan(world, before, replace(asking(digest="sha256:" + "8" * 64), replicas=0), now=LATER)
    assert found.status is not None
    assert condition(found, "Ready") == ("True", "ScaledToZero")
    assert next(c.since for c in found.status.conditions if c.type == "Ready") == NOW
    assert [happening.reason for happening in found.happenings] == ["Rollout"]


def test_zero_replicas_are_ready_by_their_owners_wish() -> None:
    none = replace(FLIGHTS, replicas=0)
    found = plan(serving(none), desired=none)
    assert condition(found, "Ready") == ("True", "ScaledToZero")


def test_a_stable_version_that_loses_a_pod_is_not_preparing() -> None:
    world = serving()
    assert world.workload is not None
    found = plan(
        replace(world, workload=replace(world.workload, available=1), pods=worlds.pods(FLIGHTS, 2, ready=False)),
        settled(),
    )
    assert found.status is not None
    assert found.status.phase == "Idle"
    assert condition(found, "Progressing") == ("True", "AwaitingPods")
    assert condition(found, "Ready") == ("True", "Serving")


def test_transition_times_move_only_with_the_status() -> None:
    before = settled()
    world = serving()
    assert world.workload is not None
    found = plan(replace(world, workload=replace(world.workload, available=0), pods=()), before, now=LATER).status
    assert found is not None
    assert {c.type: c.since for c in found.conditions} == {
        "Ready": LATER,
        "Progressing": LATER,
        "Degraded": NOW,
        "ArtifactAvailable": NOW,
        "SpecInSync": NOW,
        "NameConflict": NOW,
        "DeploymentAltered": NOW,
    }


def test_other_words_for_the_same_failure_are_no_new_write() -> None:
    def world(words: str) -> Observed:
        return worlds.failing(
            FLIGHTS,
            Container("server", waiting="ImagePullBackOff", waiting_message=f"registry.example/flights:1 {words}"),
        )

    first = plan(world("connection refused")).status
    assert first is not None
    assert plan(world("i/o timeout"), first, now=LATER).status is None


def test_an_invalid_spec_is_a_condition_and_touches_nothing() -> None:
    found = invalid(ME, "spec.model.uri: no", settled(), serving(), LATER)
    assert found.writes == ()
    assert condition(found, "Degraded") == ("True", "InvalidSpec")
    assert condition(found, "Ready") == ("True", "Serving")
    assert found.happenings == (Happening(True, "InvalidSpec", "spec.model.uri: no"),)


def test_a_spec_that_is_corrected_finds_the_replicas_that_are_there() -> None:
    """The first status was written for a spec that meant nothing; it must not make zero of what nobody said."""
    open_ = replace(FLIGHTS, replicas=None)
    for world, replicas in ((serving(), 2), (Observed(), 1)):
        first = invalid(ME, "no", Status(), world, NOW).status
        assert first is not None
        found = plan(world, first, open_)
        assert of(Scale, found) == ()
        assert found.status is not None
        assert found.status.replicas == replicas


def test_a_child_that_is_being_deleted_is_kept_right_until_it_is_gone() -> None:
    """It may stay for long: a finalizer holds it, and what it says counts as long as it is there."""
    world = serving()
    going = {**world.children, SERVICE: replace(world.children[SERVICE], deleting=True, fields=b"")}
    assert of(Apply, plan(replace(world, children=going), settled())) == (
        Apply(Kind.SERVICE, seal(wanted()[SERVICE]), "Service-uid"),
    )


def test_replicas_that_spec_leaves_open_stay_as_they_are() -> None:
    open_ = replace(FLIGHTS, replicas=None)
    assert plan(serving(), settled(), open_).writes == ()
    assert of(Scale, plan(serving(), Status(), open_)) == (), "also where the status was lost"


def test_a_revision_that_the_api_server_refuses_is_a_condition_and_is_tried_again() -> None:
    found = plan(Observed(refused={("ModelRevision", f"flights-{REVISION}"): "exceeded quota"}))
    assert condition(found, "Degraded") == ("True", "ChildRefused")
    assert "the API server refuses the ModelRevision: exceeded quota" in message(found, "Degraded")
    assert len(of(Keep, found)) == 1
