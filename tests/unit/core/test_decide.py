"""What is decided: the plan for each small world, as a whole."""

from dataclasses import replace
from typing import Any

import pytest

import worlds
from tidegate_contract.source import HttpsSource
from tidegate_operator.core.children import children, seal
from tidegate_operator.core.decide import STRANGER_SECONDS, decide, invalid
from tidegate_operator.core.revision import revision
from tidegate_operator.core.types import (
    Apply,
    Child,
    Condition,
    Container,
    Desired,
    Happening,
    Kind,
    Observed,
    Owner,
    Plan,
    Remove,
    Scale,
    Stable,
    Status,
    Truth,
    Workload,
)
from worlds import FLIGHTS, LATER, ME, NOW, RELEASE, serving

REVISION = revision(FLIGHTS, RELEASE)


def plan(observed: Observed, status: Status = Status(), desired: Desired = FLIGHTS, now: object = NOW) -> Plan:  # noqa: B008
    return decide(ME, desired, status, observed, RELEASE, now)  # type: ignore[arg-type]


def settled(desired: Desired = FLIGHTS, observed: Observed | None = None) -> Status:
    """The status of a model that serves."""
    found = plan(observed or serving(desired), desired=desired).status
    assert found is not None
    return found


def condition(found: Plan, type: str) -> tuple[str, str]:
    assert found.status is not None
    return next((str(c.status), str(c.reason)) for c in found.status.conditions if c.type == type)


def message(found: Plan, type: str) -> str:
    assert found.status is not None
    return next(c.message for c in found.status.conditions if c.type == type)


def test_nothing_there_makes_every_child_in_order() -> None:
    found = plan(Observed())
    assert found.applies == tuple(
        Apply(kind, seal(manifest), uid=None) for kind, manifest in children(ME, FLIGHTS, RELEASE).items()
    )
    assert [apply.kind for apply in found.applies] == list(Kind)
    assert (found.scale, found.removes, found.look_again) == (None, (), None)


def test_the_first_status_says_what_is_known_and_no_more() -> None:
    found = plan(Observed())
    assert found.status == Status(
        observed_generation=1,
        phase="Preparing",
        url="http://flights.ml.svc",
        revision=REVISION,
        stable=None,
        replicas=2,
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
            Condition("NameConflict", Truth.FALSE, "NoConflict", "all names are free or ours", 1, NOW),
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


@pytest.mark.parametrize("kind", list(Kind))
def test_a_deleted_child_comes_back_alone(kind: Kind) -> None:
    world = serving()
    left = {k: c for k, c in world.children.items() if k != kind}
    found = plan(replace(world, children=left), settled())
    assert [(apply.kind, apply.uid) for apply in found.applies] == [(kind, None)]


@pytest.mark.parametrize("kind", list(Kind))
def test_a_changed_child_is_repaired_alone_and_by_its_uid(kind: Kind) -> None:
    world = serving()
    changed = {**world.children, kind: replace(world.children[kind], fields=b'{"f:metadata":{"f:x":{}}}')}
    found = plan(replace(world, children=changed), settled())
    assert [(apply.kind, apply.uid) for apply in found.applies] == [(kind, f"{kind}-uid")]


def test_a_child_that_is_being_deleted_is_waited_for() -> None:
    world = serving()
    going = {**world.children, Kind.SERVICE: replace(world.children[Kind.SERVICE], deleting=True, fields=b"")}
    assert plan(replace(world, children=going), settled()).applies == ()


def test_replicas_move_by_scale_and_by_nothing_else() -> None:
    more = replace(FLIGHTS, replicas=5)
    found = plan(serving(), settled(), more)
    assert found.scale == Scale("flights", 5)
    assert found.applies == ()
    assert all("replicas" not in manifest.get("spec", {}) for manifest in children(ME, more, RELEASE).values())


def test_replicas_that_somebody_changed_are_put_back() -> None:
    world = serving()
    assert world.workload is not None
    assert plan(replace(world, workload=replace(world.workload, wanted=7)), settled()).scale == Scale("flights", 2)


def test_a_single_replica_has_no_disruption_budget() -> None:
    one = replace(FLIGHTS, replicas=1)
    found = plan(serving(), settled(), one)
    assert found.removes == (Remove(Kind.POD_DISRUPTION_BUDGET, "flights", "PodDisruptionBudget-uid"),)


def test_a_strangers_object_is_left_alone_and_named() -> None:
    world = serving()
    stranger = Child(Kind.SERVICE, "flights", "other", None, None, b"")
    found = plan(replace(world, children={**world.children, Kind.SERVICE: stranger}), settled())
    assert found.applies == ()
    assert found.look_again == STRANGER_SECONDS
    assert condition(found, "NameConflict") == ("True", "ForeignObject")
    assert condition(found, "Degraded") == ("True", "ForeignObject")
    assert "Service flights exists and does not belong to this ModelDeployment" in message(found, "NameConflict")


def test_what_a_deleted_owner_left_to_nobody_is_taken_over() -> None:
    """`kubectl delete --cascade=orphan`, then the same object again: the pods go on."""
    world = serving()
    orphans = {kind: replace(child, owner_uid=None) for kind, child in world.children.items()}
    found = plan(replace(world, children=orphans), settled())
    assert [(apply.kind, apply.uid) for apply in found.applies] == [(kind, f"{kind}-uid") for kind in Kind]
    assert found.look_again is None


def test_what_the_garbage_collector_is_about_to_take_is_waited_for() -> None:
    """An object that is deleted and made again at once meets its predecessor's children."""
    world = serving()
    left = {kind: replace(child, owner_uid="uid-0") for kind, child in world.children.items()}
    found = plan(replace(world, children=left), settled())
    assert (found.applies, found.scale, found.removes) == ((), None, ())
    assert found.look_again == STRANGER_SECONDS
    assert condition(found, "NameConflict") == ("False", "NoConflict")
    assert condition(found, "Ready") == ("False", "NoReadyPod"), "pods that are about to go are no promise"


def test_a_strangers_deployment_is_never_scaled_and_never_believed() -> None:
    stranger = Child(Kind.DEPLOYMENT, "flights", "other", "somebody", None, b"")
    numbers = Workload(wanted=2, total=2, updated=2, available=2)
    found = plan(serving(children={Kind.DEPLOYMENT: stranger}, workload=numbers, pods=()))
    assert found.scale is None
    assert found.removes == ()
    assert condition(found, "Ready") == ("False", "ForeignObject")
    assert found.status is not None
    assert found.status.stable is None


def test_a_strangers_service_leads_nobody_to_us() -> None:
    world = serving()
    stranger = Child(Kind.SERVICE, "flights", "other", None, None, b"")
    found = plan(replace(world, children={**world.children, Kind.SERVICE: stranger}), settled())
    assert condition(found, "Ready") == ("False", "ForeignObject")


def test_a_child_that_the_api_server_refuses_is_a_condition_and_is_tried_again() -> None:
    world = serving()
    left = dict(world.children)
    del left[Kind.SERVICE]
    found = plan(replace(world, children=left, refused={Kind.SERVICE: "exceeded quota"}, workload=Workload()))
    assert [apply.kind for apply in found.applies] == [Kind.SERVICE]
    assert condition(found, "Degraded") == ("True", "ChildRefused")
    assert found.look_again == STRANGER_SECONDS


def test_a_version_that_never_ran_is_not_stable() -> None:
    none = replace(FLIGHTS, replicas=0)
    found = plan(serving(none), desired=none)
    assert condition(found, "Progressing") == ("False", "Complete")
    assert found.status is not None
    assert found.status.stable is None


def test_a_deployment_that_is_still_to_be_changed_is_not_complete() -> None:
    world = serving()
    changed = {**world.children, Kind.DEPLOYMENT: replace(world.children[Kind.DEPLOYMENT], applied="old")}
    found = plan(replace(world, children=changed))
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
        return worlds.failing(replace(FLIGHTS, secret_name=secret), waiting)

    first = plan(world("a"), desired=replace(FLIGHTS, secret_name="a")).status
    assert first is not None
    second = decide(replace(ME, generation=2), replace(FLIGHTS, secret_name="b"), first, world("b"), RELEASE, LATER)
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
    new = replace(FLIGHTS, digest="sha256:" + "6" * 64)
    world = serving()
    assert world.workload is not None
    rolling = replace(
        world,
        children={kind: worlds.child(kind, manifest) for kind, manifest in children(ME, new, RELEASE).items()},
        workload=replace(world.workload, generation=2, observed_generation=2, total=3, updated=1, available=2),
        pods=(*world.pods, *worlds.pods(new, 1, ready=False)),
    )
    found = plan(rolling, settled(), new)
    assert condition(found, "Ready") == ("True", "Serving")
    assert condition(found, "Progressing") == ("True", "RollingOver")
    assert condition(found, "ArtifactAvailable") == ("Unknown", "Pending")
    assert found.status is not None
    assert found.status.stable == Stable(REVISION, NOW)
    assert found.status.revision == revision(new, RELEASE)
    assert found.status.phase == "Preparing"


def test_a_new_version_that_fails_leaves_the_old_one_serving_and_says_why() -> None:
    new = replace(
        FLIGHTS, digest="sha256:" + "6" * 64, owner=Owner("ops", "ops@example.com", "https://runbook.example")
    )
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
    found = plan(replace(world, pods=(*world.pods, old)))
    assert found.status is not None
    assert found.status.stable is None


def test_a_controller_that_lags_behind_is_not_believed() -> None:
    world = serving()
    assert world.workload is not None
    found = plan(replace(world, workload=replace(world.workload, generation=2)))
    assert found.status is not None
    assert found.status.stable is None


def test_zero_replicas_are_ready_by_their_owners_wish() -> None:
    none = replace(FLIGHTS, replicas=0)
    found = plan(serving(none), desired=none)
    assert condition(found, "Ready") == ("True", "ScaledToZero")


def test_bytes_that_nobody_pinned_are_said_to_be_unpinned() -> None:
    loose = replace(FLIGHTS, digest=None)
    assert condition(plan(serving(loose), desired=loose), "ArtifactAvailable") == ("True", "Unpinned")


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
        "NameConflict": NOW,
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
    found = invalid(ME, "spec.model.uri: no", settled(), LATER)
    assert (found.applies, found.removes, found.scale) == ((), (), None)
    assert condition(found, "Degraded") == ("True", "InvalidSpec")
    assert condition(found, "Ready") == ("True", "Serving")
    assert found.happenings == (Happening(True, "InvalidSpec", "spec.model.uri: no"),)


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "sha256:" + "7" * 64},
        {"source": HttpsSource("https://example.com/x.tar", 443)},
        {"image": "other:1"},
        {"allow_pickle": True},
        {"env": (("A", "b"),)},
        {"limits": (("memory", "2Gi"),)},
        {"timeout": 1.0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_can_change_an_answer_makes_a_revision(change: dict[str, Any]) -> None:
    assert revision(replace(FLIGHTS, **change), RELEASE) != REVISION


@pytest.mark.parametrize(
    "change",
    [
        {"replicas": 9},
        {"owner": Owner("x")},
        {"node_selector": (("a", "b"),)},
        {"tolerations": ()},
        {"pull_secrets": ("s",)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_cannot_change_an_answer_makes_none(change: dict[str, Any]) -> None:
    assert revision(replace(FLIGHTS, **change), RELEASE) == REVISION
